package edge

import (
	"net/http"
	"time"
)

// Streams lets a client of HTTP/2 stand still only for so long in the middle of
// an answer, as [Limits.Stall] does for a connection: its streams stall each by
// its own window. Answers of HTTP/1 get the server's own ResponseWriter.
func Streams(stall time.Duration, next http.Handler) http.Handler {
	if stall <= 0 {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor >= 2 {
			w = &stream{ResponseWriter: w, stall: stall}
		}
		next.ServeHTTP(w, r)
	})
}

// A stream is an answer of HTTP/2.
type stream struct {
	http.ResponseWriter
	stall time.Duration
	armed time.Time
}

// Write sets the deadline anew where a quarter of it has passed.
func (s *stream) Write(p []byte) (int, error) {
	if now := time.Now(); now.Sub(s.armed) > s.stall/4 {
		s.armed = now
		if err := http.NewResponseController(s.ResponseWriter).SetWriteDeadline(now.Add(s.stall)); err != nil {
			return 0, err
		}
	}
	return s.ResponseWriter.Write(p)
}

// Unwrap is for http.ResponseController.
func (s *stream) Unwrap() http.ResponseWriter { return s.ResponseWriter }
