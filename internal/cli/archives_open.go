package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/entrepot/entrepot/document"
	"github.com/entrepot/entrepot/layout"
	"github.com/entrepot/entrepot/relocate"
)

// tarMagic is at tarMagicAt in the first header of a tar, by POSIX and as GNU
// writes it.
const (
	tarMagic   = "ustar"
	tarMagicAt = 257
)

// isArchive reports whether an input holds images: a tar, a volume of one or the
// name that all volumes go by, or a directory with an OCI image layout.
func isArchive(path string) bool {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		_, err := layout.Volumes(path)
		return err == nil
	case err != nil:
		return false
	case info.IsDir():
		return isLayout(path)
	case !info.Mode().IsRegular():
		return false
	}
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	magic := make([]byte, len(tarMagic))
	_, err = f.ReadAt(magic, tarMagicAt)
	return err == nil && string(magic) == tarMagic
}

func isLayout(dir string) bool {
	info, err := os.Stat(filepath.Join(dir, "oci-layout"))
	return err == nil && info.Mode().IsRegular()
}

// volumes returns the files of each archive. A directory is one by itself.
func volumes(args []string) ([][]string, error) {
	var groups [][]string
	var files []string
	for _, arg := range args {
		switch {
		case arg == "-":
			return nil, usageError(errors.New("an archive is read where it is, and not from standard input"), "write it to a file")
		case isDir(arg):
			groups = append(groups, []string{arg})
		default:
			files = append(files, arg)
		}
	}
	found, err := layout.Volumes(files...)
	if err != nil {
		return nil, failure(err, "")
	}
	return append(groups, found...), nil
}

// openArchive opens the archive that files are, or the layout in a directory.
func openArchive(paths []string) (*archive, error) {
	if isDir(paths[0]) {
		l, err := layout.Open(paths[0])
		if err != nil {
			return nil, err
		}
		entries, err := l.Entries()
		if err != nil {
			return nil, errors.Join(err, l.Close())
		}
		return &archive{stored: l, path: paths[0], entries: entries}, nil
	}
	a, err := layout.OpenArchive(paths...)
	if err != nil {
		return nil, err
	}
	one := &archive{stored: a, path: paths[0], set: a.Set(), entries: a.Entries(), said: make(map[string][]layout.SetImage)}
	for _, i := range one.set.Images {
		one.said[i.Name] = append(one.said[i.Name], i)
	}
	return one, nil
}

// archived returns the inputs that archives are, as documents that name their
// images.
func archived(paths []string) ([]document.Input, error) {
	if len(paths) == 0 {
		return nil, nil
	}
	a, err := openArchives(paths)
	if err != nil {
		return nil, err
	}
	defer a.Close()
	var ins []document.Input
	for _, one := range a.all {
		names, err := one.images()
		if err != nil {
			return nil, err
		}
		ins = append(ins, document.Input{Name: one.path, Path: imageAlone, Kind: document.Archive, Images: names})
	}
	return ins, nil
}

// said returns the mentions of an image of an archive, with what was said of it
// when the archive was saved: where it goes, and what it is for. Others stay as
// they are. A nil set of archives has none.
func (a *archives) said(d *document.Document, m relocate.Mention) []relocate.Mention {
	if a == nil || d.Kind != document.Archive {
		return []relocate.Mention{m}
	}
	var all []relocate.Mention
	for _, one := range a.all {
		if one.path != d.Name {
			continue
		}
		for _, i := range one.said[m.Written] {
			next := m
			next.Target, next.Role = i.Target, relocate.Role(i.Role)
			all = append(all, next)
		}
	}
	if len(all) == 0 {
		all = append(all, m)
	}
	return all
}

// bring takes in the files that archives have beside their images.
func (s *inputSet) bring(a *archives) error {
	for _, one := range a.all {
		stored, ok := one.stored.(*layout.Archive)
		if !ok {
			continue
		}
		for _, name := range stored.Files() {
			data, err := stored.ReadFile(name)
			if err != nil {
				return failure(fmt.Errorf("%s: %w", one.path, err), "")
			}
			s.extras = slices.DeleteFunc(s.extras, func(f relocate.File) bool { return f.Name == name })
			s.extras = append(s.extras, relocate.File{Name: name, Data: data})
		}
	}
	return nil
}
