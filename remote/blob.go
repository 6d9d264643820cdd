package remote

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
)

// defaultMaxSkip is how many bytes are read and dropped to get to an offset
// that the registry does not honour (spec/reliability.md, 1).
const defaultMaxSkip = 64 << 20

func (e *Endpoint) blobRequest(method string, n ref.Name, d oci.Digest) exchange {
	return exchange{
		kind: KindBlob, method: method, name: n, scopes: []string{e.scope(n, "pull")},
		url:    e.url(n, "blobs/"+string(d), e.reading()),
		header: make(http.Header),
		want:   []int{http.StatusOK},
	}
}

// Stat asks with a HEAD, and where that is refused or does not tell the size
// for the first byte (spec/serve.md, C9).
func (e *Endpoint) Stat(ctx context.Context, n ref.Name, d oci.Digest) (oci.Descriptor, error) {
	got, err := e.headBlob(ctx, n, d)
	if (err == nil && got.Size < 0) || e.worthGet(err) {
		return e.statByRange(ctx, n, d)
	}
	return got, err
}

// headBlob asks with a HEAD and believes what it hears. The size is -1 where
// nothing is said about it.
func (e *Endpoint) headBlob(ctx context.Context, n ref.Name, d oci.Digest) (oci.Descriptor, error) {
	if err := checkDigest(n, d); err != nil {
		return oci.Descriptor{}, err
	}
	res, err := e.run(ctx, e.blobRequest(http.MethodHead, n, d))
	if err != nil {
		return oci.Descriptor{}, err
	}
	defer res.Body.Close()
	if err := checkBlobAnswer(res, d); err != nil {
		return oci.Descriptor{}, err
	}
	return oci.Descriptor{Digest: d, Size: res.ContentLength}, nil
}

func (e *Endpoint) statByRange(ctx context.Context, n ref.Name, d oci.Digest) (oci.Descriptor, error) {
	x := e.blobRequest(http.MethodGet, n, d)
	x.header.Set("Range", "bytes=0-0")
	x.want = append(x.want, http.StatusPartialContent, http.StatusRequestedRangeNotSatisfiable)
	res, err := e.run(ctx, x)
	if err != nil {
		return oci.Descriptor{}, err
	}
	defer res.Body.Close() // a 200 brings the whole blob, which nobody wants
	if err := checkBlobAnswer(res, d); err != nil {
		return oci.Descriptor{}, err
	}
	size := res.ContentLength
	if res.StatusCode != http.StatusOK {
		cr, err := parseContentRange(res.Header.Get("Content-Range"))
		if err != nil || cr.total < 0 || (res.StatusCode == http.StatusRequestedRangeNotSatisfiable && cr.total != 0) {
			return oci.Descriptor{}, badRange(res, 0)
		}
		size = cr.total
	}
	if size < 0 {
		return oci.Descriptor{}, &oci.Error{Kind: oci.ErrUnsupported, Message: "the upstream does not say how large the blob is"}
	}
	return oci.Descriptor{Digest: d, Size: size}, nil
}

// Blob opens one stream from off to the end of the blob. Bytes are not
// verified; where they break off, reading fails, and the caller may open again
// where it stands. A registry that does not honour the offset is read up to
// there, within MaxSkip; beyond, the error is ErrUnsupported.
func (e *Endpoint) Blob(ctx context.Context, n ref.Name, d oci.Digest, off int64) (oci.Blob, error) {
	return e.openBlob(ctx, n, d, off, toEnd)
}

// BlobRange is Blob for a part. A registry that does not honour ranges is
// ErrUnsupported, unless the part starts at the beginning.
func (e *Endpoint) BlobRange(ctx context.Context, n ref.Name, d oci.Digest, off, end int64) (oci.Blob, error) {
	if end <= off {
		return oci.Blob{}, oci.Errorf(oci.ErrInvalid, "", "the range from %d to %d is empty", off, end)
	}
	b, err := e.openBlob(ctx, n, d, off, end)
	b.Body = limitBody(b.Body, end-off)
	return b, err
}

// limitBody ends a body after n bytes: a registry that does not honour ranges
// sends more.
func limitBody(rc io.ReadCloser, n int64) io.ReadCloser {
	if rc == nil {
		return nil
	}
	return struct {
		io.Reader
		io.Closer
	}{io.LimitReader(rc, n), rc}
}

// toEnd is the end of a range that has none.
const toEnd = -1

func (e *Endpoint) openBlob(ctx context.Context, n ref.Name, d oci.Digest, off, end int64) (oci.Blob, error) {
	if err := checkDigest(n, d); err != nil {
		return oci.Blob{}, err
	}
	if off < 0 {
		return oci.Blob{}, oci.Errorf(oci.ErrInvalid, "", "the offset %d is negative", off)
	}
	x := e.blobRequest(http.MethodGet, n, d)
	if off > 0 || end != toEnd {
		span := "bytes=" + strconv.FormatInt(off, 10) + "-"
		if end != toEnd {
			span += strconv.FormatInt(end-1, 10)
		}
		x.header.Set("Range", span)
		if etag := e.etags.get(d); etag != "" {
			x.header.Set("If-Range", etag)
		}
		x.want = append(x.want, http.StatusPartialContent, http.StatusRequestedRangeNotSatisfiable)
	}
	res, err := e.run(ctx, x)
	if err != nil {
		return oci.Blob{}, err
	}
	size, err := e.position(res, d, off, end)
	if err != nil {
		res.Body.Close()
		return oci.Blob{}, err
	}
	e.etags.put(d, res.Header.Get("ETag"))
	return oci.Blob{Descriptor: oci.Descriptor{Digest: d, Size: size}, Body: res.Body, Offset: off, From: e.cfg.Label}, nil
}

