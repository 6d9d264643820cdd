package cli

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/entrepot/entrepot/internal/regtest"
	"github.com/entrepot/entrepot/layout"
	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
)

// thick writes a thick bundle whose images are those of a shelf.
func (m *move) thick(name, bundle string, images map[ref.Ref]regtest.Built, shelf *regtest.Shelf, path string) string {
	m.t.Helper()
	dir := m.t.TempDir()
	l, err := layout.Create(dir)
	if err != nil {
		m.t.Fatal(err)
	}
	defer l.Close()
	for at, built := range images {
		for _, d := range append([]oci.Descriptor{built.Config}, built.Layers...) {
			c, _ := shelf.Content(path, d.Digest)
			open := func(_ context.Context, off int64) (io.ReadCloser, error) {
				return io.NopCloser(io.NewSectionReader(c, off, c.Size()-off)), nil
			}
			if err := l.PutBlob(m.t.Context(), at.Name, d, open); err != nil {
				m.t.Fatal(err)
			}
		}
		if err := l.PutManifest(m.t.Context(), at.Name, built.Manifest, at.Tag); err != nil {
			m.t.Fatal(err)
		}
	}
	if err := os.WriteFile(m.path(name), tarball(m.t, bundle, os.DirFS(dir)), 0o644); err != nil {
		m.t.Fatal(err)
	}
	return m.path(name)
}

// tarball packs a bundle.json and a layout, with an entry that leads out of it.
func tarball(t *testing.T, bundle string, images fs.FS) []byte {
	t.Helper()
	var out bytes.Buffer
	zw := gzip.NewWriter(&out)
	w := tar.NewWriter(zw)
	add := func(name string, data []byte) {
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(data)), Typeflag: tar.TypeReg}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(data); err != nil {
			t.Fatal(err)
		}
	}
	add("bundle.json", []byte(bundle))
	add("artifacts/layout/../../../../escaped", []byte("x"))
	add("artifacts/layout/blobs/sha256/../escaped", []byte("x"))
	err := fs.WalkDir(images, ".", func(name string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		data, err := fs.ReadFile(images, name)
		add("artifacts/layout/"+name, data)
		return err
	})
	for _, end := range []error{err, w.Close(), zw.Close()} {
		if end != nil {
			t.Fatal(end)
		}
	}
	return out.Bytes()
}

// TestRelocateThick takes the images of a thick bundle from it: their registry
// does not exist.
func TestRelocateThick(t *testing.T) {
	m := newMove(t)
	shelf := regtest.NewShelf()
	built := shelf.AddImage("x", regtest.Image{Layers: []int64{100, 200}, Seed: 3}, "1")
	at := ref.Name{Host: "gone.invalid", Path: "team/app"}.WithTag("1")
	input := m.thick("b.tgz", `{"schemaVersion":"v1.2.0","name":"b","version":"1.0.0","invocationImages":[{"image":"gone.invalid/team/app:1"}]}`,
		map[ref.Ref]regtest.Built{at: built}, shelf, "x")
	m.run(input, "--to", m.dst.Host(), "--naming", "host-path", "--map", m.path("map.json"))
	m.exits(exitDone)
	if want := m.dst.Host() + "/gone.invalid/team/app:1@" + string(built.Digest); !strings.Contains(m.out, want) {
		t.Errorf("got %s, want %s", m.out, want)
	}
	if n := len(m.src.Log()); n > 0 {
		t.Errorf("the source was asked %d times", n)
	}
}

// TestRelocateReferences takes a reference for an image by itself, and for a
// bundle where it is one.
func TestRelocateReferences(t *testing.T) {
	m := newMove(t)
	app := m.src.AddImage("team/app", regtest.Image{Layers: []int64{100}, Seed: 1}, "1")
	m.run(m.src.Host()+"/team/app:1", "--to", m.dst.Host(), "--naming", "path", "--map", m.path("map.json"))
	m.exits(exitDone)
	if got := m.read("map.json"); !strings.Contains(got, m.src.Host()+"/team/app:1") {
		t.Errorf("the mapping is %s", got)
	}

	bundle := `{"schemaVersion":"v1.2.0","name":"b","version":"1.0.0","invocationImages":[{"image":"nowhere.invalid/app:1"}]}`
	config := m.src.AddBlob("bundles/b", regtest.Bytes([]byte(bundle)))
	config.MediaType = "application/vnd.cnab.config.v1+json"
	manifest := m.src.AddManifest("bundles/b", "application/vnd.oci.image.manifest.v1+json", []byte(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"`+
		config.MediaType+`","digest":"`+string(config.Digest)+`","size":`+strconv.FormatInt(config.Size, 10)+`},"layers":[]}`))
	invocation := m.src.AddImage("bundles/b", regtest.Image{Layers: []int64{100}, Seed: 1})
	if invocation.Digest != app.Digest {
		t.Fatal("the images differ")
	}
	m.src.AddManifest("bundles/b", "application/vnd.oci.image.index.v1+json", []byte(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[`+
		`{"mediaType":"`+manifest.MediaType+`","digest":"`+string(manifest.Digest)+`","size":`+strconv.Itoa(len(manifest.Raw))+`,"annotations":{"io.cnab.manifest.type":"config"}},`+
		`{"mediaType":"`+invocation.MediaType+`","digest":"`+string(invocation.Digest)+`","size":`+strconv.Itoa(len(invocation.Raw))+`,"annotations":{"io.cnab.manifest.type":"invocation"}}]}`), "1")
	m.run(m.src.Host()+"/bundles/b:1", "--to", m.dst.Host()+"/m", "--naming", "host-path", "--map", m.path("map.json"), "--output", m.path("b.json"))
	m.exits(exitDone)
	if got := m.read("map.json"); !strings.Contains(got, `"nowhere.invalid/app:1": "`+m.dst.Host()+`/m/nowhere.invalid/app:1"`) {
		t.Errorf("the mapping is %s", got)
	}
	if got := m.read("b.json"); got != bundle {
		t.Errorf("the bundle is %s, want %s", got, bundle)
	}
	m.run(m.path("none.yaml"), "--to", m.dst.Host())
	m.exits(exitFailed)
}
