package proxy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entrepot/entrepot/internal/regtest"
	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
)

const mib = 1 << 20

// open opens a blob at the start, and fails the test where that does not work.
func (r *rig) open(ctx context.Context, d oci.Digest) oci.Blob {
	r.t.Helper()
	b, err := r.Blob(ctx, alpine, d, 0)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { b.Body.Close() })
	return b
}

// Many clients, some of which leave early or read slowly, cost the upstream one
// request and each byte once. (A second client of distribution's proxy goes to
// the upstream again, and its first client's socket paces the cache's fill.)
func TestFillOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{})
		c := regtest.Random(1, mib)
		l := r.up.AddBlob(alpine.Path, c)
		r.up.On(regtest.Match{}, regtest.Trouble{Delay: time.Second, Drip: regtest.Drip{Bytes: 16 << 10, Every: 10 * time.Millisecond}})
		want := content(c)
		var mu sync.Mutex
		counts := map[oci.Result]int{}
		var wg sync.WaitGroup
		for i := range 100 {
			wg.Go(func() {
				time.Sleep(time.Duration(i) * 10 * time.Millisecond)
				var o oci.Outcome
				b, err := r.Blob(oci.WithOutcome(t.Context(), &o), alpine, l.Digest, 0)
				if err != nil {
					t.Error(err)
					return
				}
				defer b.Body.Close()
				mu.Lock()
				counts[o.Result]++
				mu.Unlock()
				var body io.Reader = b.Body
				switch {
				case i < 10: // leaves early, the first one too
					io.CopyN(io.Discard, body, 100<<10)
					return
				case i < 20: // reads slowly
					body = slow{body}
				}
				if got, err := io.ReadAll(body); err != nil || !bytes.Equal(got, want) {
					t.Errorf("client %d got %d bytes, %v", i, len(got), err)
				}
			})
		}
		wg.Wait()
		r.wantWire("GET blob")
		if got := r.up.BlobBytes(l.Digest); got != l.Size {
			t.Errorf("upstream sent %d bytes, want %d", got, l.Size)
		}
		if counts[oci.Miss] != 1 || counts[oci.Coalesced] != 99 {
			t.Errorf("answered as %v, want 1 miss and 99 coalesced", counts)
		}
		if n := r.count(EventFill); n != 1 {
			t.Errorf("%d fills, want 1", n)
		}
	})
}

// slow is a client that reads 64 KiB a second.
type slow struct{ io.Reader }

func (s slow) Read(p []byte) (int, error) {
	time.Sleep(time.Second)
	return s.Reader.Read(p[:min(len(p), 64<<10)])
}

// The first client stops reading, and then goes: neither holds up the fill.
func TestFillIsDetached(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{})
		c := regtest.Random(1, 3*mib)
		l := r.up.AddBlob(alpine.Path, c)
		ctx, cancel := context.WithCancel(t.Context())
		first := r.open(ctx, l.Digest)
		cancel()
		first.Body.Close()
		synctest.Wait()
		got, o, err := r.read(alpine, l.Digest)
		if err != nil || !bytes.Equal(got, content(c)) {
			t.Errorf("got %d bytes, %v", len(got), err)
		}
		wantResult(t, o, oci.Hit)
		r.wantWire("GET blob")
	})
}

// What an upstream drips is passed on as it comes, and not kept until there is
// a large piece of it: the next client in the way gives up on silence.
func TestFillPassesOnDrips(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{})
		c := regtest.Random(1, mib)
		l := r.up.AddBlob(alpine.Path, c)
		r.up.On(regtest.Match{}, regtest.Trouble{Drip: regtest.Drip{Bytes: 1 << 10, Every: time.Second}})
		b := r.open(t.Context(), l.Digest)
		got := make([]byte, 64<<10)
		for n := 0; n < len(got); {
			start := time.Now()
			m, err := b.Body.Read(got[n:])
			if err != nil {
				t.Fatal(err)
			}
			n += m
			if silent := time.Since(start); silent > 3*time.Second {
				t.Fatalf("silent for %v after %d bytes", silent, n-m)
			}
		}
		if !bytes.Equal(got, content(c)[:len(got)]) {
			t.Error("got other bytes")
		}
	})
}

