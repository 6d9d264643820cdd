package regtest

import (
	"fmt"
	"net/http"
	"time"
)

// A Fault is what goes wrong with one answer. The zero value is an honest
// answer. The functions of presets.go make the common ones; letters such as K
// are sections of the specification of the server on the wire.
type Fault struct {
	// Before the headers.
	Before func()        // runs when the request arrives; for what changes under a client's feet
	Hold   bool          // no headers until the rule's Release: an upstream that scans before it answers
	Delay  time.Duration // no headers for so long

	// Instead of the honest answer.
	Status   int         // answers this; below 300 with Body, above with an error document where Body is nil
	Body     []byte      // answers this; with Status 0 as a 200
	Redirect string      // redirects to this URL, wherever that is; with Status 0 by a 307
	Header   http.Header // sets headers of any answer; an empty list removes one

	// Other bytes than those asked for.
	Flip        Flip  // one wrong byte, of the whole content
	Extra       int64 // bytes more than the content has; negative cuts it short; Content-Length agrees with what is sent
	Gzip        bool  // sends it gzip-encoded and says so, though nobody asked for that
	IgnoreRange bool  // answers 200 and everything to a Range (container-libs#1114)
	RangeShift  int64 // a Range starts so many bytes later than asked; Content-Range says where

	// Other ways of sending.
	Length LengthMode // what is said about the length of the body
	Claim  int64      // is added to Content-Length, but not to the body
	Drip   Drip       // slowly
	End    End        // what happens after At bytes of the body of this answer
	At     int64      // -1 with End: before the status line

	After func() // runs when the answer is over
}

// Flip says which byte is wrong.
type Flip int

// The places of a wrong byte.
const (
	FlipNone Flip = iota
	FlipFirst
	FlipMiddle
	FlipLast
)

// LengthMode is how the end of a body is announced.
type LengthMode int

// The ways to announce the end of a body.
const (
	Announced  LengthMode = iota // Content-Length
	Chunked                      // Transfer-Encoding: chunked
	UntilClose                   // neither; the connection ends where the body ends, so that a cut looks like an end
)

// End is what happens in the middle of a body.
type End int

// The ends of a body.
const (
	EndWhole End = iota // none: all of it is sent
	EndCut              // the connection is closed (FIN), over HTTP/2 the stream reset
	EndReset            // the connection is reset (RST); bytes that are under way may be lost
	EndStall            // nothing more comes until Release, then the rest
)

// Drip sends a few bytes at a time.
type Drip struct {
	Bytes int           // at a time; 0 means the body is not slowed
	Every time.Duration // between two times
}

// replaces reports whether the fault changes the answer itself and not only how it
// is sent.
func (f Fault) replaces() bool { return f.Status != 0 || f.Body != nil || f.Redirect != "" }

func (f Fault) replacement() answer {
	switch {
	case f.Redirect != "":
		return answer{status: max(f.Status, http.StatusTemporaryRedirect), header: http.Header{"Location": {f.Redirect}}}
	case f.Body != nil:
		return answer{status: max(f.Status, http.StatusOK), header: http.Header{}, content: Bytes(f.Body)}
	case f.Status < 300:
		return answer{status: f.Status, header: http.Header{}, content: Bytes(nil)}
	default:
		return problem(f.Status, "UNKNOWN", fmt.Sprintf("status %d, as the test wishes", f.Status))
	}
}

// content returns the content with its wrong bytes.
func (f Fault) content(c Content) Content {
	if f.Extra != 0 {
		c = resized{c, max(0, c.Size()+f.Extra)}
	}
	switch f.Flip {
	case FlipFirst:
		c = flipped{c, 0}
	case FlipMiddle:
		c = flipped{c, c.Size() / 2}
	case FlipLast:
		c = flipped{c, c.Size() - 1}
	}
	return c
}

// flipped is content with one wrong byte.
type flipped struct {
	Content
	at int64
}

func (f flipped) ReadAt(p []byte, off int64) (int, error) {
	n, err := f.Content.ReadAt(p, off)
	if i := f.at - off; i >= 0 && i < int64(n) {
		p[i] ^= 0xff
	}
	return n, err
}

// resized is content that is cut short, or goes on with zeros.
type resized struct {
	Content
	size int64
}

func (r resized) Size() int64 { return r.size }

func (r resized) ReadAt(p []byte, off int64) (int, error) {
	if left := r.size - off; int64(len(p)) > left {
		p = p[:max(0, left)]
	}
	n := 0
	if off < r.Content.Size() {
		n, _ = r.Content.ReadAt(p, off) // content does not fail; io.EOF is where the zeros start
	}
	clear(p[n:])
	return len(p), nil
}
