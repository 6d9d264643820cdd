package layout

import (
	"context"
	"fmt"
	"io"

	"github.com/entrepot/entrepot/oci"
)

// writeStream writes an archive in one go, blob after blob. What was given out
// cannot be taken back: a blob that turns out wrong ends the stream before the
// manifest of the set.
func writeStream(ctx context.Context, cfg ArchiveConfig, p *plan) (Written, error) {
	if len(p.bins) > 1 {
		return Written{}, oci.Errorf(oci.ErrInvalid, "", "a stream is one volume, and with at most %d bytes there would be %d", cfg.VolumeSize, len(p.bins))
	}
	s := &stream{cfg: cfg, plan: p, w: cfg.Stream, buf: make([]byte, 1<<20)}
	if err := s.write(ctx); err != nil {
		return Written{}, fmt.Errorf("write archive: %w", err)
	}
	return Written{Bytes: s.at, Read: s.read, Set: p.set}, nil
}

// A stream is an archive that is being written to a pipe.
type stream struct {
	cfg  ArchiveConfig
	plan *plan
	w    io.Writer
	at   int64 // bytes that are written
	read int64 // bytes of blobs
	buf  []byte
}

func (s *stream) write(ctx context.Context) error {
	b := s.plan.bins[0]
	head, err := b.first()
	if err != nil {
		return err
	}
	if err := s.bytes(head); err != nil {
		return err
	}
	for _, it := range b.items {
		if err := s.item(ctx, it); err != nil {
			return fmt.Errorf("%s: %w", it.name, err)
		}
	}
	if b.sums, err = b.sum(); err != nil {
		return err
	}
	if err := s.document(sumsFile, b.sums); err != nil {
		return err
	}
	raw, _, err := s.plan.seal()
	if err != nil {
		return err
	}
	if err := s.document(setFile, raw); err != nil {
		return err
	}
	return s.bytes(make([]byte, trailer))
}

func (s *stream) bytes(p []byte) error {
	n, err := s.w.Write(p)
	s.at += int64(n)
	return err
}

// pad fills the block up.
func (s *stream) pad() error { return s.bytes(make([]byte, padded(s.at)-s.at)) }

func (s *stream) document(name string, data []byte) error {
	header, err := tarHeader(name, int64(len(data)))
	if err != nil {
		return err
	}
	if err := s.bytes(append(header, data...)); err != nil {
		return err
	}
	return s.pad()
}

// item writes an entry: a document, or a blob as its source gives it.
func (s *stream) item(ctx context.Context, it *item) error {
	if it.data != nil {
		return s.document(it.name, it.data)
	}
	if err := s.bytes(it.header); err != nil {
		return err
	}
	b := s.plan.blobs[it.blob]
	body, err := b.Open(ctx, 0)
	if err != nil {
		return err
	}
	err = s.copy(ctx, b.Descriptor, body)
	if bad := body.Close(); err == nil {
		err = bad
	}
	if err != nil {
		return err
	}
	return s.pad()
}

// copy passes a blob on, and never more of it than there is room for.
func (s *stream) copy(ctx context.Context, d oci.Descriptor, r io.Reader) error {
	room := s.at + d.Size
	w := writerFunc(func(p []byte) (int, error) {
		if s.at+int64(len(p)) > room {
			return 0, oci.Errorf(oci.ErrMismatch, oci.CodeSizeInvalid, "there is more of it than its %d bytes", d.Size)
		}
		s.read += int64(len(p))
		s.cfg.observe(d.Digest, int64(len(p)))
		return len(p), s.bytes(p)
	})
	_, err := io.CopyBuffer(w, oci.VerifyReader(live{ctx, r}, d.Digest, d.Size), s.buf)
	return err
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }
