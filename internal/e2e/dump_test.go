package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"syscall"
	"testing"
)

// TestNoCoreDump crashes a server that may write dumps of any size and has been
// told to (GOTRACEBACK=crash): none is written, since its memory holds
// passwords. A program beside it shows that dumps are written here at all.
func TestNoCoreDump(t *testing.T) {
	t.Parallel()
	const unlimited = `ulimit -c unlimited; echo ready; exec "$0" "$@"`
	control := exec.Command("sh", "-c", unlimited, "sleep", "3600")
	control.Dir = t.TempDir()
	p := startProcess(t, "sleep", control)
	p.log.wait(t, regexp.MustCompile("ready"))
	if !dumps(t, p, control.Dir) {
		t.Skip("SKIPPED: no process writes a dump here")
	}

	bin, err := kit.binary()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cmd := exec.Command("sh", "-c", unlimited, bin, "serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--storage", t.TempDir())
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "GOTRACEBACK=crash")
	p = startProcess(t, "entrepot", cmd)
	p.log.wait(t, listens)
	if dumps(t, p, dir) {
		t.Error("the server's memory was written to the disk")
	}
}

// dumps crashes a process and reports whether it left a dump.
func dumps(t *testing.T, p *process, dir string) bool {
	t.Helper()
	p.mute = true // a crash is what it says
	if err := p.cmd.Process.Signal(syscall.SIGABRT); err != nil {
		t.Fatal(err)
	}
	<-p.done
	status, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus)
	if !ok || !status.Signaled() {
		t.Fatalf("%s ended with %v, want the signal", p.name, p.cmd.ProcessState)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*core*"))
	if err != nil {
		t.Fatal(err)
	}
	t.Log(fmt.Sprint(p.name, ": dumped ", status.CoreDump(), ", files ", files))
	return status.CoreDump() || len(files) > 0
}
