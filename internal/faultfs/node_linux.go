package faultfs

import (
	"context"
	"path/filepath"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// A node is a file or a directory of an FS.
type node struct {
	fs.LoopbackNode
	f *FS
}

func (n *node) name() string { return n.Path(n.f.root()) }

func (n *node) child(name string) string { return filepath.Join(n.name(), name) }

func (f *FS) root() *fs.Inode { return f.top.EmbeddedInode() }

func (n *node) fail(op Op, name string) syscall.Errno { return n.f.check(op, name, nil, 0, 0) }

// Open opens a file.
func (n *node) Open(ctx context.Context, flags uint32) (fs.FileHandle, uint32, syscall.Errno) {
	if errno := n.fail(Open, n.name()); errno != 0 {
		return nil, 0, errno
	}
	h, how, errno := n.LoopbackNode.Open(ctx, flags)
	return n.wrap(h), how, errno
}

// Create makes a file and opens it.
func (n *node) Create(ctx context.Context, name string, flags, mode uint32, out *fuse.EntryOut) (*fs.Inode, fs.FileHandle, uint32, syscall.Errno) {
	if errno := n.fail(Create, n.child(name)); errno != 0 {
		return nil, nil, 0, errno
	}
	in, h, how, errno := n.LoopbackNode.Create(ctx, name, flags, mode, out)
	if errno != 0 {
		return nil, nil, 0, errno
	}
	return in, in.Operations().(*node).wrap(h), how, 0
}

// Mkdir makes a directory.
func (n *node) Mkdir(ctx context.Context, name string, mode uint32, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	if errno := n.fail(Mkdir, n.child(name)); errno != 0 {
		return nil, errno
	}
	return n.LoopbackNode.Mkdir(ctx, name, mode, out)
}

// Unlink removes a file.
func (n *node) Unlink(ctx context.Context, name string) syscall.Errno {
	if errno := n.fail(Unlink, n.child(name)); errno != 0 {
		return errno
	}
	return n.LoopbackNode.Unlink(ctx, name)
}

// Rename gives something another name.
func (n *node) Rename(ctx context.Context, name string, to fs.InodeEmbedder, newName string, flags uint32) syscall.Errno {
	if errno := n.fail(Rename, to.(*node).child(newName)); errno != 0 {
		return errno
	}
	return n.LoopbackNode.Rename(ctx, name, to, newName, flags)
}

// Link gives a file one more name.
func (n *node) Link(ctx context.Context, target fs.InodeEmbedder, name string, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	if errno := n.fail(Link, n.child(name)); errno != 0 {
		return nil, errno
	}
	return n.LoopbackNode.Link(ctx, target, name, out)
}

// OpendirHandle opens a directory.
func (n *node) OpendirHandle(ctx context.Context, flags uint32) (fs.FileHandle, uint32, syscall.Errno) {
	h, how, errno := n.LoopbackNode.OpendirHandle(ctx, flags)
	if errno != 0 {
		return nil, 0, errno
	}
	return &dir{h.(stream), n}, how, 0
}

// A stream is what an open directory can do, beside a sync.
type stream interface {
	fs.FileReaddirenter
	fs.FileSeekdirer
	fs.FileReleasedirer
	fs.FileFsyncdirer
}

// A dir is an open directory.
type dir struct {
	stream
	n *node
}

// Fsyncdir makes names durable.
func (d *dir) Fsyncdir(ctx context.Context, flags uint32) syscall.Errno {
	if errno := d.n.fail(SyncDir, d.n.name()); errno != 0 {
		return errno
	}
	return d.stream.Fsyncdir(ctx, flags)
}

// wrap makes a file handle one that can fail.
func (n *node) wrap(h fs.FileHandle) fs.FileHandle {
	if l, ok := h.(*fs.LoopbackFile); ok {
		return &file{l, n, n.f.opened.Add(1)}
	}
	return h
}

// A file is an open file.
type file struct {
	*fs.LoopbackFile
	n  *node
	id uint64
}

// PassthroughFd keeps the kernel from going to the file itself.
func (f *file) PassthroughFd() (int, bool) { return 0, false }

// Read reads.
func (f *file) Read(ctx context.Context, p []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	if errno := f.n.f.check(Read, f.n.name(), f, off, int64(len(p))); errno != 0 {
		return nil, errno
	}
	return f.LoopbackFile.Read(ctx, p, off)
}

// Write writes.
func (f *file) Write(ctx context.Context, p []byte, off int64) (uint32, syscall.Errno) {
	f.n.f.wait(len(p))
	if errno := f.n.f.check(Write, f.n.name(), f, off, int64(len(p))); errno != 0 {
		return 0, errno
	}
	return f.LoopbackFile.Write(ctx, p, off)
}

// Writev writes several pieces.
func (f *file) Writev(ctx context.Context, data [][]byte, off int64) (n uint32, errno syscall.Errno) {
	for _, p := range data {
		m, errno := f.Write(ctx, p, off+int64(n))
		n += m
		if errno != 0 {
			return n, errno
		}
	}
	return n, 0
}

// Fsync makes bytes durable.
func (f *file) Fsync(ctx context.Context, flags uint32) syscall.Errno {
	if errno := f.n.f.check(Sync, f.n.name(), f, 0, 0); errno != 0 {
		return errno
	}
	return f.LoopbackFile.Fsync(ctx, flags)
}

// Allocate asks for room.
func (f *file) Allocate(ctx context.Context, off, size uint64, mode uint32) syscall.Errno {
	if errno := f.n.f.check(Allocate, f.n.name(), f, int64(off), int64(size)); errno != 0 {
		return errno
	}
	return f.LoopbackFile.Allocate(ctx, off, size, mode)
}
