package cli

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	ispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/entrepot/entrepot/internal/regtest"
	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/relocate"
)

// A site is a move whose source has what image sets name.
type site struct {
	*move
	web   *httptest.Server
	files map[string]string // :: path → what the web server has
}

func newSite(t *testing.T) *site {
	s := &site{move: newMove(t), files: map[string]string{}}
	s.web = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		at := r.URL.Path
		if r.URL.RawQuery != "" {
			at += "?" + r.URL.RawQuery
		}
		data, ok := s.files[at]
		if !ok {
			http.NotFound(w, r)
			return
		}
		fmt.Fprint(w, data)
	}))
	t.Cleanup(s.web.Close)
	return s
}

// packed is a compressed tar of files, "name=content".
func packed(t *testing.T, files ...string) []byte {
	t.Helper()
	var out bytes.Buffer
	zw := gzip.NewWriter(&out)
	w := tar.NewWriter(zw)
	for _, f := range files {
		name, data, _ := strings.Cut(f, "=")
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(data)), Typeflag: tar.TypeReg}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(data)); err != nil {
			t.Fatal(err)
		}
	}
	for _, err := range []error{w.Close(), zw.Close()} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return out.Bytes()
}

// holding makes an image with one layer of files, SRC in them standing for the
// registry.
func (s *site) holding(path, tag, labels string, files ...string) regtest.Built {
	s.t.Helper()
	for i, f := range files {
		files[i] = strings.ReplaceAll(f, "SRC", s.src.Host())
	}
	config := s.src.AddBlob(path, regtest.Bytes(fmt.Appendf(nil, `{"architecture":"amd64","os":"linux","config":{"Labels":{%s}},"rootfs":{"type":"layers","diff_ids":["sha256:%064d"]}}`, labels, 0)))
	config.MediaType = ispec.MediaTypeImageConfig
	layer := s.src.AddBlob(path, regtest.Bytes(packed(s.t, files...)))
	layer.MediaType = ispec.MediaTypeImageLayerGzip
	m := ispec.Manifest{MediaType: oci.TypeImageManifest, Config: config, Layers: []oci.Descriptor{layer}}
	m.SchemaVersion = 2
	raw, err := json.Marshal(m)
	if err != nil {
		s.t.Fatal(err)
	}
	return regtest.Built{Manifest: s.src.AddManifest(path, oci.TypeImageManifest, raw, tag)}
}

// images makes images by their paths and tags.
func (s *site) images(names ...string) {
	for i, n := range names {
		path, tag, _ := strings.Cut(n, ":")
		s.src.AddImage(path, regtest.Image{Layers: []int64{200}, Seed: uint64(100 + i)}, tag)
	}
}

const setHead = "apiVersion: mirror.openshift.io/v2alpha1\nkind: ImageSetConfiguration\n"

// everything is a set of each kind of content.
const everything = setHead + `archiveSize: 1
mirror:
  platform:
    channels:
    - name: stable-4.15
  operators:
  - catalog: SRC/redhat/index:v4.15
    targetCatalog: mirror/ops
    packages:
    - name: tool
  additionalImages:
  - name: SRC/team/app:1
    targetRepo: my.org/app
    targetTag: one
  - name: SRC/team/unwanted:1
  helm:
    repositories:
    - name: charts
      url: WEB/charts
      charts:
      - name: web
        imagePaths: ['{.spec.engine}']
  blockedImages:
  - name: unwanted
`

