package store

import (
	"sync"
	"sync/atomic"
)

// A memory is a bounded map from keys to what the bucket holds under them. Get
// takes a shared lock only, since it is on the path of every request: instead
// of moving what is used to the front it marks it, and the mark saves it once
// when room is needed ("second chance"). It is safe for concurrent use.
type memory[K comparable, V any] struct {
	max  int64
	cost func(V) int64

	mu      sync.RWMutex
	entries map[K]*remembered[K, V]
	oldest  *remembered[K, V] // a ring in order of arrival, oldest.prev is the youngest
	used    int64             // sum of the costs
	epoch   uint64            // counts puts and forgets; see add
}

type remembered[K comparable, V any] struct {
	key        K
	value      V
	cost       int64
	hit        atomic.Bool
	prev, next *remembered[K, V]
}

// newMemory returns a memory for values whose costs add up to max at most. A
// nil cost counts each value as 1.
func newMemory[K comparable, V any](max int64, cost func(V) int64) *memory[K, V] {
	if cost == nil {
		cost = func(V) int64 { return 1 }
	}
	return &memory[K, V]{max: max, cost: cost, entries: map[K]*remembered[K, V]{}}
}

func (m *memory[K, V]) get(k K) (V, bool) {
	m.mu.RLock()
	e, ok := m.entries[k]
	m.mu.RUnlock()
	if !ok {
		var none V
		return none, false
	}
	if !e.hit.Load() { // a store only where needed: the line stays shared between cores
		e.hit.Store(true)
	}
	return e.value, true
}

// peek is get for those who do not count as users.
func (m *memory[K, V]) peek(k K) (v V, ok bool) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if e, ok := m.entries[k]; ok {
		return e.value, true
	}
	return v, false
}

// now returns the epoch, to be given to add.
func (m *memory[K, V]) now() uint64 {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.epoch
}

// add remembers what was read from the bucket, unless something was put or
// forgotten since the epoch was asked for, before the reading:
//
//	reader: now, read old value
//	writer:                      write new value, forget
//	reader:                                              add(old) → refused
func (m *memory[K, V]) add(k K, v V, epoch uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.epoch == epoch {
		m.set(k, v)
	}
}

// put remembers what was, or is about to be, written to the bucket.
func (m *memory[K, V]) put(k K, v V) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.epoch++
	m.set(k, v)
}

// forget is called after what k names was changed in the bucket.
func (m *memory[K, V]) forget(k K) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.epoch++
	if e, ok := m.entries[k]; ok {
		m.remove(e)
	}
}

func (m *memory[K, V]) set(k K, v V) {
	if e, ok := m.entries[k]; ok {
		m.remove(e)
	}
	e := &remembered[K, V]{key: k, value: v, cost: m.cost(v)}
	if e.cost > m.max {
		return
	}
	for m.used+e.cost > m.max {
		m.evict()
	}
	m.used += e.cost
	m.entries[k] = e
	m.link(e)
}

// evict drops the oldest entry that was not used since it was last looked at.
func (m *memory[K, V]) evict() {
	for m.oldest.hit.Swap(false) {
		m.oldest = m.oldest.next // to the young end of the ring
	}
	m.remove(m.oldest)
}

func (m *memory[K, V]) link(e *remembered[K, V]) {
	if m.oldest == nil {
		e.prev, e.next = e, e
		m.oldest = e
		return
	}
	e.prev, e.next = m.oldest.prev, m.oldest
	e.prev.next, e.next.prev = e, e
}

func (m *memory[K, V]) remove(e *remembered[K, V]) {
	delete(m.entries, e.key)
	m.used -= e.cost
	if e.next == e {
		m.oldest = nil
		return
	}
	e.prev.next, e.next.prev = e.next, e.prev
	if m.oldest == e {
		m.oldest = e.next
	}
}
