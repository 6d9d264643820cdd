package store

import (
	"errors"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// reserve asks for the blocks of the next size bytes of f, so that a full disk
// shows before the first byte. A file system that cannot is no error.
func reserve(f *os.File, off, size int64) error {
	err := unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_KEEP_SIZE, off, size)
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EINVAL) {
		return nil
	}
	return err
}

// startWriteback lets the kernel begin to write a range, and does not wait, so
// that a later sync is short. It is only a hint.
func startWriteback(f *os.File, off, size int64) {
	_ = unix.SyncFileRange(int(f.Fd()), off, size, unix.SYNC_FILE_RANGE_WRITE)
}

// bootID returns a text that changes with each boot of the kernel, "" where
// there is none.
func bootID() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// diskSpace returns how many bytes of dir's file system this user may still
// fill, and how many there are; 0 and 0 where that cannot be told.
func diskSpace(dir string) (free, total int64) {
	var fs unix.Statfs_t
	if unix.Statfs(dir, &fs) != nil {
		return 0, 0
	}
	used := fs.Blocks - fs.Bfree
	return int64(fs.Bavail) * fs.Bsize, int64(used+fs.Bavail) * fs.Bsize
}
