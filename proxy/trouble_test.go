package proxy

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entrepot/entrepot/internal/regtest"
	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
)

func TestTagUpstreamFails(t *testing.T) {
	limit := &oci.Error{Kind: oci.ErrUnavailable, Code: oci.CodeTooManyRequests, RetryAfter: time.Minute}
	for name, c := range map[string]struct {
		policy  Policy
		trouble regtest.Trouble
		gone    bool
		warning string // "": an error
		kind    error
	}{
		"down":           {trouble: regtest.Down(), warning: "stale: upstream docker.io unreachable, cached 3h ago"},
		"5xx":            {trouble: regtest.Trouble{Err: &oci.Error{Kind: oci.ErrUnavailable, Message: "HTTP 503"}}, warning: "stale: upstream docker.io unreachable, cached 3h ago"},
		"429":            {trouble: regtest.Trouble{Err: limit}, warning: "stale: upstream docker.io limits requests, cached 3h ago"},
		"captive portal": {trouble: regtest.Trouble{Err: &oci.Error{Kind: oci.ErrMismatch}}, warning: "stale: upstream docker.io does not answer as a registry, cached 3h ago"},
		"silent":         {trouble: regtest.Trouble{Hold: true}, warning: "stale: upstream docker.io does not answer in time, cached 3h ago"},
		"401":            {trouble: regtest.Trouble{Err: &oci.Error{Kind: oci.ErrUnauthorized}}, warning: "stale: upstream docker.io refuses access, cached 3h ago"},
		"403":            {trouble: regtest.Trouble{Err: &oci.Error{Kind: oci.ErrDenied}}, warning: "stale: upstream docker.io refuses access, cached 3h ago"},
		"404":            {gone: true, kind: oci.ErrNotFound},
		"404, stale":     {policy: Policy{ServeStaleOn404: true}, gone: true, warning: "stale: upstream docker.io has it no more, cached 3h ago"},
		"down, too old":  {policy: Policy{MaxStale: 2 * time.Hour}, trouble: regtest.Down(), kind: oci.ErrUnavailable},
		"down, not yet":  {policy: Policy{MaxStale: 4 * time.Hour}, trouble: regtest.Down(), warning: "stale: upstream docker.io unreachable, cached 3h ago"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c.policy.TagTTL = time.Minute
				r := newRig(t, Config{Policy: func(context.Context, ref.Name) Policy { return c.policy }})
				img := r.up.AddImage(alpine.Path, regtest.Image{}, "3.20")
				if _, _, err := r.pull("3.20"); err != nil {
					t.Fatal(err)
				}
				time.Sleep(3 * time.Hour)
				if c.gone {
					r.up.Delete(alpine.Path, "3.20")
				} else {
					r.up.On(regtest.Match{}, c.trouble)
				}
				start := time.Now()
				m, o, err := r.pull("3.20")
				if d := time.Since(start); d > time.Second {
					t.Errorf("the answer took %v, want at most 1s", d)
				}
				if c.warning == "" {
					wantError(t, err, c.kind)
				} else {
					if err != nil || m.Digest != img.Digest {
						t.Fatalf("got %s, %v", m.Digest, err)
					}
					wantResult(t, o, oci.Stale)
					if o.Warning != c.warning || o.Age.Round(time.Minute) != 3*time.Hour {
						t.Errorf("warning %q, age %v, want %q, 3h", o.Warning, o.Age, c.warning)
					}
				}
				r.up.Clear()
			})
		})
	}
}

// A failing upstream is asked once in a window, not once for each pull, and the
// windows grow; when it is back the answers are current again.
func TestTagBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{})
		r.up.AddImage(alpine.Path, regtest.Image{}, "3.20")
		if _, _, err := r.pull("3.20"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		r.up.ResetLog()
		rule := r.up.On(regtest.Match{}, regtest.Trouble{Err: regtest.Down().Err, Delay: 10 * time.Second})
		waited := time.Duration(0)
		for range 300 { // five minutes
			start := time.Now()
			_, o, err := r.pull("3.20")
			if err != nil {
				t.Fatal(err)
			}
			wantResult(t, o, oci.Stale)
			waited += time.Since(start)
			time.Sleep(time.Second)
		}
		heads := r.up.Count("HEAD", regtest.Manifest)
		if heads < 4 || heads > 9 {
			t.Errorf("%d HEADs in five minutes, want a few", heads)
		}
		if want := time.Duration(heads) * time.Second; waited > want {
			t.Errorf("clients waited %v in all, want at most %v", waited, want)
		}
		rule.Remove()
		time.Sleep(2 * time.Minute)
		_, o, err := r.pull("3.20")
		if err != nil {
			t.Fatal(err)
		}
		wantResult(t, o, oci.Revalidated)
	})
}

