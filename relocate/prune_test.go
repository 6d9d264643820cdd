package relocate_test

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/entrepot/entrepot/internal/regtest"
	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
	"github.com/entrepot/entrepot/relocate"
	"github.com/entrepot/entrepot/remote"
)

// A pruned is a registry that is pruned; its prune stands below "m".
type pruned struct {
	*bench
	reg *regtest.Registry
}

func newPruned(t *testing.T) *pruned {
	b := newBench(t)
	client := remote.NewClient(remote.ClientConfig{Retry: remote.Retry{Attempts: 1}, Jobs: 16})
	t.Cleanup(func() { client.Close() })
	var err error
	b.target, err = client.Endpoint(remote.EndpointConfig{URL: b.dst.URL(), AllowPrivate: true})
	if err != nil {
		t.Fatal(err)
	}
	return &pruned{bench: b, reg: b.dst}
}

func (p *pruned) wanted(refs ...string) (all []relocate.Wanted) {
	p.t.Helper()
	for _, s := range refs {
		r, err := ref.Parse(p.reg.Host() + "/" + s)
		if err != nil {
			p.t.Fatal(err)
		}
		all = append(all, relocate.Wanted{Name: "source/" + s, Target: r})
	}
	return all
}

// config prunes the repository m/a, and all others that are named.
func (p *pruned) config(set relocate.PruneSet, more ...string) relocate.PruneConfig {
	cfg := relocate.PruneConfig{Target: p.target, Set: set}
	for _, path := range append([]string{"m/a"}, more...) {
		cfg.Repositories = append(cfg.Repositories, ref.Name{Host: p.reg.Host(), Path: path})
	}
	return cfg
}

func (p *pruned) look(cfg relocate.PruneConfig) *relocate.Pruning {
	p.t.Helper()
	pruning, err := relocate.Look(p.t.Context(), cfg)
	if err != nil {
		p.t.Fatal(err)
	}
	return pruning
}

// deletions returns what was deleted, tags and the first digits of digests, in
// order. What nobody has was asked for as a test, and is left out.
func (p *pruned) deletions(names map[oci.Digest]string) (all []string) {
	for _, e := range p.reg.Log() {
		if e.Method != http.MethodDelete || e.Status == http.StatusNotFound || e.Status == http.StatusMethodNotAllowed {
			continue
		}
		name := e.Ref
		if known := names[oci.Digest(e.Ref)]; known != "" {
			name = known
		}
		all = append(all, name)
	}
	return all
}

// there checks which of some tags and digests the repository m/a has.
func (p *pruned) there(want bool, refs ...string) {
	p.t.Helper()
	for _, s := range refs {
		at := ref.Name{Host: p.reg.Host(), Path: "m/a"}.WithTag(s)
		if strings.Contains(s, ":") {
			at = at.WithDigest(oci.Digest(s))
		}
		_, err := p.target.Resolve(p.t.Context(), at)
		if errors.Is(err, oci.ErrNotFound) == want {
			p.t.Errorf("%s: %v; is it to be there: %v", s, err, want)
		}
	}
}