// position checks that the body starts at off, or reads up to there. It
// returns the size of the whole blob, -1 where nobody said.
func (e *Endpoint) position(res *http.Response, d oci.Digest, off, end int64) (int64, error) {
	if err := checkBlobAnswer(res, d); err != nil {
		return 0, err
	}
	switch res.StatusCode {
	case http.StatusPartialContent:
		cr, err := parseContentRange(res.Header.Get("Content-Range"))
		if err != nil || cr.first != off || !cr.endsAt(end) ||
			(res.ContentLength >= 0 && res.ContentLength != cr.last-cr.first+1) {
			return 0, badRange(res, off)
		}
		return cr.total, nil
	case http.StatusRequestedRangeNotSatisfiable:
		cr, err := parseContentRange(res.Header.Get("Content-Range"))
		if err != nil || cr.total != off {
			return 0, badRange(res, off)
		}
		res.Body.Close()
		res.Body = http.NoBody // the offset is the end
		return cr.total, nil
	}
	if off == 0 {
		return res.ContentLength, nil
	}
	return res.ContentLength, e.skip(res, off)
}

// skip reads the first off bytes of a body and drops them.
func (e *Endpoint) skip(res *http.Response, off int64) error {
	if res.ContentLength >= 0 && res.ContentLength < off {
		return badRange(res, off)
	}
	if limit := cmp.Or(e.cfg.MaxSkip, defaultMaxSkip); off > limit {
		return &oci.Error{
			Kind: oci.ErrUnsupported, Message: "the upstream cannot continue a blob in its middle",
			Err: fmt.Errorf("GET %s: status 200 for a range from %d, and no more than %d bytes are skipped", redact(res.Request.URL), off, limit),
		}
	}
	n, err := io.CopyN(io.Discard, res.Body, off)
	if err == io.EOF {
		return mismatch("GET %s: the body ends at %d, before the offset %d", redact(res.Request.URL), n, off)
	}
	return err
}

// checkBlobAnswer refuses what is plainly no blob: a page that a portal puts
// in between. A registry may well serve a blob as text/html, but then it says
// which one it is.
func checkBlobAnswer(res *http.Response, d oci.Digest) error {
	if mediaTypeOf(res.Header) == "text/html" && res.Header.Get("Docker-Content-Digest") != string(d) {
		return mismatch("%s %s: the answer is a page of HTML", res.Request.Method, redact(res.Request.URL))
	}
	return nil
}

func badRange(res *http.Response, off int64) error {
	return &oci.Error{
		Kind: oci.ErrMismatch, Message: "the upstream sent another range than it was asked for",
		Err: fmt.Errorf("GET %s: bytes from %d were asked for, the answer is %d with Content-Range %q and %d bytes",
			redact(res.Request.URL), off, res.StatusCode, excerpt(res.Header.Get("Content-Range"), maxExcerpt, nil), res.ContentLength),
	}
}

// A contentRange is what a Content-Range header says, in bytes.
type contentRange struct {
	first, last int64 // -1 where the range could not be satisfied
	total       int64 // -1 where it is not known
}

// endsAt reports whether the range goes to end, or to the end of the content.
func (r contentRange) endsAt(end int64) bool {
	return r.last == end-1 || r.last == r.total-1 || end == toEnd && r.total < 0
}

// parseContentRange reads "bytes 5-9/10", "bytes 5-9/*" and "bytes */10" (RFC
// 9110, 14.4).
func parseContentRange(s string) (contentRange, error) {
	bad := errors.New("malformed Content-Range")
	unit, rest, ok := strings.Cut(s, " ")
	if !ok || !strings.EqualFold(unit, "bytes") {
		return contentRange{}, bad
	}
	span, size, ok := strings.Cut(rest, "/")
	if !ok {
		return contentRange{}, bad
	}
	r := contentRange{first: -1, last: -1, total: -1}
	if size != "*" {
		if r.total, ok = parseCount(size); !ok {
			return contentRange{}, bad
		}
	}
	if span == "*" {
		if r.total < 0 {
			return contentRange{}, bad
		}
		return r, nil
	}
	first, last, ok := strings.Cut(span, "-")
	if !ok {
		return contentRange{}, bad
	}
	var ok1, ok2 bool
	r.first, ok1 = parseCount(first)
	r.last, ok2 = parseCount(last)
	if !ok1 || !ok2 || r.last < r.first || (r.total >= 0 && r.last >= r.total) {
		return contentRange{}, bad
	}
	return r, nil
}

// parseCount reads decimal digits and nothing else.
func parseCount(s string) (int64, bool) {
	n, err := strconv.ParseUint(s, 10, 63)
	return int64(n), err == nil
}

// etags remembers the strong validators of blobs that were opened lately, for
// If-Range.
type etags struct {
	mu sync.Mutex            // guards m
	m  map[oci.Digest]string // :: digest → ETag
}

// maxEtags bounds etags. Blobs that are being read are what matters; those
// are few.
const maxEtags = 512

func (t *etags) get(d oci.Digest) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.m[d]
}

// put remembers a validator; one that is weak or malformed makes the blob have
// none.
func (t *etags) put(d oci.Digest, etag string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(etag) < 2 || len(etag) > 256 || etag[0] != '"' || etag[len(etag)-1] != '"' {
		delete(t.m, d)
		return
	}
	if t.m == nil || len(t.m) >= maxEtags {
		t.m = make(map[oci.Digest]string) // forgetting costs no more than a header
	}
	t.m[d] = etag
}
