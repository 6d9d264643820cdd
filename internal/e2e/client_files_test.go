package e2e

import (
	"bytes"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"oras.land/oras-go/v2"
	layout "oras.land/oras-go/v2/content/oci"
	"oras.land/oras-go/v2/registry/remote"
)

// The clients of this file leave files behind that are compared byte by byte.

// pullSkopeo copies into a dir: place, which keeps manifests as they came.
func pullSkopeo(t *testing.T, at mirrorAt, im *image, by string) {
	dir := t.TempDir()
	run(t, exec.Command(kit.tool(t, "skopeo"), "copy", "--all", "--registries-conf="+registriesConf(t, at),
		"--policy", policy(t), "docker://"+reference(at.upstream, im, by), "dir:"+dir))
	for _, m := range im.manifests {
		name := m.Digest.Encoded() + ".manifest.json"
		if m.Digest == im.root().Digest {
			name = "manifest.json"
		}
		sameFile(t, filepath.Join(dir, name), m.Raw)
	}
	for d, b := range im.blobs {
		sameFile(t, filepath.Join(dir, d.Encoded()), b)
	}
}

// registriesConf makes a registries.conf that leads to the mirror by a path
// prefix. What it calls the origin resolves to nothing.
func registriesConf(t *testing.T, at mirrorAt) string {
	return writeFile(t, "registries.conf", `[[registry]]
prefix = "`+at.upstream+`"
location = "`+at.upstream+`"
[[registry.mirror]]
location = "`+at.prefix()+`"
insecure = true
`)
}

func policy(t *testing.T) string {
	return writeFile(t, "policy.json", `{"default": [{"type": "insecureAcceptAnything"}]}`)
}

// pullCrane makes an OCI layout. Crane knows no mirrors: the reference itself
// leads to it.
func pullCrane(t *testing.T, at mirrorAt, im *image, by string) {
	dir := t.TempDir()
	run(t, exec.Command(kit.tool(t, "crane"), "pull", "--insecure", "--format", "oci", reference(at.prefix(), im, by), dir))
	sameLayout(t, dir, im)
}

// pullOras copies with the library that the oras command is made of.
func pullOras(t *testing.T, at mirrorAt, im *image, by string) {
	repo, err := remote.NewRepository(at.prefix() + "/" + im.repo)
	if err != nil {
		t.Fatal(err)
	}
	repo.PlainHTTP = true
	dir := t.TempDir()
	store, err := layout.New(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := oras.Copy(t.Context(), repo, by, store, by, oras.DefaultCopyOptions); err != nil {
		t.Fatalf("oras.Copy: %v", err)
	}
	sameLayout(t, dir, im)
}

// pullPlain asks with neither ns nor prefix, as an old Docker daemon does.
func pullPlain(t *testing.T, at mirrorAt, im *image, by string) {
	base := "http://" + at.address + "/v2/" + im.repo
	for _, m := range im.manifests {
		name := string(m.Digest)
		if m.Digest == im.root().Digest {
			name = by
		}
		a := get(t, http.MethodGet, base+"/manifests/"+name, "Accept: "+m.MediaType)
		if a.err != nil || !bytes.Equal(a.body, m.Raw) || a.Header.Get("Content-Type") != m.MediaType {
			t.Errorf("manifest %s: status %d, type %q, %d bytes, %v; want its own", name, a.StatusCode,
				a.Header.Get("Content-Type"), len(a.body), a.err)
		}
	}
	for d, b := range im.blobs {
		a := get(t, http.MethodGet, base+"/blobs/"+string(d))
		if a.err != nil || !bytes.Equal(a.body, b) {
			t.Errorf("blob %s: status %d, %d bytes, %v; want %d bytes", d, a.StatusCode, len(a.body), a.err, len(b))
		}
	}
}

// reference names an image by a tag or a digest.
func reference(prefix string, im *image, by string) string {
	if strings.Contains(by, ":") {
		return prefix + "/" + im.repo + "@" + by
	}
	return prefix + "/" + im.repo + ":" + by
}

func sameLayout(t *testing.T, dir string, im *image) {
	t.Helper()
	for _, m := range im.manifests {
		sameFile(t, filepath.Join(dir, "blobs", "sha256", m.Digest.Encoded()), m.Raw)
	}
	for d, b := range im.blobs {
		sameFile(t, filepath.Join(dir, "blobs", "sha256", d.Encoded()), b)
	}
}

func sameFile(t *testing.T, path string, want []byte) {
	t.Helper()
	got, err := os.ReadFile(path)
	if err != nil {
		t.Error(err)
	} else if !bytes.Equal(got, want) {
		t.Errorf("%s: %d bytes that differ from the origin's %d", path, len(got), len(want))
	}
}

func writeFile(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
