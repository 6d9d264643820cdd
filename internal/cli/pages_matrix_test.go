package cli

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/entrepot/entrepot/rules/conf"
)

// matrixRules are the rules that the matrix of doc/formats/README.md is made
// with: two mirrors of Docker Hub, and a namespace at a mirror of another
// registry.
var matrixRules = []string{
	"[[registry]]\nlocation = 'docker.io'\n[[registry.mirror]]\nlocation = 'm1.example.com'\n[[registry.mirror]]\nlocation = 'm2.example.com'\n",
	"[[registry]]\nlocation = 'quay.io'\n[[registry.mirror]]\nlocation = 'm1.example.com/team'\n",
}

// criSample is the rules in the format that is not written.
var criSample = []string{
	"version = 3\n[plugins.'io.containerd.cri.v1.images'.registry.mirrors.'docker.io']\nendpoint = ['https://m1.example.com', 'https://m2.example.com']\n",
	"version = 3\n[plugins.'io.containerd.cri.v1.images'.registry.mirrors.'quay.io']\nendpoint = ['https://m1.example.com/v2/team']\n",
}

// TestFormatMatrix holds that the matrix in doc/formats/README.md is what
// convert does.
func TestFormatMatrix(t *testing.T) {
	page := filepath.Join(moduleRoot, "doc", "formats", "README.md")
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	first := []byte("| from \\ to |")
	start := bytes.Index(text, first)
	if start < 0 {
		t.Fatalf("no table begins with %s", first)
	}
	end := len(text)
	if i := bytes.Index(text[start:], []byte("\n\n")); i >= 0 {
		end = start + i + 1
	}
	want := matrix(t)
	if *update {
		if err := os.WriteFile(page, slices.Concat(text[:start], []byte(want), text[end:]), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if diff := cmp.Diff(string(text[start:end]), want); diff != "" {
		t.Errorf("(-page +convert; -update writes it into the page):\n%s", diff)
	}
}

// matrix returns the table of what becomes of the rules between each two
// formats.
func matrix(t *testing.T) string {
	t.Helper()
	all := conf.Formats()
	to := slices.DeleteFunc(slices.Clone(all), func(f string) bool { return f == "containerd-cri" })
	var out strings.Builder
	out.WriteString("| from \\ to | " + strings.Join(to, " | ") + " |\n|" + strings.Repeat("---|", len(to)+1) + "\n")
	for _, from := range all {
		paths := matrixSource(t, from)
		out.WriteString("| " + from)
		for _, target := range to {
			cell := "="
			if target != from {
				cell = verdict(t, from, paths[0], target) + "/" + verdict(t, from, paths[1], target)
			}
			out.WriteString(" | " + cell)
		}
		out.WriteString(" |\n")
	}
	return out.String()
}

// matrixSource writes the rules in a format, and returns where they are; "" is
// for a format that cannot say the rule.
func matrixSource(t *testing.T, format string) []string {
	t.Helper()
	var paths []string
	for i, text := range matrixRules {
		path := filepath.Join(t.TempDir(), "source")
		if format == "containerd-cri" {
			text = criSample[i]
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if format != "containerd-cri" && format != "registries.conf" {
			out := filepath.Join(t.TempDir(), "out")
			code, errs := runConvert(t, "--from", "registries.conf="+path, "--to", format+"="+out, "--allow-lossy")
			if code != exitDone {
				t.Fatalf("%s: exits with %d: %s", format, code, errs)
			}
			path = out
			if format == "daemon.json" && i == 1 {
				path = "" // it has no rule but Docker Hub's
			}
		}
		paths = append(paths, path)
	}
	return paths
}

// verdict says what becomes of a configuration in another format.
func verdict(t *testing.T, from, path, to string) string {
	t.Helper()
	if path == "" {
		return "–"
	}
	code, errs := runConvert(t, "--from", from+"="+path, "--to", to+"="+filepath.Join(t.TempDir(), "out"))
	switch {
	case code == exitLossy:
		return "R"
	case code != exitDone:
		t.Fatalf("%s to %s: exits with %d: %s", from, to, code, errs)
	case strings.Contains(errs, "warning: "):
		return "W"
	}
	return "L"
}

func runConvert(t *testing.T, args ...string) (int, string) {
	t.Helper()
	var out bytes.Buffer
	code := Main(context.Background(), Env{
		Args: append([]string{"convert"}, args...), Stdin: strings.NewReader(""), Stdout: &out, Stderr: &out,
		Getenv: func(string) string { return "" },
	})
	return code, out.String()
}
