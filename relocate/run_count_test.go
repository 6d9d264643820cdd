package relocate_test

import (
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/entrepot/entrepot/internal/regtest"
	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/relocate"
)

// shared fills n repositories with an image each, which share two layers and
// have one of their own, and returns the pairs and the bytes of the different
// blobs.
func (b *bench) shared(n int) (pairs []relocate.Pair, unique int64) {
	base := []regtest.Content{regtest.Random(1, 300_000), regtest.Random(2, 40_000)}
	for i := range n {
		repo := fmt.Sprintf("app/r%d", i)
		layers := []oci.Descriptor{}
		for _, c := range append(base[:2:2], regtest.Random(uint64(100+i), 20_000+int64(i))) {
			layers = append(layers, b.src.AddBlob(repo, c))
		}
		config := b.src.AddBlob(repo, regtest.Bytes(fmt.Appendf(nil, `{"os":"linux","n":%d}`, i)))
		config.MediaType = "application/vnd.oci.image.config.v1+json"
		b.src.AddManifest(repo, oci.TypeImageManifest, manifestOf(config, layers), "v1")
		pairs = append(pairs, b.pair(repo+":v1", fmt.Sprintf("x/r%d:v1", i)))
		unique += config.Size + layers[2].Size
	}
	return pairs, unique + base[0].Size() + base[1].Size()
}

// perBlob returns how many requests there were for each blob of a registry.
func perBlob(reg *regtest.Registry) map[string]int {
	n := map[string]int{}
	for _, e := range reg.Log() {
		if e.Kind == regtest.Blob {
			n[e.Method+" "+e.Ref]++
		}
	}
	return n
}

// TestRequests holds the bounds of decisions 18 and 19: of a blob up to 64 MiB
// two requests at the target, of one that is mounted one, none for what a new
// repository has; each blob is read once.
func TestRequests(t *testing.T) {
	b := newBench(t)
	const images = 5
	pairs, unique := b.shared(images)
	cfg := b.config()
	cfg.NoReferrers = true
	rep := b.run(cfg, pairs...)
	const blobs, mounts = 2 + 2*images, 2 * (images - 1)
	for what, want := range map[[2]string]int{
		{"POST", string(regtest.Upload)}:  blobs + mounts,
		{"PUT", string(regtest.Upload)}:   blobs,
		{"PATCH", string(regtest.Upload)}: 0,
		{"HEAD", ""}:                      0,
		{"GET", ""}:                       images, // one list of tags for each repository
		{"PUT", string(regtest.Manifest)}: 2 * images,
	} {
		if got := b.dst.Count(what[0], regtest.Kind(what[1])); got != want {
			t.Errorf("%d %s %s requests at the target, want %d", got, what[0], what[1], want)
		}
	}
	for blob, n := range perBlob(b.src) {
		if n != 1 {
			t.Errorf("%s: %d requests at the source", blob, n)
		}
	}
	if got := b.src.Count("", regtest.Manifest); got != images {
		t.Errorf("%d requests for manifests at the source, want %d", got, images)
	}
	for i := range images {
		b.whole(fmt.Sprintf("x/r%d", i), "v1")
	}
	if tot := rep.Totals; tot.SourceBytes != unique || tot.UniqueBytes != unique || tot.PushedBytes != unique || tot.Mounted != mounts {
		t.Errorf("totals %+v, want %d bytes and %d mounts", tot, unique, mounts)
	}
}

func manifestOf(config oci.Descriptor, layers []oci.Descriptor) []byte {
	s := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":%q,"digest":%q,"size":%d},"layers":[`,
		oci.TypeImageManifest, config.MediaType, config.Digest, config.Size)
	for i, l := range layers {
		if i > 0 {
			s += ","
		}
		s += fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":%d}`, l.MediaType, l.Digest, l.Size)
	}
	return []byte(s + "]}")
}

