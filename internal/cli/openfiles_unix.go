//go:build unix

package cli

import "syscall"

// openFiles returns how many files this process may have open, 0 where that is
// not known.
func openFiles() uint64 {
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		return 0
	}
	return uint64(l.Cur) // signed on some systems
}
