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
}

func (u *usage) begin() { u.fresh = map[Key]struct{}{} }

func (u *usage) add(k Key, size int64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.fresh != nil {
		u.fresh[k] = struct{}{}
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
