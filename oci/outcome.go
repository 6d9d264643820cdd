package oci

import (
	"context"
	"time"
)

// A Result says how a request was answered.
type Result string

// The results, as they are counted and as X-Cache shows them.
const (
	Hit         Result = "hit"         // from the store, nobody was asked
	Miss        Result = "miss"        // this request fetched it
	Coalesced   Result = "coalesced"   // it waited for, or read along with, another request's fetch
	Stale       Result = "stale"       // from the store, the upstream could not be asked
	Revalidated Result = "revalidated" // from the store, the upstream said that it is current
	Negative    Result = "negative"    // a remembered "no"
)

// An Outcome is filled in by the readers that a request passes, for headers,
// logs and metrics. One belongs to one request; it is not safe for concurrent
// use, so work that outlives or leaves the request must not write to it.
type Outcome struct {
	Result  Result
	Age     time.Duration // since the content was last known to be current; 0 for content named by digest
	Warning string        // for a Warning header, without quotes; "" for none
	From    string        // the endpoint that was asked last, "" for none
}

type outcomeKey struct{}

// WithOutcome returns a context that carries o.
func WithOutcome(ctx context.Context, o *Outcome) context.Context {
	return context.WithValue(ctx, outcomeKey{}, o)
}

// OutcomeOf returns the Outcome that ctx carries, or a fresh one that nobody
// reads. It is never nil.
func OutcomeOf(ctx context.Context) *Outcome {
	if o, ok := ctx.Value(outcomeKey{}).(*Outcome); ok {
		return o
	}
	return new(Outcome)
}
