package registry

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/entrepot/entrepot/access"
	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
)

// A call is one request on its way. It is used by one goroutine.
type call struct {
	h      *Handler
	entry  *entry
	w      http.ResponseWriter // the server's own, never wrapped
	r      *http.Request
	ctx    context.Context // the request's, with out
	at     endpoint
	query  query
	ns     []string  // values of the ns parameter, nil where there is none
	cause  oci.Cause // of what is asked of upstreams; its ID is the request's
	parent oci.Trace // what the request came with
	op     string
	verb   verb
	caller access.Caller
	target target
	reader oci.Reader // of the target
	out    oci.Outcome
	start  time.Time
	first  time.Duration // from start to the header of the answer; 0 before it

	header   http.Header // of the response
	status   int         // 0 until the answer begins
	sent     int64       // bytes of the response's body
	received int64       // bytes of the request's body
	err      error       // the cause of an error answer, for the log

	vals  []string // what set has set; slices of it are the header's values
	arena [16]string
}

// set sets a header of the response; key is in canonical form. One array for
// all values costs less than a slice for each; and up to eight headers cost much
// less than nine, since a map grows then.
func (c *call) set(key, value string) {
	c.vals = append(c.vals, value)
	n := len(c.vals)
	c.header[key] = c.vals[n-1 : n : n]
}

// echoNamespace answers an ns as it was sent, also where nothing comes of it
// (distribution-spec, "Registry Proxying").
func (c *call) echoNamespace() {
	if len(c.ns) != 1 || c.ns[0] == "" || len(c.ns[0]) > 255 {
		return
	}
	for i := range len(c.ns[0]) {
		if b := c.ns[0][i]; b <= ' ' || b > '~' {
			return
		}
	}
	c.set("Oci-Namespace", c.ns[0])
}

// reference returns the manifest that the path names.
func (c *call) reference() (ref.Ref, error) {
	if strings.IndexByte(c.at.ref, ':') >= 0 {
		d, err := parseDigest(c.at.ref)
		return c.target.name.WithDigest(d), err
	}
	if !ref.ValidTag(c.at.ref) {
		return ref.Ref{}, oci.Errorf(oci.ErrInvalid, oci.CodeNameInvalid, "the tag is malformed")
	}
	return c.target.name.WithTag(c.at.ref), nil
}

func parseDigest(s string) (oci.Digest, error) {
	d, err := ref.ParseDigest(s)
	if err != nil {
		return "", &oci.Error{Kind: oci.ErrInvalid, Code: oci.CodeDigestInvalid, Message: "the digest is malformed, or neither sha256 nor sha512", Err: err}
	}
	return d, nil
}

// begin ends the header with a status.
func (c *call) begin(status int) {
	c.status = status
	c.answering()
	c.w.WriteHeader(status)
}

// answering notes when the header goes out.
func (c *call) answering() {
	if c.first == 0 {
		c.first = time.Since(c.start)
	}
}

// send answers 200 with a body, or with its header alone to HEAD.
func (c *call) send(body []byte) error {
	c.set("Content-Length", strconv.Itoa(len(body)))
	c.begin(http.StatusOK)
	if c.r.Method == http.MethodHead {
		return nil
	}
	n, err := c.w.Write(body)
	c.sent = int64(n)
	return err
}

// outcome sets the headers that say how the backend came by its answer.
func (c *call) outcome() {
	if c.out.Result != "" {
		c.set("X-Cache", xCache(c.out.Result))
	}
	if c.out.Age >= time.Second || c.out.Result == oci.Stale {
		c.set("Age", strconv.FormatInt(int64(c.out.Age/time.Second), 10))
	}
	if c.out.Warning != "" {
		c.set("Warning", warning(c.out.Warning))
	}
}

func xCache(r oci.Result) string {
	switch r {
	case oci.Hit:
		return "HIT"
	case oci.Miss:
		return "MISS"
	}
	return strings.ToUpper(string(r))
}

// warning returns the value of a Warning header in the one form that clients
// read: `299 - "text"`, at most 4096 bytes (distribution-spec 1.1,
// "Warnings").
func warning(text string) string {
	const limit = 4096 - len(`299 - ""`)
	b := []byte(`299 - "`)
	for i := range len(text) {
		add := []byte{text[i]}
		switch {
		case text[i] < ' ' || text[i] > '~':
			add[0] = '?'
		case text[i] == '"' || text[i] == '\\':
			add = []byte{'\\', text[i]}
		}
		if len(b)-len(`299 - "`)+len(add) > limit {
			break
		}
		b = append(b, add...)
	}
	return string(append(b, '"'))
}

// content sets the headers that name content. Named by its digest it never
// changes; behind a tag it may, at any time.
func (c *call) content(d oci.Digest, mediaType string, immutable bool) (etag string) {
	etag = `"` + string(d) + `"`
	c.set("Content-Type", mediaType)
	c.set("Docker-Content-Digest", string(d))
	c.set("Etag", etag)
	c.set("Cache-Control", c.cacheControl(immutable))
	return etag
}

// cacheControl keeps caches between us and clients from giving to one what
// another may have.
func (c *call) cacheControl(immutable bool) string {
	private := c.entry.door.Knows() || c.h.cfg.Passthrough != nil && c.target.proxied && c.h.cfg.Passthrough(c.target.name.Host)
	switch {
	case immutable && private:
		return "private, max-age=31536000, immutable"
	case immutable:
		return "max-age=31536000, immutable"
	case private:
		return "private, no-cache"
	}
	return "no-cache"
}

// fresh reports whether the client has the content already.
func (c *call) fresh(etag string) bool {
	for _, line := range c.r.Header["If-None-Match"] {
		for tag := range strings.SplitSeq(line, ",") {
			tag = strings.TrimPrefix(strings.TrimSpace(tag), "W/")
			if tag == etag || tag == "*" {
				return true
			}
		}
	}
	return false
}
