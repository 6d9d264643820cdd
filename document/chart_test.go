package document

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"io"
	"path"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var chartFiles = []File{
	{"Chart.yaml", []byte(`apiVersion: v2
name: web
version: 1.0.0
appVersion: "2.5"
annotations:
  artifacthub.io/images: |
    # what it runs
    - name: web
      image: docker.io/acme/web:2.5   # the web
    - name: side
      image: "quay.io/acme/side:1"
  images: |
    - image: docker.io/acme/web:2.5
`)},
	{"values.yaml", []byte(`# values
image:
  repository: acme/web
  tag: ""       # the appVersion
  pullPolicy: Always
side:
  image: {registry: quay.io, repository: acme/side, tag: '1'}
git:
  repository: acme/configuration   # no image
job: {image: busybox, tag: 1.36}
sidecarImage: quay.io/acme/other:3
redis:
  replicas: 3
`)},
	{"templates/pod.yaml", []byte("apiVersion: v1\nkind: Pod\nspec: {containers: [{image: \"{{ .Values.image.repository }}\"}]}\n")},
	{"charts/redis/Chart.yaml", []byte("apiVersion: v2\nname: redis\nversion: 0.1.0\n")},
	{"charts/redis/values.yaml", []byte("image:\n  registry: docker.io\n  repository: library/redis\n  tag: \"7\"\n  digest: \"\"\n")},
}

var chartFound = []string{
	"web/Chart.yaml:9 annotations[\"artifacthub.io/images\"][0].image: docker.io/acme/web:2.5",
	"web/Chart.yaml:11 annotations[\"artifacthub.io/images\"][1].image: quay.io/acme/side:1",
	"web/Chart.yaml:13 annotations.images[0].image: docker.io/acme/web:2.5",
	"web/values.yaml:3 image: acme/web:2.5",
	"web/values.yaml:7 side.image: quay.io/acme/side:1",
	"web/values.yaml:10 job: busybox:1.36",
	"web/values.yaml:11 sidecarImage: quay.io/acme/other:3",
	"web/charts/redis/values.yaml:2 image: docker.io/library/redis:7",
}

var chartTo = map[string]string{
	"docker.io/acme/web:2.5":    "r.example/u/web:2.5",
	"acme/web:2.5":              "r.example/u/web:2.5",
	"quay.io/acme/side:1":       "r.example/u/side:1",
	"busybox:1.36":              "r.example/u/busybox:1.36",
	"quay.io/acme/other:3":      "r.example/u/other:3",
	"docker.io/library/redis:7": "r.example/u/redis:7",
}

// chartWant returns the files with the names of chartTo.
func chartWant() []File {
	want := map[string]string{
		"docker.io/acme/web:2.5": "r.example/u/web:2.5", "quay.io/acme/side:1": "r.example/u/side:1",
		"repository: acme/web\n":                           "repository: r.example/u/web\n",
		"{registry: quay.io, repository: acme/side":        "{registry: r.example, repository: u/side",
		"image: busybox":                                   "image: r.example/u/busybox",
		"quay.io/acme/other:3":                             "r.example/u/other:3",
		"registry: docker.io\n  repository: library/redis": "registry: r.example\n  repository: u/redis",
	}
	var out []File
	for _, f := range chartFiles {
		text := string(f.Data)
		for from, to := range want {
			text = strings.ReplaceAll(text, from, to)
		}
		out = append(out, File{f.Path, []byte(text)})
	}
	return out
}

func to(table map[string]string) func(string) (string, bool) {
	return func(s string) (string, bool) { t, ok := table[s]; return t, ok }
}

// tgz packs files, in a directory where top is not empty.
func tgz(t testing.TB, top string, files []File) []byte {
	t.Helper()
	var b bytes.Buffer
	zw := gzip.NewWriter(&b)
	tw := tar.NewWriter(zw)
	for _, f := range files {
		if err := tw.WriteHeader(&tar.Header{Name: path.Join(top, f.Path), Mode: 0o640, Size: int64(len(f.Data))}); err != nil {
			t.Fatal(err)
		}
		if _, err := tw.Write(f.Data); err != nil {
			t.Fatal(err)
		}
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	if err := zw.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestChartDirectory(t *testing.T) {
	d, err := Read(Input{Name: "web", Path: "charts/web", Files: chartFiles}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(chartFound, found(d)); diff != "" {
		t.Errorf("images (-want +got):\n%s", diff)
	}
	files, err := d.Rewrite(to(chartTo))
	if err != nil {
		t.Fatal(err)
	}
	want := chartWant()
	for i := range want {
		want[i].Path = "charts/web/" + want[i].Path
	}
	if diff := cmp.Diff(want, files); diff != "" {
		t.Errorf("rewritten (-want +got):\n%s", diff)
	}
}

func TestChartArchive(t *testing.T) {
	d, err := Read(Input{Name: "web.tgz", Path: "web.tgz", Data: tgz(t, "web", chartFiles)}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if d.Kind != Chart || len(d.Images()) != len(chartFound) {
		t.Fatalf("got a %s with %d images", d.Kind, len(d.Images()))
	}
	files, err := d.Rewrite(to(chartTo))
	if err != nil {
		t.Fatal(err)
	}
	if len(files) != 1 || files[0].Path != "web.tgz" {
		t.Fatalf("got %d files", len(files))
	}
	zr, err := gzip.NewReader(bytes.NewReader(files[0].Data))
	if err != nil {
		t.Fatal(err)
	}
	tr := tar.NewReader(zr)
	for _, want := range chartWant() {
		h, err := tr.Next()
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(tr)
		if err != nil || h.Name != "web/"+want.Path || h.Mode != 0o640 {
			t.Errorf("got %s with mode %o, %v", h.Name, h.Mode, err)
		}
		if diff := cmp.Diff(string(want.Data), string(data)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", h.Name, diff)
		}
	}
}

// TestChartRendered holds that what a chart renders to is found, and that a
// template with an image of its own is an error where it cannot be rewritten.
func TestChartRendered(t *testing.T) {
	const own = "apiVersion: v1\nkind: Pod\nspec: {containers: [{image: fixed:1}]}\n"
	render := func(text string) func(Input) ([]byte, error) {
		return func(in Input) ([]byte, error) {
			for _, f := range in.Files {
				if f.Path == "values.yaml" && strings.Contains(string(f.Data), "r.example/u/web") {
					return []byte(strings.ReplaceAll(text, "acme/web:2.5", "r.example/u/web:2.5")), nil
				}
			}
			return []byte(text), nil
		}
	}
	const web = "# Source: web/templates/pod.yaml\napiVersion: v1\nkind: Pod\nspec: {containers: [{image: acme/web:2.5}]}\n"
	d, err := Read(Input{Name: "web", Files: chartFiles}, Options{Render: render(web)})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := found(d)[len(chartFound)], "web (rendered):4 spec.containers[0].image: acme/web:2.5"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if _, err := d.Rewrite(to(chartTo)); err != nil {
		t.Errorf("rewrite: %v", err)
	}
	d, err = Read(Input{Name: "web", Files: chartFiles}, Options{Render: render(web + "---\n" + own)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Rewrite(to(map[string]string{"fixed:1": "r.example/u/fixed:1"})); err == nil || !strings.Contains(err.Error(), "fixed:1") {
		t.Errorf("a template with an image of its own: got %v", err)
	}
}
