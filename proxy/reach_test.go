package proxy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entrepot/entrepot/internal/regtest"
	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
)

// parted is an upstream that opens parts, and counts the bodies that are open.
type parted struct {
	*regtest.Memory

	mu         sync.Mutex // guards all below
	open, most int
	ends       []int64 // of the parts that were asked for
}

func (u *parted) BlobRange(ctx context.Context, n ref.Name, d oci.Digest, off, end int64) (oci.Blob, error) {
	u.mu.Lock()
	u.ends = append(u.ends, end)
	u.mu.Unlock()
	b, err := u.Blob(ctx, n, d, off)
	if err == nil {
		b.Body = struct {
			io.Reader
			io.Closer
		}{io.LimitReader(b.Body, end-off), b.Body}
	}
	return b, err
}

func (u *parted) Blob(ctx context.Context, n ref.Name, d oci.Digest, off int64) (oci.Blob, error) {
	b, err := u.Memory.Blob(ctx, n, d, off)
	if err != nil {
		return b, err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.open++
	u.most = max(u.most, u.open)
	b.Body = &counted{ReadCloser: b.Body, u: u}
	return b, nil
}

type counted struct {
	io.ReadCloser
	u    *parted
	once sync.Once
}

func (c *counted) Close() error {
	c.once.Do(func() {
		c.u.mu.Lock()
		defer c.u.mu.Unlock()
		c.u.open--
	})
	return c.ReadCloser.Close()
}

// newParted starts a rig whose parts are of 1 MiB and whose far is as much,
// over an upstream that drips 256 KiB a second on each connection.
func newParted(t *testing.T, cfg Config) (*rig, *parted) {
	cfg.far, cfg.part = mib, mib
	r := newRig(t, cfg)
	up := &parted{Memory: r.up}
	r.stop()
	r.start(up)
	r.up.On(regtest.Match{}, regtest.Trouble{Drip: regtest.Drip{Bytes: 32 << 10, Every: 125 * time.Millisecond}})
	return r, up
}

// readAt reads a part of a blob in a goroutine, as a client that asks for an
// open-ended range and leaves.
func (r *rig) readAt(wg *sync.WaitGroup, c regtest.Content, d oci.Digest, off, n int64) {
	b := r.open(r.t.Context(), d)
	wg.Go(func() {
		defer b.Body.Close()
		if _, err := b.Body.(io.Seeker).Seek(off, io.SeekStart); err != nil {
			r.t.Error(err)
		}
		got, want := make([]byte, n), make([]byte, n)
		c.ReadAt(want, off)
		if _, err := io.ReadFull(b.Body, got); err != nil || !bytes.Equal(got, want) {
			r.t.Errorf("range from %d: %v, or other bytes", off, err)
		}
	})
}

// TestRangesCostOneCopy is what containerd sends with
// concurrent_layer_fetch_buffer: bytes=0-, then an open-ended range for each
// further chunk, read for one chunk and closed (serve C8, matrix L).
func TestRangesCostOneCopy(t *testing.T) {
	for name, parallel := range map[string]int{"default": 0, "two": 2, "none": 1, "eight": 8} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const size, chunks = 24*mib + 12345, 12
				most := orDefault(parallel, defaultParallelism)
				r, up := newParted(t, Config{Policy: func(context.Context, ref.Name) Policy { return Policy{FillParallelism: parallel} }})
				c := regtest.Random(1, size)
				d := r.up.AddBlob(alpine.Path, c).Digest
				var wg sync.WaitGroup
				for i := range int64(chunks) {
					off := i * 2 * mib
					n := int64(2 * mib)
					if i == chunks-1 {
						n = size - off
					}
					r.readAt(&wg, c, d, off, n)
				}
				wg.Wait()
				synctest.Wait()
				if got := r.up.BlobBytes(d); got != size {
					t.Errorf("upstream sent %d bytes, want %d", got, size)
				}
				if up.most > most {
					t.Errorf("%d connections at once, want at most %d", up.most, most)
				}
				if up.most < min(most, 4) {
					t.Errorf("%d connections at once: nothing was fetched ahead", up.most)
				}
				if !r.isStored(d) {
					t.Error("the blob is not stored")
				}
				if got, o, err := r.read(alpine, d); err != nil || !bytes.Equal(got, content(c)) || o.Result != oci.Hit {
					t.Errorf("read %d bytes, %q, %v", len(got), o.Result, err)
				}
			})
		})
	}
}

