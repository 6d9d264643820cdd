package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A process is a server that we started.
type process struct {
	addr   string        // host:port of the registry
	admin  string        // host:port of Entrepot's admin address; "" for others
	pair   *keyPair      // nil where it serves plain HTTP
	log    string        // file with all that it printed
	ready  time.Duration // from its start until it was
	cmd    *exec.Cmd
	exited chan error
}

// start runs a server and waits until it answers on addr.
func start(ctx context.Context, addr, log string, env []string, argv ...string) (*process, error) {
	return process{addr: addr, log: log}.start(ctx, env, argv...)
}

// start runs a server with the addresses of p and waits until it is ready.
func (p process) start(ctx context.Context, env []string, argv ...string) (*process, error) {
	out, err := os.Create(p.log)
	if err != nil {
		return nil, err
	}
	defer out.Close() // the child has its own copy
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 20 * time.Second
	began := time.Now()
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p.cmd, p.exited = cmd, make(chan error, 1)
	go func() { p.exited <- cmd.Wait() }()
	if err := p.waitReady(ctx); err != nil {
		text, _ := os.ReadFile(p.log)
		return nil, errors.Join(fmt.Errorf("%s: %w\n%s", filepath.Base(argv[0]), err, tail(text)), p.stop())
	}
	p.ready = time.Since(began)
	return &p, nil
}

// waitReady waits until the server says that it is ready, or, where it has no
// way to say so, until it answers.
func (p *process) waitReady(ctx context.Context) error {
	deadline := time.Now().Add(20 * time.Second)
	client, url := p.pair.client(), p.pair.scheme()+p.addr+"/v2/"
	defer client.CloseIdleConnections()
	if p.admin != "" {
		url = "http://" + p.admin + "/readyz"
	}
	for time.Now().Before(deadline) {
		resp, err := client.Get(url)
		if err == nil {
			resp.Body.Close()
			if p.admin == "" || resp.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case err := <-p.exited:
			p.exited <- err
			return fmt.Errorf("left: %w", err)
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(2 * time.Millisecond):
		}
	}
	return errors.New("not ready for 20 s")
}

// metric returns the sum of all series of a metric of Entrepot's.
func (p *process) metric(name string) (float64, error) {
	resp, err := http.Get("http://" + p.admin + "/metrics")
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err
	}
	var sum float64
	for line := range strings.Lines(string(text)) {
		rest, ok := strings.CutPrefix(line, name)
		if !ok || rest == "" || rest[0] != '{' && rest[0] != ' ' {
			continue
		}
		f := strings.Fields(rest)
		v, err := strconv.ParseFloat(f[len(f)-1], 64)
		if err != nil {
			return 0, fmt.Errorf("metric %q: %w", line, err)
		}
		sum += v
	}
	return sum, nil
}

// dial connects to the server's registry.
func (p *process) dial(ctx context.Context) (*conn, error) {
	c, err := dial(ctx, p.addr)
	if err != nil || p.pair == nil {
		return c, err
	}
	if err := p.pair.secure(ctx, c); err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

// stop ends the server and waits for it. Its exit code does not matter.
func (p *process) stop() error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-p.exited:
		return nil
	case <-time.After(60 * time.Second):
		return fmt.Errorf("%s does not leave", p.cmd.Path)
	}
}

// tree returns the process and its children: nginx works in some.
func (p *process) tree() []int {
	pids := []int{p.cmd.Process.Pid}
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, file := range stats {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // it has left
		}
		// pid (name, which may hold anything) state ppid …
		_, rest, _ := strings.Cut(string(text[strings.LastIndexByte(string(text), ')')+1:]), " ")
		if f := strings.Fields(rest); len(f) > 1 && f[1] == strconv.Itoa(pids[0]) {
			pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
			if err == nil {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

// cpu returns the processor time used so far, user and system, in seconds. The
// clock of another process counts nanoseconds, where /proc/PID/stat counts
// ticks of 10 ms, which is a tenth of what some cases use.
func (p *process) cpu() (float64, error) {
	var sum float64
	for _, pid := range p.tree() {
		const schedClock = 2 // CPUCLOCK_SCHED; see clock_getcpuclockid(3)
		var t unix.Timespec
		if err := unix.ClockGettime(int32(^pid<<3|schedClock), &t); err != nil {
			return 0, fmt.Errorf("clock of process %d: %w", pid, err)
		}
		sum += float64(t.Nano()) / 1e9
	}
	return sum, nil
}

// peak returns the largest resident memory so far, in MiB, summed over the tree.
func (p *process) peak() (float64, error) {
	var sum float64
	for _, pid := range p.tree() {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			return 0, err
		}
		_, rest, ok := strings.Cut(string(text), "VmHWM:")
		if !ok {
			return 0, fmt.Errorf("process %d: no VmHWM", pid)
		}
		kib, err := strconv.ParseFloat(strings.Fields(rest)[0], 64)
		if err != nil {
			return 0, err
		}
		sum += kib / 1024
	}
	return sum, nil
}

// ownCPU returns the processor time of this process, in seconds.
func ownCPU() float64 {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &t); err != nil {
		return 0 // cannot happen for one's own clock
	}
	return float64(t.Nano()) / 1e9
}

// freeAddr returns a loopback address that nobody listens on right now.
func freeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// tail returns the last lines of a log.
func tail(text []byte) string {
	const most = 2000
	if len(text) > most {
		text = text[len(text)-most:]
	}
	return strings.TrimSpace(string(text))
}
