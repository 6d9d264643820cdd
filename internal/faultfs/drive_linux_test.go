package faultfs

import (
	"bytes"
	"flag"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"testing"
)

var requireMounts = flag.Bool("require-mounts", false, "a file system that cannot be mounted fails the test")

// TestDrive holds that the drive is what it says, by ext4's word: of 8 files,
// those that were synced with their directory survive every cut, and of those that
// nobody synced some cut takes some.
func TestDrive(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	lost := 0
	for round := range 2 {
		d := newDrive(t)
		run(t, "mkfs.ext4", "-q", d.Path)
		at := t.TempDir()
		run(t, "mount", "-o", "loop", d.Path, at)
		writer := fmt.Sprintf(`for i in $(seq 8); do head -c 100000 /dev/zero | tr '\0' x >%[1]s/synced$i; sync %[1]s/synced$i; echo y >%[1]s/loose$i; done; sync %[1]s; for i in $(seq 8); do echo y >%[1]s/late$i; done`, at)
		run(t, "sh", "-c", writer)
		d.Cut(rng)
		run(t, "umount", "-l", at)
		d.Restore()
		run(t, "mount", "-o", "loop", d.Path, at)
		for i := range 8 {
			out, err := exec.Command("cat", fmt.Sprintf("%s/synced%d", at, i+1)).Output()
			if err != nil || !bytes.Equal(out, bytes.Repeat([]byte("x"), 100000)) {
				t.Errorf("round %d: a file that was synced has %d bytes (%v)", round, len(out), err)
			}
			if exec.Command("test", "-s", fmt.Sprintf("%s/late%d", at, i+1)).Run() != nil {
				lost++
			}
		}
		run(t, "umount", at)
	}
	if lost == 0 {
		t.Error("no cut has taken anything that was not synced")
	}
}

func newDrive(t *testing.T) *Drive {
	t.Helper()
	dir := t.TempDir()
	d, err := NewDrive(dir, 64<<20)
	if err != nil {
		skip(t, err)
	}
	t.Cleanup(func() {
		if err := d.Unmount(); err != nil {
			t.Error(err)
		}
	})
	return d
}

// skip skips a test that needs to mount something, by its reason.
func skip(t *testing.T, err error) {
	t.Helper()
	if *requireMounts {
		t.Fatal("cannot mount:", err)
	}
	t.Skip("SKIPPED: cannot mount:", err)
}

func run(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
}
