package registry

import (
	"net/url"
	"strings"
)

// A resource is what a path of the protocol names (distribution-spec 1.1,
// "Endpoints").
type resource uint8

const (
	unknown   resource = iota
	base               // /v2/
	catalog            // /v2/_catalog
	tags               // /v2/<name>/tags/list
	manifest           // /v2/<name>/manifests/<reference>
	blob               // /v2/<name>/blobs/<digest>
	uploads            // /v2/<name>/blobs/uploads/
	session            // /v2/<name>/blobs/uploads/<id>
	referrers          // /v2/<name>/referrers/<digest>
)

// An endpoint is a parsed path. Nothing in it is validated but its shape.
type endpoint struct {
	resource resource
	name     string // the repository, as the client calls it
	ref      string // tag, digest or session
}

// parsePath reads a path from its end, because a repository may be called
// "a/manifests/b". It allocates nothing.
func parsePath(path string) endpoint {
	rest, ok := strings.CutPrefix(path, "/v2/")
	switch {
	case path == "/v2", ok && rest == "":
		return endpoint{resource: base}
	case rest == "_catalog":
		return endpoint{resource: catalog}
	case !ok, rest[0] == '_': // /v2/_<extension>/ is reserved
		return endpoint{}
	}
	head, ref, ok := cutLast(rest)
	if !ok {
		return endpoint{}
	}
	name, kind, ok := cutLast(head)
	if !ok || name == "" {
		return endpoint{}
	}
	return endpointOf(name, kind, ref)
}

func endpointOf(name, kind, ref string) endpoint {
	switch {
	case kind == "uploads":
		name, ok := strings.CutSuffix(name, "/blobs")
		if !ok || name == "" {
			return endpoint{}
		}
		if ref == "" {
			return endpoint{uploads, name, ""}
		}
		return endpoint{session, name, ref}
	case ref == "":
		return endpoint{}
	case kind == "manifests":
		return endpoint{manifest, name, ref}
	case kind == "blobs" && ref == "uploads":
		return endpoint{uploads, name, ""}
	case kind == "blobs":
		return endpoint{blob, name, ref}
	case kind == "referrers":
		return endpoint{referrers, name, ref}
	case kind == "tags" && ref == "list":
		return endpoint{tags, name, ""}
	}
	return endpoint{}
}

// cutLast cuts s at its last slash.
func cutLast(s string) (before, after string, ok bool) {
	i := strings.LastIndexByte(s, '/')
	if i < 0 {
		return "", "", false
	}
	return s[:i], s[i+1:], true
}

// A query is a raw query string. It is searched instead of parsed, since most
// requests have none or ask for one key; what nobody asks for is ignored.
type query string

// get returns the first value of key.
func (q query) get(key string) (value string, ok bool) {
	for pair := range strings.SplitSeq(string(q), "&") {
		k, v, _ := strings.Cut(pair, "=")
		if k == key || unescape(k) == key {
			return unescape(v), true
		}
	}
	return "", false
}

// all returns every value of key.
func (q query) all(key string) []string {
	var all []string
	for pair := range strings.SplitSeq(string(q), "&") {
		k, v, _ := strings.Cut(pair, "=")
		if k == key || unescape(k) == key {
			all = append(all, unescape(v))
		}
	}
	return all
}

// unescape decodes a part of a query. What cannot be decoded stays as it is:
// no valid parameter has a '%' in it, so that it is refused where it matters.
func unescape(s string) string {
	if strings.IndexByte(s, '%') < 0 && strings.IndexByte(s, '+') < 0 {
		return s
	}
	if u, err := url.QueryUnescape(s); err == nil {
		return u
	}
	return s
}
