package registry

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/entrepot/entrepot/oci"
	digest "github.com/opencontainers/go-digest"
)

// uploader returns the backend's power to keep sessions.
func (c *call) uploader() (oci.Uploader, error) {
	u, ok := c.reader.(oci.Uploader)
	if !ok {
		return nil, oci.ErrUnsupported
	}
	return u, nil
}

// session finds the session that the path names.
func (c *call) session() (oci.Upload, error) {
	u, err := c.uploader()
	if err != nil {
		return nil, err
	}
	return u.Upload(c.ctx, c.target.name, c.at.ref)
}

// startUpload answers POST: it mounts a blob, takes a whole one, or opens a
// session.
func (c *call) startUpload() error {
	u, err := c.uploader()
	if err != nil {
		return err
	}
	if s, ok := c.query.get("mount"); ok {
		d, err := parseDigest(s)
		if err != nil {
			return err
		}
		if mounted, err := c.mount(d); mounted || err != nil {
			return err
		}
	} else if s, ok := c.query.get("digest"); ok {
		d, err := parseDigest(s)
		if err != nil {
			return err
		}
		return c.takeBlob(u, d)
	}
	algorithm, _ := c.query.get("digest-algorithm")
	switch digest.Algorithm(algorithm) {
	case "", digest.SHA256, digest.SHA512:
	default:
		return oci.Errorf(oci.ErrInvalid, oci.CodeDigestInvalid, "the digest algorithm is neither sha256 nor sha512")
	}
	up, err := u.NewUpload(c.ctx, c.target.name, algorithm)
	if err != nil {
		return err
	}
	c.accepted(up, http.StatusAccepted)
	return nil
}

// mount makes a blob of another repository appear in this one. Where it cannot,
// for whatever reason that is not a failure, the client has to push: false.
func (c *call) mount(d oci.Digest) (bool, error) {
	m, ok := c.reader.(oci.Mounter)
	if !ok {
		return false, nil
	}
	var from target
	if s, _ := c.query.get("from"); s != "" {
		var err error
		if from, err = c.h.table.route(s, nil); err != nil || from.proxied || from.archived {
			return false, nil
		}
	}
	if !c.readable(from.name) {
		return false, nil
	}
	err := m.Mount(c.ctx, c.target.name, from.name, d)
	switch {
	case errors.Is(err, oci.ErrNotFound), errors.Is(err, oci.ErrUnsupported), errors.Is(err, oci.ErrDenied):
		return false, nil
	case err != nil:
		return false, err
	}
	c.created(d)
	return true, nil
}

// takeBlob takes a blob that comes in the POST itself.
func (c *call) takeBlob(u oci.Uploader, d oci.Digest) error {
	up, err := u.NewUpload(c.ctx, c.target.name, string(d.Algorithm()))
	if err != nil {
		return err
	}
	body := c.body()
	if _, err = up.Append(c.ctx, 0, body); err == nil {
		_, err = up.Commit(c.ctx, d)
	}
	if err != nil {
		// Nobody knows the session's name, so nobody will go on with it.
		cancelErr := up.Cancel(context.WithoutCancel(c.ctx))
		if errors.Is(cancelErr, oci.ErrNotFound) { // Commit ended it
			cancelErr = nil
		}
		return errors.Join(body.blame(err), cancelErr)
	}
	c.created(d)
	return nil
}

// continueUpload answers PATCH: one more chunk, or a stream where it has no
// Content-Range.
func (c *call) continueUpload() error {
	up, err := c.session()
	if err != nil {
		return err
	}
	if err := c.appendChunk(up); err != nil {
		return err
	}
	c.accepted(up, http.StatusAccepted)
	return nil
}

// finishUpload answers PUT: the last chunk, if there is one, and the digest.
func (c *call) finishUpload() error {
	s, _ := c.query.get("digest")
	d, err := parseDigest(s)
	if err != nil {
		return err
	}
	up, err := c.session()
	if err != nil {
		return err
	}
	if c.r.ContentLength != 0 {
		if err := c.appendChunk(up); err != nil {
			return err
		}
	}
	if _, err := up.Commit(c.ctx, d); err != nil {
		return c.outOfOrder(up, err)
	}
	c.created(d)
	return nil
}

