package relocate

import (
	"cmp"
	"context"
	"io"
	"sync"

	"github.com/entrepot/entrepot/oci"
)

// A huge blob is read in ranges of rangeSize bytes, rangesAhead of them at once
// beside the one that is being sent: 16 MiB of memory in all.
const (
	rangeSize   = 4 << 20
	rangesAhead = 3
)

// window opens a huge blob in several ranges at once, where its place can do
// that and no other blob is read so.
func (c *content) window(ctx context.Context, off int64) (io.ReadCloser, bool) {
	ranger, ok := c.read.(oci.Ranger)
	if !ok || c.d.Size-off < cmp.Or(c.g.cfg.huge, hugeBlob) {
		return nil, false
	}
	free, ok := c.g.sched.huge.try()
	if !ok {
		return nil, false
	}
	w := &window{free: free, parts: make(chan *part, rangesAhead-1)}
	w.ctx, w.cancel = context.WithCancel(ctx)
	w.work.Go(func() { w.fetch(ranger, c, off) })
	return w, true
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