// A fill that will be there in five seconds is waited for, however far it is.
func TestRangeThatComesSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _ := newParted(t, Config{})
		r.up.Clear()
		r.up.On(regtest.Match{}, regtest.Trouble{Drip: regtest.Drip{Bytes: 32 << 10, Every: time.Millisecond}}) // 32 MiB/s
		c := regtest.Random(1, 60*mib)
		d := r.up.AddBlob(alpine.Path, c).Digest
		var wg sync.WaitGroup
		r.readAt(&wg, c, d, 55*mib, mib)
		wg.Wait()
		r.wantWire("GET blob")
	})
}

// Nobody gets any of the last 64 KiB before the digest is right, whatever is
// there already; and when it is wrong every reader is cut.
func TestRangesHoldBack(t *testing.T) {
	for name, flip := range map[string]regtest.Flip{"right": regtest.FlipNone, "wrong": regtest.FlipFirst} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const size = 8 * mib
				r, _ := newParted(t, Config{})
				c := regtest.Random(1, size)
				d := r.up.AddBlob(alpine.Path, c).Digest
				r.up.Clear()
				front := r.up.On(regtest.Match{Times: 1}, regtest.Trouble{Flip: flip, End: regtest.EndStall, At: 100 << 10})
				tail, near := r.open(t.Context(), d), r.open(t.Context(), d)
				tail.Body.(io.Seeker).Seek(size-mib, io.SeekStart)
				got := make([]byte, mib)
				n, err := io.ReadFull(tail.Body, got[:mib-holdBack])
				if n != mib-holdBack || err != nil {
					t.Fatalf("read %d bytes ahead, %v", n, err)
				}
				synctest.Wait()
				over := make(chan error, 2)
				last := 0
				go func() {
					var err error
					last, err = io.ReadFull(tail.Body, got[mib-holdBack:])
					over <- err
				}()
				go func() { _, err := io.Copy(io.Discard, struct{ io.Reader }{near.Body}); over <- err }()
				time.Sleep(time.Minute)
				if last > 0 || len(over) > 0 {
					t.Errorf("%d bytes of the tail were released before the digest was known", last)
				}
				front.Release()
				for range 2 {
					if err := <-over; (flip == regtest.FlipNone) != (err == nil) || err != nil && !errors.Is(err, oci.ErrMismatch) {
						t.Errorf("a reader ended with %v", err)
					}
				}
				if flip != regtest.FlipNone && last > 0 {
					t.Errorf("%d bytes of a wrong tail were given", last)
				}
				synctest.Wait()
				if r.isStored(d) != (flip == regtest.FlipNone) {
					t.Error("stored what is wrong, or not what is right")
				}
			})
		})
	}
}

// What a part brings is wrong: the front finds it when it gets there.
func TestRangesWrongPart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const size = 8 * mib
		r, _ := newParted(t, Config{})
		c := regtest.Random(1, size)
		d := r.up.AddBlob(alpine.Path, c).Digest
		r.up.Clear()
		r.up.On(regtest.Match{If: func(e regtest.Entry) bool { return e.Offset > 0 }}, regtest.Trouble{Flip: regtest.FlipMiddle})
		front := r.up.On(regtest.Match{}, regtest.Trouble{End: regtest.EndStall, At: 100 << 10})
		far := r.open(t.Context(), d)
		far.Body.(io.Seeker).Seek(size/2, io.SeekStart)
		if _, err := io.CopyN(io.Discard, far.Body, 100); err != nil {
			t.Fatal(err)
		}
		front.Release()
		_, err := io.Copy(io.Discard, far.Body)
		wantError(t, err, oci.ErrMismatch)
		synctest.Wait()
		if r.isStored(d) {
			t.Error("wrong content is stored")
		}
		if left, _ := filepath.Glob(filepath.Join(r.dir, "tmp", "*")); len(left) > 0 {
			t.Errorf("left in tmp: %q", left)
		}
	})
}

