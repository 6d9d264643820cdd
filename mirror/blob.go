package mirror

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
)

// Blob opens a blob at the first place that answers. Its body goes on
// elsewhere where that place fails: it ends early only with an error, and never
// gives more than Size bytes. The bytes are not verified; the body is an
// [oci.Rejecter] for whoever does. From is the place that opened it.
//
// Reading fails with the error of the last attempt: after Attempts in a row
// without a byte, or where no place is left that has the blob. What was read
// until then is good to go on from, later.
func (m *Mirror) Blob(ctx context.Context, n ref.Name, d oci.Digest, off int64) (oci.Blob, error) {
	return m.openBlob(ctx, n, d, off, -1)
}

// BlobRange is Blob for the bytes from off to end. A place that cannot open a
// part is asked for all the rest, and left in the middle.
func (m *Mirror) BlobRange(ctx context.Context, n ref.Name, d oci.Digest, off, end int64) (oci.Blob, error) {
	return m.openBlob(ctx, n, d, off, end)
}

func (m *Mirror) openBlob(ctx context.Context, n ref.Name, d oci.Digest, off, end int64) (oci.Blob, error) {
	places, err := m.plan(OpBlob, n.WithDigest(d), false)
	if err != nil {
		return oci.Blob{}, err
	}
	b := &body{m: m, ref: n.WithDigest(d), places: m.trusted(d, places), all: places, size: -1, pos: off, end: end}
	b.out, b.tries, b.pause = make([]bool, len(b.places)), make([]int, len(b.places)), make([]time.Duration, len(b.places))
	b.ctx, b.cancel = context.WithCancelCause(ctx)
	q := question{m: m, op: OpBlob, ref: b.ref, places: b.places}
	i, cancel, err := q.put(b.ctx, b.open)
	if err != nil {
		b.cancel(err)
		return oci.Blob{}, err
	}
	b.begin(i, cancel)
	return oci.Blob{
		Descriptor: oci.Descriptor{MediaType: b.mediaType, Digest: d, Size: b.size},
		Body:       b, Offset: off, From: b.places[i].Label,
	}, nil
}

var (
	errClosed  = errors.New("the body is closed")
	errStalled = errors.New("the transfer stalled")
)

// A body is a blob that outlives the streams it is read from. One goroutine
// reads; Close may be called from another one.
type body struct {
	m      *Mirror
	ref    ref.Ref
	places []Place // those that may be asked, in order
	all    []Place // of the plan
	ctx    context.Context
	cancel context.CancelCauseFunc

	mu        sync.Mutex // held while reading; guards what follows
	size      int64      // of the whole blob; -1 unknown
	mediaType string     // as the first place called it
	pos       int64      // bytes given, counted from the start of the blob
	end       int64      // where the part that is read ends; -1: with the blob
	err       error      // the end of all reading; nil so far

	stream  io.ReadCloser // nil: to be opened
	current int           // the place that stream is from, or was
	used    []int         // every place that gave bytes
	stop    context.CancelCauseFunc
	idle    *time.Timer // ends the stream; runs while it is read

	out    []bool          // :: place → it cannot go on with this blob
	tries  []int           // :: place → attempts since the last progress
	pause  []time.Duration // :: place → how long it asked to be left alone
	failed int             // attempts in a row without progress
	last   error           // why the last one failed
}

// open opens the blob at a place, where the body stands. The caller holds the
// mutex, or has the body for itself.
func (b *body) open(ctx context.Context, p Place) error {
	got, err := b.ask(ctx, p)
	if err != nil {
		return err
	}
	switch {
	case got.Offset != b.pos:
		err = fmt.Errorf("the body starts at %d instead of %d", got.Offset, b.pos)
	case b.size >= 0 && got.Size >= 0 && got.Size != b.size:
		err = &sizeError{b.size, got.Size}
	case got.Size >= 0 && got.Size < b.pos:
		err = &sizeError{b.pos, got.Size}
	}
	if err != nil {
		got.Body.Close() // nothing was read
		return &oci.Error{Kind: oci.ErrMismatch, Message: "the upstream answers with other content", Err: err}
	}
	b.stream, b.size = got.Body, max(b.size, got.Size)
	if b.mediaType == "" {
		b.mediaType = got.MediaType
	}
	return nil
}

