package registry

import (
	"log/slog"
	"net/http"
	"strings"
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
	Path      string        // as it was sent, where it is none of the protocol's; else ""
	Namespace string        // the ns parameter, "" where there was none
	Result    oci.Result    // how a proxied request was answered, "" where nobody said
	From      string        // the endpoint that was asked last, "" for none
	Status    int           // 499 where the client left before the end
	Sent      int64         // bytes of the answer's body
	Received  int64         // bytes of the request's body
	Dur       time.Duration // from the request's header to the end of the answer
	Client    string        // the address of the connection, without its port
	User      string        // who called, "" for an anonymous caller
	Agent     string        // the User-Agent, as it was sent
	Trace     oci.Trace     // where the request stands in its trace
	Parent    oci.Trace     // what it came with, where Config.Trace has said more
	First     time.Duration // from the request's header to that of the answer; 0 where there was none
	Err       error         // the cause of a refusal, or of a body that broke off; never for clients
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
		c.logEvent(level, &e)
	}
	if c.h.cfg.Observe != nil {
		c.h.cfg.Observe(e)
	}
}

func (c *call) event() Event {
	e := Event{
		ID:        c.cause.ID,
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
		Client:    hostOf(c.r.RemoteAddr),
		User:      c.caller.User,
		Agent:     c.r.UserAgent(),
		Trace:     c.cause.Trace,
		Parent:    c.parent,
		First:     c.first,
		Err:       c.err,
	}
	if c.at.resource == unknown {
		e.Path = c.r.URL.Path
	}
	if len(c.ns) > 0 {
		e.Namespace = c.ns[0]
	}
	if e.Status == 0 { // a panic that is not ours
		e.Status = http.StatusInternalServerError
	}
	return e
}

// maxLogged limits what a line of the log has of each thing that clients
// choose, in bytes.
const maxLogged = 256

// logEvent writes the line of a request. It has nothing of its query but the ns,
// none of its headers but those that are named here, and no session of an
// upload: whoever knows that may go on with it. What is empty is left out.
func (c *call) logEvent(level slog.Level, e *Event) {
	all := make([]slog.Attr, 0, 20)
	text := func(key, value string) {
		if value != "" {
			all = append(all, slog.String(key, value[:min(len(value), maxLogged)]))
		}
	}
	text("id", e.ID)
	text("method", e.Method)
	text("op", e.Op)
	text("ns", e.Namespace)
	text("upstream", e.Name.Host)
	text("repo", e.Name.Path)
	text("path", e.Path)
	if c.at.resource != session {
		text("ref", e.Reference)
	}
	all = append(all, slog.Int("status", e.Status), slog.Int64("bytes", e.Sent))
	if e.Received > 0 {
		all = append(all, slog.Int64("received", e.Received))
	}
	all = append(all, slog.Duration("dur", e.Dur))
	text("result", string(e.Result))
	text("endpoint", e.From)
	text("client", e.Client)
	text("user", e.User)
	text("agent", e.Agent)
	if e.Trace.Valid() {
		text("trace", e.Trace.String()[3:35])
	}
	if e.Err != nil {
		all = append(all, slog.Any("err", e.Err))
	}
	c.h.log.LogAttrs(c.ctx, level, "request", all...)
}

// hostOf returns an address without its port. Unlike net.SplitHostPort it makes
// nothing new.
func hostOf(addr string) string {
	i := strings.LastIndexByte(addr, ':')
	if i < 0 {
		return addr
	}
	return strings.Trim(addr[:i], "[]")
}
