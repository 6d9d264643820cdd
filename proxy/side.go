package proxy

import (
	"context"
	"io"
	"sync"

	"github.com/entrepot/entrepot/oci"
)

// far is how many bytes beyond what is there a reader may be before it goes
// around the fill. Nearer ones wait for it.
const far = 32 << 20

// A side is a request of one reader's own, for a range that the fill will not
// reach soon. What it brings is passed through and not stored, so a Proxy has
// few of them at a time; readers for whom there is none wait.
type side struct {
	p     *Proxy
	key   blobKey
	body  io.ReadCloser
	end   func()
	bytes int64
}

// readSide reads from the way around where that is worth while; ok says that
// it did. It never gives the bytes at the end that are held back.
func (r *follower) readSide(p []byte) (n int, ok bool) {
	left := r.size - holdBack - r.pos
	if r.alone || r.size < 0 || left <= 0 {
		r.leaveSide()
		return 0, false
	}
	if r.side == nil {
		if r.pos-r.f.had() <= far {
			return 0, false
		}
		if r.side = r.f.p.openSide(r.ctx, r.key, r.pos); r.side == nil {
			r.alone = true
			return 0, false
		}
	}
	n, err := r.side.body.Read(p[:min(int64(len(p)), left)])
	r.side.bytes += int64(n)
	r.advance(n)
	if err != nil {
		r.leaveSide()
		r.alone = true
	}
	return n, n > 0
}

func (r *follower) leaveSide() {
	if r.side != nil {
		r.side.close()
		r.side = nil
	}
}

// had returns how many bytes readers may have.
func (f *fill) had() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.ready
}

// openSide opens a blob for one reader, in whose context it lives. It returns
// nil where there are too many already, or the upstream does not answer with
// that range.
func (p *Proxy) openSide(ctx context.Context, k blobKey, off int64) *side {
	select {
	case p.sides <- struct{}{}:
	default:
		return nil
	}
	ctx, cancel := context.WithCancel(oci.WithOutcome(ctx, new(oci.Outcome)))
	s := &side{p: p, key: k, end: sync.OnceFunc(func() {
		cancel()
		<-p.sides
	})}
	err := p.ask(ctx, k.lane(true), k.name, oci.CodeBlobUnknown, func() error {
		b, err := p.up.Blob(ctx, k.name, k.digest, off)
		if err == nil && b.Offset != off {
			b.Body.Close()
			err = oci.ErrMismatch
		}
		s.body = b.Body
		return err
	})
	if err != nil {
		s.end()
		return nil
	}
	return s
}

func (s *side) close() {
	s.body.Close() // read as far as it was wanted: an error changes nothing
	s.end()
	s.p.observe(Event{Kind: EventSide, Upstream: s.key.name.Host, Op: OpBlob, Bytes: s.bytes})
}
