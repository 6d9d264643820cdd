package registry

import (
	"strconv"

	"github.com/entrepot/entrepot/oci"
)

// maxID limits the name of a request that a client gives it, in bytes.
const maxID = 128

// requestID returns a name for a request that no other of this process has,
// and likely none of another.
func (h *Handler) requestID() string {
	var buf [32]byte
	b := append(buf[:0], h.idBase...)
	return string(strconv.AppendUint(b, h.idNext.Add(1), 36))
}

// name gives the request its name, for the answer, for logs, and for what is
// asked of upstreams: the one that it came with, where that is fit for all
// three, or else one of ours.
func (c *call) name() {
	if given := c.r.Header["X-Request-Id"]; len(given) == 1 && validID(given[0]) {
		c.cause.ID = given[0]
	} else {
		c.cause.ID = c.h.requestID()
	}
	c.set("X-Request-Id", c.cause.ID)
	if given := c.r.Header["Traceparent"]; len(given) == 1 {
		c.parent, _ = oci.ParseTrace(given[0])
	}
	c.cause.Trace = c.parent
	if c.h.cfg.Trace != nil {
		c.cause.Trace = c.h.cfg.Trace(c.parent)
	}
}

// validID reports whether a name can stand in a header and in a log without
// harm.
func validID(s string) bool {
	if s == "" || len(s) > maxID {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; {
		case c >= '0' && c <= '9', c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z':
		case c == '-', c == '_', c == '.', c == ':', c == '/', c == '+', c == '=', c == '@':
		default:
			return false
		}
	}
	return true
}
