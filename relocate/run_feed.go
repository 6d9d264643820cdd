package relocate

import (
	"context"
	"errors"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
)

// feedWidth is how many repositories are fed at once. Each is an upload, and a
// host takes so many before it is known to take more.
const feedWidth = 8

// feedGrace is how long a feed that could begin waits for repositories whose
// uploads have not begun: the host may take fewer at once than are to be fed.
// Those that come later read the source by themselves.
const feedGrace = 10 * time.Second

// others returns the repositories that are to be fed together with the one of
// the image: where the host does not let blobs get from one to another, those
// that need the blob too and lack it. Small blobs are kept instead.
func (g *graph) others(ctx context.Context, d oci.Descriptor) []ref.Name {
	if d.Size <= smallBlob || !g.blobs.ways.of(g.to.Host).alone() {
		return nil
	}
	var all []ref.Name
	for _, n := range g.needers(ctx, d.Digest) {
		if n == g.to || n.Host != g.to.Host || g.cfg.Journal.blob(n, d.Digest) || g.blobs.wasFed(n, d.Digest) {
			continue
		}
		other := &graph{run: g.run, img: g.img, from: g.from, to: n}
		if there, err := other.has(ctx, d); err == nil && !there {
			all = append(all, n)
		}
	}
	width := feedWidth
	if g.cfg.Jobs > 0 {
		width = min(width, g.cfg.Jobs)
	}
	return all[:min(len(all), width-1)]
}

// feed pushes a blob to the repository of the image and to others at once, and
// reads it once for all. The error is that of the first; what fails elsewhere is
// done when it is asked for there.
func (g *graph) feed(ctx context.Context, d oci.Descriptor, p oci.Pusher, src *content, others []ref.Name) error {
	free, err := g.feeds.enter(ctx, 0) // two might each hold what the other one needs
	if err != nil {
		return err
	}
	defer free()
	f := newFeed(ctx, src, 1+len(others))
	defer f.close()
	err = errors.New("not tried")
	together(1+len(others), func(i int) error {
		b := f.branches[i]
		defer b.leave()
		if i == 0 {
			_, err = p.PushBlob(ctx, g.to, d, b.open, g.pushing(g.to, d))
			return nil
		}
		n := others[i-1]
		_, bad := p.PushBlob(ctx, n, d, b.open, g.pushing(n, d))
		if bad == nil {
			bad = g.cfg.Journal.blobDone(n, d.Digest)
		}
		if bad == nil {
			g.blobs.feed(n, d)
		} else {
			g.log.DebugContext(ctx, "not fed", "repository", n.String(), "digest", string(d.Digest), "err", bad)
		}
		return nil
	})
	return err
}

// A feed is a blob that is read once, for several uploads at once. The slowest
// of them sets the pace.
type feed struct {
	src      *content
	branches []*branch

	mu      sync.Mutex // guards what follows
	missing int        // branches of which nothing was heard yet
	begun   bool
	grace   *time.Timer   // nil until the first branch has joined
	begin   chan struct{} // closed when it begins

	cancel context.CancelFunc
	work   sync.WaitGroup
	pool   sync.Pool // of *piece
}

// A branch is what one of the uploads reads.
type branch struct {
	feed   *feed
	heard  bool // it has joined, or will not; guarded by the feed's mutex
	joined bool // guarded by the feed's mutex

	pieces chan *piece
	gone   chan struct{} // closed when nobody reads it any more
	leaves sync.Once
	piece  *piece // that is being read; nil: the next one
	left   []byte
	err    error
}

// A piece is some bytes for all branches.
type piece struct {
	buf   []byte
	err   error // after them
	users atomic.Int32
}

// A piece has pieceSize bytes, and a branch may be ahead of the slowest one by
// pieces that wait: 1 MiB in all.
const (
	pieceSize     = 256 << 10
	piecesWaiting = 2
)

func newFeed(ctx context.Context, src *content, n int) *feed {
	f := &feed{src: src, missing: n, begin: make(chan struct{})}
	for range n {
		f.branches = append(f.branches, &branch{feed: f, pieces: make(chan *piece, piecesWaiting), gone: make(chan struct{})})
	}
	ctx, f.cancel = context.WithCancel(ctx)
	f.work.Go(func() { f.pump(ctx) })
	return f
}