// full fills the source with what everything names and returns the arguments.
func (s *site) full() []string {
	s.t.Helper()
	release := s.holding("ocp/release", "4.15.3-x86_64", "", `release-manifests/image-references={"kind":"ImageStream","spec":{"tags":[{"name":"cli","from":{"kind":"DockerImage","name":"SRC/ocp/cli:1"}}]}}`)
	s.holding("redhat/index", "v4.15", `"operators.operatorframework.io.index.configs.v1":"/configs"`, `configs/tool.json=
{"schema":"olm.package","name":"tool","defaultChannel":"fast"}
{"schema":"olm.channel","package":"tool","name":"fast","entries":[{"name":"tool.v1.0.0"},{"name":"tool.v2.0.0","replaces":"tool.v1.0.0"}]}
{"schema":"olm.bundle","name":"tool.v1.0.0","package":"tool","image":"SRC/tool/bundle:1","properties":[{"type":"olm.package","value":{"packageName":"tool","version":"1.0.0"}}]}
{"schema":"olm.bundle","name":"tool.v2.0.0","package":"tool","image":"SRC/tool/bundle:2","properties":[{"type":"olm.package","value":{"packageName":"tool","version":"2.0.0"}}],"relatedImages":[{"name":"op","image":"SRC/tool/operator:2"}]}
`)
	s.images("ocp/cli:1", "tool/bundle:2", "tool/operator:2", "team/app:1", "charts/web:1", "charts/engine:1")
	chart := packed(s.t, "web/Chart.yaml=apiVersion: v2\nname: web\nversion: 1.0.0\n",
		"web/values.yaml="+strings.ReplaceAll("image: {repository: SRC/charts/web, tag: '1'}\n", "SRC", s.src.Host()))
	s.files["/charts/index.yaml"] = fmt.Sprintf("entries:\n  web: [{version: 1.0.0, urls: [web.tgz], digest: %x}]\n", sha256.Sum256(chart))
	s.files["/charts/web.tgz"] = string(chart)
	s.files["/graph?arch=amd64&channel=stable-4.15"] = fmt.Sprintf(`{"nodes":[{"version":"4.15.3","payload":"%s/ocp/release@%s"}],"edges":[]}`, s.src.Host(), release.Digest)
	helm := s.file("helm", "#!/bin/sh\necho 'apiVersion: example.com/v1'\necho 'kind: Database'\necho 'spec: {engine: \"SRC/charts/engine:1\"}'\n")
	if err := os.Chmod(helm, 0o755); err != nil {
		s.t.Fatal(err)
	}
	return []string{s.set("isc.yaml", everything), "--graph", s.web.URL + "/graph", "--helm", helm}
}

// set writes an image set.
func (s *site) set(name, text string) string {
	return s.file(name, strings.ReplaceAll(text, "WEB", s.web.URL))
}

// command runs another command than relocate.
func (s *site) command(args ...string) {
	s.t.Helper()
	var out, errs bytes.Buffer
	s.code = Main(s.t.Context(), Env{Args: args, Stdin: strings.NewReader(s.stdin), Stdout: &out, Stderr: &errs, Getenv: func(string) string { return "" }})
	s.out, s.errors = out.String(), errs.String()
}

// TestInspectImageSet lists all images of a set, with what they are for.
func TestInspectImageSet(t *testing.T) {
	s := newSite(t)
	s.command(append([]string{"inspect", "--rules", "none", "--json"}, s.full()...)...)
	s.exits(exitDone)
	var got []string
	for line := range strings.Lines(s.out) {
		var m mentionJSON
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Fatal(err)
		}
		if m.Kind != "imageset" || !strings.HasPrefix(m.At, s.path("isc.yaml")+":") {
			t.Errorf("%s: kind %s, at %s", m.Reference, m.Kind, m.At)
		}
		name, _, _ := strings.Cut(strings.TrimPrefix(m.Reference, s.src.Host()+"/"), "@")
		got = append(got, strings.Join([]string{name, m.Role, m.Target, m.Field}, " "))
	}
	want := []string{
		"ocp/release release :4.15.3-x86_64 mirror.platform.channels[0]",
		"ocp/cli:1 release-content  mirror.platform.channels[0]",
		"redhat/index:v4.15 catalog /mirror/ops mirror.operators[0].catalog",
		"tool/bundle:2 operator-bundle  mirror.operators[0].packages[0]",
		"tool/operator:2 related  mirror.operators[0].packages[0]",
		"team/app:1 additional /my.org/app:one mirror.additionalImages[0].name",
		"charts/engine:1 helm  mirror.helm.repositories[0].charts[0]",
		"charts/web:1 helm  mirror.helm.repositories[0].charts[0]",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("images (-want +got):\n%s\n%s", diff, s.errors)
	}
	for _, want := range []string{"a part of the catalog is taken", "there is no signature of the release", "1 image is left out, because blockedImages match"} {
		if !strings.Contains(s.errors, want) {
			t.Errorf("standard error lacks %q:\n%s", want, s.errors)
		}
	}
}

// TestMapImageSet says what the images of a set are called, one a line.
func TestMapImageSet(t *testing.T) {
	s := newSite(t)
	s.command(append([]string{"map", "alpine:3", "--to", "r.corp/m", "--naming", "host-path", "--rules", "none", "--json"}, s.full()...)...)
	s.exits(exitDone)
	host := strings.ReplaceAll(s.src.Host(), ":", "_")
	for _, want := range []string{
		`{"source":"alpine:3","target":"r.corp/m/docker.io/library/alpine:3"}`,
		`{"source":"` + s.src.Host() + `/redhat/index:v4.15","target":"r.corp/m/mirror/ops:v4.15"}`,
		`{"source":"` + s.src.Host() + `/team/app:1","target":"r.corp/m/my.org/app:one"}`,
		`{"source":"` + s.src.Host() + `/charts/web:1","target":"r.corp/m/` + host + `/charts/web:1"}`,
	} {
		if !strings.Contains(s.out, want+"\n") {
			t.Errorf("there is no line %s:\n%s", want, s.out)
		}
	}
	if n := strings.Count(s.out, "\n"); n != 9 {
		t.Errorf("%d lines, want 9:\n%s", n, s.out)
	}
}

