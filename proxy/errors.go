package proxy

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
)

// retryLater is what a client is told to wait where nobody knows better.
const retryLater = 5 * time.Second

// errClosed is what new work is refused with once the Proxy is closed.
func errClosed() error {
	return &oci.Error{Kind: oci.ErrUnavailable, Message: "shutting down", RetryAfter: retryLater}
}

// broken is the error for a cache that cannot take what an upstream has.
func broken(err error) error {
	return &oci.Error{Kind: oci.ErrUnavailable, RetryAfter: retryLater,
		Message: "the cache cannot store the content", Err: errors.New(err.Error())}
}

// late is the error for an upstream that lets us wait.
func late(n ref.Name) error {
	return &oci.Error{Kind: oci.ErrUnavailable, Timeout: true, RetryAfter: retryLater,
		Message: fmt.Sprintf("upstream %s did not answer in time", n.Host)}
}

// fault turns what went wrong at the upstream, or between it and us, into what
// a client may see; code is for content that is not there. The cause stays
// readable in the log but can no longer be matched: an upstream's
// ErrUnauthorized is not ours.
func fault(n ref.Name, code string, err error) error {
	if err == nil {
		return nil
	}
	e := &oci.Error{Kind: oci.ErrUnavailable, Err: errors.New(err.Error())}
	if inner, ok := errors.AsType[*oci.Error](err); ok {
		e.RetryAfter, e.Timeout = inner.RetryAfter, inner.Timeout
	} else {
		// Not for an oci.Error: it has told, and the net package's error for
		// a dial that took too long is a DeadlineExceeded too.
		e.Timeout = errors.Is(err, context.DeadlineExceeded)
	}
	switch {
	case limited(err):
		e.Code, e.RetryAfter = oci.CodeTooManyRequests, max(e.RetryAfter, time.Second)
		e.Message = fmt.Sprintf("upstream %s limits the rate of requests", n.Host)
	case errors.Is(err, oci.ErrNotFound):
		e.Kind, e.Code = oci.ErrNotFound, code
		e.Message = fmt.Sprintf("upstream %s has no such content in %s", n.Host, n.Path)
	case refused(err):
		e.Kind, e.Code = oci.ErrDenied, oci.CodeDenied
		e.Message = fmt.Sprintf("upstream %s refuses access to %s", n.Host, n.Path)
	case errors.Is(err, oci.ErrMismatch), errors.Is(err, oci.ErrTooLarge), errors.Is(err, oci.ErrInvalid), errors.Is(err, oci.ErrUnsupported):
		e.Kind = oci.ErrMismatch
		e.Message = fmt.Sprintf("upstream %s answered with something else than was asked for", n.Host)
	case e.Timeout:
		e.RetryAfter = max(e.RetryAfter, retryLater)
		e.Message = fmt.Sprintf("upstream %s did not answer in time", n.Host)
	default:
		e.RetryAfter = max(e.RetryAfter, retryLater)
		e.Message = fmt.Sprintf("upstream %s is unreachable", n.Host)
	}
	return e
}

// limited reports whether the upstream said 429.
func limited(err error) bool {
	e, ok := errors.AsType[*oci.Error](err)
	return ok && e.Code == oci.CodeTooManyRequests
}

// refused reports whether the upstream did not accept our credentials.
func refused(err error) bool {
	return errors.Is(err, oci.ErrDenied) || errors.Is(err, oci.ErrUnauthorized)
}

// notFound reports whether there is no such content.
func notFound(err error) bool { return errors.Is(err, oci.ErrNotFound) }

// mismatched reports whether content was not what was asked for.
func mismatched(err error) bool { return errors.Is(err, oci.ErrMismatch) }

// timedOut reports whether an answer did not come in time.
func timedOut(err error) bool {
	e, ok := errors.AsType[*oci.Error](err)
	return ok && e.Timeout
}

// isStorage reports whether our own disk failed.
func isStorage(err error) bool {
	_, ok := errors.AsType[storageError](err)
	return ok
}
