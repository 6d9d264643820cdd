package cli

import (
	"bytes"
	"context"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write what commands print into the pages of doc/formats")

// TestFormatPages runs the examples of doc/formats: a block with a path behind
// its language is a file, and what follows a "$ entrepot …" in a console block
// is what that prints where these files are.
func TestFormatPages(t *testing.T) {
	pages, err := filepath.Glob(filepath.Join(moduleRoot, "doc", "formats", "*.md"))
	if err != nil || len(pages) < 13 {
		t.Fatalf("%d pages: %v", len(pages), err)
	}
	for _, page := range pages {
		if page, err = filepath.Abs(page); err != nil {
			t.Fatal(err)
		}
		t.Run(filepath.Base(page), func(t *testing.T) {
			text, err := os.ReadFile(page)
			if err != nil {
				t.Fatal(err)
			}
			t.Chdir(t.TempDir())
			p := pageRun{t: t}
			got := p.run(string(text))
			if p.commands == 0 && filepath.Base(page) != "README.md" {
				t.Error("the page has no example")
			}
			if *update {
				if err := os.WriteFile(page, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if diff := cmp.Diff(string(text), got); diff != "" {
				t.Errorf("(-page +printed; -update writes it into the page):\n%s", diff)
			}
		})
	}
}

// A pageRun is a page whose examples are being run.
type pageRun struct {
	t        *testing.T
	commands int
}

// run returns the page with what its commands print.
func (p *pageRun) run(text string) string {
	var out, block strings.Builder
	info := "" // of the block that is open
	for line := range strings.Lines(text) {
		fence, isFence := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "```")
		switch {
		case isFence && info == "":
			info = fence
			out.WriteString(line)
		case isFence:
			out.WriteString(p.block(info, block.String()) + line)
			block.Reset()
			info = ""
		case info != "":
			block.WriteString(line)
		default:
			out.WriteString(line)
		}
	}
	return out.String()
}

// block writes the file that a block is, or runs its commands, and returns what
// the block should hold.
func (p *pageRun) block(info, text string) string {
	p.t.Helper()
	lang, path, _ := strings.Cut(info, " ")
	if path != "" {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			p.t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			p.t.Fatal(err)
		}
	}
	if lang != "console" {
		return text
	}
	var out strings.Builder
	for line := range strings.Lines(text) {
		if command, ok := strings.CutPrefix(line, "$ "); ok {
			out.WriteString(line + p.command(strings.TrimSpace(command)))
		}
	}
	return out.String()
}

// command runs a command, which may have variables in front, and returns all
// that it prints.
func (p *pageRun) command(line string) string {
	p.commands++
	env := map[string]string{}
	words := strings.Fields(line)
	for len(words) > 0 && words[0] != "entrepot" {
		name, value, ok := strings.Cut(words[0], "=")
		if !ok {
			p.t.Fatalf("%q is no command of ours", line)
		}
		env[name] = strings.Trim(value, `'"`)
		words = words[1:]
	}
	var out bytes.Buffer
	Main(context.Background(), Env{
		Args: words[1:], Stdin: strings.NewReader(""), Stdout: &out, Stderr: &out,
		Getenv: func(name string) string { return env[name] },
	})
	return out.String()
}
