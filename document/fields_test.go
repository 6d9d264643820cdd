package document

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func mustFields(t *testing.T, text string) []FieldRule {
	t.Helper()
	rules, err := ParseFields("fields.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return rules
}

// policy is a custom resource with references in many forms.
const policy = `apiVersion: nvidia.com/v1
kind: ClusterPolicy
metadata: {name: p}
spec:
  driver:
    repository: nvcr.io/nvidia   # split in three
    image: driver
    version: "525.60"
  toolkit: {repository: nvcr.io/nvidia/k8s, image: toolkit, version: sha256:AAA}
  agent:
    registry: quay.io
    repository: acme/agent
    tag: v1
    sha: AAA
  plain:
  - whole: quay.io/acme/whole:1
  deep: {er: {image: quay.io/acme/deep:1}}
  enabled: true
`

const policyRules = `fields:
- kind: ClusterPolicy
  apiVersion: nvidia.com/*
  path: spec.*
  registry: registry
  repository: repository
  image: image
  version: version
  tag: tag
  sha: sha
- path: spec["plain"][*].whole
- path: spec.deep.**.image
- {kind: Other, key: enabled}
`

func TestFields(t *testing.T) {
	text := strings.ReplaceAll(policy, "AAA", hexA)
	d := mustRead(t, "p.yaml", text, Options{Fields: mustFields(t, policyRules)})
	want := []string{
		"p.yaml:6 spec.driver: nvcr.io/nvidia/driver:525.60",
		"p.yaml:9 spec.toolkit: nvcr.io/nvidia/k8s/toolkit@sha256:" + hexA,
		"p.yaml:11 spec.agent: quay.io/acme/agent:v1@sha256:" + hexA,
		"p.yaml:16 spec.plain[0].whole: quay.io/acme/whole:1",
		"p.yaml:17 spec.deep.er.image: quay.io/acme/deep:1",
	}
	if diff := cmp.Diff(want, found(d)); diff != "" {
		t.Errorf("images (-want +got):\n%s", diff)
	}
	if len(d.Notes()) != 0 {
		t.Errorf("notes about fields that rules name: %v", d.Notes())
	}
	got := rewritten(t, d, map[string]string{
		"nvcr.io/nvidia/driver:525.60":              "r.example/u/driver-1:525.60",
		"nvcr.io/nvidia/k8s/toolkit@sha256:" + hexA: "r.example/u/toolkit-2@sha256:" + hexA,
		"quay.io/acme/agent:v1@sha256:" + hexA:      "r.example:5000/u/agent-3:v1@sha256:" + hexA,
		"quay.io/acme/deep:1":                       "r.example/u/deep-4:1",
	})
	wanted := strings.NewReplacer(
		"nvcr.io/nvidia   #", "r.example/u   #", "image: driver", "image: driver-1",
		"nvcr.io/nvidia/k8s", "r.example/u", "image: toolkit", "image: toolkit-2",
		"registry: quay.io", "registry: r.example:5000", "acme/agent", "u/agent-3",
		"quay.io/acme/deep:1", "r.example/u/deep-4:1").Replace(text)
	if diff := cmp.Diff(wanted, got); diff != "" {
		t.Errorf("rewritten (-want +got):\n%s", diff)
	}
}

// TestNotesTellWhatIsLeftOut holds that nothing that looks like an image is
// passed over in silence.
func TestNotesTellWhatIsLeftOut(t *testing.T) {
	d := mustRead(t, "p.yaml", strings.ReplaceAll(policy, "AAA", hexA), Options{})
	var notes []string
	for _, n := range d.Notes() {
		notes = append(notes, n.Error())
	}
	want := []string{
		"p.yaml:16: spec.plain[0].whole: quay.io/acme/whole:1 looks like an image and is left out",
		"p.yaml:17: spec.deep.er.image: quay.io/acme/deep:1 looks like an image and is left out",
	}
	if diff := cmp.Diff(want, notes); diff != "" || len(d.Images()) != 0 {
		t.Errorf("notes (-want +got):\n%s", diff)
	}
}

// TestSplitRefused are names that have no room in the fields that there are.
func TestSplitRefused(t *testing.T) {
	const head = "apiVersion: a.example/v1\nkind: X\nspec: "
	rules := mustFields(t, "fields: [{path: spec, registry: registry, repository: repository, image: name, tag: tag, digest: digest}]")
	for name, c := range map[string]struct{ spec, target, want string }{
		"no field for the digest": {"{repository: a/b, tag: x}", "r.example/u/b:x@sha256:" + hexA, "there is no field for the digest"},
		"no field for the tag":    {"{repository: a/b}", "r.example/u/b:x", "there is no field for the tag"},
		"no tag":                  {"{repository: a/b, tag: x}", "r.example/u/b", "it has no tag, and the field of the tag would be empty"},
		"no image":                {"{repository: a/b, tag: x}", "r.example/A", "invalid reference"},
	} {
		t.Run(name, func(t *testing.T) {
			d, err := Read(Input{Name: "x.yaml", Data: []byte(head + c.spec + "\n")}, Options{Fields: rules})
			if err == nil {
				_, err = d.Rewrite(func(string) (string, bool) { return c.target, true })
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %s", err, c.want)
			}
		})
	}
}

// TestSplitNumbers holds that a tag that would read as a number is put in
// quotes, and that one that is a number is refused where readers differ.
func TestSplitNumbers(t *testing.T) {
	const head = "apiVersion: a.example/v1\nkind: X\nspec: {repository: a/b, tag: "
	opts := Options{Fields: mustFields(t, "fields: [{path: spec, repository: repository, tag: tag}]")}
	d := mustRead(t, "x.yaml", head+"v1}\n", opts)
	if got, want := rewritten(t, d, map[string]string{"a/b:v1": "r.example/b:1.10"}), "apiVersion: a.example/v1\nkind: X\nspec: {repository: r.example/b, tag: \"1.10\"}\n"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got := refsOf(mustRead(t, "x.yaml", head+"17}\n", opts)); got[0] != "a/b:17" {
		t.Errorf("got %v", got)
	}
	if _, err := Read(Input{Name: "x.yaml", Data: []byte(head + "1.10}\n")}, opts); err == nil || !strings.Contains(err.Error(), "x.yaml:3: spec.tag: 1.10 is a number, which is not always written in the same way") {
		t.Errorf("a number that is 1.1 to others: %v", err)
	}
}

func TestFieldsRefused(t *testing.T) {
	for text, want := range map[string]string{
		"a: b":                          "fields.yaml: a file of field rules has one list, at the key fields",
		"fields: {}":                    "fields.yaml:1: fields: this is a table and should be a list",
		"fields:\n- {path: a, keys: b}": "fields.yaml:2: fields[0].keys: unknown field",
		"fields:\n- {kind: a}":          "fields.yaml:2: fields[0]: a rule has either a path or a key",
		"fields:\n- {path: a, key: b}":  "fields.yaml:2: fields[0]: a rule has either a path or a key",
		"fields:\n- {path: a, tag: b}":  "a reference in parts needs a repository or an image",
		"fields:\n- {path: a..b}":       "a key is missing",
		"fields:\n- {path: 'a[x]'}":     `"x" is neither * nor the number of an item`,
		"fields:\n- {path: 'a['}":       "a bracket is not closed",
		"fields:\n- {path: 'a[\"b]'}":   "a bracket is not closed",
		"fields:\n- {path: a.}":         "it ends with a dot",
		"fields:\n- {path: 1}":          "this is a number and should be a string",
		"fields:\n- path: a\nmore: b":   "fields.yaml:3: more: unknown field",
		"fields: [":                     "fields.yaml:",
	} {
		if _, err := ParseFields("fields.yaml", []byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", text, err, want)
		}
	}
}

const found1 = `apiVersion: apps/v1
kind: Deployment
metadata: {name: a, annotations: {web: "nginx:1", note: "quay.io/team/x"}}
spec:
  template:
    metadata: {annotations: {side: quay.io/team/side:2}}
    spec:
      containers:
      - image: nginx:1
        env:
        - {name: RELATED_IMAGE, value: "quay.io/team/op@sha256:AAA"}
        - {name: WEB, value: docker.io/library/nginx:1}
        - {name: WORD, value: debug}
        - {name: ADDRESS, value: localhost:8080}
        - {name: LATER, value: busybox}
        args: ["--reloader=quay.io/team/reload:1", --level=debug, quay.io/team/y:1, "see quay.io/team/z:1"]
---
apiVersion: v1
kind: ConfigMap
data:
  image: |
    quay.io/team/conf:1
  text: "image: quay.io/team/other:1"
`

func TestFind(t *testing.T) {
	text := strings.ReplaceAll(found1, "AAA", hexA)
	for list, want := range map[string][]string{
		"":            {"nginx:1"},
		"env":         {"nginx:1", "quay.io/team/op@sha256:" + hexA, "docker.io/library/nginx:1"},
		"args":        {"nginx:1", "quay.io/team/reload:1", "quay.io/team/y:1"},
		"annotations": {"nginx:1", "quay.io/team/side:2", "nginx:1"},
		"configmaps":  {"nginx:1", "quay.io/team/conf:1"},
	} {
		find, err := ParseFind(list)
		if err != nil {
			t.Fatal(err)
		}
		d := mustRead(t, "x.yaml", text, Options{Find: find})
		if diff := cmp.Diff(want, refsOf(d)); diff != "" {
			t.Errorf("--find %q (-want +got):\n%s", list, diff)
		}
	}
	if _, err := ParseFind("env,arg"); err == nil {
		t.Error("--find env,arg: no error")
	}
	find, err := ParseFind("env,args,annotations,configmaps")
	if err != nil {
		t.Fatal(err)
	}
	d := mustRead(t, "x.yaml", text, Options{Find: find})
	got := rewritten(t, d, map[string]string{"quay.io/team/reload:1": "r.example/reload:1", "quay.io/team/conf:1": "r.example/conf:1", "quay.io/team/side:2": "[::1]:5000/side:2"})
	want := strings.NewReplacer("quay.io/team/reload:1", "r.example/reload:1", "quay.io/team/conf:1", "r.example/conf:1", "quay.io/team/side:2", `"[::1]:5000/side:2"`).Replace(text)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("rewritten (-want +got):\n%s", diff)
	}
}

// TestFindKnowsTheWholeSet holds that a short name counts where another input
// names the same image.
func TestFindKnowsTheWholeSet(t *testing.T) {
	find := Options{Find: Find{Env: true}}
	ins := []Input{
		{Name: "a.yaml", Data: []byte(strings.ReplaceAll(found1, "AAA", hexA))},
		{Name: "b.yaml", Data: []byte("apiVersion: v1\nkind: Pod\nspec: {containers: [{image: busybox}]}\n")},
		{Name: "c.yaml", Data: []byte("a: b\n"), Found: true},
		{Name: "relocation-mapping.json", Data: []byte(`{"a": "b.example/c"}`), Found: true},
	}
	docs, skipped, err := ReadAll(ins, find)
	if err != nil || len(docs) != 2 || len(skipped) != 2 {
		t.Fatalf("got %d documents, %v, %v", len(docs), skipped, err)
	}
	if refs := refsOf(docs[0]); refs[len(refs)-1] != "busybox" {
		t.Errorf("got %v, want busybox at the end", refs)
	}
}
