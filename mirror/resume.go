package mirror

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/entrepot/entrepot/oci"
)

// The pauses between attempts without progress (spec/reliability.md, 1).
const (
	baseDelay = 250 * time.Millisecond
	maxDelay  = 30 * time.Second
)

// broke ends a stream that failed in the middle. A place that gave something
// is asked again first, with a fresh token and a fresh redirect; one that gave
// nothing or stalled, only where there is no better one: each stall costs the
// idle time.
func (b *body) broke(err error, stalled bool) {
	e, ok := errors.AsType[*oci.Error](err)
	switch stalled = stalled || ok && e.Timeout; {
	case stalled:
		err = &oci.Error{Kind: oci.ErrUnavailable, Message: "the transfer from the upstream stalled", Timeout: true, Err: err}
		b.m.note(b.ctx, b.places[b.current].Label, err)
	case kind(err) == nil:
		err = &oci.Error{Kind: oci.ErrUnavailable, Message: "the connection to the upstream broke", Err: err}
	}
	if b.tries[b.current] > 0 {
		b.failed++ // nothing came
	} else if stalled {
		b.tries[b.current]++
	}
	b.last = fmt.Errorf("%s: %w", b.places[b.current].Label, err)
	b.drop(err)
}

// reopen opens the next stream where the body stands. The error is that of the
// last attempt.
func (b *body) reopen() error {
	for b.failed < b.m.cfg.Attempts {
		i, other := b.next()
		if i < 0 {
			break
		}
		if err := b.rest(i); err != nil {
			return err
		}
		b.m.observe(b.ctx, Event{Kind: Resume, Op: OpBlob, Ref: b.ref, Offset: b.pos,
			From: b.places[b.current].Label, To: b.places[i].Label, Err: b.last})
		patience := time.Duration(0)
		if other {
			patience = b.m.cfg.Patience
		}
		b.current = i
		cancel, err := b.m.try(b.ctx, b.places[i], patience, b.open)
		if err == nil {
			b.begin(i, cancel)
			return nil
		}
		if b.ctx.Err() != nil {
			return context.Cause(b.ctx)
		}
		b.refused(i, err)
	}
	return b.last
}

// next chooses the place to ask, -1 where none is left: the one with the
// fewest attempts since the last progress; among equals the one that the body
// comes from, then the first that is well. Other says that one more has not
// been asked yet.
func (b *body) next() (best int, other bool) {
	best = -1
	fresh := 0
	better := func(i, j int) bool {
		switch {
		case b.tries[i] != b.tries[j]:
			return b.tries[i] < b.tries[j]
		case i == b.current || j == b.current:
			return i == b.current
		}
		return !b.m.health.has(b.places[i].Label) && b.m.health.has(b.places[j].Label)
	}
	for i := range b.places {
		if b.out[i] {
			continue
		}
		if b.tries[i] == 0 {
			fresh++
		}
		if best < 0 || better(i, best) {
			best = i
		}
	}
	return best, fresh > 1
}

// rest waits before a place that has failed is asked again. The first attempt
// after progress, and the first at each place, come at once.
func (b *body) rest(i int) error {
	if b.tries[i] == 0 || b.failed < 2 && b.pause[i] == 0 {
		return nil
	}
	ceiling := min(baseDelay<<min(max(b.failed-2, 0), 10), maxDelay)
	timer := time.NewTimer(max(rand.N(ceiling+1), b.pause[i]))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-b.ctx.Done():
		return context.Cause(b.ctx)
	}
}

// refused notes that a place did not open the blob where the body stands. A
// place that says something definite, has another size, or wants to be left
// alone for longer than a reader waits, is not asked again.
func (b *body) refused(i int, err error) {
	b.failed++
	b.tries[i]++
	b.pause[i] = 0
	if e, ok := errors.AsType[*oci.Error](err); ok {
		b.pause[i] = e.RetryAfter
	}
	_, otherSize := errors.AsType[*sizeError](err)
	b.out[i] = otherSize || b.pause[i] > maxDelay || definite(err)
	b.last = fmt.Errorf("%s: %w", b.places[i].Label, err)
}

// definite reports whether asking again is of no use. That a place cannot
// start in the middle is not definite: some nodes of a CDN can, and others
// cannot (container-libs#1114).
func definite(err error) bool {
	return !vague(err) && !errors.Is(err, oci.ErrUnsupported)
}