// TestPrune removes an index with its platforms, a referrer, a list of referrers
// and a signature, each before what it is about. Another index shares one
// platform, a tag shares an image.
func TestPrune(t *testing.T) {
	for _, api := range []bool{true, false} {
		p := newPruned(t)
		image := func(seed uint64, tags ...string) regtest.Built {
			return p.reg.AddImage("m/a", regtest.Image{Layers: []int64{100}, Seed: seed, Platform: "amd64"}, tags...)
		}
		shared, alone, other := image(1), image(2), image(3)
		keep := p.reg.AddIndex("m/a", []regtest.Built{shared, other}, "v2", "also-v2")
		old := p.reg.AddIndex("m/a", []regtest.Built{shared, alone}, "v1")
		sbom := p.reg.AddReferrer("m/a", old.Descriptor(), "application/sbom", 7)
		kept := p.reg.AddReferrer("m/a", shared.Descriptor(), "application/sbom", 8)
		sig, keptSig := image(4, cosignTag(old.Digest)), image(5, cosignTag(other.Digest))
		if !api {
			p.reg.DropReferrersAPI()
			p.reg.AddIndex("m/a", []regtest.Built{sbom}, oci.FallbackTag(old.Digest))
			p.reg.AddIndex("m/a", []regtest.Built{kept}, oci.FallbackTag(shared.Digest))
		}
		pruning := p.look(p.config(relocate.PruneSet{Keep: p.wanted("m/a:v2"), Rest: true}))
		if n := p.deletions(nil); len(n) > 0 {
			t.Fatalf("a plan has deleted %v", n)
		}
		if err := pruning.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		names := map[oci.Digest]string{old.Digest: "index", alone.Digest: "platform", sbom.Digest: "referrer", sig.Digest: "signature"}
		gone := p.deletions(names)
		before := func(a, b string) {
			if i, j := slices.Index(gone, a), slices.Index(gone, b); i < 0 || j < 0 || i > j {
				t.Errorf("%s has to go before %s: %v", a, b, gone)
			}
		}
		before("index", "platform")
		before("referrer", "index")
		before("signature", "index")
		if want := 5; api && len(gone) != want { // and the tag also-v2
			t.Errorf("%d deletions, want %d: %v", len(gone), want, gone)
		}
		p.there(true, "v2", string(keep.Digest), string(shared.Digest), string(other.Digest), string(kept.Digest), string(keptSig.Digest), cosignTag(other.Digest))
		p.there(false, "v1", "also-v2", string(old.Digest), string(alone.Digest), string(sbom.Digest), string(sig.Digest), cosignTag(old.Digest))
		if !api {
			p.there(true, oci.FallbackTag(shared.Digest))
			p.there(false, oci.FallbackTag(old.Digest))
		}
		if again := p.look(p.config(relocate.PruneSet{Keep: p.wanted("m/a:v2"), Rest: true})); len(again.Plan.Removals) > 0 {
			t.Errorf("a second plan removes %+v", again.Plan.Removals)
		}
	}
}

// TestPruneNamed removes what --remove names, as far as no other tag needs it.
func TestPruneNamed(t *testing.T) {
	p := newPruned(t)
	image := func(seed uint64, tags ...string) regtest.Built {
		return p.reg.AddImage("m/a", regtest.Image{Layers: []int64{100}, Seed: seed}, tags...)
	}
	stranger, twice, signed := image(1, "stranger"), image(2, "v1", "other"), image(3, "v2")
	sig := image(4, cosignTag(signed.Digest))
	set := relocate.PruneSet{Keep: p.wanted("m/a:stranger"), Remove: p.wanted("m/a:v1", "m/a:v2", "m/a:v3")}
	pruning := p.look(p.config(set))
	if len(pruning.Plan.Absent) != 1 {
		t.Errorf("absent: %v, want v3", pruning.Plan.Absent)
	}
	if err := pruning.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	p.there(true, "stranger", "other", string(stranger.Digest), string(twice.Digest))
	p.there(false, "v1", "v2", string(signed.Digest), string(sig.Digest))
}

// TestPruneAll refuses what leaves nothing behind.
func TestPruneAll(t *testing.T) {
	p := newPruned(t)
	p.reg.AddImage("m/a", regtest.Image{Layers: []int64{100}}, "v1")
	for name, set := range map[string]relocate.PruneSet{
		"the kept image is elsewhere": {Keep: p.wanted("m/b:v1"), Rest: true},
		"everything is named":         {Keep: p.wanted("m/b:v1"), Remove: p.wanted("m/a:v1")},
	} {
		pruning, err := relocate.Look(t.Context(), p.config(set))
		if !errors.Is(err, relocate.ErrPruneAll) || len(pruning.Plan.Missing) != 1 {
			t.Errorf("%s: got %v, want ErrPruneAll", name, err)
		}
	}
	p.reg.AddImage("m/b", regtest.Image{Layers: []int64{100}, Seed: 2}, "v1")
	pruning := p.look(p.config(relocate.PruneSet{Keep: p.wanted("m/b:v1"), Rest: true}, "m/b"))
	if len(pruning.Plan.Emptied) != 1 || pruning.Plan.Bytes == 0 {
		t.Errorf("emptied: %v, %d bytes", pruning.Plan.Emptied, pruning.Plan.Bytes)
	}
}

