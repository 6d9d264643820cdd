package document

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestLoad reads a directory with symlinks that lead to files of it, around in a
// circle, and out of it.
func TestLoad(t *testing.T) {
	dir, other := t.TempDir(), filepath.Join(t.TempDir(), "e.yaml")
	for name, text := range map[string]string{
		"b.yaml": "b", "a.json": "a", "sub/c.yml": "c", "README.md": "no", "sub/Dockerfile": "FROM x", ".git/x.yaml": "no",
		"web/Chart.yaml": "chart", "web/values.yaml": "v", "web/templates/x.yaml": "t", other: "e",
	} {
		if !filepath.IsAbs(name) {
			name = filepath.Join(dir, name)
		}
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for link, target := range map[string]string{
		"again.yaml": "b.yaml", "sub/loop": "..", "sub/z.yaml": "../b.yaml", "elsewhere.yaml": other, "gone": "nowhere",
	} {
		if err := os.Symlink(target, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	ins, err := Load([]string{dir, filepath.Join(dir, "b.yaml"), "-"}, strings.NewReader("stdin"), "")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, in := range ins {
		got = append(got, in.Path+" "+string(in.Data))
	}
	want := []string{"a.json a", "b.yaml b", "sub/Dockerfile FROM x", "sub/c.yml c", "web ", "- stdin", "elsewhere.yaml e"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("inputs (-want +got):\n%s", diff)
	}
	if n := len(ins[4].Files); n != 3 {
		t.Errorf("the chart has %d files, want 3", n)
	}
	if err := os.Symlink("nowhere", filepath.Join(dir, "gone.yaml")); err != nil {
		t.Fatal(err)
	}
	if _, err := Load([]string{dir}, nil, ""); err == nil {
		t.Error("a symlink to a document that is not there: no error")
	}
}
