package store

import (
	"context"
	"strings"
	"sync"
)

// Usage says how much a store holds.
type Usage struct {
	Cache, Vault PoolUsage
	Counted      bool // false while the blobs that Open found are still being counted
}

// PoolUsage says how much a pool holds.
type PoolUsage struct {
	Blobs int64 // manifests among them
	Bytes int64
}

// Usage returns what is known about the size of the pools. It is cheap.
func (s *Store) Usage() Usage {
	s.usage.mu.Lock()
	defer s.usage.mu.Unlock()
	return s.usage.sum
}

// usage counts. While the blobs on disk are walked, those that come meanwhile
// are remembered, so that the walk does not count them again.
type usage struct {
	mu    sync.Mutex
	sum   Usage
	fresh map[Key]struct{} // :: what came during the walk; nil when it has ended
	later PoolUsage        // what came into the cache during a later walk
}

func (u *usage) begin() { u.fresh = map[Key]struct{}{} }

func (u *usage) add(k Key, size int64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.fresh != nil {
		u.fresh[k] = struct{}{}
		if strings.HasPrefix(string(k), "c/") {
			u.later.Blobs++
			u.later.Bytes += size
		}
	}
	u.count(k, 1, size)
}

func (u *usage) remove(k Key, size int64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.count(k, -1, -size)
}

func (u *usage) found(k Key, size int64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if _, ok := u.fresh[k]; !ok {
		u.count(k, 1, size)
	}
}

func (u *usage) count(k Key, blobs, bytes int64) {
	p := &u.sum.Cache
	if strings.HasPrefix(string(k), "v/") {
		p = &u.sum.Vault
	}
	p.Blobs += blobs
	p.Bytes += bytes
}

// restart begins another walk of the cache: what comes from now on is counted
// apart. The first walk has to be over, or there is nothing to do.
func (u *usage) restart() {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.sum.Counted {
		u.fresh, u.later = map[Key]struct{}{}, PoolUsage{}
	}
}

// arrived reports whether an object came since the walk began.
func (u *usage) arrived(k Key) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	_, ok := u.fresh[k]
	return ok && u.sum.Counted
}

// settle takes what a walk has found, beside what arrived meanwhile.
func (u *usage) settle(found PoolUsage) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.sum.Counted && u.fresh != nil {
		u.sum.Cache = PoolUsage{max(0, found.Blobs+u.later.Blobs), max(0, found.Bytes+u.later.Bytes)}
	}
}

// stop ends a walk that restart began.
func (u *usage) stop() {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.sum.Counted {
		u.fresh = nil
	}
}

// count walks the blobs of both pools.
func (s *Store) count(ctx context.Context) {
	for _, prefix := range []string{"c/b/", "v/b/"} {
		for e, err := range s.bucket.List(ctx, prefix, "", true) {
			if err != nil {
				if ctx.Err() == nil {
					s.log.Warn("cannot count the blobs", "err", err)
				}
				return
			}
			if info, err := e.Info(); err == nil {
				s.usage.found(Key(e.Key), info.Size)
			}
		}
	}
	s.usage.mu.Lock()
	defer s.usage.mu.Unlock()
	s.usage.fresh = nil
	s.usage.sum.Counted = true
}
