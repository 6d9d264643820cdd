package web

import (
	"maps"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// A family finds the counter of a set of labels without a lock and without
// allocating. prometheus.CounterVec hashes strings and takes a lock each time,
// which shows where tens of thousands of requests are counted in a second.
// Sets of labels are few and are never forgotten, so that the map is copied
// whenever a new one comes up. Call init before use.
type family[K comparable] struct {
	make func(K) prometheus.Counter
	mu   sync.Mutex                               // guards the replacing of all
	all  atomic.Pointer[map[K]prometheus.Counter] // the map is never changed
}

func (f *family[K]) init(create func(K) prometheus.Counter) {
	f.make = create
	f.all.Store(&map[K]prometheus.Counter{})
}

func (f *family[K]) of(k K) prometheus.Counter {
	if c, ok := (*f.all.Load())[k]; ok {
		return c
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	c := f.make(k) // the same counter, should another goroutine have been faster
	next := maps.Clone(*f.all.Load())
	next[k] = c
	f.all.Store(&next)
	return c
}
