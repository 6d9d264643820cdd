package proxy

import (
	"errors"
	"maps"
	"sync"
	"time"

	"github.com/entrepot/entrepot/oci"
)

// A lane is one kind of request to the upstream of a scope. Registries limit
// manifests and blobs apart (Docker Hub counts manifests only), so a pause of
// one does not hold up the other.
type lane struct {
	scope string
	blobs bool
}

// How long an upstream that could not be asked is left alone: the first time,
// and at most. Each further failure doubles it.
const (
	firstBackoff = 5 * time.Second
	maxBackoff   = time.Minute
	maxPause     = time.Hour // the longest Retry-After that is believed
)

// A condition is why, and until when, a lane is better not asked.
type condition struct {
	err      error
	until    time.Time
	failures int  // in a row
	slow     bool // it has not failed yet; somebody who had another way stopped waiting
}

// health remembers which upstreams cannot be asked at the moment.
type health struct {
	mu    sync.Mutex         // guards lanes
	lanes map[lane]condition // those that are not well
}

// maxLanes is how many lanes may be unwell before those that may be asked
// again are forgotten: hosts below a "*.suffix" are named by clients.
const maxLanes = 1024

func newHealth() *health { return &health{lanes: make(map[lane]condition)} }

// paused returns the 429 that a lane has to wait out, with what is left of its
// Retry-After; nil where it may be asked.
func (h *health) paused(l lane, now time.Time) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	c := h.lanes[l]
	if !limited(c.err) || !now.Before(c.until) {
		return nil
	}
	e, _ := errors.AsType[*oci.Error](c.err)
	left := *e
	left.RetryAfter = max(c.until.Sub(now), time.Second)
	return &left
}

// down returns why a lane should not be asked by whoever has another way; nil
// where it is well.
func (h *health) down(l lane, now time.Time) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if c := h.lanes[l]; now.Before(c.until) {
		return c.err
	}
	return nil
}

// note learns from an answer. Any answer but a 429 or a failure says that the
// upstream is well; it does not end a pause that another request was told.
func (h *health) note(l lane, err error, now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	c := h.lanes[l]
	paused := limited(c.err) && now.Before(c.until)
	switch {
	case limited(err):
		e, _ := errors.AsType[*oci.Error](err)
		until := now.Add(min(max(e.RetryAfter, time.Second), maxPause))
		if !paused || until.After(c.until) {
			h.set(l, condition{err: err, until: until}, now)
		}
	case paused:
	case errors.Is(err, oci.ErrUnavailable), errors.Is(err, oci.ErrMismatch):
		if now.Before(c.until) && !c.slow {
			return // one of several that failed together
		}
		wait := c.backoff()
		if e, ok := errors.AsType[*oci.Error](err); ok {
			wait = max(wait, min(e.RetryAfter, maxBackoff))
		}
		h.set(l, condition{err: err, until: now.Add(wait), failures: c.failures + 1}, now)
	default:
		delete(h.lanes, l)
	}
}

// slow learns that an answer is not there in time for somebody who has another
// way. The others who have one then do not wait at all, until it comes.
func (h *health) slow(l lane, err error, now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if c := h.lanes[l]; !now.Before(c.until) {
		h.set(l, condition{err: err, until: now.Add(c.backoff()), failures: c.failures, slow: true}, now)
	}
}

// set notes a condition. The caller holds mu.
func (h *health) set(l lane, c condition, now time.Time) {
	if len(h.lanes) >= maxLanes {
		maps.DeleteFunc(h.lanes, func(_ lane, c condition) bool { return !now.Before(c.until) })
	}
	h.lanes[l] = c
}

// forget forgets which upstreams could not be asked, but not which of them
// asked for silence.
func (h *health) forget() {
	h.mu.Lock()
	defer h.mu.Unlock()
	maps.DeleteFunc(h.lanes, func(_ lane, c condition) bool { return !limited(c.err) })
}

func (c condition) backoff() time.Duration {
	return min(firstBackoff<<min(c.failures, 8), maxBackoff)
}
