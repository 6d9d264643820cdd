package relocate_test

import (
	"errors"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/entrepot/entrepot/internal/regtest"
	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/relocate"
)

// discover makes a draft of images of the source, under their own names.
func (b *bench) discover(cfg relocate.Config, base map[oci.Digest]relocate.Held, images ...string) (*relocate.Draft, error) {
	b.t.Helper()
	var mentions []relocate.Mention
	for _, img := range images {
		mentions = append(mentions, relocate.Mention{Written: b.src.Host() + "/" + img})
	}
	pairs, err := relocate.Originals(mentions)
	if err != nil {
		b.t.Fatal(err)
	}
	return relocate.Discover(b.t.Context(), cfg, pairs, base)
}

// readBlobs reads all blobs of a draft that are not of its base, and returns how
// many it read, and the first error.
func readBlobs(t *testing.T, d *relocate.Draft) (n int, first error) {
	t.Helper()
	for _, b := range d.Blobs() {
		if b.Base {
			continue
		}
		rc, err := b.Open(t.Context(), 0)
		if err == nil {
			var raw []byte
			raw, err = io.ReadAll(rc)
			if err == nil && oci.FromBytes(raw, b.Digest) != b.Digest {
				t.Errorf("%s has other bytes", b.Digest)
			}
			rc.Close()
		}
		if err != nil && first == nil {
			first = err
		}
		n++
	}
	return n, first
}

// TestDiscover finds an index with what refers to it, and an image that shares a
// layer: every manifest and every blob once, and no blob is read for it.
func TestDiscover(t *testing.T) {
	b := newBench(t)
	index := b.platforms("app/a", "v1")
	b.src.AddReferrer("app/a", index.Descriptor(), "application/sbom", 1)
	sig := b.src.AddImage("app/a", regtest.Image{Layers: []int64{99}, Seed: 60}, cosignTag(index.Digest))
	other := b.src.AddImage("app/b", regtest.Image{Layers: []int64{1000, 7000}, Seed: 50}, "v2")

	d, err := b.discover(b.config(), nil, "app/a:v1", "app/b:v2", "app/b@"+string(other.Digest))
	if err != nil {
		t.Fatal(err)
	}
	if n := b.src.Count("", regtest.Blob); n != 0 {
		t.Errorf("%d blobs were asked for", n)
	}
	if n := len(d.Manifests()); n != 1+3+1+1+1 {
		t.Errorf("%d manifests, want the index, 3 platforms, an SBOM, a signature and an image", n)
	}
	var names []string
	for _, n := range d.Named() {
		names = append(names, strings.TrimPrefix(n.Name.String(), b.src.Host())+" "+string(n.Digest))
	}
	want := []string{
		"/app/a:" + cosignTag(index.Digest) + " " + string(sig.Digest), "/app/a:v1 " + string(index.Digest),
		"/app/b:v2 " + string(other.Digest), "/app/b@" + string(other.Digest) + " " + string(other.Digest),
	}
	if !slices.Equal(names, want) {
		t.Errorf("the set calls its manifests %q, want %q", names, want)
	}
	all := len(d.Blobs())
	if n, err := readBlobs(t, d); n != all || err != nil {
		t.Errorf("%d of %d blobs were read: %v", n, all, err)
	}
	if n := b.src.Count("GET", regtest.Blob); n > all {
		t.Errorf("%d requests for %d blobs", n, all)
	}
	rep := d.Report()
	if rep.Totals.Failed != 0 || rep.Totals.SourceBytes != rep.Totals.UniqueBytes || rep.Totals.UniqueBytes == 0 {
		t.Errorf("the totals are %+v", rep.Totals)
	}
}

// TestDiscoverBase leaves out what is there already, unless its size is another.
func TestDiscoverBase(t *testing.T) {
	b := newBench(t)
	img := b.src.AddImage("a", regtest.Image{Layers: []int64{1000, 2000}, Seed: 1}, "1")
	base := map[oci.Digest]relocate.Held{
		img.Layers[0].Digest: {Size: img.Layers[0].Size, Repositories: []string{"far/a"}},
		img.Layers[1].Digest: {Size: 1},
	}
	d, err := b.discover(b.config(), base, "a:1")
	if err != nil {
		t.Fatal(err)
	}
	for _, blob := range d.Blobs() {
		want := blob.Digest == img.Layers[0].Digest
		if blob.Base != want || want && !slices.Equal(blob.Repositories, []string{"far/a"}) {
			t.Errorf("%+v, want base %t", blob, want)
		}
	}
}

// TestDiscoverPlatform keeps the index and one of its images.
func TestDiscoverPlatform(t *testing.T) {
	b := newBench(t)
	index := b.platforms("app/a", "v1")
	cfg := b.config()
	cfg.Platforms = []relocate.Platform{{OS: "linux", Architecture: "arm64"}}
	d, err := b.discover(cfg, nil, "app/a:v1")
	if err != nil {
		t.Fatal(err)
	}
	if got := d.Named(); len(got) != 1 || got[0].Digest != index.Digest || len(d.Manifests()) != 2 {
		t.Errorf("%+v and %d manifests, want the index and one image", got, len(d.Manifests()))
	}
}

