package store

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/entrepot/entrepot/oci"
)

// A span is a part of a blob: the bytes from From to End, the latter not
// included.
type span struct {
	From int64 `json:"from"`
	End  int64 `json:"end"`
}

// spans are sorted, do not overlap and do not touch.
type spans []span

// add puts a span in, and grows together what touches. It reports false, and
// changes nothing, where a part of it is there already.
func (s spans) add(n span) (spans, bool) {
	i, _ := slices.BinarySearchFunc(s, n.From, func(x span, from int64) int { return int(min(max(x.End-from, -1), 1)) })
	// All before i end before n begins; i is the first that ends at n.From or later.
	if i < len(s) && s[i].End == n.From {
		if i+1 < len(s) && s[i+1].From < n.End {
			return s, false
		}
		s[i].End = n.End
		if i+1 < len(s) && s[i+1].From == n.End {
			s[i].End = s[i+1].End
			s = slices.Delete(s, i+1, i+2)
		}
		return s, true
	}
	switch {
	case i < len(s) && s[i].From < n.End:
		return s, false
	case i < len(s) && s[i].From == n.End:
		s[i].From = n.From
		return s, true
	}
	return slices.Insert(s, i, n), true
}

// from returns the first span that ends after off.
func (s spans) from(off int64) (span, bool) {
	for _, x := range s {
		if x.End > off {
			return x, true
		}
	}
	return span{}, false
}

// valid reports whether these are spans of the bytes after off, up to size.
func (s spans) valid(off, size int64) bool {
	for i, x := range s {
		if x.End <= x.From || x.From < off || x.End > size || i > 0 && x.From <= s[i-1].End {
			return false
		}
		off = x.End
	}
	return true
}

// ahead is what a spool has beyond its size: bytes that were written out of
// order, and are hashed when those before them have come.
type ahead struct {
	any atomic.Bool // there was something once; nothing else needs to be looked at before
	mu  sync.Mutex  // guards all below
	s   spans
	sum int64 // bytes in s
}

// WriteAt puts bytes where they belong that come before those in front of them;
// they are hashed by [Spool.TakeIn] when it is their turn. It is for a spool of
// declared size. Several goroutines may call it, beside the one that writes in
// order, each for bytes of its own: what is there already is refused with an
// error, and so is what lies before Size or beyond the declared size.
func (sp *Spool) WriteAt(p []byte, off int64) (int, error) {
	if off < sp.Size() || off+int64(len(p)) > sp.want {
		return 0, oci.Errorf(oci.ErrMismatch, oci.CodeSizeInvalid, "%s: bytes at %d do not fit into the %d that were declared", sp.d, off, sp.want)
	}
	n, err := sp.store.files.writeAt(sp.grow.f, p, off)
	if err != nil {
		return n, diskError(err)
	}
	a := &sp.ahead
	a.mu.Lock()
	defer a.mu.Unlock()
	s, ok := a.s.add(span{off, off + int64(n)})
	if !ok {
		return 0, fmt.Errorf("%s: bytes at %d were written twice", sp.d, off)
	}
	a.s = s
	a.sum += int64(n)
	a.any.Store(true)
	return n, nil
}

// Has returns the end of the bytes that were written ahead and begin at off or
// before it; off where that one is not there. It may be called by anybody.
func (sp *Spool) Has(off int64) int64 {
	if x, ok := sp.next(off); ok && x.From <= off {
		return x.End
	}
	return off
}

// Next returns where, at off or after it, bytes begin that were written ahead;
// -1 for nowhere. It may be called by anybody.
func (sp *Spool) Next(off int64) int64 {
	if x, ok := sp.next(off); ok {
		return max(x.From, off)
	}
	return -1
}

func (sp *Spool) next(off int64) (span, bool) {
	if !sp.ahead.any.Load() {
		return span{}, false
	}
	sp.ahead.mu.Lock()
	defer sp.ahead.mu.Unlock()
	return sp.ahead.s.from(off)
}

// Ahead returns how many bytes were written ahead and not taken in yet.
func (sp *Spool) Ahead() int64 {
	sp.ahead.mu.Lock()
	defer sp.ahead.mu.Unlock()
	return sp.ahead.sum
}

// TakeIn hashes bytes that were written ahead and are next, at most as many as
// buf holds, so that Size grows by them; 0 where the next byte is not there.
// It belongs to the goroutine that writes.
func (sp *Spool) TakeIn(buf []byte) (int, error) {
	size := sp.Size()
	n := int(min(sp.Has(size)-size, int64(len(buf))))
	if n > 0 {
		if err := sp.grow.takeIn(buf[:n]); err != nil {
			return 0, diskError(err)
		}
		a := &sp.ahead
		a.mu.Lock()
		if a.s[0].From += int64(n); a.s[0].From == a.s[0].End {
			a.s = slices.Delete(a.s, 0, 1)
		}
		a.sum -= int64(n)
		a.mu.Unlock()
	}
	sp.checkpoint()
	return n, nil
}

// list returns the spans for the journal.
func (a *ahead) list() spans {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.s)
}

// restore takes up the spans of the journal.
func (a *ahead) restore(s spans) {
	a.s = slices.Clone(s)
	for _, x := range s {
		a.sum += x.End - x.From
	}
	a.any.Store(len(s) > 0)
}
