package store

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"syscall"
	"time"

	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
)

// An Eviction says which limits hold in one run of [Store.Evict], and how.
type Eviction struct {
	Limits
	Room   int64         // bytes that have to be free on the disk beside the limits; where that cannot be reached nothing is evicted
	All    bool          // everything goes that is not pinned, whatever the limits
	DryRun bool          // nothing is removed
	Each   func(Evicted) // told of each blob, by one goroutine; nil means nobody listens
}

// Evicted is a blob that left the cache.
type Evicted struct {
	Digest oci.Digest
	Bytes  int64
	Used   time.Time // last
}

// Sum is what a run of [Store.Evict] has done, or would do.
type Sum struct {
	Blobs, Bytes int64     // that left the cache
	Kept         PoolUsage // what is protected by pins
	Left         PoolUsage // what is in the cache after it
	Newest       time.Time // last use of the blob that was used last of those that left
	Short        int64     // bytes that would have had to leave as well, but are pinned
}

// evictor is what runs of Evict share.
type evictor struct {
	one   sync.Mutex // one run at a time
	clock useClock
	due   due
}

// Evict removes from the cache what was used longest ago, until the limits hold:
// where one is nine tenths full, until it is eight tenths full. It walks the
// names of all blobs once to see how much was used when, and once to remove; its
// memory does not grow with their number. Blobs alone are removed: a manifest
// whose layers have left stays, and they are fetched again when somebody asks. What
// records say about them is left to [Store.Forget]. What is open stays readable. A server may run beside it, and another eviction too.
func (s *Store) Evict(ctx context.Context, e Eviction) (Sum, error) {
	s.evictor.one.Lock()
	defer s.evictor.one.Unlock()
	r := evictRun{s: s, ctx: ctx, Eviction: e, clock: s.evictor.clock.look(ctx, s)}
	err := r.run()
	if err != nil {
		err = fmt.Errorf("evict: %w", err)
	}
	return r.sum, err
}

// errNoRoom says that not enough could be evicted.
var errNoRoom error = &oci.Error{Kind: oci.ErrUnavailable, Message: "the disk is full, and there is too little to evict", Err: syscall.ENOSPC}

// errTooBig refuses a blob for which even an empty cache has no room.
var errTooBig error = &oci.Error{Kind: oci.ErrUnavailable, Message: "the blob is larger than the cache may be", Err: syscall.ENOSPC}

// MakeRoom evicts until so many bytes more fit on the disk. Where that cannot be
// reached it evicts nothing; the error is then ErrUnavailable and ENOSPC.
func (c *Cache) MakeRoom(ctx context.Context, bytes int64) error {
	sum, err := c.store.Evict(ctx, Eviction{Limits: c.store.cfg.Limits, Room: bytes})
	if err == nil && sum.Blobs > 0 {
		c.store.log.Info("evicted, since the disk is full", "blobs", sum.Blobs, "bytes", sum.Bytes)
	}
	return err
}

// An evictRun is one run of Evict.
type evictRun struct {
	Eviction
	s      *Store
	ctx    context.Context // of the one call that this is
	clock  reading
	ledger *ledger
	all    *histogram   // of what may be evicted
	quotas []*histogram // :: quota → of what belongs to it alone
	used   []int64      // :: quota → bytes
	total  PoolUsage
	cut    cut   // for the limits of the whole cache
	cuts   []cut // :: quota
	sum    Sum
}

func (r *evictRun) run() (err error) {
	r.s.usage.restart()
	defer r.s.usage.stop()
	if r.ledger, err = r.s.cache.newLedger(r.ctx, r.Quotas); err != nil {
		return err
	}
	if err := r.measure(); err != nil {
		return err
	}
	r.s.evictor.due.measured(r)
	if err := r.plan(); err != nil {
		return err
	}
	r.sum.Left = r.total
	if err := r.remove(); err != nil {
		return err
	}
	if !r.DryRun {
		r.s.usage.settle(r.sum.Left)
	}
	return nil
}

// each calls f for every blob of the cache.
func (r *evictRun) each(f func(k Key, d oci.Digest, i Info) error) error {
	for e, err := range r.s.bucket.List(r.ctx, "c/b/", "", true) {
		if err != nil {
			return err
		}
		d, ok := blobOf(e.Key)
		if !ok {
			continue
		}
		info, err := e.Info()
		if err != nil {
			continue // gone meanwhile
		}
		if err := f(Key(e.Key), d, info); err != nil {
			return err
		}
	}
	return nil
}