// A client that goes before the upstream has answered does not end the fill
// either, and does not wait for it.
func TestFillOutlivesImpatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{})
		l := r.up.AddBlob(alpine.Path, regtest.Random(1, 10))
		r.up.On(regtest.Match{}, regtest.Trouble{Delay: time.Minute})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := r.Blob(ctx, alpine, l.Digest, 0); err != context.DeadlineExceeded {
			t.Errorf("error is %v, want the context's", err)
		}
		start := time.Now()
		_, err := r.Blob(t.Context(), alpine, l.Digest, 0)
		if e := wantError(t, err, oci.ErrUnavailable); !e.Timeout {
			t.Errorf("error %+v is no timeout", *e)
		}
		if d := time.Since(start); d != 25*time.Second {
			t.Errorf("gave up after %v, want 25s", d)
		}
		time.Sleep(time.Minute)
		_, o, err := r.read(alpine, l.Digest)
		if err != nil {
			t.Error(err)
		}
		wantResult(t, o, oci.Hit)
		r.wantWire("GET blob")
	})
}

// Two proxies in one process know nothing of each other. (distribution keeps
// its transfers in a package global.)
func TestFillsAreNotGlobal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := newRig(t, Config{}), newRig(t, Config{})
		c := regtest.Random(1, mib)
		l := a.up.AddBlob(alpine.Path, c)
		b.up.AddBlob(alpine.Path, c)
		rule := a.up.On(regtest.Match{}, regtest.Trouble{Hold: true})
		done := make(chan error)
		go func() { _, _, err := a.read(alpine, l.Digest); done <- err }()
		<-rule.Reached()
		if _, _, err := b.read(alpine, l.Digest); err != nil {
			t.Error(err)
		}
		rule.Release()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// Nobody gets the last 64 KiB before the digest is right, however the blob is
// read; everything before them is there at once.
func TestFillHoldsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{})
		l := r.up.AddBlob(alpine.Path, regtest.Random(1, mib))
		rule := r.up.On(regtest.Match{}, regtest.Trouble{End: regtest.EndStall, At: mib - 1})
		got := make([]byte, mib)
		n := 0
		b := r.open(t.Context(), l.Digest)
		go func() {
			for n < mib {
				k, err := b.Body.Read(got[n:])
				n += k
				if err != nil {
					t.Error(err)
					return
				}
			}
		}()
		tail := r.open(t.Context(), l.Digest)
		if _, err := tail.Body.(io.Seeker).Seek(-10, io.SeekEnd); err != nil {
			t.Fatal(err)
		}
		tailRead := false
		go func() {
			io.ReadAll(tail.Body)
			tailRead = true
		}()
		synctest.Wait()
		if n != mib-holdBack || tailRead {
			t.Errorf("got %d bytes (and the tail: %v) before the digest is known, want %d", n, tailRead, mib-holdBack)
		}
		rule.Release()
		synctest.Wait()
		if n != mib || !tailRead {
			t.Errorf("got %d bytes (and the tail: %v) in the end, want all", n, tailRead)
		}
	})
}

// Wrong bytes: connections end before the content does, nothing is kept, and
// the upstream is not asked again for a minute.
func TestFillMismatch(t *testing.T) {
	troubles := map[string]regtest.Trouble{
		"first byte":  {Flip: regtest.FlipFirst},
		"middle byte": {Flip: regtest.FlipMiddle},
		"last byte":   {Flip: regtest.FlipLast},
		"longer":      {Extra: 10},
		"shorter":     {Extra: -10},
		"no size":     {Flip: regtest.FlipMiddle, NoSize: true},
	}
	for name, trouble := range troubles {
		for _, size := range []int64{100, mib} {
			t.Run(fmt.Sprintf("%s of %d", name, size), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					r := newRig(t, Config{})
					l := r.up.AddBlob(alpine.Path, regtest.Random(1, size))
					rule := r.up.On(regtest.Match{}, trouble)
					got, _, err := r.read(alpine, l.Digest)
					wantError(t, err, oci.ErrMismatch)
					if size == 100 && got != nil || int64(len(got)) > size+10-holdBack && got != nil {
						t.Errorf("got %d of %d bytes", len(got), size)
					}
					synctest.Wait()
					if r.isStored(l.Digest) {
						t.Error("wrong content is stored")
					}
					if n := r.count(EventMismatch); n != 1 {
						t.Errorf("%d mismatches were told, want 1", n)
					}
					rule.Remove()
					time.Sleep(quarantine - time.Second)
					_, o, err := r.read(alpine, l.Digest)
					wantError(t, err, oci.ErrMismatch)
					wantResult(t, o, oci.Negative)
					r.wantWire("GET blob")
					time.Sleep(time.Second)
					if _, _, err := r.read(alpine, l.Digest); err != nil {
						t.Error(err)
					}
					synctest.Wait()
					if left, _ := filepath.Glob(filepath.Join(r.dir, "tmp", "*")); len(left) > 0 {
						t.Errorf("left in tmp: %q", left)
					}
				})
			})
		}
	}
}

