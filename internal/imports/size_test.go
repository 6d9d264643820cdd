package imports

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
)

const (
	maxFile     = 500 // lines
	maxFunction = 40  // lines; tests may be longer, for their tables
)

// TestSizes holds that files and functions stay small enough to be read at
// once.
func TestSizes(t *testing.T) {
	fset := token.NewFileSet()
	err := filepath.WalkDir("../..", func(path string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case e.IsDir() && strings.HasPrefix(e.Name(), ".") && strings.Trim(e.Name(), ".") != "":
			return fs.SkipDir // caches, and git's own
		case e.IsDir() || filepath.Ext(path) != ".go":
			return nil
		}
		file, err := parser.ParseFile(fset, path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		if n := fset.Position(file.FileEnd).Line - 1; n > maxFile {
			t.Errorf("%s has %d lines, more than %d: split it by idea", path, n, maxFile)
		}
		if strings.HasSuffix(path, "_test.go") {
			return nil
		}
		for _, d := range file.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			from, to := fset.Position(f.Pos()).Line, fset.Position(f.End()).Line
			if n := to - from - 1; n > maxFunction {
				t.Errorf("%s:%d: %s has %d lines, more than %d", path, from, f.Name.Name, n, maxFunction)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
