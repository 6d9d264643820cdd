package oci

import (
	"context"
	"encoding/hex"
	"math/rand/v2"
)

// A Cause is what the requests to upstreams tell of the client's request that
// they are made for. It is not changed once a context carries it.
type Cause struct {
	ID    string // the request's, for X-Request-Id; "" for none
	Trace Trace  // where the request stands in its trace
}

type causeKey struct{}

// WithCause returns a context that carries a cause, nil for none. Work that is
// detached from the request has to be given it anew; see [CauseOf].
func WithCause(ctx context.Context, c *Cause) context.Context {
	if c == nil {
		return ctx
	}
	return context.WithValue(ctx, causeKey{}, c)
}

// CauseOf returns what [WithCause] put into ctx, nil where there is nothing.
func CauseOf(ctx context.Context) *Cause {
	c, _ := ctx.Value(causeKey{}).(*Cause)
	return c
}

// A Trace is a place in a trace, as a traceparent header tells it (W3C Trace
// Context, level 1). The zero value is none.
type Trace struct {
	ID      [16]byte // the trace's
	Span    [8]byte  // of the span that this is
	Sampled bool     // whoever began it records it
}

// ParseTrace reads a traceparent header. False means that it is malformed, and
// to be ignored.
func ParseTrace(s string) (Trace, bool) {
	// version "-" trace-id "-" parent-id "-" flags; later versions may say more.
	if len(s) < 55 || s[2] != '-' || s[35] != '-' || s[52] != '-' || s[:2] == "ff" || len(s) > 55 && (s[:2] == "00" || s[55] != '-') {
		return Trace{}, false
	}
	var t Trace
	var version, flags [1]byte
	for _, part := range []struct {
		to   []byte
		from string
	}{{version[:], s[:2]}, {t.ID[:], s[3:35]}, {t.Span[:], s[36:52]}, {flags[:], s[53:55]}} {
		if !lowerHex(part.from) {
			return Trace{}, false
		}
		hex.Decode(part.to, []byte(part.from)) // never fails
	}
	t.Sampled = flags[0]&1 != 0
	return t, t.Valid() && t.Span != [8]byte{}
}

func lowerHex(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// Valid reports whether there is a trace.
func (t Trace) Valid() bool { return t.ID != [16]byte{} }

// String is the trace as a traceparent header, "" for none.
func (t Trace) String() string {
	if !t.Valid() {
		return ""
	}
	flags := "-00"
	if t.Sampled {
		flags = "-01"
	}
	return "00-" + hex.EncodeToString(t.ID[:]) + "-" + hex.EncodeToString(t.Span[:]) + flags
}

// NewTrace begins a trace. Its numbers are random, which says nothing of their
// being hard to guess: a trace is no secret.
func NewTrace(sampled bool) Trace {
	t := Trace{Sampled: sampled}
	for !t.Valid() {
		put(t.ID[:8], rand.Uint64())
		put(t.ID[8:], rand.Uint64())
	}
	return t.Child()
}

// Child returns a new span of the same trace.
func (t Trace) Child() Trace {
	t.Span = [8]byte{}
	for t.Span == [8]byte{} {
		put(t.Span[:], rand.Uint64())
	}
	return t
}

func put(b []byte, n uint64) {
	for i := range b {
		b[i] = byte(n >> (8 * i))
	}
}
