package store

import (
	"context"
	"sync"
	"time"
)

// How often the limits are looked at where nothing was stored: somebody else
// fills the disk too, and content ages.
const (
	evictEach    = time.Minute
	evictAgeEach = 10 * time.Minute
)

// due says when the limits have to be looked at.
type due struct {
	wake chan struct{} // has one element when somebody should look; nil where nobody would

	mu    sync.Mutex // guards all below
	since int64      // bytes that were stored since the last run
	rest  []int64    // :: quota → bytes until it has to be looked at; nil before the first run
	last  time.Time  // run
	stuck bool       // the last run could not remove as much as it should: no use in another one before the next tick
}

// measured notes what a run has found.
func (d *due) measured(r *evictRun) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.since, d.last, d.rest = 0, r.clock.now, nil
	for q, used := range r.used {
		left := high(r.Quotas[q].Bytes) - used
		if left < 0 {
			left = high(r.Quotas[q].Bytes) - low(r.Quotas[q].Bytes) // it is about to be emptied that far
		}
		d.rest = append(d.rest, left)
	}
}

// grown tells that the cache has grown: it is called for each blob, and costs a
// lock and a look at the disk's free space.
func (s *Store) grown(size int64) {
	d := &s.evictor.due
	if d.wake == nil || !s.cfg.Limits.any() {
		return
	}
	d.mu.Lock()
	d.since += size
	stuck := d.stuck
	d.mu.Unlock()
	if !stuck && s.evictionDue(false) {
		d.poke()
	}
}

func (d *due) poke() {
	select {
	case d.wake <- struct{}{}:
	default: // somebody will look already
	}
}

// evictionDue reports whether a limit may be reached.
func (s *Store) evictionDue(aged bool) bool {
	l := s.cfg.Limits
	u := s.Usage()
	if !u.Counted {
		return false
	}
	if l.MaxBytes > 0 && u.Cache.Bytes > high(l.MaxBytes) {
		return true
	}
	if free, disk := diskSpace(s.dir); disk > 0 && free < l.floor(disk) && u.Cache.Blobs > 0 {
		return true
	}
	d := &s.evictor.due
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(l.Quotas) > 0 && d.rest == nil {
		return true // nothing is known yet
	}
	for _, rest := range d.rest {
		if d.since > rest {
			return true
		}
	}
	return aged && l.MaxAge > 0 && s.cfg.now().Sub(d.last).Abs() >= min(evictAgeEach, l.MaxAge)
}

// evictAlways keeps the limits until ctx ends.
func (s *Store) evictAlways(ctx context.Context) {
	if !s.cfg.Limits.any() {
		return
	}
	tick := time.NewTicker(evictEach)
	defer tick.Stop()
	var records records
	for {
		if s.evictionDue(true) {
			records.left = s.evictNow(ctx) || records.left
		}
		records.forget(ctx, s)
		select {
		case <-ctx.Done():
			return
		case <-s.evictor.due.wake:
		case <-tick.C:
			s.evictor.clock.look(ctx, s)
			s.evictor.due.free(false)
		}
	}
}

func (d *due) free(stuck bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.stuck = stuck
}

// records says whether Forget has something to do.
type records struct {
	left bool      // blobs have, since it ran
	last time.Time // that it ran
}

func (r *records) forget(ctx context.Context, s *Store) {
	if now := s.cfg.now(); !r.left || now.Sub(r.last).Abs() < forgetEach {
		return
	} else {
		r.left, r.last = false, now
	}
	start := time.Now()
	f, err := s.Forget(ctx)
	switch {
	case ctx.Err() != nil:
	case err != nil:
		s.log.Error("cannot remove what is known about evicted blobs", "err", err)
	case f != Forgotten{}:
		s.log.Info("removed what was known about evicted blobs", "links", f.Links, "manifests", f.Manifests, "tags", f.Tags, "dur", time.Since(start))
	}
}

// evictNow reports whether anything was evicted.
func (s *Store) evictNow(ctx context.Context) bool {
	start := time.Now()
	sum, err := s.Evict(ctx, Eviction{Limits: s.cfg.Limits})
	switch {
	case ctx.Err() != nil:
	case err != nil:
		s.log.Error("cannot evict", "err", err)
	case sum.Short > 0:
		s.log.Warn("a limit of the cache is exceeded: what is left is pinned", "bytes", sum.Short)
	}
	s.evictor.due.free(err != nil || sum.Short > 0)
	if sum.Blobs > 0 {
		s.log.Info("evicted", "blobs", sum.Blobs, "bytes", sum.Bytes, "left", sum.Left.Bytes, "dur", time.Since(start))
	}
	return sum.Blobs > 0
}
