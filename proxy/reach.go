package proxy

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/entrepot/entrepot/oci"
)

// A blob is fetched in order, by one request. Where a reader waits for bytes
// that will not be there soon (clients fetch layers in parallel ranges), or
// where a huge blob comes slowly, further connections fetch parts of it. A part
// is written to its place in the spool, so that its bytes are fetched once: the
// fill jumps over them when it gets there.
const (
	// far is how many bytes beyond what is there a reader waits for without
	// further ado, and soon the time that the fill may need to get to him.
	far  = 32 << 20
	soon = 5 * time.Second
	// judgeAfter is how long the speed of a fill is watched before it is judged.
	judgeAfter = time.Second
	// partSize is what one request beside the fill's own asks for. It is asked
	// for with its end, so that no byte is under way that nobody wants.
	partSize = 32 << 20
	// A blob of which hugeRest bytes are to come after the first probeSize is
	// fetched by several connections where those came at less than slowStream
	// bytes a second: slower than any wire that a mirror stands at, as CDNs are
	// that give each connection its share.
	hugeRest   = 256 << 20
	probeSize  = 32 << 20
	slowStream = 16 << 20
	// defaultParallelism is how many connections fetch one blob, at most.
	defaultParallelism = 4
)

// A part is what one connection fetches ahead of the fill: it still has to
// bring the bytes from from to end.
type part struct{ from, end int64 }

// A crew are the connections that fetch parts for one try.
type crew struct {
	f      *fill
	ctx    context.Context
	cancel context.CancelFunc
	spool  sink
	size   int64     // of the blob
	begun  time.Time // when the try began to read
	start  int64     // where
	alive  func()    // is called when bytes have come
	work   sync.WaitGroup

	// Guarded by the mutex of the fill.
	parts    []*part
	waiting  int   // readers for whom there was no connection
	off      bool  // nothing new begins
	read     int64 // bytes
	rejecter []oci.Rejecter
}

// A sink is what a crew needs of a spool.
type sink interface {
	Size() int64
	Has(off int64) int64
	Next(off int64) int64
	WriteAt(p []byte, off int64) (int, error)
}

// reach has a connection fetch what the reader waits for, where the fill will
// not be there soon. It returns when to ask again; nil says not before the next
// change.
func (r *follower) reach() <-chan time.Time {
	f := r.f
	f.mu.Lock()
	defer f.mu.Unlock()
	r.unqueue()
	c := f.crew
	if c == nil || c.off || r.try != f.try || r.pos >= c.size-holdBack || c.covers(r.pos) {
		return nil
	}
	distance := r.pos - c.spool.Size()
	if distance <= f.p.cfg.far {
		return nil
	}
	took := f.p.cfg.now().Sub(c.begun)
	if took < judgeAfter {
		return time.After(judgeAfter - took)
	}
	if float64(distance) <= c.speed(took)*soon.Seconds() {
		return time.After(judgeAfter)
	}
	if len(c.parts)+1 >= f.most {
		r.queued = c
		c.waiting++
		return nil // a part that ends is a change
	}
	c.fetch(r.pos)
	return nil
}

// unqueue forgets that the reader waits for a connection. The caller holds the
// fill's mu.
func (r *follower) unqueue() {
	if r.queued != nil {
		r.queued.waiting--
		r.queued = nil
	}
}

// speed is that of the fill so far, in bytes a second.
func (c *crew) speed(took time.Duration) float64 {
	return float64(c.spool.Size()-c.start) / max(took.Seconds(), 1e-3)
}

// covers reports whether the byte at off is being fetched as a part.
func (c *crew) covers(off int64) bool {
	return slices.ContainsFunc(c.parts, func(x *part) bool { return x.from <= off && off < x.end })
}

// limit returns where the bytes end, from off on, that nobody has fetched or
// fetches.
func (c *crew) limit(off int64) int64 {
	end := c.size
	if next := c.spool.Next(off); next >= 0 {
		end = next
	}
	for _, x := range c.parts {
		if x.end > off {
			end = min(end, max(x.from, off))
		}
	}
	return end
}

// fetch starts a connection at a place that nobody fetches. The caller holds
// the fill's mu, and has found c not off.
func (c *crew) fetch(from int64) {
	x := &part{from, min(from+c.f.p.cfg.part, c.limit(from))}
	c.parts = append(c.parts, x)
	c.work.Go(func() { c.run(x) })
}

