package layout

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"slices"

	"github.com/entrepot/entrepot/oci"
)

// largestFirst returns the blobs in the order in which they are read: a large
// one that came last would be read alone.
func (p *plan) largestFirst() []int {
	order := make([]int, len(p.blobs))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(x, y int) int { return cmp.Compare(p.blobs[y].Descriptor.Size, p.blobs[x].Descriptor.Size) })
	return order
}

// pieces returns where a blob goes.
func (p *plan) pieces(i int) []*item {
	if cut := p.cuts[p.blobs[i].Descriptor.Digest]; cut != nil {
		return cut
	}
	return p.whole[i : i+1]
}

// blob puts one blob into its place, verified.
func (o *output) blob(ctx context.Context, i int) error {
	if err := ctx.Err(); err != nil {
		return err // another blob failed while this one waited
	}
	b := o.plan.blobs[i]
	d := b.Descriptor
	if o.journal.whole[d.Digest] {
		switch err := o.check(ctx, i); {
		case err == nil:
			o.kept.Add(d.Size)
			return nil
		case !errors.Is(err, oci.ErrMismatch):
			return err
		}
		o.cfg.log().Warn("a blob of an earlier run is damaged and is read again", "digest", d.Digest)
	}
	err := o.fetch(ctx, i, b)
	if err != nil {
		return fmt.Errorf("write %s: %w", d.Digest, err)
	}
	return o.journal.add(d.Digest, o.places(i))
}

// fetch reads a blob from its source; once more where that knows of another
// place when the bytes were wrong.
func (o *output) fetch(ctx context.Context, i int, b SourceBlob) error {
	for {
		body, err := b.Open(ctx, 0)
		if err != nil {
			return &sourceError{err}
		}
		err = o.copy(ctx, i, body, func(n int64) {
			o.read.Add(n)
			o.cfg.observe(b.Descriptor.Digest, n)
		})
		again := false
		if errors.Is(err, oci.ErrMismatch) {
			if r, ok := body.(oci.Rejecter); ok {
				again = r.Reject()
			}
		}
		if bad := body.Close(); err == nil {
			err = bad
		}
		if !again {
			return err
		}
	}
}

// A sourceError says that a blob could not be read, or is not what its digest
// says. It is no reason not to write the others.
type sourceError struct{ err error }

func (e *sourceError) Error() string { return e.err.Error() }
func (e *sourceError) Unwrap() error { return e.err }

// copy writes what r gives to the blob's place and verifies it.
func (o *output) copy(ctx context.Context, i int, r io.Reader, wrote func(int64)) error {
	d := o.plan.blobs[i].Descriptor
	s := o.spread(i, o.files, wrote)
	err := o.pour(ctx, s, oci.VerifyReader(r, d.Digest, d.Size))
	if err != nil && s.err == nil {
		return &sourceError{err}
	}
	return err
}

// check hashes a blob where it is.
func (o *output) check(ctx context.Context, i int) error {
	d := o.plan.blobs[i].Descriptor
	var x extents
	for _, it := range o.plan.pieces(i) {
		x = append(x, extent{o.files[it.volume-1], it.at.Offset, it.at.Size})
	}
	s := o.spread(i, nil, func(n int64) { o.cfg.observe(d.Digest, n) })
	return o.pour(ctx, s, oci.VerifyReader(io.NewSectionReader(x, 0, x.size()), d.Digest, d.Size))
}

// spread returns what takes the bytes of a blob. A piece has a digest of its
// own only where the blob is cut.
func (o *output) spread(i int, files []*os.File, wrote func(int64)) *spread {
	s := &spread{pieces: o.plan.pieces(i), files: files, wrote: wrote}
	if len(s.pieces) > 1 {
		s.sum = sha256.New()
	}
	return s
}

// pour copies with a large buffer, until ctx is done.
func (o *output) pour(ctx context.Context, w io.Writer, r io.Reader) error {
	buf := o.buffers.Get().(*[]byte)
	defer o.buffers.Put(buf)
	_, err := io.CopyBuffer(struct{ io.Writer }{w}, live{ctx, r}, *buf)
	return err
}

// live is a reader that ends with its context.
type live struct {
	ctx context.Context
	r   io.Reader
}

func (l live) Read(p []byte) (int, error) {
	if err := l.ctx.Err(); err != nil {
		return 0, err
	}
	return l.r.Read(p)
}

// A spread writes a stream to the pieces of a blob and hashes each of them.
// Without files it only hashes.
type spread struct {
	pieces []*item
	files  []*os.File // of the volumes
	sum    hash.Hash  // of the piece that is being written; nil where the blob's own digest is enough
	n      int64      // of the first piece that are written
	wrote  func(int64)
	err    error // why something could not be written
}

func (s *spread) Write(p []byte) (n int, err error) {
	for n < len(p) {
		if len(s.pieces) == 0 {
			return n, oci.Errorf(oci.ErrMismatch, oci.CodeSizeInvalid, "there is more of it than its size")
		}
		it := s.pieces[0]
		part := p[n:min(int64(len(p)), int64(n)+it.at.Size-s.n)]
		if s.files != nil {
			if _, err := s.files[it.volume-1].WriteAt(part, it.at.Offset+s.n); err != nil {
				s.err = err
				return n, err
			}
		}
		n += len(part)
		s.n += int64(len(part))
		s.wrote(int64(len(part)))
		if s.sum != nil {
			s.sum.Write(part)
		}
		s.next()
	}
	return n, nil
}

// next goes on to the next piece where one is full.
func (s *spread) next() {
	it := s.pieces[0]
	if s.n < it.at.Size {
		return
	}
	if s.sum != nil {
		it.digest = oci.FromHash(noDigest, s.sum)
		s.sum.Reset()
	}
	s.pieces, s.n = s.pieces[1:], 0
}