// TestDiscoverFailures: an image that is not there, and one whose blob is not
// there: the others are found, and the report says what is wrong with which.
func TestDiscoverFailures(t *testing.T) {
	b := newBench(t)
	index := b.platforms("app/a", "v1")
	b.src.AddImage("app/b", regtest.Image{Layers: []int64{7777}, Seed: 9}, "v2")
	b.src.On(regtest.Match{Kind: regtest.Blob, Ref: string(index.Children[1].Layers[0].Digest)}, regtest.Status(404))
	d, err := b.discover(b.config(), nil, "app/a:v1", "app/b:v2", "app/gone:v3")
	if !errors.Is(err, relocate.ErrIncomplete) {
		t.Fatalf("%v, want ErrIncomplete", err)
	}
	if n := len(d.Named()); n != 2 {
		t.Errorf("%d names, want 2", n)
	}
	if _, err := readBlobs(t, d); !errors.Is(err, oci.ErrNotFound) {
		t.Errorf("the blob: %v, want not found", err)
	}
	rep := d.Report()
	var results []string
	for _, img := range rep.Images {
		results = append(results, img.Result)
	}
	if !slices.Equal(results, []string{relocate.Failed, relocate.Copied, relocate.Failed}) || rep.Totals.Failed != 2 {
		t.Errorf("the images came to %q, %+v", results, rep.Totals)
	}
	if got := rep.Images[0]; !strings.Contains(got.Error, string(index.Children[1].Layers[0].Digest)) || got.Class != "not found" {
		t.Errorf("the first failed with %q, %q", got.Error, got.Class)
	}
}

// TestDraftWrongBytes: whoever finds that bytes are wrong rejects them, and the
// image fails until they were read again.
func TestDraftWrongBytes(t *testing.T) {
	b := newBench(t)
	img := b.src.AddImage("a", regtest.Image{Layers: []int64{1000}, Seed: 1}, "1")
	b.src.On(regtest.Match{Kind: regtest.Blob, Ref: string(img.Layers[0].Digest), Times: 1}, regtest.Fault{Flip: regtest.FlipLast})
	d, err := b.discover(b.config(), nil, "a:1")
	if err != nil {
		t.Fatal(err)
	}
	for _, blob := range d.Blobs() {
		if blob.Digest != img.Layers[0].Digest {
			continue
		}
		rc, err := blob.Open(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		if raw, err := io.ReadAll(rc); err != nil || oci.FromBytes(raw, blob.Digest) == blob.Digest {
			t.Fatalf("%v, or the bytes are right", err)
		}
		if rc.(oci.Rejecter).Reject() {
			t.Error("there would be another place")
		}
		rc.Close()
	}
	if rep := d.Report(); rep.Images[0].Class != "mismatch" {
		t.Errorf("the image: %+v", rep.Images[0])
	}
	if _, err := readBlobs(t, d); err != nil {
		t.Error(err)
	}
	if rep := d.Report(); rep.Images[0].Result != relocate.Copied || rep.Images[0].Blobs.Pushed != 2 || rep.Totals.PushedBytes != rep.Totals.UniqueBytes {
		t.Errorf("the image: %+v, %+v", rep.Images[0], rep.Totals)
	}
}

// TestDraftTells: an image is done when all of it is written that it was the first
// to need, and what is written is what is told.
func TestDraftTells(t *testing.T) {
	b := newBench(t)
	b.src.AddImage("a", regtest.Image{Layers: []int64{1000, 0}, Seed: 1}, "1")
	b.src.AddImage("b", regtest.Image{Layers: []int64{1000, 0}, Seed: 1}, "1")
	var mu sync.Mutex
	told := map[relocate.EventKind]int64{}
	done := 0
	cfg := b.config()
	cfg.Observe = func(e relocate.Event) {
		mu.Lock()
		defer mu.Unlock()
		told[e.Kind] += e.Bytes
		if e.Kind == relocate.ImageCopied {
			done++
		}
	}
	d, err := b.discover(cfg, nil, "a:1", "b:1")
	if err != nil {
		t.Fatal(err)
	}
	if done != 1 || told[relocate.BlobProgress] != 0 {
		t.Errorf("%d images are done, and %d bytes written, before any was", done, told[relocate.BlobProgress])
	}
	var all int64
	for _, blob := range d.Blobs() {
		d.Wrote(blob.Digest, blob.Size/2)
		d.Wrote(blob.Digest, blob.Size-blob.Size/2)
		all += blob.Size
	}
	if done != 2 || told[relocate.BlobProgress] != all || told[relocate.BlobDone] != told[relocate.ImageFound] {
		t.Errorf("%d images are done, and of %d bytes is told %v", done, all, told)
	}
}
