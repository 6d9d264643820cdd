package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/entrepot/entrepot/rules/conf"
)

// goldenFormats are the files of golden cases, with the format and the client
// that they are for.
var goldenFormats = []struct{ file, format, client string }{
	{"registries.conf", "registries.conf", "podman"},
	{"registries.conf-shortnames", "registries.conf", "podman"},
	{"hosts.toml", "hosts.toml", "containerd"},
	{"cnb-registry-mirrors", "cnb", "lifecycle"},
	{"pack", "pack", "pack"},
	{"daemon.json", "daemon.json", "docker"},
	{"buildkitd.toml", "buildkitd.toml", "buildkit"},
	{"containerd-cri", "containerd-cri", "containerd-cri"},
	{"k3s-registries.yaml", "k3s", "k3s"},
	{"openshift-mirrorsets", "openshift", "openshift"},
	{"talos", "talos", "talos"},
	{"kaniko", "kaniko", "kaniko"},
	{"regclient", "regclient", "regclient"},
}

// differs are cases that the command answers differently, on purpose.
//
//	:: name → why
var differs = map[string]string{
	"no-search-registries": "an empty registries.conf and a short name are Docker Hub's in empty-config-passes-through; one of the two can hold",
}

type goldenCase struct {
	Name, Why string
	Tags      []string
	Config    struct {
		Files                        map[string]string
		Env                          map[string]string
		Args                         []string
		Layout, ImageStore, PullMode string
	}
	Reference  string
	Normalized string
	Matched    *string
	Want       []map[string]any
	Skipped    []map[string]any
	WantError  string
}

// TestExplainGolden runs every case through the command: its files in a
// directory, the answer as JSON.
func TestExplainGolden(t *testing.T) {
	for _, g := range goldenFormats {
		t.Run(g.file, func(t *testing.T) {
			if !slices.Contains(conf.Formats(), g.format) {
				t.Skipf("format %s has no reader yet", g.format)
			}
			for _, c := range readGolden(t, g.file) {
				t.Run(c.Name, func(t *testing.T) {
					if why := differs[c.Name]; why != "" {
						t.Skip(why)
					}
					c.explain(t, g.format, g.client)
				})
			}
		})
	}
}

// TestCheckGolden holds that check names what a client passes over in silence,
// with its line and a hint.
func TestCheckGolden(t *testing.T) {
	for _, g := range goldenFormats {
		if !slices.Contains(conf.Formats(), g.format) {
			continue
		}
		for _, c := range readGolden(t, g.file) {
			silent := slices.Contains(c.Tags, "silent") || slices.Contains(c.Tags, "error-swallowed")
			if !silent || c.Config.Env != nil || c.Name == "uppercase-host-is-another-directory" {
				continue // the last is right as a file: what surprises is in the reference
			}
			t.Run(g.file+"/"+c.Name, func(t *testing.T) {
				_, lines := c.run(t, "check", g.format+"="+c.write(t), "--json")
				for _, l := range lines {
					if at, _ := l["at"].(string); strings.Contains(at, ":") && l["hint"] != "" {
						return
					}
				}
				t.Errorf("%s\nno problem with a line and a hint: %v", c.Why, lines)
			})
		}
	}
}

func readGolden(t *testing.T, name string) []goldenCase {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("..", "..", "rules", "conf", "testdata", "golden", name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	var all struct{ Cases []goldenCase }
	if err := json.Unmarshal(data, &all); err != nil {
		t.Fatal(err)
	}
	return all.Cases
}

// write writes the files, or the flags, of a case and returns where they are.
func (c *goldenCase) write(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	files := c.Config.Files
	path := dir
	if c.Config.Args != nil {
		files = map[string]string{"flags": strings.Join(c.Config.Args, "\n")}
		path = filepath.Join(dir, "flags")
	}
	for name, text := range files {
		p := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(strings.ReplaceAll(text, "{root}", dir)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return path
}

// run runs the command and returns its exit code and its lines.
func (c *goldenCase) run(t *testing.T, args ...string) (int, []map[string]any) {
	t.Helper()
	var out, errs bytes.Buffer
	code := Main(context.Background(), Env{
		Args: args, Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs,
		Getenv: func(name string) string { return c.Config.Env[name] },
	})
	var lines []map[string]any
	for line := range strings.Lines(out.String()) {
		var l map[string]any
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		lines = append(lines, l)
	}
	if code == exitUsage {
		t.Fatalf("%v: %s", args, &errs)
	}
	return code, lines
}

// explain holds what the command prints against the case.
func (c *goldenCase) explain(t *testing.T, format, client string) {
	switch {
	case c.Config.ImageStore == "containerd":
		client = "docker-containerd"
	case c.Config.PullMode == "transfer":
		client = "containerd-transfer"
	}
	args := []string{"explain", "--json", "--as", client}
	switch path := c.write(t); {
	case c.Config.Env != nil:
	case strings.HasPrefix(c.Config.Layout, "system root"):
		args = append(args, "--root", path)
	default:
		args = append(args, "--rules", format+"="+path)
	}
	code, lines := c.run(t, append(args, c.Reference)...)
	if len(lines) != 1 {
		t.Fatalf("%d lines", len(lines))
	}
	got := lines[0]
	if served := code == exitDone; served != (got["error"] == "") {
		t.Errorf("exits with %d, error %q", code, got["error"])
	}
	if c.WantError != "" {
		if got["error"] == "" || usable(got["tries"]) {
			t.Errorf("got %v, want the error %q", got["tries"], c.WantError)
		}
	} else if diff := cmp.Diff(anys(c.Want), like(got["tries"], c.Want)); diff != "" {
		t.Errorf("%s\ntries (-want +got):\n%s", c.Why, diff)
	}
	if c.Skipped != nil {
		if diff := cmp.Diff(anys(c.Skipped), like(got["skips"], c.Skipped)); diff != "" {
			t.Errorf("skips (-want +got):\n%s", diff)
		}
	}
	if c.Normalized != "" && c.WantError == "" && got["normalized"] != c.Normalized {
		t.Errorf("normalized %q, want %q", got["normalized"], c.Normalized)
	}
	rule, _ := got["rule"].(map[string]any)
	if c.Matched != nil && rule["match"] != *c.Matched {
		t.Errorf("matched %q, want %q", rule["match"], *c.Matched)
	}
}

// usable reports whether there is a try that can be made.
func usable(tries any) bool {
	for _, t := range tries.([]any) {
		if m := t.(map[string]any); m["blocked"] == false && m["unusable"] == nil {
			return true
		}
	}
	return false
}

// tryDetails are the keys of a try that a case always gives where they hold.
var tryDetails = []string{"capabilities", "httpFallback", "customCA", "header", "ns", "http", "unusable", "insecure", "blocked", "original"}

// like returns the elements of got with those keys that want has, and the
// details that want ought to have; the reasons for what is unusable are ours.
func like(got any, want []map[string]any) []any {
	var out []any
	for i, g := range got.([]any) {
		g := g.(map[string]any)
		m := map[string]any{}
		for key, v := range g {
			inWant := i < len(want) && want[i][key] != nil
			if inWant || want[0]["role"] != nil && slices.Contains(tryDetails, key) && v != false {
				m[key] = v
			}
			if inWant && key == "unusable" {
				m[key] = want[i][key]
			}
		}
		out = append(out, m)
	}
	return out
}

func anys(list []map[string]any) []any {
	var out []any
	for _, m := range list {
		out = append(out, m)
	}
	return out
}
