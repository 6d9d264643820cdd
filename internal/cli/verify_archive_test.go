package cli

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/entrepot/entrepot/internal/regtest"
	"github.com/entrepot/entrepot/layout"
	"github.com/entrepot/entrepot/oci"
)

// flip changes a byte of a blob where it stands in a file.
func (m *move) flip(path string, content regtest.Content) {
	m.t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		m.t.Fatal(err)
	}
	want, err := io.ReadAll(io.NewSectionReader(content, 0, content.Size()))
	if err != nil {
		m.t.Fatal(err)
	}
	at := bytes.Index(raw, want)
	if at < 0 {
		m.t.Fatalf("%s does not have the blob", path)
	}
	raw[at+len(want)/2] ^= 1
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		m.t.Fatal(err)
	}
}

// TestVerifyArchive names what is wrong with an archive: shallow what is missing,
// deep each byte.
func TestVerifyArchive(t *testing.T) {
	m, c := newMove(t), newCargo(t)
	app := c.add("quay.io/team/app:1", regtest.Image{Layers: []int64{100, 50_000}, Seed: 1})
	c.add("quay.io/team/app:2", regtest.Image{Layers: []int64{100, 55_000}, Seed: 2})
	c.without("registry.corp/m/app", oci.Descriptor{Digest: app.Layers[0].Digest, Size: 100})
	paths := c.write(m.path("set.tar"), 64<<10)
	for _, args := range [][]string{{paths[1]}, {m.path("set.tar"), "--deep"}} {
		m.does(append([]string{"verify"}, args...)...)
		m.exits(exitDone)
		if !strings.HasPrefix(m.out, "whole\t") || !strings.Contains(m.out, "2 images, ") || !strings.Contains(m.out, "1 blob left out") {
			t.Errorf("%v: got %s", args, m.out)
		}
	}
	layer := app.Layers[1]
	content, _ := c.shelf.Content("x", layer.Digest)
	holder := ""
	for _, p := range paths {
		if raw, err := os.ReadFile(p); err == nil && bytes.Contains(raw, []byte("blobs/sha256/"+layer.Digest.Encoded())) {
			holder = p
			break
		}
	}
	m.flip(holder, content)
	m.does("verify", paths[0])
	m.exits(exitDone)
	m.does("verify", paths[0], "--deep", "--json")
	m.exits(exitLossy)
	var found verifiedArchive
	if err := json.Unmarshal([]byte(m.out), &found); err != nil || len(found.Problems) != 1 || found.Problems[0].Class != "mismatch" || !found.Deep || found.Images != 2 || found.LeftOut != 1 || len(found.Files) != len(paths) {
		t.Errorf("--json says %s, %v", m.out, err)
	}
	if !strings.Contains(m.errors, layer.Digest.Encoded()) || !strings.Contains(m.errors, holder) || !strings.Contains(m.errors, "1 of 1 archive is not whole") {
		t.Errorf("got %s", m.errors)
	}

	away := filepath.Join(t.TempDir(), filepath.Base(holder))
	if err := os.Rename(holder, away); err != nil {
		t.Fatal(err)
	}
	m.does("verify", away, "--deep") // by itself: its own bytes are looked at as well
	m.exits(exitLossy)
	for _, want := range []string{"is missing", layer.Digest.Encoded()} {
		if !strings.Contains(m.errors, want) {
			t.Errorf("no %q in %s", want, m.errors)
		}
	}
	m.does("verify", m.path("none.tar"))
	m.exits(exitUsage)
	m.does("verify", m.file("a.txt", "alpine:3.20\n"))
	m.exits(exitLossy)
}

// TestVerifyOthers looks at archives that others wrote: here at a layout in a
// directory.
func TestVerifyOthers(t *testing.T) {
	m, c := newMove(t), newCargo(t)
	img := c.add("quay.io/team/app:1", regtest.Image{Layers: []int64{5000}, Seed: 1})
	dir := m.path("layout")
	l, err := layout.Create(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, b := range c.contents.Blobs {
		if err := l.PutBlob(t.Context(), c.contents.Names[0].Ref.Name, b.Descriptor, b.Open); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.PutManifest(t.Context(), c.contents.Names[0].Ref.Name, img.Manifest, "1"); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{nil, {"--deep"}} {
		m.does(append([]string{"verify", dir}, args...)...)
		m.exits(exitDone)
	}
	m.load(dir)
	m.exits(exitDone)
	m.holds("quay.io/team/app", "1", img)
	content, _ := c.shelf.Content("x", img.Layers[0].Digest)
	blob := filepath.Join(dir, "blobs", "sha256", img.Layers[0].Digest.Encoded())
	if err := os.Chmod(blob, 0o600); err != nil {
		t.Fatal(err)
	}
	m.flip(blob, content)
	m.does("verify", dir)
	m.exits(exitDone)
	m.does("verify", dir, "--deep")
	m.exits(exitLossy)
	if err := os.Remove(blob); err != nil {
		t.Fatal(err)
	}
	m.does("verify", dir)
	m.exits(exitLossy)
	if !strings.Contains(m.errors, string(img.Layers[0].Digest)) {
		t.Errorf("got %s", m.errors)
	}
}
