package cli

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/entrepot/entrepot/internal/regtest"
)

func TestParseLocation(t *testing.T) {
	digest := "sha256:" + strings.Repeat("0", 64)
	for s, want := range map[string]string{
		"alpine":                              " docker.io/library/alpine",
		"docker://quay.io/a/b:v1":             " quay.io/a/b:v1",
		"oci:dir":                             "dir ",
		"oci:dir:v1":                          "dir :v1",
		"oci:/a.b/c:d/dir":                    "/a.b/c:d/dir ",
		"oci:/a/dir@" + digest:                "/a/dir @" + digest,
		"oci:":                                "error",
		"oci::v1":                             "error",
		"oci:dir:v 1":                         "error",
		"oci:dir@sha256:1":                    "error",
		"oci-archive:x.tar":                   "x.tar ",
		"oci-archive:/a/x.tar:v1":             "/a/x.tar :v1",
		"oci-archive:x.tar@" + digest:         "x.tar @" + digest,
		"oci-archive:x.tar:quay.io:80/a/b:v1": "x.tar quay.io:80/a/b:v1",
		"oci-archive:x.tar:alpine:3":          "x.tar docker.io/library/alpine:3",
		"oci-archive:x.tar:quay.io/a/b@" + digest: "x.tar quay.io/a/b@" + digest,
		"oci-archive:a@b/x.tar":                   "a@b/x.tar ",
		"docker-archive:x.tar:alpine:3":           "docker x.tar docker.io/library/alpine:3",
		"oci-archive:":                            "error",
		"oci-archive::v1":                         "error",
		"oci-archive:x.tar:":                      "error",
		"oci-archive:x.tar:v 1":                   "error",
		"oci-archive:x.tar:a/B:v1":                "error",
		"oci-archive:x.tar@sha256:1":              "error",
		"docker://":                               "error",
		"Alpine":                                  "error",
	} {
		got := "error"
		if l, err := parseLocation(s); err == nil {
			got = l.dir + l.archive + " " + strings.TrimPrefix(l.ref.String(), "/")
			if l.docker {
				got = "docker " + got
			}
			if l.text != s {
				t.Errorf("%q is shown as %q", s, l.text)
			}
		}
		if got != want {
			t.Errorf("parseLocation(%q) = %q, want %q", s, got, want)
		}
	}
}

// TestCopyThroughLayout copies a repository into a layout, from there to
// another registry, and both again.
func TestCopyThroughLayout(t *testing.T) {
	src, dst := regtest.New(t, regtest.Config{}), regtest.New(t, regtest.Config{})
	img := src.AddImage("app", regtest.Image{Layers: []int64{1000, 2000}}, "v1", "v2")
	src.AddReferrer("app", img.Descriptor(), "application/sbom", 3)
	src.AddImage("app", regtest.Image{Layers: []int64{10}, Seed: 4}, strings.Replace(string(img.Digest), ":", "-", 1)+".sig")
	dir := filepath.Join(t.TempDir(), "images")
	for _, result := range []string{"copied", "present"} {
		for _, to := range [][]string{
			{src.Host() + "/app", "oci:" + dir},
			{"oci:" + dir, dst.Host() + "/app"},
		} {
			out := copyOK(t, append([]string{"--all-tags"}, to...)...)
			if strings.Count(out, result+"\t") != 2 || strings.Count(out, string(img.Digest)) != 2 {
				t.Errorf("copy %v: want two images %s, got:\n%s", to, result, out)
			}
		}
	}
	if n := dst.Count("PUT", regtest.Manifest); n != 3+3 {
		t.Errorf("%d manifests were pushed, want image, referrer, signature, and their three tags", n)
	}
}

// copyOK runs entrepot copy, which must succeed, and returns its output.
func copyOK(t *testing.T, args ...string) string {
	t.Helper()
	var stdout, stderr strings.Builder
	home := t.TempDir()
	env := Env{Args: append([]string{"copy", "--rules", "none"}, args...), Stdin: strings.NewReader(""), Stdout: &stdout, Stderr: &stderr,
		Getenv: func(name string) string { return map[string]string{"HOME": home}[name] }}
	if code := Main(t.Context(), env); code != exitDone {
		t.Fatalf("copy %v: exit %d\n%s", args, code, stderr.String())
	}
	return stdout.String()
}
