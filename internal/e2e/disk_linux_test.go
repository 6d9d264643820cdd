package e2e

import (
	"bytes"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/entrepot/entrepot/internal/faultfs"
	"github.com/entrepot/entrepot/internal/regtest"
	"github.com/entrepot/entrepot/oci"
)

// newFaulty starts an Entrepot whose store is on a file system that fails on
// request.
func newFaulty(t *testing.T) (*stack, *faultfs.FS) {
	t.Helper()
	f, err := faultfs.Mount(t.TempDir(), t.TempDir())
	if err != nil {
		kit.mountless(t, err)
	}
	t.Cleanup(func() {
		if err := f.Unmount(); err != nil {
			t.Error(err)
		}
	})
	return newStackOf(t, serving{store: filepath.Join(f.Dir, "store"), more: hostsApps}, ""), f
}

// TestFault17 fails single operations of the disk with EIO, as a dying one does.
// A pull goes on from the upstream, a push is refused with an error that says to
// come back, and nothing is answered that the disk does not have.
func TestFault17(t *testing.T) {
	for _, x := range []struct {
		name  string
		fault faultfs.Fault
	}{
		{"create", faultfs.Fault{Op: faultfs.Create}},
		{"first write", faultfs.Fault{Op: faultfs.Write}},
		{"write in the middle", faultfs.Fault{Op: faultfs.Write, From: 1 << 20}},
		{"sync", faultfs.Fault{Op: faultfs.Sync}},
		{"sync once", faultfs.Fault{Op: faultfs.Sync, Times: 1}},
		{"rename", faultfs.Fault{Op: faultfs.Rename}},
		{"sync of a directory", faultfs.Fault{Op: faultfs.SyncDir}},
	} {
		t.Run(x.name, func(t *testing.T) {
			x.fault.Err = syscall.EIO
			failWrites(t, x.fault)
		})
	}
	t.Run("read of a cached blob", readCached)
	t.Run("read of a pushed blob", readPushed)
}

// failWrites pulls and pushes with a fault, and without it after that. The
// answer to a push counts: where it says 201, the server is killed, and it is
// there.
func failWrites(t *testing.T, fault faultfs.Fault) {
	s, f := newFaulty(t)
	d, content := s.addBlob(t, "library/ubuntu", 1, 3<<20)
	own := contentOf(t, regtest.Random(2, 3<<20))
	pushed := oci.FromBytes(own, "")
	f.Fail(fault)
	s.ask(t, "GET", blobPath(d)).is(t, content)
	f.Heal()
	f.Fail(fault)
	status := pushBlob(t, s.url, "apps/x", pushed, own)
	if status != http.StatusServiceUnavailable && (status != http.StatusCreated || fault.Op == faultfs.Sync && fault.Times == 0) {
		t.Errorf("a push on a failing disk is answered with %d", status)
	}
	f.Heal()
	noSyncTwice(t, f.Hits())
	s.kill()
	s.restart(t)
	s.ready(t)
	a := s.ask(t, "GET", "apps/x/blobs/"+string(pushed))
	if status == http.StatusCreated || a.StatusCode == http.StatusOK {
		a.is(t, own)
	}
	s.ask(t, "GET", blobPath(d)).is(t, content)
	if status := pushBlob(t, s.url, "apps/x", pushed, own); status != http.StatusCreated {
		t.Errorf("once the disk is well a push is answered with %d", status)
	}
	s.stop(t)
	s.noLeftovers(t, "tmp") // a push that was refused may go on for a day
}

// noSyncTwice holds that nobody believes a sync of a file after one that failed:
// the kernel may have dropped the pages, and say that all is well.
func noSyncTwice(t *testing.T, hits []faultfs.Hit) {
	t.Helper()
	failed := map[uint64]bool{}
	for _, h := range hits {
		if h.Op != faultfs.Sync {
			continue
		}
		if failed[h.File] {
			t.Errorf("%s was synced again after a sync of it had failed", h.Path)
		}
		failed[h.File] = h.Err != 0
	}
}

