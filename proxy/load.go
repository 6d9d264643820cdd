package proxy

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/store"
)

// A try is one attempt to download a blob into a spool.
type try struct {
	f      *fill
	spool  *store.Spool
	before *store.Spool    // of the try before, whose content was wrong; nil for none
	ctx    context.Context // of the try
	body   io.ReadCloser   // where the spool ends; nil while others fetch what is next
	bound  int64           // where the body ends, if not with the blob; -1 with it
	source oci.Rejecter    // the body that was opened last, where it can be rejected
	size   int64           // in bytes, as the upstream says; -1 where it does not
	kept   int64           // bytes that an earlier fill left in the spool, in order
	left   bool            // an earlier fill left something
	crew   *crew           // nil: nothing is fetched but in order
	judged bool            // whether several connections are worth while
	begun  bool            // readers have been given the spool
	same   agreement
	stall  *time.Timer // cuts the try
}

// maxStall cuts a try that makes no progress. The upstream's reader has its own
// timeouts and goes on elsewhere long before that; this one only sees to it that
// no fill can block its digest for ever.
const maxStall = 10 * time.Minute

// load downloads the blob and verifies it; the spool that it returns is the
// fill's. Content that is wrong is tried once more where there is another place
// to have it from.
func (f *fill) load(ctx context.Context) (*store.Spool, error) {
	start := f.p.cfg.now()
	t := &try{f: f}
	again, err := t.run(ctx)
	if again {
		f.p.log.Warn("wrong content, asking elsewhere", "digest", f.key.digest, "repository", f.key.name.String(), "err", err)
		next := &try{f: f, before: t.spool}
		if _, second := next.run(ctx); next.begun {
			t.spool.Release()
			t, err = next, second
		}
	}
	if !t.begun {
		return nil, err
	}
	f.report(t, start, err)
	if mismatched(err) {
		f.p.negative.quarantine(f.key, err, f.p.cfg.now())
	}
	return t.spool, err
}

// run is one try. Once it has begun, the spool is the fill's, who releases it;
// that of the try before is the caller's again. Where the try fails, its spool
// has ended. Again says that the content was wrong and that another place may
// have it right.
func (t *try) run(ctx context.Context) (again bool, err error) {
	watched, cancel := context.WithCancel(ctx)
	defer cancel()
	t.stall = time.AfterFunc(maxStall, cancel)
	defer t.stall.Stop()
	answered := context.AfterFunc(t.f.p.asking, cancel) // Close waits for bodies, not for answers
	if err := t.open(watched); err != nil {
		return false, err
	}
	answered()
	defer t.leave()
	t.begun, t.ctx = true, watched
	t.gather()
	t.f.begin(t)
	err = t.copy()
	if t.crew != nil {
		t.f.read += t.crew.stop()
	}
	if err == nil {
		if err = t.spool.Verify(); err == nil {
			t.f.release(t.spool.Size())
			return false, nil
		}
	}
	return t.fail(ctx, err)
}

// fail ends the spool of a try that has begun as its error demands, and makes
// the error fit for clients.
func (t *try) fail(ctx context.Context, err error) (again bool, shown error) {
	n := t.f.key.name
	switch {
	case mismatched(err):
		t.end("discard partial blob", t.spool.Discard)
		return t.reject(), fault(n, oci.CodeBlobUnknown, err)
	case ctx.Err() != nil:
		t.end("keep partial blob", t.spool.Keep)
		return false, errClosed()
	case isStorage(err):
		t.f.p.storeError("write blob", n, err)
		t.f.strand(t.spool)
		t.end("discard partial blob", t.spool.Discard)
		return false, unstored(err)
	default:
		t.end("keep partial blob", t.spool.Keep)
		return false, fault(n, oci.CodeBlobUnknown, err)
	}
}