// Connections that fetch parts are cut, stall, are refused, or answer with
// something else: what came is kept, the fill goes on in order, and everybody
// gets the right bytes (reliability 5, rows 1 to 3).
func TestRangesFaults(t *testing.T) {
	for name, trouble := range map[string]regtest.Trouble{
		"cut":           {End: regtest.EndCut, At: 300 << 10},
		"reset at once": {End: regtest.EndReset},
		"refused":       {Err: &oci.Error{Kind: oci.ErrUnavailable}},
		"no ranges":     {Err: &oci.Error{Kind: oci.ErrUnsupported}}, // a 200 to a Range, beyond what is skipped
		"other range":   {Err: &oci.Error{Kind: oci.ErrMismatch}},    // of a wrong Content-Range
		"other size":    {Extra: 5},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const size = 8 * mib
				r, _ := newParted(t, Config{})
				c := regtest.Random(1, size)
				d := r.up.AddBlob(alpine.Path, c).Digest
				r.up.Clear()
				r.up.On(regtest.Match{Times: 1, If: func(e regtest.Entry) bool { return e.Offset > 0 }}, trouble)
				r.up.On(regtest.Match{}, regtest.Trouble{Drip: regtest.Drip{Bytes: 32 << 10, Every: 125 * time.Millisecond}})
				var wg sync.WaitGroup
				r.readAt(&wg, c, d, 4*mib, 2*mib)
				r.readAt(&wg, c, d, 0, size)
				wg.Wait()
				synctest.Wait()
				if got := r.up.BlobBytes(d); got > size*102/100 || !r.isStored(d) {
					t.Errorf("upstream sent %d bytes of %d, stored: %v", got, size, r.isStored(d))
				}
			})
		})
	}
}

// The upstream gives up, or the process ends, with parts ahead of the fill:
// they are not fetched again.
func TestRangesResume(t *testing.T) {
	for _, restart := range []bool{false, true} {
		t.Run(fmt.Sprintf("restart %v", restart), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const size = 16 * mib
				r, up := newParted(t, Config{})
				c := regtest.Random(1, size)
				d := r.up.AddBlob(alpine.Path, c).Digest
				r.up.Clear()
				r.up.On(regtest.Match{Times: 1}, regtest.Trouble{End: regtest.EndCut, At: 2 * mib, Drip: regtest.Drip{Bytes: 32 << 10, Every: 125 * time.Millisecond}})
				drip := r.up.On(regtest.Match{}, regtest.Trouble{Drip: regtest.Drip{Bytes: 32 << 10, Every: 125 * time.Millisecond}})
				b := r.open(t.Context(), d)
				b.Body.(io.Seeker).Seek(8*mib, io.SeekStart)
				_, err := io.Copy(io.Discard, b.Body)
				wantError(t, err, oci.ErrUnavailable)
				synctest.Wait()
				drip.Remove()
				had := r.up.BlobBytes(d)
				if had <= 2*mib {
					t.Fatalf("upstream has sent %d bytes: nothing came ahead", had)
				}
				if restart {
					r.stop()
					r.start(up)
				}
				if got, _, err := r.read(alpine, d); err != nil || !bytes.Equal(got, content(c)) {
					t.Errorf("got %d bytes, %v", len(got), err)
				}
				// What was on its way in three connections when the fill failed may be lost.
				if got := r.up.BlobBytes(d); got > size+3*fillBuffer {
					t.Errorf("upstream sent %d bytes of %d in all", got, size)
				}
				if !slices.Contains(up.ends, 8*mib) {
					t.Errorf("the rest was asked for up to %v, want up to what was there", up.ends)
				}
			})
		})
	}
}

