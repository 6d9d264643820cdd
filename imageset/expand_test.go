package imageset_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	ispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/entrepot/entrepot/document"
	"github.com/entrepot/entrepot/imageset"
	"github.com/entrepot/entrepot/internal/regtest"
	"github.com/entrepot/entrepot/oci"
)

// A bench is a registry, and what a set is expanded with.
type bench struct {
	t   *testing.T
	reg *regtest.Shelf
	env imageset.Env
}

func newBench(t *testing.T) *bench {
	b := &bench{t: t, reg: regtest.NewShelf()}
	b.env = imageset.Env{Source: regtest.NewMemory("upstream", b.reg), ReadFile: os.ReadFile}
	return b
}

// parse reads what stands below "mirror", indented by two spaces.
func (b *bench) parse(mirror string) *imageset.Config {
	b.t.Helper()
	text := "apiVersion: mirror.openshift.io/v2alpha1\nkind: ImageSetConfiguration\nmirror:\n" + mirror
	if strings.HasPrefix(mirror, "apiVersion:") {
		text = mirror
	}
	cfg, err := imageset.Parse("isc.yaml", []byte(text))
	if err != nil {
		b.t.Fatal(err)
	}
	return cfg
}

// expand expands a set that is right.
func (b *bench) expand(mirror string) *imageset.Set {
	b.t.Helper()
	set, err := b.parse(mirror).Expand(b.t.Context(), b.env)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() {
		if err := set.Close(); err != nil {
			b.t.Error(err)
		}
	})
	return set
}

// fails expands a set that is wrong, and checks what is said about it.
func (b *bench) fails(mirror string, want ...string) {
	b.t.Helper()
	set, err := b.parse(mirror).Expand(b.t.Context(), b.env)
	if set != nil {
		b.t.Error("there is a set in spite of the error")
	}
	var got []string
	for _, e := range document.Errors(err) {
		got = append(got, e.Error())
	}
	if diff := cmp.Diff(want, got); diff != "" {
		b.t.Errorf("errors (-want +got):\n%s\n%v", diff, err)
	}
}

// show is a set as lines: what, where to, what for.
func show(images []imageset.Image) []string {
	var all []string
	for _, i := range images {
		s := i.Written
		if i.Target != "" {
			s += " > " + i.Target
		}
		s += " " + string(i.Role)
		for _, p := range i.Platforms {
			s += " " + p.String()
		}
		all = append(all, s+" "+i.Place.Field)
	}
	return all
}

func (b *bench) has(set *imageset.Set, want ...string) {
	b.t.Helper()
	if diff := cmp.Diff(want, show(set.Images)); diff != "" {
		b.t.Errorf("images (-want +got):\n%s", diff)
	}
}

func notes(set *imageset.Set) []string {
	var all []string
	for _, n := range set.Notes {
		all = append(all, n.Error())
	}
	return all
}

// image makes an image with files in layers: "name=content", a name in angle
// brackets deletes.
func (b *bench) image(path string, pack func(*testing.T, []byte) []byte, platform string, tag string, layers ...[]string) regtest.Built {
	b.t.Helper()
	return b.labelled(path, pack, platform, "{}", tag, layers...)
}

// labelled is image with labels, in JSON.
func (b *bench) labelled(path string, pack func(*testing.T, []byte) []byte, platform, labels, tag string, layers ...[]string) regtest.Built {
	b.t.Helper()
	var diffs []string
	for _, files := range layers {
		diffs = append(diffs, `"`+string(oci.FromBytes(tarball(b.t, files), ""))+`"`)
	}
	config := b.reg.AddBlob(path, regtest.Bytes(fmt.Appendf(nil, `{"architecture":%q,"os":"linux","config":{"Labels":%s},"rootfs":{"type":"layers","diff_ids":[%s]}}`,
		platform, labels, strings.Join(diffs, ","))))
	config.MediaType = ispec.MediaTypeImageConfig
	m := ispec.Manifest{MediaType: oci.TypeImageManifest, Config: config, Layers: []oci.Descriptor{}}
	m.SchemaVersion = 2
	for _, files := range layers {
		d := b.reg.AddBlob(path, regtest.Bytes(pack(b.t, tarball(b.t, files))))
		d.MediaType = ispec.MediaTypeImageLayer
		m.Layers = append(m.Layers, d)
	}
	raw, err := json.Marshal(m)
	if err != nil {
		b.t.Fatal(err)
	}
	var tags []string
	if tag != "" {
		tags = append(tags, tag)
	}
	return regtest.Built{Manifest: b.reg.AddManifest(path, oci.TypeImageManifest, raw, tags...)}
}

func tarball(t *testing.T, files []string) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, f := range files {
		name, data, _ := strings.Cut(f, "=")
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(data)), Typeflag: tar.TypeReg}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(data)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func asIs(_ *testing.T, b []byte) []byte { return b }

