package proxy

import (
	"context"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entrepot/entrepot/internal/regtest"
	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
)

// always returns a Config.Policy.
func always(pol Policy) func(context.Context, ref.Name) Policy {
	return func(context.Context, ref.Name) Policy { return pol }
}

// B4: some tags are fresh for another time than the others.
func TestTagTTLOfSomeTags(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{Policy: always(Policy{TagTTL: time.Minute, TagTTLs: []TagTTL{
			{regexp.MustCompile(`^nightly$`), 0},
			{regexp.MustCompile(`^v\d`), time.Hour},
			{regexp.MustCompile(`v1`), time.Second}, // too late for v1
			{regexp.MustCompile(`^frozen`), -1},
		}})})
		for _, tag := range []string{"latest", "nightly", "v1", "frozen-v1", "frozen-2"} {
			r.up.AddImage(alpine.Path, regtest.Image{}, tag)
			if _, _, err := r.pull(tag); err != nil {
				t.Fatal(err)
			}
		}
		for _, tt := range []struct {
			after time.Duration
			fresh string // the tags that are
		}{
			{500 * time.Millisecond, "latest v1 frozen-v1 frozen-2"},
			{59 * time.Second, "latest v1 frozen-2"},
			{59 * time.Minute, "v1 frozen-2"},
			{1000 * time.Hour, "frozen-2"},
		} {
			time.Sleep(tt.after)
			for _, tag := range []string{"latest", "nightly", "v1", "frozen-v1", "frozen-2"} {
				rec, _ := r.store.Cache().Tag("docker.io", alpine, tag)
				pol, _ := r.policy(t.Context(), alpine)
				if got, want := pol.fresh(tag, rec.ValidatedAt, time.Now()), strings.Contains(" "+tt.fresh+" ", " "+tag+" "); got != want {
					t.Errorf("%s later %s is fresh: %t, want %t", tt.after, tag, got, want)
				}
			}
		}
		r.up.ResetLog()
		for _, tag := range []string{"frozen-2", "nightly", "nightly"} {
			if _, _, err := r.pull(tag); err != nil {
				t.Fatal(err)
			}
			synctest.Wait() // until the answer is stored it is everybody's
		}
		r.wantWire("HEAD manifest", "HEAD manifest")
	})
}

// B4: a hot tag is answered at once and checked afterwards, once for all who
// ask; one that is older is checked first.
func TestTagStaleWhileRevalidate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{Policy: always(Policy{TagTTL: time.Minute, StaleWhileRevalidate: true})})
		old := r.up.AddImage(alpine.Path, regtest.Image{Seed: 1}, "3.20")
		if _, _, err := r.pull("3.20"); err != nil {
			t.Fatal(err)
		}
		next := r.up.AddImage(alpine.Path, regtest.Image{Seed: 2}, "3.20")
		slow := r.up.On(regtest.Match{Method: "HEAD"}, regtest.Trouble{Delay: 10 * time.Second})
		time.Sleep(61 * time.Second)
		r.up.ResetLog()
		for range 3 {
			start := time.Now()
			m, o, err := r.pull("3.20")
			if err != nil || m.Digest != old.Digest || time.Since(start) != 0 {
				t.Fatalf("got %s, %v after %v; want the old one at once", m.Digest, err, time.Since(start))
			}
			wantResult(t, o, oci.Stale)
			if o.Age != 61*time.Second || o.Warning != "" {
				t.Errorf("age %v, warning %q; want 61s and none", o.Age, o.Warning)
			}
		}
		time.Sleep(11 * time.Second)
		slow.Remove()
		r.wantWire("HEAD manifest", "GET manifest")
		m, o, err := r.pull("3.20")
		if err != nil || m.Digest != next.Digest {
			t.Errorf("got %s, %v, want the new one", m.Digest, err)
		}
		wantResult(t, o, oci.Hit)

		last := r.up.AddImage(alpine.Path, regtest.Image{Seed: 3}, "3.20")
		time.Sleep(2 * time.Minute)
		if m, _, err := r.pull("3.20"); err != nil || m.Digest != last.Digest {
			t.Errorf("after twice its time: got %s, %v, want it checked first", m.Digest, err)
		}
	})
}

