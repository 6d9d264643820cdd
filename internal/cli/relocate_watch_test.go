package cli

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// paced runs a pacer of one minute in a bubble. Rounds take as long as took
// says, by their number, and end earlier where they are interrupted. It returns
// when they began.
func paced(t *testing.T, took func(n int) (time.Duration, error), signals func(chan<- os.Signal)) (began []time.Duration, stderr string, err error) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		var errs bytes.Buffer
		asked := make(chan os.Signal, 4)
		start := time.Now()
		p := &pacer{every: time.Minute, signals: asked, env: Env{Stderr: &errs}, round: func(ctx context.Context) error {
			began = append(began, time.Since(start))
			long, err := took(len(began))
			select {
			case <-ctx.Done():
				return errors.New("interrupted")
			case <-time.After(long):
			}
			return err
		}}
		go signals(asked)
		err = p.run(t.Context())
		stderr = errs.String()
	})
	return began, stderr, err
}

// after sends a signal when so much time has gone by.
func after(d time.Duration, s os.Signal) func(chan<- os.Signal) {
	return func(c chan<- os.Signal) {
		time.Sleep(d)
		c <- s
	}
}

// both sends the signals of all.
func both(all ...func(chan<- os.Signal)) func(chan<- os.Signal) {
	return func(c chan<- os.Signal) {
		for _, f := range all {
			f(c)
		}
	}
}

func code(err error) int { return report(io.Discard, err) }

// TestWatchPace holds when rounds begin, and how they end.
func TestWatchPace(t *testing.T) {
	second := func(int) (time.Duration, error) { return time.Second, nil }
	fails := func(failing ...int) func(int) (time.Duration, error) {
		return func(n int) (time.Duration, error) {
			if slices.Contains(failing, n) {
				return time.Second, &fault{exitSome, errors.New("one is missing"), ""}
			}
			return time.Second, nil
		}
	}
	const min, sec = time.Minute, time.Second
	for name, c := range map[string]struct {
		took    func(int) (time.Duration, error)
		signals func(chan<- os.Signal)
		want    []time.Duration
		code    int
		stderr  string
	}{
		"every minute":     {second, after(150*sec, syscall.SIGTERM), []time.Duration{0, min, 2 * min}, exitDone, ""},
		"in a round":       {second, after(min+sec/2, syscall.SIGINT), []time.Duration{0, min}, exitDone, "this round is the last"},
		"interrupted":      {second, both(after(min, syscall.SIGINT), after(sec/2, syscall.SIGINT)), []time.Duration{0, min}, exitFailed, "interrupted"},
		"asked for":        {second, both(after(20*sec, syscall.SIGHUP), after(70*sec, syscall.SIGTERM)), []time.Duration{0, 20 * sec, 80 * sec}, exitDone, ""},
		"asked in a round": {second, both(after(sec/2, syscall.SIGHUP), after(10*sec, syscall.SIGTERM)), []time.Duration{0, sec}, exitDone, ""},
		"a long one": {func(n int) (time.Duration, error) { return []time.Duration{150 * sec, sec, sec}[n-1], nil },
			after(212*sec, syscall.SIGTERM), []time.Duration{0, 150 * sec, 210 * sec}, exitDone, ""},
		"failure in between": {fails(1, 2), after(150*sec, syscall.SIGTERM), []time.Duration{0, min, 2 * min}, exitDone, "one is missing"},
		"failure at the end": {fails(2), after(90*sec, syscall.SIGTERM), []time.Duration{0, min}, exitSome, "one is missing"},
		"usage": {func(int) (time.Duration, error) { return sec, usageError(errors.New("no such flag"), "") },
			func(chan<- os.Signal) {}, []time.Duration{0}, exitUsage, ""},
		"usage later": {func(n int) (time.Duration, error) {
			if n == 2 {
				return sec, usageError(errors.New("broken rules"), "")
			}
			return sec, nil
		}, after(150*sec, syscall.SIGTERM), []time.Duration{0, min, 2 * min}, exitDone, "broken rules"},
	} {
		t.Run(name, func(t *testing.T) {
			began, stderr, err := paced(t, c.took, c.signals)
			if diff := cmp.Diff(c.want, began); diff != "" {
				t.Errorf("rounds (-want +got):\n%s", diff)
			}
			if got := code(err); got != c.code || !strings.Contains(stderr, c.stderr) {
				t.Errorf("exit code %d, want %d, with %q in %q", got, c.code, c.stderr, stderr)
			}
		})
	}
}

// TestWatchRefuses holds what cannot be watched.
func TestWatchRefuses(t *testing.T) {
	m := newMove(t)
	input := m.file("list.txt", "SRC/a:1\n")
	for _, args := range [][]string{{"-", "--watch", "1s"}, {input, "--watch", "999ms"}, {input, "--watch", "0"}, {input, "--watch", "-1s"}, {input, "--watch", "1s", "--plan"}} {
		m.run(append(args, "--to", m.dst.Host())...)
		m.exits(exitUsage)
	}
	if n := len(m.src.Log()) + len(m.dst.Log()); n > 0 {
		t.Errorf("registries were asked %d times", n)
	}
}
