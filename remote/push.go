package remote

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"

	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
)

var (
	_ oci.Writer  = (*Endpoint)(nil)
	_ oci.Pusher  = (*Endpoint)(nil)
	_ oci.Mounter = (*Endpoint)(nil)
)

// PutBlob pushes a blob: up to 64 MiB in one request, above that in chunks
// that are resumed. Its size must be known. Where the source fails, the error
// is the source's; where its content is not that of the digest, ErrMismatch.
func (e *Endpoint) PutBlob(ctx context.Context, n ref.Name, d oci.Descriptor, open oci.Source) error {
	if err := checkPush(n, d); err != nil {
		return err
	}
	if !e.cfg.AssumeAbsent {
		switch _, err := e.headBlob(ctx, n, d.Digest); kindOf(err) {
		case nil:
			return err
		case oci.ErrNotFound, oci.ErrUnsupported:
		default:
			return err
		}
	}
	_, err := e.PushBlob(ctx, n, d, open, oci.Push{})
	return err
}

func checkPush(n ref.Name, d oci.Descriptor) error {
	if d.Size < 0 {
		return oci.Errorf(oci.ErrInvalid, oci.CodeSizeInvalid, "the size of %s is not known", d.Digest)
	}
	return checkDigest(n, d.Digest)
}

// PushBlob pushes a blob without a HEAD: two requests for up to 64 MiB, one
// where it is mounted.
func (e *Endpoint) PushBlob(ctx context.Context, n ref.Name, d oci.Descriptor, open oci.Source, p oci.Push) (mounted bool, err error) {
	if err := checkPush(n, d); err != nil {
		return false, err
	}
	free, err := e.client.limits.enter(ctx, limitKey{hostPort(e.base), KindUpload})
	if err != nil {
		return false, err
	}
	defer free()
	if d.Size > e.sizes.whole {
		return e.putChunks(ctx, n, d, open, p)
	}
	retry := e.client.cfg.Retry
	for failures := 1; ; failures++ {
		mounted, err := e.putWhole(ctx, n, d, open, p)
		if err == nil || failures >= retry.attempts() || !retry.again(err) || !sleep(ctx, retry.delay(failures)) {
			return mounted, err
		}
	}
}

// again is helps for what starts a new upload.
func (r Retry) again(err error) bool {
	told, ok := errors.AsType[*oci.Error](err)
	return r.helps(err) || ok && told.Code == oci.CodeBlobUploadUnknown
}

// putWhole pushes a blob with a POST and a PUT, or mounts it with the POST.
func (e *Endpoint) putWhole(ctx context.Context, n ref.Name, d oci.Descriptor, open oci.Source, p oci.Push) (mounted bool, err error) {
	s, err := e.begin(ctx, n, d.Digest, p.From)
	if err != nil || s == nil {
		return err == nil, err
	}
	var sent *checked
	body := &payload{size: d.Size, open: func() (io.ReadCloser, error) {
		rc, err := open(ctx, 0)
		if p.Verified {
			return rc, err
		}
		sent = &checked{ReadCloser: rc, v: oci.NewVerifier(d.Digest, d.Size)}
		return sent, err
	}}
	err = e.commit(ctx, s, d.Digest, body)
	if sent != nil {
		if bad := sent.verdict(); bad != nil {
			return false, bad // the source is wrong, whatever the registry makes of it
		}
	}
	return false, err
}

// checked verifies what is read. The transport may still be reading when its
// request is over, hence the lock.
type checked struct {
	io.ReadCloser

	mu  sync.Mutex // guards what follows
	v   *oci.Verifier
	end bool // all of it was read
}

func (c *checked) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.v.Write(p[:n])
	c.end = c.end || err == io.EOF
	return n, err
}

// verdict returns ErrMismatch where all was read and is not the content.
func (c *checked) verdict() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.end {
		return nil
	}
	return c.v.Err()
}

// A session is an upload that is under way at the registry.
type session struct {
	name     ref.Name
	location *url.URL
	min      int64 // bytes; the smallest chunk that the registry takes, 0 where it does not say
}

func (e *Endpoint) pushScopes(n ref.Name) []string { return []string{e.scope(n, "pull,push")} }

