package cli

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/entrepot/entrepot/internal/regtest"
	"github.com/entrepot/entrepot/layout"
	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
	"github.com/entrepot/entrepot/relocate"
)

const operators = `---
schema: olm.package
name: tea
defaultChannel: stable
---
schema: olm.channel
package: tea
name: stable
entries:
- name: tea.v1
---
schema: olm.bundle
name: tea.v1
package: tea
image: SRC/tea/bundle@BUNDLE
properties:
- type: olm.package
  value: {packageName: tea, version: 1.0.0}
relatedImages:
- {name: "", image: SRC/tea/bundle@BUNDLE}
- {name: pot, image: "SRC/tea/pot:1"}
- {name: none, image: ""}
`

// operators fills the source with the images of a catalog and returns its text.
func (m *move) operators() string {
	bundle := m.src.AddImage("tea/bundle", regtest.Image{Layers: []int64{100}, Seed: 1})
	m.src.AddImage("tea/pot", regtest.Image{Layers: []int64{100, 300}, Seed: 2}, "1")
	return strings.NewReplacer("SRC", m.src.Host(), "BUNDLE", string(bundle.Digest)).Replace(operators)
}

// A piece is a blob of an image that a test makes.
type piece struct {
	oci.Descriptor
	data []byte
}

// catalogImage makes the image of a catalog: its manifest and blobs.
func catalogImage(t *testing.T, text string) (manifest []byte, blobs []piece) {
	t.Helper()
	var layer bytes.Buffer
	zw := gzip.NewWriter(&layer)
	w := tar.NewWriter(zw)
	if err := w.WriteHeader(&tar.Header{Name: "configs/tea/catalog.yaml", Mode: 0o644, Size: int64(len(text)), Typeflag: tar.TypeReg}); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
	for _, c := range []io.Closer{w, zw} {
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
	config := []byte(`{"architecture":"amd64","os":"linux","config":{"Labels":{"operators.operatorframework.io.index.configs.v1":"/configs"}},"rootfs":{"type":"layers","diff_ids":[]}}`)
	for i, data := range [][]byte{config, layer.Bytes()} {
		mediaType := []string{"application/vnd.oci.image.config.v1+json", "application/vnd.oci.image.layer.v1.tar+gzip"}[i]
		blobs = append(blobs, piece{oci.Descriptor{MediaType: mediaType, Digest: oci.FromBytes(data, ""), Size: int64(len(data))}, data})
	}
	manifest, err := json.Marshal(map[string]any{"schemaVersion": 2, "mediaType": oci.TypeImageManifest, "config": blobs[0].Descriptor, "layers": []oci.Descriptor{blobs[1].Descriptor}})
	if err != nil {
		t.Fatal(err)
	}
	return manifest, blobs
}

// catalog puts the image of a catalog into the source.
func (m *move) catalog(tag string) oci.Digest {
	m.t.Helper()
	manifest, blobs := catalogImage(m.t, m.operators())
	for _, b := range blobs {
		m.src.AddBlob("olm/index", regtest.Bytes(b.data))
	}
	return m.src.AddManifest("olm/index", oci.TypeImageManifest, manifest, tag).Digest
}

// report runs relocate and returns "source role → target" of each image.
func (m *move) report(args ...string) []string {
	m.t.Helper()
	m.run(append(args, "--to", m.dst.Host()+"/m", "--naming", "path", "--report", m.path("report.json"), "--quiet")...)
	m.exits(exitDone)
	var rep relocate.Report
	if err := json.Unmarshal([]byte(m.read("report.json")), &rep); err != nil {
		m.t.Fatal(err)
	}
	var all []string
	for _, i := range rep.Images {
		line := strings.ReplaceAll(i.Source+" → "+i.Target, m.src.Host(), "SRC")
		all = append(all, strings.ReplaceAll(line, m.dst.Host(), "DST"))
	}
	return all
}

func TestRelocateCatalogDirectory(t *testing.T) {
	m := newMove(t)
	text := m.operators()
	if err := os.MkdirAll(m.path("configs/tea"), 0o755); err != nil {
		t.Fatal(err)
	}
	m.file("configs/tea/catalog.yaml", text)
	m.file("configs/README.md", "no catalog")
	m.file("configs/.indexignore", "*.md\n")
	bundle := text[strings.Index(text, "@sha256:")+1:][:71]
	want := []string{
		"SRC/tea/bundle@" + bundle + " → DST/m/tea/bundle@" + bundle,
		"SRC/tea/pot:1 → DST/m/tea/pot:1",
	}
	got := m.report(m.path("configs"), "--output", m.path("out"))
	if diff := cmp.Diff(want, plain(got)); diff != "" {
		t.Error(diff)
	}
	if strings.Count(m.errors, "is left as it is") != 1 || !strings.Contains(m.errors, `bundle tea.v1: relatedImages[2] ("none") names no image`) {
		t.Errorf("it says %s", m.errors)
	}
	m.absent("out/tea")
	// A file, standard input.
	if diff := cmp.Diff(got, m.report(m.path("configs/tea/catalog.yaml"))); diff != "" {
		t.Error(diff)
	}
	m.stdin = text
	if diff := cmp.Diff(got, m.report("-")); diff != "" {
		t.Error(diff)
	}
}

// plain leaves out the tags by which images without one are kept.
func plain(lines []string) []string {
	out := make([]string, len(lines))
	for i, l := range lines {
		from, to, _ := strings.Cut(l, " → ")
		if name, digest, ok := strings.Cut(to, "@"); ok && strings.Contains(name[strings.LastIndexByte(name, '/'):], ":") {
			to = name[:strings.LastIndexByte(name, ':')] + "@" + digest
		}
		out[i] = from + " → " + to
	}
	return out
}

func TestRelocateCatalogImage(t *testing.T) {
	m := newMove(t)
	digest := m.catalog("v4")
	m.report(m.src.Host()+"/olm/index:v4", "--map", m.path("map.json"))
	if c, ok := m.dst.Content("m/olm/index", digest); ok || c != nil {
		t.Error("a manifest is a blob")
	}
	for _, e := range m.dst.Log() {
		if e.Status >= 500 {
			t.Errorf("%s %s: %d", e.Method, e.Path, e.Status)
		}
	}
	var mapping map[string]string
	if err := json.Unmarshal([]byte(m.read("map.json")), &mapping); err != nil {
		t.Fatal(err)
	}
	if got := mapping[m.src.Host()+"/olm/index:v4"]; got != m.dst.Host()+"/m/olm/index:v4" || len(mapping) != 3 {
		t.Errorf("the mapping is %v", mapping)
	}
	if got := m.tag("m/olm/index", "v4"); got != digest {
		t.Errorf("the catalog at the target is %s, want it unchanged, %s", got, digest)
	}
	// By itself, as any image.
	if got := m.report("--kind", "images", m.src.Host()+"/olm/index:v4"); len(got) != 1 {
		t.Errorf("the image alone: %v", got)
	}
}

// tag returns what a tag is at the target.
func (m *move) tag(path, tag string) oci.Digest {
	m.t.Helper()
	l, err := layout.Create(m.path("check-" + tag))
	if err != nil {
		m.t.Fatal(err)
	}
	defer l.Close()
	var out, errs bytes.Buffer
	code := Main(m.t.Context(), Env{
		Args: []string{"copy", "--rules", "none", "--quiet", m.dst.Host() + "/" + path + ":" + tag, "oci:" + m.path("check-"+tag) + ":x"}, Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs,
		Getenv: func(string) string { return "" },
	})
	if code != exitDone {
		m.t.Fatalf("copy %s: %d\n%s", tag, code, errs.String())
	}
	d, err := l.Resolve(m.t.Context(), ref.Ref{Tag: "x"})
	if err != nil {
		m.t.Fatal(err)
	}
	return d.Digest
}

func TestRelocateCatalogLayout(t *testing.T) {
	m := newMove(t)
	manifest, blobs := catalogImage(t, m.operators())
	dir := m.path("My Index")
	l, err := layout.Create(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range blobs {
		if err := l.PutBlob(t.Context(), ref.Name{}, b.Descriptor, func(_ context.Context, off int64) (io.ReadCloser, error) {
			return io.NopCloser(bytes.NewReader(b.data[off:])), nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	digest := oci.FromBytes(manifest, "")
	if err := l.PutManifest(t.Context(), ref.Name{}, oci.Manifest{MediaType: oci.TypeImageManifest, Digest: digest, Raw: manifest}, "v9"); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	m.report("oci://"+filepath.ToSlash(dir)+":v9", "--map", m.path("map.json"))
	if got := m.tag("m/my-index", "v9"); got != digest {
		t.Errorf("the catalog at the target is %s, want %s", got, digest)
	}
}

func TestInspectCatalog(t *testing.T) {
	m := newMove(t)
	text := m.operators()
	file := m.file("index.yaml", text)
	code, lines := runJSON(t, "inspect", "--json", file)
	if code != exitDone || len(lines) != 2 {
		t.Fatalf("exit code %d: %v", code, lines)
	}
	for i, want := range []map[string]any{
		{"at": file + ":12", "field": "tea.v1: image", "role": "operator-bundle", "kind": "catalog"},
		{"at": file + ":12", "field": "tea.v1: relatedImages.pot", "role": "related", "kind": "catalog"},
	} {
		for key, value := range want {
			if lines[i][key] != value {
				t.Errorf("line %d: %s is %v, want %v", i, key, lines[i][key], value)
			}
		}
	}
	m.catalog("v4")
	code, lines = runJSON(t, "inspect", "--rules", "none", "--json", m.src.Host()+"/olm/index:v4")
	if code != exitDone || len(lines) != 3 || lines[0]["role"] != "catalog" || lines[1]["at"] != m.src.Host()+"/olm/index:v4/configs/tea/catalog.yaml:12" {
		t.Errorf("exit code %d: %v", code, lines)
	}
}

func TestCatalogInputErrors(t *testing.T) {
	m := newMove(t)
	m.src.AddImage("plain", regtest.Image{Layers: []int64{100}, Seed: 1}, "1")
	broken := m.file("broken.yaml", "schema: olm.package\nname: a\n---\nschema: olm.bundle\npackage: b\nname: x\n")
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{broken}, broken + ": broken.yaml:4: olm.bundle \"x\": it belongs to the package \"b\", which is not in the catalog"},
		{[]string{"--kind", "catalog", m.src.Host() + "/plain:1"}, "the image is no operator catalog"},
		{[]string{"--kind", "catalog", m.src.Host() + "/away:1"}, "no such manifest"},
		{[]string{"oci://" + m.path("nowhere")}, "there is no OCI layout in"},
		{[]string{"oci://"}, "names no directory"},
		{[]string{"--kind", "catalog", m.path("away")}, "no such file"},
	} {
		m.run(append(test.args, "--to", m.dst.Host()+"/m", "--quiet")...)
		if m.code == exitDone || !strings.Contains(m.errors, test.want) {
			t.Errorf("%v: exit code %d, %s", test.args, m.code, m.errors)
		}
	}
	if m.written() > 0 {
		t.Error("something was written")
	}
}
