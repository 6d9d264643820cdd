package proxy

import (
	"strings"
	"sync"

	"github.com/entrepot/entrepot/oci"
)

// maxQueue is how many blobs may wait to be fetched ahead. Further ones are
// fetched when a client asks for them.
const maxQueue = 1024

// A prefetcher starts the fills of the blobs that a client will ask for next,
// as the manifest says that it has just got: one after the other, in the order
// of the manifest, and only while few fills run, so that what clients ask for
// comes first. It gives no right to anybody, and waits for no fill.
type prefetcher struct {
	p       *Proxy
	changed chan struct{} // holds one token once a fill has ended

	mu      sync.Mutex // guards all below
	queue   []wanted
	working bool            // the goroutine that empties the queue runs
	sizes   map[*fill]int64 // of the fills that were started here and load
	bytes   int64           // the sum of sizes
}

// wanted is a blob that a client will probably ask for.
type wanted struct {
	pol  Policy
	key  blobKey
	size int64
}

func newPrefetcher(p *Proxy) *prefetcher {
	return &prefetcher{p: p, changed: make(chan struct{}, 1), sizes: make(map[*fill]int64)}
}

// noticed looks into a manifest that a client has got, the first time that it
// passes: it remembers the sizes of its blobs, and has them fetched. Indexes
// are left alone, as a client wants one of their children only.
func (p *Proxy) noticed(pol *Policy, in repo, m oci.Manifest) {
	k := manifestKey{in, m.Digest}
	if _, ok := p.seen.get(k); ok {
		return
	}
	p.seen.put(k, struct{}{})
	links, err := m.Links()
	if err != nil {
		return // it is served as it is; a client may know better
	}
	var next []wanted
	for _, d := range links.Blobs() {
		k := blobKey{in, d.Digest}.clone()
		p.sizes.put(k, d.Size)
		if !foreign(d) {
			next = append(next, wanted{*pol, k, d.Size})
		}
	}
	p.ahead.add(next)
}

// foreign reports whether a layer need not be in the registry (image-spec 1.0,
// "Non-Distributable Layers").
func foreign(d oci.Descriptor) bool {
	return len(d.URLs) > 0 || strings.Contains(d.MediaType, ".nondistributable.") || strings.Contains(d.MediaType, ".foreign.")
}

// add queues blobs, as far as there is room.
func (a *prefetcher) add(next []wanted) {
	if a.p.cfg.prefetchFills() < 0 || len(next) == 0 {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.queue = append(a.queue, next[:min(len(next), maxQueue-len(a.queue))]...)
	if !a.working {
		a.working = a.p.spawn(a.work)
	}
}

// work starts fills until the queue is empty.
func (a *prefetcher) work() {
	for {
		a.mu.Lock()
		if len(a.queue) == 0 {
			a.queue, a.working = nil, false
			a.mu.Unlock()
			return
		}
		w := a.queue[0]
		a.queue = a.queue[1:]
		a.mu.Unlock()
		if !a.wait(w.size) {
			return // the Proxy is being closed; working stays true, nothing starts again
		}
		a.start(w)
	}
}

// wait waits until a fill of that size may start. It reports false where the
// Proxy is being closed.
func (a *prefetcher) wait(size int64) bool {
	for !a.room(size) {
		select {
		case <-a.changed:
		case <-a.p.asking.Done():
			return false
		}
	}
	return true
}

func (a *prefetcher) room(size int64) bool {
	a.p.fills.mu.Lock()
	loading := a.p.fills.loading
	a.p.fills.mu.Unlock()
	a.mu.Lock()
	defer a.mu.Unlock()
	return loading < a.p.cfg.prefetchFills() && (a.bytes == 0 || a.bytes+size <= a.p.cfg.prefetchBytes())
}

// start starts the fill of a blob, unless it is here, is being fetched, or
// cannot be had.
func (a *prefetcher) start(w wanted) {
	p := a.p
	if w.size > p.cfg.prefetchBytes() || p.scarce(w.key.name.Host) || p.isStored(w.key.digest) || p.refusedBlob(w.key) != nil {
		return
	}
	a.mu.Lock() // held until the size is noted, so that unloaded finds it
	defer a.mu.Unlock()
	f, joined, err := p.startFill(&w.pol, w.key, true)
	if err == nil && !joined {
		a.sizes[f] = w.size
		a.bytes += w.size
	}
}

// unloaded learns that a fill needs the upstream no more.
func (a *prefetcher) unloaded(f *fill) {
	a.mu.Lock()
	a.bytes -= a.sizes[f]
	delete(a.sizes, f)
	a.mu.Unlock()
	select {
	case a.changed <- struct{}{}:
	default: // there is a token already
	}
}
