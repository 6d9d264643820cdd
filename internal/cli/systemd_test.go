//go:build linux

package cli

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// manager is the socket of a service manager.
func manager(t *testing.T) *net.UnixConn {
	t.Helper()
	dir, err := os.MkdirTemp("", "notify") // a socket's name may not be long
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(dir, "s"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// told returns the next states that are not of the watchdog.
func told(t *testing.T, conn *net.UnixConn) string {
	t.Helper()
	buf := make([]byte, 4096)
	for {
		n, err := conn.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		if s := string(buf[:n]); s != "WATCHDOG=1" {
			return s
		}
	}
}

// A server in a process of its own tells its manager when it is ready, reloads,
// is ready again, and ends.
func TestServiceManagerIsTold(t *testing.T) {
	conn := manager(t)
	cmd := exec.Command("entrepot", "serve", "--quiet", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--storage", filepath.Join(t.TempDir(), "store"))
	cmd.Dir = t.TempDir()
	cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+conn.LocalAddr().String(), "WATCHDOG_USEC=60000000", "WATCHDOG_PID=1", "HOME="+cmd.Dir)
	out := newOutput()
	cmd.Stderr = out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill() }) // an error: it has ended
	if got := told(t, conn); got != "READY=1\nSTATUS=serving" {
		t.Errorf("at the start: got %q", got)
	}
	out.wait(t, "admin address") // the pipe may be slower than the socket
	cmd.Process.Signal(syscall.SIGHUP)
	state, at, _ := strings.Cut(told(t, conn), "\nMONOTONIC_USEC=")
	if usec, err := strconv.ParseInt(at, 10, 64); state != "RELOADING=1" || err != nil || usec <= 0 {
		t.Errorf("reloading: got %q at %q", state, at)
	}
	if got := told(t, conn); got != "READY=1\nSTATUS=serving" {
		t.Errorf("reloaded: got %q", got)
	}
	cmd.Process.Signal(syscall.SIGTERM)
	if got := told(t, conn); got != "STOPPING=1\nSTATUS=shutting down" {
		t.Errorf("at the end: got %q", got)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// The watchdog hears from us twice in its time, as long as all is well.
func TestWatchdog(t *testing.T) {
	conn := manager(t)
	env := map[string]string{"NOTIFY_SOCKET": conn.LocalAddr().String(), "WATCHDOG_USEC": "2000000", "WATCHDOG_PID": strconv.Itoa(os.Getpid())}
	n := newNotifier(func(k string) string { return env[k] }, slog.New(slog.DiscardHandler))
	if n.pulse != time.Second {
		t.Errorf("it is told every %v", n.pulse)
	}
	env["WATCHDOG_PID"] = "1"
	if other := newNotifier(func(k string) string { return env[k] }, nil); other.pulse != 0 {
		t.Error("another process's watchdog is told")
	}
	asked := 0
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithTimeout(context.Background(), 3500*time.Millisecond)
		defer stop()
		n.keepAlive(ctx, func() error {
			if asked++; asked > 2 {
				return errors.New("not well")
			}
			return nil
		})
	})
	if asked != 4 {
		t.Errorf("asked %d times in 3.5 s, want 4", asked)
	}
	buf := make([]byte, 100)
	for range 2 {
		if k, err := conn.Read(buf); err != nil || string(buf[:k]) != "WATCHDOG=1" {
			t.Errorf("got %q, %v", buf[:k], err)
		}
	}
	conn.SetReadDeadline(time.Unix(1, 0)) // nothing more is there
	if k, err := conn.Read(buf); err == nil {
		t.Errorf("while not well it is told %q", buf[:k])
	}
}

// Nobody is there to be told: the usual case, and no error.
func TestNoServiceManager(t *testing.T) {
	n := newNotifier(func(string) string { return "" }, nil)
	n.ready()
	n.reloading()
	n.stopping()
	n.keepAlive(context.Background(), func() error { t.Error("asked"); return nil })
}
