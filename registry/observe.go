package registry

import (
	"context"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
)

// An Event is one request that was answered, for metrics and the access log.
type Event struct {
	ID        string // of the request, as X-Request-Id tells it to the client
	Op        string // ping, catalog, tags, manifest, blob, upload, referrers; "" where the path is none of the protocol's
	Method    string
	Proxied   bool
	Name      ref.Name      // as its owner knows it, Host is the upstream; zero where nobody owns it
	Reference string        // tag, digest or upload session, as it was sent
	Namespace string        // the ns parameter, "" where there was none
	Result    oci.Result    // how a proxied request was answered, "" where nobody said
	From      string        // the endpoint that was asked last, "" for none
	Status    int           // 499 where the client left before the end
	Sent      int64         // bytes of the answer's body
	Received  int64         // bytes of the request's body
	Dur       time.Duration // from the request's header to the end of the answer
	Err       error         // the cause of a refusal, or of a body that broke off; never for clients
}

// requestID returns a name for a request that no other of this process has,
// and likely none of another.
func (h *Handler) requestID() string {
	var buf [32]byte
	b := append(buf[:0], h.idBase...)
	return string(strconv.AppendUint(b, h.idNext.Add(1), 36))
}

// done reports the request. It runs also where the answer is cut off by a
// panic.
func (c *call) done() {
	level := slog.LevelDebug
	if c.status >= 500 {
		level = slog.LevelWarn
	}
	logged := c.h.log.Enabled(c.ctx, level)
	if !logged && c.h.cfg.Observe == nil {
		return
	}
	e := c.event()
	if logged {
		c.h.logEvent(c.ctx, level, e)
	}
	if c.h.cfg.Observe != nil {
		c.h.cfg.Observe(e)
	}
}

func (c *call) event() Event {
	e := Event{
		ID:        c.id,
		Op:        c.op,
		Method:    c.r.Method,
		Proxied:   c.target.proxied,
		Name:      c.target.name,
		Reference: c.at.ref,
		Result:    c.out.Result,
		From:      c.out.From,
		Status:    c.status,
		Sent:      c.sent,
		Received:  c.received,
		Dur:       time.Since(c.start),
		Err:       c.err,
	}
	if len(c.ns) > 0 {
		e.Namespace = c.ns[0]
	}
	if e.Status == 0 { // a panic that is not ours
		e.Status = http.StatusInternalServerError
	}
	return e
}

func (h *Handler) logEvent(ctx context.Context, level slog.Level, e Event) {
	attrs := []slog.Attr{
		slog.String("id", e.ID), slog.String("op", e.Op), slog.String("method", e.Method),
		slog.String("name", e.Name.String()), slog.String("ref", e.Reference), slog.String("ns", e.Namespace),
		slog.String("result", string(e.Result)), slog.Int("status", e.Status),
		slog.Int64("bytes", e.Sent), slog.Int64("received", e.Received), slog.Duration("dur", e.Dur),
	}
	if e.From != "" {
		attrs = append(attrs, slog.String("endpoint", e.From))
	}
	if e.Err != nil {
		attrs = append(attrs, slog.Any("err", e.Err))
	}
	h.log.LogAttrs(ctx, level, "request", attrs...)
}
