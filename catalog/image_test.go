package catalog_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	ispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/entrepot/entrepot/catalog"
	"github.com/entrepot/entrepot/layout"
	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
)

const configsLabel = "operators.operatorframework.io.index.configs.v1"

// A shelf is a layout into which tests put images.
type shelf struct {
	*layout.Layout
	t    *testing.T
	dir  string
	name ref.Name
}

func newShelf(t *testing.T) *shelf {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "images")
	l, err := layout.Create(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return &shelf{Layout: l, t: t, dir: dir, name: ref.Name{Host: "registry.example.com", Path: "operators/index"}}
}

func (s *shelf) blob(mediaType string, data []byte) oci.Descriptor {
	s.t.Helper()
	d := oci.Descriptor{MediaType: mediaType, Digest: oci.FromBytes(data, ""), Size: int64(len(data))}
	err := s.PutBlob(s.t.Context(), s.name, d, func(_ context.Context, off int64) (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(data[off:])), nil
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return d
}

func (s *shelf) manifest(mediaType string, v any, tags ...string) oci.Descriptor {
	s.t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		s.t.Fatal(err)
	}
	m := oci.Manifest{MediaType: mediaType, Digest: oci.FromBytes(raw, ""), Raw: raw}
	if err := s.PutManifest(s.t.Context(), s.name, m, tags...); err != nil {
		s.t.Fatal(err)
	}
	return m.Descriptor()
}

// A made image is what a test wants in one.
type made struct {
	labels map[string]string
	cmd    []string
	layers [][]byte
	arch   string
	docker bool
}

