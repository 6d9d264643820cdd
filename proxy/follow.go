package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/store"
)

// heard notes who answers.
func (f *fill) heard(from string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.from = from
}

// begin gives the readers the spool of a try.
func (f *fill) begin(t *try) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.spool, f.size, f.same, f.crew = t.spool, t.size, agreement{}, t.crew
	f.try++
	f.ready = 0
	f.grow(t.spool.Size())
	if !f.isOpen {
		f.isOpen = true
		close(f.opened)
	}
	f.wakeAll()
}

// advance tells the readers how much is written.
func (f *fill) advance(written int64, same agreement) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.same = same
	f.grow(written)
	f.wakeAll()
}

// grow sets how much of what is written may be had. The caller holds mu.
func (f *fill) grow(written int64) {
	if f.size >= 0 {
		f.ready = max(0, min(written, f.size-holdBack))
	} else {
		f.ready = max(0, written-holdBack)
	}
}

// release gives the readers everything: the digest is right. It is not on disk
// yet, and nobody waits for that.
func (f *fill) release(size int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.size, f.ready, f.verified = size, size, true
	f.wakeAll()
}

// wakeAll wakes those who wait for a change. The caller holds mu, and has made
// its change under it, so that nobody misses one.
func (f *fill) wakeAll() {
	if f.wake != nil {
		close(f.wake)
		f.wake = nil
	}
}

// change returns a channel that is closed at the next change. The caller holds
// mu.
func (f *fill) change() <-chan struct{} {
	if f.wake == nil {
		f.wake = make(chan struct{})
	}
	return f.wake
}

// settle waits for as long as there is something to gain before headers are
// sent: all of a small blob is held back, so nobody loses time when its headers
// wait for the digest too, and one that is wrong is answered with a clean error;
// and where a blob of unknown size turns out small, its size is known then.
func (f *fill) settle(ctx context.Context) error {
	for {
		f.mu.Lock()
		settled := f.verified || f.err != nil || f.ready > 0 || f.size > holdBack
		change := f.change()
		f.mu.Unlock()
		if settled {
			return nil
		}
		select {
		case <-change:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// how says how a request is answered that has started the fill, or joined it.
func (f *fill) how(joined bool) oci.Result {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case !joined:
		return oci.Miss
	case f.verified:
		return oci.Hit // all of it is here
	default:
		return oci.Coalesced
	}
}

// sizeNow returns the size that the upstream has said, -1 where it has not.
func (f *fill) sizeNow() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.size
}

// A follower reads a blob while it is being filled. It holds its fill's spool,
// and reads the file itself into the caller's buffer. Its context is that of
// the request.
type follower struct {
	f     *fill
	ctx   context.Context
	key   blobKey // the repository that asked
	size  int64   // -1 where it is not known
	spool *store.Spool
	try   int   // of the fill, whose spool it is
	pos   int64 // of the next byte
	given int64 // where the bytes end that were given from this try or the one before
	from  string
	rest  io.ReadCloser // the bytes from pos on, where the disk has failed; nil as long as it works
	close sync.Once

	queued *crew // that has no connection for it at the moment; nil for none. Guarded by the fill's mu
}

// A seeker is a follower of a blob whose size is known.
type seeker struct{ *follower }

var _ io.ReadSeekCloser = seeker{}

// reader returns the body for one request: the error of a fill that has failed,
// and errAgain where the store has to be asked (again).
func (f *fill) reader(ctx context.Context, k blobKey, claim, off int64) (*follower, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.err == errStored:
		return nil, errAgain
	case f.err != nil && !f.isOpen && f.key.repo != k.repo:
		return nil, errAgain // what the upstream says about another repository says nothing about ours
	case f.err != nil && !f.verified:
		return nil, f.err // of a disk that failed too: then the request goes around the cache
	case f.over:
		return nil, errAgain
	}
	r := &follower{f: f, ctx: ctx, key: k, size: f.size, spool: f.spool, try: f.try, pos: off, from: f.from}
	if r.size < 0 {
		r.size = claim
	}
	if claim >= 0 && claim != r.size {
		return nil, &oci.Error{Kind: oci.ErrMismatch,
			Message: fmt.Sprintf("upstream %s sends %d bytes for a blob of which the manifest says %d", k.name.Host, r.size, claim)}
	}
	f.spool.Hold()
	f.readers++
	return r, nil
}

