package cli

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// An outFile is a file that a command writes.
type outFile struct {
	path string
	data []byte
}

// writeAll writes all files, or none. What is there is replaced, and keeps its
// mode; without force it is an error. Directories are made where they are
// missing.
func writeAll(files []outFile, force bool) error {
	out := outputs{force: force}
	for _, f := range files {
		out.add(f.path, f.data)
	}
	return out.write()
}

// outputs are files that are written together: all of them or none.
type outputs struct {
	force bool // replace what is there
	files []outputFile
	// streams are what is no file, and can be neither replaced nor taken back:
	// pipes, terminals, devices.
	streams []outFile
	dirs    []string // directories that were made, the outer ones first
}

// An outputFile is one of the files.
type outputFile struct {
	outFile
	temp string // beside path, with the data
	old  string // beside path, what was there; "" where that was nothing
	done bool   // path is what it shall be
}

// add adds a file. Of a symbolic link it is what the link leads to.
func (o *outputs) add(path string, data []byte) {
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() && !info.IsDir() {
		o.streams = append(o.streams, outFile{path, data})
		return
	}
	if info, err := os.Lstat(path); err == nil && info.Mode().Type() == fs.ModeSymlink && !isDir(path) {
		if real, err := filepath.EvalSymlinks(path); err == nil {
			path = real
		}
	}
	o.files = append(o.files, outputFile{outFile: outFile{path, data}})
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
	if err == nil {
		err = o.send()
	}
	if err != nil {
		o.takeBack()
		return err
	}
	return o.settle()
}

// check finds what must not be written over, before anything is written.
func (o *outputs) check() error {
	for i := range o.files {
		switch _, err := os.Lstat(o.files[i].path); {
		case isDir(o.files[i].path):
			return fmt.Errorf("%s is a directory", o.files[i].path)
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return err
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
		if err := f.stage(); err != nil {
			return fmt.Errorf("write %s: %w", f.path, err)
		}
	}
	return nil
}

// stage writes one file under another name, with the mode of what it replaces.
func (f *outputFile) stage() error {
	mode, replaces := fs.FileMode(0o644), false
	if info, err := os.Lstat(f.path); err == nil && info.Mode().IsRegular() {
		mode, replaces = info.Mode().Perm(), true
	}
	name := filepath.Join(filepath.Dir(f.path), ".entrepot-"+rand.Text())
	temp, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
	if err != nil {
		return err
	}
	f.temp = name
	if replaces { // the umask is for new files
		err = temp.Chmod(mode)
	}
	if err == nil {
		_, err = temp.Write(f.data)
	}
	if err == nil {
		err = temp.Sync()
	}
	return errors.Join(err, temp.Close())
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

// appear gives the files their names.
func (o *outputs) appear() error {
	for i := range o.files {
		if err := o.files[i].appear(o.force); err != nil {
			return err
		}
	}
	return nil
}

// appear gives one file its name. A link does not replace what has come there in
// the meantime; a rename, where the file system has no links, does. What is
// replaced on purpose is kept aside; with links its place is never empty.
func (f *outputFile) appear(force bool) error {
	if !force {
		if err := os.Link(f.temp, f.path); err == nil {
			f.done = true
			return nil
		}
	}
	if _, err := os.Lstat(f.path); err == nil {
		if !force {
			return existsError(f.path)
		}
		old := f.temp + ".old"
		if os.Link(f.path, old) != nil {
			if err := os.Rename(f.path, old); err != nil {
				return fmt.Errorf("keep %s aside: %w", f.path, err)
			}
		}
		f.old = old
	}
	if err := os.Rename(f.temp, f.path); err != nil {
		return fmt.Errorf("write %s: %w", f.path, err)
	}
	f.done = true
	return nil
}

// send writes the streams, once all files are there.
func (o *outputs) send() error {
	for _, s := range o.streams {
		w, err := os.OpenFile(s.path, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		_, err = w.Write(s.data)
		if err = errors.Join(err, w.Close()); err != nil {
			return fmt.Errorf("write %s: %w", s.path, err)
		}
	}
	return nil
}

// settle removes what is left beside the files, and makes the names last.
func (o *outputs) settle() error {
	var err error
	changed := map[string]bool{} // :: directory
	for i := range o.files {
		f := &o.files[i]
		changed[filepath.Dir(f.path)] = true
		for _, name := range []string{f.temp, f.old} {
			if name == "" {
				continue
			}
			if bad := os.Remove(name); !errors.Is(bad, fs.ErrNotExist) {
				err = errors.Join(err, bad)
			}
		}
	}
	for _, dir := range o.dirs {
		changed[filepath.Dir(dir)] = true
	}
	for dir := range changed {
		err = errors.Join(err, syncDir(dir))
	}
	return err
}

// takeBack leaves everything as it was, the last file first. What cannot be
// undone stays: the error that led here is the one to tell.
func (o *outputs) takeBack() {
	for i := len(o.files) - 1; i >= 0; i-- {
		f := &o.files[i]
		switch {
		case f.old != "":
			_ = os.Rename(f.old, f.path)
			_ = os.Remove(f.old) // where both were one file, there was nothing to rename
		case f.done:
			_ = os.Remove(f.path)
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