func (b *body) ask(ctx context.Context, p Place) (oci.Blob, error) {
	if part, ok := p.Reader.(oci.Ranger); ok && b.end >= 0 {
		return part.BlobRange(ctx, p.Name, b.ref.Digest, b.pos, b.end)
	}
	return p.Reader.Blob(ctx, p.Name, b.ref.Digest, b.pos)
}

// until returns where the body ends, -1 where that is not known.
func (b *body) until() int64 {
	if b.end >= 0 && (b.size < 0 || b.end < b.size) {
		return b.end
	}
	return b.size
}

// A sizeError says that two places have blobs of two sizes under one digest.
type sizeError struct{ want, got int64 }

func (e *sizeError) Error() string {
	return fmt.Sprintf("the blob has %d bytes here, and %d elsewhere", e.got, e.want)
}

// begin makes the stream that was opened at a place the current one.
func (b *body) begin(place int, cancel context.CancelCauseFunc) {
	b.current, b.stop = place, cancel
	b.tries[place]++
	b.idle = time.AfterFunc(b.m.cfg.Idle, func() { cancel(errStalled) })
	b.idle.Stop() // until it is read
}

// Read reads on, from wherever the blob can be had.
func (b *body) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for {
		switch {
		case b.err != nil:
			return 0, b.err
		case b.ctx.Err() != nil:
			return 0, b.finish(context.Cause(b.ctx))
		case b.pos == b.until():
			return 0, b.finish(io.EOF)
		case len(p) == 0:
			return 0, nil
		}
		if b.stream == nil {
			if err := b.reopen(); err != nil {
				return 0, b.finish(err)
			}
		}
		n, err := b.read(p)
		if n > 0 || err == nil {
			return n, nil
		}
		if err == io.EOF {
			return 0, b.finish(io.EOF)
		}
	}
}

// read reads once from the stream. Where that fails the stream is over; the
// error is io.EOF alone where the blob is over too.
func (b *body) read(p []byte) (int, error) {
	end := b.until()
	if end >= 0 {
		p = p[:min(int64(len(p)), end-b.pos)]
	}
	b.idle.Reset(b.m.cfg.Idle)
	n, err := b.stream.Read(p)
	stalled := !b.idle.Stop()
	if stalled && err == nil {
		err = errStalled // it fired just after the read: the stream's context has ended
	}
	if n > 0 {
		b.progress(int64(n))
	}
	switch {
	case err == nil || b.pos == end:
		return n, nil // the end is found by the next read
	case err == io.EOF && end < 0:
		return n, io.EOF
	case err == io.EOF:
		err = fmt.Errorf("the body ended %d bytes early: %w", end-b.pos, io.ErrUnexpectedEOF)
	}
	b.broke(err, stalled)
	return n, err
}

func (b *body) progress(n int64) {
	b.pos += n
	b.failed = 0
	clear(b.tries)
	if !slices.Contains(b.used, b.current) {
		b.used = append(b.used, b.current)
	}
}

// finish ends all reading.
func (b *body) finish(err error) error {
	if b.err == nil {
		b.err = err
	}
	b.drop(nil)
	return b.err
}

// drop ends the stream.
func (b *body) drop(cause error) {
	if b.stream == nil {
		return
	}
	b.idle.Stop()
	b.stream.Close() // what it read is counted; its end is no matter
	b.stop(cause)
	b.stream = nil
}

// Close ends the reading, also one that is under way.
func (b *body) Close() error {
	b.cancel(errClosed)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err == nil {
		b.err = errClosed
	}
	b.drop(errClosed)
	return nil
}
