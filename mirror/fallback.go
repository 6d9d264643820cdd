package mirror

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
)

// ask puts one question to the places until one answers. Changes says that
// only those with Tags may.
func (m *Mirror) ask(ctx context.Context, op Op, r ref.Ref, changes bool, f func(context.Context, Place) error) error {
	places, err := m.plan(op, r, changes)
	if err != nil {
		return err
	}
	q := question{m: m, op: op, ref: r, places: places}
	_, cancel, err := q.put(ctx, f)
	cancel(nil)
	return err
}

// A question is one request on its way through the places.
type question struct {
	m      *Mirror
	op     Op
	ref    ref.Ref // as the caller calls it
	places []Place
}

// put asks one place after the other, those that are not well last. It returns
// the index of the one that answered, and what ends the context that its
// answer lives in.
//
// Every failure goes on to the next place but the end of the caller's context:
// a mirror that is down, is no registry, wants other credentials or lacks the
// image must not be in the way of the original.
func (q *question) put(ctx context.Context, f func(context.Context, Place) error) (int, context.CancelCauseFunc, error) {
	order := q.m.wellFirst(q.places)
	errs := make([]error, len(q.places)) // by the order of the plan
	for k, i := range order {
		patience := q.m.cfg.Patience
		if k == len(order)-1 {
			patience = 0
		}
		cancel, err := q.m.try(ctx, q.places[i], patience, f)
		if err == nil {
			oci.OutcomeOf(ctx).From = q.places[i].Label
			return i, cancel, nil
		}
		if ctx.Err() != nil {
			return 0, ignore, context.Cause(ctx)
		}
		errs[i] = fmt.Errorf("%s: %w", q.places[i].Label, err)
		if k < len(order)-1 {
			q.m.observe(ctx, Event{Kind: Fallback, Op: q.op, Ref: q.ref,
				From: q.places[i].Label, To: q.places[order[k+1]].Label, Err: err})
		}
	}
	return 0, ignore, verdict(errs, original(q.places))
}

func ignore(error) {}

// errSlow is why a place is left that does not answer.
var errSlow = errors.New("another place is asked instead")

// try asks one place, with patience (0: as long as it takes), and notes how it
// is. On success the context that f was given lives until the function that is
// returned is called.
func (m *Mirror) try(ctx context.Context, p Place, patience time.Duration, f func(context.Context, Place) error) (context.CancelCauseFunc, error) {
	own, cancel := context.WithCancelCause(ctx)
	inTime := func() bool { return true }
	if patience > 0 {
		inTime = time.AfterFunc(patience, func() { cancel(errSlow) }).Stop
	}
	err := f(own, p)
	// Where the answer came just as time was up, its context has ended: a
	// body then breaks at its first byte, and goes on like any that breaks.
	if !inTime() && err != nil && ctx.Err() == nil {
		err = &oci.Error{Kind: oci.ErrUnavailable, Message: "the upstream does not answer in time", Timeout: true, Err: errSlow}
	}
	if ctx.Err() == nil {
		m.note(ctx, p.Label, err)
	}
	if err != nil {
		cancel(nil)
		return ignore, err
	}
	return cancel, nil
}

// verdict chooses what to say when no place had an answer. What the original
// says is right where it is definite: a mirror may lack an image, or not let
// us in, and a mirror that is down knows no better. Where the original said
// nothing, that of the places is told that says most about when to come back.
// It never is a mirror's "not found": nobody knows whether that is so.
func verdict(errs []error, original int) error {
	best := errs[original]
	if !vague(best) {
		return best
	}
	for _, err := range errs {
		if tells(err) > tells(best) {
			best = err
		}
	}
	return best
}

// vague reports whether an error says nothing about the image.
func vague(err error) bool {
	return errors.Is(err, oci.ErrUnavailable) || errors.Is(err, oci.ErrMismatch) || kind(err) == nil
}

// tells says how much an error tells about when to come back: the time that
// was asked for, at least 1 for a place that can be asked again, 2 for one
// that did not answer in time.
func tells(err error) time.Duration {
	e, ok := errors.AsType[*oci.Error](err)
	switch {
	case !ok || e.Kind != oci.ErrUnavailable:
		return 0
	case e.Timeout:
		return max(2, e.RetryAfter)
	}
	return max(1, e.RetryAfter)
}

func kind(err error) error {
	if e, ok := errors.AsType[*oci.Error](err); ok {
		return e.Kind
	}
	for _, k := range []error{oci.ErrNotFound, oci.ErrUnauthorized, oci.ErrDenied, oci.ErrInvalid, oci.ErrUnsupported, oci.ErrTooLarge} {
		if errors.Is(err, k) {
			return k
		}
	}
	return nil
}
