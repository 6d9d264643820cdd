package e2e

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience bounds every wait for another process. It is a bound and not a
// measure: nothing is asserted about the time that was used.
const patience = 30 * time.Second

// endPatience bounds the wait for a process to end: Entrepot may drain for 30
// seconds.
const endPatience = patience + 15*time.Second

// A process is a child of this test. It is stopped by its own id, at the
// latest when the test ends.
type process struct {
	name string
	cmd  *exec.Cmd
	log  *logBuffer
	mute bool          // its log is of no use where the test fails
	done chan struct{} // closed once it was waited for
}

// startProcess starts cmd with both outputs captured. What it said is printed
// where the test fails.
func startProcess(t testing.TB, name string, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{name: name, cmd: cmd, log: newLogBuffer(), done: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = p.log, p.log
	dieWithParent(cmd)
	if err := cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", name, err)
	}
	go func() {
		cmd.Wait() // how it ended is told by ProcessState
		p.log.close()
		close(p.done)
	}()
	t.Cleanup(func() {
		p.stop(t)
		if t.Failed() && !p.mute {
			t.Logf("%s (pid %d) said at last:\n%s", name, cmd.Process.Pid, p.log.tail(20))
		}
	})
	return p
}

// stop asks the process to end, and kills it where it does not.
func (p *process) stop(t testing.TB) {
	t.Helper()
	p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(endPatience):
		t.Errorf("%s does not end on SIGTERM", p.name)
		p.kill()
	}
}

// kill ends the process with SIGKILL, as a crash or the kernel's memory killer
// does, and waits for it.
func (p *process) kill() {
	p.cmd.Process.Kill()
	<-p.done
}

// peakMemory is the largest resident size that the process has had, in bytes,
// as the kernel counts it. The test is skipped where nobody counts.
func (p *process) peakMemory(t testing.TB) int64 {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		t.Skipf("SKIPPED: no /proc here, so that peak memory cannot be read: %v", err)
	}
	var kib int64
	for line := range strings.SplitSeq(string(status), "\n") {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			fmt.Sscan(rest, &kib)
		}
	}
	if kib == 0 {
		t.Fatalf("no VmHWM in the status of pid %d", p.cmd.Process.Pid)
	}
	return kib << 10
}

// run runs a command to its end and returns what it printed.
func run(t testing.TB, cmd *exec.Cmd) string {
	t.Helper()
	dieWithParent(cmd)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(cmd.Args, " "), err, out)
	}
	return string(out)
}

// A logBuffer keeps what a process printed and lets a test wait for a line.
type logBuffer struct {
	mu      sync.Mutex // guards the rest
	buf     bytes.Buffer
	closed  bool
	changed chan struct{} // closed and replaced at each change
}

func newLogBuffer() *logBuffer { return &logBuffer{changed: make(chan struct{})} }

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	close(l.changed)
	l.changed = make(chan struct{})
	return l.buf.Write(p)
}

func (l *logBuffer) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	close(l.changed)
	l.changed = make(chan struct{})
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func (l *logBuffer) tail(lines int) string {
	all := strings.Split(strings.TrimSpace(l.String()), "\n")
	all = all[max(0, len(all)-lines):]
	for i, line := range all {
		all[i] = line[:min(len(line), 300)]
	}
	return strings.Join(all, "\n")
}

// wait returns the submatches of the first match, once there is one.
func (l *logBuffer) wait(t testing.TB, re *regexp.Regexp) []string {
	t.Helper()
	late := time.After(patience)
	for {
		l.mu.Lock()
		m := re.FindStringSubmatch(l.buf.String())
		changed, closed := l.changed, l.closed
		l.mu.Unlock()
		if m != nil {
			return m
		}
		if closed {
			t.Fatalf("the process ended before it said %q:\n%s", re, l)
		}
		select {
		case <-changed:
		case <-late:
			t.Fatalf("the process did not say %q:\n%s", re, l)
		}
	}
}
