package cli

import (
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

// A stagedFile is an outFile that lies, complete and synced, beside its place.
type stagedFile struct {
	path string // its place
	temp string // where it is; "" once it is in its place
	old  string // a second name of what was in its place; "" for nothing
}

// writeAll writes all files, or none: each is written beside its place and
// synced before the first is moved there, and moves are undone where one of
// them fails. Directories are made where they are missing.
func writeAll(files []outFile) (err error) {
	var staged []*stagedFile
	defer func() {
		for _, s := range staged {
			err = errors.Join(err, s.clean())
		}
	}()
	for i, f := range files {
		s, err := stage(f, i)
		if err != nil {
			return fmt.Errorf("write %s: %w", f.path, err)
		}
		staged = append(staged, s)
	}
	for i, s := range staged {
		if err := s.commit(); err != nil {
			for _, done := range staged[:i+1] {
				err = errors.Join(err, done.undo())
			}
			return fmt.Errorf("write %s: %w", s.path, err)
		}
	}
	return syncDirs(staged)
}

// stage writes a file beside its place.
func stage(f outFile, i int) (*stagedFile, error) {
	dir := filepath.Dir(f.path)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	if isDir(f.path) {
		return nil, errors.New("it is a directory")
	}
	name := fmt.Sprintf(".%s.%d-%d", filepath.Base(f.path), os.Getpid(), i)
	s := &stagedFile{path: f.path, temp: filepath.Join(dir, name+".new")}
	out, err := os.OpenFile(s.temp, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o644)
	if err != nil {
		return nil, err
	}
	_, err = out.Write(f.data)
	if err == nil {
		err = out.Sync()
	}
	if err = errors.Join(err, out.Close()); err != nil {
		return nil, errors.Join(err, os.Remove(s.temp))
	}
	if _, err := os.Lstat(f.path); err == nil {
		s.old = filepath.Join(dir, name+".old")
	}
	return s, nil
}

// commit moves a file to its place, and keeps what was there. Where the file
// system has hard links the place is never empty.
func (s *stagedFile) commit() error {
	if s.old != "" {
		if os.Link(s.path, s.old) != nil {
			if err := os.Rename(s.path, s.old); err != nil {
				s.old = ""
				return err
			}
		}
	}
	if err := os.Rename(s.temp, s.path); err != nil {
		return err
	}
	s.temp = ""
	return nil
}

// undo puts back what was there before.
func (s *stagedFile) undo() (err error) {
	switch {
	case s.old != "":
		err = os.Rename(s.old, s.path)
		s.old = ""
	case s.temp == "":
		err = os.Remove(s.path)
	}
	return err
}

// clean removes what is left beside the place.
func (s *stagedFile) clean() error {
	var err error
	for _, name := range []string{s.temp, s.old} {
		if name == "" {
			continue
		}
		if e := os.Remove(name); !errors.Is(e, fs.ErrNotExist) {
			err = errors.Join(err, e)
		}
	}
	return err
}

// syncDirs makes the new names last.
func syncDirs(staged []*stagedFile) error {
	synced := map[string]bool{}
	for _, s := range staged {
		dir := filepath.Dir(s.path)
		if synced[dir] {
			continue
		}
		synced[dir] = true
		d, err := os.Open(dir)
		if err != nil {
			return err
		}
		if err := errors.Join(d.Sync(), d.Close()); err != nil {
			return fmt.Errorf("sync %s: %w", dir, err)
		}
	}
	return nil
}
