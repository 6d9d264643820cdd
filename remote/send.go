package remote

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/entrepot/entrepot/oci"
)

var errPaused = errors.New("not sent: the host is paused")

// A wire is one request on the wire: no redirect is followed, nothing is
// retried.
type wire struct {
	label  string // of the endpoint
	kind   Kind
	method string
	url    *url.URL
	header http.Header // besides those that every request has; not changed
	auth   string      // the Authorization, "" for none; the caller has passed it through the gate
	who    Credential  // that it comes of; the zero value for none
	// authorize, where it is not nil, returns the Authorization when it is this
	// request's turn: a short-lived token could end while it waits.
	authorize func(context.Context) (string, error)

	own   bool        // the URL is the endpoint's own, not one that it sent us to
	body  *payload    // nil for none
	extra http.Header // that the endpoint's own origin is sent besides; what the request itself sets goes before
	over  *wires
}

// A payload is content to send.
type payload struct {
	size int64 // bytes; at 0, open is not called
	open func() (io.ReadCloser, error)
}

// send does one request. Whoever gets the answer closes its body; its context
// governs the body too. An error is an [oci.Error], or wraps the cause with
// which ctx ended.
func (c *Client) send(ctx context.Context, w wire) (*http.Response, error) {
	w.over.begin()
	rec := &record{c: c, over: w.over, start: c.now(), ev: Event{Endpoint: w.label, Host: hostPort(w.url), Kind: w.kind, Method: w.method, Account: w.who.Username, Remaining: -1, Limit: -1}}
	if err := rec.enter(ctx, w.who); err != nil {
		rec.finish(ClassPaused, 0)
		return nil, err
	}
	if w.authorize != nil {
		var err error
		if w.auth, err = w.authorize(ctx); err != nil {
			rec.finish(ClassAuth, 0)
			return nil, err
		}
	}
	own, cancel := context.WithCancelCause(ctx)
	dog := newWatchdog(cancel)
	var source atomic.Pointer[sourceError]
	req, err := c.request(own, w, dog, rec, &source)
	if err != nil {
		dog.end()
		rec.finish(ClassSource, 0)
		return nil, err
	}
	res, err := w.over.of(w.kind).RoundTrip(req)
	if err != nil {
		class, told := lost(ctx, context.Cause(own), req, w.own, err)
		dog.end()
		if bad := source.Load(); bad != nil && class != ClassCanceled {
			class, told = ClassSource, bad
		}
		rec.finish(class, 0)
		return nil, told
	}
	dog.answer()
	c.pauses.note(rec.ev.Host, w.who, res, c.now())
	rec.answered(res, w.own)
	res.Body = &body{rc: res.Body, dog: dog, idle: c.idleTimeout(), rec: rec, parent: ctx, ctx: own, req: req, own: w.own}
	return res, nil
}

// request builds the request and lets the watchdog see its phases.
func (c *Client) request(ctx context.Context, w wire, dog *watchdog, rec *record, source *atomic.Pointer[sourceError]) (*http.Request, error) {
	wait := c.headerTimeout(w.kind == KindUpload || w.method == http.MethodPut)
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn:      func(info httptrace.GotConnInfo) { rec.connected(info.Conn) },
		WroteRequest: func(httptrace.WroteRequestInfo) { dog.sending(wait, errNoHeaders) },
	})
	req, err := http.NewRequestWithContext(ctx, w.method, w.url.String(), nil)
	if err != nil {
		return nil, fmt.Errorf("build the request for %s: %w", redact(w.url), err)
	}
	maps.Copy(req.Header, w.extra.Clone())
	maps.Copy(req.Header, w.header.Clone())
	if w.extra.Get("User-Agent") == "" {
		req.Header.Set("User-Agent", cmp.Or(c.cfg.UserAgent, defaultUserAgent))
	}
	req.Header.Set("Accept-Encoding", "identity")
	if via := chain(oci.Via(ctx), c.cfg.InstanceID); via != "" {
		req.Header.Set("Via", via)
	}
	if cause := oci.CauseOf(ctx); cause != nil && w.own {
		tell(req.Header, cause)
	}
	if w.auth != "" {
		req.Header.Set("Authorization", w.auth)
	}
	if w.body != nil && w.body.size > 0 {
		rc, err := w.body.open()
		if err != nil {
			return nil, &sourceError{err}
		}
		req.ContentLength = w.body.size
		req.Body = &outgoing{ReadCloser: rc, dog: dog, idle: c.idleTimeout(), sent: &rec.sent, err: source}
	}
	return req, nil
}

