package relocate

import (
	"bytes"
	"context"
	"io"
	"sync"
	"sync/atomic"

	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
)

// A content is where the bytes of one blob come from while it is pushed. What
// is small is read into memory once; the rest is streamed, and opened again
// where a push has to resume.
type content struct {
	g    *graph
	d    oci.Descriptor
	from ref.Name
	read oci.Reader
	ours bool // it comes from the target itself: that is not the source's bytes

	ctx    context.Context
	cancel context.CancelFunc
	ready  chan struct{} // closed when raw and err are set; nil: nobody has begun to read it
	raw    []byte
	err    error

	again   atomic.Bool // the bytes were wrong, and another place may have the right ones
	refused atomic.Bool // the home does not let us read it
	hash    frontier
}

// content returns where a blob comes from: the descriptor itself, its home at
// the target, or the source.
func (g *graph) content(ctx context.Context, d oci.Descriptor, home ref.Name) *content {
	c := &content{g: g, d: d, from: g.from, read: g.cfg.Source, hash: newFrontier(d)}
	c.ctx, c.cancel = context.WithCancel(ctx)
	if home.Path != "" {
		c.from, c.read, c.ours = home, g.cfg.Target, true
	}
	raw, ok := known(d)
	if !ok && d.Size <= smallBlob {
		raw = g.blobs.ways.kept(d.Digest)
		ok = raw != nil
	}
	if ok {
		c.raw, c.ready = raw, make(chan struct{})
		close(c.ready)
	}
	return c
}

// known returns content that need not be read: what is empty, the empty
// document, and what the descriptor holds itself.
func known(d oci.Descriptor) ([]byte, bool) {
	for _, raw := range [][]byte{{}, []byte("{}"), d.Data} {
		if int64(len(raw)) == d.Size && oci.FromBytes(raw, d.Digest) == d.Digest {
			return raw, true
		}
	}
	return nil, false
}

// close ends what reads ahead.
func (c *content) close() {
	c.cancel()
	if c.ready != nil {
		<-c.ready
	}
}

// rejected reports whether the bytes were wrong and there is another place to
// ask; once.
func (c *content) rejected() bool {
	if !c.again.Swap(false) {
		return false
	}
	c.ready, c.err = nil, nil
	c.hash = newFrontier(c.d)
	return true
}

// prefetch starts to read what is small, so that it is there when the target
// asks for it. The pushes of one blob follow each other, and so do its calls.
func (c *content) prefetch() {
	if c.d.Size > smallBlob || c.ready != nil {
		return
	}
	ready := make(chan struct{})
	c.ready = ready
	go func() {
		defer close(ready)
		c.raw, c.err = c.load()
	}()
}

func (c *content) load() ([]byte, error) {
	rc, err := c.stream(c.ctx, 0)
	if err != nil {
		return nil, err
	}
	defer rc.Close()
	raw := make([]byte, c.d.Size)
	if _, err := io.ReadFull(rc, raw); err != nil {
		if err == io.ErrUnexpectedEOF || err == io.EOF {
			err = oci.Errorf(oci.ErrMismatch, oci.CodeSizeInvalid, "%s is shorter than the %d bytes that it is said to have", c.d.Digest, c.d.Size)
		}
		return nil, err
	}
	_, err = rc.Read(make([]byte, 1)) // the end, and with it the verdict
	if err != nil && err != io.EOF {
		return nil, err
	}
	if !c.ours {
		c.g.blobs.ways.keep(c.g.to.Host, c.d.Digest, raw)
	}
	return raw, nil
}

// open is the [oci.Source].
func (c *content) open(ctx context.Context, off int64) (io.ReadCloser, error) {
	c.prefetch()
	if c.d.Size > smallBlob {
		return c.stream(ctx, off)
	}
	select {
	case <-c.ready:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	if c.err != nil {
		return nil, c.err
	}
	return io.NopCloser(bytes.NewReader(c.raw[off:])), nil
}

// stream reads on from an offset.
func (c *content) stream(ctx context.Context, off int64) (io.ReadCloser, error) {
	if rc, ok := c.probe(ctx, off); ok {
		return &counted{ReadCloser: rc, c: c, off: off}, nil
	}
	b, err := c.read.Blob(ctx, c.from, c.d.Digest, off)
	if err != nil {
		c.failed(err)
		return nil, err
	}
	return &counted{ReadCloser: b.Body, c: c, off: off}, nil
}

// failed notes where it is a home that does not let us read it.
func (c *content) failed(err error) {
	if c.ours && isRefusal(err) {
		c.refused.Store(true)
		c.g.blobs.ways.note(c.from.Host, func(w *way) { w.unread = true })
	}
}

// counted counts and verifies what is read.
type counted struct {
	io.ReadCloser
	c   *content
	off int64
}

func (r *counted) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	if n > 0 {
		r.c.count(int64(n))
		r.c.hash.write(r.off, p[:n])
		r.off += int64(n)
	}
	if err == nil || err == io.EOF {
		// The verdict comes with the last byte, not after it: who sends a known
		// number of bytes may never ask for the end.
		if bad := r.c.hash.verdict(r.off); bad != nil {
			if rej, ok := r.ReadCloser.(oci.Rejecter); ok {
				r.c.again.Store(rej.Reject())
			}
			return 0, bad
		}
		return n, err
	}
	r.c.failed(err)
	return n, err
}

func (c *content) count(n int64) {
	if !c.ours {
		c.g.img.readBytes.Add(n)
		c.g.source.Add(n)
	}
	c.g.observe(Event{Kind: BlobProgress, Image: c.g.img.index, Digest: c.d.Digest, Bytes: n})
}

// A frontier hashes a blob that may be read in several pieces, some of them
// twice, as long as they follow each other. Where a push resumes in the middle
// of what an earlier process has sent, there is no verdict but the target's.
type frontier struct {
	mu  sync.Mutex // guards what follows
	v   *oci.Verifier
	off int64 // what is hashed; -1 after a gap
	end int64
}

func newFrontier(d oci.Descriptor) frontier {
	return frontier{v: oci.NewVerifier(d.Digest, d.Size), end: d.Size}
}

func (f *frontier) write(off int64, p []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.off < 0:
	case off > f.off:
		f.off = -1
	case off+int64(len(p)) > f.off:
		p = p[f.off-off:]
		f.v.Write(p)
		f.off += int64(len(p))
	}
}

// verdict returns ErrMismatch once all is hashed and is not the content.
func (f *frontier) verdict(off int64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if off < f.end || f.off < f.end {
		return nil
	}
	return f.v.Err()
}