// Read reads what is there, and waits where nothing is.
func (r *follower) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	n, err := r.await(len(p))
	if err == errStranded {
		return r.readRest(p)
	}
	if err != nil {
		return 0, err
	}
	return r.take(p[:n])
}

// await waits until there is something at the position, and returns how much of
// what is wanted.
func (r *follower) await(wanted int) (int, error) {
	for {
		n, change, err := r.look(wanted)
		if err != nil || n > 0 {
			return n, err
		}
		select {
		case <-change:
		case <-r.reach():
		case <-r.ctx.Done():
			return 0, context.Cause(r.ctx)
		}
	}
}

// take reads bytes that are there.
func (r *follower) take(p []byte) (int, error) {
	n, err := r.spool.File().ReadAt(p, r.pos)
	r.advance(n)
	if n > 0 {
		return n, nil
	}
	return 0, broken(fmt.Errorf("read spool: %w", err))
}

func (r *follower) advance(n int) {
	r.pos += int64(n)
	r.given = max(r.given, r.pos)
}

// look returns how many of the wanted bytes are there at the position; for none,
// what to wait for; and an error, io.EOF too, where none will ever be.
func (r *follower) look(wanted int) (n int, change <-chan struct{}, err error) {
	f := r.f
	f.mu.Lock()
	defer f.mu.Unlock()
	if r.size >= 0 && r.pos >= r.size {
		return 0, nil, io.EOF
	}
	if f.verified && r.size >= 0 && r.size != f.size {
		return 0, nil, errWrong // the upstream did not say a size, a manifest said another one
	}
	if err := r.follow(); err != nil {
		return 0, nil, err
	}
	ready := f.ready
	if r.size >= 0 && !f.verified {
		ready = min(ready, r.size-holdBack)
	}
	if r.try == f.try && r.pos >= ready && r.size >= 0 && f.size == r.size {
		ready = min(f.spool.Has(r.pos), f.size-holdBack) // a part of the blob that lies ahead
	}
	if r.try == f.try && r.pos < ready {
		return int(min(int64(wanted), ready-r.pos)), nil, nil
	}
	switch {
	case f.verified:
		return 0, nil, io.EOF
	case f.wreck != nil && f.err != nil && r.try == f.try:
		return 0, nil, errStranded
	case f.err != nil:
		return 0, nil, f.err
	}
	return 0, f.change(), nil
}

// errWrong ends a body whose beginning was given and turned out wrong.
var errWrong error = &oci.Error{Kind: oci.ErrMismatch, Message: "the upstream sent wrong content"}

// follow goes over to the spool of a later try, once it is certain that what
// was given is its beginning; it is errWrong once it is certain that it is not.
// The caller holds the fill's mu.
func (r *follower) follow() error {
	f := r.f
	switch {
	case r.try == f.try:
	case r.given == 0 || f.same.bytes >= r.given:
		f.spool.Hold()
		r.spool.Release()
		r.spool, r.try = f.spool, f.try
	case f.same.settled || f.verified:
		return errWrong
	}
	return nil
}

// Close ends the reading. The fill goes on.
func (r *follower) Close() error {
	r.close.Do(func() {
		r.leaveRest()
		r.spool.Release()
		r.f.left(r)
	})
	return nil
}

// left forgets a reader. The last one takes a fill's spool with it that is
// done: those who lag behind may have to go over to it until then.
func (f *fill) left(r *follower) {
	f.mu.Lock()
	defer f.mu.Unlock()
	r.unqueue()
	f.readers--
	f.drop()
}

// finish ends the fill.
func (f *fill) finish(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err, f.over = err, true
	if !f.isOpen {
		close(f.opened)
	}
	f.wakeAll()
	f.drop()
}

// drop gives up the spool where nobody needs it. The caller holds mu.
func (f *fill) drop() {
	if f.over && f.readers == 0 && f.spool != nil {
		f.spool.Release()
		f.spool = nil
	}
}

// Seek moves to another position; nothing is read or waited for.
func (s seeker) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += s.pos
	case io.SeekEnd:
		offset += s.size
	}
	if offset < 0 {
		return 0, errors.New("seek: the position is negative")
	}
	if offset != s.pos {
		s.leaveRest()
	}
	s.pos = offset
	return offset, nil
}

// body returns what a Blob of this reader has as its Body.
func (r *follower) body() io.ReadCloser {
	if r.size >= 0 {
		return seeker{r}
	}
	return r
}
