package relocate

import (
	"cmp"
	"context"
	"io"
	"sync"
	"time"

	"github.com/entrepot/entrepot/oci"
)

// Ranges of a huge blob have rangeSize bytes; rangesAhead of them are read at once
// beside the one that is being sent: 16 MiB of memory in all.
const (
	rangeSize   = 4 << 20
	rangesAhead = 3
)

// A huge blob is read in one stream first. Where that has not brought probeSize
// bytes at fastStream a second, it is the connection that is slow, as of CDNs
// that give each one its share, and several are faster together. Where it has,
// the wire or the target is what is full, and ranges would only cost requests
// and turns of the processor: over loopback they were slower by a third.
const (
	probeSize  = 32 << 20
	fastStream = 32 << 20 // bytes a second
)

// probe opens a huge blob, where its place can open parts.
func (c *content) probe(ctx context.Context, off int64) (io.ReadCloser, bool) {
	ranger, ok := c.read.(oci.Ranger)
	if !ok || c.d.Size-off < cmp.Or(c.g.cfg.huge, hugeBlob) {
		return nil, false
	}
	return &probe{ctx: ctx, c: c, ranger: ranger, from: off, off: off}, true
}

// A probe is a huge blob while it is read.
type probe struct {
	ctx     context.Context // of the push that reads it
	c       *content
	ranger  oci.Ranger
	from    int64
	off     int64 // of the next byte
	started time.Time
	part    io.ReadCloser // nil: the next one is to be opened
	last    oci.Rejecter  // the body that was opened last, where it can be rejected
}

// open opens the next part: the first bytes, then all others, one way or the
// other.
func (p *probe) open() error {
	end := p.c.d.Size
	if p.off == p.from {
		p.started = p.c.g.cfg.Now()
		end = min(p.off+cmp.Or(p.c.g.cfg.probe, probeSize), end)
	} else if p.slow() {
		if free, ok := p.c.g.sched.huge.try(); ok {
			p.part = newWindow(p.ctx, p.ranger, p.c, p.off, free)
			return nil
		}
	}
	b, err := p.ranger.BlobRange(p.ctx, p.c.from, p.c.d.Digest, p.off, end)
	if err != nil {
		return err
	}
	p.part = b.Body
	p.last, _ = b.Body.(oci.Rejecter)
	return nil
}

// slow reports whether the stream so far was slower than a wire should be.
func (p *probe) slow() bool {
	took := p.c.g.cfg.Now().Sub(p.started).Seconds()
	return float64(p.off-p.from) < took*float64(cmp.Or(p.c.g.cfg.fast, fastStream))
}

// Read reads on, part after part.
func (p *probe) Read(b []byte) (int, error) {
	for {
		if p.part == nil {
			if err := p.open(); err != nil {
				return 0, err
			}
		}
		n, err := p.part.Read(b)
		p.off += int64(n)
		if err != io.EOF || p.off >= p.c.d.Size {
			return n, err
		}
		err = p.part.Close()
		if p.part = nil; n > 0 || err != nil {
			return n, err
		}
	}
}

// Reject passes on what is said of the bytes.
func (p *probe) Reject() bool { return p.last != nil && p.last.Reject() }

// Close ends the reading.
func (p *probe) Close() error {
	if p.part == nil {
		return nil
	}
	return p.part.Close()
}

// A window reads ranges of a blob at once and gives them out in order.
type window struct {
	ctx    context.Context
	cancel context.CancelFunc
	free   func()
	parts  chan *part // in order; its capacity is what bounds the memory
	work   sync.WaitGroup
	buffer sync.Pool // of *[]byte

	part *part // that is being given out; nil: the next one
	err  error
}

type part struct {
	done chan struct{} // closed when buf and err are set
	buf  *[]byte       // of the pool
	left []byte
	err  error
}

// newWindow reads from off to the end; free is called when it is closed.
func newWindow(ctx context.Context, ranger oci.Ranger, c *content, off int64, free func()) *window {
	w := &window{free: free, parts: make(chan *part, rangesAhead-1)}
	w.ctx, w.cancel = context.WithCancel(ctx)
	w.work.Go(func() { w.fetch(ranger, c, off) })
	return w
}

func (w *window) fetch(ranger oci.Ranger, c *content, off int64) {
	defer close(w.parts)
	for ; off < c.d.Size; off += rangeSize {
		p := &part{done: make(chan struct{})}
		select {
		case w.parts <- p:
		case <-w.ctx.Done():
			return
		}
		at := off
		w.work.Go(func() {
			defer close(p.done)
			p.err = w.read(ranger, c, p, at)
		})
	}
}

// read reads one range.
func (w *window) read(ranger oci.Ranger, c *content, p *part, off int64) error {
	end := min(off+rangeSize, c.d.Size)
	b, err := ranger.BlobRange(w.ctx, c.from, c.d.Digest, off, end)
	if err != nil {
		return err
	}
	defer b.Body.Close()
	var ok bool
	if p.buf, ok = w.buffer.Get().(*[]byte); !ok {
		buf := make([]byte, rangeSize)
		p.buf = &buf
	}
	p.left = (*p.buf)[:end-off]
	_, err = io.ReadFull(b.Body, p.left)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// Read gives out what has arrived, in order.
func (w *window) Read(b []byte) (int, error) {
	for w.err == nil {
		if w.part == nil {
			next, ok := <-w.parts
			if !ok {
				w.err = io.EOF
				if w.ctx.Err() != nil {
					w.err = context.Cause(w.ctx)
				}
				break
			}
			<-next.done
			w.part, w.err = next, next.err
			continue
		}
		if n := copy(b, w.part.left); n > 0 || len(b) == 0 {
			w.part.left = w.part.left[n:]
			return n, nil
		}
		w.buffer.Put(w.part.buf)
		w.part = nil
	}
	return 0, w.err
}

// Close ends the reading and waits for it.
func (w *window) Close() error {
	w.cancel()
	w.work.Wait()
	w.free()
	return nil
}
