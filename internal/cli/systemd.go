package cli

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"strings"
	"time"
)

// A notifier tells the service manager how the server is, as sd_notify(3) does.
// The zero value tells nobody. It is a few lines rather than a library, since the
// protocol is one datagram.
type notifier struct {
	socket string // $NOTIFY_SOCKET, "" for none; with a leading @ in the abstract namespace
	log    *slog.Logger
	pulse  time.Duration // how often it wants to hear that we live; 0: never
}

// newNotifier reads what the service manager says in the environment. Where the
// watchdog is meant for another process, it is none of ours.
func newNotifier(getenv func(string) string, log *slog.Logger) notifier {
	n := notifier{socket: getenv("NOTIFY_SOCKET"), log: log}
	if pid := getenv("WATCHDOG_PID"); pid != "" && pid != strconv.Itoa(os.Getpid()) {
		return n
	}
	if usec, err := strconv.ParseInt(getenv("WATCHDOG_USEC"), 10, 64); err == nil && usec > 0 {
		n.pulse = time.Duration(usec) * time.Microsecond / 2 // as sd_watchdog_enabled(3) recommends
	}
	return n
}

// tell sends states, each NAME=VALUE.
func (n notifier) tell(states ...string) {
	if n.socket == "" {
		return
	}
	err := func() error {
		conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: n.socket, Net: "unixgram"})
		if err != nil {
			return err
		}
		defer conn.Close()
		_, err = conn.Write([]byte(strings.Join(states, "\n")))
		return err
	}()
	if err != nil {
		n.log.Warn("the service manager cannot be told", "states", states, "err", err)
	}
}

func (n notifier) ready() { n.tell("READY=1", "STATUS=serving") }

// reloading is told before the configuration is read again, ready after it
// (Type=notify-reload).
func (n notifier) reloading() {
	if usec := monotonic(); usec > 0 {
		n.tell("RELOADING=1", fmt.Sprintf("MONOTONIC_USEC=%d", usec))
	}
}

func (n notifier) stopping() { n.tell("STOPPING=1", "STATUS=shutting down") }

// keepAlive tells that we live until ctx ends, as long as well returns nil: a
// process that cannot serve any more is to be started again.
func (n notifier) keepAlive(ctx context.Context, well func() error) {
	if n.socket == "" || n.pulse <= 0 {
		return
	}
	tick := time.NewTicker(n.pulse)
	defer tick.Stop()
	for {
		if err := well(); err != nil {
			n.log.Error("the watchdog is not told that all is well", "err", err)
		} else {
			n.tell("WATCHDOG=1")
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
