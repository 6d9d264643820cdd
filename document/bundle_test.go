package document

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
)

const bundleJSON = `{"images":{"my-microservice":{"contentDigest":"sha256:` + hexA + `","image":"example/microservice@sha256:` + hexA + `","imageType":"docker","originalImage":"old/microservice:1"},"other":{"image":"technosophos/helloworld:0.1.0"}},"invocationImages":[{"contentDigest":"sha256:` + hexB + `","image":"technosophos/helloworld:0.1.0","imageType":"docker"}],"name":"helloworld","schemaVersion":"v1.2.0","version":"0.1.2"}`

func TestBundle(t *testing.T) {
	d := mustRead(t, "bundle.json", bundleJSON, Options{})
	if d.Kind != Bundle {
		t.Fatalf("got a %s", d.Kind)
	}
	at := func(text string) Position { return Position{"bundle.json", 1, strings.Index(bundleJSON, text) + 1} }
	want := []Image{
		{Ref: "example/microservice@sha256:" + hexA, Digest: "sha256:" + hexA, Original: "old/microservice:1", At: at(`"example/`), Field: "images.my-microservice.image", Kind: Bundle},
		{Ref: "technosophos/helloworld:0.1.0", At: at(`"technosophos/`), Field: "images.other.image", Kind: Bundle},
		{Ref: "technosophos/helloworld:0.1.0", Digest: "sha256:" + hexB, At: at(`"technosophos/helloworld:0.1.0","imageType`), Field: "invocationImages[0].image", Kind: Bundle},
	}
	if diff := cmp.Diff(want, d.Images()); diff != "" {
		t.Errorf("images (-want +got):\n%s", diff)
	}
	// A bundle is signed in its canonical form: not a byte may change.
	if got := rewritten(t, d, map[string]string{"technosophos/helloworld:0.1.0": "r.example/x:1"}); got != bundleJSON || !d.Verbatim() {
		t.Errorf("a rewritten bundle is %s", got)
	}
	if err := d.Images()[2].CheckDigest("sha256:" + hexA); err == nil || err.Error() != "content digest mismatch: image technosophos/helloworld:0.1.0 has digest sha256:"+hexA+" but the digest should be sha256:"+hexB+" according to the bundle manifest" {
		t.Errorf("another digest: %v", err)
	}
	if err := d.Images()[2].CheckDigest("sha256:" + hexB); err != nil {
		t.Errorf("the digest: %v", err)
	}
}

func TestBundleRefused(t *testing.T) {
	for name, c := range map[string]struct{ change, to, want string }{
		"image type":   {`"imageType":"docker","originalImage"`, `"imageType":"vm","originalImage"`, "bundle.json:1: images.my-microservice.imageType: cannot relocate image example/microservice@sha256:" + hexA + " with imageType vm: only oci and docker image types are currently supported"},
		"digest":       {`"sha256:` + hexA + `","image"`, `"sha256:` + hexB + `","image"`, "content digest mismatch: image example/microservice@sha256:" + hexA},
		"no digest":    {`"sha256:` + hexA + `","image"`, `"sha256:12","image"`, "images.my-microservice.contentDigest: this is no digest"},
		"no image":     {`"image":"technosophos/helloworld:0.1.0","imageType"`, `"imageType"`, "invocationImages[0]: it names no image"},
		"not an image": {`"technosophos/helloworld:0.1.0"}`, `"A B"}`, "images.other.image: this is no image"},
		"truncated":    {`,"version":"0.1.2"}`, ``, "bundle.json:1: a comma or '}' should be here"},
	} {
		t.Run(name, func(t *testing.T) {
			text := strings.Replace(bundleJSON, c.change, c.to, 1)
			if text == bundleJSON {
				t.Fatal("the case changes nothing")
			}
			_, err := Read(Input{Name: "bundle.json", Data: []byte(text), Kind: Bundle}, Options{})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got  %v\nwant %s", err, c.want)
			}
		})
	}
}

// entry is an entry of an archive for a test.
type entry struct {
	name, text, link string
	kind             byte
}

