package conf

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

// MaxFile is the largest configuration file that is read, in bytes: some 90,000
// rules, which take about a second.
const MaxFile = 4 << 20

// A Source is a piece of configuration: files below a root, or a text.
type Source struct {
	// Format is the name of the format.
	Format string
	// FS is the machine's file system, from its root.
	FS fs.FS
	// Path is a file or a directory in FS, or empty where there is none; "."
	// is the root itself.
	Path string
	// Name is how origins call Path where it is a file, or the text. In a
	// directory they call files by their path below it.
	Name string
	// Text is the configuration itself where Path is empty.
	Text []byte
	// System reads the places below Path in which the client looks on a
	// machine whose root that is.
	System bool
	// Elsewhere says that the configuration is for another machine: the
	// certificate files that it names are not looked for on this one.
	Elsewhere bool
	// UID is the user whose configuration it is on a machine; 0 is root.
	UID int
	// Getenv gives the variables of the environment; nil means that all are
	// empty.
	Getenv func(string) string
}

// A Machine is where sources are looked for.
type Machine struct {
	// Root is put before every path of the machine itself; empty means "/".
	Root string
	// Stdin is what "-" reads; nil means nothing.
	Stdin io.Reader
	// Getenv gives the variables of the environment; nil means that all are
	// empty.
	Getenv func(string) string
}

// SplitArg splits "FORMAT=PATH".
func SplitArg(arg string) (format, path string, err error) {
	format, path, ok := strings.Cut(arg, "=")
	if !ok || format == "" || path == "" {
		return "", "", fmt.Errorf("%q is not FORMAT=PATH: the format may be one of %s", arg, strings.Join(Formats(), ", "))
	}
	if _, err := formatOf(format); err != nil {
		return "", "", err
	}
	return format, path, nil
}

// Open finds what an argument of the form "FORMAT=PATH" names: a file, a
// directory, "-" for standard input, or "env:" for the environment where the
// format has variables. Relative paths are the process's; Root
// is for what the files themselves name.
func Open(arg string, m Machine) (Source, error) {
	format, name, err := SplitArg(arg)
	if err != nil {
		return Source{}, err
	}
	src := Source{Format: format, Name: name, FS: os.DirFS("/"), Getenv: m.Getenv}
	if name == "-" {
		return src, src.slurp(m.Stdin)
	}
	if name == "env:" && textFormats[format] {
		src.System, src.Path = true, "."
		return src, nil
	}
	abs, err := filepath.Abs(name)
	if err != nil {
		return Source{}, err
	}
	if _, err := os.Stat(abs); err != nil {
		if errors.Is(err, fs.ErrNotExist) && textFormats[format] && strings.Contains(name, "=") {
			src.Name, src.Text = format, []byte(name)
			return src, nil
		}
		return Source{}, fmt.Errorf("read %s: %w", format, err)
	}
	src.Path = fsPath(filepath.ToSlash(abs))
	return src, nil
}

// textFormats may be given in place of a path.
var textFormats = map[string]bool{"cnb": true, "kaniko": true}

func (s *Source) slurp(in io.Reader) error {
	s.Name = "standard input"
	if in == nil {
		return nil
	}
	text, err := io.ReadAll(io.LimitReader(in, MaxFile+1))
	s.Text = text
	return err
}

// fsPath turns a path of the machine into one of an [fs.FS] at its root.
func fsPath(p string) string {
	p = strings.TrimPrefix(path.Clean("/"+p), "/")
	if p == "" {
		return "."
	}
	return p
}

// isDir reports whether the source is a directory.
func (s *Source) isDir() bool {
	if s.Path == "" || s.FS == nil {
		return false
	}
	info, err := fs.Stat(s.FS, s.Path)
	return err == nil && info.IsDir()
}

// A file is a configuration file, or a text that stands for one.
type file struct {
	name string // for origins
	path string // in the source's FS; empty for a text
	data []byte
	size int  // bytes, a byte order mark among them
	bom  bool // it began with a byte order mark
}

