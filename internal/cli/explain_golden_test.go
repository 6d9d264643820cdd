package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/entrepot/entrepot/internal/golden"
)

// moduleRoot is where the golden cases are looked for.
var moduleRoot = filepath.Join("..", "..")

// TestExplainGolden runs every case through the command: its files in a
// directory, the answer as JSON. internal/e2e does it with the real binary.
func TestExplainGolden(t *testing.T) {
	for _, f := range golden.Files() {
		t.Run(f.Name, func(t *testing.T) {
			for _, c := range readCases(t, f) {
				t.Run(c.Name, func(t *testing.T) {
					if why := golden.Differs()[c.Name]; why != "" {
						t.Skip(why)
					}
					code, out := runCase(t, &c, c.Args(f, writeCase(t, &c))...)
					for _, diff := range c.Compare(code, out) {
						t.Errorf("%s\n%s", c.Why, diff)
					}
				})
			}
		})
	}
}

// TestCheckGolden holds that check names what a client passes over in silence,
// with its line and a hint.
func TestCheckGolden(t *testing.T) {
	for _, f := range golden.Files() {
		for _, c := range readCases(t, f) {
			if !c.Silent() || c.Config.Env != nil || c.Name == "uppercase-host-is-another-directory" {
				continue // the last is right as a file: what surprises is in the reference
			}
			t.Run(f.Name+"/"+c.Name, func(t *testing.T) {
				_, out := runCase(t, &c, "check", f.Format+"="+writeCase(t, &c), "--json")
				for line := range bytes.Lines(out) {
					var p problemJSON
					if err := json.Unmarshal(line, &p); err != nil {
						t.Fatalf("%v: %s", err, line)
					}
					if strings.Contains(p.At, ":") && p.Hint != "" {
						return
					}
				}
				t.Errorf("%s\nno problem with a line and a hint: %s", c.Why, out)
			})
		}
	}
}

func readCases(t *testing.T, f golden.File) []golden.Case {
	t.Helper()
	cases, err := golden.Read(moduleRoot, f.Name)
	if err != nil {
		t.Fatal(err)
	}
	return cases
}

func writeCase(t *testing.T, c *golden.Case) string {
	t.Helper()
	path, err := c.Write(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// runCase runs the command in the environment of a case, and returns its exit
// code and what it prints.
func runCase(t *testing.T, c *golden.Case, args ...string) (int, []byte) {
	t.Helper()
	var out, errs bytes.Buffer
	code := Main(context.Background(), Env{
		Args: args, Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs,
		Getenv: func(name string) string { return c.Config.Env[name] },
	})
	if code == exitUsage {
		t.Fatalf("%v: %s", args, &errs)
	}
	return code, out.Bytes()
}

// runJSON runs the command in an empty environment, and returns its exit code
// and the objects that it prints.
func runJSON(t *testing.T, args ...string) (int, []map[string]any) {
	t.Helper()
	code, out := runCase(t, &golden.Case{}, args...)
	var lines []map[string]any
	for line := range bytes.Lines(out) {
		var l map[string]any
		if err := json.Unmarshal(line, &l); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		lines = append(lines, l)
	}
	return code, lines
}
