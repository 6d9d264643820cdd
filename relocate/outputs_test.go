package relocate

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/entrepot/entrepot/document"
	"github.com/entrepot/entrepot/ref"
	"github.com/entrepot/entrepot/rules/conf"
)

// set returns images at their targets. Digests are those of the references,
// digestB for others.
func set(t *testing.T, scheme string, written ...string) Set {
	t.Helper()
	n := naming(t, scheme, "r.io/m")
	pairs, err := Pairs(mentions(written...), n)
	if err != nil {
		t.Fatal(err)
	}
	s := Set{Naming: n}
	for _, p := range pairs {
		placed := Placed{Pair: p, Digest: p.Target.Digest}
		if placed.Digest == "" {
			placed.Digest = digestB
		}
		s.Images = append(s.Images, placed)
	}
	return s
}

// emitted returns the one file of a format.
func emitted(t *testing.T, s Set, format string) string {
	t.Helper()
	files, _, err := Emit(s, format)
	if err != nil {
		t.Fatalf("%s: %v", format, err)
	}
	if len(files) != 1 {
		t.Fatalf("%s: got %d files, want 1", format, len(files))
	}
	return string(files[0].Data)
}

var spelled = []string{"alpine:3", "docker.io/library/alpine:3", "busybox", "quay.io/a/b@" + digestA, "quay.io/a/b:1@" + digestA}

func TestEmitGolden(t *testing.T) {
	s := set(t, "host-path", spelled...)
	keep := "d-" + strings.Repeat("a", 32)
	for format, want := range map[string]string{
		FormatMapping: `{
  "alpine:3": "r.io/m/docker.io/library/alpine:3",
  "busybox": "r.io/m/docker.io/library/busybox",
  "docker.io/library/alpine:3": "r.io/m/docker.io/library/alpine:3",
  "docker.io/library/busybox:latest": "r.io/m/docker.io/library/busybox:latest",
  "quay.io/a/b:1@` + digestA + `": "r.io/m/quay.io/a/b:1@` + digestA + `",
  "quay.io/a/b@` + digestA + `": "r.io/m/quay.io/a/b@` + digestA + `"
}
`,
		FormatMappingText: `docker.io/library/alpine:3=r.io/m/docker.io/library/alpine:3
docker.io/library/busybox:latest=r.io/m/docker.io/library/busybox:latest
quay.io/a/b:1@` + digestA + `=r.io/m/quay.io/a/b:1
quay.io/a/b@` + digestA + `=r.io/m/quay.io/a/b:` + keep + `
`,
		FormatKustomize: `apiVersion: kustomize.config.k8s.io/v1alpha1
kind: Component
images:
- name: "alpine"
  newName: "r.io/m/docker.io/library/alpine"
- name: "busybox"
  newName: "r.io/m/docker.io/library/busybox"
- name: "docker.io/library/alpine"
  newName: "r.io/m/docker.io/library/alpine"
- name: "quay.io/a/b"
  newName: "r.io/m/quay.io/a/b"
`,
		FormatImagesLock: `apiVersion: imgpkg.carvel.dev/v1alpha1
kind: ImagesLock
images:
- image: "r.io/m/docker.io/library/alpine@` + digestB + `"
  annotations:
    kbld.carvel.dev/id: "docker.io/library/alpine:3"
- image: "r.io/m/docker.io/library/busybox@` + digestB + `"
  annotations:
    kbld.carvel.dev/id: "docker.io/library/busybox:latest"
- image: "r.io/m/quay.io/a/b@` + digestA + `"
  annotations:
    kbld.carvel.dev/id: "quay.io/a/b:1@` + digestA + `"
- image: "r.io/m/quay.io/a/b@` + digestA + `"
  annotations:
    kbld.carvel.dev/id: "quay.io/a/b@` + digestA + `"
`,
		"registries.conf": `[[registry]]
prefix = "docker.io"
location = "docker.io"
[[registry.mirror]]
location = "r.io/m/docker.io"

[[registry]]
prefix = "quay.io"
location = "quay.io"
[[registry.mirror]]
location = "r.io/m/quay.io"
`,
	} {
		if diff := cmp.Diff(want, emitted(t, s, format)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", format, diff)
		}
	}
}

