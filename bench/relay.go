package main

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// A relay forwards TCP connections over a link with a round-trip time and a
// rate that all of them share, each direction for itself. It models no loss and
// no slow start. Connections take turns packet by packet.
type relay struct {
	addr     string
	target   string
	delay    time.Duration // one way
	down, up link
	listener net.Listener
	done     sync.WaitGroup
	stop     context.CancelFunc
}

const (
	packetSize = 16 << 10
	// queued is how many packets one connection may have under way: more than
	// a link of 400 Mbit/s and 50 ms holds.
	queued = 256
)

// newRelay starts a relay. The rate is in bytes per second.
func newRelay(target string, rtt time.Duration, rate float64) (*relay, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	r := &relay{
		addr: l.Addr().String(), target: target, delay: rtt / 2, listener: l, stop: stop,
		down: link{rate: rate}, up: link{rate: rate},
	}
	r.done.Go(func() { r.accept(ctx) })
	return r, nil
}

// close cuts all connections and waits for them.
func (r *relay) close() error {
	r.stop()
	err := r.listener.Close()
	r.done.Wait()
	return err
}

func (r *relay) accept(ctx context.Context) {
	for {
		c, err := r.listener.Accept()
		if err != nil {
			return // closed
		}
		r.done.Go(func() { r.forward(ctx, c.(*net.TCPConn)) })
	}
}

func (r *relay) forward(ctx context.Context, client *net.TCPConn) {
	defer client.Close()
	// The handshake: the kernel answered it at once, so its round trip is
	// waited for before anything is taken from the client.
	if !sleepUntil(ctx, time.Now().Add(2*r.delay)) {
		return
	}
	c, err := net.Dial("tcp", r.target)
	if err != nil {
		return
	}
	server := c.(*net.TCPConn)
	defer server.Close()
	cut := context.AfterFunc(ctx, func() {
		client.Close()
		server.Close()
	})
	defer cut()
	var both sync.WaitGroup
	both.Go(func() { r.pump(ctx, server, client, &r.up) })
	both.Go(func() { r.pump(ctx, client, server, &r.down) })
	both.Wait()
}

// A packet reaches the other end when it is due.
type packet struct {
	data []byte
	due  time.Time
}

// pump moves one direction of one connection. It ends with the stream, or when
// either side is gone; the other direction then notices by itself.
func (r *relay) pump(ctx context.Context, dst, src *net.TCPConn, l *link) {
	packets := make(chan packet, queued)
	var writer sync.WaitGroup
	writer.Go(func() {
		var failed error
		for p := range packets {
			if failed != nil || !sleepUntil(ctx, p.due) {
				continue // drain
			}
			if _, failed = dst.Write(p.data); failed != nil {
				src.CloseRead()
			}
		}
		dst.CloseWrite()
	})
	for ready := time.Now(); ; {
		data := make([]byte, packetSize)
		waited := !hasData(src)
		n, err := src.Read(data)
		if waited {
			ready = time.Now()
		}
		if n > 0 {
			ready = l.pass(n, ready)
			if sleepUntil(ctx, ready) {
				packets <- packet{data[:n], ready.Add(r.delay)}
			}
		}
		if err != nil || ctx.Err() != nil {
			if err != nil && !errors.Is(err, io.EOF) {
				dst.CloseRead() // reset by one side: end the other direction too
			}
			break
		}
	}
	close(packets)
	writer.Wait()
}

// hasData reports whether a read would not have to wait.
func hasData(c *net.TCPConn) bool {
	raw, err := c.SyscallConn()
	if err != nil {
		return false
	}
	n := 0
	err = raw.Control(func(fd uintptr) { n, err = unix.IoctlGetInt(int(fd), unix.SIOCINQ) })
	return err == nil && n > 0
}

// A link is a shared rate. It is safe for concurrent use.
type link struct {
	rate float64 // bytes per second
	mu   sync.Mutex
	free time.Time // when the last packet that was let in has left
}

// pass lets n bytes in that were ready at a certain time, and returns when they
// have left. That is what counts, and not when a busy machine gets round to it:
// a link that has work never idles.
func (l *link) pass(n int, ready time.Time) time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.free.Before(ready) {
		l.free = ready
	}
	l.free = l.free.Add(time.Duration(float64(n) / l.rate * float64(time.Second)))
	return l.free
}

// sleepUntil returns at t, or false as soon as ctx has ended.
func sleepUntil(ctx context.Context, t time.Time) bool {
	d := time.Until(t)
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
