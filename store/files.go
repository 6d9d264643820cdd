package store

import (
	"io/fs"
	"os"
	"path/filepath"
)

// A step is one change to the file system that is about to be made.
type step struct {
	op   string // create, write, truncate, sync, chmod, rename, link, remove, mkdir, syncdir
	path string
	to   string // of a rename or a link
}

// files makes every change to the file system that the store makes, one step a
// call. A test can stand before each of them: let it fail, say that it is done
// already, or take a copy of the directory as a crash would leave it.
type files struct {
	before func(step) (done bool, err error) // nil outside of tests
}

func (s files) check(op, path, to string) (done bool, err error) {
	if s.before == nil {
		return false, nil
	}
	done, err = s.before(step{op, path, to})
	if err != nil {
		err = &os.PathError{Op: op, Path: path, Err: err}
	}
	return done, err
}

// create makes a new file for reading and writing.
func (s files) create(path string, perm fs.FileMode) (*os.File, error) {
	if _, err := s.check("create", path, ""); err != nil {
		return nil, err
	}
	return os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, perm)
}

func (s files) write(f *os.File, p []byte) (int, error) {
	if _, err := s.check("write", f.Name(), ""); err != nil {
		return 0, err
	}
	return f.Write(p)
}

func (s files) writeAt(f *os.File, p []byte, off int64) (int, error) {
	if _, err := s.check("write", f.Name(), ""); err != nil {
		return 0, err
	}
	return f.WriteAt(p, off)
}

func (s files) truncate(f *os.File, size int64) error {
	if done, err := s.check("truncate", f.Name(), ""); done || err != nil {
		return err
	}
	return f.Truncate(size)
}

func (s files) sync(f *os.File) error {
	if done, err := s.check("sync", f.Name(), ""); done || err != nil {
		return err
	}
	return f.Sync()
}

func (s files) chmod(f *os.File, perm fs.FileMode) error {
	if done, err := s.check("chmod", f.Name(), ""); done || err != nil {
		return err
	}
	return f.Chmod(perm)
}

func (s files) rename(from, to string) error {
	if done, err := s.check("rename", from, to); done || err != nil {
		return err
	}
	return os.Rename(from, to)
}

func (s files) link(from, to string) error {
	if done, err := s.check("link", from, to); done || err != nil {
		return err
	}
	return os.Link(from, to)
}

func (s files) remove(path string) error {
	if done, err := s.check("remove", path, ""); done || err != nil {
		return err
	}
	return os.Remove(path)
}

func (s files) mkdir(path string) error {
	if done, err := s.check("mkdir", path, ""); done || err != nil {
		return err
	}
	return os.Mkdir(path, dirPerm)
}

// syncDir makes the names in a directory durable.
func (s files) syncDir(path string) error {
	if done, err := s.check("syncdir", path, ""); done || err != nil {
		return err
	}
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	err = d.Sync()
	if bad := d.Close(); err == nil {
		err = bad
	}
	return err
}

// What the store creates belongs to its user alone: it holds private images.
const (
	dirPerm  fs.FileMode = 0o700
	filePerm fs.FileMode = 0o600
	blobPerm fs.FileMode = 0o444
)

// writeFile replaces the file at path durably and at once: it writes a new
// file beside it, syncs that, renames it and syncs the directory. The
// directory must exist and be durable.
func (s files) writeFile(path string, data []byte) error {
	dir := filepath.Dir(path)
	if err := s.replaceFile(path, data, replace{temp: dir, perm: filePerm, sync: true}); err != nil {
		return err
	}
	return s.syncDir(dir)
}

// replace says how replaceFile works.
type replace struct {
	temp string      // directory of the new file until it is renamed
	perm fs.FileMode // of the new file
	sync bool        // whether it is synced before it is renamed
}

// replaceFile writes a new file and renames it to path. The name is not
// durable until the directory is synced.
func (s files) replaceFile(path string, data []byte, how replace) (err error) {
	tmp := filepath.Join(how.temp, tempPrefix+random())
	f, err := s.create(tmp, how.perm)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = s.remove(tmp) // what stays is swept, and never listed
		}
	}()
	_, err = s.write(f, data)
	if err == nil && how.sync {
		err = s.sync(f)
	}
	if bad := f.Close(); err == nil {
		err = bad
	}
	if err != nil {
		return err
	}
	return s.rename(tmp, path)
}

// tempPrefix starts the name of a file that is being written and has not its
// own name yet. '~' is in no key, so such a file is never taken for an object.
const tempPrefix = "~"
