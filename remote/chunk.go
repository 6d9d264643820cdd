package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"

	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
)

// uploadSizes say in which pieces a blob is pushed, in bytes.
type uploadSizes struct {
	whole int64 // up to here it is one request, which starts again when it is interrupted
	first int64 // the first chunk of a larger one
	most  int64 // that chunks grow to: a slow link loses little to an interruption, a fast one little to round trips
	small int64 // a chunk for a registry that refuses larger ones, as ghcr.io does
}

// defaultSizes are those of decision 18.
var defaultSizes = uploadSizes{whole: 64 << 20, first: 16 << 20, most: 64 << 20, small: 4 << 20}

// maxSessions is how many uploads are started for one blob.
const maxSessions = 3

// A push is a blob that is pushed in chunks.
type push struct {
	e    *Endpoint
	name ref.Name
	blob oci.Descriptor
	open oci.Source
	how  oci.Push

	session  *session // nil: a new one is needed
	sessions int
	off      int64 // what the registry has confirmed
	chunk    int64 // the size of the next chunk
	most     int64 // that chunks grow to
	source   *stream
	last     error // why the last session was given up
	took     bool  // a chunk was taken
}

// errMounted ends a push that was none.
var errMounted = errors.New("the blob is mounted")

func (e *Endpoint) putChunks(ctx context.Context, n ref.Name, d oci.Descriptor, open oci.Source, how oci.Push) (mounted bool, err error) {
	p := &push{e: e, name: n, blob: d, open: open, how: how, chunk: e.sizes.first, most: e.sizes.most}
	defer p.drop()
	p.takeUp(ctx)
	err = p.run(ctx)
	switch {
	case err == errMounted:
		return true, nil
	case p.sessions == maxSessions && kindOf(err) == oci.ErrUnsupported && !p.took && ctx.Err() == nil:
		// It takes no chunks at all, as Google's Artifact Registry; then it is
		// one request after all.
		return e.putWhole(ctx, n, d, open, oci.Push{Verified: how.Verified})
	}
	return false, err
}

// takeUp goes on with a session of an earlier process, where the registry
// still has it.
func (p *push) takeUp(ctx context.Context) {
	u, err := url.Parse(p.how.Session)
	if err != nil || p.how.Session == "" {
		return
	}
	p.session = &session{name: p.name, location: u}
	has, err := p.status(ctx)
	if err != nil || has > p.blob.Size {
		p.session = nil
		return
	}
	p.off, p.sessions, p.chunk = has, 1, p.most
}

func (p *push) run(ctx context.Context) error {
	e := p.e
	retry := e.client.cfg.Retry
	failures, best := 0, int64(0)
	for {
		err := p.step(ctx)
		if err == io.EOF {
			return nil
		}
		if err == errMounted {
			return err
		}
		if err == nil {
			if p.off > best {
				failures, best = 0, p.off // progress earns new patience; sending the same again does not
			}
			continue
		}
		p.drop()
		failures++
		if failures >= retry.attempts() || !p.resumable(err) {
			return err
		}
		if !sleep(ctx, retry.delay(failures)) {
			return err
		}
		if stop := p.recover(ctx, err); stop != nil {
			return stop
		}
	}
}

// step does the next thing: start, send a chunk, or end. io.EOF means that the
// blob is there.
func (p *push) step(ctx context.Context) error {
	if p.session == nil {
		if p.sessions == maxSessions {
			return &oci.Error{Kind: oci.ErrUnsupported, Message: "the upstream does not take the blob in chunks", Err: p.last}
		}
		s, err := p.e.begin(ctx, p.name, p.blob.Digest, p.how.From)
		if err != nil {
			return err
		}
		if s == nil {
			return errMounted
		}
		p.session, p.off = s, 0
		p.sessions++
		p.chunk = max(p.chunk, s.min)
	}
	if p.off < p.blob.Size {
		return p.patch(ctx)
	}
	err := p.e.commit(ctx, p.session, p.blob.Digest, nil)
	if err == nil || p.e.client.cfg.Retry.again(err) && p.there(ctx) {
		return io.EOF
	}
	return err
}

// there reports whether the registry has the blob: the end may have arrived
// and only its answer been lost.
func (p *push) there(ctx context.Context) bool {
	_, err := p.e.headBlob(ctx, p.name, p.blob.Digest)
	return err == nil
}

