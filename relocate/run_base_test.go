package relocate_test

import (
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/entrepot/entrepot/internal/regtest"
	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
	"github.com/entrepot/entrepot/relocate"
)

// at returns a repository of the target.
func (b *bench) at(repo string) ref.Name { return ref.Name{Host: b.dst.Host(), Path: repo} }

// leftOut fills the source as shared does and takes the two layers that the
// images share away from it: they are in the target's repository old/a alone.
// It returns what is known of them, and the pairs.
func (b *bench) leftOut(n int) (relocate.Base, []relocate.Pair) {
	pairs, _ := b.shared(n)
	base := relocate.Base{}
	for _, c := range []regtest.Content{regtest.Random(1, 300_000), regtest.Random(2, 40_000)} {
		d := b.dst.AddBlob("old/a", c)
		base[d.Digest] = relocate.BaseBlob{Size: d.Size, Homes: []ref.Name{b.at("gone/a"), b.at("old/a")}}
		for i := range n {
			b.src.Delete(fmt.Sprintf("app/r%d", i), string(d.Digest))
		}
	}
	return base, pairs
}

// writes returns the requests to the target that are no reading.
func (b *bench) writes() int {
	n := 0
	for _, e := range b.dst.Log() {
		if e.Method != http.MethodGet && e.Method != http.MethodHead {
			n++
		}
	}
	return n
}

// TestBase mounts what the source leaves out from where the target has it: no
// more than two requests for a blob, beside the repositories in vain.
func TestBase(t *testing.T) {
	b := newBench(t)
	base, pairs := b.leftOut(3)
	cfg := b.config()
	cfg.Base, cfg.NoReferrers = base, true
	rep := b.run(cfg, pairs...)
	for i := range pairs {
		b.whole(fmt.Sprintf("x/r%d", i), "v1")
	}
	for d := range base {
		if n := perBlob(b.src)["GET "+string(d)]; n != 0 {
			t.Errorf("%s: %d requests at the source", d, n)
		}
		if n := perBlob(b.dst)["HEAD "+string(d)]; n != 2 {
			t.Errorf("%s: the target was asked %d times, want 2: gone/a and old/a", d, n)
		}
	}
	const mounts, own = 2 * 3, 2 * 3
	if got := b.dst.Count("POST", regtest.Upload); got != mounts+own {
		t.Errorf("%d uploads were begun, want %d", got, mounts+own)
	}
	if tot := rep.Totals; tot.Mounted != mounts || tot.UniqueBytes != tot.PushedBytes+340_000 {
		t.Errorf("the totals are %+v, want %d mounts", tot, mounts)
	}
}

// TestBaseRefusedMounts reads what is not mounted where the target has it.
func TestBaseRefusedMounts(t *testing.T) {
	for name, refuse := range map[string]func(*regtest.Registry){
		"202": (*regtest.Registry).DropMounts,
		"401": mountStatus(http.StatusUnauthorized),
		"403": mountStatus(http.StatusForbidden),
		"404": mountStatus(http.StatusNotFound),
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			refuse(b.dst)
			base, pairs := b.leftOut(3)
			cfg := b.config()
			cfg.Base = base
			b.run(cfg, pairs...)
			for i := range pairs {
				b.whole(fmt.Sprintf("x/r%d", i), "v1")
			}
		})
	}
}

// TestBaseMissing says which blobs neither side has and what needs them, before
// anything is written; a plan says the same.
func TestBaseMissing(t *testing.T) {
	b := newBench(t)
	base, pairs := b.leftOut(2)
	alone := regtest.DigestOf(regtest.Random(100, 20_000)) // the first image's own layer
	b.src.Delete("app/r0", string(alone))
	base[alone] = relocate.BaseBlob{Size: 20_000, Homes: []ref.Name{b.at("old/a")}}
	cfg := b.config()
	cfg.Base = base
	want := []relocate.MissingBlob{{
		Digest: alone, Size: 20_000,
		Images: []ref.Ref{pairs[0].Source}, Asked: []ref.Name{b.at("old/a"), b.at("x/r0")},
	}}
	rep, err := relocate.Run(t.Context(), cfg, pairs)
	_, foreseen := relocate.Foresee(t.Context(), cfg, pairs)
	for _, err := range []error{err, foreseen} {
		lacks, ok := errors.AsType[*relocate.BaseError](err)
		if !ok {
			t.Fatalf("got %v, want a BaseError", err)
		}
		if diff := cmp.Diff(want, lacks.Missing); diff != "" || lacks.Of != 3 {
			t.Errorf("of %d, missing are (-want +got):\n%s", lacks.Of, diff)
		}
		for _, s := range []string{"lacks 1 blob of 3", string(alone), "20000 bytes", pairs[0].Source.String()} {
			if !strings.Contains(err.Error(), s) {
				t.Errorf("%q does not say %q", err, s)
			}
		}
	}
	if n := b.writes(); n != 0 {
		t.Errorf("the target was written to %d times", n)
	}
	if rep.Totals.Failed != 2 || rep.Images[1].Result != relocate.Failed {
		t.Errorf("the report is %+v, want all to have failed", rep)
	}
}

