package e2e

import (
	"errors"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/entrepot/entrepot/internal/faultfs"
)

// cutsEach is how many cuts one drive lives through.
const cutsEach = 40

// TestFault14PowerCut cuts the power at random moments of pushes (whole and in
// chunks, with tags that move), pulls, deletes, evictions and collections, on ext4
// on a disk that loses of its cache what it likes, and writes the rest in any
// order. After each cut the file system is mounted, which replays its journal, and
// the server started, and that is all: it is ready, every acknowledged push is
// there byte for byte, and nothing that can be seen is corrupt or half there.
//
// Whoever answers before the bytes and their name are synced loses pushes here,
// and records of no length stop nobody: distribution#1960.
func TestFault14PowerCut(t *testing.T) {
	lost, flushes := 0, 0
	for left := *cuts; left > 0; left -= cutsEach {
		l, f := cutPower(t, min(left, cutsEach))
		lost, flushes = lost+l, flushes+f
	}
	t.Logf("%d flushes; the cuts took %d sectors that had been written", flushes, lost)
	if flushes == 0 {
		t.Error("nobody has flushed the disk")
	}
}

// cutPower cuts the power of one drive again and again.
func cutPower(t *testing.T, cuts int) (lost, flushes int) {
	d, at := newDrive(t, 1<<30)
	c := newCrasher(t, serving{store: filepath.Join(at, "store")})
	c.crash = func() {
		d.Cut(c.rng)
		c.kill() // it is not there any more either
	}
	c.recover = func(t *testing.T) {
		run(t, exec.Command("umount", at))
		d.Restore()
		run(t, exec.Command("mount", "-o", "loop", d.Path, at))
	}
	c.run(t, cuts)
	c.stop(t) // before the file system goes
	return d.Lost()
}

// newDrive makes a drive with an empty ext4, and mounts it. Whatever uses it has
// to end before the test does.
func newDrive(t *testing.T, size int64) (d *faultfs.Drive, at string) {
	t.Helper()
	d, err := faultfs.NewDrive(t.TempDir(), size)
	if err != nil {
		kit.mountless(t, err)
	}
	t.Cleanup(func() {
		if err := d.Unmount(); err != nil {
			t.Error(err)
		}
	})
	at = t.TempDir()
	run(t, exec.Command("mkfs.ext4", "-q", d.Path))
	if out, err := exec.Command("mount", "-o", "loop", d.Path, at).CombinedOutput(); err != nil {
		kit.mountless(t, errors.New(string(out)))
	}
	t.Cleanup(func() { exec.Command("umount", "-l", at).Run() }) // in a test that failed it may be in use, or gone
	return d, at
}
