package store

import (
	"strings"
	"time"

	"github.com/entrepot/entrepot/oci"
)

// Limits bound the cache. The zero value bounds nothing. What was pushed counts
// for none of them, and is never evicted.
type Limits struct {
	MaxBytes       int64         // of all blobs in the cache; 0: no limit
	MinFree        int64         // bytes of the disk that stay free; 0: none
	MinFreePercent float64       // of the disk's size, 0 to 100; the larger of the two floors holds
	MaxAge         time.Duration // since the last use; 0: content does not age
	Quotas         []Quota       // of single upstreams
}

// A Quota is an upstream's share of the cache. A blob that several upstreams
// have counts for each of them, and leaves for none of their quotas.
type Quota struct {
	Upstream string // a host, or "*.suffix" for all below it together
	Bytes    int64
}

// covers reports whether the content of a host counts for the quota.
func (q Quota) covers(host string) bool {
	if suffix, ok := strings.CutPrefix(q.Upstream, "*"); ok {
		return strings.HasSuffix(host, suffix)
	}
	return host == q.Upstream
}

// Eviction begins when a limit is nine tenths full, and goes on until it is
// eight tenths full: so it comes in pieces that are worth a walk of the store.
func high(limit int64) int64 { return limit - limit/10 }
func low(limit int64) int64  { return limit - limit/5 }

// floor returns how many bytes of a disk of a size stay free.
func (l Limits) floor(total int64) int64 {
	return max(l.MinFree, int64(float64(total)/100*l.MinFreePercent))
}

func (l Limits) any() bool {
	return l.MaxBytes > 0 || l.MinFree > 0 || l.MinFreePercent > 0 || l.MaxAge > 0 || len(l.Quotas) > 0
}

// An EventKind says what a store did on its own.
type EventKind string

// The kinds of event.
const (
	EventEvicted  EventKind = "evicted"  // a blob left the cache; Bytes and Age are set
	EventDamaged  EventKind = "damaged"  // a blob is not what its digest says; Pool is set
	EventScrubbed EventKind = "scrubbed" // a blob was read and is well; Pool and Bytes are set

	EventAbandoned EventKind = "abandoned" // an upload that nobody went on with for a day was removed; Bytes is set
)

// An Event tells what a store did on its own, for metrics.
type Event struct {
	Kind   EventKind
	Pool   string // "cache" or "pushed"
	Digest oci.Digest
	Bytes  int64
	Age    time.Duration // since the last use
}

func (s *Store) observe(e Event) {
	if s.cfg.Observe != nil {
		s.cfg.Observe(e)
	}
}
