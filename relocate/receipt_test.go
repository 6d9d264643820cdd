package relocate_test

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/entrepot/entrepot/internal/regtest"
	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
	"github.com/entrepot/entrepot/relocate"
)

// receipt takes a receipt of repositories of the target.
func (b *bench) receipt(repos []string, refs ...ref.Ref) (relocate.Receipt, []ref.Ref) {
	b.t.Helper()
	var names []ref.Name
	for _, r := range repos {
		names = append(names, ref.Name{Host: b.dst.Host(), Path: r})
	}
	r, lost, err := relocate.TakeReceipt(b.t.Context(), relocate.ReceiptConfig{Reader: b.target, Prefix: b.dst.Host()}, names, refs)
	if err != nil {
		b.t.Fatal(err)
	}
	return r, lost
}

// TestReceipt tells what is there: an index with its platforms, what refers to
// them, an image without a tag that a reference names; each blob where it is.
func TestReceipt(t *testing.T) {
	b := newBench(t)
	var kids []regtest.Built
	for i, arch := range []string{"amd64", "arm64"} {
		kids = append(kids, b.dst.AddImage("a", regtest.Image{Layers: []int64{1000, 2000}, Seed: uint64(i), Platform: arch}))
	}
	index := b.dst.AddIndex("a", kids, "v1")
	sbom := b.dst.AddReferrer("a", kids[0].Descriptor(), "application/sbom", 1)
	loose := b.dst.AddImage("b", regtest.Image{Layers: []int64{1000}, Seed: 0})
	at := func(repo string) ref.Name { return ref.Name{Host: b.dst.Host(), Path: repo} }
	gone := at("b").WithTag("gone")

	r, lost := b.receipt([]string{"a", "nowhere"}, at("b").WithDigest(loose.Digest), gone)
	if !slices.Equal(lost, []ref.Ref{gone}) {
		t.Errorf("%v are not there, want %v", lost, gone)
	}
	if len(r.Repositories) != 2 {
		t.Fatalf("%d repositories, want 2: %+v", len(r.Repositories), r)
	}
	first := r.Repositories[0]
	if diff := cmp.Diff(map[string]oci.Digest{"v1": index.Digest}, first.Tags); diff != "" {
		t.Errorf("tags (-want +got):\n%s", diff)
	}
	var manifests []oci.Digest
	for _, m := range first.Manifests {
		manifests = append(manifests, m.Digest)
	}
	want := []oci.Digest{index.Digest, kids[0].Digest, kids[1].Digest, sbom.Digest}
	slices.Sort(want)
	if !slices.Equal(manifests, want) {
		t.Errorf("manifests %v, want %v", manifests, want)
	}
	held := r.Held()
	shared := held[kids[0].Layers[0].Digest]
	if shared.Size != 1000 || !slices.Equal(shared.Repositories, []string{at("a").String(), at("b").String()}) {
		t.Errorf("the shared layer is held as %+v", shared)
	}
	if n := b.dst.Count("GET", regtest.Blob); n != 0 {
		t.Errorf("%d blobs were read", n)
	}
}

// TestReceiptTellsTheTruth leaves out a blob that a manifest names and that is
// not there, or is another size.
func TestReceiptTellsTheTruth(t *testing.T) {
	b := newBench(t)
	img := b.dst.AddImage("a", regtest.Image{Layers: []int64{1000, 2000}, Seed: 1}, "v1")
	gone := img.Layers[1]
	b.dst.On(regtest.Match{Kind: regtest.Blob, Ref: string(gone.Digest)}, regtest.Status(404))
	r, _ := b.receipt([]string{"a"})
	if _, ok := r.Held()[gone.Digest]; ok {
		t.Error("the receipt has a blob that is not there")
	}
	if want := []relocate.Stored{{Digest: gone.Digest, Size: 2000}}; !slices.Equal(r.Repositories[0].Missing, want) {
		t.Errorf("missing are %v, want %v", r.Repositories[0].Missing, want)
	}
	if _, ok := r.Held()[img.Layers[0].Digest]; !ok {
		t.Error("the receipt lacks a blob that is there")
	}
}

