package remote

import (
	"context"
	"net/http"
	"slices"
	"sync"
)

// firstWindow is how many requests a host gets at once before anything is
// known about it.
const firstWindow = 16

// limits bound how many requests of one kind a host has at once. The bound is
// found by trying: each answer widens it, by one at first and, once the host
// has said that it was too much, by one for each round; each 429 or 503 halves
// it (reliability, 1, "budgets"). The zero value does not bound.
//
// An upload holds its place from its first request to its last, and may open
// the blob that it sends meanwhile; whoever reads a blob never waits for an
// upload. So the two cannot wait for each other.
type limits struct {
	most int // 0: no bounds at all

	mu sync.Mutex           // guards what follows, and what it points at
	m  map[limitKey]*window // :: host and kind → window
}

type limitKey struct {
	host string // host:port
	kind Kind
}

// A window is the places that one host has for one kind.
type window struct {
	size    float64
	used    int
	full    bool            // it was halved: it grows slowly from now on
	cuts    int             // how often it was halved
	waiting []chan struct{} // closed when a place is theirs
}

func free() {}

// enter waits for a place. The function that is returned gives it back.
func (l *limits) enter(ctx context.Context, k limitKey) (func(), error) {
	if l.most == 0 {
		return free, nil
	}
	l.mu.Lock()
	w := l.window(k)
	if w.used < int(w.size) && len(w.waiting) == 0 {
		w.used++
		l.mu.Unlock()
		return func() { l.leave(w) }, nil
	}
	turn := make(chan struct{})
	w.waiting = append(w.waiting, turn)
	l.mu.Unlock()
	select {
	case <-turn:
		return func() { l.leave(w) }, nil
	case <-ctx.Done():
	}
	l.mu.Lock()
	i := slices.Index(w.waiting, turn)
	if i >= 0 {
		w.waiting = slices.Delete(w.waiting, i, i+1)
	}
	l.mu.Unlock()
	if i < 0 {
		l.leave(w) // it was given the place meanwhile
	}
	return nil, context.Cause(ctx)
}

// window returns the window of a key. The caller holds the mutex.
func (l *limits) window(k limitKey) *window {
	w := l.m[k]
	if w == nil {
		if l.m == nil {
			l.m = make(map[limitKey]*window)
		}
		w = &window{size: float64(min(firstWindow, l.most))}
		l.m[k] = w
	}
	return w
}

func (l *limits) leave(w *window) {
	l.mu.Lock()
	defer l.mu.Unlock()
	w.used--
	for w.used < int(w.size) && len(w.waiting) > 0 {
		close(w.waiting[0])
		w.waiting = w.waiting[1:]
		w.used++
	}
}

// epoch says which answers belong together: a request that was sent before the
// window was halved must not halve it again.
func (l *limits) epoch(k limitKey) int {
	if l.most == 0 {
		return 0
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.window(k).cuts
}

// answered learns from the answer to a request that was sent in an epoch.
func (l *limits) answered(k limitKey, epoch, status int) {
	if l.most == 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	w := l.window(k)
	switch {
	case status != http.StatusTooManyRequests && status != http.StatusServiceUnavailable:
		if w.full {
			w.size = min(w.size+1/w.size, float64(l.most))
		} else {
			w.size = min(w.size+1, float64(l.most))
		}
	case epoch == w.cuts:
		w.size, w.full, w.cuts = max(w.size/2, 1), true, w.cuts+1
	}
}

// pool returns the kind whose places a request takes. Uploads are bounded as
// wholes, and what is asked for seldom shares the places of the manifests.
func pool(k Kind) Kind {
	switch k {
	case KindBlob, KindUpload, KindToken:
		return k
	}
	return KindManifest
}
