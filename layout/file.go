package layout

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path"
)

// replace puts a file in its place whole, or leaves what is there.
func (l *Layout) replace(name string, raw []byte) error { return l.store(name, bytes.NewReader(raw)) }

// store writes what r gives to a file beside its place, and moves it there once
// it is on the disk.
func (l *Layout) store(name string, r io.Reader) (err error) {
	if err := l.root.MkdirAll(path.Dir(name), 0o777); err != nil {
		return err
	}
	temp := fmt.Sprintf(".entrepot-%016x", rand.Uint64())
	f, err := l.root.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return fmt.Errorf("write layout: %w", err)
	}
	defer func() {
		if err != nil {
			l.root.Remove(temp)
		}
	}()
	_, err = io.Copy(f, r)
	if err == nil {
		err = f.Sync()
	}
	if bad := f.Close(); err == nil && bad != nil {
		err = bad
	}
	if err != nil {
		return err
	}
	if err = l.root.Rename(temp, name); err != nil {
		return fmt.Errorf("write layout: %w", err)
	}
	return l.syncDir(path.Dir(name))
}

// syncDir makes a new name durable.
func (l *Layout) syncDir(name string) error {
	d, err := l.root.Open(name)
	if err != nil {
		return err
	}
	err = d.Sync()
	if bad := d.Close(); err == nil {
		err = bad
	}
	return err
}