// blobOf reads the key of a blob: c/b/<alg>/<hh>/<hex>.
func blobOf(key string) (oci.Digest, bool) {
	const prefix = "c/b/sha256/00/"
	if len(key) <= len(prefix) || key[:4] != "c/b/" {
		return "", false
	}
	d, err := ref.ParseDigest(key[4:10] + ":" + key[len(prefix):])
	return d, err == nil
}

// measure is the first walk.
func (r *evictRun) measure() error {
	r.all = newHistogram()
	r.used = make([]int64, len(r.Quotas))
	for range r.Quotas {
		r.quotas = append(r.quotas, newHistogram())
	}
	return r.each(func(k Key, d oci.Digest, i Info) error {
		if r.s.usage.arrived(k) {
			return nil // it is counted, and young
		}
		r.total.Blobs++
		r.total.Bytes += i.Size
		b := briefOf(d)
		owner := r.ledger.owners[b]
		for q := range r.used {
			if owner == several || int(owner) == q+1 {
				r.used[q] += i.Size
			}
		}
		if _, kept := r.ledger.kept[b]; kept {
			r.sum.Kept.Blobs++
			r.sum.Kept.Bytes += i.Size
			return nil
		}
		used := r.clock.used(i.ModTime).Unix()
		r.all.add(used, i.Size)
		if owner != without && owner != several {
			r.quotas[owner-1].add(used, i.Size)
		}
		return nil
	})
}

// plan decides what goes.
func (r *evictRun) plan() error {
	need := over(r.total.Bytes, r.MaxBytes)
	free, disk := diskSpace(r.s.dir)
	if floor := r.floor(disk); disk > 0 && free < floor {
		need = max(need, floor+floor/4-free)
	}
	if short := r.Room - free; r.Room > 0 && disk > 0 && short > 0 {
		need = max(need, short)
		if _, can := r.all.cut(short); can < short {
			return errNoRoom
		}
	}
	var can int64
	if r.All {
		need = math.MaxInt64
	}
	r.cut, can = r.all.cut(need)
	if r.All {
		need = can
	}
	r.sum.Short = max(0, need-can)
	for q := range r.Quotas {
		need := over(r.used[q], r.Quotas[q].Bytes)
		c, can := r.quotas[q].cut(need)
		r.cuts = append(r.cuts, c)
		r.sum.Short += max(0, need-can)
	}
	return nil
}

// over returns how many bytes have to leave because of a limit.
func over(used, limit int64) int64 {
	if limit <= 0 || used <= high(limit) {
		return 0
	}
	return used - low(limit)
}

// remove is the second walk.
func (r *evictRun) remove() error {
	idle := r.cut == none && r.MaxAge == 0
	for _, c := range r.cuts {
		idle = idle && c == none
	}
	if idle {
		return nil
	}
	return r.each(func(k Key, d oci.Digest, i Info) error {
		b := briefOf(d)
		if _, kept := r.ledger.kept[b]; kept || !r.goes(r.ledger.owners[b], i) || r.indexInUse(k, d, i) {
			return r.ctx.Err()
		}
		return r.evict(k, d, i)
	})
}

// goes reports whether a blob goes, by its time that was just read: what was
// used since the first walk stays.
func (r *evictRun) goes(owner uint8, i Info) bool {
	used := r.clock.used(i.ModTime).Unix()
	goes := r.MaxAge > 0 && r.clock.age(i.ModTime) > r.MaxAge
	if r.cut.takes(used, i.Size) {
		goes = true
	}
	if owner != without && owner != several && r.cuts[owner-1].takes(used, i.Size) {
		goes = true
	}
	return goes
}

func (r *evictRun) evict(k Key, d oci.Digest, i Info) error {
	used := r.clock.used(i.ModTime)
	if !r.DryRun {
		if err := r.s.drop(r.ctx, k); errors.Is(err, oci.ErrNotFound) {
			return nil // by another eviction
		} else if err != nil {
			return err
		}
		r.s.observe(Event{Kind: EventEvicted, Pool: "cache", Digest: d, Bytes: i.Size, Age: r.clock.age(i.ModTime)})
	}
	r.sum.Blobs++
	r.sum.Bytes += i.Size
	r.sum.Left.Blobs--
	r.sum.Left.Bytes -= i.Size
	if used.After(r.sum.Newest) {
		r.sum.Newest = used
	}
	if r.Each != nil {
		r.Each(Evicted{Digest: d, Bytes: i.Size, Used: used})
	}
	return nil
}

// drop removes an object whose name may come back with a power cut.
func (s *Store) drop(ctx context.Context, k Key) error {
	if d, ok := s.bucket.(Dropper); ok {
		return d.Drop(ctx, k)
	}
	return s.bucket.Delete(ctx, k)
}
