package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"
)

// format is the first line of the file FORMAT. It changes when an older
// program could no longer read, or would damage, what a newer one wrote.
const format = "entrepot store 1"

// maxAge is how long an unfinished spool or upload is kept.
const maxAge = 24 * time.Hour

// open takes the lock, checks the format and brings what a crash left into
// order. It looks at tmp alone, never at the blobs.
func (s *Store) open() error {
	if err := os.MkdirAll(s.dir, dirPerm); err != nil {
		return err
	}
	if err := s.takeLock(); err != nil {
		return err
	}
	if err := s.checkFormat(); err != nil {
		return err
	}
	for _, name := range []string{"tmp", "up", "c", "v"} {
		if err := s.files.mkdir(s.path(name)); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	if err := s.files.syncDir(s.dir); err != nil {
		return err
	}
	if _, err := os.Lstat(s.path("RUN")); err == nil {
		s.log.Info("recovering a store that was not closed", "dir", s.dir)
	}
	if err := s.recoverSpools(); err != nil {
		return err
	}
	return s.files.writeFile(s.path("RUN"), []byte(s.boot+"\n"))
}

func (s *Store) takeLock() error {
	// For reading: a file that is open for writing would keep the file system from
	// being mounted read-only.
	f, err := os.OpenFile(s.path("LOCK"), os.O_RDONLY|os.O_CREATE, filePerm)
	if err != nil {
		return err
	}
	if held, err := lockFile(f); err != nil {
		defer f.Close()
		if held {
			pid := make([]byte, 32)
			n, _ := f.Read(pid) // for the message alone
			return fmt.Errorf("%s is in use by another process (pid %s): stop it, or choose another directory",
				s.dir, bytes.TrimSpace(pid[:n]))
		}
		return fmt.Errorf("lock %s: %w", f.Name(), err)
	}
	s.lock = f
	return os.WriteFile(f.Name(), fmt.Appendln(nil, os.Getpid()), filePerm)
}

// checkFormat reads FORMAT, or writes it into an empty directory.
func (s *Store) checkFormat() error {
	err := s.readFormat()
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	list, err := os.ReadDir(s.dir)
	if err != nil {
		return err
	}
	for _, e := range list {
		if name := e.Name(); name != "LOCK" && name != "lost+found" && !strings.HasPrefix(name, tempPrefix) {
			return fmt.Errorf("%s is not empty and not a store (it holds %s): choose another directory", s.dir, name)
		}
	}
	return s.files.writeFile(s.path("FORMAT"), []byte(format+"\n"+random()+"\n"))
}

// readFormat returns nil where FORMAT is what this program reads.
func (s *Store) readFormat() error {
	b, err := os.ReadFile(s.path("FORMAT"))
	if err != nil {
		return err
	}
	if first, _, _ := strings.Cut(string(b), "\n"); first != format {
		return fmt.Errorf("%s says %q, this program reads %q", s.path("FORMAT"), first, format)
	}
	return nil
}

// sweepAlways sweeps now and each hour.
func (s *Store) sweepAlways(ctx context.Context) {
	tick := time.NewTicker(time.Hour)
	defer tick.Stop()
	for {
		s.sweep()
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// sweep removes spools and uploads that nobody went on with for a day.
func (s *Store) sweep() {
	s.sweepSpools()
	s.vault.sweepUploads()
}

// removeQuietly removes a file whose staying would cost nothing but room.
func (s *Store) removeQuietly(path string) {
	if err := s.files.remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.log.Warn("cannot remove a temporary file", "path", path, "err", err)
	}
}
