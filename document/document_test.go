package document

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// mustRead reads a text that is right.
func mustRead(t *testing.T, name, text string, opts Options) *Document {
	t.Helper()
	doc, err := Read(Input{Name: name, Path: name, Data: []byte(text)}, opts)
	if err != nil {
		t.Fatalf("read %s: %v", name, err)
	}
	return doc
}

// found lists the images of a document as "line field: reference".
func found(d *Document) []string {
	var out []string
	for _, i := range d.Images() {
		out = append(out, i.At.String()+" "+i.Field+": "+i.Ref)
	}
	return out
}

// rewritten returns the one file of a document with images mapped by a table.
func rewritten(t *testing.T, d *Document, to map[string]string) string {
	t.Helper()
	files, err := d.Rewrite(func(s string) (string, bool) { r, ok := to[s]; return r, ok })
	if err != nil {
		t.Fatal(err)
	}
	if len(files) != 1 {
		t.Fatalf("got %d files, want 1", len(files))
	}
	return string(files[0].Data)
}

const manifest = `# the whole thing
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  template:
    spec:
      initContainers:
      - {name: setup, image: busybox:1.36, command: [sh]}   # flow
      containers:
        - name: web
          image: "nginx:1.25"  # double
        - name: side
          image: 'istio/proxyv2:1.2'
        - name: folded
          image: >-
            quay.io/x/y@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
        - name: literal
          image: |-
            ghcr.io/a/b:c
      volumes:
      - name: v
        image:
          reference: quay.io/vol/ume:1
---
{"apiVersion":"v1","kind":"List","items":[{"apiVersion":"batch/v1","kind":"CronJob","spec":{"jobTemplate":{"spec":{"template":{"spec":{"containers":[{"image":"busybox:1.36"}]}}}}}}]}
`

func TestKubernetesFields(t *testing.T) {
	d := mustRead(t, "m.yaml", manifest, Options{})
	want := []string{
		"m.yaml:9 spec.template.spec.initContainers[0].image: busybox:1.36",
		"m.yaml:12 spec.template.spec.containers[0].image: nginx:1.25",
		"m.yaml:14 spec.template.spec.containers[1].image: istio/proxyv2:1.2",
		"m.yaml:17 spec.template.spec.containers[2].image: quay.io/x/y@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
		"m.yaml:20 spec.template.spec.containers[3].image: ghcr.io/a/b:c",
		"m.yaml:24 spec.template.spec.volumes[0].image.reference: quay.io/vol/ume:1",
		"m.yaml:26 items[0].spec.jobTemplate.spec.template.spec.containers[0].image: busybox:1.36",
	}
	if diff := cmp.Diff(want, found(d)); diff != "" {
		t.Errorf("images (-want +got):\n%s", diff)
	}
}

// TestRewriteTouchesTheImagesAlone replaces the images as text and expects the
// same.
func TestRewriteTouchesTheImagesAlone(t *testing.T) {
	to := map[string]string{
		"busybox:1.36":      "r.example/u/busybox-1:1.36",
		"nginx:1.25":        "r.example/u/nginx-2:1.25",
		"istio/proxyv2:1.2": "r.example/u/proxy-3:1.2",
		"quay.io/x/y@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef": "r.example/u/y-4@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
		"ghcr.io/a/b:c":     "r.example/u/b-5:c",
		"quay.io/vol/ume:1": "[::1]:5000/u/ume:1",
	}
	want := manifest
	for from, target := range to {
		if strings.HasPrefix(target, "[") {
			target = `"` + target + `"` // which a plain scalar cannot start with
		}
		want = strings.ReplaceAll(want, from, target)
	}
	for name, text := range map[string][2]string{
		"plain": {manifest, want},
		"CRLF":  {strings.ReplaceAll(manifest, "\n", "\r\n"), strings.ReplaceAll(want, "\n", "\r\n")},
		"BOM":   {"\ufeff" + manifest, "\ufeff" + want},
	} {
		t.Run(name, func(t *testing.T) {
			d := mustRead(t, "m.yaml", text[0], Options{})
			if diff := cmp.Diff(text[1], rewritten(t, d, to)); diff != "" {
				t.Errorf("rewritten (-want +got):\n%s", diff)
			}
			if got := rewritten(t, d, nil); got != text[0] {
				t.Error("a rewriting that changes nothing changes the text")
			}
		})
	}
}

