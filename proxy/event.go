package proxy

import (
	"context"
	"time"

	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
)

// An EventKind says what happened.
type EventKind string

// The kinds of event.
const (
	// EventRequest: a request was answered. Op, Result and Err are set; Err
	// is nil where the caller got what it asked for.
	EventRequest EventKind = "request"
	// EventFill: a fill has ended, well (Err is nil) or not. Bytes, Kept,
	// Duration and Ahead are set. A fill that found the blob stored, or never
	// reached the upstream, has no event.
	EventFill EventKind = "fill"
	// EventMismatch: the upstream's content was not what its digest names.
	EventMismatch EventKind = "mismatch"
	// EventPart: a part of a blob was fetched by a request beside that of its
	// fill, ahead of it. Bytes is set; they count in EventFill too.
	EventPart EventKind = "part"
	// EventWarm: an image of KeepWarm is up to date (Err is nil), or could not be
	// brought up to date. Result is Miss where something had to be fetched;
	// Scarce says that it was left alone to spare the upstream.
	EventWarm EventKind = "warm"
	// EventEntry: with Passthrough, a caller wanted into a repository. Result is
	// Hit where he was let in lately, Negative where he was refused lately, and
	// else says how the upstream was asked; Err is why he is not let in.
	EventEntry EventKind = "entry"
	// EventStoreError: the cache could not store or read something. Err is
	// set.
	EventStoreError EventKind = "store_error"
)

// An Op is the kind of a request.
type Op string

// The kinds of request.
const (
	OpManifest  Op = "manifest"
	OpResolve   Op = "resolve"
	OpBlob      Op = "blob"
	OpStat      Op = "stat"
	OpTags      Op = "tags"
	OpReferrers Op = "referrers"
)

// An Event tells what the Proxy did, for metrics and logs.
type Event struct {
	Kind     EventKind
	Upstream string // the upstream's name
	Op       Op
	Result   oci.Result
	Bytes    int64         // read from the upstream
	Kept     int64         // bytes of a fill that an earlier one had left
	Duration time.Duration // of a fill, until its bytes were verified
	Ahead    bool          // a fill that no client had asked for when it started
	Scarce   bool          // nothing was asked, as few requests are left
	Err      error
}

func (p *Proxy) observe(e Event) {
	if p.cfg.Observe != nil {
		p.cfg.Observe(e)
	}
}

// answered tells of a request's end.
func (p *Proxy) answered(ctx context.Context, op Op, n ref.Name, err error) {
	if p.cfg.Observe != nil {
		p.cfg.Observe(Event{Kind: EventRequest, Op: op, Upstream: n.Host, Result: oci.OutcomeOf(ctx).Result, Err: err})
	}
}

// storeError tells of a cache that does not work; what it was needed for is
// done in another way, or fails on its own.
func (p *Proxy) storeError(doing string, n ref.Name, err error) {
	p.log.Warn("the cache does not work", "doing", doing, "repository", n.String(), "err", err)
	p.observe(Event{Kind: EventStoreError, Upstream: n.Host, Err: err})
}
