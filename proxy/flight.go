package proxy

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/entrepot/entrepot/oci"
)

// errLate is what a flight's wait returns when its time is up.
var errLate = errors.New("no result in time")

// A group runs one flight for each key at a time. A flight is detached: it
// belongs to none of those who wait for it, and goes on when all have left.
// The zero value works.
type group[K comparable, V any] struct {
	mu sync.Mutex
	m  map[K]*flight[V]
}

// A flight is one piece of work that several requests may wait for.
type flight[V any] struct {
	start time.Time
	done  chan struct{} // closed once the result is there
	value V             // valid after done, like err
	err   error
}

// join returns the flight of a key, or starts one, and how whoever waits for it
// is answered: Miss where it was started, Coalesced where it was there, Hit where
// it even had its result. Those who wait get what run returns at once; after, which may
// be nil, then runs with a value that came without an error, and only when it
// is through is the key free for another flight. So whoever finds no flight
// finds what after has stored, as long as run looks for it again before it asks
// the upstream. Of ctx a flight keeps the caller's login and what requests to the
// upstream tell of the caller's (its id, and through whom it came), and nothing else:
//
//	A: looks into the store: nothing     B: looks into the store: nothing
//	A: flies, stores, leaves
//	                                     B: finds no flight, starts one
func (g *group[K, V]) join(ctx context.Context, p *Proxy, k K, run func(context.Context) (V, error), after func(V)) (f *flight[V], how oci.Result, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if f := g.m[k]; f != nil {
		return f, f.how(), nil
	}
	asking := oci.WithLogin(p.asking, oci.LoginOf(ctx)) // of all who share a key, or of one who may as much
	asking = oci.WithVia(oci.WithCause(asking, oci.CauseOf(ctx)), oci.Via(ctx))
	f = &flight[V]{start: p.cfg.now(), done: make(chan struct{})}
	started := p.spawn(func() {
		f.value, f.err = run(asking)
		close(f.done)
		if after != nil && f.err == nil {
			after(f.value)
		}
		g.mu.Lock()
		delete(g.m, k)
		g.mu.Unlock()
	})
	if !started {
		return nil, oci.Miss, errClosed()
	}
	if g.m == nil {
		g.m = make(map[K]*flight[V])
	}
	g.m[k] = f
	return f, oci.Miss, nil
}

// find returns the flight of a key, nil where there is none.
func (g *group[K, V]) find(k K) *flight[V] {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.m[k]
}

func (f *flight[V]) how() oci.Result {
	select {
	case <-f.done:
		return oci.Hit
	default:
		return oci.Coalesced
	}
}

// wait returns the flight's result. It is errLate where none came in that
// time, and the error of ctx where that ended.
func (f *flight[V]) wait(ctx context.Context, limit time.Duration) (V, error) {
	var zero V
	select {
	case <-f.done: // for a flight that has its result, without a timer
		return f.value, f.err
	default:
	}
	t := time.NewTimer(limit)
	defer t.Stop()
	select {
	case <-f.done:
		return f.value, f.err
	case <-ctx.Done():
		return zero, context.Cause(ctx)
	case <-t.C:
		return zero, errLate
	}
}