// F5: while few requests are left, a tag is answered as it is, whatever its age,
// and checked ten times less often; what is not here is still fetched.
func TestTagScarce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var scarce atomic.Bool
		r := newRig(t, Config{Policy: always(Policy{TagTTL: time.Minute, MaxStale: time.Hour}), Scarce: func(string) bool { return scarce.Load() }})
		old := r.up.AddImage(alpine.Path, regtest.Image{Seed: 1}, "3.20")
		if _, _, err := r.pull("3.20"); err != nil {
			t.Fatal(err)
		}
		next := r.up.AddImage(alpine.Path, regtest.Image{Seed: 2}, "3.20", "new")
		scarce.Store(true)
		r.up.ResetLog()
		for range 5 {
			time.Sleep(110 * time.Second)
			m, o, err := r.pull("3.20")
			if err != nil || m.Digest != old.Digest {
				t.Fatalf("got %s, %v, want what is stored", m.Digest, err)
			}
			wantResult(t, o, oci.Stale)
			if !strings.HasPrefix(o.Warning, "stale: upstream docker.io leaves us few requests, cached ") {
				t.Errorf("warning %q", o.Warning)
			}
		}
		r.wantWire()
		time.Sleep(time.Minute)
		if m, _, err := r.pull("3.20"); err != nil || m.Digest != old.Digest {
			t.Errorf("got %s, %v, want what is stored once more", m.Digest, err)
		}
		synctest.Wait()
		r.wantWire("HEAD manifest", "GET manifest")
		if m, _, err := r.pull("3.20"); err != nil || m.Digest != next.Digest {
			t.Errorf("got %s, %v, want the new one", m.Digest, err)
		}
		if _, _, err := r.pull("new"); err != nil {
			t.Errorf("what is not here: %v", err)
		}
		r.up.ResetLog()
		time.Sleep(61 * time.Minute)
		if _, _, err := r.pull("3.20"); err != nil {
			t.Fatal(err)
		}
		r.wantWire("HEAD manifest") // first, as it is older than max_stale
	})
}

// B5: for how long what the upstream refuses is answered, and how often it has
// to say that a tag is gone.
func TestTagGraceOfOurOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, tt := range []struct {
			grace, asked time.Duration
		}{{10 * time.Minute, 9 * time.Minute}, {-1, -1}} {
			r := newRig(t, Config{Policy: always(Policy{TagTTL: time.Minute, AuthGrace: tt.grace})})
			r.up.AddImage(alpine.Path, regtest.Image{}, "3.20")
			if _, _, err := r.pull("3.20"); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Hour)
			r.up.On(regtest.Match{}, regtest.Trouble{Err: &oci.Error{Kind: oci.ErrDenied}})
			if tt.asked >= 0 {
				for range 2 {
					_, o, err := r.pull("3.20")
					if err != nil {
						t.Error(err)
					}
					wantResult(t, o, oci.Stale)
					time.Sleep(tt.asked)
				}
			}
			_, _, err := r.pull("3.20")
			wantError(t, err, oci.ErrDenied)
		}
	})
}

func TestTagGoneAtTheFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, tt := range []struct {
			confirm time.Duration
			checks  int
		}{{-1, 1}, {5 * time.Minute, 6}} {
			r := newRig(t, Config{Policy: always(Policy{TagTTL: time.Minute, ConfirmMissing: tt.confirm})})
			r.up.AddImage(alpine.Path, regtest.Image{}, "3.20")
			if _, _, err := r.pull("3.20"); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Hour)
			r.up.Delete(alpine.Path, "3.20")
			checks := 0
			for known := true; known; checks++ {
				_, _, err := r.pull("3.20")
				wantError(t, err, oci.ErrNotFound)
				_, err = r.store.Cache().Tag("docker.io", alpine, "3.20")
				known = err == nil
				time.Sleep(time.Minute)
			}
			if checks != tt.checks {
				t.Errorf("confirmed after %v: forgotten at check %d, want %d", tt.confirm, checks, tt.checks)
			}
		}
	})
}

// D3: a proof does for longer while the upstream cannot be asked, where the
// policy says so; a refusal ends it.
func TestEntryOffline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, l := startLandlord(t, &oci.Error{Kind: oci.ErrDenied})
		r.stop()
		r.cfg.Policy = always(Policy{Scope: "docker.io+passthrough", Passthrough: true, TagTTL: time.Minute, OfflineProofTTL: 24 * time.Hour})
		r.start(l)
		img := r.up.AddImage(other.Path, regtest.Image{Layers: []int64{1000}}, "v1")
		asA := requests(r, "a", other, img)
		for _, request := range asA {
			if err := request(); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		down := r.up.On(regtest.Match{}, regtest.Trouble{Err: &oci.Error{Kind: oci.ErrUnavailable}, Delay: 5 * time.Second})
		time.Sleep(23 * time.Hour)
		for what, request := range asA {
			start := time.Now()
			if err := request(); err != nil {
				t.Errorf("%s: %v", what, err)
			}
			// A tag waits a moment for the right to it, and a moment for whether it moved.
			if took := time.Since(start); what != "tags" && took > 2*time.Second {
				t.Errorf("%s: after %v", what, took)
			}
		}
		for what, request := range requests(r, "b", other, img) {
			if err := request(); err == nil {
				t.Errorf("%s is given to one who was never let in", what)
			}
		}
		time.Sleep(time.Hour)
		wantError(t, asA["digest"](), oci.ErrUnavailable)

		down.Remove()
		time.Sleep(time.Hour)
		if err := asA["digest"](); err != nil {
			t.Error("the upstream is back:", err)
		}
		l.let("a")
		time.Sleep(time.Hour)
		wantError(t, asA["digest"](), oci.ErrDenied)
		r.up.On(regtest.Match{}, regtest.Down())
		time.Sleep(time.Minute)
		if err := asA["digest"](); err == nil {
			t.Error("a proof does after the upstream has refused")
		}
	})
}