// appendChunk adds the request's body to the session.
func (c *call) appendChunk(up oci.Upload) error {
	off, size, err := c.chunk()
	if err != nil {
		return err
	}
	body := c.body()
	var r io.Reader = body
	if size >= 0 {
		r = io.LimitReader(body, size)
	}
	if _, err := up.Append(c.ctx, off, r); err != nil {
		return c.outOfOrder(up, body.blame(err))
	}
	if size >= 0 && (c.received < size || atLeastOne(body)) {
		return oci.Errorf(oci.ErrInvalid, oci.CodeSizeInvalid, "the chunk has not the length that its Content-Range says")
	}
	return nil
}

// atLeastOne reports whether there is something left to read.
func atLeastOne(r io.Reader) bool {
	n, _ := io.ReadFull(r, make([]byte, 1))
	return n > 0
}

// outOfOrder tells the client of a chunk that does not fit where the session
// stands.
func (c *call) outOfOrder(up oci.Upload, err error) error {
	if e, ok := errors.AsType[*oci.RangeError](err); ok {
		return &uploadError{location: c.sessionPath(up), size: e.Size, err: e}
	}
	return err
}

// chunk returns where the request's body belongs, and its size; both are -1
// where the request does not say.
func (c *call) chunk() (off, size int64, err error) {
	header := c.r.Header.Get("Content-Range")
	if header == "" {
		return -1, -1, nil
	}
	off, size, ok := parseContentRange(header)
	if !ok {
		return 0, 0, oci.Errorf(oci.ErrInvalid, oci.CodeBlobUploadInvalid, "the Content-Range is malformed")
	}
	if c.r.ContentLength >= 0 && c.r.ContentLength != size {
		return 0, 0, oci.Errorf(oci.ErrInvalid, oci.CodeSizeInvalid, "Content-Length and Content-Range contradict each other")
	}
	return off, size, nil
}

// parseContentRange reads "0-99", as the distribution-spec writes it, and
// "bytes 0-99/*", as HTTP does.
func parseContentRange(s string) (off, size int64, ok bool) {
	s = strings.TrimPrefix(s, "bytes ")
	s, _, _ = strings.Cut(s, "/")
	first, last, ok := strings.Cut(s, "-")
	off, end := parseOffset(first), parseOffset(last)
	if !ok || off < 0 || end < off || end-off == 1<<63-1 {
		return 0, 0, false
	}
	return off, end - off + 1, true
}

// showUpload answers GET: where the session stands.
func (c *call) showUpload() error {
	up, err := c.session()
	if err != nil {
		return err
	}
	c.accepted(up, http.StatusNoContent)
	return nil
}

// cancelUpload answers DELETE of a session.
func (c *call) cancelUpload() error {
	up, err := c.session()
	if err != nil {
		return err
	}
	if err := up.Cancel(c.ctx); err != nil {
		return err
	}
	c.begin(http.StatusNoContent)
	return nil
}

// accepted tells the client where to go on and how much has arrived. Locations
// have no host, so that they work behind any name and any TLS proxy.
func (c *call) accepted(up oci.Upload, status int) {
	c.set("Location", c.sessionPath(up))
	c.set("Docker-Upload-Uuid", up.ID())
	c.set("Range", receivedRange(up.Size()))
	if status != http.StatusNoContent {
		c.set("Content-Length", "0")
	}
	c.begin(status)
}

// created answers a blob that is there now.
func (c *call) created(d oci.Digest) {
	c.set("Location", "/v2/"+c.at.name+"/blobs/"+string(d))
	c.set("Docker-Content-Digest", string(d))
	c.set("Content-Length", "0")
	c.begin(http.StatusCreated)
}

func (c *call) sessionPath(up oci.Upload) string {
	return "/v2/" + c.at.name + "/blobs/uploads/" + up.ID()
}

// receivedRange is what a Range header says of size bytes. It cannot say "none":
// clients and the conformance suite want "0-0" then.
func receivedRange(size int64) string {
	return "0-" + strconv.FormatInt(max(size-1, 0), 10)
}
