package proxy

import (
	"sync"
	"sync/atomic"
)

// A recent is a bounded map of what was used lately. To get is a shared lock,
// since every request does it: what is used is marked, and the mark saves it
// once when room is needed. It is safe for concurrent use.
type recent[K key[K], V any] struct {
	max int

	mu      sync.RWMutex // guards all below
	entries map[K]*remembered[K, V]
	ring    []*remembered[K, V] // all entries
	hand    int                 // in ring: the next to go, unless it is marked
}

// A key can be copied, so that what is remembered does not hold on to the
// request that it came with.
type key[K any] interface {
	comparable
	clone() K
}

type remembered[K comparable, V any] struct {
	key   K
	value V
	slot  int // in the ring
	used  atomic.Bool
}

func newRecent[K key[K], V any](max int) *recent[K, V] {
	return &recent[K, V]{max: max, entries: make(map[K]*remembered[K, V])}
}

func (r *recent[K, V]) get(k K) (V, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	e, ok := r.entries[k]
	if !ok {
		var none V
		return none, false
	}
	if !e.used.Load() { // a store only where needed: the line stays shared between cores
		e.used.Store(true)
	}
	return e.value, true
}

func (r *recent[K, V]) put(k K, v V) {
	k = k.clone()
	r.mu.Lock()
	defer r.mu.Unlock()
	if e, ok := r.entries[k]; ok {
		e.value = v
		return
	}
	e := &remembered[K, V]{key: k, value: v, slot: len(r.ring)}
	if len(r.ring) < r.max {
		r.ring = append(r.ring, e)
	} else {
		e.slot = r.victim()
		delete(r.entries, r.ring[e.slot].key)
		r.ring[e.slot] = e
	}
	r.entries[k] = e
}

// victim returns the slot of an entry that was not used since the hand last
// passed it.
func (r *recent[K, V]) victim() int {
	for {
		slot := r.hand
		r.hand = (r.hand + 1) % len(r.ring)
		if !r.ring[slot].used.Swap(false) {
			return slot
		}
	}
}

func (r *recent[K, V]) clear() {
	r.mu.Lock()
	defer r.mu.Unlock()
	clear(r.entries)
	r.ring, r.hand = nil, 0
}

// deleteFunc deletes what match reports of the keys.
func (r *recent[K, V]) deleteFunc(match func(K) bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for k := range r.entries {
		if match(k) {
			r.drop(k)
		}
	}
}

func (r *recent[K, V]) delete(k K) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.drop(k)
}

// drop deletes an entry, if it is there. The caller holds mu.
func (r *recent[K, V]) drop(k K) {
	e, ok := r.entries[k]
	if !ok {
		return
	}
	delete(r.entries, k)
	last := len(r.ring) - 1
	r.ring[e.slot] = r.ring[last]
	r.ring[e.slot].slot = e.slot
	r.ring[last] = nil
	r.ring = r.ring[:last]
	if r.hand >= last {
		r.hand = 0
	}
}
