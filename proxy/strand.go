package proxy

import (
	"errors"
	"hash"
	"io"

	"github.com/entrepot/entrepot/store"
)

// errStranded tells a reader that the disk of its fill has failed: it goes on
// with the upstream.
var errStranded = errors.New("the fill's disk has failed")

// A wreck is what is left of a fill whose disk failed in the middle: the bytes
// that were written until then, which its readers hold, and their hash. Each of
// them reads on from the upstream, and what follows is verified with that hash,
// as if the fill had gone on.
type wreck struct {
	at   int64
	hash func() (hash.Hash, error) // of the bytes before at
}

// strand lets the readers of a spool go on without it. It is for the goroutine
// that writes the spool, before it ends it.
func (f *fill) strand(s *store.Spool) {
	state, err := s.Hash()
	if err != nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.wreck = &wreck{s.Size(), state}
}

// readRest reads from where the fill has left the reader.
func (r *follower) readRest(p []byte) (int, error) {
	if r.rest == nil {
		rest, err := r.openRest()
		if err != nil {
			return 0, err
		}
		r.rest = rest
	}
	n, err := r.rest.Read(p)
	r.advance(n)
	return n, err
}

// openRest opens the blob at the reader's position: what the spool has of it, and
// then the upstream. Behind the end of the spool nothing can be verified, as it
// never can where a client has a range alone.
func (r *follower) openRest() (io.ReadCloser, error) {
	p, w := r.f.p, r.f.wreck // set before errStranded was returned, and never changed
	b, err := p.aside(r.ctx, r.key, max(w.at, r.pos))
	if err != nil || r.pos > w.at {
		return b.Body, err
	}
	h, err := w.hash()
	if err != nil {
		b.Body.Close()
		return nil, err
	}
	there := io.NewSectionReader(r.spool.File(), r.pos, w.at-r.pos)
	size := r.size
	if size < 0 {
		size = b.Size
	}
	return &verifier{body: joined{io.MultiReader(there, b.Body), b.Body}, k: r.key, hash: h, size: size, read: r.pos, from: w.at}, nil
}

// joined reads from one place and closes another.
type joined struct {
	io.Reader
	io.Closer
}

// leaveRest gives up the position that the rest stands at.
func (r *follower) leaveRest() {
	if r.rest != nil {
		r.rest.Close() // only read from
		r.rest = nil
	}
}