// newSession starts an upload.
func (e *Endpoint) newSession(ctx context.Context, n ref.Name, d oci.Digest) (*session, error) {
	q := make(url.Values)
	if alg := d.Algorithm(); alg != oci.Algorithm("") {
		q.Set("digest-algorithm", alg.String())
	}
	s := &session{name: n}
	res, err := e.run(ctx, exchange{
		kind: KindUpload, method: http.MethodPost, name: n, scopes: e.pushScopes(n),
		url: e.url(n, "blobs/uploads/", q), want: []int{http.StatusAccepted},
	})
	if err != nil {
		return nil, err
	}
	defer discard(res)
	if err := e.advance(s, res); err != nil {
		return nil, err
	}
	s.min, _ = parseCount(res.Header.Get("OCI-Chunk-Min-Length"))
	return s, nil
}

// advance takes the place of the next request from an answer. It may be on
// another origin; credentials then stay here (CVE-2026-50151).
func (e *Endpoint) advance(s *session, res *http.Response) error {
	location := res.Header.Get("Location")
	if location == "" && s.location != nil {
		return nil
	}
	u, err := resolve(res.Request.URL, location, e.plain())
	if err != nil {
		return mismatch("%s %s: read the Location: %w", res.Request.Method, redact(res.Request.URL), err)
	}
	s.location = u
	return nil
}

// commit ends an upload with what is left of it, body, nil for nothing.
func (e *Endpoint) commit(ctx context.Context, s *session, d oci.Digest, body *payload) error {
	u := *s.location
	if u.RawQuery != "" {
		u.RawQuery += "&" // kept byte for byte: it may be signed
	}
	u.RawQuery += "digest=" + url.QueryEscape(string(d))
	x := e.upload(s, http.MethodPut, &u, cmp.Or(body, &payload{}))
	x.want = []int{http.StatusCreated, http.StatusNoContent}
	res, err := e.run(ctx, x)
	if err != nil {
		return err
	}
	defer discard(res)
	return checkStored(res, d)
}

// upload is a request within a session. It is not repeated by itself: what it
// did is not known.
func (e *Endpoint) upload(s *session, method string, u *url.URL, body *payload) exchange {
	x := exchange{kind: KindUpload, method: method, name: s.name, scopes: e.pushScopes(s.name), url: u, body: body, once: true}
	if body != nil {
		x.header = http.Header{"Content-Type": {"application/octet-stream"}}
	}
	return x
}

// checkStored compares what a registry says it stored with what was sent.
func checkStored(res *http.Response, d oci.Digest) error {
	got := res.Header.Get("Docker-Content-Digest")
	if got == "" || got == string(d) {
		return nil
	}
	return &oci.Error{
		Kind: oci.ErrMismatch, Code: oci.CodeDigestInvalid, Message: "the upstream stored other content than it was sent",
		Err: fmt.Errorf("%s %s: %q, not %s", res.Request.Method, redact(res.Request.URL), excerpt(got, maxExcerpt, nil), d),
	}
}

// maxTagParams is how many tags one request for a manifest carries; registries
// should take ten (distribution-spec, end-7b).
const maxTagParams = 10

// PutManifest puts the manifest by its digest, with the tags as parameters for
// a registry that knows these, and then by each tag that the registry did not
// confirm.
func (e *Endpoint) PutManifest(ctx context.Context, n ref.Name, m oci.Manifest, tags ...string) error {
	if err := checkDigest(n, m.Digest); err != nil {
		return err
	}
	for _, tag := range tags {
		if err := checkRef(n.WithTag(tag)); err != nil {
			return err
		}
	}
	q := url.Values{}
	if len(tags) > 0 {
		q["tag"] = tags[:min(len(tags), maxTagParams)]
	}
	done, _, err := e.putManifest(ctx, n, m, string(m.Digest), q)
	if err != nil {
		return err
	}
	for _, tag := range tags {
		if done[tag] {
			continue
		}
		if oci.Algorithm(m.Digest) != oci.Algorithm("") {
			// Put by a bare tag, it would get a digest of sha256.
			return oci.Errorf(oci.ErrUnsupported, oci.CodeUnsupported, "the upstream cannot tag a manifest of digest algorithm %s", m.Digest.Algorithm())
		}
		if _, _, err := e.putManifest(ctx, n, m, tag, nil); err != nil {
			return fmt.Errorf("tag %s: %w", tag, err)
		}
	}
	return nil
}

