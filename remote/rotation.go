package remote

import (
	"context"
	"errors"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/entrepot/entrepot/oci"
)

// Rotate returns Credentials of several accounts that may all read the same:
// an endpoint that has them takes them in turn, passes over one whose requests
// its registry does not take for a while, and goes on with the next where one
// is told so (spec/serve.md, F5). Only where that has befallen all of them is
// it an error, which says when the first is free again. Outside of an endpoint
// they are those of the first account. It panics without any.
func Rotate(all ...Credentials) Credentials {
	if len(all) == 0 {
		panic("remote: no accounts to rotate")
	}
	return &rotation{all: all}
}

// A rotation is several accounts that do the same.
type rotation struct {
	all  []Credentials
	next atomic.Uint64
}

var (
	_ Credentials = (*rotation)(nil)
	_ forgetter   = (*rotation)(nil)
)

func (r *rotation) Credential(ctx context.Context, host, path string) (Credential, error) {
	return r.all[0].Credential(ctx, host, path)
}

// forget is for one of the accounts, which the endpoint knows.
func (r *rotation) forget(string, string) {}

func (r *rotation) forgetAll() {
	for _, one := range r.all {
		if f, ok := one.(forgetter); ok {
			f.forgetAll()
		}
	}
}

// rotate does an exchange once, as whichever account may; where an account is
// told that it asks too much, as the next.
func (e *Endpoint) rotate(ctx context.Context, x exchange) (*http.Response, error) {
	r, ok := e.cfg.Credentials.(*rotation)
	if !ok {
		return e.attempt(ctx, x)
	}
	first := int(r.next.Add(1) % uint64(len(r.all)))
	for tries := len(r.all); ; tries-- {
		x.turn, _ = e.auth.free(ctx, r, x, first)
		res, err := e.attempt(ctx, x)
		told, ok := errors.AsType[*oci.Error](err)
		if !ok || told.Code != oci.CodeTooManyRequests || x.once {
			return res, err
		}
		if _, left := e.auth.free(ctx, r, x, first); left > 0 || tries <= 1 {
			if left > 0 {
				told.RetryAfter = left
			}
			return nil, err
		}
	}
}

// free returns the account whose turn it is: the first, from one on, that is in
// no pause, otherwise the one whose pause ends first, and what is left of it.
// One that cannot be had comes after all others.
func (a *authorizer) free(ctx context.Context, r *rotation, x exchange, first int) (turn int, left time.Duration) {
	turn, left = first, maxPause+1
	for i := range r.all {
		x.turn = (first + i) % len(r.all)
		d, err := a.pause(ctx, x)
		switch {
		case err == nil && d == 0:
			return x.turn, 0
		case err == nil && d < left:
			turn, left = x.turn, d
		}
	}
	if left > maxPause {
		left = 0
	}
	return turn, left
}

// pause returns what is left of the pause that the account of an exchange has,
// at the registry or at its token service.
func (a *authorizer) pause(ctx context.Context, x exchange) (time.Duration, error) {
	c, err := a.credential(ctx, x)
	if err != nil {
		return 0, err
	}
	_, left := a.e.client.pauses.get(hostPort(a.e.base), c, a.e.client.now())
	if _, s := a.known(); s != nil {
		_, atService := a.e.client.pauses.get(hostPort(s.realm), c, a.e.client.now())
		left = max(left, atService)
	}
	return left, nil
}
