package cli

import (
	"context"
	"sync"
	"time"
)

// keepWarm keeps the images of [[prefetch]] in the cache until ctx ends.
func (s *server) keepWarm(ctx context.Context) {
	var work sync.WaitGroup
	for _, p := range s.cfg.prefetch {
		work.Go(func() { s.pull.proxy.KeepWarm(ctx, p.interval, p.images) })
	}
	work.Wait()
}

// An allowance remembers how many requests upstreams say that they leave us,
// for what is fetched ahead of clients. It is safe for concurrent use.
type allowance struct {
	now func() time.Time
	mu  sync.Mutex
	m   map[string]allowed // :: upstream → what it said last
}

// allowed is what an upstream said about our requests.
type allowed struct {
	left, most int64
	at         time.Time
}

const (
	// maxAllowances bounds what is remembered: hosts below a wildcard are named
	// by clients.
	maxAllowances = 1024
	// allowanceFor is how long an answer counts. Docker Hub's window is six
	// hours, but it slides.
	allowanceFor = 15 * time.Minute
)

func newAllowance(now func() time.Time) *allowance {
	return &allowance{now: now, m: map[string]allowed{}}
}

// note learns how many requests are left. How many there are in all is the most
// that was ever left.
func (a *allowance) note(upstream string, left int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.m) >= maxAllowances {
		clear(a.m)
	}
	a.m[upstream] = allowed{left, max(left, a.m[upstream].most), a.now()}
}

// scarce reports whether less than a tenth is left (spec/reliability.md, 1).
func (a *allowance) scarce(upstream string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	x, ok := a.m[upstream]
	return ok && x.left*10 < x.most && a.now().Sub(x.at) < allowanceFor
}
