package faultfs

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// sector is what a disk writes whole or not at all, in bytes.
const sector = 4096

// A Drive is a disk with a volatile cache: the file "disk" in a directory of its
// own. A write is on the platter once it was flushed; when the power is cut before
// that, each of its sectors is there or is not, whatever came before or after it.
// Its methods are safe for concurrent use.
type Drive struct {
	Path   string // of the file
	server *fuse.Server
	size   int64

	mu      sync.Mutex // guards what follows
	platter map[int64]*[sector]byte
	cached  map[int64][]*[sector]byte // :: sector → what was written to it since the last flush, oldest first
	life    int                       // counts the cuts
	dead    bool                      // without power
	flushes int
	lost    int // sectors that were in the cache at cuts, and of which the last version did not survive
}

// NewDrive makes an empty drive of a size, in bytes, whose file is in dir. Unmount
// ends it.
func NewDrive(dir string, size int64) (*Drive, error) {
	d := &Drive{Path: filepath.Join(dir, "disk"), size: size, platter: map[int64]*[sector]byte{}, cached: map[int64][]*[sector]byte{}}
	root := &fs.Inode{}
	server, err := fs.Mount(dir, root, &fs.Options{
		MountOptions: fuse.MountOptions{DirectMountStrict: true, FsName: "faultfs", Name: "drive", MaxWrite: 128 << 10},
		OnAdd: func(ctx context.Context) {
			root.AddChild("disk", root.NewPersistentInode(ctx, &platter{d: d}, fs.StableAttr{Mode: syscall.S_IFREG, Ino: 2}), false)
		},
	})
	d.server = server
	return d, err
}

// Unmount takes the drive away. Nobody may use its file any more.
func (d *Drive) Unmount() error {
	if err := d.server.Unmount(); err != nil {
		return err
	}
	d.server.Wait()
	return nil
}

// Cut cuts the power: of what was not flushed, some survives. From now on
// everything fails, until Restore; for whoever has the file open now, for ever.
func (d *Drive) Cut(rng *rand.Rand) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.dead = true
	d.life++
	sectors := make([]int64, 0, len(d.cached))
	for at := range d.cached {
		sectors = append(sectors, at)
	}
	slices.Sort(sectors)  // so that a seed gives the same cut
	keep := rng.Float64() // of them, more or less
	for _, at := range sectors {
		versions := d.cached[at]
		if rng.Float64() >= keep {
			versions = versions[:rng.IntN(len(versions))] // an older one, or what was there before
			d.lost++
		}
		if n := len(versions); n > 0 {
			d.platter[at] = versions[n-1]
		}
	}
	clear(d.cached)
}

// Restore gives the power back.
func (d *Drive) Restore() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.dead = false
}

// Lost returns how many sectors cuts have taken, and how many flushes there were.
func (d *Drive) Lost() (sectors, flushes int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.lost, d.flushes
}

func (d *Drive) String() string { return fmt.Sprintf("%s (%d MiB)", d.Path, d.size>>20) }

// latest returns what a sector holds, for a system that has power; nil for
// zeroes. The caller holds mu.
func (d *Drive) latest(at int64) *[sector]byte {
	if v := d.cached[at]; len(v) > 0 {
		return v[len(v)-1]
	}
	return d.platter[at]
}

func (d *Drive) read(life int, p []byte, off int64) syscall.Errno {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.dead || life != d.life {
		return syscall.EIO
	}
	for n := 0; n < len(p); {
		at, in := (off+int64(n))/sector, (off+int64(n))%sector
		if s := d.latest(at); s != nil {
			n += copy(p[n:], s[in:])
		} else {
			end := min(len(p), n+sector-int(in))
			clear(p[n:end])
			n = end
		}
	}
	return 0
}

func (d *Drive) write(life int, p []byte, off int64) syscall.Errno {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.dead || life != d.life {
		return syscall.EIO
	}
	for n := 0; n < len(p); {
		at, in := (off+int64(n))/sector, (off+int64(n))%sector
		s := new([sector]byte)
		if old := d.latest(at); old != nil {
			*s = *old
		}
		n += copy(s[in:], p[n:])
		d.cached[at] = append(d.cached[at], s)
	}
	return 0
}

func (d *Drive) flush(life int) syscall.Errno {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.dead || life != d.life {
		return syscall.EIO
	}
	for at, versions := range d.cached {
		d.platter[at] = versions[len(versions)-1]
	}
	clear(d.cached)
	d.flushes++
	return 0
}

// A platter is the drive's file.
type platter struct {
	fs.Inode
	d *Drive
}

// A plug is the drive's file, open in one of its lives.
type plug struct{ life int }

// Open opens the file. Nothing is kept in the kernel, so that each write arrives,
// and each flush is one.
func (p *platter) Open(context.Context, uint32) (fs.FileHandle, uint32, syscall.Errno) {
	p.d.mu.Lock()
	defer p.d.mu.Unlock()
	return plug{p.d.life}, fuse.FOPEN_DIRECT_IO, 0
}

// Getattr tells the size.
func (p *platter) Getattr(_ context.Context, _ fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	out.Mode, out.Size = syscall.S_IFREG|0o600, uint64(p.d.size)
	return 0
}

// Setattr does nothing.
func (p *platter) Setattr(ctx context.Context, h fs.FileHandle, _ *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	return p.Getattr(ctx, h, out)
}

// Read reads.
func (p *platter) Read(_ context.Context, h fs.FileHandle, b []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	if off >= p.d.size {
		return fuse.ReadResultData(nil), 0
	}
	b = b[:min(int64(len(b)), p.d.size-off)]
	return fuse.ReadResultData(b), p.d.read(h.(plug).life, b, off)
}

// Write writes into the cache.
func (p *platter) Write(_ context.Context, h fs.FileHandle, b []byte, off int64) (uint32, syscall.Errno) {
	if off+int64(len(b)) > p.d.size {
		return 0, syscall.ENOSPC
	}
	return uint32(len(b)), p.d.write(h.(plug).life, b, off)
}

// Fsync flushes the cache.
func (p *platter) Fsync(_ context.Context, h fs.FileHandle, _ uint32) syscall.Errno {
	return p.d.flush(h.(plug).life)
}
