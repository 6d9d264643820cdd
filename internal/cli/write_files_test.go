package cli

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// tree returns the files below a directory, with their texts.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		rel, _ := filepath.Rel(dir, path)
		if e.IsDir() {
			files[rel] = "(directory)"
			return nil
		}
		data, err := os.ReadFile(path)
		files[rel] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// TestOutputsAllOrNone holds that a file which cannot be written leaves
// everything as it was, directories too.
func TestOutputsAllOrNone(t *testing.T) {
	for _, c := range []struct {
		name  string
		force bool
		third string // cannot be written
		want  string // in the error
	}{
		{"it is there", false, "there", "there is there already"},
		{"it is a directory", true, "dir", "dir is a directory"},
		{"a file is where its directory should be", true, "there/below", "there/below"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, filepath.Join(dir, "there"), "old")
			write(t, filepath.Join(dir, "dir", "x"), "old")
			before := tree(t, dir)
			out := outputs{force: c.force}
			if c.force {
				out.add(filepath.Join(dir, "dir", "x"), []byte("new"))
			}
			out.add(filepath.Join(dir, "a", "b", "first"), []byte("new"))
			out.add(filepath.Join(dir, c.third), []byte("new"))
			err := out.write()
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
			if after := tree(t, dir); !equalTrees(before, after) {
				t.Errorf("before %v, after %v", before, after)
			}
		})
	}
}

// TestOutputsTakeBack holds that what has appeared is taken back, and what it
// replaced comes again, where a later file fails.
func TestOutputsTakeBack(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "old"), "old")
	before := tree(t, dir)
	out := outputs{force: true}
	out.add(filepath.Join(dir, "old"), []byte("new"))
	out.add(filepath.Join(dir, "sub", "new"), []byte("new"))
	if err := out.stage(); err != nil {
		t.Fatal(err)
	}
	// The last file cannot appear: something took its temporary one away.
	if err := os.Remove(out.files[1].temp); err != nil {
		t.Fatal(err)
	}
	if err := out.appear(); err == nil {
		t.Fatal("a file appeared that was not there")
	}
	if got := tree(t, dir)["old"]; got != "new" {
		t.Errorf("the first file holds %q before it is taken back", got)
	}
	out.takeBack()
	if after := tree(t, dir); !equalTrees(before, after) {
		t.Errorf("before %v, after %v", before, after)
	}
}

// TestOutputsReplace holds that nothing but the files is left.
func TestOutputsReplace(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "old"), "old")
	out := outputs{force: true}
	out.add(filepath.Join(dir, "old"), []byte("new"))
	out.add(filepath.Join(dir, "sub", "new"), []byte("new"))
	if err := out.write(); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"old": "new", "sub": "(directory)", "sub/new": "new"}
	if got := tree(t, dir); !equalTrees(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func equalTrees(a, b map[string]string) bool {
	text := func(m map[string]string) []string {
		var all []string
		for name, data := range m {
			all = append(all, name+"="+data)
		}
		slices.Sort(all)
		return all
	}
	return slices.Equal(text(a), text(b))
}

// TestOutputsKeepModes holds that a file keeps its mode when it is replaced.
func TestOutputsKeepModes(t *testing.T) {
	dir := t.TempDir()
	for _, mode := range []os.FileMode{0o600, 0o664, 0o755} {
		path := filepath.Join(dir, mode.String())
		write(t, path, "old")
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		if err := writeAll([]outFile{{path, []byte("new")}}, true); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode(); got != mode {
			t.Errorf("the mode is %v, was %v", got, mode)
		}
	}
}

// TestOutputsSamePlace holds that what was there comes again, too, where one
// file has been replaced twice before another fails.
func TestOutputsSamePlace(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "old"), "old")
	before := tree(t, dir)
	out := outputs{force: true}
	for _, name := range []string{"old", "old", "new"} {
		out.add(filepath.Join(dir, name), []byte("new"))
	}
	if err := out.stage(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(out.files[2].temp); err != nil {
		t.Fatal(err)
	}
	if err := out.appear(); err == nil {
		t.Fatal("a file appeared that was not there")
	}
	out.takeBack()
	if after := tree(t, dir); !equalTrees(before, after) {
		t.Errorf("before %v, after %v", before, after)
	}
}

// TestOutputsComeMeanwhile holds that without force a file is not written over
// that has come after the check.
func TestOutputsComeMeanwhile(t *testing.T) {
	dir := t.TempDir()
	var out outputs
	out.add(filepath.Join(dir, "first"), []byte("new"))
	out.add(filepath.Join(dir, "second"), []byte("new"))
	if err := errors.Join(out.check(), out.stage()); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "second"), "theirs")
	if err := out.appear(); err == nil || !strings.Contains(err.Error(), "second is there already") {
		t.Errorf("got %v", err)
	}
	out.takeBack()
	if got, want := tree(t, dir), map[string]string{"second": "theirs"}; !equalTrees(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// TestOutputsThroughLinks holds that a link stays one: what it leads to is
// written, be it a file or a stream such as /dev/stdout.
func TestOutputsThroughLinks(t *testing.T) {
	dir := t.TempDir()
	real, link := filepath.Join(dir, "real"), filepath.Join(dir, "link")
	write(t, real, "old")
	if err := os.Symlink(real, link); err != nil {
		t.Fatal(err)
	}
	null := filepath.Join(dir, "null")
	if err := os.Symlink(os.DevNull, null); err != nil {
		t.Fatal(err)
	}
	if err := writeAll([]outFile{{link, []byte("new")}, {null, []byte("gone")}}, true); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{link, null} {
		if info, err := os.Lstat(path); err != nil || info.Mode().Type() != os.ModeSymlink {
			t.Errorf("%s is no link any more: %v, %v", path, info, err)
		}
	}
	if got, err := os.ReadFile(real); err != nil || string(got) != "new" {
		t.Errorf("the file holds %q, %v", got, err)
	}
	if err := writeAll([]outFile{{link, nil}}, false); err == nil {
		t.Error("a file behind a link is written over without force")
	}
}