// open makes the spool and opens the upstream's body where the spool ends.
func (t *try) open(ctx context.Context) error {
	f := t.f
	for range 2 {
		spool, err := f.p.spool(ctx, f.key, f.claim)
		if err != nil {
			return err
		}
		t.spool = spool
		if err := t.takeUp(); err != nil {
			return err
		}
		if t.kept > 0 && spool.Verify() == nil {
			return t.complete(ctx)
		}
		err = t.ask(ctx, spool.Next(t.kept))
		if err == nil && t.fits() {
			return nil
		}
		if err == nil && !t.left {
			return t.resize()
		}
		if err != nil && (!t.left || !mismatched(err)) {
			t.end("keep partial blob", spool.Keep)
			spool.Release()
			return err
		}
		// What an earlier fill left is not a beginning of this blob.
		if err == nil {
			t.body.Close()
		}
		t.end("discard partial blob", spool.Discard)
		spool.Release()
	}
	return fault(f.key.name, "", fmt.Errorf("%w: no offset of %s fits", oci.ErrMismatch, f.key.digest))
}

// complete stores a partial that had all bytes when its fill was cut. Nobody
// was asked, so nobody's right is proved: whoever waits looks into the store.
func (t *try) complete(ctx context.Context) error {
	defer t.spool.Release()
	if err := t.spool.Commit(ctx); err != nil {
		t.f.p.storeError("store blob", t.f.key.name, err)
		return unstored(err)
	}
	return errStored
}

// takeUp finds out what an earlier fill left in the spool. Where that cannot be
// read, the spool is given up.
func (t *try) takeUp() error {
	t.left = t.spool.Size()+t.spool.Ahead() > 0
	buf := getBuffer(&t.f.p.fills.buffers)
	defer t.f.p.fills.buffers.Put(buf)
	for n := 1; n > 0; {
		var err error
		if n, err = t.spool.TakeIn(buf[:]); err != nil {
			t.f.p.storeError("read partial blob", t.f.key.name, err)
			t.end("discard partial blob", t.spool.Discard)
			t.spool.Release()
			return unstored(err)
		}
	}
	t.kept = t.spool.Size()
	return nil
}

// ask opens the upstream's body where the spool ends, up to end; -1 is the end
// of the blob.
func (t *try) ask(ctx context.Context, end int64) error {
	b, err := t.f.open(ctx, t.f.p.filling, t.kept, end)
	t.f.p.negative.note(t.f.key.negative(), err, missingBlob, t.f.p.cfg.now())
	if err != nil {
		return err
	}
	t.body, t.bound, t.size = b.Body, end, b.Size
	t.source, _ = b.Body.(oci.Rejecter)
	if t.size < 0 && t.spool.Ahead() > 0 {
		t.size = t.spool.Want() // otherwise nothing would lie ahead
	}
	t.f.heard(b.From)
	return nil
}

// open asks the upstream for the blob from off to end; -1 is the end of the
// blob. An upstream that opens no parts gives all the rest. Where life has
// ended, a failure says nothing about the upstream.
func (f *fill) open(ctx, life context.Context, off, end int64) (b oci.Blob, err error) {
	p, k := f.p, f.key
	err = p.ask(life, k.lane(true), k.name, oci.CodeBlobUnknown, func() (err error) {
		ctx := oci.WithVia(oci.WithCause(oci.WithLogin(oci.WithOutcome(ctx, new(oci.Outcome)), f.login), f.cause), f.via)
		if parts, ok := p.up.(oci.Ranger); ok && end >= 0 {
			b, err = parts.BlobRange(ctx, k.name, k.digest, off, end)
		} else {
			b, err = p.up.Blob(ctx, k.name, k.digest, off)
		}
		if err == nil && b.Offset != off {
			b.Body.Close()
			err = fmt.Errorf("%w: the body starts at %d, not %d", oci.ErrMismatch, b.Offset, off)
		}
		return err
	})
	p.admit(k.repo, err)
	return b, err
}

// fits reports whether the spool expects the size that the upstream says.
func (t *try) fits() bool {
	return t.spool.Want() == t.size || t.kept > 0 && (t.size < 0 || t.spool.Want() < 0 && t.kept <= t.size)
}