// close ends the reading and waits for it.
func (f *feed) close() {
	f.cancel()
	f.mu.Lock()
	if f.grace != nil {
		f.grace.Stop()
	}
	f.mu.Unlock()
	f.work.Wait()
}

// hear notes that a branch has joined, or will not. The caller holds the mutex.
func (f *feed) hear(b *branch, joined bool) {
	if b.heard || f.begun {
		return
	}
	b.heard, b.joined = true, joined
	if f.missing--; f.missing == 0 {
		f.start()
		return
	}
	if joined && f.grace == nil {
		f.grace = time.AfterFunc(feedGrace, func() {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.start()
		})
	}
}

// start lets the reading begin. The caller holds the mutex.
func (f *feed) start() {
	if !f.begun {
		f.begun = true
		close(f.begin)
	}
}

// pump reads the source and gives it to all that have joined.
func (f *feed) pump(ctx context.Context) {
	select {
	case <-f.begin:
	case <-ctx.Done():
		return
	}
	var to []*branch // no branch joins any more
	for _, b := range f.branches {
		if b.joined {
			to = append(to, b)
		}
	}
	if len(to) == 0 {
		return
	}
	rc, err := f.src.stream(ctx, 0)
	if err == nil {
		defer rc.Close()
	}
	for len(to) > 0 {
		p := f.piece()
		if err == nil {
			p.buf, err = fill(rc, p.buf)
		} else {
			p.buf = p.buf[:0]
		}
		p.err = err
		to = f.give(p, to)
		if err != nil {
			return
		}
	}
}

// fill reads as much as there is room for.
func fill(r io.Reader, buf []byte) ([]byte, error) {
	n := 0
	for n < len(buf) {
		m, err := r.Read(buf[n:])
		if n += m; err != nil {
			return buf[:n], err
		}
	}
	return buf[:n], nil
}

// piece returns an empty one with room.
func (f *feed) piece() *piece {
	p, ok := f.pool.Get().(*piece)
	if !ok {
		p = &piece{buf: make([]byte, pieceSize)}
	}
	p.buf = p.buf[:cap(p.buf)]
	return p
}

// give gives a piece to each branch, and returns those that are still read.
func (f *feed) give(p *piece, to []*branch) []*branch {
	p.users.Store(int32(len(to)))
	return slices.DeleteFunc(to, func(b *branch) bool {
		select {
		case b.pieces <- p:
			return false
		case <-b.gone:
			f.drop(p)
			return true
		}
	})
}

// drop gives a piece back once nobody needs it.
func (f *feed) drop(p *piece) {
	if p.users.Add(-1) == 0 {
		f.pool.Put(p)
	}
}

// open is the [oci.Source] of the branch's upload. One that begins when the
// others do reads along; one that is late, or goes on after an error, reads by
// itself.
func (b *branch) open(ctx context.Context, off int64) (io.ReadCloser, error) {
	f := b.feed
	f.mu.Lock()
	again := b.heard || f.begun || off > 0
	f.hear(b, !again)
	f.mu.Unlock()
	if again {
		b.quit()
		return f.src.stream(ctx, off)
	}
	return along{b, ctx}, nil
}

// leave says that the upload is over.
func (b *branch) leave() {
	b.feed.mu.Lock()
	b.feed.hear(b, false)
	b.feed.mu.Unlock()
	b.quit()
}

func (b *branch) quit() { b.leaves.Do(func() { close(b.gone) }) }

// Along reads along with the other branches.
type along struct {
	*branch
	ctx context.Context // of the upload
}

// Read gives out what was read for all.
func (a along) Read(to []byte) (int, error) {
	b := a.branch
	for len(b.left) == 0 {
		if b.piece != nil {
			b.err = b.piece.err
			b.feed.drop(b.piece)
			b.piece = nil
		}
		if b.err != nil {
			return 0, b.err
		}
		select {
		case b.piece = <-b.pieces:
			b.left = b.piece.buf
		case <-b.gone:
			return 0, errGone
		case <-a.ctx.Done():
			return 0, context.Cause(a.ctx)
		}
	}
	n := copy(to, b.left)
	b.left = b.left[n:]
	return n, nil
}

var errGone = errors.New("it is closed")

// Close ends the reading.
func (a along) Close() error {
	a.quit()
	return nil
}