func TestEmitBundleLock(t *testing.T) {
	want := "apiVersion: imgpkg.carvel.dev/v1alpha1\nkind: BundleLock\nbundle:\n  image: \"r.io/m/docker.io/library/alpine@" + digestB + "\"\n  tag: \"3\"\n"
	if diff := cmp.Diff(want, emitted(t, set(t, "host-path", "alpine:3"), FormatBundleLock)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if _, _, err := Emit(set(t, "", "alpine:3", "busybox:1"), FormatBundleLock); !isInexpressible(err, "these are 2") {
		t.Errorf("two images: got %v", err)
	}
}

func isInexpressible(err error, text string) bool {
	_, ok := errors.AsType[*InexpressibleError](err)
	return ok && strings.Contains(err.Error(), text)
}

// TestEmitFlattened: a rule for each repository, and no format that has none.
func TestEmitFlattened(t *testing.T) {
	s := set(t, "", "alpine:3", "quay.io/a/b:1")
	got := emitted(t, s, "registries.conf")
	for _, want := range []string{
		"prefix = \"docker.io/library/alpine\"", "location = \"r.io/m/library-alpine-" + md5Hex("docker.io/library/alpine") + "\"", "prefix = \"quay.io/a/b\"",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %s in:\n%s", want, got)
		}
	}
	_, _, err := Emit(s, "hosts.toml")
	if e, ok := errors.AsType[*InexpressibleError](err); !ok || !strings.Contains(e.Hint, "--naming host-path") {
		t.Errorf("hosts.toml: got %v, want a refusal with a hint", err)
	}
	files, _, err := Emit(set(t, "host-path", "alpine:3", "quay.io/a/b:1"), "hosts.toml")
	if err != nil || len(files) != 2 || files[0].Name != "docker.io/hosts.toml" || !strings.Contains(string(files[0].Data), "https://r.io/v2/m/docker.io") {
		t.Errorf("hosts.toml with host-path: got %s, %v", files, err)
	}
}

// TestEmitApart: a catalog that is another image at the target does not keep
// the rest of its set from being found.
func TestEmitApart(t *testing.T) {
	s := set(t, "host-path", "quay.io/a:1", "quay.io/index:v4=mine/index:v5", "quay.io/filtered@"+digestA, "quay.io/whole@"+digestB)
	for i := range s.Images {
		if s.Images[i].Source.Path != "a" {
			s.Images[i].Role = Catalog
		}
		s.Images[i].Digest = digestB
	}
	for _, format := range []string{"registries.conf", "hosts.toml", "k3s"} {
		files, warnings, err := Emit(s, format)
		if err != nil || len(files) != 1 {
			t.Fatalf("%s: got %v, %v", format, files, err)
		}
		if len(warnings) != 2 || !strings.Contains(warnings[0].Text, "quay.io/filtered@") || !strings.Contains(warnings[1].Text, "quay.io/index:v4 is not found") {
			t.Errorf("%s: warnings: %v", format, warnings)
		}
	}
	// An update graph is made for the set, and nobody looks for it anywhere else.
	graph := set(t, "", "quay.io/a:1", "localhost/graph:1")
	graph.Images[0].Role = UpdateGraph
	files, warnings, err := Emit(graph, "registries.conf")
	if err != nil || len(warnings) != 0 || strings.Contains(string(files[0].Data), "localhost") {
		t.Errorf("with a graph: got %s, %v, %v", files, warnings, err)
	}
	// hosts.toml has no place for one repository of a registry.
	elsewhere := set(t, "host-path", "quay.io/a:1", "quay.io/index:v4=mine/index:v4")
	elsewhere.Images[1].Role = Catalog
	for format, want := range map[string]int{"hosts.toml": 1, "registries.conf": 0} {
		if _, warnings, err := Emit(elsewhere, format); err != nil || len(warnings) != want {
			t.Errorf("%s: got %v, %v", format, warnings, err)
		}
	}
	s.Images[1].Role = s.Images[1].Role.And(Additional)
	s.Images[2].Role = s.Images[2].Role.And(Additional)
	if _, _, err := Emit(s, "registries.conf"); !isInexpressible(err, "quay.io/index:v4 gets another tag") {
		t.Errorf("an image of its own: got %v", err)
	}
}

