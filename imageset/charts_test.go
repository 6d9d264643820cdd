package imageset_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/entrepot/entrepot/document"
	"github.com/entrepot/entrepot/imageset"
)

// chart is a chart in an archive; its values name an image.
func chart(t *testing.T, name, version string) []byte {
	t.Helper()
	return gzipped(t, tarball(t, []string{
		name + "/Chart.yaml=apiVersion: v2\nname: " + name + "\nversion: " + version + "\nappVersion: " + version + "\n",
		name + "/values.yaml=image:\n  repository: quay.io/charts/" + name + "\n  tag: v" + version + "\n",
		name + "/templates/pod.yaml=kind: Pod\n",
	}))
}

// rendered is what the charts give.
const rendered = `---
apiVersion: v1
kind: Pod
metadata: {name: a}
spec: {containers: [{name: a, image: 'quay.io/charts/rendered:1'}]}
---
apiVersion: example.com/v1
kind: Database
spec: {engine: {images: [quay.io/charts/engine:2, quay.io/charts/other:3], bad: "A B"}}
---
`

// web is a site of files.
func (b *bench) web(files map[string][]byte) {
	b.env.Fetch = func(_ context.Context, url string) ([]byte, error) {
		if data, ok := files[url]; ok {
			return data, nil
		}
		return nil, fmt.Errorf("get %s: 404 Not Found", url)
	}
}

func (b *bench) render() {
	b.env.Charts.Render = func(document.Input) ([]byte, error) { return []byte(rendered), nil }
}

const index = `apiVersion: v1
entries:
  web:
  - {version: 1.2.0, urls: [web-1.2.0.tgz], digest: DIGEST}
  - {version: 1.10.0, urls: ["https://cdn.example.com/web.tgz"]}
  - {version: 2.0.0-rc.1, urls: [rc.tgz]}
  lib:
  - {version: 0.1.0, type: library, urls: [lib.tgz]}
  moved:
  - {version: 1.0.0, urls: ["oci://ghcr.io/charts/moved"]}
  nowhere:
  - {version: 1.0.0}
`

func (b *bench) site() {
	old := chart(b.t, "web", "1.2.0")
	b.web(map[string][]byte{
		"https://charts.example.com/stable/index.yaml":    []byte(strings.ReplaceAll(index, "DIGEST", fmt.Sprintf("%x", sha256.Sum256(old)))),
		"https://charts.example.com/stable/web-1.2.0.tgz": old,
		"https://cdn.example.com/web.tgz":                 chart(b.t, "web", "1.10.0"),
		"https://charts.example.com/stable/rc.tgz":        chart(b.t, "web", "2.0.0-rc.1"),
		"https://two.example.com/index.yaml":              []byte("entries:\n  web:\n  - {version: 1.0.0, urls: [a.tgz], digest: '0000'}\n  a: [{version: 1.0.0, urls: [a.tgz]}]\n"),
		"https://two.example.com/a.tgz":                   chart(b.t, "a", "1.0.0"),
		"https://none.example.com/index.yaml":             []byte("a: b\n"),
	})
}

func TestChartsOfARepository(t *testing.T) {
	for name, test := range map[string]struct{ chart, want string }{
		"the newest":      {"{name: web}", "v1.10.0"},
		"by its version":  {"{name: web, version: 1.2.0}", "v1.2.0"},
		"by a range":      {"{name: web, version: ~1.2}", "v1.2.0"},
		"a pre-release":   {"{name: web, version: 2.0.0-rc.1}", "v2.0.0-rc.1"},
		"with a platform": {"{name: web, version: 1.2.0, platforms: [{os: linux, architecture: arm64}]}", "v1.2.0 helm linux/arm64"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.site()
			b.render()
			set := b.expand("  helm:\n    repositories:\n    - name: stable\n      url: https://charts.example.com/stable/\n      charts:\n      - " + test.chart + "\n")
			got := show(set.Images)
			if len(got) != 2 || !strings.HasPrefix(got[0], "quay.io/charts/rendered:1 helm") || !strings.HasPrefix(got[1], "quay.io/charts/web:"+test.want) {
				t.Errorf("images: %q", got)
			}
		})
	}
}

// TestAllCharts holds that a repository without a list of charts means all.
func TestAllCharts(t *testing.T) {
	b := newBench(t)
	b.web(map[string][]byte{
		"https://a.example.com/index.yaml": []byte("entries:\n  b: [{version: 1.0.0, urls: [b.tgz]}, {version: 2.0.0, urls: [c.tgz]}]\n  lib: [{version: 1.0.0, type: library}]\n"),
		"https://a.example.com/b.tgz":      chart(t, "b", "1.0.0"), "https://a.example.com/c.tgz": chart(t, "b", "2.0.0"),
	})
	set := b.expand("  helm:\n    repositories:\n    - {name: a, url: 'https://a.example.com'}\n")
	const at = " helm mirror.helm.repositories[0].charts"
	b.has(set, "quay.io/charts/b:v1.0.0"+at, "quay.io/charts/b:v2.0.0"+at)
	want := "isc.yaml:6: mirror.helm.repositories[0].charts: the chart b-1.0.0 is not rendered: what its templates alone name is not found"
	if got := notes(set); len(got) != 2 || got[0] != want {
		t.Errorf("notes: %q", got)
	}
}