// TestPruneDeletesOff holds that a registry that does not delete says so before
// anything is deleted anywhere.
func TestPruneDeletesOff(t *testing.T) {
	p := newPruned(t)
	p.reg.AddImage("m/a", regtest.Image{Layers: []int64{100}}, "v1", "v2")
	p.reg.AddImage("m/a", regtest.Image{Layers: []int64{100}, Seed: 2}, "v3")
	pruning := p.look(p.config(relocate.PruneSet{Keep: p.wanted("m/a:v1"), Rest: true}))
	p.reg.On(regtest.Match{Method: http.MethodDelete}, regtest.Status(http.StatusMethodNotAllowed))
	var no *relocate.DeletesError
	if err := pruning.Run(t.Context()); !errors.As(err, &no) || no.Host != p.reg.Host() {
		t.Errorf("got %v, want a DeletesError", err)
	}
	if n := p.reg.Count(http.MethodDelete, ""); n != 1 {
		t.Errorf("%d requests to delete, want the one that finds out", n)
	}
	p.there(true, "v1", "v2", "v3")
}

// TestPruneGone holds that what somebody else has deleted meanwhile is no
// failure, at any point.
func TestPruneGone(t *testing.T) {
	for _, when := range []string{"after the plan", "right before"} {
		p := newPruned(t)
		p.reg.AddImage("m/a", regtest.Image{Layers: []int64{100}, Seed: 1}, "v1")
		gone := p.reg.AddImage("m/a", regtest.Image{Layers: []int64{100}, Seed: 2}, "v2")
		p.reg.AddImage("m/a", regtest.Image{Layers: []int64{100}, Seed: 3}, "v3")
		pruning := p.look(p.config(relocate.PruneSet{Keep: p.wanted("m/a:v1"), Rest: true}))
		if when == "after the plan" {
			p.reg.Delete("m/a", string(gone.Digest))
		} else {
			p.reg.On(regtest.Match{Method: http.MethodDelete, Ref: string(gone.Digest)}, regtest.Status(http.StatusNotFound))
		}
		if err := pruning.Run(t.Context()); err != nil {
			t.Fatalf("%s: %v", when, err)
		}
		results := map[string]string{}
		for _, r := range pruning.Plan.Removals {
			results[r.Tags[0]] = r.Result
		}
		if diff := cmp.Diff(map[string]string{"v2": relocate.Gone, "v3": relocate.Removed}, results); diff != "" {
			t.Errorf("%s: %s", when, diff)
		}
	}
}

// TestPruneChanged changes a repository between plan and removal. What is no
// longer as it was planned stays, with all that it needs.
func TestPruneChanged(t *testing.T) {
	for name, change := range map[string]func(p *pruned, old, child regtest.Built){
		"its tag moves to an index that needs its platform": func(p *pruned, old, child regtest.Built) {
			p.reg.AddIndex("m/a", []regtest.Built{child}, "v1")
		},
		"a new tag leads to the platform": func(p *pruned, old, child regtest.Built) { p.reg.SetTag("m/a", "fresh", child.Digest) },
		"a new tag leads to the index":    func(p *pruned, old, child regtest.Built) { p.reg.SetTag("m/a", "fresh", old.Digest) },
	} {
		t.Run(name, func(t *testing.T) {
			p := newPruned(t)
			p.reg.AddImage("m/a", regtest.Image{Layers: []int64{100}, Seed: 1}, "keep")
			child := p.reg.AddImage("m/a", regtest.Image{Layers: []int64{100}, Seed: 2, Platform: "amd64"})
			old := p.reg.AddIndex("m/a", []regtest.Built{child, p.reg.AddImage("m/a", regtest.Image{Layers: []int64{100}, Seed: 3, Platform: "arm64"})}, "v1")
			pruning := p.look(p.config(relocate.PruneSet{Keep: p.wanted("m/a:keep"), Rest: true}))
			change(p, old, child)
			if err := pruning.Run(t.Context()); err != nil {
				t.Fatal(err)
			}
			p.there(true, string(child.Digest))
			for _, tag := range []string{"v1", "fresh"} {
				m, err := p.target.Manifest(t.Context(), ref.Name{Path: "m/a"}.WithTag(tag))
				if errors.Is(err, oci.ErrNotFound) {
					continue
				}
				links, err := m.Links()
				if err != nil {
					t.Fatal(err)
				}
				for _, d := range links.Manifests {
					p.there(true, string(d.Digest))
				}
			}
		})
	}
}

