package proxy

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/entrepot/entrepot/oci"
)

// A lane is one kind of request to the upstream of a scope. Registries limit
// manifests and blobs apart (Docker Hub counts manifests only), so a pause of
// one does not hold up the other.
type lane struct {
	host  string // the upstream's name
	scope string
	who   string // in it; see repo
	blobs bool
}

// lane returns the lane of a repository's manifests, or of its blobs.
func (r repo) lane(blobs bool) lane { return lane{r.name.Host, r.scope, r.who, blobs} }

// breaks is how many failures in a row open a lane's breaker: then nobody asks
// the upstream, whether he has another way or not, until a request that is let
// through, one in each window, is answered (spec/serve.md, F6).
const breaks = 5

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
	windows  int  // of failures in a row
	failures int  // in a row
	soft     bool // nothing has failed in this window yet: somebody who had another way stopped waiting, or asks for all
}

func (c condition) open() bool { return c.failures >= breaks }

// health remembers which upstreams cannot be asked at the moment.
type health struct {
	mu    sync.Mutex         // guards lanes
	lanes map[lane]condition // those that are not well
}

// maxLanes is how many lanes may be unwell before those that may be asked
// again are forgotten: hosts below a "*.suffix" are named by clients.
const maxLanes = 1024

func newHealth() *health { return &health{lanes: make(map[lane]condition)} }

// paused returns why a lane must not be asked, with the time that is left: a
// 429 whose Retry-After has to be waited out, or a breaker that is open; nil
// where it may be asked.
func (h *health) paused(l lane, now time.Time) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.lanes[l].bars(l, now)
}

// enter is paused for who then asks. The first after a pause, or after a
// window of an open breaker, asks for all; the others wait for what it finds
// out, so that a window costs the upstream one request.
func (h *health) enter(l lane, now time.Time) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	c := h.lanes[l]
	if err := c.bars(l, now); err != nil {
		return err
	}
	switch {
	case limited(c.err):
		c.until, c.soft = now.Add(probePause), true
	case c.open():
		c.until, c.soft = now.Add(c.backoff()), true
	default:
		return nil
	}
	h.lanes[l] = c
	return nil
}

// probePause is how long the others are told to wait while one request finds
// out whether a pause is over. Where it is not answered by then, the next one
// is let through.
const probePause = 2 * time.Second

// bars returns why nobody may ask, nil for no reason.
func (c condition) bars(l lane, now time.Time) error {
	if !now.Before(c.until) {
		return nil
	}
	left := max(c.until.Sub(now), time.Second)
	switch {
	case limited(c.err):
		e, _ := errors.AsType[*oci.Error](c.err)
		told := *e
		told.RetryAfter = left
		return &told
	case c.open():
		return &oci.Error{Kind: oci.ErrUnavailable, RetryAfter: left, Err: errors.New(c.err.Error()),
			Message: fmt.Sprintf("upstream %s is unreachable", l.host)}
	}
	return nil
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

// isOpen reports whether a lane's breaker is open, in a window or between two.
func (h *health) isOpen(l lane) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.lanes[l].open()
}

// broken returns the upstreams of which a breaker is open.
func (h *health) broken() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var hosts []string
	for l, c := range h.lanes {
		if c.open() && !slices.Contains(hosts, l.host) {
			hosts = append(hosts, l.host)
		}
	}
	return hosts
}

// note learns from an answer. Any answer but a 429 or a failure says that the
// upstream is well; it does not end a pause that another request was told.
func (h *health) note(l lane, err error, now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	c := h.lanes[l]
	paused := limited(c.err) && now.Before(c.until) && !c.soft
	switch {
	case limited(err):
		e, _ := errors.AsType[*oci.Error](err)
		until := now.Add(min(max(e.RetryAfter, time.Second), maxPause))
		if !paused || until.After(c.until) {
			h.set(l, condition{err: err, until: until}, now)
		}
	case paused:
	case errors.Is(err, oci.ErrUnavailable), errors.Is(err, oci.ErrMismatch):
		h.set(l, c.after(err, now), now)
	default:
		delete(h.lanes, l)
	}
}

// after is the condition after another failure. What is no registry has
// answered, and is asked again by those who have no other way.
func (c condition) after(err error, now time.Time) condition {
	if limited(c.err) {
		c = condition{}
	}
	if errors.Is(err, oci.ErrUnavailable) {
		c.failures++
	} else {
		c.failures = 0
	}
	if now.Before(c.until) && !c.soft {
		return c // one of several that failed together
	}
	wait := c.backoff()
	if e, ok := errors.AsType[*oci.Error](err); ok {
		wait = max(wait, min(e.RetryAfter, maxBackoff))
	}
	c.err, c.until, c.soft = err, now.Add(wait), false
	c.windows++
	return c
}

// slow learns that an answer is not there in time for somebody who has another
// way. The others who have one then do not wait at all, until it comes.
func (h *health) slow(l lane, err error, now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if c := h.lanes[l]; !now.Before(c.until) {
		c.err, c.until, c.soft = err, now.Add(c.backoff()), true
		h.set(l, c, now)
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

// forgetHosts forgets all about some upstreams, what they asked for too.
func (h *health) forgetHosts(match func(host string) bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	maps.DeleteFunc(h.lanes, func(l lane, _ condition) bool { return match(l.host) })
}

func (c condition) backoff() time.Duration {
	return min(firstBackoff<<min(c.windows, 8), maxBackoff)
}