// noLeftovers holds that there is no file in some directories of the store: "tmp"
// for downloads, "up" for pushes.
func (s *stack) noLeftovers(t *testing.T, dirs ...string) {
	t.Helper()
	for _, dir := range dirs {
		if err := filepath.WalkDir(filepath.Join(s.store, dir), func(path string, e fs.DirEntry, err error) error {
			if err == nil && !e.IsDir() {
				t.Errorf("left behind: %s", path)
			}
			return err
		}); err != nil {
			t.Error(err)
		}
	}
}

// readCached lets the disk fail in the middle of a blob that it has, and at its
// start: the client gets the rest from the upstream within the same answer, and
// the next one gets a hit.
func readCached(t *testing.T) {
	s, f := newFaulty(t)
	for i, from := range []int64{0, 1 << 20} {
		d, content := s.addBlob(t, "library/ubuntu", uint64(10+i), 3<<20)
		s.ask(t, "GET", blobPath(d)).is(t, content)
		s.stop(t) // so that nobody follows the download any more
		s.restart(t)
		var there syscall.Stat_t
		if err := syscall.Stat(filepath.Join(f.Below, "store/c/b/sha256", d.Encoded()[:2], d.Encoded()), &there); err != nil {
			t.Fatal(err)
		}
		f.Fail(faultfs.Fault{Op: faultfs.Read, Inode: there.Ino, From: from, Err: syscall.EIO}) // wherever it is moved
		damaged := s.metric(t, "entrepot_damaged_blobs_total")
		s.up.ResetLog()
		for _, headers := range [][]string{nil, {"Range: bytes=1500000-"}} {
			a := s.ask(t, "GET", blobPath(d), headers...)
			want := content
			if headers != nil {
				want = content[1500000:]
			}
			if a.err != nil || !bytes.Equal(a.body, want) {
				t.Errorf("from %d, %v: %d bytes of %d (%v)", from, headers, len(a.body), len(want), a.err)
			}
			s.stored(t, d)
		}
		f.Heal()
		if n := s.blobGets(d); n != 1 {
			t.Errorf("from %d: the upstream was asked %d times, want once", from, n)
		}
		if s.metric(t, "entrepot_damaged_blobs_total") == damaged {
			t.Errorf("from %d: nobody was told of the damage", from)
		}
		s.ask(t, "GET", blobPath(d)).header(t, "X-Cache: HIT")
	}
}

// stored waits until a blob is in the cache: a client has all of it before it is
// synced.
func (s *stack) stored(t *testing.T, d oci.Digest) {
	t.Helper()
	eventually(t, "the blob is stored", func() bool {
		return exec.Command("test", "-e", filepath.Join(s.store, "c/b/sha256", d.Encoded()[:2], d.Encoded())).Run() == nil
	})
}

// readPushed lets the disk fail where a pushed blob lies. There is nobody else
// who has it: a clean error where nothing was sent, a cut body otherwise, and an
// alarm. The blob stays, and is served again once it can be read.
func readPushed(t *testing.T) {
	s, f := newFaulty(t)
	own := contentOf(t, regtest.Random(3, 3<<20))
	d := oci.FromBytes(own, "")
	if status := pushBlob(t, s.url, "apps/x", d, own); status != http.StatusCreated {
		t.Fatalf("push: %d", status)
	}
	path := "apps/x/blobs/" + string(d)
	f.Fail(faultfs.Fault{Op: faultfs.Read, Path: "v/b/", Err: syscall.EIO})
	s.ask(t, "GET", path).status(t, http.StatusServiceUnavailable, oci.CodeBlobUnknown)
	if n := s.metric(t, "entrepot_damaged_blobs_total", `pool="pushed"`); n == 0 {
		t.Error("nobody was told of the damage")
	}
	f.Heal()
	f.Fail(faultfs.Fault{Op: faultfs.Read, Path: "v/b/", From: 1 << 20, Err: syscall.EIO})
	if a := s.ask(t, "GET", path); a.StatusCode == http.StatusOK && (a.err == nil || len(a.body) > 1<<20) {
		t.Errorf("%d bytes and %v of a blob of which 1 MiB can be read", len(a.body), a.err)
	}
	f.Heal()
	s.ask(t, "GET", path).is(t, own)
}

