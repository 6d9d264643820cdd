package relocate

import (
	"bytes"
	"context"
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entrepot/entrepot/internal/regtest"
	"github.com/entrepot/entrepot/ref"
)

// fed feeds a blob of 1 MiB to readers, which get the branches, and returns how
// often the source was asked.
func fed(t *testing.T, readers ...func(b *branch) []byte) (asked int) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		source := regtest.NewMemory("source", nil)
		d := source.AddBlob("a", regtest.Random(1, 1<<20))
		want, _ := source.Content("a", d.Digest)
		whole := make([]byte, want.Size())
		want.ReadAt(whole, 0)

		r := newRun(Config{Source: source}, nil)
		g := &graph{run: r, img: &image{}, from: ref.Name{Path: "a"}}
		src := g.content(t.Context(), d, ref.Name{})
		defer src.close()
		f := newFeed(t.Context(), src, len(readers))
		defer f.close()
		var all sync.WaitGroup
		for i, read := range readers {
			all.Go(func() {
				b := f.branches[i]
				defer b.leave()
				if got := read(b); got != nil && !bytes.Equal(got, whole) {
					t.Errorf("reader %d got %d bytes, want %d", i, len(got), len(whole))
				}
			})
		}
		all.Wait()
		asked = source.Count("GET", regtest.Blob)
	})
	return asked
}

// later reads all, from a time on.
func later(t *testing.T, d time.Duration) func(*branch) []byte {
	return func(b *branch) []byte {
		time.Sleep(d)
		rc, err := b.open(context.Background(), 0)
		if err != nil {
			t.Error(err)
			return []byte{}
		}
		defer rc.Close()
		got, err := io.ReadAll(rc)
		if err != nil {
			t.Error(err)
		}
		return got
	}
}

// leaves reads so much of it and goes.
func leaves(t *testing.T, n int) func(*branch) []byte {
	return func(b *branch) []byte {
		rc, err := b.open(context.Background(), 0)
		if err != nil {
			t.Error(err)
			return nil
		}
		io.CopyN(io.Discard, rc, int64(n))
		rc.Close()
		if _, err := rc.Read(make([]byte, 1<<20)); n < 1<<20 && err == nil {
			_, err = io.Copy(io.Discard, rc)
			if err == nil {
				t.Error("a closed branch gives all")
			}
		}
		return nil
	}
}

// TestFeedTime holds who reads along, and that nobody waits for ever.
func TestFeedTime(t *testing.T) {
	now, soon, late := later(t, 0), later(t, feedGrace-1), later(t, feedGrace+1)
	again := func(b *branch) []byte {
		rc, err := b.open(context.Background(), 0)
		if err != nil {
			t.Error(err)
			return []byte{}
		}
		io.CopyN(io.Discard, rc, 1000)
		rc.Close()
		return now(b)
	}
	for name, c := range map[string]struct {
		readers []func(*branch) []byte
		want    int
	}{
		"all at once":     {[]func(*branch) []byte{now, now, now}, 1},
		"one is slower":   {[]func(*branch) []byte{now, soon, now}, 1},
		"one is too late": {[]func(*branch) []byte{now, late, now}, 2},
		"one never comes": {[]func(*branch) []byte{now, now, func(*branch) []byte { return nil }}, 1},
		"one leaves":      {[]func(*branch) []byte{leaves(t, 1000), now, now}, 1},
		"one goes on":     {[]func(*branch) []byte{again, now, now}, 2},
		"nobody":          {[]func(*branch) []byte{func(*branch) []byte { return nil }}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			if got := fed(t, c.readers...); got != c.want {
				t.Errorf("the source was asked %d times, want %d", got, c.want)
			}
		})
	}
}