// TestRelocateImageSet copies a whole set, the catalog that is made for it
// included, and a second run finds everything there.
func TestRelocateImageSet(t *testing.T) {
	s := newSite(t)
	args := append(s.full(), "--to", s.dst.Host()+"/m", "--output", s.path("out"), "--report", s.path("report.json"), "--map", s.path("map.json"))
	s.run(args...)
	s.exits(exitDone)
	if strings.Count(s.errors, "isc.yaml is left as it is") != 1 {
		t.Errorf("it is not told once that the set is not written again:\n%s", s.errors)
	}
	s.absent("out")
	var rep relocate.Report
	if err := json.Unmarshal([]byte(s.read("report.json")), &rep); err != nil {
		t.Fatal(err)
	}
	if len(rep.Images) != 8 || rep.Totals.Failed != 0 {
		t.Errorf("%d images, %d failed", len(rep.Images), rep.Totals.Failed)
	}
	for _, one := range []string{"mirror/ops:v4.15", "my.org/app:one"} {
		if !strings.Contains(s.out, "\t"+s.dst.Host()+"/m/"+one+"@") {
			t.Errorf("%s was not copied:\n%s", one, s.out)
		}
	}
	if !strings.Contains(s.out, ":4.15.3-x86_64@") {
		t.Errorf("the release has another tag:\n%s", s.out)
	}
	// The catalog at the target is the part of it.
	s.command("inspect", "--rules", "none", "--json", s.set("again.yaml", setHead+"mirror: {operators: [{catalog: '"+s.dst.Host()+"/m/mirror/ops:v4.15', full: true}]}\n"))
	s.exits(exitDone)
	if strings.Contains(s.out, "tool/bundle:1") || !strings.Contains(s.out, "tool/bundle:2") {
		t.Errorf("the catalog at the target has\n%s", s.out)
	}
	before := s.written()
	s.run(args...)
	s.exits(exitDone)
	if n := s.written() - before; n != 0 || strings.Contains(s.out, "copied") {
		t.Errorf("%d requests wrote something the second time:\n%s", n, s.out)
	}
}

// TestImageSetErrors holds what is said of sets that cannot be had.
func TestImageSetErrors(t *testing.T) {
	s := newSite(t)
	full := s.full()
	to := []string{"--to", s.dst.Host() + "/m"}
	deletion := s.file("delete.yaml", "apiVersion: mirror.openshift.io/v2alpha1\nkind: DeleteImageSetConfiguration\ndelete: {additionalImages: [{name: SRC/team/app:1}]}\n")
	bad := s.file("bad.yaml", setHead+"mirror:\n  additionalImages: [{nam: a}]\n  samples: [{name: b}]\n")
	for name, test := range map[string]struct {
		args []string
		code int
		want string
	}{
		"unknown":     {[]string{bad}, exitFailed, bad + ":4: mirror.additionalImages[0].nam: unknown field"},
		"unsupported": {[]string{bad}, exitFailed, bad + ":5: mirror.samples: samples are not implemented"},
		"no graph":    {full[:1], exitFailed, "mirror.platform.channels[0]: the channel stable-4.15: which releases a channel has"},
		"how":         {full[:1], exitFailed, "entrepot: hint: give it with --graph"},
		"deletion":    {[]string{deletion}, exitFailed, "it says which images are removed"},
		"two graphs":  {append(full, "--graph", s.web.URL+"/other"), exitUsage, "are the same kind of thing"},
		"no file":     {append(full[:1:1], "--graph", s.path("none")), exitUsage, "no such file"},
		"not there":   {append(full[:1:1], "--graph", s.web.URL+"/none"), exitFailed, "404 Not Found"},
	} {
		t.Run(name, func(t *testing.T) {
			s.run(append(test.args, to...)...)
			s.exits(test.code)
			if !strings.Contains(s.errors, test.want) {
				t.Errorf("standard error lacks %q:\n%s", test.want, s.errors)
			}
		})
	}
	if s.written() != 0 {
		t.Error("something was written")
	}
	s.command("rewrite", full[0], "--map", s.file("map.json", "{}"), "--output", "-")
	if s.code != exitFailed || !strings.Contains(s.errors, "has no names to rewrite") {
		t.Errorf("rewrite: %d, %s", s.code, s.errors)
	}
	s.command("inspect", "--rules", "none", deletion)
	if s.exits(exitDone); !strings.Contains(s.out, "/team/app:1") {
		t.Errorf("inspect: %s", s.out)
	}
}