// A slow upstream is waited for a second at most; its answer still counts.
func TestTagSlowCheckGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{})
		r.up.AddImage(alpine.Path, regtest.Image{Seed: 1}, "3.20")
		if _, _, err := r.pull("3.20"); err != nil {
			t.Fatal(err)
		}
		next := r.up.AddImage(alpine.Path, regtest.Image{Seed: 2}, "3.20")
		time.Sleep(time.Hour)
		rule := r.up.On(regtest.Match{}, regtest.Trouble{Delay: 4 * time.Second})
		start := time.Now()
		for range 10 { // the first waits, the others do not
			_, o, err := r.pull("3.20")
			if err != nil {
				t.Fatal(err)
			}
			wantResult(t, o, oci.Stale)
		}
		if d := time.Since(start); d != time.Second {
			t.Errorf("ten pulls took %v, want 1s", d)
		}
		time.Sleep(10 * time.Second)
		rule.Remove()
		m, o, err := r.pull("3.20")
		if err != nil || m.Digest != next.Digest {
			t.Errorf("got %s, %v, want the new %s", m.Digest, err, next.Digest)
		}
		wantResult(t, o, oci.Hit)
	})
}

// A tag is forgotten only when it was gone twice, a minute apart.
func TestTagGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{})
		r.up.AddImage(alpine.Path, regtest.Image{}, "3.20")
		if _, _, err := r.pull("3.20"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		r.up.Delete(alpine.Path, "3.20")
		known := func() bool {
			_, err := r.store.Cache().Tag("docker.io", alpine, "3.20")
			return err == nil
		}
		for _, want := range []bool{true, true, false} {
			_, _, err := r.pull("3.20")
			wantError(t, err, oci.ErrNotFound)
			synctest.Wait()
			if known() != want {
				t.Errorf("the tag is known: %v, want %v", known(), want)
			}
			time.Sleep(31 * time.Second)
		}
	})
}

func TestTagRefusedGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{})
		r.up.AddImage(alpine.Path, regtest.Image{}, "3.20")
		if _, _, err := r.pull("3.20"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(24 * time.Hour)
		rule := r.up.On(regtest.Match{}, regtest.Trouble{Err: &oci.Error{Kind: oci.ErrUnauthorized}})
		for range 2 {
			_, o, err := r.pull("3.20")
			if err != nil {
				t.Fatal(err)
			}
			wantResult(t, o, oci.Stale)
			time.Sleep(59 * time.Minute)
		}
		time.Sleep(2 * time.Minute)
		_, _, err := r.pull("3.20")
		wantError(t, err, oci.ErrDenied)
		rule.Remove()
		time.Sleep(time.Minute)
		if _, _, err := r.pull("3.20"); err != nil {
			t.Error(err)
		}
	})
}

