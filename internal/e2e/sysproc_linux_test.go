package e2e

import (
	"os/exec"
	"runtime"
	"syscall"
	"testing"
)

// dieWithParent makes the kernel end the child where the test binary dies
// without its cleanups, as it does when a test runs out of time.
func dieWithParent(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}

// leaveNetwork moves the test, and the processes that it starts from now on,
// to a network that has nothing but a loopback of its own. It reports whether
// the machine allows that. The thread of the test ends with it.
func leaveNetwork(t *testing.T) bool {
	t.Helper()
	runtime.LockOSThread() // and never unlocked: the thread is of no use to others
	if err := syscall.Unshare(syscall.CLONE_NEWNET); err != nil {
		t.Logf("unshare: %v", err)
		return false
	}
	if out, err := exec.Command("ip", "link", "set", "lo", "up").CombinedOutput(); err != nil {
		t.Fatalf("ip link set lo up: %v\n%s", err, out)
	}
	return true
}