// dir returns the directory of the file, in the source's FS.
func (f *file) dir() string { return path.Dir(f.path) }

// single returns the one file that the source is: the text, the file itself,
// or the first of names that the directory has. It is nil where the directory
// has none.
func (r *reading) single(names ...string) (*file, error) {
	s := &r.src
	if s.Path == "" {
		return r.checked(&file{name: s.Name, data: s.Text}), nil
	}
	if !s.isDir() {
		return r.load(s.Path)
	}
	for _, name := range names {
		if f, err := r.load(path.Join(s.Path, name)); f != nil || err != nil {
			return f, err
		}
	}
	return nil, nil
}

// load reads a file of the source's FS. It returns nil where there is none.
// What is too large comes back empty, with the problem noted.
func (r *reading) load(p string) (*file, error) {
	in, err := r.src.FS.Open(p)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", r.src.Format, err)
	}
	defer in.Close()
	data, err := io.ReadAll(io.LimitReader(in, MaxFile+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", r.src.Format, err)
	}
	return r.checked(&file{name: r.called(p), path: p, data: data}), nil
}

// called returns what origins call a path of the FS.
func (r *reading) called(p string) string {
	s := &r.src
	switch {
	case s.System:
		return "/" + strings.TrimPrefix(strings.TrimPrefix(p, s.Path), "/")
	case p == s.Path:
		return s.Name
	default:
		if rest, ok := strings.CutPrefix(p, s.Path+"/"); ok {
			return rest
		}
		return "/" + p
	}
}

// bom is the byte order mark that some editors put first.
var bom = []byte("\ufeff")

// checked drops a byte order mark, and the whole text where it is too large.
func (r *reading) checked(f *file) *file {
	if len(f.data) > MaxFile {
		at := newLineIndex(f.data).at(MaxFile)
		f.data = nil
		r.refuse(r.problem(f, at, "configuration is not that large: is it the right file?", "the file is larger than %d bytes", MaxFile))
	}
	f.size = len(f.data)
	f.data, f.bom = bytes.CutPrefix(f.data, bom)
	return f
}

// exists reports whether something is at a path that a file names: one of the
// machine, or relative to dir in the FS.
func (r *reading) exists(p string) bool {
	_, err := fs.Stat(r.src.FS, p)
	return err == nil
}

// names returns the names in a directory of the FS, sorted; none where it is
// not there. It follows links.
func (r *reading) names(dir string) []string {
	entries, err := fs.ReadDir(r.src.FS, dir)
	if err != nil {
		return nil
	}
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		names = append(names, e.Name())
	}
	slices.Sort(names)
	return names
}

// dropIns returns the files of several directories whose names end so, in the
// order of their names; of those with one name only the one in the first
// directory.
func (r *reading) dropIns(dirs []string, ext string) ([]*file, error) {
	paths := map[string]string{} // :: name → path
	var names []string
	for _, dir := range dirs {
		for _, name := range r.names(dir) {
			p := path.Join(dir, name)
			if info, err := fs.Stat(r.src.FS, p); err != nil || info.IsDir() {
				continue
			}
			if strings.HasSuffix(name, ext) && paths[name] == "" {
				paths[name] = p
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	var files []*file
	for _, name := range names {
		f, err := r.load(paths[name])
		if err != nil {
			return nil, err
		}
		files = append(files, compact(f)...)
	}
	return files, nil
}

// getenv returns a variable of the environment, "" where there is none.
func (r *reading) getenv(name string) string {
	if r.src.Getenv == nil {
		return ""
	}
	return r.src.Getenv(name)
}

// configHome returns the user's configuration directory below the root; ""
// where it is not known.
func (r *reading) configHome() string {
	if dir := r.getenv("XDG_CONFIG_HOME"); dir != "" {
		return fsPath(dir)
	}
	if home := r.getenv("HOME"); home != "" {
		return fsPath(path.Join(home, ".config"))
	}
	return ""
}
