package relocate

import (
	"container/heap"
	"context"
	"sync"
)

// How much is under way at once where Config.Jobs does not say. Images and
// small blobs cost round trips, and memory for what is small; large blobs cost
// a connection's share of the wire.
const (
	imagesAtOnce = 96
	smallAtOnce  = 96
	largeAtOnce  = 8
)

// smallBlob is up to which size a blob is held in memory on its way, in bytes:
// it can be sent again without reading it again, and smallAtOnce of them are
// 24 MiB.
const smallBlob = 256 << 10

// hugeBlob is from which size a blob is read in several ranges at once, in
// bytes (spec/relocate.md, 8.8).
const hugeBlob = 256 << 20

// A scheduler says whose turn it is.
type scheduler struct {
	images *gate
	small  *gate
	large  *gate
	huge   *gate // who may read in several ranges: one, for the memory that it needs
}

func newScheduler(jobs int) *scheduler {
	if jobs > 0 {
		return &scheduler{newGate(jobs), newGate(jobs), newGate(jobs), newGate(1)}
	}
	return &scheduler{newGate(imagesAtOnce), newGate(smallAtOnce), newGate(largeAtOnce), newGate(1)}
}

// transfer waits for the turn of a blob.
func (s *scheduler) transfer(ctx context.Context, size int64) (func(), error) {
	if size <= smallBlob {
		return s.small.enter(ctx, 0)
	}
	return s.large.enter(ctx, size)
}

// A gate lets a number of callers in at once, of those who wait the one with
// the highest weight first: were the largest blob the last to start, all
// others would be done long before it.
type gate struct {
	mu      sync.Mutex // guards what follows
	free    int
	serial  int
	waiting waiters
}

func newGate(n int) *gate { return &gate{free: n} }

// enter waits for a place. The function that is returned gives it back.
func (g *gate) enter(ctx context.Context, weight int64) (func(), error) {
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	g.mu.Lock()
	if g.free > 0 {
		g.free--
		g.mu.Unlock()
		return g.leave, nil
	}
	w := &waiter{weight: weight, serial: g.serial, turn: make(chan struct{})}
	g.serial++
	heap.Push(&g.waiting, w)
	g.mu.Unlock()
	select {
	case <-w.turn:
		return g.leave, nil
	case <-ctx.Done():
	}
	g.mu.Lock()
	given := w.index < 0
	if !given {
		heap.Remove(&g.waiting, w.index)
	}
	g.mu.Unlock()
	if given {
		g.leave()
	}
	return nil, context.Cause(ctx)
}

// try takes a place where one is free.
func (g *gate) try() (func(), bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.free == 0 {
		return nil, false
	}
	g.free--
	return g.leave, true
}

func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.waiting) == 0 {
		g.free++
		return
	}
	close(heap.Pop(&g.waiting).(*waiter).turn)
}

type waiter struct {
	weight int64
	serial int // who came first
	index  int // in the heap; -1 once it was let in
	turn   chan struct{}
}

// waiters are a heap: the heaviest first, of equals who came first.
type waiters []*waiter

func (w waiters) Len() int { return len(w) }
func (w waiters) Less(i, j int) bool {
	if w[i].weight != w[j].weight {
		return w[i].weight > w[j].weight
	}
	return w[i].serial < w[j].serial
}
func (w waiters) Swap(i, j int) {
	w[i], w[j] = w[j], w[i]
	w[i].index, w[j].index = i, j
}
func (w *waiters) Push(x any) {
	one := x.(*waiter)
	one.index = len(*w)
	*w = append(*w, one)
}
func (w *waiters) Pop() any {
	last := (*w)[len(*w)-1]
	(*w)[len(*w)-1] = nil
	*w = (*w)[:len(*w)-1]
	last.index = -1
	return last
}
