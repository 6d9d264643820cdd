package proxy

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entrepot/entrepot/internal/regtest"
	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
)

// Close waits for fills as long as it may, and then has them keep what they
// have. Nothing new starts; what is stored is still answered.
func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{})
		c := regtest.Random(1, 3*mib)
		l := r.up.AddBlob(alpine.Path, c)
		small := r.up.AddBlob(alpine.Path, regtest.Random(2, 10))
		if _, _, err := r.read(alpine, small.Digest); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		r.up.On(regtest.Match{}, regtest.Trouble{End: regtest.EndStall, At: 2 * mib})
		b := r.open(t.Context(), l.Digest)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		start := time.Now()
		if err := r.Close(ctx); err != context.DeadlineExceeded {
			t.Errorf("Close: %v, want the deadline's error", err)
		}
		if d := time.Since(start); d != 10*time.Second {
			t.Errorf("Close took %v, want 10s", d)
		}
		_, err := io.ReadAll(b.Body)
		wantError(t, err, oci.ErrUnavailable)
		b.Body.Close()
		_, _, err = r.read(alpine, l.Digest)
		wantError(t, err, oci.ErrUnavailable)
		if _, o, err := r.read(alpine, small.Digest); err != nil || o.Result != oci.Hit {
			t.Errorf("what is stored: %q, %v", o.Result, err)
		}
		r.up.Clear()
		r.restart()
		if got, _, err := r.read(alpine, l.Digest); err != nil || !bytes.Equal(got, content(c)) {
			t.Errorf("got %d bytes, %v", len(got), err)
		}
		if n := r.up.BlobBytes(l.Digest); n != l.Size {
			t.Errorf("upstream sent %d bytes, want each once", n)
		}
	})
}

// Close does not wait for an upstream that does not answer.
func TestCloseDropsQuestions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{})
		img := r.up.AddImage(alpine.Path, regtest.Image{Layers: []int64{mib}}, "3.20")
		if _, _, err := r.pull("3.20"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		r.up.On(regtest.Match{}, regtest.Trouble{Hold: true})
		failed := make(chan error)
		go func() { _, _, err := r.read(alpine, img.Layers[0].Digest); failed <- err }()
		if _, o, err := r.pull("3.20"); err != nil || o.Result != oci.Stale {
			t.Errorf("answered as %q, %v", o.Result, err)
		}
		start := time.Now()
		if err := r.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if d := time.Since(start); d > 0 {
			t.Errorf("Close took %v", d)
		}
		wantError(t, <-failed, oci.ErrUnavailable)
		if _, o, err := r.pull("3.20"); err != nil || o.Result != oci.Stale {
			t.Errorf("after Close answered as %q, %v", o.Result, err)
		}
	})
}

// A scope has so many fills at a time; another scope is not held up by them.
func TestFillSlots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{UpstreamFills: 2})
		rule := r.up.On(regtest.Match{Repo: alpine.Path}, regtest.Trouble{Hold: true})
		var wg sync.WaitGroup
		for i := range uint64(5) {
			l := r.up.AddBlob(alpine.Path, regtest.Random(i, 10))
			wg.Go(func() {
				if _, _, err := r.read(alpine, l.Digest); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		if n := len(r.up.Log()); n != 2 {
			t.Errorf("%d fills run, want 2", n)
		}
		other := ref.Name{Host: "quay.io", Path: "a/b"}
		l := r.up.AddBlob(other.Path, regtest.Random(9, 10))
		if _, _, err := r.read(other, l.Digest); err != nil {
			t.Error(err)
		}
		rule.Release()
		wg.Wait()
	})
}

// Our own disk fails: what is asked for comes from the upstream and is not stored.
func TestFillWithoutStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{})
		l := r.up.AddBlob(alpine.Path, regtest.Random(1, mib))
		tmp := filepath.Join(r.dir, "tmp")
		if err := os.Rename(tmp, tmp+".away"); err != nil {
			t.Fatal(err)
		}
		got, o, err := r.read(alpine, l.Digest)
		if err != nil || int64(len(got)) != l.Size || o.Warning != warnBroken {
			t.Errorf("%d bytes, %v, with the warning %q", len(got), err, o.Warning)
		}
		if r.count(EventStoreError) == 0 {
			t.Error("nobody was told")
		}
		if err := os.Rename(tmp+".away", tmp); err != nil {
			t.Fatal(err)
		}
		if _, _, err := r.read(alpine, l.Digest); err != nil {
			t.Errorf("the store is back, but: %v", err)
		}
	})
}

// 32 clients of a cold blob of 200 MB need little memory: they read the spool
// into buffers of their own.
func TestFillMemory(t *testing.T) {
	size := int64(200_000_000)
	if raced {
		size /= 20
	}
	r := newRig(t, Config{})
	l := r.up.AddBlob(alpine.Path, regtest.Random(1, size))
	r.up.ResetLog()
	var before, peak runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	var wg sync.WaitGroup
	for i := range 32 {
		wg.Go(func() {
			b, err := r.Blob(t.Context(), alpine, l.Digest, 0)
			if err != nil {
				t.Error(err)
				return
			}
			defer b.Body.Close()
			var w io.Writer = io.Discard
			v := oci.NewVerifier(l.Digest, size)
			if i%16 == 0 { // hashing is what takes the time
				w = v
			}
			n, err := io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{b.Body}, make([]byte, 32<<10))
			if err != nil || n != size {
				t.Errorf("got %d bytes, %v", n, err)
			}
			if i%16 == 0 && v.Err() != nil {
				t.Error(v.Err())
			}
		})
	}
	wg.Wait()
	runtime.ReadMemStats(&peak)
	if grown := int64(peak.Sys) - int64(before.Sys); grown > 32*mib {
		t.Errorf("memory from the system grew by %d MiB, want less than 32", grown/mib)
	}
	if got := r.up.BlobBytes(l.Digest); got != size {
		t.Errorf("upstream sent %d bytes, want %d", got, size)
	}
}

// An upstream that neither goes on nor fails cannot block a digest for ever.
func TestFillWatchdog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{})
		l := r.up.AddBlob(alpine.Path, regtest.Random(1, mib))
		r.up.On(regtest.Match{Times: 1}, regtest.Trouble{End: regtest.EndStall, At: 100})
		r.up.On(regtest.Match{Times: 1}, regtest.Trouble{Hold: true})
		start := time.Now()
		_, _, err := r.read(alpine, l.Digest)
		wantError(t, err, oci.ErrUnavailable)
		if d := time.Since(start); d != maxStall {
			t.Errorf("cut after %v, want %v", d, maxStall)
		}
		r.read(alpine, l.Digest) // is told to come back after 25s
		time.Sleep(maxStall - 30*time.Second)
		_, _, err = r.read(alpine, l.Digest)
		wantError(t, err, oci.ErrUnavailable)
		if _, _, err := r.read(alpine, l.Digest); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if r.fills.loading != 0 || len(r.fills.running) != 0 || len(r.fills.slots) != 0 {
			t.Errorf("left behind: %d loading, %v, %v", r.fills.loading, r.fills.running, r.fills.slots)
		}
	})
}
