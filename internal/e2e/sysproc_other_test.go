//go:build !linux

package e2e

import (
	"os/exec"
	"testing"
)

// dieWithParent does nothing where the kernel has no such promise.
func dieWithParent(*exec.Cmd) {}

// leaveNetwork reports that this machine has no network namespaces.
func leaveNetwork(*testing.T) bool { return false }
