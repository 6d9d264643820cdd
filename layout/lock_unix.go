//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package layout

import (
	"os"
	"syscall"
)

// lock waits for the lock of an open file; it is lost when the file is closed
// or the process dies.
func lock(f *os.File) error {
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX)
		if err != syscall.EINTR {
			return err
		}
	}
}

// tryLock is lock where waiting makes no sense.
func tryLock(f *os.File) error { return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) }