// two is an upstream of two places: after a Reject it asks the other one.
type two struct {
	*regtest.Memory
	other    *regtest.Memory
	mu       sync.Mutex // guards rejected
	rejected int
}

func (w *two) Blob(ctx context.Context, n ref.Name, d oci.Digest, off int64) (oci.Blob, error) {
	w.mu.Lock()
	place := w.Memory
	if w.rejected > 0 {
		place = w.other
	}
	w.mu.Unlock()
	b, err := place.Blob(ctx, n, d, off)
	b.Body = rejecter{b.Body, w}
	return b, err
}

type rejecter struct {
	io.ReadCloser
	w *two
}

func (r rejecter) Reject() bool {
	r.w.mu.Lock()
	defer r.w.mu.Unlock()
	r.w.rejected++
	return r.w.rejected == 1
}

// Wrong bytes at one place, right ones at another: whoever has got nothing
// wrong notices nothing.
func TestFillMismatchElsewhere(t *testing.T) {
	for name, c := range map[string]struct {
		size   int64
		flip   regtest.Flip
		read   int64 // before the content turns out wrong
		other  regtest.Trouble
		stored bool
		want   error
	}{
		"small":                         {1000, regtest.FlipFirst, 0, regtest.Trouble{}, true, nil},
		"nothing given yet":             {mib, regtest.FlipFirst, 0, regtest.Trouble{}, true, nil},
		"given bytes are right":         {mib, regtest.FlipMiddle, mib / 2, regtest.Trouble{}, true, nil},
		"given bytes are wrong":         {mib, regtest.FlipMiddle, mib/2 + 1, regtest.Trouble{}, true, oci.ErrMismatch},
		"both wrong":                    {mib, regtest.FlipLast, mib / 2, regtest.Trouble{Flip: regtest.FlipLast}, false, oci.ErrMismatch},
		"the other is down":             {mib, regtest.FlipLast, mib / 2, regtest.Down(), false, oci.ErrMismatch},
		"the other gives up on the way": {mib, regtest.FlipLast, 0, regtest.Trouble{End: regtest.EndCut, At: 100 << 10}, false, oci.ErrUnavailable},
		"the other says no size":        {mib, regtest.FlipMiddle, mib / 2, regtest.Trouble{NoSize: true}, true, nil},
		"the other says another size":   {mib, regtest.FlipMiddle, 100 << 10, regtest.Trouble{Extra: 100}, false, oci.ErrMismatch},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, Config{})
				up := &two{Memory: r.up, other: regtest.NewMemory("other", r.up.Shelf)}
				r.stop()
				r.start(up)
				body := regtest.Random(1, c.size)
				l := r.up.AddBlob(alpine.Path, body)
				lastByte := r.up.On(regtest.Match{}, regtest.Trouble{Flip: c.flip, End: regtest.EndStall, At: c.size - 1})
				up.other.On(regtest.Match{}, c.other)
				go func() { // once the reader has got as much as the test wants
					synctest.Wait()
					lastByte.Release()
				}()
				got, err := readSlowly(r, l.Digest, c.read, lastByte)
				if !errors.Is(err, c.want) {
					t.Errorf("error is %v, want %v", err, c.want)
				}
				if err == nil && !bytes.Equal(got, content(body)) {
					t.Errorf("got %d bytes, not the right ones", len(got))
				}
				if err != nil && int64(len(got)) > c.size-holdBack {
					t.Errorf("got %d bytes of a wrong blob of %d", len(got), c.size)
				}
				synctest.Wait()
				if r.isStored(l.Digest) != c.stored {
					t.Errorf("stored: %v, want %v", !c.stored, c.stored)
				}
			})
		})
	}
}