// A huge blob that comes slowly is fetched by several connections; one that
// comes fast is not, nor is one that is not huge.
func TestSlowBlobInParts(t *testing.T) {
	for name, x := range map[string]struct {
		every time.Duration // between two times 32 KiB
		size  int64
		parts bool
	}{"slow": {10 * time.Millisecond, 40 * mib, true}, "fast": {time.Millisecond, 40 * mib, false}, "small": {10 * time.Millisecond, 8 * mib, false}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r, up := newParted(t, Config{probe: 2 * mib, huge: 16 * mib})
				r.up.Clear()
				r.up.On(regtest.Match{}, regtest.Trouble{Drip: regtest.Drip{Bytes: 32 << 10, Every: x.every}})
				c := regtest.Random(1, x.size)
				d := r.up.AddBlob(alpine.Path, c).Digest
				start := time.Now()
				got, _, err := r.read(alpine, d)
				if err != nil || !bytes.Equal(got, content(c)) {
					t.Fatalf("got %d bytes, %v", len(got), err)
				}
				took := time.Since(start)
				alone := time.Duration(x.size/(32<<10)) * x.every
				if faster := took < alone/2; faster != x.parts || (len(up.ends) > 0) != x.parts {
					t.Errorf("took %v, alone %v, in %d parts", took, alone, len(up.ends))
				}
				if n := r.up.BlobBytes(d); n != x.size || up.most > defaultParallelism {
					t.Errorf("upstream sent %d bytes of %d, over %d connections", n, x.size, up.most)
				}
			})
		})
	}
}

// Close cuts the connections that fetch parts as well, and nothing is left
// running.
func TestRangesClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, up := newParted(t, Config{})
		c := regtest.Random(1, 16*mib)
		d := r.up.AddBlob(alpine.Path, c).Digest
		b := r.open(t.Context(), d)
		b.Body.(io.Seeker).Seek(8*mib, io.SeekStart)
		if _, err := io.CopyN(io.Discard, b.Body, 100); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := r.Close(ctx); err != context.Canceled {
			t.Errorf("Close: %v", err)
		}
		if _, err := io.Copy(io.Discard, b.Body); err == nil {
			t.Error("a reader got all of a blob that was cut")
		}
		if up.open != 0 {
			t.Errorf("%d connections are open", up.open)
		}
		if left, _ := filepath.Glob(filepath.Join(r.dir, "tmp", "*.st")); len(left) != 1 {
			t.Errorf("kept %q, want one partial", left)
		}
	})
}

// Real bodies over a real disk: many clients with ranges of every kind at once.
func TestRangesAtOnce(t *testing.T) {
	const size = 8*mib + 777
	r, up := newParted(t, Config{})
	r.up.Clear()
	r.up.On(regtest.Match{}, regtest.Trouble{Drip: regtest.Drip{Bytes: 32 << 10, Every: time.Millisecond}})
	r.cfg.Now = nil
	c := regtest.Random(1, size)
	d := r.up.AddBlob(alpine.Path, c).Digest
	var wg sync.WaitGroup
	for i := range int64(24) {
		off := i * (size / 24)
		r.readAt(&wg, c, d, off, min(2*mib, size-off))
	}
	wg.Wait()
	if n := r.up.BlobBytes(d); n > size*102/100 || up.most > defaultParallelism {
		t.Errorf("upstream sent %d bytes of %d, over %d connections", n, size, up.most)
	}
	if err := r.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(r.dir); err != nil || !r.isStored(d) {
		t.Errorf("not stored, %v", err)
	}
}
