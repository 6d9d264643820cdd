package regtest

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/entrepot/entrepot/oci"
)

// CDN says that blobs are elsewhere. The zero value serves them at the
// registry.
type CDN struct {
	On   bool          // blobs are answered with a redirect to a signed URL at the second server
	Life time.Duration // of a signature; 0 means until ExpireLinks
}

// SetCDN says where blobs are. The CDN answers 400 to a request with an
// Authorization header, as Amazon and Azure do, and 403 to an expired
// signature (C11; K). Rules for what it sends have the kind CDNBlob.
func (r *Registry) SetCDN(c CDN) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cdn = c
}

// ExpireLinks makes every link that was signed until now worthless.
func (r *Registry) ExpireLinks() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.links++
}

// link signs a URL for a blob, where there is a CDN.
func (r *Registry) link(path string, d oci.Digest) (string, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.cdn.On {
		return "", false
	}
	q := url.Values{"X-Signature": {strconv.Itoa(r.links)}}
	if r.cdn.Life > 0 {
		q.Set("X-Expires", strconv.FormatInt(r.cfg.Now().Add(r.cdn.Life).UnixNano(), 10))
	}
	return fmt.Sprintf("%s/cdn/%s/blobs/%s?%s", r.side.url(), path, d, q.Encode()), true
}

// serveSide answers for the second server.
func (r *Registry) serveSide(w http.ResponseWriter, req *http.Request) {
	e := r.begin(entryOf(req))
	defer r.end(e)
	r.misbehave(w, req, e, r.honestSide)
}

func (r *Registry) honestSide(req *http.Request, e Entry) answer {
	switch e.Kind {
	case Token:
		return r.grant(req)
	case CDNBlob:
		return r.deliver(req, e)
	}
	return answer{http.StatusNotFound, http.Header{}, Bytes([]byte("404 page not found\n"))}
}

// deliver is the CDN.
func (r *Registry) deliver(req *http.Request, e Entry) answer {
	xml := http.Header{"Content-Type": {"application/xml"}}
	if e.Authorization() != "" {
		return answer{http.StatusBadRequest, xml, Bytes([]byte("<Error><Code>InvalidArgument</Code><Message>Only one auth mechanism allowed</Message></Error>"))}
	}
	if !r.signed(req.URL.Query()) {
		return answer{http.StatusForbidden, xml, Bytes([]byte("<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>"))}
	}
	c, ok := r.blob(e.Repo, oci.Digest(e.Ref))
	if !ok {
		return answer{http.StatusNotFound, xml, Bytes([]byte("<Error><Code>NoSuchKey</Code></Error>"))}
	}
	a := blobAnswer(oci.Digest(e.Ref), c)
	a.header.Del("Docker-Content-Digest") // a bucket knows nothing of it
	return a
}

func (r *Registry) signed(q url.Values) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if q.Get("X-Signature") != strconv.Itoa(r.links) {
		return false
	}
	if s := q.Get("X-Expires"); s != "" {
		nanos, err := strconv.ParseInt(s, 10, 64)
		return err == nil && r.cfg.Now().UnixNano() < nanos
	}
	return true
}
