package regtest

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/entrepot/entrepot/oci"
)

// An answer is what the registry means to say, before a fault.
type answer struct {
	status  int
	header  http.Header
	content Content // nil: no body
}

// problem is an error document of the distribution-spec.
func problem(status int, code, message string) answer {
	doc := fmt.Sprintf(`{"errors":[{"code":%q,"message":%q}]}`, code, message)
	return answer{status, http.Header{"Content-Type": {"application/json"}}, Bytes([]byte(doc))}
}

func document(v any) answer {
	return answer{http.StatusOK, http.Header{"Content-Type": {"application/json"}}, Bytes(mustJSON(v))}
}

// serve answers for the registry itself.
func (r *Registry) serve(w http.ResponseWriter, req *http.Request) {
	e := r.begin(entryOf(req))
	defer r.end(e)
	if a, ok := r.admit(req, *e); !ok {
		r.send(w, req, e, a, Fault{}, nil)
		return
	}
	r.misbehave(w, req, e, r.honest)
}

// misbehave answers with what honest says, or with the fault that a rule asks
// for.
func (r *Registry) misbehave(w http.ResponseWriter, req *http.Request, e *Entry, honest func(*http.Request, Entry) answer) {
	f, rule := r.faults.pick(*e)
	if f.Before != nil {
		f.Before()
	}
	if f.After != nil {
		defer f.After()
	}
	if f.Hold && !r.wait(req, rule) || f.Delay > 0 && !r.pause(req, f.Delay) {
		panic(http.ErrAbortHandler) // the client has gone, or the test is over
	}
	if f.End != EndWhole && f.At < 0 {
		rule.arrive()
		drop(w, f.End == EndReset)
		return
	}
	var a answer
	if f.replaces() {
		a = f.replacement()
	} else {
		a = honest(req, *e)
	}
	r.send(w, req, e, a, f, rule)
}

// honest answers as a registry should.
func (r *Registry) honest(req *http.Request, e Entry) answer {
	switch e.Kind {
	case Ping:
		return document(struct{}{})
	case Token:
		return r.grant(req)
	case Upload:
		return r.upload(req, e)
	case Manifest:
		if req.Method == http.MethodPut {
			return r.putManifest(req, e)
		}
	}
	if req.Method == http.MethodDelete {
		return r.delete(e)
	}
	if req.Method != http.MethodGet && req.Method != http.MethodHead {
		return problem(http.StatusMethodNotAllowed, oci.CodeUnsupported, "this method is not for reading")
	}
	switch e.Kind {
	case Manifest:
		return r.getManifest(e)
	case Blob:
		return r.getBlob(e)
	case Tags:
		return r.listTags(req, e)
	case Catalog:
		return r.listRepos(req)
	case Referrers:
		return r.listReferrers(req, e)
	}
	return answer{http.StatusNotFound, http.Header{}, Bytes([]byte("404 page not found\n"))}
}

func (r *Registry) getManifest(e Entry) answer {
	m, ok := r.manifest(e.Repo, e.Ref)
	if !ok && r.noReferrersAPI() {
		m, ok = r.fallback(e.Repo, e.Ref)
	}
	if !ok {
		return problem(http.StatusNotFound, oci.CodeManifestUnknown, "manifest unknown")
	}
	return answer{http.StatusOK, http.Header{
		"Content-Type":          {m.MediaType},
		"Docker-Content-Digest": {string(m.Digest)},
	}, Bytes(m.Raw)}
}

func (r *Registry) getBlob(e Entry) answer {
	d := oci.Digest(e.Ref)
	c, ok := r.blob(e.Repo, d)
	if !ok {
		return problem(http.StatusNotFound, oci.CodeBlobUnknown, "blob unknown to registry")
	}
	if link, ok := r.link(e.Repo, d); ok {
		return answer{status: http.StatusTemporaryRedirect, header: http.Header{"Location": {link}}}
	}
	return blobAnswer(d, c)
}

func blobAnswer(d oci.Digest, c Content) answer {
	return answer{http.StatusOK, http.Header{
		"Accept-Ranges":         {"bytes"},
		"Content-Type":          {"application/octet-stream"},
		"Docker-Content-Digest": {string(d)},
		"Etag":                  {strconv.Quote(string(d))},
	}, c}
}

func (r *Registry) delete(e Entry) answer {
	if e.Kind != Manifest && e.Kind != Blob {
		return problem(http.StatusMethodNotAllowed, oci.CodeUnsupported, "this cannot be deleted")
	}
	if !r.Delete(e.Repo, e.Ref) {
		return problem(http.StatusNotFound, oci.CodeManifestUnknown, "there is no such thing")
	}
	return answer{status: http.StatusAccepted, header: http.Header{}}
}

// wait holds a request until its rule is released. It reports false where the
// client or the test did not wait so long.
func (r *Registry) wait(req *http.Request, rule *Rule) bool {
	rule.arrive()
	select {
	case <-rule.released:
		return true
	case <-req.Context().Done():
	case <-r.stopped:
	}
	return false
}

func (r *Registry) pause(req *http.Request, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-req.Context().Done():
	case <-r.stopped:
	}
	return false
}

// entryOf reads what a request asks for. It is no judge of names: what the
// path says is what is looked up.
func entryOf(req *http.Request) Entry {
	e := Entry{Kind: Other, Method: req.Method, Path: req.URL.Path, Query: req.URL.RawQuery, Header: req.Header.Clone()}
	if rg, ok := parseRange(req.Header.Get("Range")); ok {
		e.Offset = max(0, rg.start)
	}
	switch path, v2 := strings.CutPrefix(req.URL.Path, "/v2/"); {
	case req.URL.Path == "/token":
		e.Kind = Token
	case req.URL.Path == "/v2/":
		e.Kind = Ping
	case path == "_catalog":
		e.Kind = Catalog
	case v2:
		e.split(path)
	case strings.HasPrefix(path, "/cdn/"):
		e.split(strings.TrimPrefix(path, "/cdn/"))
		e.Kind = CDNBlob
	}
	return e
}

// split reads the path of a request for something in a repository.
func (e *Entry) split(path string) {
	for _, s := range []struct {
		sep  string
		kind Kind
	}{{"/blobs/uploads/", Upload}, {"/blobs/", Blob}, {"/manifests/", Manifest}, {"/referrers/", Referrers}, {"/tags/list", Tags}} {
		if i := strings.LastIndex(path, s.sep); i > 0 {
			e.Kind, e.Repo, e.Ref = s.kind, path[:i], path[i+len(s.sep):]
			return
		}
	}
}
