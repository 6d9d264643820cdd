package mirror_test

import (
	"errors"
	"maps"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entrepot/entrepot/internal/regtest"
	"github.com/entrepot/entrepot/mirror"
	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
)

// TestPlanIsForTheQuestion holds that a plan knows what is asked for, and about
// what.
func TestPlanIsForTheQuestion(t *testing.T) {
	place := regtest.NewMemory("a", nil)
	img := place.AddImage(path, regtest.Image{Layers: []int64{10}}, "v1")
	place.AddReferrer(path, img.Descriptor(), "text/x", 1)
	asked := map[mirror.Op]ref.Ref{}
	m := mirror.New(mirror.Config{Plan: func(op mirror.Op, r ref.Ref) ([]mirror.Place, error) {
		asked[op] = r
		return []mirror.Place{{Reader: place, Name: r.Name, Label: "a", Tags: true}}, nil
	}})
	w := &world{Shelf: place.Shelf, Mirror: m}
	for op, run := range operations(w, img) {
		if err := run(t.Context()); err != nil {
			t.Errorf("%s: %v", op, err)
		}
	}
	layer := name.WithDigest(img.Layers[0].Digest)
	want := map[mirror.Op]ref.Ref{
		mirror.OpResolve: name.WithTag("v1"), mirror.OpManifest: name.WithDigest(img.Digest), mirror.OpStat: layer,
		mirror.OpBlob: layer, mirror.OpTags: {Name: name}, mirror.OpReferrers: name.WithDigest(img.Digest),
	}
	if !maps.Equal(asked, want) {
		t.Errorf("planned for %v, want %v", asked, want)
	}
}

// TestOriginalAnywhere holds that what the original says counts, wherever in
// the plan it stands, and that it says so first or last.
func TestOriginalAnywhere(t *testing.T) {
	for _, at := range []int{0, 1, 2} {
		shelf := regtest.NewShelf()
		var places []mirror.Place
		for i, label := range []string{"a", "b", "c"} {
			reader := regtest.NewMemory(label, shelf)
			if i != at {
				reader.On(regtest.Match{}, regtest.Down())
			}
			places = append(places, mirror.Place{Reader: reader, Name: name, Label: label, Tags: true, Original: i == at})
		}
		m := mirror.New(mirror.Config{Plan: func(mirror.Op, ref.Ref) ([]mirror.Place, error) { return places, nil }})
		if _, err := m.Resolve(t.Context(), name.WithTag("v1")); !errors.Is(err, oci.ErrNotFound) {
			t.Errorf("the original at %d: %v, want its not found", at, err)
		}
	}
}

// TestForget holds that a place is asked in its turn again, once what was known
// about it no longer holds.
func TestForget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld("a", "original")
		img := w.AddImage(path, regtest.Image{})
		down := w.places[0].On(regtest.Match{}, regtest.Down())
		ask := func() {
			if _, err := w.Manifest(t.Context(), name.WithDigest(img.Digest)); err != nil {
				t.Fatal(err)
			}
		}
		ask()
		down.Remove()
		time.Sleep(time.Second)
		ask()
		expect(t, "while it is remembered", w.asked(), []int{1, 2})
		w.Forget()
		ask()
		expect(t, "once it is forgotten", w.asked(), []int{2, 2})
	})
}
