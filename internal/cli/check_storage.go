package cli

import (
	"fmt"

	"github.com/entrepot/entrepot/store"
)

// defaultMinFree is the part of the disk that the cache leaves free where
// nothing else is said, in percent.
const defaultMinFree = 5

// limits reads what bounds the cache.
func (c *checker) limits(f file) store.Limits {
	l := store.Limits{
		MaxBytes:       c.size("storage.max_bytes", f.Storage.MaxBytes),
		MinFreePercent: defaultMinFree,
		MaxAge:         c.duration("storage.max_age_since_use", f.Storage.MaxAge, 0),
	}
	if f.Storage.MinFree.set {
		free := c.share("storage.min_free", f.Storage.MinFree)
		l.MinFree, l.MinFreePercent = free.bytes, free.percent
	}
	for i, u := range f.Upstream {
		at := fmt.Sprintf("upstream[%d].", i)
		quota := c.size(at+"max_bytes", u.MaxBytes)
		if quota == 0 {
			continue
		}
		l.Quotas = append(l.Quotas, store.Quota{Upstream: c.upstreamName(at+"name", u.Name), Bytes: quota})
	}
	if len(l.Quotas) > store.MaxQuotas {
		c.add("upstream", "give fewer of them a max_bytes", "%d upstreams have a max_bytes, at most %d can", len(l.Quotas), store.MaxQuotas)
	}
	return l
}

// defaultScrub is how many bytes a second are read again: a disk of a terabyte in
// two days, and about a twentieth of what a slow one gives.
const defaultScrub = 8 << 20

// scrub reads how fast stored blobs are verified, in bytes a second.
func (c *checker) scrub(f file) int64 {
	if !f.Storage.Scrub.set {
		return defaultScrub
	}
	return c.size("storage.scrub", f.Storage.Scrub)
}
