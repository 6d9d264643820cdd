package registry

import (
	"errors"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/entrepot/entrepot/oci"
)

// body returns the request's body, counted; its own errors are kept apart from
// those of whoever reads it.
func (c *call) body() *requestBody {
	return &requestBody{r: c.r.Body, n: &c.received, conn: http.NewResponseController(c.w), stall: c.h.cfg.Stall}
}

type requestBody struct {
	r     io.Reader
	n     *int64
	conn  *http.ResponseController
	stall time.Duration
	err   error // of the client's connection; nil also at the end
}

// Read waits no longer than stall. What comes after the body, which net/http
// reads in order to see that the client has left, may be waited for again.
func (b *requestBody) Read(p []byte) (int, error) {
	b.deadline(b.stall)
	n, err := b.r.Read(p)
	*b.n += int64(n)
	if err == io.EOF {
		b.deadline(0)
	} else if err != nil {
		b.err = err
	}
	return n, err
}

func (b *requestBody) deadline(after time.Duration) {
	if b.stall <= 0 {
		return
	}
	var at time.Time
	if after > 0 {
		at = time.Now().Add(after)
	}
	b.conn.SetReadDeadline(at) // not there in a test without a connection; otherwise Read fails too
}

// blame returns what to tell about err, which came out of reading the body: the
// client's part where that is the reason.
func (b *requestBody) blame(err error) error {
	switch {
	case err == nil || b.err == nil:
		return err
	case errors.Is(b.err, os.ErrDeadlineExceeded):
		return &stallError{b.stall}
	}
	return &oci.Error{Kind: oci.ErrInvalid, Code: oci.CodeSizeInvalid, Message: "the request's body broke off", Err: b.err}
}
