package proxy

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entrepot/entrepot/internal/regtest"
	"github.com/entrepot/entrepot/oci"
)

// blackHole is an upstream that no connection reaches.
func blackHole() regtest.Trouble {
	return regtest.Trouble{Err: &oci.Error{Kind: oci.ErrUnavailable}, Delay: 5 * time.Second}
}

// Rows 6 and 7: with the upstream down, what is stored is answered at once by
// digest, and by tag within a second at first and 50 ms as soon as the breaker
// is open, for a week; then it is back.
func TestDownHits(t *testing.T) {
	for name, trouble := range map[string]regtest.Trouble{"refused": regtest.Down(), "black hole": blackHole()} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, Config{})
				img := r.up.AddImage(alpine.Path, regtest.Image{Layers: []int64{100}}, "3.20")
				if _, _, err := r.pull("3.20"); err != nil {
					t.Fatal(err)
				}
				if _, _, err := r.read(alpine, img.Layers[0].Digest); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Hour)
				r.up.ResetLog()
				r.up.On(regtest.Match{}, trouble)
				for until := time.Now().Add(7 * 24 * time.Hour); time.Now().Before(until); time.Sleep(10 * time.Minute) {
					limit := time.Second
					if r.isBroken() {
						limit = 50 * time.Millisecond
					}
					r.answersWithin(limit, oci.Stale, func(ctx context.Context) error { _, err := r.Manifest(ctx, alpine.WithTag("3.20")); return err })
					r.answersWithin(0, oci.Hit, func(ctx context.Context) error {
						_, err := r.Manifest(ctx, alpine.WithDigest(img.Digest))
						return err
					})
					r.answersWithin(0, oci.Hit, func(ctx context.Context) error { return r.readIn(ctx, img.Layers[0].Digest) })
				}
				if !r.isBroken() {
					t.Error("the breaker is closed after a week")
				}
				r.up.Clear()
				time.Sleep(maxBackoff)
				_, o, err := r.pull("3.20")
				if err != nil || r.isBroken() {
					t.Errorf("the upstream is back: %v, broken %v", err, r.Broken())
				}
				wantResult(t, o, oci.Revalidated)
			})
		})
	}
}

func (r *rig) isBroken() bool { return len(r.Broken()) > 0 }

func (r *rig) answersWithin(limit time.Duration, want oci.Result, request func(context.Context) error) {
	r.t.Helper()
	var o oci.Outcome
	start := time.Now()
	if err := request(oci.WithOutcome(context.Background(), &o)); err != nil {
		r.t.Fatal(err)
	}
	if d := time.Since(start); d > limit {
		r.t.Fatalf("answered after %v, want at most %v", d, limit)
	}
	wantResult(r.t, o, want)
}

func (r *rig) readIn(ctx context.Context, d oci.Digest) error {
	b, err := r.Blob(ctx, alpine, d, 0)
	if err != nil {
		return err
	}
	return b.Body.Close()
}

// Row 8: with nothing stored the answer is there within 5 s, at once as soon as
// the breaker is open, and the upstream is asked once in a window; manifests do
// not hold up blobs.
func TestDownCold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{})
		img := r.up.AddImage(alpine.Path, regtest.Image{Layers: []int64{100}}, "3.20")
		rule := r.up.On(regtest.Match{Kind: regtest.Manifest}, blackHole())
		var wg sync.WaitGroup
		for i := range 1000 {
			wg.Go(func() {
				start := time.Now()
				_, _, err := r.pull(fmt.Sprint("v", i%100))
				if e := wantError(t, err, oci.ErrUnavailable); e.RetryAfter <= 0 || e.Timeout {
					t.Errorf("error %+v, want a 503 with RetryAfter", *e)
				}
				if d := time.Since(start); d > 5*time.Second {
					t.Errorf("answered after %v", d)
				}
			})
		}
		wg.Wait()
		if got := r.Broken(); len(got) != 1 || got[0] != "docker.io" {
			t.Fatalf("broken are %v, want docker.io", got)
		}
		r.up.ResetLog()
		for i := range 300 { // five minutes
			start := time.Now()
			_, _, err := r.pull(fmt.Sprint("w", i))
			if e := wantError(t, err, oci.ErrUnavailable); e.RetryAfter <= 0 || e.RetryAfter > maxBackoff {
				t.Errorf("error %+v, want RetryAfter", *e)
			}
			if d := time.Since(start); d > 0 && d != 5*time.Second {
				t.Errorf("answered after %v, want at once but for probes", d)
			}
			time.Sleep(time.Second)
		}
		if n := len(r.up.Log()); n < 3 || n > 8 {
			t.Errorf("%d requests in five minutes, want one in each window", n)
		}
		if _, _, err := r.read(alpine, img.Layers[0].Digest); err != nil {
			t.Errorf("blobs are held up: %v", err)
		}
		rule.Remove()
		time.Sleep(maxBackoff)
		if _, _, err := r.pull("3.20"); err != nil || r.isBroken() {
			t.Errorf("the upstream is back: %v, broken %v", err, r.Broken())
		}
	})
}

