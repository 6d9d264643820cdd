package layout_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/entrepot/entrepot/internal/regtest"
	"github.com/entrepot/entrepot/layout"
	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
)

// needs skips a test where another tool is not there.
func needs(t *testing.T, tools ...string) {
	t.Helper()
	for _, name := range tools {
		if _, err := exec.LookPath(name); err != nil {
			t.Skipf("there is no %s here", name)
		}
	}
}

// client runs another tool.
func client(t *testing.T, name string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Env = append(os.Environ(), "HOME="+t.TempDir())
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, stderr.String())
	}
	return string(out)
}

// realImage puts an image into a repository that other tools unpack: its layers
// are compressed tars, and its config knows their diff IDs.
func realImage(t *testing.T, s *regtest.Shelf, repo, tag string) oci.Manifest {
	t.Helper()
	var layers, ids []string
	for _, text := range []string{"first", "second"} {
		raw, err := os.ReadFile(tarOf(t, entry{name: text, text: text}))
		if err != nil {
			t.Fatal(err)
		}
		layer := []byte(gzipped(t, string(raw)))
		s.AddBlob(repo, regtest.Bytes(layer))
		layers = append(layers, fmt.Sprintf(`{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":%q,"size":%d}`, oci.FromBytes(layer, ""), len(layer)))
		ids = append(ids, fmt.Sprintf("%q", oci.FromBytes(raw, "")))
	}
	config := fmt.Appendf(nil, `{"architecture":"amd64","os":"linux","config":{},"rootfs":{"type":"layers","diff_ids":[%s]}}`, strings.Join(ids, ","))
	s.AddBlob(repo, regtest.Bytes(config))
	raw := fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":%q,"size":%d},"layers":[%s]}`,
		oci.TypeImageManifest, oci.FromBytes(config, ""), len(config), strings.Join(layers, ","))
	return s.AddManifest(repo, oci.TypeImageManifest, raw, tag)
}

// TestSkopeoReads holds that skopeo finds our images by their names, and copies
// them whole.
func TestSkopeoReads(t *testing.T) {
	needs(t, "skopeo")
	th := newThings(t)
	w := write(t, layout.ArchiveConfig{}, th.contents)
	out := client(t, "skopeo", "inspect", "--raw", "oci-archive:"+w.Paths[0]+":"+alpine.String()+":3.20")
	if out != string(th.one.Raw) {
		t.Errorf("skopeo inspect gives\n%s\nwant\n%s", out, th.one.Raw)
	}
	dir := filepath.Join(t.TempDir(), "copy")
	client(t, "skopeo", "copy", "--quiet", "--all", "--preserve-digests", "oci-archive:"+w.Paths[0]+":"+app.String()+":v1", "oci:"+dir+":v1")
	l, err := layout.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if d, err := l.Resolve(t.Context(), none.WithTag("v1")); err != nil || d.Digest != th.index.Digest {
		t.Errorf("what skopeo copied is %s, %v, want %s", d.Digest, err, th.index.Digest)
	}
	single := layout.Contents{Manifests: th.contents.Manifests[:2], Blobs: th.contents.Blobs,
		Names: []layout.Entry{{Ref: alpine.WithTag("3.20"), Descriptor: th.one.Descriptor()}}}
	w = write(t, layout.ArchiveConfig{}, single)
	if out := client(t, "skopeo", "inspect", "--raw", "oci-archive:"+w.Paths[0]); out != string(th.one.Raw) {
		t.Errorf("the only image is\n%s\nwant\n%s", out, th.one.Raw)
	}
}

// TestUnpackedReads holds that what tar unpacks is a layout, for crane too.
func TestUnpackedReads(t *testing.T) {
	needs(t, "tar")
	th := newThings(t, 30_000, 10)
	w := write(t, layout.ArchiveConfig{}, th.contents)
	dir := t.TempDir()
	client(t, "tar", "xf", w.Paths[0], "-C", dir)
	l, err := layout.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if m, err := l.Manifest(t.Context(), app.WithTag("v1")); err != nil || m.Digest != th.index.Digest {
		t.Errorf("app:v1 is %s, %v, want %s", m.Digest, err, th.index.Digest)
	}
	needs(t, "crane")
	far := regtest.New(t, regtest.Config{})
	client(t, "crane", "push", "--insecure", "--index", dir, far.Host()+"/all:v1")
	if n := far.Count("PUT", regtest.Manifest); n <= len(th.contents.Manifests) {
		t.Errorf("crane pushed %d manifests, want %d and the index of all", n, len(th.contents.Manifests))
	}
}

