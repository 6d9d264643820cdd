package cli

import "golang.org/x/sys/unix"

// undumpable keeps the memory from a program that the kernel pipes dumps to,
// for which the limit does not count (core(5)), and from other processes of
// this user (ptrace(2), /proc/PID/mem).
func undumpable() { unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0) }