// TestFault09LimitedCrowd: a limit is waited out by all, and one request in a
// window finds out whether it is over; hits are not affected.
func TestFault09LimitedCrowd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{})
		img := r.up.AddImage(alpine.Path, regtest.Image{}, "3.20")
		if _, _, err := r.pull("3.20"); err != nil {
			t.Fatal(err)
		}
		r.up.On(regtest.Match{}, regtest.Trouble{Delay: 100 * time.Millisecond,
			Err: &oci.Error{Kind: oci.ErrUnavailable, Code: oci.CodeTooManyRequests, RetryAfter: 30 * time.Second}})
		if _, _, err := r.pull("first"); err == nil {
			t.Fatal("got no error")
		}
		r.up.ResetLog()
		const windows = 10
		var wg sync.WaitGroup
		end := time.Now().Add(windows * 30 * time.Second)
		for i := range 1000 {
			wg.Go(func() {
				for time.Now().Before(end) {
					_, _, err := r.pull(fmt.Sprint("v", i))
					e := wantError(t, err, oci.ErrUnavailable)
					if e.Code != oci.CodeTooManyRequests || e.RetryAfter < time.Second {
						t.Errorf("error %+v, want a 429 with RetryAfter", *e)
						return
					}
					r.answersWithin(0, oci.Hit, func(ctx context.Context) error {
						_, err := r.Manifest(ctx, alpine.WithDigest(img.Digest))
						return err
					})
					time.Sleep(e.RetryAfter)
				}
			})
		}
		wg.Wait()
		if n := len(r.up.Log()); n > windows+1 {
			t.Errorf("%d requests in %d windows", n, windows)
		}
	})
}

// TestFault09Attempts: once the limit is over everybody gets what he wants, and
// what it took upstream is hardly more than without a limit.
func TestFault09Attempts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{})
		const clients = 1000
		for i := range clients {
			r.up.AddImage(alpine.Path, regtest.Image{}, fmt.Sprint("v", i))
		}
		rule := r.up.On(regtest.Match{}, regtest.Trouble{Delay: 100 * time.Millisecond,
			Err: &oci.Error{Kind: oci.ErrUnavailable, Code: oci.CodeTooManyRequests, RetryAfter: 30 * time.Second}})
		if _, err := r.Resolve(t.Context(), alpine.WithTag("v0")); err == nil {
			t.Fatal("got no error") // and from now on it is known
		}
		var wg sync.WaitGroup
		for i := range clients {
			wg.Go(func() {
				for {
					_, err := r.Resolve(t.Context(), alpine.WithTag(fmt.Sprint("v", i)))
					if err == nil {
						return
					}
					e, ok := errors.AsType[*oci.Error](err)
					if !ok || e.Code != oci.CodeTooManyRequests {
						t.Errorf("client %d: %v, want a 429", i, err)
						return
					}
					time.Sleep(e.RetryAfter)
				}
			})
		}
		time.Sleep(95 * time.Second)
		rule.Remove()
		wg.Wait()
		if n := len(r.up.Log()); n > clients*11/10 {
			t.Errorf("%d requests for %d clients, want at most a tenth more", n, clients)
		}
	})
}