func archiveOf(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	zw := gzip.NewWriter(&b)
	tw := tar.NewWriter(zw)
	for _, e := range entries {
		h := &tar.Header{Name: e.name, Mode: 0o644, Size: int64(len(e.text)), Typeflag: e.kind, Linkname: e.link}
		if e.kind == 0 {
			h.Typeflag = tar.TypeReg
		}
		if err := errors.Join(tw.WriteHeader(h), func() error { _, err := io.WriteString(tw, e.text); return err }()); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(tw.Close(), zw.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// blobEntry is a blob under its right name.
func blobEntry(text string) entry {
	return entry{name: "artifacts/layout/blobs/sha256/" + oci.FromBytes([]byte(text), "").Encoded(), text: text}
}

func TestThickBundle(t *testing.T) {
	data := archiveOf(t,
		entry{name: "./artifacts/layout/oci-layout", text: `{"imageLayoutVersion":"1.0.0"}`},
		blobEntry("layer"),
		entry{name: "artifacts/layout/index.json", text: `{"manifests":[]}`},
		entry{name: "./bundle.json", text: bundleJSON},
		entry{name: "relocation-mapping.json", text: `{"technosophos/helloworld:0.1.0":"b.example/hello:0.1.0"}`},
		entry{name: "../../etc/passwd", text: "x"}, entry{name: "/etc/passwd", text: "x"},
		entry{name: "artifacts/layout/../../../evil", text: "x"},
		entry{name: "elsewhere", kind: tar.TypeSymlink, link: "/etc"}, entry{name: "elsewhere/passwd", text: "x"},
	)
	d, err := Read(Input{Name: "b.tgz", Path: "in/b.tgz", Data: data}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if d.Kind != Bundle || !d.Thick() || len(d.Images()) != 3 || d.Mapping()["technosophos/helloworld:0.1.0"] != "b.example/hello:0.1.0" {
		t.Errorf("got a %s, thick %v, with %d images and %v", d.Kind, d.Thick(), len(d.Images()), d.Mapping())
	}
	files, err := d.Rewrite(func(string) (string, bool) { return "r.example/x", true })
	if err != nil || len(files) != 1 || files[0].Path != "in/bundle.json" || string(files[0].Data) != bundleJSON {
		t.Errorf("rewritten: %v, %v", files, err)
	}
	dir := t.TempDir()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	if err := ExtractLayout(t.Context(), bytes.NewReader(data), root, 0); err != nil {
		t.Fatal(err)
	}
	var names []string
	walk(t, dir, "", &names)
	want := []string{"blobs/sha256/" + oci.FromBytes([]byte("layer"), "").Encoded(), "index.json", "oci-layout"}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("unpacked (-want +got):\n%s", diff)
	}
}

func walk(t *testing.T, dir, rel string, names *[]string) {
	t.Helper()
	entries, err := os.ReadDir(dir + "/" + rel)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.IsDir() {
			walk(t, dir, rel+e.Name()+"/", names)
		} else {
			*names = append(*names, rel+e.Name())
		}
	}
}

// TestHostileArchives are archives that want to do harm.
func TestHostileArchives(t *testing.T) {
	index := entry{name: "artifacts/layout/index.json", text: "{}"}
	blob := blobEntry("layer")
	whole := archiveOf(t, index, blob)
	for name, c := range map[string]struct {
		data []byte
		want string
	}{
		"wrong blob":     {archiveOf(t, index, entry{name: blob.name, text: "other"}), "has other content than its name says"},
		"blob as link":   {archiveOf(t, index, entry{name: blob.name, kind: tar.TypeSymlink, link: "/etc/passwd"}), "is a link to /etc/passwd"},
		"link upwards":   {archiveOf(t, index, entry{name: blob.name, kind: tar.TypeLink, link: "../../../x"}), "is a link to ../../../x"},
		"index as link":  {archiveOf(t, entry{name: index.name, kind: tar.TypeSymlink, link: "/etc/passwd"}), "is a link to /etc/passwd"},
		"device":         {archiveOf(t, index, entry{name: blob.name, kind: tar.TypeChar}), "is neither a file nor a link"},
		"index twice":    {archiveOf(t, index, index), "exists"},
		"too much":       {archiveOf(t, index, blobEntry(strings.Repeat("x", 2000))), "more than 1000 bytes"},
		"cut":            {whole[:len(whole)-12], "unexpected EOF"},
		"no images":      {archiveOf(t, entry{name: "bundle.json", text: "{}"}), "brings no images"},
		"not compressed": {[]byte("plain"), "cannot be read"},
	} {
		t.Run(name, func(t *testing.T) {
			root, err := os.OpenRoot(t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			defer root.Close()
			err = ExtractLayout(t.Context(), bytes.NewReader(c.data), root, 1000)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %s", err, c.want)
			}
		})
	}
	for name, c := range map[string]struct {
		data []byte
		want string
	}{
		"bundle as link":  {archiveOf(t, entry{name: "bundle.json", kind: tar.TypeSymlink, link: "/etc/passwd"}), "bundle.json is no plain file"},
		"cut":             {archiveOf(t, entry{name: "bundle.json", text: bundleJSON})[:300], "EOF"},
		"no bundle":       {archiveOf(t, entry{name: "x", text: "y"}), "no known kind"},
		"strange mapping": {archiveOf(t, entry{name: "bundle.json", text: bundleJSON}, entry{name: "relocation-mapping.json", text: "[]"}), "one JSON object of strings"},
	} {
		t.Run("read "+name, func(t *testing.T) {
			if _, err := Read(Input{Name: "b.tgz", Data: c.data}, Options{}); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %s", err, c.want)
			}
		})
	}
}

// place is an oci.Reader over a few manifests and blobs.
type place struct {
	manifests map[string]string // :: tag or digest → content
	blobs     map[ref.Digest]string
}

func (p place) Resolve(context.Context, ref.Ref) (oci.Descriptor, error) {
	return oci.Descriptor{}, oci.ErrNotFound
}
func (p place) Stat(context.Context, ref.Name, oci.Digest) (oci.Descriptor, error) {
	return oci.Descriptor{}, oci.ErrNotFound
}

func (p place) Manifest(_ context.Context, r ref.Ref) (oci.Manifest, error) {
	text, ok := p.manifests[r.Identifier()]
	if !ok {
		return oci.Manifest{}, oci.ErrNotFound
	}
	return oci.Manifest{Raw: []byte(text), Digest: oci.FromBytes([]byte(text), "")}, nil
}

func (p place) Blob(_ context.Context, _ ref.Name, d oci.Digest, _ int64) (oci.Blob, error) {
	text, ok := p.blobs[d]
	if !ok {
		return oci.Blob{}, oci.ErrNotFound
	}
	return oci.Blob{Body: io.NopCloser(strings.NewReader(text))}, nil
}

// storedBundle is a bundle as a registry has it, its bundle.json with one of the
// media types, as the config or as a layer.
func storedBundle(t *testing.T, mediaType string, layer bool) place {
	t.Helper()
	config := oci.FromBytes([]byte(bundleJSON), "")
	d := oci.Descriptor{MediaType: mediaType, Digest: config, Size: int64(len(bundleJSON))}
	m := map[string]any{"config": d}
	if layer {
		m = map[string]any{"config": oci.Descriptor{MediaType: "application/vnd.docker.container.image.v1+json", Digest: "sha256:" + hexA}, "layers": []oci.Descriptor{d}}
	}
	manifest, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	at := oci.FromBytes(manifest, "")
	index, err := json.Marshal(map[string]any{"manifests": []oci.Descriptor{
		{Digest: at, Annotations: map[string]string{"io.cnab.manifest.type": "config"}},
		{Digest: "sha256:" + hexB, Annotations: map[string]string{"io.cnab.manifest.type": "invocation"}},
		{Digest: "sha256:" + hexA, Annotations: map[string]string{"io.cnab.manifest.type": "component", "io.cnab.component.name": "my-microservice"}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	return place{map[string]string{"v1": string(index), string(at): string(manifest)}, map[ref.Digest]string{config: bundleJSON}}
}

func TestFetchBundle(t *testing.T) {
	r := ref.Ref{Name: ref.Name{Host: "r.example", Path: "bundles/hello"}, Tag: "v1"}
	for _, c := range []struct {
		mediaType string
		layer     bool
	}{{cnabConfig, false}, {cnabToOCI, false}, {ociImageConfig, false}, {"application/octet-stream", true}} {
		in, err := FetchBundle(t.Context(), storedBundle(t, c.mediaType, c.layer), r)
		if err != nil {
			t.Fatalf("%s: %v", c.mediaType, err)
		}
		d, err := Read(in, Options{})
		if err != nil {
			t.Fatal(err)
		}
		want := Mapping{
			"technosophos/helloworld:0.1.0":       "r.example/bundles/hello@sha256:" + hexB,
			"example/microservice@sha256:" + hexA: "r.example/bundles/hello@sha256:" + hexA,
		}
		if diff := cmp.Diff(want, d.Mapping()); diff != "" {
			t.Errorf("mapping (-want +got):\n%s", diff)
		}
	}
	wrong := storedBundle(t, cnabConfig, false)
	for d := range wrong.blobs {
		wrong.blobs[d] = bundleJSON + " "
	}
	if _, err := FetchBundle(t.Context(), wrong, r); err == nil || !strings.Contains(err.Error(), "has not the digest") {
		t.Errorf("a wrong blob: %v", err)
	}
	if _, err := FetchBundle(t.Context(), place{manifests: map[string]string{"v1": "{}"}}, r); !errors.Is(err, ErrUnknown) {
		t.Errorf("an image: %v", err)
	}
}
