package e2e

import (
	"os/exec"
	"syscall"
)

// dieWithParent makes the kernel end the child where the test binary dies
// without its cleanups, as it does when a test runs out of time.
func dieWithParent(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
