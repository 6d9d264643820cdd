package remote

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"
)

// The causes with which a watchdog ends a request.
var (
	errNoHeaders = errors.New("no answer in time")
	errStalled   = errors.New("the transfer stalled")
)

// A watchdog ends one request when nothing moves for too long. There is one
// timer for the phases that follow each other: sending the body, waiting for
// the headers, each read of the answer's body. Nothing limits the whole.
type watchdog struct {
	cancel context.CancelCauseFunc

	mu       sync.Mutex // guards what follows
	timer    *time.Timer
	cause    error // what armed it; nil while it sleeps
	answered bool  // the headers are here: what still goes on with sending is no matter
	over     bool
}

func newWatchdog(cancel context.CancelCauseFunc) *watchdog {
	w := &watchdog{cancel: cancel}
	w.timer = time.AfterFunc(time.Hour, w.bite)
	w.timer.Stop()
	return w
}

func (w *watchdog) bite() {
	w.mu.Lock()
	defer w.mu.Unlock()
	// Where it fired while it was being disarmed, there is no cause any more.
	if w.cause != nil {
		w.cancel(w.cause)
	}
}

// set arms the watch with a cause, or disarms it where cause is nil.
func (w *watchdog) set(d time.Duration, cause error) {
	if w.cause = cause; cause == nil {
		w.timer.Stop()
	} else if !w.over {
		w.timer.Reset(d)
	}
}

// reading arms the watch for one read of the answer's body.
func (w *watchdog) reading(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.set(d, errStalled)
}

// read disarms it after the read.
func (w *watchdog) read() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.set(0, nil)
}

// sending arms or disarms it before the answer. The transport writes in a
// goroutine of its own and may still be writing when the answer has come; then
// it must not touch the clock of the reads.
func (w *watchdog) sending(d time.Duration, cause error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.answered {
		w.set(d, cause)
	}
}

func (w *watchdog) answer() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.answered = true
	w.set(0, nil)
}

// end stops the watch and releases the request's context.
func (w *watchdog) end() {
	w.mu.Lock()
	w.over, w.answered = true, true
	w.set(0, nil)
	w.mu.Unlock()
	w.cancel(context.Canceled)
}

// An outgoing body counts and watches what is sent: the clock runs while the
// network has the bytes, not while the source is read.
type outgoing struct {
	io.ReadCloser
	dog  *watchdog
	idle time.Duration
	sent *atomic.Int64
	err  *atomic.Pointer[sourceError]
}

func (o *outgoing) Read(p []byte) (int, error) {
	o.dog.sending(0, nil)
	n, err := o.ReadCloser.Read(p)
	o.sent.Add(int64(n))
	if err != nil && err != io.EOF {
		err = &sourceError{err}
		o.err.CompareAndSwap(nil, err.(*sourceError))
	}
	o.dog.sending(o.idle, errStalled)
	return n, err
}

// A sourceError is a failure of the content that was to be sent, not of the
// network. It keeps the kind of its cause.
type sourceError struct{ err error }

func (e *sourceError) Error() string { return "read the content to send: " + e.err.Error() }
func (e *sourceError) Unwrap() error { return e.err }
