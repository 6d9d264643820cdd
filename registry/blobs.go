package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/entrepot/entrepot/oci"
)

// getBlob answers GET and HEAD.
func (c *call) getBlob() error {
	d, err := parseDigest(c.at.ref)
	if err != nil {
		return err
	}
	if c.r.Method == http.MethodHead || c.r.Header["If-None-Match"] != nil && c.fresh(`"`+string(d)+`"`) {
		return c.statBlob(d)
	}
	ctx, cancel := context.WithCancel(c.ctx) // ends a read that is waiting when the client left
	defer cancel()
	b, err := c.reader.Blob(ctx, c.target.name, d, 0)
	if err != nil {
		return err
	}
	if b.Size < 0 {
		defer b.Body.Close()
		return c.streamBlob(d, b)
	}
	return c.serveBlob(ctx, cancel, d, b)
}

// statBlob answers without a body.
func (c *call) statBlob(d oci.Digest) error {
	desc, err := c.reader.Stat(c.ctx, c.target.name, d)
	if err != nil {
		return err
	}
	c.blobHeaders(d)
	if c.fresh(`"` + string(d) + `"`) {
		c.begin(http.StatusNotModified)
		return nil
	}
	if desc.Size >= 0 {
		c.set("Accept-Ranges", "bytes")
		c.set("Content-Length", strconv.FormatInt(desc.Size, 10))
	}
	c.begin(http.StatusOK)
	return nil
}

func (c *call) blobHeaders(d oci.Digest) {
	c.outcome()
	c.content(d, "application/octet-stream", true)
	c.set("X-Content-Type-Options", "nosniff")
}

// streamBlob copies a blob whose size nobody knows. Its end is marked by
// chunked encoding, so that a body that breaks off cannot look complete.
func (c *call) streamBlob(d oci.Digest, b oci.Blob) (err error) {
	c.blobHeaders(d)
	c.begin(http.StatusOK)
	c.sent, err = io.Copy(c.w, b.Body)
	return err
}

// serveBlob serves a blob of known size with all that RFC 9110 says about
// ranges. An *os.File reaches the ResponseWriter as it is, so that the kernel
// copies it: wrapping either costs a factor of three.
func (c *call) serveBlob(ctx context.Context, cancel func(), d oci.Digest, b oci.Blob) error {
	body := &seekBody{size: b.Size, body: b.Body, open: func(off int64) (io.ReadCloser, error) {
		b, err := c.reader.Blob(ctx, c.target.name, d, off)
		return b.Body, err
	}}
	defer body.Close()
	defer cancel() // before Close, which waits for a read
	r := c.r
	if ranges := r.Header.Get("Range"); ranges != "" {
		switch known, overlap := checkRange(ranges, b.Size); {
		case !known: // "a server may ignore the Range header field": a unit of its own
			r = r.Clone(ctx)
			r.Header.Del("Range")
		case !overlap && c.ranged(d):
			return &rangeError{b.Size}
		}
	}
	file, isFile := b.Body.(*os.File)
	if isFile { // it is asked for its size below, so that must be the blob's
		info, err := file.Stat()
		if err != nil {
			return fmt.Errorf("ask blob's file for its size: %w", err)
		}
		if info.Size() != b.Size {
			return fmt.Errorf("the blob's file has %d bytes, the blob %d", info.Size(), b.Size)
		}
	}
	c.blobHeaders(d)
	if isFile && strings.IndexByte(r.Header.Get("Range"), ',') < 0 {
		c.serveContent(r, file)
		return c.served(c.goOn(file, body.open))
	}
	if from, ok := b.Body.(io.WriterTo); ok && whole(r.Header) {
		return c.passBlob(b.Size, from)
	}
	if h := r.Header.Get("Range"); !isFile && h != "" && strings.IndexByte(h, ',') < 0 {
		body.first = c.flush
	}
	c.serveContent(r, body)
	cancel() // of several ranges, one may be read still where the client left
	return c.served(body.result())
}

