//go:build unix

package cli

import "syscall"

// NoCoreDumps sees to it that no image of this process's memory is written
// when it crashes, since there are passwords and tokens in it. It is for main,
// before any secret is read. Where the system refuses, nothing is to be done:
// a server that does not start would help nobody.
func NoCoreDumps() {
	syscall.Setrlimit(syscall.RLIMIT_CORE, &syscall.Rlimit{}) // for credential helpers too, which inherit it
	undumpable()
}