// PushManifest puts the manifest by the tag, or where there is none by its
// digest: one request.
func (e *Endpoint) PushManifest(ctx context.Context, n ref.Name, m oci.Manifest, tag string) (listed bool, err error) {
	if tag != "" && oci.Algorithm(m.Digest) != oci.Algorithm("") {
		return false, e.PutManifest(ctx, n, m, tag) // by the tag alone it would get another digest
	}
	r := n.WithDigest(m.Digest)
	if tag != "" {
		r = n.WithTag(tag)
	}
	if err := checkRef(r); err != nil {
		return false, err
	}
	_, listed, err = e.putManifest(ctx, n, m, r.Identifier(), nil)
	return listed, err
}

// putManifest returns the tags that the registry says it set, and whether it
// lists the manifest as a referrer.
func (e *Endpoint) putManifest(ctx context.Context, n ref.Name, m oci.Manifest, as string, q url.Values) (done map[string]bool, listed bool, err error) {
	res, err := e.run(ctx, exchange{
		kind: KindManifest, method: http.MethodPut, name: n, scopes: e.pushScopes(n),
		url: e.url(n, "manifests/"+as, q), header: http.Header{"Content-Type": {m.MediaType}},
		body: &payload{size: int64(len(m.Raw)), open: func() (io.ReadCloser, error) {
			return io.NopCloser(bytes.NewReader(m.Raw)), nil
		}},
		want: []int{http.StatusCreated, http.StatusOK, http.StatusAccepted},
	})
	if err != nil {
		return nil, false, err
	}
	defer discard(res)
	done = make(map[string]bool)
	for _, value := range res.Header.Values("OCI-Tag") {
		for tag := range strings.SplitSeq(value, ",") {
			done[strings.TrimSpace(tag)] = true
		}
	}
	return done, res.Header.Get("OCI-Subject") != "", checkStored(res, m.Digest)
}

// begin starts an upload; from a repository with a path it asks for a mount
// first. A nil session says that the blob is mounted. A registry that does not
// mount may offer an upload instead, which is then taken, or refuse for any
// reason that has to do with the other repository.
func (e *Endpoint) begin(ctx context.Context, n ref.Name, d oci.Digest, from ref.Name) (*session, error) {
	if from.Path == "" || from.Path == n.Path {
		return e.newSession(ctx, n, d)
	}
	s, err := e.mount(ctx, n, from, d)
	switch kindOf(err) {
	case oci.ErrUnauthorized, oci.ErrDenied, oci.ErrNotFound, oci.ErrInvalid, oci.ErrUnsupported:
		return e.newSession(ctx, n, d)
	}
	return s, err
}

// mount asks for a mount. The session is what the registry offers instead, nil
// where it mounted.
func (e *Endpoint) mount(ctx context.Context, to, from ref.Name, d oci.Digest) (*session, error) {
	q := url.Values{"mount": {string(d)}}
	scopes := e.pushScopes(to)
	if from.Path != "" {
		if err := checkName(from); err != nil {
			return nil, err
		}
		q.Set("from", e.below+from.Path)
		scopes = append(scopes, e.scope(from, "pull"))
	}
	res, err := e.run(ctx, exchange{
		kind: KindUpload, method: http.MethodPost, name: to, scopes: scopes,
		url: e.url(to, "blobs/uploads/", q), want: []int{http.StatusCreated, http.StatusAccepted},
	})
	if err != nil {
		return nil, err
	}
	defer discard(res)
	if res.StatusCode == http.StatusCreated {
		return nil, checkStored(res, d)
	}
	s := &session{name: to}
	if err := e.advance(s, res); err != nil {
		return nil, err
	}
	s.min, _ = parseCount(res.Header.Get("OCI-Chunk-Min-Length"))
	return s, nil
}

// Mount asks the registry to make a blob of another of its repositories
// readable in to. Where it does not, the error is ErrNotFound, and the upload
// that it offered instead is cancelled.
func (e *Endpoint) Mount(ctx context.Context, to, from ref.Name, d oci.Digest) error {
	if err := checkDigest(to, d); err != nil {
		return err
	}
	s, err := e.mount(ctx, to, from, d)
	if err != nil || s == nil {
		return err
	}
	e.cancel(ctx, s)
	return oci.Errorf(oci.ErrNotFound, oci.CodeBlobUnknown, "the upstream does not mount the blob")
}

// cancel ends a session that is not wanted. What comes of it is no matter: the
// registry drops it by and by.
func (e *Endpoint) cancel(ctx context.Context, s *session) {
	x := e.upload(s, http.MethodDelete, s.location, nil)
	x.want = []int{http.StatusNoContent, http.StatusAccepted, http.StatusOK}
	if res, err := e.run(ctx, x); err == nil {
		discard(res)
	}
}
