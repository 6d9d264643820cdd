package faultfs

import (
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// An Op is a kind of operation that a [Fault] can hit.
type Op string

// The operations.
const (
	Open     Op = "open"
	Create   Op = "create"
	Read     Op = "read"
	Write    Op = "write"
	Allocate Op = "allocate"
	Sync     Op = "sync"    // of a file
	SyncDir  Op = "syncdir" // of a directory
	Rename   Op = "rename"
	Link     Op = "link"
	Unlink   Op = "unlink"
	Mkdir    Op = "mkdir"
)

// A Fault says which operations fail, and how.
type Fault struct {
	Op    Op
	Path  string        // a part of the path below the mount that they have; of a rename or a link, of its new name; "" for all
	Inode uint64        // of the file, for reads, writes and syncs, as the file below has it; 0: any
	From  int64         // reads and writes of bytes before it go well
	Times int           // how many of them fail; 0: all
	Err   syscall.Errno // what they fail with
}

// An FS is a directory that is mounted a second time, with faults. Its methods
// are safe for concurrent use.
type FS struct {
	Dir    string // where it is mounted
	Below  string // the directory itself, without faults
	top    *node
	server *fuse.Server
	opened atomic.Uint64 // files, so far

	mu     sync.Mutex // guards what follows
	faults []*Fault
	hits   []Hit
	rate   int64 // bytes a second; 0: no limit
	free   time.Time
}

// A Hit is an operation that failed, or a sync.
type Hit struct {
	Op   Op
	Path string
	File uint64        // which open file it was, for a sync; numbers are never used again
	Err  syscall.Errno // 0: it went well
}

// Mount mounts the directory below at dir, which exists too. Unmount ends it. The
// process that mounts must not use files at dir itself: it would wait for itself.
func Mount(below, dir string) (*FS, error) {
	f := &FS{Dir: dir, Below: below}
	var st syscall.Stat_t
	if err := syscall.Stat(below, &st); err != nil {
		return nil, err
	}
	data := &fs.LoopbackRoot{Path: below, Dev: st.Dev}
	//lint:ignore SA1019 NodeWrapChilder would wrap what NewNode makes directly
	data.NewNode = func(data *fs.LoopbackRoot, _ *fs.Inode, _ string, _ *syscall.Stat_t) fs.InodeEmbedder {
		return &node{LoopbackNode: fs.LoopbackNode{RootData: data}, f: f}
	}
	root := &node{LoopbackNode: fs.LoopbackNode{RootData: data}, f: f}
	data.RootNode, f.top = root, root
	server, err := fs.Mount(dir, root, &fs.Options{MountOptions: fuse.MountOptions{
		DirectMountStrict: true, FsName: "faultfs", Name: "faultfs", MaxWrite: 128 << 10}, NullPermissions: true})
	f.server = server
	return f, err
}

// Unmount ends what uses the file system and takes it away.
func (f *FS) Unmount() error {
	f.Heal()
	if err := f.server.Unmount(); err != nil {
		return err
	}
	f.server.Wait()
	return nil
}

// Fail has operations fail from now on, beside those that fail already.
func (f *FS) Fail(faults ...Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, x := range faults {
		f.faults = append(f.faults, &x)
	}
}

// Heal ends all faults, and lets it be as fast as it can.
func (f *FS) Heal() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.faults, f.rate = nil, 0
}

// Slow lets all writes together have so many bytes a second. Reads are not slowed
// down: what was written lately is in memory, on a slow disk too.
func (f *FS) Slow(rate int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rate, f.free = rate, time.Now()
}

// Hits returns the operations that failed and the syncs, in their order, since the
// last call.
func (f *FS) Hits() []Hit {
	f.mu.Lock()
	defer f.mu.Unlock()
	hits := f.hits
	f.hits = nil
	return hits
}

// check returns the error that an operation has; on is the open file that it is
// on, where it is on one.
func (f *FS) check(op Op, path string, on *file, off, size int64) syscall.Errno {
	var id, inode uint64
	if on != nil {
		id, inode = on.id, on.n.StableAttr().Ino
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	errno := syscall.Errno(0)
	for i, x := range f.faults {
		if x.Op != op || !strings.Contains(path, x.Path) || x.Inode != 0 && x.Inode != inode || x.From > 0 && off+size <= x.From {
			continue
		}
		errno = x.Err
		if x.Times--; x.Times == 0 {
			f.faults = slices.Delete(f.faults, i, i+1)
		}
		break
	}
	if errno != 0 || op == Sync {
		f.hits = append(f.hits, Hit{op, path, id, errno})
	}
	return errno
}

// slack is how long a slow file system may have had nothing to do, and make up for
// it: a disk has a cache too, and a test's machine other things to do.
const slack = 250 * time.Millisecond

// wait lets bytes that are written take their time.
func (f *FS) wait(bytes int) {
	f.mu.Lock()
	if f.rate == 0 {
		f.mu.Unlock()
		return
	}
	if saved := time.Now().Add(-slack); f.free.Before(saved) {
		f.free = saved
	}
	f.free = f.free.Add(time.Duration(float64(bytes) / float64(f.rate) * float64(time.Second)))
	until := f.free
	f.mu.Unlock()
	time.Sleep(time.Until(until))
}
