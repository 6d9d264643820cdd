package conf

import (
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/entrepot/entrepot/ref"
	"github.com/entrepot/entrepot/rules"
)

// sourceOf returns files below /c as a source. The names are paths below it.
func sourceOf(format string, files map[string]string) Source {
	fsys := fstest.MapFS{"c": {Mode: fs.ModeDir | 0o755}}
	for name, text := range files {
		fsys["c/"+name] = &fstest.MapFile{Data: []byte(text), Mode: 0o644}
	}
	return Source{Format: format, FS: fsys, Path: "c", Name: "/c"}
}

// dialectOf returns a client's dialect, the native one for "".
func dialectOf(t testing.TB, client string) rules.Dialect {
	t.Helper()
	if client == "" {
		return rules.Native()
	}
	d, err := rules.DialectOf(client)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func readOf(t testing.TB, src Source, client string) rules.Config {
	t.Helper()
	cfg, err := Read(src, dialectOf(t, client))
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// problems returns the problems of a configuration, one a line: the level, the
// place, the text and, in parentheses, the hint.
func problems(cfg rules.Config) string {
	var b strings.Builder
	for _, p := range cfg.Problems {
		b.WriteString(p.Level.String() + " " + p.Error())
		if p.Hint != "" {
			b.WriteString(" (" + p.Hint + ")")
		}
		b.WriteString("\n")
	}
	return b.String()
}

// urls returns what a plan tries, one a line, and its error.
func urls(t testing.TB, cfg rules.Config, name, client string) string {
	t.Helper()
	r, err := ref.Parse(name)
	if err != nil {
		t.Fatal(err)
	}
	plan := rules.New(cfg).Plan(r, rules.Pull, dialectOf(t, client))
	var b strings.Builder
	for i := range plan.Tries {
		try := &plan.Tries[i]
		b.WriteString(try.URL())
		if try.Insecure() {
			b.WriteString(" insecure")
		}
		if try.Scheme == rules.HTTPSThenHTTP {
			b.WriteString(" then http")
		}
		if try.Blocked {
			b.WriteString(" blocked")
		}
		b.WriteString("\n")
	}
	if plan.Err != nil {
		b.WriteString("error: " + plan.Err.Error() + "\n")
	}
	return b.String()
}
