package store

import (
	"context"
	"strings"
	"time"
)

// Measured says what the blobs of a store are, as a walk has found them.
type Measured struct {
	Cache, Vault PoolMeasure
	Quarantine   PoolUsage // damaged blobs that were taken away
	Free, Total  int64     // bytes of the file system, those that this user may use; 0 where that cannot be told
}

// PoolMeasure says what a pool holds.
type PoolMeasure struct {
	PoolUsage
	Manifests      int64     // records of manifests in repositories: one that two repositories have counts twice
	Oldest, Newest time.Time // last use of the blobs in the cache, arrival in the vault; zero where there are none
}

// Measure walks the store and counts. It looks at nothing but names, sizes and
// times; what comes and goes meanwhile may or may not be counted.
func (s *Store) Measure(ctx context.Context) (Measured, error) {
	var m Measured
	m.Free, m.Total = diskSpace(s.dir)
	for _, pool := range []struct {
		to     *PoolMeasure
		blobs  string
		record string
	}{{&m.Cache, "c/b/", "c/i/"}, {&m.Vault, "v/b/", "v/m/"}} {
		err := s.each(ctx, pool.blobs, func(_ Key, i Info) { pool.to.add(i) })
		if err != nil {
			return Measured{}, err
		}
		for e, err := range s.bucket.List(ctx, pool.record, "", true) {
			if err != nil {
				return Measured{}, err
			}
			if strings.Contains(e.Key, "/_m/") {
				pool.to.Manifests++
			}
		}
	}
	err := s.each(ctx, "q/", func(_ Key, i Info) {
		m.Quarantine.Blobs++
		m.Quarantine.Bytes += i.Size
	})
	return m, err
}

// each calls f for all objects below a prefix, but for those that vanish.
func (s *Store) each(ctx context.Context, prefix string, f func(Key, Info)) error {
	for e, err := range s.bucket.List(ctx, prefix, "", true) {
		if err != nil {
			return err
		}
		if info, err := e.Info(); err == nil {
			f(Key(e.Key), info)
		}
	}
	return nil
}

func (p *PoolMeasure) add(i Info) {
	p.Blobs++
	p.Bytes += i.Size
	if p.Oldest.IsZero() || i.ModTime.Before(p.Oldest) {
		p.Oldest = i.ModTime
	}
	if i.ModTime.After(p.Newest) {
		p.Newest = i.ModTime
	}
}
