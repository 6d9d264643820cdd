package imports

import (
	"go/parser"
	"go/token"
	"go/version"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestModulesApart holds that what the modules beside the main one need stays
// there: it neither requires nor imports them.
func TestModulesApart(t *testing.T) {
	nested := nestedModules(t)
	for _, want := range []string{"/internal/oracle", "/adapter/ggcr"} {
		if !slices.Contains(nested, module+want) {
			t.Errorf("the modules of their own are %v, without %s", nested, want)
		}
	}
	main, err := os.ReadFile("../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	for _, mod := range nested {
		if strings.Contains(string(main), mod+" ") {
			t.Errorf("go.mod requires %s", mod)
		}
		for _, p := range list(t) {
			for _, imp := range slices.Concat(p.Imports, p.TestImports, p.XTestImports) {
				if imp == mod || strings.HasPrefix(imp, mod+"/") {
					t.Errorf("%s imports %s, which is a module of its own", p.ImportPath, imp)
				}
			}
		}
	}
}

// TestGoFloor holds that nobody builds us with a Go from before 1.26.5, whose
// net/http and os.Root had holes that a server must not have (CVE-2026-56853,
// CVE-2026-33814, CVE-2026-39822; `make vuln` knows what has been found since).
func TestGoFloor(t *testing.T) {
	const floor = "go1.26.5"
	if v := runtime.Version(); !strings.HasPrefix(v, "devel") && version.Compare(v, floor) < 0 {
		t.Errorf("this is %s, want %s at least", v, floor)
	}
	for _, file := range append(nestedFiles(t), filepath.Join("..", "..", "go.mod")) {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		said := ""
		for line := range strings.Lines(string(text)) {
			if v, ok := strings.CutPrefix(line, "go "); ok {
				said = "go" + strings.TrimSpace(v)
			}
		}
		if !version.IsValid(said) || version.Compare(said, floor) < 0 {
			t.Errorf("%s says %q, want %s at least", file, said, floor)
		}
	}
}

// nestedModules returns the paths of the modules below the main one.
func nestedModules(t *testing.T) []string {
	t.Helper()
	var paths []string
	for _, file := range nestedFiles(t) {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			if name, ok := strings.CutPrefix(line, "module "); ok {
				paths = append(paths, strings.TrimSpace(name))
			}
		}
	}
	return paths
}

// nestedFiles returns the go.mod files below the main one.
func nestedFiles(t *testing.T) []string {
	t.Helper()
	var files []string
	err := filepath.WalkDir("../..", func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.IsDir() && strings.HasPrefix(e.Name(), ".") && strings.Trim(e.Name(), ".") != "" {
			return fs.SkipDir // caches, and git's own
		}
		if err == nil && e.Name() == "go.mod" && path != filepath.Join("..", "..", "go.mod") {
			files = append(files, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// TestAdapterImports holds what the adapters, which other programs link, bring
// of ours: no protocol, no store, no command line. The room's own test files
// may use the registry for tests, too.
func TestAdapterImports(t *testing.T) {
	allowed := []string{"ref", "rules", "rules/conf", "adapter/ggcr"}
	files := 0
	err := filepath.WalkDir(filepath.Join("..", "..", "adapter"), func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || filepath.Ext(path) != ".go" {
			return err
		}
		files++
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, spec := range file.Imports {
			imp, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			room := roomOf(imp)
			ok := room == "" || slices.Contains(allowed, room) || strings.HasSuffix(path, "_test.go") && slices.Contains(testsOnly, room)
			if !ok {
				t.Errorf("%s imports %s: not allowed", path, imp)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if files == 0 {
		t.Error("there is no adapter")
	}
}