// TestEmitOtherForms: k3s renames repositories below a host, and pack has one
// place for a registry and no other after it.
func TestEmitOtherForms(t *testing.T) {
	got := emitted(t, set(t, "", "alpine:3", "busybox:1", "quay.io/a/b@"+digestA), "k3s")
	for _, want := range []string{
		`"^library/alpine$": "m/library-alpine-` + md5Hex("docker.io/library/alpine") + `"`,
		`"^library/busybox$": "m/library-busybox-` + md5Hex("docker.io/library/busybox") + `"`,
		`"^a/b$": "m/a-b-` + md5Hex("quay.io/a/b") + `"`,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %s in:\n%s", want, got)
		}
	}
	if got := emitted(t, set(t, "host-path", "alpine:3"), "pack"); !strings.Contains(got, `"index.docker.io" = "r.io/m/docker.io"`) {
		t.Errorf("pack gets\n%s", got)
	}
}

// TestEmitSamePath: two hosts below one path would find each other's images.
func TestEmitSamePath(t *testing.T) {
	one := emitted(t, set(t, "path", "alpine:3", "a/b:1"), "registries.conf")
	if !strings.Contains(one, "prefix = \"docker.io\"\n") {
		t.Errorf("one host gets no rule of its own:\n%s", one)
	}
	two := emitted(t, set(t, "path", "alpine:3", "quay.io/a/b:1"), "registries.conf")
	if strings.Contains(two, "prefix = \"docker.io\"\n") || !strings.Contains(two, "prefix = \"quay.io/a/b\"\n") {
		t.Errorf("two hosts get more than their repositories:\n%s", two)
	}
}

func TestEmitRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		written []string
		format  string
		want    string
	}{
		"another tag":          {[]string{"a:1=x:2"}, "registries.conf", "docker.io/library/a:1 gets another tag, 2"},
		"two places":           {[]string{"a:1=x:1", "a:2=y:2"}, "registries.conf", "docker.io/library/a goes to two places"},
		"two targets":          {[]string{"a:1=x:1", "a:1=y:1"}, FormatMapping, "goes to two places"},
		"kustomize tags":       {[]string{"a:1=x:1", "a:2=y:2"}, FormatKustomize, "it has one target for all tags of a"},
		"kustomize other tags": {[]string{"a:1=x:9", "a:2=x:2"}, FormatKustomize, "it has one target for all tags of a"},
	} {
		if _, _, err := Emit(set(t, "", c.written...), c.format); !isInexpressible(err, c.want) {
			t.Errorf("%s: got %v, want …%s…", name, err, c.want)
		}
	}
	s := set(t, "", "a:1")
	s.Images[0].Digest = ""
	if _, _, err := Emit(s, FormatImagesLock); !errors.Is(err, errUnknownDigest) {
		t.Errorf("a lock without digests: %v", err)
	}
	if _, _, err := Emit(s, "nothing"); err == nil {
		t.Error("a format that does not exist is written")
	}
}

func TestEmitPartial(t *testing.T) {
	s := set(t, "host-path", "alpine:3")
	s.Missing = 2
	for _, format := range []string{FormatMappingText, FormatKustomize, FormatImagesLock, "registries.conf", "hosts.toml"} {
		if got := emitted(t, s, format); !strings.HasPrefix(got, "# partial: 2 of 3 images are missing\n") {
			t.Errorf("%s does not say that it is partial:\n%s", format, got)
		}
	}
	got, err := document.ParseMapping("m", []byte(emitted(t, s, FormatMapping)))
	if err != nil || got["partial.entrepot.invalid/images-missing:2-of-3"] == "" {
		t.Errorf("the mapping does not say that it is partial: %v, %v", got, err)
	}
}