// run fetches parts: the first, and then what follows, as long as no reader
// waits for the connection.
func (c *crew) run(x *part) {
	for more := true; more; {
		err := c.copy(x)
		if err != nil && c.ctx.Err() == nil {
			c.f.p.log.Info("a part of a blob cannot be fetched", "digest", c.f.key.digest, "repository", c.f.key.name.String(), "from", x.from, "err", err)
		}
		c.f.mu.Lock()
		if err != nil {
			c.off = true // the fill goes on in order
		}
		if more = c.next(x); !more {
			c.parts = slices.DeleteFunc(c.parts, func(y *part) bool { return y == x })
		}
		c.f.wakeAll()
		c.f.mu.Unlock()
	}
}

// next makes x the part after itself, where there is one far enough ahead of
// the fill. The caller holds the fill's mu.
func (c *crew) next(x *part) bool {
	if c.off || c.waiting > 0 {
		return false
	}
	from := c.gap(x.end)
	if from >= c.size || from-c.spool.Size() < c.f.p.cfg.far {
		return false
	}
	x.from, x.end = from, from // out of the way of limit
	x.end = min(from+c.f.p.cfg.part, c.limit(from))
	return true
}

// gap returns the first place, at off or after it, that nobody has fetched or
// fetches.
func (c *crew) gap(off int64) int64 {
	for off < c.size && c.limit(off) == off {
		next := c.spool.Has(off)
		for _, x := range c.parts {
			if x.from <= next && next < x.end {
				next = x.end
			}
		}
		off = next
	}
	return off
}

// copy fetches a part into its place.
func (c *crew) copy(x *part) error {
	p := c.f.p
	b, err := c.f.open(c.ctx, c.ctx, x.from, x.end)
	if err != nil {
		return err
	}
	defer b.Body.Close()
	if b.Size >= 0 && b.Size != c.size {
		return fmt.Errorf("%w: the blob has %d bytes here, and %d elsewhere", oci.ErrMismatch, b.Size, c.size)
	}
	c.note(b.Body)
	buf := getBuffer(&p.fills.buffers)
	defer p.fills.buffers.Put(buf)
	start := x.from
	defer func() {
		p.observe(Event{Kind: EventPart, Upstream: c.f.key.name.Host, Op: OpBlob, Bytes: x.from - start})
	}()
	for x.from < x.end {
		left := min(fillBuffer, x.end-x.from)
		n, err := readSome(b.Body, buf[:left], int(min(fillLeast, left)), p.cfg.now)
		if n > 0 {
			_, err := c.spool.WriteAt(buf[:n], x.from)
			if full(err) && p.cache.MakeRoom(c.ctx, x.end-x.from+roomToSpare) == nil {
				_, err = c.spool.WriteAt(buf[:n], x.from)
			}
			if err != nil {
				return err
			}
			c.came(x, int64(n))
		}
		if err != nil && x.from < x.end {
			return err
		}
	}
	return nil
}

// note remembers whom to tell that the bytes were wrong.
func (c *crew) note(body any) {
	if r, ok := body.(oci.Rejecter); ok {
		c.f.mu.Lock()
		defer c.f.mu.Unlock()
		c.rejecter = append(c.rejecter, r)
	}
}

func (c *crew) came(x *part, n int64) {
	c.alive()
	c.f.mu.Lock()
	defer c.f.mu.Unlock()
	x.from += n
	c.read += n
	c.f.wakeAll()
}

// spread starts all connections that there may be, one part after the other.
func (c *crew) spread() {
	c.f.mu.Lock()
	defer c.f.mu.Unlock()
	from := c.spool.Size() + c.f.p.cfg.far
	for !c.off && len(c.parts)+1 < c.f.most {
		if from = c.gap(from); from >= c.size {
			return
		}
		c.fetch(from)
	}
}

// stop ends all connections, and returns how many bytes they brought.
func (c *crew) stop() int64 {
	c.f.mu.Lock()
	c.off, c.f.crew = true, nil
	c.f.mu.Unlock()
	c.cancel()
	c.work.Wait()
	return c.read
}
