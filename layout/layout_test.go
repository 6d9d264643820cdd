package layout_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/entrepot/entrepot/internal/regtest"
	"github.com/entrepot/entrepot/layout"
	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
)

var none ref.Name

func create(t *testing.T) (*layout.Layout, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "images")
	l, err := layout.Create(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l, dir
}

func source(b []byte) oci.Source {
	return func(_ context.Context, off int64) (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(b[off:])), nil
	}
}

// image puts an image into the layout and returns its manifest.
func image(t *testing.T, l *layout.Layout, n ref.Name, seed uint64, tags ...string) regtest.Built {
	t.Helper()
	shelf := regtest.NewShelf()
	img := shelf.AddImage("x", regtest.Image{Layers: []int64{100, 5000}, Seed: seed})
	put(t, l, n, shelf, img, tags...)
	return img
}

func put(t *testing.T, l *layout.Layout, n ref.Name, shelf *regtest.Shelf, img regtest.Built, tags ...string) {
	t.Helper()
	for _, d := range append(slices.Clone(img.Layers), img.Config) {
		c, _ := shelf.Content("x", d.Digest)
		if err := l.PutBlob(t.Context(), n, d, func(_ context.Context, off int64) (io.ReadCloser, error) {
			return io.NopCloser(io.NewSectionReader(c, off, c.Size()-off)), nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.PutManifest(t.Context(), n, img.Manifest, tags...); err != nil {
		t.Fatal(err)
	}
}

func TestRoundTrip(t *testing.T) {
	l, dir := create(t)
	img := image(t, l, none, 1, "v1", "latest")
	again, err := layout.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	for _, r := range []ref.Ref{none.WithTag("v1"), none.WithTag("latest"), none.WithDigest(img.Digest)} {
		m, err := again.Manifest(t.Context(), r)
		if err != nil || string(m.Raw) != string(img.Raw) || m.MediaType != img.MediaType {
			t.Errorf("Manifest(%v) = %s %s, %v", r, m.MediaType, m.Digest, err)
		}
	}
	b, err := again.Blob(t.Context(), none, img.Layers[1].Digest, 4000)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Body.Close()
	if got, err := io.ReadAll(b.Body); err != nil || len(got) != 1000 || b.Size != 5000 {
		t.Errorf("Blob from 4000: %d bytes of %d, %v", len(got), b.Size, err)
	}
	if _, err := again.Manifest(t.Context(), none.WithTag("v2")); !errors.Is(err, oci.ErrNotFound) {
		t.Errorf("an unknown tag: got %v, want ErrNotFound", err)
	}
}

func TestNames(t *testing.T) {
	l, _ := create(t)
	alpine := ref.Name{Host: ref.DockerHub, Path: "library/alpine"}
	one, two := image(t, l, alpine, 1, "v1"), image(t, l, none, 2, "v1")
	for n, want := range map[ref.Name]oci.Digest{alpine: one.Digest, none: two.Digest} {
		if d, err := l.Resolve(t.Context(), n.WithTag("v1")); err != nil || d.Digest != want {
			t.Errorf("%v:v1 is %s, %v, want %s", n, d.Digest, err, want)
		}
		var tags []string
		for tag, err := range l.Tags(t.Context(), n, "") {
			if err != nil {
				t.Fatal(err)
			}
			tags = append(tags, tag)
		}
		if !slices.Equal(tags, []string{"v1"}) {
			t.Errorf("tags of %v: %v", n, tags)
		}
	}
}

func TestTagMoves(t *testing.T) {
	l, dir := create(t)
	image(t, l, none, 1, "v1")
	two := image(t, l, none, 2, "v1")
	if d, err := l.Resolve(t.Context(), none.WithTag("v1")); err != nil || d.Digest != two.Digest {
		t.Errorf("v1 is %s, %v, want %s", d.Digest, err, two.Digest)
	}
	if d, err := l.Resolve(t.Context(), ref.Ref{}); err != nil || d.Digest != two.Digest {
		t.Errorf("the only one is %s, %v, want %s", d.Digest, err, two.Digest)
	}
	files, err := filepath.Glob(filepath.Join(dir, ".entrepot-*"))
	if err != nil || len(files) > 0 {
		t.Errorf("left behind: %v, %v", files, err)
	}
}

func TestWrongBytesStayOut(t *testing.T) {
	l, dir := create(t)
	d := oci.Descriptor{Digest: oci.FromBytes([]byte("right"), ""), Size: 5}
	for name, raw := range map[string]string{"other": "wrong", "short": "righ", "long": "right!"} {
		if err := l.PutBlob(t.Context(), none, d, source([]byte(raw))); !errors.Is(err, oci.ErrMismatch) {
			t.Errorf("%s: got %v, want ErrMismatch", name, err)
		}
	}
	if _, err := l.Stat(t.Context(), none, d.Digest); !errors.Is(err, oci.ErrNotFound) {
		t.Errorf("Stat: %v, want ErrNotFound", err)
	}
	err := l.PutManifest(t.Context(), none, oci.Manifest{MediaType: oci.TypeImageIndex, Digest: d.Digest, Raw: []byte("{}")}, "v1")
	if !errors.Is(err, oci.ErrMismatch) {
		t.Errorf("PutManifest: got %v, want ErrMismatch", err)
	}
	var files []string
	filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			files = append(files, e.Name())
		}
		return err
	})
	if !slices.Equal(files, []string{"index.json", "oci-layout"}) {
		t.Errorf("files: %v", files)
	}
}

