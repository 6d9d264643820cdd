package document

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// Load reads the files and directories that paths name, "-" for stdin, in the
// order of the paths and below a directory in that of the names, symlinks last. A file that is
// reached in several ways, as through a symlink, is there once. In directories
// it takes files that may be documents by their names: *.yaml, *.yml, *.json,
// *.tgz, Dockerfiles; a directory with a Chart.yaml is one input. kind is that
// of all inputs, "" for what each one's content says.
func Load(paths []string, stdin io.Reader, kind Kind) ([]Input, error) {
	l := loading{stdin: stdin, kind: kind, seen: map[string]bool{}}
	for _, p := range paths {
		if err := l.load(p); err != nil {
			return nil, err
		}
	}
	for len(l.links) > 0 {
		next := l.links[0]
		l.links = l.links[1:]
		if err := l.entry(next.name, next.rel); err != nil {
			return nil, err
		}
	}
	return l.ins, nil
}

type loading struct {
	stdin io.Reader
	kind  Kind
	ins   []Input
	total int64
	// links are symlinks in directories, which are followed last: a file is there
	// by its own name where it has one.
	links []link
	// seen are the files and directories that were read.
	//
	//	:: path without symlinks → true
	seen map[string]bool
}

// A link is a symlink, and its path below the directory that was asked for.
type link struct{ name, rel string }

func (l *loading) load(name string) error {
	if name == "-" {
		data, err := io.ReadAll(io.LimitReader(l.stdin, MaxSize+1))
		if err != nil {
			return fmt.Errorf("read standard input: %w", err)
		}
		l.ins = append(l.ins, Input{Name: "-", Path: "-", Kind: l.kind, Data: data})
		return nil
	}
	info, err := os.Stat(name)
	switch {
	case err != nil:
		return err
	case !info.IsDir():
		return l.file(name, filepath.Base(name), false)
	}
	return l.dir(name, "", false)
}

// first reports whether a path is new, and notes it.
func (l *loading) first(name string) (bool, error) {
	real, err := filepath.EvalSymlinks(name)
	if err == nil {
		real, err = filepath.Abs(real)
	}
	if err != nil || l.seen[real] {
		return false, err
	}
	l.seen[real] = true
	return true, nil
}

// file adds a file. rel is its path below the directory that was asked for.
func (l *loading) file(name, rel string, found bool) error {
	if ok, err := l.first(name); !ok {
		return err
	}
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	in := Input{Name: name, Path: rel, Found: found, Kind: l.kind}
	head := make([]byte, 2)
	n, err := io.ReadFull(f, head)
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		return fmt.Errorf("read %s: %w", name, err)
	}
	if isGzip(head[:n]) {
		in.Open = func() (io.ReadCloser, error) { return os.Open(name) }
		l.ins = append(l.ins, in)
		return nil
	}
	in.Data, err = io.ReadAll(io.LimitReader(io.MultiReader(bytes.NewReader(head[:n]), f), MaxSize+1))
	if err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	if l.total += int64(len(in.Data)); l.total > 4*MaxSize {
		return fmt.Errorf("read %s: the inputs are larger than %d MiB together", name, 4*MaxSize>>20)
	}
	l.ins = append(l.ins, in)
	return nil
}

// dir adds what is in a directory.
func (l *loading) dir(name, rel string, found bool) error {
	if ok, err := l.first(name); !ok {
		return err
	}
	if _, err := os.Stat(filepath.Join(name, "Chart.yaml")); err == nil && (l.kind == "" || l.kind == Chart) {
		return l.chart(name, rel, found)
	}
	entries, err := os.ReadDir(name)
	if err != nil {
		return err
	}
	for _, e := range entries { // sorted
		next := link{filepath.Join(name, e.Name()), path.Join(rel, e.Name())}
		if e.Type()&fs.ModeSymlink != 0 {
			l.links = append(l.links, next)
		} else if err := l.entry(next.name, next.rel); err != nil {
			return err
		}
	}
	return nil
}

// entry adds what a directory has at a name.
func (l *loading) entry(name, rel string) error {
	base := filepath.Base(name)
	info, err := os.Stat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist) && !mayBeDocument(base):
		return nil // a symlink to nothing
	case err != nil:
		return err
	case info.IsDir() && base != ".git":
		return l.dir(name, rel, true)
	case info.Mode().IsRegular() && mayBeDocument(base):
		return l.file(name, rel, true)
	}
	return nil
}

// mayBeDocument reports whether a file in a directory is looked into.
func mayBeDocument(name string) bool {
	base := strings.ToLower(name)
	return slices.Contains([]string{".yaml", ".yml", ".json", ".tgz"}, path.Ext(base)) ||
		base == "dockerfile" || base == "containerfile" || strings.HasPrefix(base, "dockerfile.") ||
		strings.HasPrefix(base, "containerfile.") || strings.HasSuffix(base, ".dockerfile")
}

// chart adds the directory of a chart, as one input.
func (l *loading) chart(name, rel string, found bool) error {
	in := Input{Name: name, Path: rel, Found: found, Kind: l.kind, Files: []File{}}
	root, err := os.OpenRoot(name)
	if err != nil {
		return err
	}
	defer root.Close()
	size := int64(0)
	err = fs.WalkDir(root.FS(), ".", func(p string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		data, err := fs.ReadFile(root.FS(), p)
		if err != nil {
			return err
		}
		if size += int64(len(data)); size > MaxSize {
			return fmt.Errorf("it is larger than %d MiB", MaxSize>>20)
		}
		in.Files = append(in.Files, File{Path: p, Data: data})
		return nil
	})
	if err != nil {
		return fmt.Errorf("read the chart %s: %w", name, err)
	}
	l.ins = append(l.ins, in)
	return nil
}
