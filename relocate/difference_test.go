package relocate_test

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/entrepot/entrepot/internal/regtest"
	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/relocate"
)

func digestOf(s string) oci.Digest { return oci.FromBytes([]byte(s), "") }

// side makes a receipt with an image for each tag, and returns its side.
func side(prefix, repo string, tags map[string]string, blobs ...string) relocate.Side {
	one := relocate.ReceiptRepository{Name: repo, Tags: map[string]oci.Digest{}}
	for tag, content := range tags {
		one.Tags[tag] = digestOf(content)
		one.Manifests = append(one.Manifests, relocate.Stored{Digest: digestOf(content), Size: int64(len(content))})
	}
	for _, b := range blobs {
		one.Blobs = append(one.Blobs, relocate.Stored{Digest: digestOf(b), Size: int64(len(b))})
	}
	return relocate.Receipt{Prefix: prefix, Repositories: []relocate.ReceiptRepository{one}}.Side()
}

func TestDiff(t *testing.T) {
	a := side("", "r.x/a", map[string]string{"1": "one", "2": "two", "3": "three"}, "b1", "blob2")
	b := side("", "r.x/a", map[string]string{"1": "one", "2": "other", "4": "four"}, "b1", "blob33")
	d := relocate.Diff(a, b)
	want := relocate.ImageDifference{
		OnlyA:   []relocate.NamedImage{{Name: "r.x/a:3", Digest: digestOf("three")}},
		OnlyB:   []relocate.NamedImage{{Name: "r.x/a:4", Digest: digestOf("four")}},
		Changed: []relocate.ChangedImage{{Name: "r.x/a:2", A: digestOf("two"), B: digestOf("other")}},
	}
	if diff := cmp.Diff(want, d.Images); diff != "" {
		t.Errorf("images (-want +got):\n%s", diff)
	}
	if m := d.Manifests; len(m.OnlyA) != 2 || m.OnlyABytes != 8 || len(m.OnlyB) != 2 || m.OnlyBBytes != 9 {
		t.Errorf("manifests: %+v", m)
	}
	if m := d.Blobs; !m.Compared || len(m.OnlyA) != 1 || m.OnlyABytes != 5 || m.OnlyBBytes != 6 || d.Equal() {
		t.Errorf("blobs: %+v", m)
	}
	if d := relocate.Diff(a, a); !d.Equal() {
		t.Errorf("a side differs from itself: %+v", d)
	}
}

// TestDiffOtherNames compares a set with a destination, where names are others:
// what counts is what is there.
func TestDiffOtherNames(t *testing.T) {
	a := side("", "r.x/a", map[string]string{"1": "one", "2": "two"}, "b")
	b := side("far.example/m", "far.example/m/r-x-a", map[string]string{"1": "one", "old": "zero"}, "b")
	d := relocate.Diff(a, b)
	want := relocate.ImageDifference{
		OnlyA:   []relocate.NamedImage{{Name: "r.x/a:2", Digest: digestOf("two")}},
		OnlyB:   []relocate.NamedImage{{Name: "far.example/m/r-x-a:old", Digest: digestOf("zero")}},
		Changed: []relocate.ChangedImage{},
	}
	if diff := cmp.Diff(want, d.Images); diff != "" {
		t.Errorf("images (-want +got):\n%s", diff)
	}
}

// TestDiffElsewhere: what an archive has left out because the other end has it is
// missed nowhere.
func TestDiffElsewhere(t *testing.T) {
	a := side("", "r.x/a", map[string]string{"1": "one"}, "b1", "b2")
	b := side("", "r.x/a", map[string]string{"1": "one"}, "b1")
	b.Elsewhere = map[oci.Digest]bool{digestOf("b2"): true}
	if d := relocate.Diff(a, b); !d.Equal() {
		t.Errorf("%+v", d)
	}
}

// TestDiffOfDraftAndPlan compares a set with a plan of it: an image by digest
// alone has no tag on the other side, a signature is no image, and a plan knows no
// blobs.
func TestDiffOfDraftAndPlan(t *testing.T) {
	b := newBench(t)
	index := b.platforms("app/a", "v1")
	b.src.AddImage("app/a", regtest.Image{Layers: []int64{99}, Seed: 60}, cosignTag(index.Digest))
	loose := b.src.AddImage("app/b", regtest.Image{Layers: []int64{1000}, Seed: 50})
	draft, err := b.discover(b.config(), nil, "app/a:v1", "app/b@"+string(loose.Digest))
	if err != nil {
		t.Fatal(err)
	}
	f, err := relocate.Foresee(t.Context(), b.config(), []relocate.Pair{b.pair("app/a:v1", "x/a:v1"), b.pair("app/b@"+string(loose.Digest), "x/b:keep")})
	if err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(f)
	if err != nil {
		t.Fatal(err)
	}
	plan, err := relocate.ParseForecast(raw)
	if err != nil {
		t.Fatal(err)
	}
	if d := relocate.Diff(draft.Side(), plan.Side()); !d.Equal() || d.Blobs.Compared {
		t.Errorf("%+v", d)
	}
	untagged := draft.Side()
	delete(untagged.Originals, b.src.Host()+"/app/b@"+string(loose.Digest))
	if d := relocate.Diff(draft.Side(), untagged); !d.Equal() {
		t.Errorf("an image by its digest is missed although it is there: %+v", d.Images)
	}
	b.src.AddImage("app/a", regtest.Image{Layers: []int64{5}, Seed: 7}, "v1")
	later, err := b.discover(b.config(), nil, "app/a:v1")
	if err != nil {
		t.Fatal(err)
	}
	d := relocate.Diff(draft.Side(), later.Side())
	if len(d.Images.Changed) != 1 || len(d.Images.OnlyA) != 1 || len(d.Images.OnlyB) != 0 {
		t.Errorf("%+v", d.Images)
	}
	for _, text := range []string{"", "[]", `{"images":[]}`} {
		if _, err := relocate.ParseForecast([]byte(text)); err == nil {
			t.Errorf("%q is a plan", text)
		}
	}
}

// FuzzParseForecast: what is read equals itself.
func FuzzParseForecast(f *testing.F) {
	f.Add([]byte(`{"images":[{"source":"a:1","digest":"sha256:e3","target":"r.x/a:1","bytes":1}],"sources":[],"targets":[],"listed_bytes":1,"unique_bytes":1}`))
	f.Add([]byte(`{"images":null,"sources":1,"targets":[],"listed_bytes":1,"unique_bytes":1}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if plan, err := relocate.ParseForecast(data); err == nil && !relocate.Diff(plan.Side(), plan.Side()).Equal() {
			t.Errorf("it differs from itself")
		}
	})
}
