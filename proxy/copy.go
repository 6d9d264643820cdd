package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/entrepot/entrepot/oci"
)

// gather makes a crew for the try, where others may fetch parts of the blob, or
// have done so. A second try is compared with the first one, and so reads in
// order alone.
func (t *try) gather() {
	if t.size < 0 || t.before != nil || t.f.most < 2 && t.spool.Ahead() == 0 {
		return
	}
	c := &crew{f: t.f, spool: t.spool, size: t.size, begun: t.f.p.cfg.now(), start: t.spool.Size(),
		alive: func() { t.stall.Reset(maxStall) }}
	c.ctx, c.cancel = context.WithCancel(t.ctx)
	t.crew = c
}

// copy writes the body to the spool and lets the readers know.
func (t *try) copy() error {
	buffers := &t.f.p.fills.buffers
	buf := getBuffer(buffers)
	defer buffers.Put(buf)
	for {
		room, err := t.position(buf[:])
		if err != nil {
			return err
		}
		if t.spool.Size() == t.size {
			return nil
		}
		n, err := t.read(buf[:room])
		if n > 0 {
			if err := t.write(buf[:n]); err != nil {
				return err
			}
		}
		switch {
		case t.spool.Size() == t.size:
			return nil
		case err == io.EOF && n == room: // the end of a part
		case err == io.EOF:
			return t.short()
		case err != nil:
			return err
		}
	}
}

// position sees to it that the body stands where the spool ends, and returns
// how much of it may be read: as much as fits, but nothing that others have
// fetched or are fetching. What they have is taken in first.
func (t *try) position(buf []byte) (room int, err error) {
	if t.crew == nil {
		return len(buf), nil
	}
	t.judge()
	limit, err := t.jump(buf)
	if err != nil || t.spool.Size() == t.size {
		return 0, err
	}
	if t.bound == t.spool.Size() {
		t.leave() // what follows was somebody else's, who gave it up
	}
	if t.body == nil {
		if err := t.reopen(limit); err != nil {
			return 0, err
		}
	}
	if limit == t.size {
		return len(buf), nil // a body that is too long must be noticed
	}
	return int(min(int64(len(buf)), limit-t.spool.Size())), nil
}

// jump takes in what others have fetched, waits while they fetch what is next,
// and returns where the bytes end that they leave to us.
func (t *try) jump(buf []byte) (limit int64, err error) {
	f := t.f
	for {
		f.mu.Lock()
		at := t.spool.Size()
		limit := t.crew.limit(at)
		if limit > at || at == t.size {
			f.mu.Unlock()
			return limit, nil
		}
		change := f.change()
		f.mu.Unlock()
		t.leave()
		n, err := t.spool.TakeIn(buf)
		if err != nil {
			return 0, storageError{err}
		}
		if n > 0 {
			f.advance(t.spool.Size(), t.same)
			continue
		}
		select {
		case <-change:
		case <-t.ctx.Done():
			return 0, context.Cause(t.ctx)
		}
	}
}

// leave closes the body.
func (t *try) leave() {
	if t.body != nil {
		t.body.Close() // read as far as it was wanted
		t.body = nil
	}
}

// reopen opens the body where the spool ends, after what others have fetched. An
// upstream that does not answer with that range now has done so before: the
// bytes that are here are kept.
func (t *try) reopen(end int64) error {
	b, err := t.f.open(t.ctx, t.f.p.filling, t.spool.Size(), end)
	if err == nil && b.Size >= 0 && b.Size != t.size {
		b.Body.Close()
		err = fmt.Errorf("%w: the blob has %d bytes now, and had %d", oci.ErrMismatch, b.Size, t.size)
	}
	if errors.Is(err, oci.ErrMismatch) {
		return &oci.Error{Kind: oci.ErrUnavailable, Message: "the upstream does not continue a blob in its middle", Err: errors.New(err.Error())}
	}
	if err != nil {
		return err
	}
	t.body, t.bound = b.Body, end
	t.crew.note(b.Body)
	return nil
}

// judge decides, once so much has come that its speed says something, whether
// the rest comes by several connections.
func (t *try) judge() {
	c, cfg := t.crew, &t.f.p.cfg
	if t.judged || c.spool.Size()-c.start < cfg.probe {
		return
	}
	t.judged = true
	if c.size-c.spool.Size() >= cfg.huge && c.speed(cfg.now().Sub(c.begun)) < slowStream {
		c.spread()
	}
}

// read waits for fillLeast bytes, or for the rest of the blob.
func (t *try) read(b []byte) (n int, err error) {
	least := min(fillLeast, len(b))
	if t.size >= 0 {
		least = int(min(int64(least), t.size-t.spool.Size()))
	}
	return readSome(t.body, b, least, t.f.p.cfg.now)
}

// readSome waits for least bytes, but not longer than fillPatience once
// something has come. What came before an error is given with it.
func readSome(r io.Reader, b []byte, least int, now func() time.Time) (n int, err error) {
	var first time.Time // when something came that was not enough
	for {
		m, err := r.Read(b[n:])
		n += m
		if n >= least || err != nil {
			return n, err
		}
		if first.IsZero() {
			first = now()
		} else if now().Sub(first) >= fillPatience {
			return n, nil
		}
	}
}

// short returns an error where the body has ended before the blob.
func (t *try) short() error {
	if t.size >= 0 && t.spool.Size() < t.size {
		return &oci.Error{Kind: oci.ErrUnavailable, Err: io.ErrUnexpectedEOF}
	}
	return nil
}
