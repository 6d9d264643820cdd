package remote

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/url"
	"slices"

	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
)

// An exchange is one request of an endpoint as its caller means it: with
// redirects, authorisation and further attempts.
type exchange struct {
	kind   Kind
	method string
	url    *url.URL
	header http.Header
	name   ref.Name // whose credentials are used; its path may be empty
	scopes []string // that a token needs
	body   *payload
	want   []int // the statuses that are answers; all others become errors
	once   bool  // no further attempt: the caller has a better way to go on
	turn   int   // which of several accounts does it; see Rotate
}

// run does an exchange. Whoever gets the answer closes its body.
func (e *Endpoint) run(ctx context.Context, x exchange) (*http.Response, error) {
	retry := e.client.cfg.Retry
	var last error
	for failures := 1; ; failures++ {
		res, err := e.rotate(ctx, x)
		if err != nil && last != nil && ctx.Err() != nil {
			return nil, last // it says more than that the time is over
		}
		if err == nil || x.once || failures >= retry.attempts() || !retry.helps(err) || !sleep(ctx, retry.delay(failures)) {
			return res, err
		}
		last = err
	}
}

// helps reports whether another attempt may succeed, and soon enough.
func (r Retry) helps(err error) bool {
	e, ok := errors.AsType[*oci.Error](err)
	if !ok || e.Kind != oci.ErrUnavailable {
		return false
	}
	if _, refused := errors.AsType[*GuardError](err); refused {
		return false
	}
	return r.Wait || e.RetryAfter == 0 && !e.Timeout && !timedOut(err)
}

// timedOut reports whether a dial or a lookup took too long.
func timedOut(err error) bool {
	n, ok := errors.AsType[net.Error](err)
	return ok && n.Timeout()
}

// attempt does an exchange once; once more where the answer asks for
// credentials that are to be had.
func (e *Endpoint) attempt(ctx context.Context, x exchange) (*http.Response, error) {
	as, err := e.auth.login(ctx, x)
	if err != nil {
		return nil, err
	}
	var sent string
	res, own, err := e.follow(ctx, x, as.who, func(ctx context.Context) (_ string, err error) {
		sent, err = e.auth.header(ctx, as, x)
		return sent, err
	})
	if err != nil {
		return nil, err
	}
	var untold error
	if res.StatusCode == http.StatusUnauthorized && own {
		again, who, err := e.auth.challenged(ctx, x, res, sent)
		if _, ignored := errors.AsType[*RealmError](err); err != nil && !ignored {
			discard(res)
			return nil, err
		}
		untold = err
		if again != "" {
			discard(res)
			as.who = who
			if res, own, err = e.follow(ctx, x, who, func(context.Context) (string, error) { return again, nil }); err != nil {
				return nil, err
			}
		}
	}
	if !own {
		as.who = Credential{} // it was left behind
	}
	if slices.Contains(x.want, res.StatusCode) {
		return res, nil
	}
	defer discard(res)
	return nil, e.client.refusal(x.kind, res, as.who, own, untold)
}

// follow sends a request and follows its redirects by hand: credentials stay
// behind at the first hop that leaves the origin, and do not come back. It
// reports whether the answer is the endpoint's own.
func (e *Endpoint) follow(ctx context.Context, x exchange, who Credential, authorize func(context.Context) (string, error)) (res *http.Response, own bool, err error) {
	u := x.url
	own = sameOrigin(e.base, u)
	for hop := 0; ; hop++ {
		w := wire{label: e.cfg.Label, kind: x.kind, method: x.method, url: u, header: x.header, own: own, body: x.body, over: e.wires(own)}
		if own {
			w.authorize, w.who, w.extra = authorize, who, e.cfg.Header
		}
		if res, err = e.client.send(ctx, w); err != nil || !isRedirect(res) {
			return res, own, err
		}
		discard(res)
		next, err := resolve(u, res.Header.Get("Location"), e.plain())
		if err != nil {
			return nil, own, mismatch("%s %s: follow a redirect: %w", x.method, redact(u), err)
		}
		if hop == maxHops {
			return nil, own, mismatch("%s %s: more than %d redirects", x.method, redact(x.url), maxHops)
		}
		own = own && sameOrigin(u, next)
		u = next
	}
}
