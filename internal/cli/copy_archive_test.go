package cli

import (
	"archive/tar"
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

// TestCopyThroughArchive copies a repository with its signatures into an
// archive, and from there to another registry.
func TestCopyThroughArchive(t *testing.T) {
	src, dst := regtest.New(t, regtest.Config{}), regtest.New(t, regtest.Config{})
	img := src.AddImage("app", regtest.Image{Layers: []int64{1000, 2000}}, "v1", "v2")
	src.AddReferrer("app", img.Descriptor(), "application/sbom", 3)
	src.AddImage("app", regtest.Image{Layers: []int64{10}, Seed: 4}, strings.Replace(string(img.Digest), ":", "-", 1)+".sig")
	file := filepath.Join(t.TempDir(), "images.tar")
	for _, to := range [][]string{
		{src.Host() + "/app", "oci-archive:" + file},
		{src.Host() + "/app", "oci-archive:" + file}, // it is made anew
		{"oci-archive:" + file, dst.Host() + "/app"},
	} {
		out := copyOK(t, append([]string{"--all-tags"}, to...)...)
		if strings.Count(out, "copied\t") != 2 || strings.Count(out, string(img.Digest)) != 2 {
			t.Errorf("copy %v: want two images, got:\n%s", to, out)
		}
	}
	if n := dst.Count("PUT", regtest.Manifest); n != 3+3 {
		t.Errorf("%d manifests were pushed, want image, referrer, signature, and their three tags", n)
	}
	a, err := layout.OpenArchive(file)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	if err := a.Verify(t.Context(), true); err != nil {
		t.Error(err)
	}
	if names := a.Set().Images; len(names) != 2 || names[0].Name != src.Host()+"/app:v1" {
		t.Errorf("the archive is of %+v", names)
	}
	for _, from := range []string{"", ":v1", ":" + src.Host() + "/app:v1", "@" + string(img.Digest)} {
		if out := copyOK(t, "oci-archive:"+file+from, dst.Host()+"/other:x"); !strings.Contains(out, string(img.Digest)) {
			t.Errorf("copy oci-archive:FILE%s gives %q, want %s", from, out, img.Digest)
		}
	}
}

// TestCopyNamesInArchive holds what an image is called in an archive.
func TestCopyNamesInArchive(t *testing.T) {
	src := regtest.New(t, regtest.Config{})
	img := src.AddImage("app", regtest.Image{Layers: []int64{1000}}, "v1")
	for to, want := range map[string]string{
		"":                     src.Host() + "/app:v1",
		":v2":                  ":v2",
		":quay.io/team/app:v2": "quay.io/team/app:v2",
		":quay.io/team/app":    "quay.io/team/app:v1",
	} {
		file := filepath.Join(t.TempDir(), "x.tar")
		copyOK(t, src.Host()+"/app:v1", "oci-archive:"+file+to)
		a, err := layout.OpenArchive(file)
		if err != nil {
			t.Fatal(err)
		}
		defer a.Close()
		e := a.Entries()
		if len(e) != 1 || strings.TrimPrefix(e[0].Ref.String(), "/") != want || e[0].Descriptor.Digest != img.Digest {
			t.Errorf("oci-archive:FILE%s has %v, want %s", to, e, want)
		}
	}
}

// dockerSave writes a file as docker save does.
func dockerSave(t *testing.T, tag string) string {
	t.Helper()
	layer := "layer"
	config, err := json.Marshal(map[string]any{"os": "linux", "architecture": "amd64", "rootfs": map[string]any{"type": "layers", "diff_ids": []oci.Digest{oci.FromBytes([]byte(layer), "")}}})
	if err != nil {
		t.Fatal(err)
	}
	list, err := json.Marshal([]map[string]any{{"Config": "c.json", "RepoTags": []string{tag}, "Layers": []string{"1/layer.tar"}}})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "saved.tar")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	tw := tar.NewWriter(f)
	for _, e := range [][2]string{{"1/layer.tar", layer}, {"c.json", string(config)}, {"manifest.json", string(list)}} {
		if err := tw.WriteHeader(&tar.Header{Name: e[0], Size: int64(len(e[1])), Mode: 0o644}); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(tw, e[1]); err != nil {
			t.Fatal(err)
		}
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestCopyFromDockerArchive(t *testing.T) {
	dst := regtest.New(t, regtest.Config{})
	file := dockerSave(t, "alpine:3.20")
	for _, from := range []string{"", ":alpine:3.20", ":3.20", ":docker.io/library/alpine:3.20"} {
		if out := copyOK(t, "docker-archive:"+file+from, dst.Host()+"/alpine"); !strings.Contains(out, dst.Host()+"/alpine:3.20@sha256:") {
			t.Errorf("docker-archive:FILE%s gives %q", from, out)
		}
	}
	if out := copyOK(t, "--all-tags", "docker-archive:"+file, dst.Host()+"/all"); !strings.Contains(out, dst.Host()+"/all:3.20@sha256:") {
		t.Errorf("--all-tags gives %q", out)
	}
}

func TestCopyArchiveErrors(t *testing.T) {
	src, dst := regtest.New(t, regtest.Config{}), regtest.New(t, regtest.Config{})
	src.AddImage("one", regtest.Image{Layers: []int64{10}}, "v1")
	src.AddImage("two", regtest.Image{Layers: []int64{10}, Seed: 2}, "v1")
	file := filepath.Join(t.TempDir(), "two.tar")
	var errs strings.Builder
	if Main(t.Context(), Env{Args: []string{"save", "--rules", "none", "--output", file, src.Host() + "/one:v1", src.Host() + "/two:v1"},
		Stdin: strings.NewReader(""), Stdout: io.Discard, Stderr: &errs, Getenv: func(string) string { return "" }}) != 0 {
		t.Fatal(errs.String())
	}
	for name, c := range map[string]struct {
		args []string
		code int
		says string
	}{
		"no such file":     {[]string{"oci-archive:/nonexistent.tar", dst.Host() + "/x"}, 1, "there is no archive /nonexistent.tar"},
		"a directory":      {[]string{"oci-archive:" + t.TempDir(), dst.Host() + "/x"}, 1, "is no file"},
		"several images":   {[]string{"oci-archive:" + file, dst.Host() + "/x"}, 1, src.Host() + "/one:v1, " + src.Host() + "/two:v1"},
		"tag of several":   {[]string{"oci-archive:" + file + ":v1", dst.Host() + "/x"}, 1, "several images of the archive have the tag"},
		"no such tag":      {[]string{"oci-archive:" + file + ":v9", dst.Host() + "/x"}, 1, `has no "v9"`},
		"no such name":     {[]string{"oci-archive:" + file + ":quay.io/x:v1", dst.Host() + "/x"}, 1, `has no "quay.io/x:v1"`},
		"tags of several":  {[]string{"--all-tags", "oci-archive:" + file, dst.Host() + "/x"}, 2, "2 repositories"},
		"tags of one":      {[]string{"--all-tags", "oci-archive:" + file + ":" + src.Host() + "/one", dst.Host() + "/x"}, 0, ""},
		"docker as target": {[]string{src.Host() + "/one:v1", "docker-archive:x.tar"}, 2, "docker-archive is only read"},
		"into a directory": {[]string{src.Host() + "/one:v1", "oci-archive:" + t.TempDir()}, 2, "is a directory"},
		"nowhere":          {[]string{src.Host() + "/one:v1", "oci-archive:/nonexistent/x.tar"}, 2, "there is no directory"},
		"there already":    {[]string{"--on-existing", "fail", src.Host() + "/one:v1", "oci-archive:" + file}, 5, "is there already"},
		"no such image":    {[]string{src.Host() + "/none:v1", "oci-archive:" + filepath.Join(t.TempDir(), "x.tar")}, 3, "no such manifest"},
	} {
		t.Run(name, func(t *testing.T) {
			code, _, stderr := runCopy(t.Context(), t.TempDir(), append([]string{"--rules", "none"}, c.args...)...)
			if code != c.code || !strings.Contains(stderr, c.says) {
				t.Errorf("exit %d, want %d with %q:\n%s", code, c.code, c.says, stderr)
			}
		})
	}
}
