package document

import (
	"bytes"
	"os"
	"strings"
	"testing"
)

// everything looks wherever one may look.
func everything(f *testing.F) Options {
	rules, err := ParseFields("f.yaml", []byte("fields:\n- key: image\n- {path: '**', registry: registry, repository: repository, tag: tag, digest: digest}\n- path: a.*[*].b\n"))
	if err != nil {
		f.Fatal(err)
	}
	return Options{Fields: rules, Find: Find{Env: true, Args: true, Annotations: true, ConfigMaps: true}, Annotate: true}
}

// hold checks the laws of every document: the identity gives the input, and a
// rewriting that succeeds names what it should. Its errors have places.
func hold(t *testing.T, in Input, opts Options) {
	d, err := Read(in, opts)
	if err != nil {
		for _, e := range Errors(err) {
			if e.At.File == "" || e.At.Line < 0 {
				t.Errorf("an error without a place: %v", e)
			}
		}
		return
	}
	files, err := d.Rewrite(func(s string) (string, bool) { return s, true })
	if err != nil {
		t.Fatalf("identity: %v", err)
	}
	if len(files) == 1 && in.Data != nil && !in.isArchive() && !bytes.Equal(files[0].Data, in.Data) {
		t.Fatalf("identity: got %q", files[0].Data)
	}
	files, err = d.Rewrite(func(s string) (string, bool) { return "r.example:5000/u/x:1", true })
	if err != nil || len(d.sites) == 0 || d.verbatim {
		return
	}
	if bytes.Equal(files[0].Data, in.Data) && d.Kind != List && !same(d) {
		t.Fatalf("nothing changed in %q", in.Data)
	}
}

// same reports whether a document names nothing but the target.
func same(d *Document) bool {
	for _, s := range d.sites {
		if !sameRef(s.Ref, "r.example:5000/u/x:1") {
			return false
		}
	}
	return true
}

func FuzzYAML(f *testing.F) {
	seed, err := os.ReadFile("testdata/annotate/objects.in.yaml")
	if err != nil {
		f.Fatal(err)
	}
	for _, s := range []string{manifest, policy, policyRules, found1, string(seed), composeFile,
		"apiVersion: v1\nkind: Pod\nspec: {containers: [{image: &a !!str 'x'}, {image: *a}]}\n",
		"apiVersion: v1\nkind: Pod\nspec:\n  containers:\n  - image: |2-\n      x\n  - ? image\n    : y\n"} {
		f.Add(s)
	}
	opts := everything(f)
	f.Fuzz(func(t *testing.T, text string) {
		hold(t, Input{Name: "x.yaml", Kind: Kubernetes, Data: []byte(text)}, opts)
		hold(t, Input{Name: "x.yaml", Data: []byte(text)}, opts)
	})
}

func FuzzJSON(f *testing.F) {
	for _, s := range []string{bundleJSON, `{"a":"b"} [1, null, true]`, "\ufeff{\"apiVersion\": \"v1\",\r\n\"kind\": \"List\", \"items\": []}"} {
		f.Add(s)
	}
	opts := everything(f)
	f.Fuzz(func(t *testing.T, text string) {
		if docs, err := parseJSON([]byte(text)); err == nil {
			for _, n := range docs {
				if n.Start < 0 || n.End > len(text) || n.Start >= n.End {
					t.Fatalf("a value at %d to %d", n.Start, n.End)
				}
			}
		}
		hold(t, Input{Name: "x.json", Data: []byte(text)}, opts)
		if m, err := ParseMapping("m.json", []byte(text)); err == nil {
			for k := range m {
				Through(k, m, m)
			}
		}
	})
}

func FuzzBundle(f *testing.F) {
	f.Add(bundleJSON)
	f.Add(`{"invocationImages":[{"image":"a"}],"name":"a"}`)
	f.Fuzz(func(t *testing.T, text string) {
		hold(t, Input{Name: "bundle.json", Kind: Bundle, Data: []byte(text)}, Options{})
	})
}

func FuzzDockerfile(f *testing.F) {
	f.Add(dockerfileText)
	f.Add("# escape=`\nFROM a `\n AS b\nCOPY --from=b x y\n")
	f.Add("ARG A=$A\nARG B=\"x\" C='\"'\nFROM ${B:-${C}}\nRUN <<-E <<'F'\n\tE\nF\n")
	f.Fuzz(func(t *testing.T, text string) {
		hold(t, Input{Name: "Dockerfile", Kind: Dockerfile, Data: []byte(text)}, Options{})
	})
}

func FuzzFields(f *testing.F) {
	f.Add(policyRules)
	f.Add("fields: [{path: '**', repository: a.b, sha: c}, {path: 'a[\"b.c\"][*].**[0]'}]")
	f.Fuzz(func(t *testing.T, text string) {
		rules, err := ParseFields("f.yaml", []byte(text))
		if err == nil {
			hold(t, Input{Name: "x.yaml", Data: []byte(strings.ReplaceAll(policy, "AAA", hexA))}, Options{Fields: rules})
		}
	})
}

func FuzzArchive(f *testing.F) {
	f.Add(tgz(f, "web", chartFiles))
	f.Add(archiveOf(f, entry{name: "bundle.json", text: bundleJSON}, blobEntry("x"), entry{name: "artifacts/layout/index.json", text: "{}"}))
	f.Fuzz(func(t *testing.T, data []byte) {
		hold(t, Input{Name: "x.tgz", Data: data}, Options{})
		root, err := os.OpenRoot(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		defer root.Close()
		_ = ExtractLayout(t.Context(), bytes.NewReader(data), root, 1<<20)
	})
}
