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

// A conversionCase is a case of conversions.json.
type conversionCase struct {
	Name, Why  string
	Equivalent bool
	Expect     string // of a loss: refuse, warn or lossless
	Feature    string
	IgnoreNS   bool
	From, To   struct {
		Format string
		Files  map[string]string
	}
	References []string
}

func readConversions(t *testing.T) (conversions, losses []conversionCase) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(moduleRoot, "rules", "conf", "testdata", "golden", "conversions.json"))
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]string{"k3s registries.yaml": "k3s", "OpenShift ICSP, IDMS, ITMS": "openshift"}
	var all struct {
		Count               int
		Conversions, Losses []conversionCase
	}
	if err := json.Unmarshal(data, &all); err != nil {
		t.Fatal(err)
	}
	if all.Count == 0 || all.Count != len(all.Conversions)+len(all.Losses) {
		t.Fatalf("the count says %d", all.Count)
	}
	for _, list := range [][]conversionCase{all.Conversions, all.Losses} {
		for i := range list {
			for _, format := range []*string{&list[i].From.Format, &list[i].To.Format} {
				if names[*format] != "" {
					*format = names[*format]
				}
			}
		}
	}
	return all.Conversions, all.Losses
}

// writeFiles writes files below a new directory.
func writeFiles(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// run runs convert for a case, and returns its exit code and what it prints as
// errors.
func (c *conversionCase) run(t *testing.T, out string, more ...string) (int, []lossJSON) {
	t.Helper()
	args := []string{"convert", "--json", "--from", c.From.Format + "=" + writeFiles(t, c.From.Files), "--to", c.To.Format + "=" + out}
	for _, name := range c.References {
		args = append(args, "--reference", name)
	}
	var errs bytes.Buffer
	code := Main(context.Background(), Env{
		Args: append(args, more...), Stdin: strings.NewReader(""), Stdout: &errs, Stderr: &errs,
		Getenv: func(string) string { return "" },
	})
	var losses []lossJSON
	for line := range bytes.Lines(errs.Bytes()) {
		if line[0] != '{' {
			continue
		}
		var l lossJSON
		if err := json.Unmarshal(line, &l); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		losses = append(losses, l)
	}
	return code, losses
}

// TestConvertGolden holds that what is equivalent is so for explain as well: the
// source's client asks the same places for the source as the target's for the
// result.
func TestConvertGolden(t *testing.T) {
	conversions, _ := readConversions(t)
	for _, c := range conversions {
		t.Run(c.Name, func(t *testing.T) {
			out := filepath.Join(t.TempDir(), "out")
			code, losses := c.run(t, out)
			told := slices.ContainsFunc(losses, func(l lossJSON) bool { return l.Feature != "ns" })
			if !c.Equivalent && told {
				return // it cannot be said, and that is told
			}
			if code != exitDone {
				t.Fatalf("%s: exits with %d: %v", c.Why, code, losses)
			}
			for _, name := range c.References {
				want := c.explain(t, c.From.Format, writeFiles(t, c.From.Files), name)
				got := c.explain(t, c.To.Format, out, name)
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("%s: %s (-source +result):\n%s", c.Why, name, diff)
				}
			}
		})
	}
}

// explain returns the places that can be asked for a reference: address,
// whether the certificate is checked, whether plain HTTP follows.
func (c *conversionCase) explain(t *testing.T, format, path, name string) [][2]any {
	t.Helper()
	client := conf.Clients(format)[0]
	code, lines := runJSON(t, "explain", "--json", "--as", client, "--rules", format+"="+path, name)
	if code != exitDone || len(lines) != 1 {
		t.Fatalf("explain %s of %s exits with %d: %v", name, path, code, lines)
	}
	var tries [][2]any
	for _, try := range lines[0]["tries"].([]any) {
		try := try.(map[string]any)
		if try["blocked"] == true {
			continue
		}
		url := strings.Replace(try["url"].(string), "//index.docker.io/", "//registry-1.docker.io/", 1)
		if c.IgnoreNS {
			url, _, _ = strings.Cut(url, "?")
		}
		tries = append(tries, [2]any{url, try["insecure"]})
	}
	return tries
}

// TestConvertLosses holds the verdicts, the exit codes, and that --allow-lossy
// lists what it leaves out.
func TestConvertLosses(t *testing.T) {
	_, losses := readConversions(t)
	for _, c := range losses {
		t.Run(c.Name, func(t *testing.T) {
			out := filepath.Join(t.TempDir(), "out")
			code, found := c.run(t, out)
			i := slices.IndexFunc(found, func(l lossJSON) bool { return l.Feature == c.Feature })
			wantCode, level := exitDone, "warning"
			if c.Expect == "refuse" {
				wantCode, level = exitLossy, "error"
			}
			if code != wantCode || (c.Expect == "lossless") != (i < 0) {
				t.Fatalf("%s: want %s of %s, it exits with %d: %v", c.Why, c.Expect, c.Feature, code, found)
			}
			if _, err := os.Stat(out); (err == nil) != (wantCode == exitDone) {
				t.Errorf("exits with %d, and the result: %v", code, err)
			}
			if i < 0 {
				return
			}
			if found[i].Level != level || !strings.Contains(found[i].At, ":") || found[i].Text == "" {
				t.Errorf("the loss is %+v", found[i])
			}
			code, again := c.run(t, filepath.Join(t.TempDir(), "out"), "--allow-lossy")
			if !slices.ContainsFunc(again, func(l lossJSON) bool { return l.Feature == c.Feature && l.Level == "warning" }) {
				t.Errorf("--allow-lossy exits with %d and lists %v", code, again)
			}
		})
	}
}