// TestFault18ReadOnly mounts the store's file system read-only under the running
// server, as the kernel does after an error: hits are served, cold pulls come from
// the upstream, writes are refused with 503, and once it is writable again all is
// as before, without a restart.
func TestFault18ReadOnly(t *testing.T) {
	_, at := newDrive(t, 128<<20)
	s := newStackOf(t, serving{store: filepath.Join(at, "store"), more: hostsApps}, `tag_ttl = "0s"`)
	t.Cleanup(func() { s.stop(t) }) // before the file system goes
	im := s.up.AddImage("library/ubuntu", ubuntu, "24.04")
	s.ask(t, "GET", ubuntuTag).is(t, im.Raw)
	s.settle(t, im)
	own := contentOf(t, regtest.Random(3, 1<<20))
	d := oci.FromBytes(own, "")
	if status := pushBlob(t, s.url, "apps/x", d, own); status != http.StatusCreated {
		t.Fatalf("push: %d", status)
	}
	cold, content := s.addBlob(t, "library/ubuntu", 77, 1<<20)
	other := s.up.AddImage("library/other", regtest.Image{Layers: []int64{100}, Seed: 5}, "1")

	run(t, exec.Command("mount", "-o", "remount,ro", at))
	s.ask(t, "GET", ubuntuTag).is(t, im.Raw)
	for _, l := range im.Layers {
		a := s.ask(t, "GET", blobPath(l.Digest))
		a.status(t, http.StatusOK, "")
		a.header(t, "X-Cache: HIT")
	}
	s.ask(t, "GET", "apps/x/blobs/"+string(d)).is(t, own)
	s.ask(t, "GET", blobPath(cold)).is(t, content)
	s.ask(t, "GET", "library/other/manifests/1?ns=docker.io").is(t, other.Raw)
	new := contentOf(t, regtest.Random(4, 1<<20))
	if status, err := tryPushBlob(t, s.url, "apps/x", oci.FromBytes(new, ""), new); status != http.StatusServiceUnavailable {
		t.Errorf("a push on a read-only disk is answered with %d, %v", status, err)
	}

	run(t, exec.Command("mount", "-o", "remount,rw", at))
	if status := pushBlob(t, s.url, "apps/x", oci.FromBytes(new, ""), new); status != http.StatusCreated {
		t.Errorf("a push once the disk is writable again is answered with %d", status)
	}
	s.ask(t, "GET", blobPath(cold)).is(t, content)
	s.stored(t, cold)
	s.ask(t, "GET", blobPath(cold)).header(t, "X-Cache: HIT")
}

// newSmall mounts a file system of so many MiB, and starts an Entrepot on it.
func newSmall(t *testing.T, mib int) (s *stack, at string) {
	t.Helper()
	at = t.TempDir()
	if err := syscall.Mount("tmpfs", at, "tmpfs", 0, fmt.Sprintf("size=%dm", mib)); err != nil {
		kit.mountless(t, err)
	}
	t.Cleanup(func() { syscall.Unmount(at, syscall.MNT_DETACH) }) // in a test that failed it may be in use
	s = newStackOf(t, serving{store: filepath.Join(at, "store"), more: hostsApps}, "")
	t.Cleanup(func() { s.stop(t) })
	return s, at
}

// TestFault15Full fills the disk with what is nobody's to evict. Pulls are passed
// through, whole and verified: of blobs that say their size, of one that does not,
// and in ranges that lie far apart. Hits are hits, nothing is left behind, and
// with room again the next pull is stored.
func TestFault15Full(t *testing.T) {
	s, at := newSmall(t, 24)
	hot, warm := s.addBlob(t, "library/ubuntu", 1, 1<<20)
	s.ask(t, "GET", blobPath(hot)).is(t, warm)
	s.stored(t, hot)
	ballast := filepath.Join(at, "ballast")
	fill(t, ballast)
	big, content := s.addBlob(t, "library/ubuntu", 2, 80<<20)
	silent, quiet := s.addBlob(t, "library/ubuntu", 3, 8<<20)
	s.up.On(regtest.Match{Kind: regtest.Blob, Ref: string(silent)}, regtest.Fault{Length: regtest.Chunked})
	for range 2 {
		a := s.ask(t, "GET", blobPath(big))
		a.is(t, content)
		if !strings.Contains(a.Header.Get("Warning"), "full") {
			t.Errorf("the warning is %q", a.Header.Get("Warning"))
		}
		s.ask(t, "GET", blobPath(silent)).is(t, quiet)
		for _, off := range []int{0, 40 << 20, 79 << 20} {
			a := s.ask(t, "GET", blobPath(big), fmt.Sprintf("Range: bytes=%d-%d", off, off+1<<20-1))
			if a.StatusCode != http.StatusPartialContent || !bytes.Equal(a.body, content[off:off+1<<20]) {
				t.Errorf("a range at %d: %d, %d bytes", off, a.StatusCode, len(a.body))
			}
		}
	}
	s.noLeftovers(t, "tmp", "up")
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	s.ask(t, "GET", blobPath(silent)).is(t, quiet)
	s.stored(t, silent)
	s.ask(t, "GET", blobPath(silent)).header(t, "X-Cache: HIT")
	s.noLeftovers(t, "tmp", "up")
}