func TestAnchors(t *testing.T) {
	const text = `apiVersion: v1
kind: Pod
spec:
  initContainers:
  - &c
    name: a
    image: &img nginx:1   # shared
  containers:
  - name: b
    image: *img
  - <<: *c
    name: c
`
	d := mustRead(t, "p.yaml", text, Options{})
	want := []string{
		"p.yaml:7 spec.initContainers[0].image: nginx:1",
		"p.yaml:7 spec.containers[0].image: nginx:1",
		"p.yaml:7 spec.containers[1].image: nginx:1",
	}
	if diff := cmp.Diff(want, found(d)); diff != "" {
		t.Errorf("images (-want +got):\n%s", diff)
	}
	if got, want := rewritten(t, d, map[string]string{"nginx:1": "r/x/nginx:1"}), strings.Replace(text, "nginx:1", "r/x/nginx:1", 1); got != want {
		t.Errorf("rewritten: got\n%s\nwant\n%s", got, want)
	}
	n := 0
	_, err := d.Rewrite(func(string) (string, bool) { n++; return "r.example/x:" + strings.Repeat("1", n), true })
	if err == nil || !strings.Contains(err.Error(), "p.yaml:7: spec.containers[0].image: the same text is also spec.initContainers[0].image") {
		t.Errorf("two names for one anchor: %v", err)
	}
}

// TestRefused are texts that are no documents, each with what is said about it.
func TestRefused(t *testing.T) {
	pod := "apiVersion: v1\nkind: Pod\nspec:\n  containers:\n  - "
	for name, c := range map[string]struct{ text, want, hint string }{
		"unknown":        {"a: b\n", "x.yaml: looked for ", "say what it is with --kind"},
		"template value": {pod + "image: {{ .Values.image }}\n", "x.yaml:5: this is a template", renderFirst},
		"template line":  {"{{- if .Values.x }}\napiVersion: v1\nkind: Pod\n{{- end }}\n", "x.yaml:1: ", renderFirst},
		"quoted template": {pod + `image: "{{ .Values.image }}:1"` + "\n",
			`x.yaml:5: spec.containers[0].image: "{{ .Values.image }}:1" is a template`, renderFirst},
		"key twice":     {pod + "image: a\n    image: b\n", `x.yaml:6: key "image" is here twice, first in line 5`, ""},
		"no reference":  {pod + "image: 'a b'\n", "x.yaml:5: spec.containers[0].image: this is no image: invalid reference", ""},
		"number":        {pod + "image: 17\n", "x.yaml:5: spec.containers[0].image: this is a number", ""},
		"no list":       {"apiVersion: v1\nkind: Pod\nspec: {containers: a}\n", "x.yaml:3: spec.containers: this is a string and should be a list", ""},
		"cycle":         {"apiVersion: v1\nkind: Pod\nspec: &a {b: *a}\n", `x.yaml:3: `, ""},
		"no object":     {"apiVersion: v1\nkind: Pod\n---\na: b\n", "x.yaml:4: this is no Kubernetes object", ""},
		"bad character": {"apiVersion: v1\nkind: \"P\x00od\"\n", "x.yaml:2: the character U+0000 is not allowed", ""},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Read(Input{Name: "x.yaml", Data: []byte(c.text)}, Options{})
			all := Errors(err)
			if len(all) != 1 {
				t.Fatalf("got %v, want one error", err)
			}
			if !strings.HasPrefix(all[0].Error(), c.want) {
				t.Errorf("got  %v\nwant %s…", all[0], c.want)
			}
			if c.hint != "" && all[0].Hint != c.hint {
				t.Errorf("hint: got %q, want %q", all[0].Hint, c.hint)
			}
		})
	}
}

func TestAliasesThatMultiply(t *testing.T) {
	var b strings.Builder
	b.WriteString("apiVersion: v1\nkind: Pod\na0: &a0 [x, x, x, x, x, x, x, x, x, x]\n")
	for i := range 9 {
		n := string(rune('1' + i))
		b.WriteString("a" + n + ": &a" + n + " [" + strings.Repeat("*a"+string(rune('0'+i))+", ", 9) + "x]\n")
	}
	_, err := Read(Input{Name: "x.yaml", Data: []byte(b.String())}, Options{})
	if err == nil || !strings.Contains(err.Error(), "the aliases expand to too much") {
		t.Errorf("got %v", err)
	}
}

func TestPlainSafe(t *testing.T) {
	for s, want := range map[string]bool{
		"nginx":                  true,
		"r.example:5000/a/b:1.2": true,
		"1.10":                   false,
		"1e3":                    false,
		"12:30:00":               false,
		"0x1f":                   false,
		"2024-01-02":             false,
		"yes":                    false,
		"Off":                    false,
		"null":                   false,
		"~":                      false,
		"":                       false,
		"[::1]:5000/x":           false,
		"a: b":                   false,
		"a #b":                   false,
		"a:":                     false,
		"v1.10":                  true,
		"12ab.example/x":         true,
	} {
		if got := plainSafe(s, false); got != want {
			t.Errorf("plainSafe(%q) = %v, want %v", s, got, want)
		}
	}
	if plainSafe("a,b", true) || !plainSafe("a,b", false) {
		t.Error("a comma separates in flow style alone")
	}
}
