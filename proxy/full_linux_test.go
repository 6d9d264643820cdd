package proxy

import (
	"syscall"
	"testing"

	"github.com/entrepot/entrepot/internal/regtest"
	"github.com/entrepot/entrepot/oci"
)

// TestFullDisk fills a small file system: what was used longest ago makes room,
// what does not fit at all is passed through, hits go on, and nothing of a
// download stays behind (fault matrix 15).
func TestFullDisk(t *testing.T) {
	const MiB = 1 << 20
	r := newRig(t, Config{})
	r.stop()
	if err := syscall.Mount("tmpfs", r.dir, "tmpfs", 0, "size=8m"); err != nil {
		r.start(r.up)
		t.Skip("needs the right to mount:", err)
	}
	t.Cleanup(func() {
		r.stop() // before the file system goes
		if err := syscall.Unmount(r.dir, 0); err != nil {
			t.Error(err)
		}
		r.dir = t.TempDir()
		r.start(r.up) // for the rig's own cleanup
	})
	r.start(r.up)
	read := func(d oci.Descriptor) oci.Outcome {
		t.Helper()
		got, o, err := r.read(alpine, d.Digest)
		if err != nil || int64(len(got)) != d.Size {
			t.Fatalf("a blob of %d bytes: got %d, %v", d.Size, len(got), err)
		}
		return o
	}
	first := r.up.AddBlob(alpine.Path, regtest.Random(1, 3*MiB))
	second := r.up.AddBlob(alpine.Path, regtest.Random(2, 3*MiB))
	third := r.up.AddBlob(alpine.Path, regtest.Random(3, 3*MiB))
	huge := r.up.AddBlob(alpine.Path, regtest.Random(4, 20*MiB))
	for _, b := range []oci.Descriptor{first, second, third} {
		if o := read(b); o.Warning != "" {
			t.Errorf("a blob that fits once others have gone: %q", o.Warning)
		}
		r.restart() // it is stored
	}
	if r.isStored(first.Digest) && r.isStored(second.Digest) || !r.isStored(third.Digest) {
		t.Error("none of the older blobs made room for the third")
	}
	for range 2 {
		if o := read(huge); o.Warning != warnFull {
			t.Errorf("a blob that cannot fit: %+v", o)
		}
	}
	if o := read(third); o.Result != oci.Hit {
		t.Errorf("a hit on a full disk is a %s", o.Result)
	}
	if left := r.leftovers(); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}
