package regtest

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"strconv"
	"strings"
)

// send puts an answer on the wire, with the fault of its rule.
func (r *Registry) send(w http.ResponseWriter, req *http.Request, e *Entry, a answer, f Fault, rule *Rule) {
	if a.content != nil {
		a.content = f.content(a.content)
		a = a.ranged(req, f)
	}
	if f.Gzip && a.content != nil {
		a.content = compress(a.content)
		a.header.Set("Content-Encoding", "gzip")
	}
	h := w.Header()
	maps.Copy(h, a.header)
	switch {
	case a.content == nil:
	case f.Length == Announced:
		h.Set("Content-Length", strconv.FormatInt(a.content.Size()+f.Claim, 10))
	case f.Length == UntilClose:
		h.Set("Transfer-Encoding", "identity") // net/http then closes the connection at the end
	}
	for k, v := range f.Header {
		h[http.CanonicalHeaderKey(k)] = v
		if len(v) == 0 {
			h.Del(k)
		}
	}
	r.status(e, a.status)
	w.WriteHeader(a.status)
	if a.content == nil || req.Method == http.MethodHead {
		return
	}
	http.NewResponseController(w).Flush() // the headers come first, and make chunks of a body without length
	r.body(w, req, e, a.content, f, rule)
}

// body sends the body, up to where the fault ends it.
func (r *Registry) body(w http.ResponseWriter, req *http.Request, e *Entry, c Content, f Fault, rule *Rule) {
	size := c.Size()
	if f.Claim < 0 {
		size = max(0, size+f.Claim) // net/http refuses to send more than was announced
	}
	upTo := size
	if f.End != EndWhole {
		upTo = min(f.At, size)
	}
	if !r.copy(w, req, e, c, 0, upTo, f.Drip) || f.End == EndWhole {
		return
	}
	http.NewResponseController(w).Flush()
	switch f.End {
	case EndCut, EndReset:
		rule.arrive()
		drop(w, f.End == EndReset)
	case EndStall:
		if !r.wait(req, rule) {
			panic(http.ErrAbortHandler)
		}
		r.copy(w, req, e, c, upTo, size, f.Drip)
	}
}

// copy sends a part of the content and reports whether it could. The log has
// the bytes before the client has them, so that it never shows too few.
func (r *Registry) copy(w http.ResponseWriter, req *http.Request, e *Entry, c Content, from, to int64, drip Drip) bool {
	buf := make([]byte, 32<<10)
	if drip.Bytes > 0 {
		buf = make([]byte, drip.Bytes)
	}
	for from < to {
		p := buf[:min(int64(len(buf)), to-from)]
		if _, err := c.ReadAt(p, from); err != nil && err != io.EOF {
			panic(err) // content does not fail
		}
		r.sent(e, int64(len(p)))
		n, err := w.Write(p)
		r.sent(e, int64(n-len(p)))
		if err != nil {
			return false
		}
		from += int64(n)
		if drip.Bytes > 0 {
			http.NewResponseController(w).Flush()
			if !r.pause(req, drip.Every) {
				return false
			}
		}
	}
	return true
}

// drop ends the connection now.
func drop(w http.ResponseWriter, reset bool) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler) // HTTP/2: resets the stream
	}
	if reset {
		if t, ok := conn.(interface{ NetConn() net.Conn }); ok {
			conn = t.NetConn() // TLS would say goodbye first
		}
		conn.(*net.TCPConn).SetLinger(0)
	}
	conn.Close()
}

// ranged answers the Range header of a request, if that is what it can.
func (a answer) ranged(req *http.Request, f Fault) answer {
	rg, ok := parseRange(req.Header.Get("Range"))
	if !ok || a.status != http.StatusOK || f.IgnoreRange || a.header.Get("Accept-Ranges") == "" {
		return a
	}
	size := a.content.Size()
	start, end := rg.in(size)
	if start > end {
		b := problem(http.StatusRequestedRangeNotSatisfiable, "UNKNOWN", "range not satisfiable")
		b.header.Set("Content-Range", fmt.Sprintf("bytes */%d", size))
		return b
	}
	start = min(max(0, start+f.RangeShift), end)
	a.status = http.StatusPartialContent
	a.header.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", start, end, size))
	a.content = part{io.NewSectionReader(a.content, start, end-start+1)}
	return a
}

type part struct{ *io.SectionReader }

// A byteRange is one range of a Range header; start -1 means the last end
// bytes, end -1 means up to the end.
type byteRange struct{ start, end int64 }

func parseRange(s string) (byteRange, bool) {
	spec, ok := strings.CutPrefix(s, "bytes=")
	from, to, dash := strings.Cut(spec, "-")
	if !ok || !dash {
		return byteRange{}, false
	}
	rg := byteRange{-1, -1}
	var err error
	if from != "" {
		if rg.start, err = strconv.ParseInt(from, 10, 64); err != nil {
			return byteRange{}, false
		}
	}
	if to != "" {
		if rg.end, err = strconv.ParseInt(to, 10, 64); err != nil {
			return byteRange{}, false
		}
	}
	return rg, from != "" || to != ""
}

// in returns the first and the last byte of the range in content of a size;
// the first is beyond the last where there is none.
func (rg byteRange) in(size int64) (start, end int64) {
	switch {
	case rg.start < 0:
		return max(0, size-rg.end), size - 1
	case rg.end < 0 || rg.end >= size:
		return rg.start, size - 1
	}
	return rg.start, rg.end
}

func compress(c Content) Content {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	io.Copy(z, io.NewSectionReader(c, 0, c.Size())) // neither side fails
	z.Close()
	return Bytes(b.Bytes())
}
