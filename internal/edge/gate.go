package edge

import (
	"cmp"
	"crypto/tls"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Limits are those of a [Gate]. The zero value has none.
type Limits struct {
	Connections int           // open at once; 0: no limit
	PerAddress  int           // open at once from one address; 0: no limit
	Stall       time.Duration // how long a client may take nothing of what it is sent; 0: for ever
}

// A Gate limits the connections of a listener. Where there are too many it
// closes those that wait the longest without a request: a client that sends
// half a header, or nothing, gives way to one that asks for something. Where all
// are busy, new ones wait in the kernel's queue.
//
// It is safe for concurrent use. Its States has to be told of the states of
// connections.
type Gate struct {
	limits Limits
	start  time.Time // of the clock of connections

	mu     sync.Mutex // guards the maps
	open   map[*conn]struct{}
	byAddr map[string]int // :: address → its connections
	left   chan struct{}  // has an element after a connection left

	count   atomic.Int64 // of open
	shed    atomic.Int64
	refused atomic.Int64
}

// NewGate returns a gate through which nobody came yet.
func NewGate(limits Limits) *Gate {
	return &Gate{limits: limits, start: time.Now(), open: map[*conn]struct{}{}, byAddr: map[string]int{}, left: make(chan struct{}, 1)}
}

// Listener returns l with the gate before it; closing it closes l. A gate has
// one listener.
func (g *Gate) Listener(l *net.TCPListener) net.Listener {
	return &listener{TCPListener: l, gate: g, closed: make(chan struct{})}
}

type listener struct {
	*net.TCPListener
	gate   *Gate
	closed chan struct{}
	end    sync.Once // guards the closing of closed
}

// Counts are what a [Gate] has counted.
type Counts struct {
	Open    int64 // now
	Shed    int64 // closed while they waited, to make room
	Refused int64 // closed at once: too many from one address
}

// Counts returns what was counted so far.
func (g *Gate) Counts() Counts {
	return Counts{Open: g.count.Load(), Shed: g.shed.Load(), Refused: g.refused.Load()}
}

// Crowded reports whether more than three quarters of the connections that may
// be open are. It is the moment to let go of those that have been answered.
func (g *Gate) Crowded() bool {
	limit := int64(g.limits.Connections)
	return limit > 0 && g.count.Load()*4 > limit*3
}

// now is never 0.
func (g *Gate) now() int64 { return int64(time.Since(g.start)) + 1 }

// Accept waits for a connection, and then for room for it.
func (l *listener) Accept() (net.Conn, error) {
	for {
		tcp, err := l.AcceptTCP()
		if err != nil {
			return nil, err
		}
		c := &conn{TCPConn: tcp, from: l.gate, stall: l.gate.limits.Stall, queued: -1}
		if a, ok := tcp.RemoteAddr().(*net.TCPAddr); ok {
			c.addr = a.IP.String()
		}
		if !l.gate.enter(c) {
			l.gate.refused.Add(1)
			tcp.Close() // whoever sent it sees that
			continue
		}
		if !l.gate.makeRoom(l.closed) {
			c.Close()
			return nil, net.ErrClosed
		}
		return c, nil
	}
}

// Close closes the listener; connections stay.
func (l *listener) Close() error {
	l.end.Do(func() { close(l.closed) })
	return l.TCPListener.Close()
}

// enter counts a connection in, unless its address has too many.
func (g *Gate) enter(c *conn) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.limits.PerAddress > 0 && g.byAddr[c.addr] >= g.limits.PerAddress {
		return false
	}
	c.waiting.Store(g.now())
	g.byAddr[c.addr]++
	g.open[c] = struct{}{}
	g.count.Store(int64(len(g.open)))
	return true
}

func (g *Gate) leave(c *conn) {
	g.mu.Lock()
	delete(g.open, c)
	if g.byAddr[c.addr]--; g.byAddr[c.addr] <= 0 {
		delete(g.byAddr, c.addr)
	}
	g.count.Store(int64(len(g.open)))
	g.mu.Unlock()
	select {
	case g.left <- struct{}{}:
	default: // one is enough to look again
	}
}

// grace is how long a connection may take to come up with a request before it
// has to give way; a client that has just come needs a moment, and more where
// the machine is busy.
const grace = time.Second

// makeRoom returns when no more connections are open than may be; false once
// closed is.
func (g *Gate) makeRoom(closed <-chan struct{}) bool {
	for g.limits.Connections > 0 && g.count.Load() > int64(g.limits.Connections) {
		if g.closeWaiting() {
			continue
		}
		look := time.NewTimer(grace / 8)
		select {
		case <-closed:
			look.Stop()
			return false
		case <-g.left:
		case <-look.C:
		}
		look.Stop()
	}
	return true
}

// closeWaiting closes an eighth of those beyond their grace, those that wait the
// longest, so that looking for them costs little for each. It reports whether
// there was any. What has sent something that nobody has read yet is not waiting
// for its client, but for us: on a busy machine, and here for room.
func (g *Gate) closeWaiting() bool {
	type wait struct {
		c     *conn
		since int64
	}
	var all []wait
	now := g.now()
	g.mu.Lock()
	for c := range g.open {
		if since := c.waiting.Load(); since != 0 && now-since > int64(grace) {
			all = append(all, wait{c, since})
		}
	}
	g.mu.Unlock()
	slices.SortFunc(all, func(a, b wait) int { return cmp.Compare(a.since, b.since) })
	closed := 0
	for _, w := range all {
		if closed >= (len(all)+7)/8 {
			break
		}
		if unread(w.c.TCPConn) == 0 {
			closed++
			g.shed.Add(1)
			w.c.Close() // whoever sent it sees that
		}
	}
	return closed > 0
}

// States is a http.Server.ConnState: net/http calls a connection active once a
// request's header is complete.
func (g *Gate) States(nc net.Conn, state http.ConnState) {
	if t, ok := nc.(*tls.Conn); ok {
		nc = t.NetConn()
	}
	c, ok := nc.(*conn)
	if !ok {
		return
	}
	switch state {
	case http.StateActive:
		c.waiting.Store(0)
	case http.StateIdle:
		c.waiting.Store(g.now())
	}
}