func (s *shelf) image(m made, tags ...string) oci.Descriptor {
	s.t.Helper()
	if m.labels == nil {
		m.labels = map[string]string{configsLabel: "/configs"}
	}
	if m.cmd == nil {
		m.cmd = []string{"serve", "/configs", "--cache-dir=/tmp/cache"}
	}
	if m.arch == "" {
		m.arch = "amd64"
	}
	layerType, configType, manifestType := ispec.MediaTypeImageLayerGzip, ispec.MediaTypeImageConfig, oci.TypeImageManifest
	if m.docker {
		layerType, configType, manifestType = "application/vnd.docker.image.rootfs.diff.tar.gzip", "application/vnd.docker.container.image.v1+json", oci.TypeDockerManifest
	}
	diffs := []string{}
	layers := []oci.Descriptor{}
	for _, l := range m.layers {
		layers = append(layers, s.blob(layerType, l))
		diffs = append(diffs, string(oci.FromBytes(unzip(s.t, l), "")))
	}
	history := []map[string]any{}
	for range m.layers {
		history = append(history, map[string]any{"created": "2024-05-06T07:08:09Z", "created_by": "them"})
	}
	config, err := json.Marshal(map[string]any{
		"history": history,
		"created": "2024-05-06T07:08:09Z", "architecture": m.arch, "os": "linux", "author": "them",
		"config": map[string]any{"Entrypoint": []string{"/bin/opm"}, "Cmd": m.cmd, "Labels": m.labels, "User": "1001"},
		"rootfs": map[string]any{"type": "layers", "diff_ids": diffs},
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return s.manifest(manifestType, map[string]any{
		"schemaVersion": 2, "mediaType": manifestType, "config": s.blob(configType, config), "layers": layers,
	}, tags...)
}

// cut puts an image there whose layer ends early.
func (s *shelf) cut(tag string) {
	s.t.Helper()
	whole := zip(s.t, catalogLayer(s.t))
	config := s.blob(ispec.MediaTypeImageConfig, []byte(`{"config":{"Labels":{"`+configsLabel+`":"/configs"}}}`))
	layer := s.blob(ispec.MediaTypeImageLayerGzip, whole[:700])
	s.manifest(oci.TypeImageManifest, map[string]any{"schemaVersion": 2, "mediaType": oci.TypeImageManifest, "config": config, "layers": []oci.Descriptor{layer}}, tag)
}

func (s *shelf) ref(tag string) ref.Ref { return ref.Ref{Name: s.name, Tag: tag} }

// from reads the catalog of an image.
func (s *shelf) from(tag string) (*catalog.Catalog, *catalog.Image) {
	s.t.Helper()
	c, image, err := catalog.FromImage(s.t.Context(), s, s.ref(tag))
	if err != nil {
		s.t.Fatal(err)
	}
	return c, image
}

// archive makes a tar. Each entry is "name", "name/", "name -> link", "name => hard
// link" or "name = content".
func archive(t testing.TB, entries ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		h := tar.Header{Name: e, Mode: 0o644, Typeflag: tar.TypeReg}
		content := ""
		if name, to, ok := strings.Cut(e, " -> "); ok {
			h.Name, h.Linkname, h.Typeflag = name, to, tar.TypeSymlink
		} else if name, to, ok := strings.Cut(e, " => "); ok {
			h.Name, h.Linkname, h.Typeflag = name, to, tar.TypeLink
		} else if strings.HasSuffix(e, "/") {
			h.Typeflag, h.Mode = tar.TypeDir, 0o1777
		} else if h.Name, content, ok = strings.Cut(e, " = "); ok {
			h.Size = int64(len(content))
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func zip(t testing.TB, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func zstandard(t testing.TB, data []byte) []byte {
	t.Helper()
	w, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	return w.EncodeAll(data, nil)
}

func unzip(t testing.TB, data []byte) []byte {
	t.Helper()
	if !bytes.HasPrefix(data, []byte{0x1f, 0x8b}) {
		return data
	}
	r, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	plain, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return plain
}

// catalogLayer is the catalog in testdata as a layer.
func catalogLayer(t testing.TB) []byte {
	t.Helper()
	entries := []string{"configs/", "tmp/", "tmp/cache/", "tmp/cache/digest = old", "bin/opm = #!", "etc/motd -> /bin/opm"}
	for _, f := range whole(t).Files() {
		entries = append(entries, "configs/"+f.Path+" = "+string(f.Data))
	}
	return archive(t, entries...)
}

func pkg(name string) string { return "schema: olm.package\nname: " + name + "\n" }

func TestFromImage(t *testing.T) {
	for name, pack := range map[string]func(testing.TB, []byte) []byte{
		"gzip": zip, "zstd": zstandard, "plain": func(_ testing.TB, b []byte) []byte { return b },
	} {
		t.Run(name, func(t *testing.T) {
			s := newShelf(t)
			d := s.image(made{layers: [][]byte{pack(t, catalogLayer(t))}}, "v1")
			c, image := s.from("v1")
			if diff := cmp.Diff(inside(t, whole(t)), inside(t, c)); diff != "" {
				t.Error(diff)
			}
			if image.Digest != d.Digest || image.Configs != "/configs" || image.Platform != "" {
				t.Errorf("image is %+v", image)
			}
		})
	}
}

func TestFromImageOfOneOfManyPlatforms(t *testing.T) {
	s := newShelf(t)
	var children []oci.Descriptor
	for _, arch := range []string{"s390x", "amd64"} {
		d := s.image(made{arch: arch, layers: [][]byte{zip(t, catalogLayer(t))}})
		d.Platform = &ispec.Platform{OS: "linux", Architecture: arch}
		children = append(children, d)
	}
	index := s.manifest(oci.TypeImageIndex, map[string]any{"schemaVersion": 2, "mediaType": oci.TypeImageIndex, "manifests": children}, "v1")
	_, image := s.from("v1")
	if image.Platform != "linux/amd64" || image.Digest != index.Digest {
		t.Errorf("image is %+v", image)
	}
	if err := os.Remove(filepath.Join(s.dir, "blobs/sha256", children[1].Digest.Encoded())); err != nil {
		t.Fatal(err)
	}
	if _, image = s.from("v1"); image.Platform != "linux/s390x" {
		t.Errorf("of a sparse copy: image is %+v", image)
	}
}

func TestLayers(t *testing.T) {
	for _, test := range []struct {
		name   string
		layers [][]string
		want   string // packages, or "error: …"
	}{
		{"one above another", [][]string{{"configs/a = " + pkg("a")}, {"configs/b = " + pkg("b")}}, "a b"},
		{"replaced", [][]string{{"configs/a = " + pkg("a")}, {"./configs/a = " + pkg("b")}}, "b"},
		{"a whiteout", [][]string{{"configs/a = " + pkg("a"), "configs/b = " + pkg("b")}, {"configs/.wh.a"}}, "b"},
		{"a directory's whiteout", [][]string{{"configs/a/c = " + pkg("a"), "configs/b = " + pkg("b")}, {"configs/.wh.a"}}, "b"},
		{"the catalog's whiteout", [][]string{{"configs/a = " + pkg("a")}, {".wh.configs"}, {"configs/b = " + pkg("b")}}, "b"},
		{"a whiteout spares its own layer", [][]string{{"configs/a/c = " + pkg("a")}, {"configs/a/d = " + pkg("b"), "configs/.wh.a"}}, "b"},
		{"opaque", [][]string{{"configs/a = " + pkg("a")}, {"configs/b = " + pkg("b"), "configs/.wh..wh..opq"}}, "b"},
		{"all opaque", [][]string{{"configs/a = " + pkg("a")}, {".wh..wh..opq", "configs/b = " + pkg("b")}}, "b"},
		{"a file for a directory", [][]string{{"configs/a/x = " + pkg("a")}, {"configs/a = " + pkg("b")}}, "b"},
		{"a directory for a file", [][]string{{"configs/a = " + pkg("a")}, {"configs/a/", "configs/a/x = " + pkg("b")}}, "b"},
		{"a directory leaves what is in it", [][]string{{"configs/a/x = " + pkg("a")}, {"configs/a/"}}, "a"},
		{"a hard link", [][]string{{"configs/a = " + pkg("a")}, {"configs/.indexignore = a", "configs/b => configs/a"}}, "a"},
		{"a symlink", [][]string{{"configs/.indexignore = /real", "configs/real/a = " + pkg("a"), "configs/x/a -> ../real/a"}}, "a"},
		{"a hard link out", [][]string{{"etc/passwd = x", "configs/a => etc/passwd"}}, "error: configs/a: it is a link to etc/passwd, which is no file of the catalog"},
		{"a symlink out", [][]string{{"configs/a -> /etc/passwd"}}, "error: /configs/a is a link to /etc/passwd, which is no file of the catalog"},
		{"a symlink far out", [][]string{{"configs/a -> ../../../../etc/passwd"}}, "error: /configs/a is a link to /etc/passwd"},
		{"links in a circle", [][]string{{"configs/a -> b", "configs/b -> a"}}, "error: "},
		{"a link in the directory's place", [][]string{{"srv/a = " + pkg("a"), "configs -> srv"}}, "error: its directory /configs is none"},
		{"a name that leads out", [][]string{{"../../configs/a = " + pkg("a"), "configs/../../etc/b = " + pkg("b")}}, "a"},
		{"nothing", [][]string{{"etc/a = x"}}, "error: the catalog is empty"},
		{"no archive", [][]string{{}}, "error: the catalog is empty"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newShelf(t)
			var m made
			for _, entries := range test.layers {
				m.layers = append(m.layers, zip(t, archive(t, entries...)))
			}
			s.image(m, "v1")
			c, _, err := catalog.FromImage(t.Context(), s, s.ref("v1"))
			if wrong, ok := strings.CutPrefix(test.want, "error: "); ok {
				if err == nil || !strings.Contains(err.Error(), wrong) {
					t.Errorf("got %v, want %q", err, wrong)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(c.Packages(), " "); got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}

func TestFromImageErrors(t *testing.T) {
	s := newShelf(t)
	s.image(made{labels: map[string]string{"a": "b"}}, "plain")
	s.image(made{labels: map[string]string{"operators.operatorframework.io.index.database.v1": "/db"}}, "database")
	s.image(made{labels: map[string]string{configsLabel: "/"}}, "root")
	s.image(made{layers: [][]byte{[]byte("this is no archive, and long enough to be seen as none at all" + strings.Repeat(".", 512))}}, "broken")
	s.cut("cut")
	for tag, want := range map[string]string{
		"plain": "no label", "database": "opm migrate", "root": "not a directory below the root",
		"broken": "layer sha256:", "cut": "unexpected EOF",
	} {
		_, _, err := catalog.FromImage(t.Context(), s, s.ref(tag))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", tag, err, want)
		}
		if isNone := tag == "plain" || tag == "database"; errors.Is(err, catalog.ErrNoCatalog) != isNone {
			t.Errorf("%s: %v is ErrNoCatalog, or not", tag, err)
		}
	}
	if _, _, err := catalog.FromImage(t.Context(), s, s.ref("away")); !errors.Is(err, oci.ErrNotFound) {
		t.Errorf("what is not there: %v", err)
	}
}
