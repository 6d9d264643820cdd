package e2e

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// A mob is many connections that go on for ever and get nowhere, as those of
// an attacker do: where one is cut it comes back. They come from some addresses
// of the loopback network, since one address has too few ports.
type mob struct {
	to    string // host and port
	first string // what each sends at once
	step  func(net.Conn) error

	back atomic.Int64 // how often one came back
}

// gather lets n connections come, and go on until the test ends. It returns once
// all have come for the first time.
func (c *mob) gather(t testing.TB, n int) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	const workers = 32
	var all, come sync.WaitGroup
	for w := range workers {
		come.Add(1)
		all.Go(func() { c.work(ctx, w, n/workers+1, come.Done) })
	}
	t.Cleanup(func() {
		stop()
		all.Wait()
	})
	come.Wait()
}

// work holds some of the connections. Each makes one step a second.
func (c *mob) work(ctx context.Context, worker, n int, come func()) {
	conns := make([]net.Conn, n)
	defer func() {
		for _, conn := range conns {
			if conn != nil {
				conn.Close()
			}
		}
	}()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for first := true; ; first = false {
		for i := range conns {
			if ctx.Err() == nil {
				c.move(ctx, &conns[i], worker)
			}
		}
		if first {
			come()
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// move lets one connection make a step, or come back.
func (c *mob) move(ctx context.Context, conn *net.Conn, worker int) {
	if *conn != nil {
		if c.step(*conn) == nil {
			return
		}
		(*conn).Close()
		*conn = nil
		c.back.Add(1)
	}
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(2+worker%8))}, Timeout: time.Second}
	fresh, err := d.DialContext(ctx, "tcp", c.to)
	if err != nil {
		return // the queue is full: it tries again
	}
	*conn = fresh
	io.WriteString(fresh, c.first) // fails where it was closed already
}

// drips sends one byte more of a header that never ends.
func drips(conn net.Conn) error {
	_, err := conn.Write([]byte{'x'})
	return err
}

// sips reads a little of an answer.
func sips(conn net.Conn) error {
	conn.SetReadDeadline(time.Now().Add(time.Millisecond))
	_, err := conn.Read(make([]byte, 1024))
	if n, ok := err.(net.Error); ok && n.Timeout() {
		return nil // its turn has not come
	}
	return err
}

// latencies are of requests that were answered, sorted.
type latencies []time.Duration

func (l latencies) String() string {
	if len(l) == 0 {
		return "nothing"
	}
	at := func(percent int) time.Duration { return l[(len(l)-1)*percent/100].Round(10 * time.Microsecond) }
	return fmt.Sprintf("p50 %v, p99 %v, at most %v", at(50), at(99), at(100))
}

// timed makes requests from some clients at once and fails the test for each that
// is not answered with 200 and a whole body. Fresh clients open a connection for
// each request.
func timed(t *testing.T, url string, clients, each int, fresh bool) latencies {
	t.Helper()
	var all sync.WaitGroup
	var mu sync.Mutex // guards took
	var took latencies
	var failed atomic.Int64
	for range clients {
		all.Go(func() {
			client := &http.Client{Transport: &http.Transport{DisableKeepAlives: fresh}}
			defer client.CloseIdleConnections()
			for range each {
				began := time.Now()
				if err := pull(client, url); err != nil {
					if failed.Add(1) == 1 {
						t.Errorf("the first that failed: %v", err)
					}
					continue
				}
				mu.Lock()
				took = append(took, time.Since(began))
				mu.Unlock()
			}
		})
	}
	all.Wait()
	if n := failed.Load(); n > 0 {
		t.Errorf("%d of %d requests failed", n, clients*each)
	}
	slices.Sort(took)
	return took
}