// TestReceiptOrNone: a question without an answer gives no receipt.
func TestReceiptOrNone(t *testing.T) {
	b := newBench(t)
	img := b.dst.AddImage("a", regtest.Image{Layers: []int64{1000}, Seed: 1}, "v1")
	b.dst.On(regtest.Match{Kind: regtest.Blob, Ref: string(img.Layers[0].Digest)}, regtest.Status(403))
	_, _, err := relocate.TakeReceipt(t.Context(), relocate.ReceiptConfig{Reader: b.target}, []ref.Name{{Host: b.dst.Host(), Path: "a"}}, nil)
	if !errors.Is(err, oci.ErrDenied) || !strings.Contains(err.Error(), string(img.Layers[0].Digest)) {
		t.Errorf("%v, want denied", err)
	}
}

// TestReceiptFile writes the same bytes for the same content, and reads them.
func TestReceiptFile(t *testing.T) {
	d := func(s string) oci.Digest { return oci.FromBytes([]byte(s), "") }
	one := relocate.ReceiptRepository{Name: "r.example/a", Tags: map[string]oci.Digest{"1": d("1"), "2": d("2")}, Manifests: []relocate.Stored{{Digest: d("1"), Size: 1}, {Digest: d("2"), Size: 1}}}
	two := relocate.ReceiptRepository{Name: "r.example/b", Blobs: []relocate.Stored{{Digest: d("x"), Size: 3}, {Digest: d("y"), Size: 4}, {Digest: d("x"), Size: 3}}}
	raw, err := relocate.Receipt{Prefix: "r.example", Repositories: []relocate.ReceiptRepository{one, two}}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	slices.Reverse(one.Manifests)
	slices.Reverse(two.Blobs)
	again, err := relocate.Receipt{Prefix: "r.example", Repositories: []relocate.ReceiptRepository{two, one}}.Encode()
	if err != nil || !bytes.Equal(raw, again) {
		t.Errorf("%v; the same content is written as\n%s\n%s", err, raw, again)
	}
	back, err := relocate.ParseReceipt(raw)
	if err != nil {
		t.Fatal(err)
	}
	if text, err := back.Encode(); err != nil || !bytes.Equal(text, raw) {
		t.Errorf("%v; read and written it is\n%s", err, text)
	}
}

func TestParseReceiptErrors(t *testing.T) {
	for text, want := range map[string]string{
		`{`:                               "it is no receipt",
		`{"version":1}`:                   "it is no receipt",
		`["x"]`:                           "it is no receipt",
		`{"images":[]}`:                   "it is no receipt",
		`{"version":2,"repositories":[]}`: "version: 2 is not known",
		`{"version":1,"repositories":[],"more":1}`:                                          `unknown field "more"`,
		`{"version":1,"repositories":[]} x`:                                                 "it is no receipt",
		`{"version":1,"repositories":[{"name":"alpine"}]}`:                                  `repositories[0].name: "alpine"`,
		`{"version":1,"repositories":[{"name":"r.x/a","tags":{"a b":"x"}}]}`:                `repositories[0].tags: "a b"`,
		`{"version":1,"repositories":[{"name":"r.x/a","tags":{"a":"x"}}]}`:                  "repositories[0].tags.a: ",
		`{"version":1,"repositories":[{"name":"r.x/a","blobs":[{"digest":"x","size":1}]}]}`: "repositories[0].blobs[0].digest: ",
	} {
		if _, err := relocate.ParseReceipt([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}

// FuzzParseReceipt: what is read can be written, and read again.
func FuzzParseReceipt(f *testing.F) {
	f.Add([]byte(`{"version":1,"prefix":"r.x","repositories":[{"name":"r.x/a","tags":{"v1":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},"manifests":[],"blobs":[{"digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","size":0}]}]}`))
	f.Add([]byte(`{"version":1,"repositories":null}`))
	f.Add([]byte(`{"version":1,"repositories":[{"name":"r.x/a","blobs":[{"digest":"sha256:e3","size":-1}]}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := relocate.ParseReceipt(data)
		if err != nil {
			return
		}
		raw, err := r.Encode()
		if err != nil {
			t.Fatal(err)
		}
		again, err := relocate.ParseReceipt(raw)
		if err != nil {
			t.Fatalf("%v: %s", err, raw)
		}
		if text, err := again.Encode(); err != nil || !bytes.Equal(text, raw) {
			t.Errorf("%v: %s became %s", err, raw, text)
		}
	})
}