// TestGraphFiles reads graphs from a file and from a directory, signatures beside
// the set, and the data of the graph's image.
func TestGraphFiles(t *testing.T) {
	s := newSite(t)
	s.full()
	graph := s.files["/graph?arch=amd64&channel=stable-4.15"]
	release := strings.Split(strings.Split(graph, "@sha256:")[1], `"`)[0]
	dir := s.path("graphs")
	if err := os.MkdirAll(filepath.Join(dir, "x"), 0o755); err != nil {
		t.Fatal(err)
	}
	s.file("graphs/amd64-stable-4.15.json", graph)
	next := s.holding("ocp/release", "4.16.0-x86_64", "", "version=4.16.0", `release-manifests/image-references={"kind":"ImageStream","spec":{"tags":[{"name":"cli","from":{"name":"SRC/ocp/cli:1"}}]}}`)
	s.file("graphs/stable-4.16.json", strings.NewReplacer("4.15.3", "4.16.0", release, next.Digest.Encoded()).Replace(graph))
	data := s.file("data.tar.gz", string(packed(t, "channels/stable-4.15.yaml=name: stable-4.15")))
	config := func(rest string) string {
		return s.file("platform.yaml", setHead+"mirror: {platform: {"+rest+"}}\n")
	}
	one, two := "channels: [{name: stable-4.15}]", "channels: [{name: stable-4.15}], architectures: [amd64, arm64]"
	s.command("inspect", "--rules", "none", config(one), "--graph", s.file("graph.json", graph))
	if s.exits(exitDone); !strings.Contains(s.out, ":4.15.3-x86_64") {
		t.Errorf("of a file: %s", s.out)
	}
	s.command("inspect", "--rules", "none", config("channels: [{name: stable-4.15}, {name: stable-4.16}]"), "--graph", dir)
	if !strings.Contains(s.out, ":4.15.3-x86_64") || !strings.Contains(s.out, ":4.16.0-x86_64") {
		t.Errorf("of a directory: %s%s", s.out, s.errors)
	}
	s.command("inspect", "--rules", "none", config(two), "--graph", s.path("graph.json"))
	if s.code != exitFailed || !strings.Contains(s.errors, "is of one architecture, and amd64 and arm64 are wanted") {
		t.Errorf("a file for two: %d, %s", s.code, s.errors)
	}
	s.command("inspect", "--rules", "none", config(two), "--graph", dir)
	if s.code != exitFailed || !strings.Contains(s.errors, "has neither arm64-stable-4.15.json nor") && !strings.Contains(s.errors, "stable-4.15.json") {
		t.Errorf("a directory without a graph: %d, %s", s.code, s.errors)
	}
	s.command("inspect", "--rules", "none", config(one+", graph: true"), "--graph", s.path("graph.json"))
	if s.code != exitFailed || !strings.Contains(s.errors, "mirror.platform.graph: the update graph: the image of the update graph is made from its data") {
		t.Errorf("an image of no data: %d, %s", s.code, s.errors)
	}

	s.holding("ubi9/ubi", "latest", "", "bin/bash=x")
	rules := s.file("registries.conf", "[[registry]]\nprefix = \"registry.access.redhat.com\"\nlocation = \"SRC\"\ninsecure = true\n")
	if err := os.Mkdir(s.path("signatures"), 0o755); err != nil {
		t.Fatal(err)
	}
	s.file("signatures/4.15.3-x86_64-sha256-"+release, "signed")
	s.command("relocate", "--retry", "1", "--rules", "registries.conf="+rules, "--plain-http", s.src.Host(), config(one+", graph: true"), "--graph", s.path("graph.json"), "--graph", data,
		"--to", s.dst.Host()+"/m", "--emit", "openshift="+s.path("cluster"))
	s.exits(exitDone)
	if !strings.Contains(s.out, s.dst.Host()+"/m/openshift/graph-image:latest@") {
		t.Errorf("the image of the graph: %s", s.out)
	}
	if got := s.read("cluster/updateService.yaml"); !strings.Contains(got, "/m/openshift/graph-image") {
		t.Errorf("the update service is\n%s", got)
	}
	if got := s.read("cluster/signature-configmap.yaml"); !strings.Contains(got, "sha256-"+release+"-1: c2lnbmVk") {
		t.Errorf("the signatures are\n%s", got)
	}
}