func TestCorruptManifest(t *testing.T) {
	l, dir := create(t)
	img := image(t, l, none, 1, "v1")
	name := filepath.Join(dir, "blobs", "sha256", img.Digest.Encoded())
	if err := os.WriteFile(name, []byte("{}"), 0o666); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Manifest(t.Context(), none.WithTag("v1")); !errors.Is(err, oci.ErrMismatch) {
		t.Errorf("got %v, want ErrMismatch", err)
	}
}

func TestReferrers(t *testing.T) {
	l, _ := create(t)
	shelf := regtest.NewShelf()
	img := shelf.AddImage("x", regtest.Image{Layers: []int64{100}})
	sbom := shelf.AddReferrer("x", img.Descriptor(), "application/sbom", 7)
	sig := shelf.AddReferrer("x", img.Descriptor(), "application/sig", 8)
	put(t, l, none, shelf, img, "v1")
	put(t, l, none, shelf, sbom)
	put(t, l, none, shelf, sig)
	for artifactType, want := range map[string]int{"": 2, "application/sig": 1, "application/none": 0} {
		found, err := l.Referrers(t.Context(), none, img.Digest, artifactType)
		if err != nil || len(found) != want {
			t.Errorf("Referrers of type %q: %v, %v, want %d", artifactType, found, err, want)
		}
	}
}

// TestWritersTogether holds that no name is lost where several processes, here
// several Layouts, write at once.
func TestWritersTogether(t *testing.T) {
	first, dir := create(t)
	img := image(t, first, none, 1, "v0")
	var wg sync.WaitGroup
	for i := range 8 {
		l, err := layout.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			defer l.Close()
			for k := range 5 {
				if err := l.PutManifest(t.Context(), none, img.Manifest, fmt.Sprintf("v%d.%d", i, k)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	n := 0
	for range first.Tags(t.Context(), none, "") {
		n++
	}
	if n != 41 {
		t.Errorf("there are %d tags, want 41", n)
	}
}

func TestOpenRefuses(t *testing.T) {
	other := t.TempDir()
	if err := os.WriteFile(filepath.Join(other, "precious"), nil, 0o666); err != nil {
		t.Fatal(err)
	}
	future := t.TempDir()
	if err := os.WriteFile(filepath.Join(future, "oci-layout"), []byte(`{"imageLayoutVersion":"2.0.0"}`), 0o666); err != nil {
		t.Fatal(err)
	}
	if _, err := layout.Open(filepath.Join(other, "none")); !errors.Is(err, oci.ErrNotFound) {
		t.Errorf("Open of nothing: %v, want ErrNotFound", err)
	}
	if _, err := layout.Create(other); !errors.Is(err, oci.ErrInvalid) {
		t.Errorf("Create over other files: %v, want ErrInvalid", err)
	}
	if _, err := layout.Create(future); !errors.Is(err, oci.ErrUnsupported) {
		t.Errorf("Create over a later version: %v, want ErrUnsupported", err)
	}
}

// FuzzIndex holds that no index.json leads outside of the layout, or makes a
// reader panic.
func FuzzIndex(f *testing.F) {
	for _, seed := range []string{
		`{"schemaVersion":2,"manifests":[]}`, `{`, `null`, `{"manifests":[{"digest":"sha256:../../x","size":1}]}`,
		`{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2,"annotations":{"org.opencontainers.image.ref.name":"v1"}}]}`,
	} {
		f.Add([]byte(seed))
	}
	l, err := layout.Create(filepath.Join(f.TempDir(), "images"))
	if err != nil {
		f.Fatal(err)
	}
	l.Close()
	f.Fuzz(func(t *testing.T, raw []byte) {
		dir := t.TempDir()
		os.WriteFile(filepath.Join(dir, "oci-layout"), []byte(`{"imageLayoutVersion":"1.0.0"}`), 0o666)
		os.WriteFile(filepath.Join(dir, "index.json"), raw, 0o666)
		l, err := layout.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		for tag, err := range l.Tags(t.Context(), none, "") {
			if err != nil {
				return
			}
			if _, err := l.Manifest(t.Context(), none.WithTag(tag)); err == nil {
				t.Errorf("%q has a manifest, and there are no blobs", tag)
			}
		}
	})
}

func ExampleLayout() {
	dir, err := os.MkdirTemp("", "layout")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	l, err := layout.Create(filepath.Join(dir, "images"))
	if err != nil {
		panic(err)
	}
	defer l.Close()
	raw := []byte(`{"schemaVersion":2,"manifests":[]}`)
	m := oci.Manifest{MediaType: oci.TypeImageIndex, Digest: oci.FromBytes(raw, ""), Raw: raw}
	if err := l.PutManifest(context.Background(), ref.Name{}, m, "v1"); err != nil {
		panic(err)
	}
	d, err := l.Resolve(context.Background(), ref.Name{}.WithTag("v1"))
	fmt.Println(d.MediaType, err)
	// Output: application/vnd.oci.image.index.v1+json <nil>
}
