package imageset_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/entrepot/entrepot/document"
	"github.com/entrepot/entrepot/imageset"
)

func TestParse(t *testing.T) {
	for _, name := range []string{"v2alpha1", "v1alpha2", "delete"} {
		t.Run(name, func(t *testing.T) {
			data, err := os.ReadFile(filepath.Join("testdata", name+".yaml"))
			if err != nil {
				t.Fatal(err)
			}
			if !imageset.Is(data) {
				t.Error("it is not recognised")
			}
			cfg, err := imageset.Parse("isc.yaml", data)
			if err != nil {
				t.Fatal(err)
			}
			got, err := json.MarshalIndent(summary(cfg), "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			want, err := os.ReadFile(filepath.Join("testdata", name+".json"))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(got)+"\n"); diff != "" {
				t.Errorf("want -, got +:\n%s", diff)
			}
		})
	}
}

// summary is a configuration with its patterns and notes as texts.
func summary(c *imageset.Config) any {
	blocked, notes := []string{}, []string{}
	for _, b := range c.Blocked {
		blocked = append(blocked, b.Pattern.String())
	}
	for _, n := range c.Notes() {
		notes = append(notes, n.Error())
	}
	plain := *c
	plain.Blocked = nil
	return struct {
		imageset.Config
		Blocked, Notes []string
	}{plain, blocked, notes}
}

// TestParseJSON holds that an image set may be JSON, as all YAML may.
func TestParseJSON(t *testing.T) {
	data := []byte(`{"kind":"ImageSetConfiguration","apiVersion":"mirror.openshift.io/v2alpha1","mirror":{"additionalImages":[{"name":"alpine:3"}]}}`)
	cfg, err := imageset.Parse("isc.json", data)
	if err != nil {
		t.Fatal(err)
	}
	if !imageset.Is(data) || len(cfg.Additional) != 1 || cfg.Additional[0].Name != "alpine:3" {
		t.Errorf("got %+v", cfg)
	}
}

func TestIs(t *testing.T) {
	for _, test := range []struct {
		text string
		want bool
	}{
		{"apiVersion: mirror.openshift.io/v2alpha1\nkind: ImageSetConfiguration\n", true},
		{"apiVersion: mirror.openshift.io/v9\n", true},
		{"kind: ImageSetConfiguration\n", true},
		{"kind: ImageSetConfiguration\nmirror: [\n", true},
		{"apiVersion: v1\nkind: ConfigMap\ndata:\n  a: 'kind: ImageSetConfiguration'\n", false},
		{"apiVersion: v1\nkind: ConfigMap\ndata:\n  a: |\n    kind: ImageSetConfiguration\n", false},
		{"- ImageSetConfiguration\n", false},
		{"alpine:3\n", false},
		{"", false},
	} {
		if got := imageset.Is([]byte(test.text)); got != test.want {
			t.Errorf("Is(%q) = %v", test.text, got)
		}
	}
}

func TestParseErrors(t *testing.T) {
	files, err := filepath.Glob("testdata/bad/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal("there are no cases", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			_, err = imageset.Parse("isc.yaml", data)
			var got []string
			for _, e := range document.Errors(err) {
				got = append(got, e.Error())
			}
			if diff := cmp.Diff(wanted(string(data)), got); diff != "" {
				t.Errorf("want -, got +:\n%s", diff)
			}
		})
	}
}

// wanted are the errors that the comments of a file tell of.
func wanted(text string) []string {
	var all []string
	for line := range strings.Lines(text) {
		if e, ok := strings.CutPrefix(strings.TrimSpace(line), "#! "); ok {
			all = append(all, "isc.yaml:"+e)
		}
	}
	return all
}

func FuzzParse(f *testing.F) {
	for _, pattern := range []string{"testdata/*.yaml", "testdata/bad/*.yaml"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range files {
			data, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		cfg, err := imageset.Parse("isc.yaml", data)
		if (cfg == nil) != (err != nil) {
			t.Fatalf("Parse = %v, %v", cfg, err)
		}
		if err != nil && len(document.Errors(err)) == 0 {
			t.Fatalf("the error has no parts: %v", err)
		}
		if err == nil && !imageset.Is(data) {
			t.Fatal("it is parsed and not recognised")
		}
	})
}

// TestDeleteOfV1 holds that a deletion may have the other version, as oc-mirror's
// own examples have it.
func TestDeleteOfV1(t *testing.T) {
	cfg, err := imageset.Parse("isc.yaml", []byte("apiVersion: mirror.openshift.io/v1alpha2\nkind: DeleteImageSetConfiguration\ndelete:\n  additionalImages: [{name: a, targetTag: b}]\n"))
	if err != nil {
		t.Fatal(err)
	}
	if notes := cfg.Notes(); cfg.Version != imageset.V2Alpha1 || len(notes) != 1 || !strings.Contains(notes[0].Error(), "isc.yaml:1: apiVersion: ") {
		t.Errorf("version %s, notes %v", cfg.Version, notes)
	}
}

// TestAliases holds that aliases of aliases end.
func TestAliases(t *testing.T) {
	var b strings.Builder
	b.WriteString("apiVersion: mirror.openshift.io/v2alpha1\nkind: ImageSetConfiguration\nmirror:\n  operators:\n")
	item := func(s string) string { return "[" + strings.TrimSuffix(strings.Repeat(s+",", 300), ",") + "]" }
	b.WriteString("  - {catalog: a.io/b:c, packages: &p [&q {name: a, channels: &c [&d {name: x}]}]}\n")
	b.WriteString("  - {catalog: a.io/b:d, packages: &r " + item("{name: a, channels: "+item("*d")+"}") + "}\n")
	b.WriteString("  - &o {catalog: a.io/b:e, packages: *r}\n")
	b.WriteString(strings.Repeat("  - *o\n", 300))
	_, err := imageset.Parse("isc.yaml", []byte(b.String()))
	if err == nil || !strings.Contains(err.Error(), "the aliases expand to too much") {
		t.Errorf("the error is %.300v", err)
	}
}