// TestBaseAtItsPlace asks the repositories that need a blob where nobody knows
// of others: there it has neither to be mounted nor to be pushed.
func TestBaseAtItsPlace(t *testing.T) {
	b := newBench(t)
	base, pairs := b.leftOut(1)
	for d, one := range base {
		base[d] = relocate.BaseBlob{Size: one.Size}
	}
	b.dst.AddBlob("x/r0", regtest.Random(1, 300_000))
	b.dst.AddBlob("x/r0", regtest.Random(2, 40_000))
	cfg := b.config()
	cfg.Base = base
	rep := b.run(cfg, pairs...)
	b.whole("x/r0", "v1")
	if one := rep.Images[0].Blobs; one.Present != 2 || one.Mounted != 0 || one.Pushed != 2 {
		t.Errorf("the blobs are %+v, want 2 present and 2 pushed", one)
	}
}

// TestBaseOfWhatIsChosen needs nothing of platforms and referrers that stay
// behind, and does of those that are copied.
func TestBaseOfWhatIsChosen(t *testing.T) {
	b := newBench(t)
	kids := []regtest.Built{
		b.src.AddImage("app/a", regtest.Image{Layers: []int64{1000}, Seed: 1, Platform: "amd64"}),
		b.src.AddImage("app/a", regtest.Image{Layers: []int64{2000}, Seed: 2, Platform: "arm64"}),
	}
	b.src.AddIndex("app/a", kids, "v1")
	sig := b.src.AddReferrer("app/a", kids[0].Descriptor(), "application/sig", 9)
	pair := b.pair("app/a:v1", "x/a:v1")
	amd64 := relocate.Platform{OS: "linux", Architecture: "amd64"}
	for name, c := range map[string]struct {
		lacks oci.Descriptor
		cfg   relocate.Config
		fails bool
	}{
		"another platform":  {kids[1].Layers[0], relocate.Config{Platforms: []relocate.Platform{amd64}}, false},
		"every platform":    {kids[1].Layers[0], relocate.Config{}, true},
		"no referrers":      {sig.Layers[0], relocate.Config{NoReferrers: true}, false},
		"referrers as well": {sig.Layers[0], relocate.Config{}, true},
	} {
		cfg := c.cfg
		cfg.Source, cfg.Target = b.source, b.target
		cfg.Base = relocate.Base{c.lacks.Digest: {Size: c.lacks.Size}}
		_, err := relocate.Foresee(t.Context(), cfg, []relocate.Pair{pair})
		if lacks, ok := errors.AsType[*relocate.BaseError](err); ok != c.fails || ok && lacks.Missing[0].Digest != c.lacks.Digest {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// TestBaseRefused tells that the target may not be asked, rather than that it
// lacks something.
func TestBaseRefused(t *testing.T) {
	b := newBench(t)
	base, pairs := b.leftOut(1)
	b.dst.On(regtest.Match{Kind: regtest.Blob}, regtest.Status(http.StatusForbidden))
	cfg := b.config()
	cfg.Base = base
	if _, err := relocate.Run(t.Context(), cfg, pairs); !errors.Is(err, oci.ErrDenied) || b.writes() > 0 {
		t.Errorf("got %v, want ErrDenied; %d writes", err, b.writes())
	}
	b.dst.Clear()
	for _, repo := range []string{"gone/a", "old/a"} { // the one that needs them may be asked
		b.dst.On(regtest.Match{Kind: regtest.Blob, Repo: repo}, regtest.Status(http.StatusForbidden))
	}
	_, err := relocate.Run(t.Context(), cfg, pairs)
	if lacks, ok := errors.AsType[*relocate.BaseError](err); !ok || len(lacks.Missing) != 2 {
		t.Errorf("got %v, want a BaseError", err)
	}
}

// TestBaseForeseen counts what is mounted from the base as such.
func TestBaseForeseen(t *testing.T) {
	b := newBench(t)
	base, pairs := b.leftOut(1)
	cfg := b.config()
	cfg.Base = base
	f, err := relocate.Foresee(t.Context(), cfg, pairs)
	if err != nil {
		t.Fatal(err)
	}
	if got := f.Targets[0]; got.Mount != 340_000 || got.Push != f.UniqueBytes-340_000 || f.Sources[0].Pull != got.Push {
		t.Errorf("the traffic is %+v, from %+v", got, f.Sources)
	}
}

// TestBaseNothingToDo asks for no blob where all was copied before, with and
// without new referrers at the source.
func TestBaseNothingToDo(t *testing.T) {
	b := newBench(t)
	base, pairs := b.leftOut(2)
	have, err := relocate.OpenHave(filepath.Join(t.TempDir(), "have"))
	if err != nil {
		t.Fatal(err)
	}
	defer have.Close()
	cfg := b.config()
	cfg.Base, cfg.Have = base, have
	first := b.run(cfg, pairs...)
	b.dst.ResetLog()
	b.run(cfg, pairs...)
	if got := b.dst.Count("HEAD", regtest.Manifest); got != len(pairs) || got != len(b.dst.Log()) {
		t.Errorf("%d of %d requests are HEADs of manifests, want %d", got, len(b.dst.Log()), len(pairs))
	}
	img := oci.Descriptor{MediaType: oci.TypeImageManifest, Digest: first.Images[0].Digest, Size: 1}
	sig := b.src.AddReferrer("app/r0", img, "application/sig", 9)
	b.run(cfg, pairs...)
	b.whole("x/r0", string(sig.Digest))
	b.whole("x/r0", "v1")
}
