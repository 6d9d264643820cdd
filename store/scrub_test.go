package store

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entrepot/entrepot/oci"
)

// flip changes one bit in the middle of a stored blob.
func flip(t testing.TB, s *Store, pattern string) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(s.dir, pattern))
	if err != nil || len(names) != 1 {
		t.Fatalf("%s: %v, %v", pattern, names, err)
	}
	b, err := os.ReadFile(names[0])
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 1
	if err := os.Chmod(names[0], 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(names[0], b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func hexOf(d oci.Digest) string { return strings.TrimPrefix(string(d), "sha256:") }

// TestVerify: a damaged blob leaves the cache, but for a dry run; a damaged one
// of a pushed image stays and is told, and so is one that is gone.
func TestVerify(t *testing.T) {
	var told []Event
	s := open(t, t.TempDir(), Config{Observe: func(e Event) { told = append(told, e) }})
	good, bad := fill(t, s.Cache(), "a good blob"), fill(t, s.Cache(), "a bad blob")
	config, layer := pushBlob(t, s.Vault(), app, "{}"), pushBlob(t, s.Vault(), app, "a pushed layer")
	m := imageOf("", config, layer)
	if err := s.Vault().PutManifest(t.Context(), app, m, "1"); err != nil {
		t.Fatal(err)
	}
	flip(t, s, "c/b/sha256/*/"+hexOf(bad))
	flip(t, s, "v/b/sha256/*/"+hexOf(layer.Digest)+".*")
	for _, c := range []struct {
		dry   bool
		want  Verified
		there string
	}{
		{true, Verified{Blobs: 3, Damaged: 1, DamagedCached: 1}, "ab"},
		{false, Verified{Blobs: 3, Damaged: 1, Dropped: 1}, "a"},
		{false, Verified{Blobs: 3, Damaged: 1}, "a"},
	} {
		told = nil
		got, err := s.Verify(t.Context(), Verification{DryRun: c.dry})
		c.want.Bytes = 11 + 2 + int64(len(m.Raw))
		if err != nil || got != c.want || there(s, good, bad) != c.there {
			t.Errorf("dry %v: got %+v, %v, want %+v; %s are in the cache", c.dry, got, err, c.want, there(s, good, bad))
		}
		damaged := slices.DeleteFunc(slices.Clone(told), func(e Event) bool { return e.Kind != EventDamaged })
		if want := int(got.Damaged + got.Dropped + got.DamagedCached); len(damaged) != want {
			t.Errorf("dry %v: told of %+v, want %d damaged", c.dry, told, want)
		}
	}
	if got := s.Usage(); got.Cache.Blobs != 1 || got.Vault.Blobs != 3 {
		t.Errorf("usage %+v", got)
	}
	names, _ := filepath.Glob(filepath.Join(s.dir, "v/b/sha256/*/"+hexOf(layer.Digest)+".*"))
	if len(names) != 1 {
		t.Fatal("the damaged pushed blob is gone")
	}
	if err := os.Remove(names[0]); err != nil {
		t.Fatal(err)
	}
	var missing []oci.Digest
	got, err := s.Verify(t.Context(), Verification{Each: func(c Checked) {
		if c.Missing {
			missing = append(missing, c.Digest)
		}
	}})
	if err != nil || got.Missing != 1 || !slices.Equal(missing, []oci.Digest{layer.Digest}) {
		t.Errorf("with a blob gone: %+v, %v, missing %v", got, err, missing)
	}
}

// TestVerifyUnreadable: what cannot be read counts as damaged (EIO).
func TestVerifyUnreadable(t *testing.T) {
	s := open(t, t.TempDir(), Config{wrap: func(d *Disk) Bucket { return brokenReads{d} }})
	d := fill(t, s.Cache(), "a blob")
	got, err := s.Verify(t.Context(), Verification{})
	if err != nil || got.Dropped != 1 || there(s, d) != "" {
		t.Errorf("got %+v, %v", got, err)
	}
}

// brokenReads opens objects whose bytes cannot be read.
type brokenReads struct{ *Disk }

func (b brokenReads) Open(ctx context.Context, k Key) (Object, error) {
	o, err := b.Disk.Open(ctx, k)
	if err == nil && strings.HasPrefix(string(k), "c/b/") {
		o.Body = brokenBody{o.Body}
	}
	return o, err
}

type brokenBody struct{ io.ReadSeekCloser }

func (brokenBody) Read([]byte) (int, error) { return 0, errors.New("input/output error") }

// TestScrub: the store finds what is damaged on its own, within its budget, goes
// on after a restart where it was, and begins again the next day.
func TestScrub(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var told []Event
		cfg := Config{Scrub: 1000, Observe: func(e Event) {
			mu.Lock()
			defer mu.Unlock()
			told = append(told, e)
		}}
		seen := func() (n int) {
			mu.Lock()
			defer mu.Unlock()
			n, told = len(told), nil
			return n
		}
		dir := t.TempDir()
		s := open(t, dir, cfg)
		ds := blobs(t, s, "a", "b", "c", "d", "e")
		start := time.Now()
		time.Sleep(scrubWait + 2500*time.Millisecond) // two and a half blobs
		if got := seen(); got != 2 {
			t.Fatalf("%d blobs verified, want 2", got)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = open(t, dir, cfg)
		time.Sleep(scrubWait + time.Minute)
		if got := seen(); got != 3 {
			t.Errorf("%d blobs verified after a restart, want the other 3", got)
		}
		flip(t, s, "c/b/sha256/*/"+hexOf(ds[1]))
		time.Sleep(time.Until(start.Add(scrubEach)) - time.Second)
		if got := seen(); got != 0 {
			t.Errorf("%d blobs verified on the same day", got)
		}
		time.Sleep(scrubWait + time.Minute)
		if got := seen(); got != 5 || there(s, ds...) != "acde" {
			t.Errorf("%d blobs verified on the next day, %s are there", got, there(s, ds...))
		}
	})
}

// TestSampledCheck: a blob that is asked for again and again is checked out of
// turn.
func TestSampledCheck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, t.TempDir(), Config{Scrub: 1 << 20})
		d := fill(t, s.Cache(), "a blob")
		flip(t, s, "c/b/sha256/*/"+hexOf(d))
		for range checkEach {
			f, _, err := s.Cache().Open(d)
			if err != nil {
				t.Fatal(err)
			}
			f.Close()
		}
		synctest.Wait()
		time.Sleep(time.Second)
		if there(s, d) != "" {
			t.Error("the damaged blob is there still")
		}
	})
}
