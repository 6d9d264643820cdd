package layout_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
)

// An entry is one of a tar that a test makes.
type entry struct {
	name, text string
	kind       byte // 0 is a file
	link       string
}

// tarOf writes a tar and returns its path.
func tarOf(t testing.TB, entries ...entry) string {
	t.Helper()
	return tarIn(t, t.TempDir(), entries...)
}

// tarIn writes it into a directory, over the last one.
func tarIn(t testing.TB, dir string, entries ...entry) string {
	t.Helper()
	path := filepath.Join(dir, "test.tar")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	tw := tar.NewWriter(f)
	for _, e := range entries {
		h := &tar.Header{Name: e.name, Mode: 0o644, Size: int64(len(e.text)), Typeflag: e.kind, Linkname: e.link}
		if h.Typeflag == 0 {
			h.Typeflag = tar.TypeReg
		}
		if err := tw.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(tw, e.text); err != nil {
			t.Fatal(err)
		}
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

func gzipped(t testing.TB, s string) string {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := io.WriteString(w, s); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func digestOf(s string) oci.Digest { return oci.FromBytes([]byte(s), "") }

// dockerConfig is the config of an image with these layers, uncompressed.
func dockerConfig(layers ...string) string {
	ids := []string{}
	for _, l := range layers {
		ids = append(ids, string(digestOf(l)))
	}
	raw, err := json.Marshal(map[string]any{"os": "linux", "architecture": "amd64", "rootfs": map[string]any{"type": "layers", "diff_ids": ids}})
	if err != nil {
		panic(err)
	}
	return string(raw)
}

// TestDockerSave reads what docker save wrote up to version 24: layers by their
// IDs, the same one twice as a link, manifest.json at the end.
func TestDockerSave(t *testing.T) {
	config := dockerConfig("first", "second", "first")
	a := open(t, tarOf(t,
		entry{name: "1/", kind: tar.TypeDir}, entry{name: "1/layer.tar", text: "first"},
		entry{name: "2/layer.tar", text: "second"}, entry{name: "3/layer.tar", kind: tar.TypeSymlink, link: "../1/layer.tar"},
		entry{name: "config.json", text: config}, entry{name: "repositories", text: "{}"},
		entry{name: "manifest.json", text: `[{"Config":"config.json","RepoTags":["alpine:3.20","registry.example.com:5000/team/app:v1"],"Layers":["1/layer.tar","2/layer.tar","3/layer.tar"]}]`}))
	var digest oci.Digest
	for _, r := range []ref.Ref{{}, alpine.WithTag("3.20"), app.WithTag("v1"), none.WithTag("v1"), none.WithTag("alpine:3.20")} {
		m, err := a.Manifest(t.Context(), r)
		if err != nil || m.MediaType != oci.TypeDockerManifest || digestOf(string(m.Raw)) != m.Digest || digest != "" && m.Digest != digest {
			t.Fatalf("Manifest(%v) = %s %s, %v", r, m.MediaType, m.Digest, err)
		}
		digest = m.Digest
	}
	m, _ := a.Manifest(t.Context(), none.WithDigest(digest))
	links, err := m.Links()
	if err != nil || len(links.Layers) != 3 || links.Config.Digest != digestOf(config) {
		t.Fatalf("Links: %+v, %v", links, err)
	}
	for i, want := range []string{"first", "second", "first"} {
		d := links.Layers[i]
		b, err := a.Blob(t.Context(), none, d.Digest, 0)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(b.Body)
		if string(got) != want || err != nil || d.MediaType != "application/vnd.docker.image.rootfs.diff.tar" || d.Size != int64(len(want)) {
			t.Errorf("layer %d is %q of type %s, %v, want %q", i, got, d.MediaType, err, want)
		}
	}
	if err := a.Verify(t.Context(), true); err != nil {
		t.Errorf("Verify: %v", err)
	}
}

// TestDockerCompressed reads layers as they are: nothing is decompressed.
func TestDockerCompressed(t *testing.T) {
	one, two := gzipped(t, "first"), gzipped(t, "second")
	named := digestOf(one).Encoded() + ".tar.gz"
	a := open(t, tarOf(t, entry{name: named, text: one}, entry{name: "two.tar.gz", text: two}, entry{name: "config", text: dockerConfig("first", "second")},
		entry{name: "manifest.json", text: `[{"Config":"config","RepoTags":null,"Layers":["` + named + `","two.tar.gz"]}]`}))
	m, err := a.Manifest(t.Context(), ref.Ref{})
	if err != nil {
		t.Fatal(err)
	}
	links, err := m.Links()
	if err != nil || len(links.Layers) != 2 {
		t.Fatalf("Links: %+v, %v", links, err)
	}
	for i, want := range []string{one, two} {
		if d := links.Layers[i]; d.Digest != digestOf(want) || d.Size != int64(len(want)) || d.MediaType != "application/vnd.docker.image.rootfs.diff.tar.gzip" {
			t.Errorf("layer %d is %+v, want %s", i, d, digestOf(want))
		}
	}
	if err := a.Verify(t.Context(), true); err != nil {
		t.Errorf("Verify: %v", err)
	}
}

// TestDockerAndLayout holds that where a file is both, the real manifests win.
func TestDockerAndLayout(t *testing.T) {
	config := dockerConfig()
	manifest := `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"` + string(digestOf(config)) + `","size":2},"layers":[]}`
	a := open(t, tarOf(t, blobEntry(config), blobEntry(manifest), entry{name: "oci-layout", text: `{"imageLayoutVersion":"1.0.0"}`},
		entry{name: "manifest.json", text: `[{"Config":"blobs/sha256/` + digestOf(config).Encoded() + `","RepoTags":["alpine:3.20"],"Layers":[]}]`},
		entry{name: "index.json", text: `{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"` + string(digestOf(manifest)) +
			`","size":1,"annotations":{"io.containerd.image.name":"docker.io/library/alpine:3.20","org.opencontainers.image.ref.name":"3.20"}}]}`}))
	for _, r := range []ref.Ref{{}, alpine.WithTag("3.20"), none.WithTag("3.20")} {
		if d, err := a.Resolve(t.Context(), r); err != nil || d.Digest != digestOf(manifest) {
			t.Errorf("%v is %s, %v, want %s", r, d.Digest, err, digestOf(manifest))
		}
	}
}

func blobEntry(text string) entry {
	return entry{name: "blobs/sha256/" + digestOf(text).Encoded(), text: text}
}

func TestDockerRefused(t *testing.T) {
	config := entry{name: "config", text: dockerConfig("x")}
	list := func(s string) entry { return entry{name: "manifest.json", text: s} }
	for name, c := range map[string]struct {
		entries []entry
		says    string
	}{
		"no JSON":          {[]entry{list("[")}, "read manifest.json"},
		"no config":        {[]entry{list(`[{"Config":"config"}]`)}, "file does not exist"},
		"config elsewhere": {[]entry{list(`[{"Config":"/etc/passwd"}]`)}, "file does not exist"},
		"config above":     {[]entry{list(`[{"Config":"../../etc/passwd"}]`)}, "file does not exist"},
		"config links out": {[]entry{list(`[{"Config":"c"}]`), {name: "c", kind: tar.TypeSymlink, link: "/etc/passwd"}}, "not in the archive"},
		"layer above":      {[]entry{config, list(`[{"Config":"config","Layers":["../x"]}]`)}, "file does not exist"},
		"layer in circles": {[]entry{config, {name: "a", kind: tar.TypeSymlink, link: "b"}, {name: "b", kind: tar.TypeLink, link: "a"}, list(`[{"Config":"config","Layers":["a"]}]`)}, "leads nowhere"},
		"too few layers":   {[]entry{config, list(`[{"Config":"config","Layers":[]}]`)}, "has 0 layers"},
		"no diff ID":       {[]entry{{name: "config", text: `{"rootfs":{"diff_ids":["../x"]}}`}, {name: "l", text: "x"}, list(`[{"Config":"config","Layers":["l"]}]`)}, "invalid"},
		"config is a blob": {[]entry{{name: "config", text: "\x00\x01"}, list(`[{"Config":"config","Layers":[]}]`)}, "read config"},
		"many images":      {[]entry{config, list("[" + strings.Repeat("{},", 10_000) + "{}]")}, "10001 images"},
	} {
		t.Run(name, func(t *testing.T) { refused(t, tarOf(t, c.entries...), c.says) })
	}
}
