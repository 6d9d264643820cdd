package proxy

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entrepot/entrepot/internal/regtest"
	"github.com/entrepot/entrepot/oci"
)

// warming runs KeepWarm for as long as the test.
func (r *rig) warming(all ...Warm) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); r.KeepWarm(ctx, time.Hour, all) }()
	r.t.Cleanup(func() { cancel(); <-done })
}

func prefixed(prefix string) Warm {
	return Warm{Ref: alpine.WithTag(""), Match: func(tag string) bool { return strings.HasPrefix(tag, prefix) }}
}

// warmEvents counts the events: what was fetched, was up to date, and failed.
func (r *rig) warmEvents() (fetched, same, failed int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.events {
		switch {
		case e.Kind != EventWarm:
		case e.Err != nil:
			failed++
		case e.Result == oci.Miss:
			fetched++
		default:
			same++
		}
	}
	return fetched, same, failed
}

// The tags that a pattern chooses are fetched with all platforms and layers; a
// round in which nothing has changed costs the list and one HEAD for each tag; a
// tag that moves or appears is fetched. Clients then need no upstream.
func TestKeepWarm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{})
		one := r.up.AddImage(alpine.Path, regtest.Image{Layers: []int64{1000, 200}}, "3.19", "2.0")
		child := r.up.AddImage(alpine.Path, regtest.Image{Layers: []int64{5000}})
		r.up.AddIndex(alpine.Path, []regtest.Built{child}, "3.20")
		r.warming(prefixed("3."))
		time.Sleep(2 * time.Minute)
		for _, d := range []oci.Digest{one.Config.Digest, one.Layers[0].Digest, one.Layers[1].Digest, child.Config.Digest, child.Layers[0].Digest} {
			if !r.isStored(d) {
				t.Errorf("%s is not stored", d)
			}
		}
		if fetched, same, failed := r.warmEvents(); fetched != 2 || same != 0 || failed != 0 {
			t.Errorf("fetched %d, same %d, failed %d; want 2, 0, 0", fetched, same, failed)
		}
		r.up.ResetLog()
		time.Sleep(time.Hour + 10*time.Minute)
		heads, lists := 0, 0
		for _, e := range r.up.Log() {
			switch {
			case e.Kind == regtest.Tags:
				lists++
			case e.Kind == regtest.Manifest && e.Method == "HEAD":
				heads++
			default:
				t.Errorf("a round without changes asked %s %s %s", e.Method, e.Kind, e.Ref)
			}
		}
		if heads != 2 || lists != 1 {
			t.Errorf("a round without changes cost %d HEADs and %d lists, want 2 and 1", heads, lists)
		}
		moved := r.up.AddImage(alpine.Path, regtest.Image{Layers: []int64{777}}, "3.20", "3.21")
		time.Sleep(time.Hour + 10*time.Minute)
		if !r.isStored(moved.Layers[0].Digest) {
			t.Error("a tag that moved was not followed")
		}
		r.up.On(regtest.Match{}, regtest.Down())
		for _, tag := range []string{"3.19", "3.20", "3.21"} {
			if _, _, err := r.pull(tag); err != nil {
				t.Errorf("%s: %v", tag, err)
			}
		}
	})
}

// What fails is told and tried again in the next round, and keeps nothing else.
func TestKeepWarmFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{})
		img := r.up.AddImage(alpine.Path, regtest.Image{Layers: []int64{1000, 20}}, "3.20")
		r.up.On(regtest.Match{Ref: string(img.Layers[0].Digest), Times: 1}, regtest.Down())
		r.warming(Warm{Ref: alpine.WithTag("missing")}, Warm{Ref: alpine.WithTag("3.20")}, Warm{Ref: other.WithTag("")})
		time.Sleep(2 * time.Minute)
		if fetched, same, failed := r.warmEvents(); fetched != 0 || same != 0 || failed != 3 {
			t.Errorf("fetched %d, same %d, failed %d; want 0, 0, 3", fetched, same, failed)
		}
		if !r.isStored(img.Layers[1].Digest) {
			t.Error("a layer that can be had was not fetched")
		}
		time.Sleep(time.Hour + 10*time.Minute)
		if fetched, _, failed := r.warmEvents(); fetched != 1 || failed != 5 || !r.isStored(img.Layers[0].Digest) {
			t.Errorf("in the next round fetched %d, failed %d; want 1 and 5 in all", fetched, failed)
		}
	})
}

// Few requests that are left are for clients: nothing is fetched ahead of them.
func TestScarce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{PrefetchFills: 6, Scarce: func(upstream string) bool { return upstream == alpine.Host }})
		r.up.AddImage(alpine.Path, regtest.Image{Layers: []int64{1000}}, "3.20")
		r.warming(Warm{Ref: alpine.WithTag("3.20")}, prefixed("3."))
		time.Sleep(2 * time.Minute)
		r.wantWire()
		if _, _, err := r.pull("3.20"); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		r.wantWire("GET manifest")
	})
}

// Few images are fetched at once, and an end in the middle leaves nothing.
func TestKeepWarmIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{})
		for _, tag := range []string{"3.1", "3.2", "3.3", "3.4", "3.5", "3.6"} {
			r.up.AddImage(alpine.Path, regtest.Image{Layers: []int64{int64(len(tag)) * 100}}, tag)
		}
		rule := r.up.On(regtest.Match{Kind: regtest.Manifest}, regtest.Trouble{Hold: true})
		r.warming(prefixed("3."))
		<-rule.Reached()
		synctest.Wait()
		held := 0
		for _, e := range r.up.Log() {
			if e.Kind == regtest.Manifest {
				held++
			}
		}
		if held != warmAtOnce {
			t.Errorf("%d requests for manifests at once, want %d", held, warmAtOnce)
		}
	})
}
