package edge

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// A conn is a connection of a client that may stand still only for so long
// while we write. Reading is left to http.Server, which knows what is waited
// for, and to the handler.
//
// All of *net.TCPConn shines through, so that a file still goes to the socket
// within the kernel.
type conn struct {
	*net.TCPConn
	from  *Gate
	addr  string // the client's, without its port
	stall time.Duration

	armed  atomic.Int64 // when our write deadline was last set, in ns since from.start; 0: it is not
	theirs atomic.Bool  // somebody else's write deadline is in force
	queued int          // what a writer that got nowhere found in the socket's queue; -1: it was not looked at

	waiting atomic.Int64 // since when no request is being answered, in ns since from.start; 0: one is
	once    sync.Once    // guards the leaving of from
}

// arm sets the deadline of the write that follows. It is set anew only when a
// quarter of it has passed, since that costs more than many a write.
func (c *conn) arm() {
	if c.stall <= 0 || c.theirs.Load() {
		return
	}
	now := c.from.now()
	if at := c.armed.Load(); at != 0 && now-at < int64(c.stall/4) {
		return
	}
	c.armed.Store(now)
	c.TCPConn.SetWriteDeadline(c.from.start.Add(time.Duration(now) + c.stall)) // fails where the connection is closed, as the write then does
}

// goesOn reports whether a write that ended with err, n bytes further, only ran
// into our deadline, while its client reads. A writer is woken when a third of
// the socket's queue is free, which at a few KiB/s takes longer than the
// deadline; so at the second one in a row the queue is what tells.
func (c *conn) goesOn(n int64, err error) bool {
	if !errors.Is(err, os.ErrDeadlineExceeded) || c.theirs.Load() {
		return false
	}
	c.armed.Store(0)
	if n > 0 {
		c.queued = -1
		return true
	}
	last, now := c.queued, unsent(c.TCPConn)
	c.queued = now
	return now > 0 && (last < 0 || now < last)
}

// Write writes all of p unless the client stands still.
func (c *conn) Write(p []byte) (n int, err error) {
	for {
		c.arm()
		m, err := c.TCPConn.Write(p[n:])
		n += m
		if !c.goesOn(int64(m), err) {
			return n, err
		}
	}
}

// ReadFrom copies a file within the kernel.
func (c *conn) ReadFrom(r io.Reader) (n int64, err error) {
	if !isFile(r) { // reading may take time, which is not the client's
		return io.Copy(writer{c}, r)
	}
	for {
		c.arm()
		m, err := c.TCPConn.ReadFrom(r)
		n += m
		if !c.goesOn(m, err) {
			return n, err
		}
	}
}

// A writer hides what else a conn can from io.Copy.
type writer struct{ io.Writer }

// isFile reports whether a reader is a file, or the first part of one.
func isFile(r io.Reader) bool {
	if l, ok := r.(*io.LimitedReader); ok {
		r = l.R
	}
	_, ok := r.(syscall.Conn)
	return ok
}

// SetWriteDeadline puts a deadline in the place of ours; none gives it back.
func (c *conn) SetWriteDeadline(t time.Time) error {
	if t.IsZero() && !c.theirs.Load() {
		return nil // net/http says so after each answer; ours stays, and is set anew in time
	}
	c.theirs.Store(!t.IsZero())
	c.armed.Store(0)
	return c.TCPConn.SetWriteDeadline(t)
}

// SetDeadline is SetReadDeadline and SetWriteDeadline.
func (c *conn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// Close closes the connection and makes room for another one.
func (c *conn) Close() error {
	c.once.Do(func() { c.from.leave(c) })
	return c.TCPConn.Close()
}
