package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/entrepot/entrepot/rules/conf"
)

// writeResult writes the files of a conversion: those of a directory below
// path, and one file to path, or, where that is a directory, into it.
func writeResult(format, path string, files []conf.File, force bool) error {
	out := outputs{force: force}
	info, err := os.Stat(path)
	isDir := err == nil && info.IsDir()
	switch {
	case conf.WritesDirectory(format):
		if err == nil && !isDir {
			return usageError(fmt.Errorf("%s is written as a directory, and %s is a file", format, path), "name the certs.d directory")
		}
		for _, f := range files {
			out.add(filepath.Join(path, filepath.FromSlash(f.Name)), f.Data)
		}
	case isDir || strings.HasSuffix(path, "/"):
		dir := path
		if format == "registries.conf" && filepath.Ext(filepath.Clean(path)) != ".d" {
			dir = filepath.Join(path, "registries.conf.d")
		}
		out.add(filepath.Join(dir, files[0].Name), files[0].Data)
	default:
		out.add(path, files[0].Data)
	}
	return out.write()
}

// outputs are files that are written together: all of them or none.
type outputs struct {
	force bool // replace what is there
	files []outputFile
	dirs  []string // directories that were made, the outer ones first
}

// An outputFile is one of the files.
type outputFile struct {
	path string
	data []byte
	temp string // beside path, with the data
	old  string // beside path, what was there; "" where that was nothing
	done bool   // path is what it shall be
}

func (o *outputs) add(path string, data []byte) {
	o.files = append(o.files, outputFile{path: path, data: data})
}

// write writes the files. All are on the disk under other names before the
// first appears; where one of them fails the others are taken back.
func (o *outputs) write() error {
	err := o.check()
	if err == nil {
		err = o.stage()
	}
	if err == nil {
		err = o.appear()
	}
	if err != nil {
		o.takeBack()
		return err
	}
	for i := range o.files {
		f := &o.files[i]
		if f.old != "" {
			err = errors.Join(err, os.Remove(f.old))
		}
		err = errors.Join(err, syncDir(filepath.Dir(f.path)))
	}
	for _, dir := range o.dirs {
		err = errors.Join(err, syncDir(filepath.Dir(dir)))
	}
	return err
}

// check finds what must not be written over, before anything is written.
func (o *outputs) check() error {
	for i := range o.files {
		info, err := os.Lstat(o.files[i].path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return err
		case info.IsDir():
			return fmt.Errorf("%s is a directory", o.files[i].path)
		case !o.force:
			return existsError(o.files[i].path)
		}
	}
	return nil
}

func existsError(path string) error {
	return failure(fmt.Errorf("%s is there already", path), "--force replaces it")
}

// stage writes every file under another name beside its own.
func (o *outputs) stage() error {
	for i := range o.files {
		f := &o.files[i]
		if err := o.makeDir(filepath.Dir(f.path)); err != nil {
			return err
		}
		temp, err := os.CreateTemp(filepath.Dir(f.path), ".entrepot-*")
		if err != nil {
			return err
		}
		f.temp = temp.Name()
		_, err = temp.Write(f.data)
		err = errors.Join(err, temp.Chmod(0o644), temp.Sync(), temp.Close())
		if err != nil {
			return fmt.Errorf("write %s: %w", f.path, err)
		}
	}
	return nil
}

// makeDir makes a directory, and those around it.
func (o *outputs) makeDir(dir string) error {
	err := os.Mkdir(dir, 0o755)
	if errors.Is(err, fs.ErrNotExist) {
		if err := o.makeDir(filepath.Dir(dir)); err != nil {
			return err
		}
		err = os.Mkdir(dir, 0o755)
	}
	if err == nil {
		o.dirs = append(o.dirs, dir)
	}
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	return err
}

// appear gives the files their names. A link does not replace what has come
// there in the meantime; a rename, where the file system has no links, does. What
// is replaced on purpose is kept aside.
func (o *outputs) appear() error {
	for i := range o.files {
		f := &o.files[i]
		if !o.force {
			if err := os.Link(f.temp, f.path); err == nil {
				f.done = true
				continue
			}
		}
		if _, err := os.Lstat(f.path); err == nil {
			if !o.force {
				return existsError(f.path)
			}
			old := f.temp + ".old"
			if err := os.Link(f.path, old); err != nil {
				return fmt.Errorf("keep %s aside: %w", f.path, err)
			}
			f.old = old
		}
		if err := os.Rename(f.temp, f.path); err != nil {
			return err
		}
		f.done = true
	}
	for i := range o.files {
		if err := os.Remove(o.files[i].temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// takeBack leaves everything as it was. What cannot be undone stays: the error
// that led here is the one to tell.
func (o *outputs) takeBack() {
	for i := range o.files {
		f := &o.files[i]
		switch {
		case f.done && f.old != "":
			_ = os.Rename(f.old, f.path)
		case f.done:
			_ = os.Remove(f.path)
		case f.old != "":
			_ = os.Remove(f.old)
		}
		if f.temp != "" {
			_ = os.Remove(f.temp)
		}
	}
	for i := len(o.dirs) - 1; i >= 0; i-- {
		_ = os.Remove(o.dirs[i])
	}
}

// syncDir makes the names in a directory last.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