func TestChartErrors(t *testing.T) {
	const repo = "  helm:\n    repositories:\n    - name: a\n      url: https://charts.example.com/stable\n      charts:\n      - "
	for config, want := range map[string]string{
		repo + "{name: no}":                        "isc.yaml:9: mirror.helm.repositories[0].charts[0]: the chart no: it is not in the repository, which has lib, moved, nowhere, web",
		repo + "{name: web, version: 3.0.0}":       "isc.yaml:9: mirror.helm.repositories[0].charts[0]: the chart web: the version 3.0.0 is not in the repository, which has 1.2.0, 1.10.0, 2.0.0-rc.1",
		repo + "{name: web, version: no range}":    `isc.yaml:9: mirror.helm.repositories[0].charts[0]: the chart web: the version "no range": `,
		repo + "{name: moved}":                     "isc.yaml:9: mirror.helm.repositories[0].charts[0]: the chart moved: the version 1.0.0 is at oci://ghcr.io/charts/moved, which is not read from here",
		repo + "{name: nowhere}":                   "isc.yaml:9: mirror.helm.repositories[0].charts[0]: the chart nowhere: the index has no address of the version 1.0.0",
		repo + "{name: lib}":                       "isc.yaml:9: mirror.helm.repositories[0].charts[0]: the chart lib: get https://charts.example.com/stable/lib.tgz: 404",
		repo + "{name: web, imagePaths: ['{.a}']}": "isc.yaml:9: mirror.helm.repositories[0].charts[0].imagePaths: imagePaths are of the rendered chart",
		"  helm: {repositories: [{name: a, url: 'https://none.example.com'}]}":                       "isc.yaml:4: mirror.helm.repositories[0].url: the chart repository a: index.yaml has no entries",
		"  helm: {repositories: [{name: a, url: 'https://gone.example.com'}]}":                       "isc.yaml:4: mirror.helm.repositories[0].url: the chart repository a: get https://gone.example.com/index.yaml: 404",
		"  helm: {repositories: [{name: a, url: 'https://two.example.com', charts: [{name: web}]}]}": "isc.yaml:4: mirror.helm.repositories[0].charts[0]: the chart web: the file at https://two.example.com/a.tgz is not the one that the index names",
		"  helm: {local: [{path: not/there.tgz}]}":                                                   "isc.yaml:4: mirror.helm.local[0].path: not/there.tgz: ",
	} {
		b := newBench(t)
		b.site()
		_, err := b.parse(config+"\n").Expand(t.Context(), b.env)
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s\ngave %v\nwant %s", config, err, want)
		}
	}
	b := newBench(t)
	b.fails("  helm: {repositories: [{name: a, url: 'https://a.example.com'}]}\n", "isc.yaml:4: mirror.helm.repositories[0].url: the chart repository a: nothing can be fetched from here")
}

// TestLocalCharts reads charts beside the configuration, and the images at
// JSONPaths.
func TestLocalCharts(t *testing.T) {
	dir := t.TempDir()
	if err := errors.Join(os.Mkdir(filepath.Join(dir, "charts"), 0o755), os.WriteFile(filepath.Join(dir, "charts", "own.tgz"), chart(t, "own", "1.0.0"), 0o644)); err != nil {
		t.Fatal(err)
	}
	b := newBench(t)
	b.render()
	name := filepath.Join(dir, "isc.yaml")
	cfg, err := imageset.Parse(name, []byte(`apiVersion: mirror.openshift.io/v2alpha1
kind: ImageSetConfiguration
mirror:
  helm:
    local:
    - name: own
      path: charts/own.tgz
      imagePaths: ['{.spec.engine.images[*]}', '{.spec.engine.bad}', '{.nothing}']
`))
	if err != nil {
		t.Fatal(err)
	}
	set, err := cfg.Expand(t.Context(), b.env)
	if err != nil {
		t.Fatal(err)
	}
	const at = " helm mirror.helm.local[0]"
	b.has(set, "quay.io/charts/engine:2"+at, "quay.io/charts/other:3"+at, "quay.io/charts/own:v1.0.0"+at, "quay.io/charts/rendered:1"+at)
	got := strings.Join(notes(set), "\n")
	for _, want := range []string{`{.spec.engine.bad}: "A" is no image`, "{.nothing} finds nothing in the chart own"} {
		if !strings.Contains(got, want) {
			t.Errorf("notes lack %s:\n%s", want, got)
		}
	}
	b.env.Charts.Render = func(document.Input) ([]byte, error) { return nil, errors.New("values are missing") }
	_, err = cfg.Expand(t.Context(), b.env)
	if diff := cmp.Diff(true, err != nil && strings.Contains(err.Error(), "values are missing")); diff != "" {
		t.Errorf("a chart that cannot be rendered: %v", err)
	}
}
