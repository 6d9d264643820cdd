package registry

import (
	"net/http"
	"time"
)

// Aside serves what is no part of the protocol but belongs to it, such as the
// token service, so that its requests have names, are logged and are counted as
// all others are; op says what they are. It never logs the path or the query.
func (h *Handler) Aside(op string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rec := &recorder{ResponseWriter: w}
		c := &call{h: h, entry: h.entry.Load(), w: rec, r: r, header: w.Header(), op: op, start: time.Now(), at: endpoint{resource: base}}
		c.vals = c.arena[:0]
		c.ctx = r.Context()
		defer func() {
			c.status, c.sent = rec.status, rec.sent
			c.done()
		}()
		c.name()
		next.ServeHTTP(rec, r)
		if rec.status == 0 { // nothing was written, which net/http takes for well
			rec.status = http.StatusOK
		}
	})
}

// A recorder sees how an answer came out. Nothing that goes through it is large.
type recorder struct {
	http.ResponseWriter
	status int
	sent   int64
}

func (r *recorder) WriteHeader(status int) {
	if r.status == 0 {
		r.status = status
	}
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Write(p []byte) (int, error) {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	n, err := r.ResponseWriter.Write(p)
	r.sent += int64(n)
	return n, err
}

// Unwrap is for http.ResponseController.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }
