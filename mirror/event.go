package mirror

import (
	"context"
	"log/slog"

	"github.com/entrepot/entrepot/ref"
)

// An EventKind says what happened.
type EventKind string

// The kinds of events.
const (
	Fallback EventKind = "fallback" // From had no answer, To is asked
	Resume   EventKind = "resume"   // a body broke at From, and goes on at To
	Rejected EventKind = "rejected" // From gave wrong bytes
)

// An Op is what was asked for.
type Op string

// The operations.
const (
	OpResolve   Op = "resolve"
	OpManifest  Op = "manifest"
	OpStat      Op = "stat"
	OpBlob      Op = "blob"
	OpTags      Op = "tags"
	OpReferrers Op = "referrers"
)

// An Event is something that a single place would not have survived.
type Event struct {
	Kind   EventKind
	Op     Op
	Ref    ref.Ref // as the caller calls it
	From   string  // label of the place that failed
	To     string  // label of the place that is asked, "" for none
	Offset int64   // of a blob: where it goes on, in bytes
	Err    error   // why; nil with Rejected
}

func (m *Mirror) observe(ctx context.Context, e Event) {
	m.log.LogAttrs(ctx, slog.LevelDebug, "mirror "+string(e.Kind),
		slog.String("op", string(e.Op)), slog.String("ref", e.Ref.String()), slog.String("from", e.From),
		slog.String("to", e.To), slog.Int64("bytes", e.Offset), slog.Any("err", e.Err))
	if m.cfg.Observe != nil {
		m.cfg.Observe(e)
	}
}