// TestRefusedMounts holds decision 21: where nothing is mounted, blobs come
// from the target itself, and the source is read once.
func TestRefusedMounts(t *testing.T) {
	for name, refuse := range map[string]func(*regtest.Registry){
		"202": (*regtest.Registry).DropMounts,
		"401": mountStatus(http.StatusUnauthorized),
		"403": mountStatus(http.StatusForbidden),
		"404": mountStatus(http.StatusNotFound),
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			refuse(b.dst)
			pairs, unique := b.shared(4)
			rep := b.run(b.config(), pairs...)
			for i := range pairs {
				b.whole(fmt.Sprintf("x/r%d", i), "v1")
			}
			for blob, n := range perBlob(b.src) {
				if n != 1 {
					t.Errorf("%s: %d requests at the source", blob, n)
				}
			}
			if rep.Totals.SourceBytes != unique || rep.Totals.Mounted != 0 {
				t.Errorf("totals %+v, want %d bytes read and no mounts", rep.Totals, unique)
			}
		})
	}
}

func mountStatus(code int) func(*regtest.Registry) {
	return func(r *regtest.Registry) {
		r.On(regtest.Match{Kind: regtest.Upload, Method: "POST", If: func(e regtest.Entry) bool {
			return strings.Contains(e.Query, "mount=")
		}}, regtest.Status(code))
	}
}

// TestNothingToDo holds decision 19: of an image that was copied before, one
// request on each side; with referrers one list of tags for each repository of
// the source and one request for the referrers of the image more.
func TestNothingToDo(t *testing.T) {
	for _, noReferrers := range []bool{true, false} {
		b := newBench(t)
		pairs, _ := b.shared(3)
		have, err := relocate.OpenHave(filepath.Join(t.TempDir(), "have"))
		if err != nil {
			t.Fatal(err)
		}
		defer have.Close()
		cfg := b.config()
		cfg.NoReferrers, cfg.Have = noReferrers, have
		b.run(cfg, pairs...)
		b.src.ResetLog()
		b.dst.ResetLog()
		rep := b.run(cfg, pairs...)
		want := len(pairs)
		if !noReferrers {
			want *= 3
		}
		if got := len(b.src.Log()); got != want {
			t.Errorf("without referrers %v: %d requests at the source, want %d", noReferrers, got, want)
		}
		if got := b.dst.Count("HEAD", regtest.Manifest); got != len(pairs) || got != len(b.dst.Log()) {
			t.Errorf("without referrers %v: %d of %d requests at the target are HEADs of manifests, want %d", noReferrers, got, len(b.dst.Log()), len(pairs))
		}
		if rep.Images[0].Result != relocate.Present {
			t.Errorf("result %q", rep.Images[0].Result)
		}
	}
}

// TestHaveNoticesChange holds that what was copied is only believed of what
// both sides still have.
func TestHaveNoticesChange(t *testing.T) {
	b := newBench(t)
	name := filepath.Join(t.TempDir(), "have")
	img := b.src.AddImage("app/a", regtest.Image{Layers: []int64{1000}}, "v1")
	copyAll := func() relocate.Report {
		have, err := relocate.OpenHave(name)
		if err != nil {
			t.Fatal(err)
		}
		defer have.Close()
		cfg := b.config()
		cfg.Have = have
		return b.run(cfg, b.pair("app/a:v1", "x/a:v1"))
	}
	copyAll()
	b.dst.Delete("x/a", string(img.Digest))
	copyAll()
	b.whole("x/a", "v1")
	sig := b.src.AddReferrer("app/a", img.Descriptor(), "application/sig", 9)
	if rep := copyAll(); rep.Images[0].Referrers != 1 {
		t.Errorf("a new referrer was not noticed: %+v", rep.Images[0])
	}
	b.whole("x/a", string(sig.Digest))
	two := b.src.AddImage("app/a", regtest.Image{Layers: []int64{2000}, Seed: 2}, "v1")
	copyAll()
	if got := b.whole("x/a", "v1"); got.Digest != two.Digest {
		t.Errorf("v1 is %s, want %s, to which it moved", got.Digest, two.Digest)
	}
}