// TestPruneMovesAtTheLast has a tag move after the repository was read again.
func TestPruneMovesAtTheLast(t *testing.T) {
	p := newPruned(t)
	p.reg.AddImage("m/a", regtest.Image{Layers: []int64{100}, Seed: 1}, "keep")
	old := p.reg.AddImage("m/a", regtest.Image{Layers: []int64{100}, Seed: 2}, "v1")
	fresh := p.reg.AddImage("m/a", regtest.Image{Layers: []int64{100}, Seed: 3})
	pruning := p.look(p.config(relocate.PruneSet{Keep: p.wanted("m/a:keep"), Rest: true}))
	p.reg.On(regtest.Match{Method: http.MethodHead, Ref: "v1", Times: 1}, regtest.Moving(func() { p.reg.SetTag("m/a", "v1", fresh.Digest) }))
	if err := pruning.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	p.there(true, "v1", string(old.Digest), string(fresh.Digest))
	if r := pruning.Plan.Removals[0]; r.Result != relocate.Stays || !strings.Contains(r.Why, "v1") {
		t.Errorf("removal: %+v", r)
	}
}

// TestPruneFailure holds that what could not be deleted keeps what it needs, and
// that the others go.
func TestPruneFailure(t *testing.T) {
	p := newPruned(t)
	p.reg.AddImage("m/a", regtest.Image{Layers: []int64{100}, Seed: 1}, "keep")
	child := p.reg.AddImage("m/a", regtest.Image{Layers: []int64{100}, Seed: 2, Platform: "amd64"})
	index := p.reg.AddIndex("m/a", []regtest.Built{child}, "v1")
	p.reg.AddImage("m/a", regtest.Image{Layers: []int64{100}, Seed: 4}, "v2")
	pruning := p.look(p.config(relocate.PruneSet{Keep: p.wanted("m/a:keep"), Rest: true}))
	p.reg.On(regtest.Match{Method: http.MethodDelete, Ref: string(index.Digest)}, regtest.Status(http.StatusForbidden))
	if err := pruning.Run(t.Context()); !errors.Is(err, relocate.ErrPruneIncomplete) {
		t.Errorf("got %v, want ErrPruneIncomplete", err)
	}
	p.there(true, "v1", string(child.Digest))
	p.there(false, "v2")
}

// TestPruneTagAlone prunes where registries have ways of their own with tags: one
// cannot delete any, one deletes the manifest as well.
func TestPruneTagAlone(t *testing.T) {
	p := newPruned(t)
	shared := p.reg.AddImage("m/a", regtest.Image{Layers: []int64{100}, Seed: 1}, "keep", "old", "older")
	set := relocate.PruneSet{Keep: p.wanted("m/a:keep"), Rest: true}
	rule := p.reg.On(regtest.Match{Method: http.MethodDelete, If: func(e regtest.Entry) bool { return !strings.Contains(e.Ref, ":") }}, regtest.Status(http.StatusBadRequest))
	pruning := p.look(p.config(set))
	if err := pruning.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, r := range pruning.Plan.Removals {
		if r.Result != relocate.Stays || !strings.Contains(r.Why, "cannot delete a tag") {
			t.Errorf("removal: %+v", r)
		}
	}
	p.there(true, "keep", "old", "older")
	rule.Remove()

	p.reg.On(regtest.Match{Method: http.MethodDelete, Ref: "old"}, regtest.Moving(func() { p.reg.Delete("m/a", string(shared.Digest)) }))
	pruning = p.look(p.config(set))
	if err := pruning.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	p.there(true, "keep", "older", string(shared.Digest))
	p.there(false, "old")
	if r := pruning.Plan.Removals; r[0].Result != relocate.Removed || r[1].Result != relocate.Stays {
		t.Errorf("removals: %+v", r)
	}
}

// TestPruneKeeper holds that a tag which keeps an image that is named by its
// digest stays as long as the image does.
func TestPruneKeeper(t *testing.T) {
	p := newPruned(t)
	naming, err := relocate.NewNaming(relocate.NamingConfig{Prefix: ref.Name{Host: p.reg.Host(), Path: "m"}})
	if err != nil {
		t.Fatal(err)
	}
	img := p.reg.AddImage("m/a", regtest.Image{Layers: []int64{100}, Seed: 1}, "keep")
	gone := p.reg.AddImage("m/a", regtest.Image{Layers: []int64{100}, Seed: 2})
	keeper := func(b regtest.Built) string { return "d-" + b.Digest.Encoded()[:32] }
	p.reg.SetTag("m/a", keeper(img), img.Digest)
	p.reg.SetTag("m/a", keeper(gone), gone.Digest)
	pruning := p.look(p.config(relocate.PruneSet{Keep: p.wanted("m/a:keep"), Rest: true, Naming: naming}))
	if err := pruning.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	p.there(true, "keep", keeper(img))
	p.there(false, keeper(gone), string(gone.Digest))
}