// readSlowly reads a beginning, and the rest when the rule has let go.
func readSlowly(r *rig, d oci.Digest, first int64, rule *regtest.Rule) ([]byte, error) {
	b, err := r.Blob(r.t.Context(), alpine, d, 0)
	if err != nil {
		return nil, err
	}
	defer b.Body.Close()
	got := make([]byte, first)
	if _, err := io.ReadFull(b.Body, got); err != nil {
		return got, err
	}
	<-rule.Reached()
	time.Sleep(time.Second) // virtual: until everybody waits
	rest, err := io.ReadAll(b.Body)
	return append(got, rest...), err
}

// The upstream gives up: clients are cut short, and the next fill goes on where
// this one stopped, after a restart too.
func TestFillResumes(t *testing.T) {
	for _, restart := range []bool{false, true} {
		t.Run(fmt.Sprintf("restart %v", restart), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, Config{})
				c := regtest.Random(1, 3*mib)
				l := r.up.AddBlob(alpine.Path, c)
				r.up.On(regtest.Match{Times: 1}, regtest.Trouble{End: regtest.EndReset, At: 2 * mib})
				got, _, err := r.read(alpine, l.Digest)
				wantError(t, err, oci.ErrUnavailable)
				if !bytes.Equal(got, content(c)[:len(got)]) || len(got) != 2*mib {
					t.Errorf("got %d bytes before the cut, want 2 MiB", len(got))
				}
				if restart {
					r.restart()
				}
				got, o, err := r.read(alpine, l.Digest)
				if err != nil || !bytes.Equal(got, content(c)) {
					t.Errorf("got %d bytes, %v", len(got), err)
				}
				wantResult(t, o, oci.Miss)
				log := r.up.Log()
				if len(log) != 2 || log[1].Offset != 2*mib || r.up.BlobBytes(l.Digest) != l.Size {
					t.Errorf("upstream sent %d bytes, and last from %d; want each byte once", r.up.BlobBytes(l.Digest), log[len(log)-1].Offset)
				}
			})
		})
	}
}

// What an earlier fill left is wrong, or does not fit: it is thrown away, and
// no client notices.
func TestFillResumesFromWrongPartial(t *testing.T) {
	for name, second := range map[string]int64{"same size": 3 * mib, "now smaller": mib} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, Config{})
				c := regtest.Random(1, second)
				d := regtest.DigestOf(c)
				r.up.AddBlobAs(alpine.Path, d, regtest.Random(2, 3*mib))
				r.up.On(regtest.Match{Times: 1}, regtest.Trouble{End: regtest.EndCut, At: 2 * mib})
				_, _, err := r.read(alpine, d)
				wantError(t, err, oci.ErrUnavailable)
				synctest.Wait()
				r.up.AddBlobAs(alpine.Path, d, c)
				b := r.open(t.Context(), d)
				synctest.Wait()
				if got, err := io.ReadAll(b.Body); err != nil || !bytes.Equal(got, content(c)) {
					t.Errorf("got %d bytes, %v", len(got), err)
				}
			})
		})
	}
}

// A partial that has all bytes gives nobody a right that nobody has proved.
func TestFillFromCompletePartial(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{})
		c := content(regtest.Random(1, mib))
		d := oci.FromBytes(c, "")
		spool, err := r.store.Cache().Spool(d, mib)
		if err != nil {
			t.Fatal(err)
		}
		spool.Write(c)
		if err := spool.Keep(); err != nil {
			t.Fatal(err)
		}
		spool.Release()
		_, _, err = r.read(alpine, d)
		wantError(t, err, oci.ErrNotFound)
		r.wantWire("HEAD blob")
		r.up.AddBlob(alpine.Path, regtest.Random(1, mib))
		time.Sleep(time.Minute)
		if got, _, err := r.read(alpine, d); err != nil || !bytes.Equal(got, c) {
			t.Errorf("got %d bytes, %v", len(got), err)
		}
		r.wantWire("HEAD blob", "HEAD blob")
	})
}