// serveContent is http.ServeContent.
func (c *call) serveContent(r *http.Request, content io.ReadSeeker) {
	c.answering()
	http.ServeContent(c.w, r, "", time.Time{}, content)
}

// flush sends the headers. A range of a blob that is being fetched may take its
// time to come, and clients (containerd from 2.3 on) wait for headers for 30 s
// only, but for bytes for minutes.
func (c *call) flush() {
	_ = http.NewResponseController(c.w).Flush() // a writer that cannot sends them with the first bytes
}

// whole reports whether a request wants all of a blob, without a condition that
// http.ServeContent would look at.
func whole(h http.Header) bool {
	return h["Range"] == nil && h["If-Match"] == nil && h["If-Unmodified-Since"] == nil
}

// passBlob lets a body write itself that can: one that is still growing gives
// the ResponseWriter its file that way, piece by piece, for the kernel to copy.
// http.ServeContent hides what a body can from the writer, and this from it.
func (c *call) passBlob(size int64, from io.WriterTo) (err error) {
	c.set("Accept-Ranges", "bytes")
	c.set("Content-Length", strconv.FormatInt(size, 10))
	c.begin(http.StatusOK)
	c.sent, err = from.WriteTo(c.w)
	if err == nil && c.sent != size {
		return errShort
	}
	return err
}

// ranged reports whether the Range header counts: with an If-Range that names
// other content it does not.
func (c *call) ranged(d oci.Digest) bool {
	given := c.r.Header.Get("If-Range")
	return given == "" || given == `"`+string(d)+`"`
}

// errShort says that a body ended before the length that was announced.
var errShort = errors.New("the body is short")

// served finds out what http.ServeContent answered, which only the header
// tells, and that a body was complete.
func (c *call) served(sent int64, err error) error {
	c.sent = sent
	length, several := c.header.Get("Content-Length"), strings.HasPrefix(c.header.Get("Content-Type"), "multipart/")
	switch {
	case length == "":
		c.status = http.StatusPreconditionFailed
		return nil
	case c.header.Get("Content-Range") != "", several:
		c.status = http.StatusPartialContent
	default:
		c.status = http.StatusOK
	}
	if err == nil && !several && strconv.FormatInt(sent, 10) != length {
		return errShort
	}
	return err
}

// fileSent returns how far a file was read from where its range began.
func fileSent(f *os.File, h http.Header) int64 {
	end, err := f.Seek(0, io.SeekCurrent)
	if err != nil {
		return 0
	}
	if _, spec, ok := strings.Cut(h.Get("Content-Range"), "bytes "); ok {
		from, _, _ := strings.Cut(spec, "-")
		start, _ := strconv.ParseInt(from, 10, 64) // net/http wrote it
		return end - start
	}
	return end
}

// goOn ends a body that broke off because its file cannot be read on: the rest
// comes from wherever the reader finds it now. It returns how much was sent in all.
func (c *call) goOn(file *os.File, open func(off int64) (io.ReadCloser, error)) (sent int64, err error) {
	sent = fileSent(file, c.header)
	length, err := strconv.ParseInt(c.header.Get("Content-Length"), 10, 64)
	if err != nil || sent >= length {
		return sent, nil // all of it, or an answer without a body
	}
	at, err := file.Seek(0, io.SeekCurrent)
	if err != nil {
		return sent, nil
	}
	if _, err := file.ReadAt(make([]byte, 1), at); err == nil || err == io.EOF {
		return sent, nil // it is the client who does not read on
	}
	rest, err := open(at)
	if err != nil {
		return sent, fmt.Errorf("go on with a blob whose file cannot be read: %w", err)
	}
	defer rest.Close()
	n, err := io.CopyN(c.w, rest, length-sent)
	return sent + n, err
}

// deleteBlob takes a blob out of the repository.
func (c *call) deleteBlob() error {
	del, ok := c.reader.(oci.Deleter)
	if !ok {
		return oci.ErrUnsupported
	}
	d, err := parseDigest(c.at.ref)
	if err != nil {
		return err
	}
	return c.deleted(del.DeleteBlob(c.ctx, c.target.name, d))
}