// patch sends one chunk.
func (p *push) patch(ctx context.Context) error {
	n := min(p.chunk, p.blob.Size-p.off)
	x := p.e.upload(p.session, http.MethodPatch, p.session.location, &payload{size: n, open: func() (io.ReadCloser, error) {
		s, err := p.at(ctx, p.off)
		return io.NopCloser(io.LimitReader(s, n)), err
	}})
	x.header.Set("Content-Range", fmt.Sprintf("%d-%d", p.off, p.off+n-1))
	x.want = []int{http.StatusAccepted, http.StatusCreated, http.StatusNoContent}
	res, err := p.e.run(ctx, x)
	if err != nil {
		return err
	}
	defer discard(res)
	if err := p.e.advance(p.session, res); err != nil {
		return err
	}
	want := p.off + n
	if got := p.source.off.Load(); got != want {
		return mismatch("PATCH %s: the chunk was accepted after %d of %d bytes", redact(x.url), got-p.off, n)
	}
	// A registry may take less than it was sent. One that says that it has
	// less than before is believed to count wrong (aws/containers-roadmap#2831).
	if has, ok := parseProgress(res.Header.Get("Range")); ok && has > p.off && has < want {
		p.drop()
		want = has
	}
	p.off, p.took = want, true
	p.chunk = max(min(p.chunk*2, p.most), p.session.min)
	if p.how.Confirmed != nil {
		p.how.Confirmed(p.session.location.String(), p.off)
	}
	return nil
}

// resumable reports whether it is worth to go on after an error.
func (p *push) resumable(err error) bool {
	told, ok := errors.AsType[*oci.Error](err)
	return p.e.client.cfg.Retry.again(err) || statusOf(err) == http.StatusRequestedRangeNotSatisfiable ||
		ok && told.Kind == oci.ErrTooLarge && p.chunk > p.e.sizes.small
}

// recover finds out where to go on after an error: where the registry says
// that the session stands, or in a new one. An error ends the push.
func (p *push) recover(ctx context.Context, cause error) error {
	if p.session == nil {
		return nil
	}
	refused := statusOf(cause) == http.StatusRequestedRangeNotSatisfiable
	if errors.Is(cause, oci.ErrTooLarge) || refused && p.off == 0 {
		p.chunk, p.most = p.e.sizes.small, p.e.sizes.small
	}
	has, err := p.status(ctx)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil || has > p.blob.Size || refused && has == p.off {
		// It is gone, or takes nothing any more: distribution answers 416 for
		// ever after a chunk that was cut.
		p.e.cancel(ctx, p.session)
		p.session, p.last = nil, cause
		return nil
	}
	p.off = has
	return nil
}

// status asks how much of the upload the registry has.
func (p *push) status(ctx context.Context) (int64, error) {
	x := p.e.upload(p.session, http.MethodGet, p.session.location, nil)
	x.once, x.want = false, []int{http.StatusNoContent, http.StatusAccepted, http.StatusOK}
	res, err := p.e.run(ctx, x)
	if err != nil {
		return 0, err
	}
	defer discard(res)
	has, ok := parseProgress(res.Header.Get("Range"))
	if !ok {
		return 0, mismatch("GET %s: the status has no Range", redact(x.url))
	}
	return has, p.e.advance(p.session, res)
}

// parseProgress reads the Range of an upload, "0-99", as the number of bytes.
// "0-0" is what registries say of an empty one; that it may mean one byte
// costs a new session.
func parseProgress(s string) (int64, bool) {
	first, last, ok := strings.Cut(strings.TrimPrefix(s, "bytes="), "-")
	end, ok2 := parseCount(last)
	if !ok || !ok2 || first != "0" {
		return 0, false
	}
	if end == 0 {
		return 0, true
	}
	return end + 1, true
}

// statusOf returns the status that an error is about, 0 for none.
func statusOf(err error) int {
	if s, ok := errors.AsType[*StatusError](err); ok {
		return s.Code
	}
	return 0
}

// A stream is the source, opened somewhere and read from there on, chunk after
// chunk.
type stream struct {
	io.ReadCloser
	off atomic.Int64 // of the next byte; the transport reads in its own goroutine
}

func (s *stream) Read(p []byte) (int, error) {
	n, err := s.ReadCloser.Read(p)
	s.off.Add(int64(n))
	if err == io.EOF && n == 0 {
		err = io.ErrUnexpectedEOF // a chunk ends by its size, before the source does
	}
	return n, err
}

// at returns the source at an offset.
func (p *push) at(ctx context.Context, off int64) (*stream, error) {
	if p.source != nil && p.source.off.Load() == off {
		return p.source, nil
	}
	p.drop()
	rc, err := p.open(ctx, off)
	if err != nil {
		return nil, err
	}
	p.source = &stream{ReadCloser: rc}
	p.source.off.Store(off)
	return p.source, nil
}

// drop closes the source; the next chunk opens it again.
func (p *push) drop() {
	if p.source != nil {
		p.source.Close()
		p.source = nil
	}
}