// TestMappingTextIsAList reads the lines as an input and expects the same
// targets.
func TestMappingTextIsAList(t *testing.T) {
	s := set(t, "", spelled...)
	d, err := document.Read(document.Input{Name: "mapping.txt", Data: []byte(emitted(t, s, FormatMappingText))}, document.Options{})
	if err != nil {
		t.Fatal(err)
	}
	var all []Mention
	for _, i := range d.Images() {
		all = append(all, Mention{Written: i.Ref, Target: i.Target})
	}
	again, err := Pairs(all, naming(t, "host-path", "other.io"))
	if err != nil {
		t.Fatal(err)
	}
	for i, p := range again {
		if p.Target != s.Images[i].Target || p.Source != s.Images[i].Source {
			t.Errorf("got %v > %v, want %v > %v", p.Source, p.Target, s.Images[i].Source, s.Images[i].Target)
		}
	}
}

// TestCheckMisses gives the check configuration that is wrong.
func TestCheckMisses(t *testing.T) {
	s := set(t, "", "alpine:3", "quay.io/a/b:1")
	files, _, err := Emit(s, "registries.conf")
	if err != nil {
		t.Fatal(err)
	}
	for old, by := range map[string]string{
		"r.io/m/a-b-":         "r.io/m/b-a-",
		"prefix = \"quay.io/": "prefix = \"ghcr.io/",
		"[[registry.mirror]]": "[[registry.mirror]]\npull-from-mirror = \"digest-only\"",
	} {
		wrong := []conf.File{{Name: files[0].Name, Data: []byte(strings.ReplaceAll(string(files[0].Data), old, by))}}
		if _, ok := errors.AsType[*MissedError](s.Check(wrong, "registries.conf")); !ok {
			t.Errorf("%s for %s is not noticed", by, old)
		}
	}
}

// TestThroughEarlierMappings relocates what was relocated before: it is read
// where it is now, named as it was, and found by its first name.
func TestThroughEarlierMappings(t *testing.T) {
	n := naming(t, "host-path", "c.io")
	pairs, err := Pairs([]Mention{{Written: "istio/proxyv2:1.2", From: "b.io/x/proxyv2:1.2"}, {Written: "quay.io/a@" + digestA, From: "b.io/all@" + digestA}}, n)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"b.io/x/proxyv2:1.2 > c.io/docker.io/istio/proxyv2:1.2 (istio/proxyv2:1.2)",
		"b.io/all@" + digestA + " > c.io/quay.io/a:d-" + strings.Repeat("a", 32) + "@" + digestA + " (quay.io/a@" + digestA + ")",
	}
	if diff := cmp.Diff(want, show(pairs)); diff != "" {
		t.Errorf("pairs (-want +got):\n%s", diff)
	}
	var m map[string]string
	s := Set{Naming: n, Images: []Placed{{Pair: pairs[0]}, {Pair: pairs[1]}}}
	if err := json.Unmarshal([]byte(emitted(t, s, FormatMapping)), &m); err != nil {
		t.Fatal(err)
	}
	if got := m["istio/proxyv2:1.2"]; got != "c.io/docker.io/istio/proxyv2:1.2" {
		t.Errorf("the mapping has %s", got)
	}
	if pairs[0].Name() != (ref.Ref{Name: ref.Name{Host: "docker.io", Path: "istio/proxyv2"}, Tag: "1.2"}) {
		t.Errorf("the name is %v", pairs[0].Name())
	}
	if _, err := Pairs([]Mention{{Written: "a@" + digestA, From: "b.io/a@" + digestB}}, n); err == nil {
		t.Error("another digest on the way is not noticed")
	}
}
