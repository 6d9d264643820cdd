package conf

import (
	"bytes"
	"io/fs"
	"slices"
	"testing"
	"testing/fstest"

	"github.com/entrepot/entrepot/internal/golden"
	"github.com/entrepot/entrepot/rules"
)

// fuzzFormat fuzzes the reader of a format with one file called name in a
// directory: for the native reading and for each client that reads the format.
// It begins with the golden cases.
func fuzzFormat(f *testing.F, format, name string) {
	for _, g := range golden.Files() {
		if g.Format != format {
			continue
		}
		for _, c := range readGolden(f, g.Name) {
			for _, text := range c.Config.Files {
				f.Add([]byte(text))
				f.Add([]byte("\ufeff" + text))
				f.Add(bytes.ReplaceAll([]byte(text), []byte("\n"), []byte("\r\n")))
				f.Add([]byte(text[:len(text)/2]))
			}
			for _, text := range c.Config.Env {
				f.Add([]byte(text))
			}
			for _, text := range c.Config.Args {
				f.Add([]byte(text))
			}
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, d := range append([]rules.Dialect{rules.Native()}, dialectsOf(t, format)...) {
			holdInvariants(t, format, name, data, d)
		}
	})
}

func dialectsOf(t testing.TB, format string) []rules.Dialect {
	var ds []rules.Dialect
	for _, client := range Clients(format) {
		d, err := rules.DialectOf(client)
		if err != nil {
			t.Fatal(err)
		}
		ds = append(ds, d)
	}
	return ds
}

// fuzzRefs are planned with whatever was read.
var fuzzRefs = []string{"alpine:3.20", "quay.io/a/b:1", "registry.example.com:5000/a/b@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", "[::1]:5000/a/b"}

// holdInvariants reads data and holds what is true of every configuration.
func holdInvariants(t *testing.T, format, name string, data []byte, d rules.Dialect) {
	src := Source{Format: format, Path: "c", Name: "/c", FS: fstest.MapFS{
		"c":         {Mode: fs.ModeDir | 0o755},
		"c/" + name: {Data: data, Mode: 0o644},
	}}
	cfg, err := Read(src, d)
	if err != nil {
		t.Fatalf("client %q: a text is no reason for an error: %v", d.Client, err)
	}
	lines := bytes.Count(data, []byte("\n")) + 1
	for _, p := range cfg.Problems {
		if p.At.File == "" || p.At.Line > lines || p.Text == "" || p.At.Format != format {
			t.Errorf("client %q: problem %+v has no place in a text of %d lines", d.Client, p, lines)
		}
		if p.Level == rules.Error && p.At.Line == 0 {
			t.Errorf("client %q: error without a line: %v", d.Client, p.Error())
		}
	}
	if cfg.Refused != nil && !slices.Contains(cfg.Problems, *cfg.Refused) {
		t.Errorf("client %q: the reason of the refusal is no problem: %v", d.Client, cfg.Refused)
	}
	set := rules.New(cfg)
	for _, name := range fuzzRefs {
		refs, err := set.Expand(name, d)
		if err != nil {
			continue
		}
		for _, r := range refs {
			plan := set.Plan(r, rules.Pull, d)
			if plan.Err == nil && !plan.Usable() {
				t.Errorf("client %q, %s: neither a place nor an error", d.Client, name)
			}
			for i := range plan.Tries {
				if try := &plan.Tries[i]; try.Unusable == "" && try.URL() == "" {
					t.Errorf("client %q, %s: a try without an address", d.Client, name)
				}
			}
		}
	}
}

func FuzzRegistriesConf(f *testing.F) { fuzzFormat(f, "registries.conf", "registries.conf") }
func FuzzHostsToml(f *testing.F)      { fuzzFormat(f, "hosts.toml", "quay.io/hosts.toml") }
func FuzzCNB(f *testing.F)            { fuzzFormat(f, "cnb", cnbVariable) }

// FuzzTOML holds that the parser ends with a tree or an error that has a place.
func FuzzTOML(f *testing.F) {
	const seed = "a = 1\n[t]\nb.c = [{x = 'y'}, 2.5]\n[[l]]\nd = 2020-01-01\n"
	f.Add([]byte(seed))
	f.Add([]byte(seed[:len(seed)/2]))
	f.Fuzz(func(t *testing.T, data []byte) {
		n, err := parseTOML(data)
		if err == nil {
			print(n)
			return
		}
		se, ok := err.(*syntaxError)
		if !ok {
			t.Fatalf("%v is no *syntaxError", err)
		}
		if lines := bytes.Count(data, []byte("\n")) + 1; se.at.line < 1 || se.at.line > lines+1 || se.at.column < 1 || se.text == "" {
			t.Errorf("error at %+v in a text of %d lines: %v", se.at, lines, err)
		}
	})
}