// tell says which request of a client this one is made for.
func tell(h http.Header, cause *oci.Cause) {
	if cause.ID != "" {
		h.Set("X-Request-Id", cause.ID)
	}
	if cause.Trace.Valid() {
		h.Set("Traceparent", cause.Trace.String())
	}
}

// chain appends this process to a Via header (RFC 9110, 7.6.3).
func chain(via, id string) string {
	if id == "" {
		return via
	}
	if via != "" {
		via += ", "
	}
	return via + "1.1 " + id
}

// A record becomes the Event of one request.
type record struct {
	c     *Client
	over  *wires
	start time.Time
	ev    Event // written before the body is handed out
	sent  atomic.Int64
	once  sync.Once
	to    atomic.Pointer[string] // the address that it went to; nil for none

	free  func() // gives back the place at the host; nil where none was taken
	epoch int    // of that place's window
}

func (r *record) key() limitKey { return limitKey{r.ev.Host, pool(r.ev.Kind)} }

// enter waits until the request may be sent.
func (r *record) enter(ctx context.Context, who Credential) error {
	if k := r.key(); k.kind != KindUpload && k.kind != KindToken {
		var err error
		if r.free, err = r.c.limits.enter(ctx, k); err != nil {
			return err
		}
	}
	if err := r.c.pass(ctx, r.ev.Host, who); err != nil {
		return err
	}
	r.epoch = r.c.limits.epoch(r.key())
	return nil
}

func (r *record) answered(res *http.Response, own bool) {
	r.ev.Code = res.StatusCode
	r.c.limits.answered(r.key(), r.epoch, res.StatusCode)
	if own { // a CDN may have limits of its own
		r.ev.Remaining = quota(res.Header.Get("RateLimit-Remaining"))
		r.ev.Limit = quota(res.Header.Get("RateLimit-Limit"))
	}
}

// quota reads a RateLimit header as registries send it, "76;w=21600"; -1 for
// one that says nothing.
func quota(s string) int64 {
	n, _, _ := strings.Cut(s, ";")
	v, err := strconv.ParseInt(strings.TrimSpace(n), 10, 64)
	if err != nil || v < 0 {
		return -1
	}
	return v
}

// connected notes where a request goes. A pipe, in tests, is nowhere.
func (r *record) connected(c net.Conn) {
	to := c.RemoteAddr().String()
	r.to.Store(&to)
}

func (r *record) finish(class Class, received int64) {
	r.once.Do(func() {
		if r.free != nil {
			r.free()
		}
		r.ev.Class, r.ev.Bytes, r.ev.Sent, r.ev.Duration = class, received, r.sent.Load(), r.c.now().Sub(r.start)
		r.c.log.Debug("upstream request", "endpoint", r.ev.Endpoint, "host", r.ev.Host, "kind", string(r.ev.Kind), "method", r.ev.Method,
			"code", r.ev.Code, "bytes", r.ev.Bytes, "sent", r.ev.Sent, "dur", r.ev.Duration, "class", string(class))
		if to := r.to.Load(); to != nil {
			r.c.book.heard(*to, class, r.c.now())
		}
		if r.c.cfg.Observe != nil {
			r.c.cfg.Observe(r.ev)
		}
		r.over.end()
	})
}

// A body is the body of an answer: each read is watched, and its end is the
// end of the request.
type body struct {
	rc     io.ReadCloser
	dog    *watchdog
	idle   time.Duration
	rec    *record
	parent context.Context // the caller's, to tell its end from the watchdog's
	ctx    context.Context // the request's
	req    *http.Request
	own    bool

	n     atomic.Int64
	class atomic.Value // Class; set where the body broke
}

// Read returns io.EOF at the end of a complete body. A body that broke or
// stalled is ErrUnavailable.
func (b *body) Read(p []byte) (int, error) {
	b.dog.reading(b.idle)
	n, err := b.rc.Read(p)
	b.dog.read()
	b.n.Add(int64(n))
	if err != nil && err != io.EOF {
		var class Class
		class, err = lost(b.parent, context.Cause(b.ctx), b.req, b.own, err)
		b.class.Store(class)
	}
	return n, err
}

// Close ends the request. A connection whose body was not read to its end is
// closed.
func (b *body) Close() error {
	err := b.rc.Close()
	b.dog.end()
	class, _ := b.class.Load().(Class)
	b.rec.finish(class, b.n.Load())
	return err
}

// discard reads what may be left of a small body, so that its connection can
// be used again, and closes it.
func discard(res *http.Response) {
	io.CopyN(io.Discard, res.Body, maxErrorBody)
	res.Body.Close()
}