// resize exchanges an empty spool, made for the size that a manifest claims,
// for one of the size that the upstream says. Which of them is right the
// digest will tell.
func (t *try) resize() error {
	t.end("discard partial blob", t.spool.Discard)
	t.spool.Release()
	spool, err := t.f.p.spool(t.f.p.filling, t.f.key, t.size)
	if err != nil {
		t.body.Close()
		return err
	}
	t.spool = spool
	return nil
}

func (t *try) write(b []byte) error {
	if t.size >= 0 && t.spool.Size()+int64(len(b)) > t.size {
		return fmt.Errorf("%w: more than the %d bytes that were said", oci.ErrMismatch, t.size)
	}
	n, err := t.spool.Write(b)
	if full(err) && t.f.p.cache.MakeRoom(t.f.p.filling, max(t.size-t.spool.Size(), 0)+roomToSpare) == nil {
		var m int
		m, err = t.spool.Write(b[n:])
		n += m
	}
	t.f.read += int64(n)
	t.stall.Reset(maxStall)
	if err != nil && !mismatched(err) {
		err = storageError{err}
	}
	if err != nil {
		return err
	}
	t.compare(b)
	t.f.advance(t.spool.Size(), t.same)
	return nil
}

// compare finds out whether what was just written agrees with the try before.
func (t *try) compare(written []byte) {
	if t.before == nil || t.same.settled {
		return
	}
	old := getBuffer(&t.f.p.fills.buffers)
	defer t.f.p.fills.buffers.Put(old)
	start := t.same.bytes
	there := min(t.before.Size()-start, int64(len(written)))
	n, _ := t.before.File().ReadAt(old[:there], start) // what cannot be read does not agree
	same := common(old[:n], written)
	t.same = agreement{start + int64(same), same < len(written)}
}

// common returns the length of the longest common beginning.
func common(a, b []byte) int {
	n := min(len(a), len(b))
	if bytes.Equal(a[:n], b[:n]) {
		return n
	}
	for i := range n {
		if a[i] != b[i] {
			return i
		}
	}
	return n
}

func getBuffer(pool *sync.Pool) *[fillBuffer]byte {
	if b, ok := pool.Get().(*[fillBuffer]byte); ok {
		return b
	}
	return new([fillBuffer]byte)
}

// reject tells the upstream that its bytes were wrong, and reports whether it
// is worth asking again: because it knows another place, or because some of the
// bytes were left by an earlier fill.
func (t *try) reject() bool {
	t.f.p.observe(Event{Kind: EventMismatch, Upstream: t.f.key.name.Host, Op: OpBlob})
	elsewhere := t.source != nil && t.source.Reject()
	if t.crew != nil {
		for _, r := range t.crew.rejecter {
			elsewhere = r.Reject() || elsewhere
		}
	}
	return t.before == nil && (elsewhere || t.left)
}

// end ends the spool in one way or another. An error there changes nothing for
// the readers.
func (t *try) end(doing string, how func() error) {
	if err := how(); err != nil {
		t.f.p.storeError(doing, t.f.key.name, err)
	}
}

// report tells of a fill that has got an answer.
func (f *fill) report(t *try, start time.Time, err error) {
	e := Event{Kind: EventFill, Upstream: f.key.name.Host, Op: OpBlob, Bytes: f.read, Kept: t.kept,
		Duration: f.p.cfg.now().Sub(start), Ahead: f.ahead, Err: err}
	f.p.observe(e)
	args := []any{"digest", f.key.digest, "repository", f.key.name.String(), "bytes", e.Bytes, "kept", e.Kept, "dur", e.Duration}
	if err != nil {
		f.p.log.Warn("fill failed", append(args, "err", err)...)
		return
	}
	f.p.log.Debug("fill complete", args...)
}

// A storageError is one of our own disk, not of the upstream.
type storageError struct{ error }

func (e storageError) Unwrap() error { return e.error }
