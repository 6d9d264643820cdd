package ggcr

import (
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/entrepot/entrepot/rules"
)

// blob answers from the first place that has the blob; what breaks off is
// continued.
func (f *fetch) blob() (*http.Response, error) {
	res, i, err := f.first(0, func(t *rules.Try) (*http.Response, error) { return f.ask(t, f.req.Method, nil) })
	if err != nil {
		return nil, err
	}
	res.Request = f.req
	if f.req.Method == http.MethodGet && res.StatusCode == http.StatusOK && res.ContentLength > 0 && f.req.Header.Get("Range") == "" {
		res.Body = &resumed{f: f, place: i, size: res.ContentLength, body: res.Body}
	}
	return res, nil
}

// A resumed body goes on at another place where one breaks off. Whether the
// whole is right is for the reader to verify, as package remote does.
type resumed struct {
	f     *fetch
	place int   // in f.places
	size  int64 // bytes
	read  int64 // bytes
	fresh int64 // of them, from this connection
	body  io.ReadCloser
}

// Read returns io.EOF after all bytes of the blob.
func (r *resumed) Read(b []byte) (int, error) {
	for {
		n, err := r.body.Read(b)
		r.read += int64(n)
		r.fresh += int64(n)
		switch {
		case err == nil || r.read >= r.size:
			return n, err
		case n > 0:
			return n, nil // the error comes again
		}
		if err := r.goOn(err); err != nil {
			return 0, err
		}
	}
}

// goOn opens the rest of the blob: at the same place, where that has just sent
// something, else at those after it.
func (r *resumed) goOn(broken error) error {
	if r.f.req.Context().Err() != nil {
		return broken
	}
	if errors.Is(broken, io.EOF) {
		broken = io.ErrUnexpectedEOF
	}
	r.body.Close()
	r.f.fail(&r.f.places[r.place], broken)
	from := r.place
	if r.fresh == 0 {
		from++
	}
	res, i, err := r.f.first(from, r.rest)
	if err != nil {
		return err
	}
	r.body, r.place, r.fresh = res.Body, i, 0
	return nil
}

// rest asks a place for what is missing.
func (r *resumed) rest(t *rules.Try) (*http.Response, error) {
	res, err := r.f.ask(t, http.MethodGet, http.Header{"Range": {fmt.Sprintf("bytes=%d-", r.read)}})
	if err != nil {
		return nil, err
	}
	var first, last, size int64
	switch {
	case res.StatusCode == http.StatusOK && res.ContentLength == r.size:
		// It does not honour ranges.
		_, err = io.CopyN(io.Discard, res.Body, r.read)
	case res.StatusCode == http.StatusPartialContent:
		if _, bad := fmt.Sscanf(res.Header.Get("Content-Range"), "bytes %d-%d/%d", &first, &last, &size); bad != nil || first != r.read || size != r.size {
			err = errors.New("it answers with another range")
		}
	default:
		err = fmt.Errorf("it has a blob of another size, %d bytes", res.ContentLength)
	}
	if err != nil {
		res.Body.Close()
		return nil, err
	}
	return res, nil
}

// Close ends the download.
func (r *resumed) Close() error { return r.body.Close() }