// Decision 3: what a client is told where nothing is stored.
func TestUncachedErrors(t *testing.T) {
	for name, c := range map[string]struct {
		trouble regtest.Trouble
		kind    error
		code    string
		timeout bool
		after   time.Duration // RetryAfter
		within  time.Duration
	}{
		"not found": {regtest.Trouble{Err: &oci.Error{Kind: oci.ErrNotFound}}, oci.ErrNotFound, oci.CodeManifestUnknown, false, 0, 0},
		"401":       {regtest.Trouble{Err: &oci.Error{Kind: oci.ErrUnauthorized, Message: "s3cret"}}, oci.ErrDenied, oci.CodeDenied, false, 0, 0},
		"403":       {regtest.Trouble{Err: &oci.Error{Kind: oci.ErrDenied, Message: "s3cret"}}, oci.ErrDenied, oci.CodeDenied, false, 0, 0},
		"429":       {regtest.Trouble{Err: &oci.Error{Kind: oci.ErrUnavailable, Code: oci.CodeTooManyRequests}}, oci.ErrUnavailable, oci.CodeTooManyRequests, false, time.Second, 0},
		"refused":   {regtest.Down(), oci.ErrUnavailable, "", false, retryLater, 0},
		// The net package's error for this matches context.DeadlineExceeded.
		"dial timeout": {regtest.Trouble{Err: &oci.Error{Kind: oci.ErrUnavailable, Err: context.DeadlineExceeded}, Delay: 5 * time.Second}, oci.ErrUnavailable, "", false, retryLater, 5 * time.Second},
		"no headers":   {regtest.Trouble{Hold: true}, oci.ErrUnavailable, "", true, retryLater, 25 * time.Second},
		"html":         {regtest.Trouble{Err: &oci.Error{Kind: oci.ErrMismatch}}, oci.ErrMismatch, "", false, 0, 0},
		"too large":    {regtest.Trouble{Err: &oci.Error{Kind: oci.ErrTooLarge}}, oci.ErrMismatch, "", false, 0, 0},
		"405":          {regtest.Trouble{Err: &oci.Error{Kind: oci.ErrUnsupported}}, oci.ErrMismatch, "", false, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, Config{})
				img := r.up.AddImage(alpine.Path, regtest.Image{Layers: []int64{10}}, "3.20")
				r.up.On(regtest.Match{}, c.trouble)
				requests := map[string]func() error{
					"tag": func() error { _, _, err := r.pull("3.20"); return err },
					"digest": func() error {
						_, err := r.Manifest(t.Context(), alpine.WithDigest(img.Digest))
						return err
					},
					"resolve": func() error { _, err := r.Resolve(t.Context(), alpine.WithTag("3.20")); return err },
					"blob":    func() error { _, _, err := r.read(alpine, img.Layers[0].Digest); return err },
					"stat":    func() error { _, err := r.Stat(t.Context(), alpine, img.Config.Digest); return err },
				}
				for what, request := range requests {
					start := time.Now()
					e := wantError(t, request(), c.kind)
					code := c.code
					if code == oci.CodeManifestUnknown && (what == "blob" || what == "stat") {
						code = oci.CodeBlobUnknown
					}
					if e.Code != code || e.Timeout != c.timeout || e.RetryAfter != c.after {
						t.Errorf("%s: error %+v, want code %q, timeout %v, retry after %v", what, *e, code, c.timeout, c.after)
					}
					if e.Message == "" || strings.Contains(e.Message, "s3cret") {
						t.Errorf("%s: clients see %q", what, e.Message)
					}
					if d := time.Since(start); d > c.within {
						t.Errorf("%s: answered after %v, want at most %v", what, d, c.within)
					}
				}
				r.up.Clear()
			})
		})
	}
}

// 429: the upstream is left in peace for as long as it asked.
func TestRetryAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{})
		img := r.up.AddImage(alpine.Path, regtest.Image{Layers: []int64{10}}, "3.20", "old")
		if _, _, err := r.pull("old"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		r.up.ResetLog()
		r.up.On(regtest.Match{Kind: regtest.Manifest}, regtest.Trouble{
			Err: &oci.Error{Kind: oci.ErrUnavailable, Code: oci.CodeTooManyRequests, RetryAfter: time.Minute}})
		start := time.Now()
		for time.Since(start) < time.Minute {
			_, _, err := r.pull("3.20")
			e := wantError(t, err, oci.ErrUnavailable)
			if left := time.Minute - time.Since(start); e.Code != oci.CodeTooManyRequests || e.RetryAfter != left {
				t.Fatalf("error %+v, want a 429 and RetryAfter %v", *e, left)
			}
			_, o, err := r.pull("old")
			if err != nil {
				t.Fatal(err)
			}
			wantResult(t, o, oci.Stale)
			time.Sleep(5 * time.Second)
		}
		r.wantWire("HEAD manifest")
		if _, _, err := r.read(alpine, img.Layers[0].Digest); err != nil {
			t.Errorf("blobs are held up by a limit of manifests: %v", err)
		}
	})
}