// TestReadsOthers holds that what other tools wrote is read as it is: an OCI
// layout by its digest, and a file of docker save whole.
func TestReadsOthers(t *testing.T) {
	near := regtest.New(t, regtest.Config{})
	img := realImage(t, near.Shelf, "team/app", "v1")
	name := ref.Name{Host: near.Host(), Path: "team/app"}
	remote := near.Host() + "/team/app:v1"
	dir := t.TempDir()
	file := func(s string) string { return filepath.Join(dir, s) }
	for what, c := range map[string]struct {
		commands [][]string
		file     string
		refs     []ref.Ref // all of which are the image
		docker   bool
	}{
		"skopeo oci-archive": {[][]string{{"skopeo", "copy", "--quiet", "--src-tls-verify=false", "docker://" + remote, "oci-archive:" + file("s.tar") + ":alpine:3.20"}},
			"s.tar", []ref.Ref{{}, alpine.WithTag("3.20"), none.WithTag("alpine:3.20"), none.WithTag("3.20"), none.WithDigest(img.Digest)}, false},
		"skopeo oci-archive without a name": {[][]string{{"skopeo", "copy", "--quiet", "--src-tls-verify=false", "docker://" + remote, "oci-archive:" + file("s0.tar")}},
			"s0.tar", []ref.Ref{{}, none.WithDigest(img.Digest)}, false},
		"skopeo docker-archive": {[][]string{{"skopeo", "copy", "--quiet", "--src-tls-verify=false", "docker://" + remote, "docker-archive:" + file("sd.tar") + ":alpine:3.20"}},
			"sd.tar", []ref.Ref{{}, alpine.WithTag("3.20"), none.WithTag("3.20")}, true},
		"crane tarball": {[][]string{{"crane", "pull", "--insecure", remote, file("c.tar")}},
			"c.tar", []ref.Ref{{}, name.WithTag("v1"), none.WithTag("v1")}, true},
		"crane legacy": {[][]string{{"crane", "pull", "--insecure", "--format", "legacy", remote, file("cl.tar")}},
			"cl.tar", []ref.Ref{{}, name.WithTag("v1"), none.WithTag("v1")}, true},
		"crane oci": {[][]string{{"crane", "pull", "--insecure", "--format", "oci", "--annotate-ref", remote, file("co")}, {"tar", "cf", file("co.tar"), "-C", file("co"), "."}},
			"co.tar", []ref.Ref{{}, name.WithTag("v1"), none.WithTag("v1")}, false},
		"regctl": {[][]string{{"regctl", "registry", "set", near.Host(), "--tls", "disabled"}, {"regctl", "--host", "reg=" + near.Host() + ",tls=disabled", "image", "export", remote, file("r.tar")}},
			"r.tar", []ref.Ref{{}, name.WithTag("v1"), none.WithTag("v1")}, false},
		"podman save": {[][]string{{"podman", "--root", file("p"), "--runroot", file("pr"), "--storage-driver", "vfs", "pull", "--quiet", "--tls-verify=false", remote},
			{"podman", "--root", file("p"), "--runroot", file("pr"), "--storage-driver", "vfs", "save", "--quiet", "--output", file("p.tar"), remote}},
			"p.tar", []ref.Ref{{}, name.WithTag("v1"), none.WithTag("v1")}, true},
	} {
		t.Run(what, func(t *testing.T) {
			for _, command := range c.commands {
				needs(t, command[0])
				client(t, command[0], command[1:]...)
			}
			a := open(t, file(c.file))
			if err := a.Verify(t.Context(), true); err != nil {
				t.Errorf("Verify: %v", err)
			}
			for _, r := range c.refs {
				m, err := a.Manifest(t.Context(), r)
				if err != nil || !c.docker && !bytes.Equal(m.Raw, img.Raw) {
					t.Errorf("Manifest(%v) = %s, %v, want %s", r, m.Digest, err, img.Digest)
					continue
				}
				links, err := m.Links()
				if err != nil || len(links.Layers) != 2 {
					t.Errorf("%v has %d layers, %v, want 2", r, len(links.Layers), err)
				}
			}
		})
	}
}