func gzipped(t *testing.T, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	_, err := w.Write(b)
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func zstded(t *testing.T, b []byte) []byte {
	t.Helper()
	w, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	return w.EncodeAll(b, nil)
}

func TestAdditional(t *testing.T) {
	b := newBench(t)
	set := b.expand(`
  additionalImages:
  - name: quay.io/team/app:v1
  - name: docker://quay.io/team/tool:v1
    targetRepo: my.org/tool
  - name: alpine
    targetTag: v7
    platforms: [{os: linux, architecture: arm64}]
  - name: quay.io/team/other:v2
    targetRepo: other
    targetTag: v3
`)
	b.has(set,
		"quay.io/team/app:v1 additional mirror.additionalImages[0].name",
		"quay.io/team/tool:v1 > /my.org/tool additional mirror.additionalImages[1].name",
		"alpine > :v7 additional linux/arm64 mirror.additionalImages[2].name",
		"quay.io/team/other:v2 > /other:v3 additional mirror.additionalImages[3].name",
	)
}

// TestBlocked holds that patterns are matched as oc-mirror does, that what is left
// out is told, and that a pattern without effect is, too.
func TestBlocked(t *testing.T) {
	b := newBench(t)
	set := b.expand(`
  additionalImages: [{name: alpine:3}, {name: quay.io/a/redis:7}, {name: quay.io/a/app:1}, {name: quay.io/a/app:2, targetRepo: apps/two}]
  blockedImages: [{name: ^docker.io/library/alp}, {name: redis}, {name: ^apps/}, {name: nothing}]
`)
	b.has(set, "quay.io/a/app:1 additional mirror.additionalImages[2].name")
	if got := len(set.Left); got != 3 {
		t.Errorf("%d images are left out, want 3", got)
	}
	if diff := cmp.Diff([]string{`isc.yaml:6: mirror.blockedImages[3].name: "nothing" matches no image of the set`}, notes(set)); diff != "" {
		t.Errorf("notes (-want +got):\n%s", diff)
	}
}

// layoutOf writes a layout with one image and returns its directory.
func layoutOf(t *testing.T, name string) (dir string, config oci.Digest) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), name)
	blob := func(data []byte) oci.Descriptor {
		d := oci.FromBytes(data, "")
		file := filepath.Join(dir, "blobs", "sha256", d.Encoded())
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, data, 0o644)); err != nil {
			t.Fatal(err)
		}
		return oci.Descriptor{Digest: d, Size: int64(len(data))}
	}
	c := blob([]byte(`{"os":"linux","architecture":"amd64"}`))
	m := blob(fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":%q,"digest":%q,"size":%d},"layers":[]}`,
		oci.TypeImageManifest, ispec.MediaTypeImageConfig, c.Digest, c.Size))
	index := fmt.Appendf(nil, `{"schemaVersion":2,"manifests":[{"mediaType":%q,"digest":%q,"size":%d,"annotations":{"org.opencontainers.image.ref.name":"v5"}}]}`, oci.TypeImageManifest, m.Digest, m.Size)
	if err := errors.Join(os.WriteFile(filepath.Join(dir, "index.json"), index, 0o644), os.WriteFile(filepath.Join(dir, "oci-layout"), []byte(`{"imageLayoutVersion":"1.0.0"}`), 0o644)); err != nil {
		t.Fatal(err)
	}
	return dir, c.Digest
}

// TestAdditionalOnDisk holds that an image of a layout has a name, and is read
// from there.
func TestAdditionalOnDisk(t *testing.T) {
	b := newBench(t)
	dir, config := layoutOf(t, "My_App")
	set := b.expand("  additionalImages:\n  - name: oci://" + dir + "\n  - name: quay.io/a/b:1\n")
	b.has(set,
		"localhost/my-app:latest > /my-app:latest additional mirror.additionalImages[0].name",
		"quay.io/a/b:1 additional mirror.additionalImages[1].name",
	)
	tagged := b.expand("  additionalImages:\n  - name: oci://" + dir + ":v5\n    targetTag: v6\n")
	b.has(tagged, "localhost/my-app:v6 > /my-app:v6 additional mirror.additionalImages[0].name")

	from := set.Over(b.env.Source)
	r := reference(t, "localhost/my-app:latest")
	m, err := from.Manifest(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := from.Manifest(t.Context(), r.Name.WithDigest(m.Digest)); err != nil {
		t.Error(err)
	}
	if _, err := from.Stat(t.Context(), r.Name, config); err != nil {
		t.Error(err)
	}
	if _, err := from.Manifest(t.Context(), r.Name.WithTag("other")); !errors.Is(err, oci.ErrNotFound) {
		t.Errorf("another tag: %v, want ErrNotFound", err)
	}
	b.fails("  additionalImages:\n  - name: oci:///not/there\n", "isc.yaml:5: mirror.additionalImages[0].name: oci:///not/there: there is no OCI layout in /not/there: open /not/there: no such file or directory")
}