// fill writes a file until its disk is full.
func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for err == nil {
		_, err = f.Write(make([]byte, 64<<10))
	}
	if !strings.Contains(err.Error(), "no space") {
		t.Fatal(err)
	}
}

// TestFault16Full: a push to a full disk is refused with 507, nothing of it can be
// seen, and its session goes on once there is room.
func TestFault16Full(t *testing.T) {
	s, at := newSmall(t, 12)
	own := contentOf(t, regtest.Random(1, 6<<20))
	d := oci.FromBytes(own, "")
	post := send(t, http.MethodPost, s.url+"/v2/apps/x/blobs/uploads/", "", nil)
	path := s.patch(t, post.Header.Get("Location"), own[:1<<20])
	ballast := filepath.Join(at, "ballast")
	fill(t, ballast)
	resp := send(t, http.MethodPatch, s.url+path, "application/octet-stream", own[1<<20:])
	if resp.StatusCode != http.StatusInsufficientStorage {
		t.Errorf("a chunk for which there is no room is answered with %d, want 507", resp.StatusCode)
	}
	if status, _ := tryPushBlob(t, s.url, "apps/x", d, own); status != http.StatusInsufficientStorage {
		t.Errorf("a push for which there is no room is answered with %d, want 507", status)
	}
	s.ask(t, "GET", "apps/x/blobs/"+string(d)).status(t, http.StatusNotFound, oci.CodeBlobUnknown)
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	state := get(t, http.MethodGet, s.url+path)
	state.status(t, http.StatusNoContent, "")
	var end int
	if _, err := fmt.Sscanf(state.Header.Get("Range"), "0-%d", &end); err != nil || end+1 < 1<<20 {
		t.Fatalf("the session stands at %q", state.Header.Get("Range"))
	}
	path = s.patch(t, state.Header.Get("Location"), own[end+1:])
	sep := "?"
	if strings.Contains(path, "?") {
		sep = "&"
	}
	if resp := send(t, http.MethodPut, s.url+path+sep+"digest="+string(d), "", nil); resp.StatusCode != http.StatusCreated {
		t.Errorf("the session ends with %d", resp.StatusCode)
	}
	s.ask(t, "GET", "apps/x/blobs/"+string(d)).is(t, own)
}

// TestFault39SlowDisk pulls a cold blob to a disk that is slower than the network,
// with four clients: they get it whole, and what the disk has not taken yet does
// not pile up in memory. How fast they are is logged: the disk is the limit.
func TestFault39SlowDisk(t *testing.T) {
	const size, rate = 32 << 20, 20_000_000
	s, f := newFaulty(t)
	d, content := s.addBlob(t, "library/ubuntu", 1, size)
	f.Slow(rate)
	begun := time.Now()
	var clients sync.WaitGroup
	for range 4 {
		clients.Go(func() {
			if a, err := tryGet(t, http.MethodGet, s.url+"/v2/"+blobPath(d)); err != nil || a.err != nil || !bytes.Equal(a.body, content) {
				t.Errorf("%d bytes of %d (%v)", len(a.body), size, err)
			}
		})
	}
	clients.Wait()
	t.Logf("%.1f MB/s on a disk with %.1f MB/s", size/time.Since(begun).Seconds()/1e6, rate/1e6)
	if n := s.blobGets(d); n != 1 {
		t.Errorf("the upstream was asked %d times, want once", n)
	}
	if peak := s.peakMemory(t); peak > 96<<20 {
		t.Errorf("Entrepot has used %d MiB of memory", peak>>20)
	}
}
