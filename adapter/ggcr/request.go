package ggcr

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"

	"github.com/entrepot/entrepot/ref"
)

// A kind says what a request is for.
type kind uint8

const (
	foreign  kind = iota // nothing that rules are about: a layer at an address of its own
	ping                 // whether there is a registry
	manifest             // of an image
	blob                 // of an image
	list                 // of tags or referrers
	unknown              // another request to a registry
)

// A request is what go-containerregistry asks a registry for.
type request struct {
	kind kind
	ref  ref.Ref // with manifest and blob: what is asked for; with list: the repository
	rest string  // with list: what follows the repository in the path
}

// parse reads the address of a request.
func parse(u *url.URL) request {
	rest, ok := strings.CutPrefix(u.Path, "/v2/")
	switch {
	case !ok:
		return request{}
	case rest == "":
		return request{kind: ping}
	}
	parts := strings.Split(rest, "/")
	if len(parts) < 3 {
		return request{kind: unknown}
	}
	n := len(parts) - 2
	what, id := parts[n], parts[n+1]
	r := request{kind: unknown, ref: ref.Ref{Name: ref.Name{Host: canonical(u.Host), Path: strings.Join(parts[:n], "/")}}}
	if !ref.ValidHost(r.ref.Host) || !ref.ValidPath(r.ref.Path) {
		return request{kind: unknown}
	}
	digest, err := ref.ParseDigest(id)
	switch {
	case what == "manifests" && err == nil:
		r.kind, r.ref.Digest = manifest, digest
	case what == "manifests" && ref.ValidTag(id):
		r.kind, r.ref.Tag = manifest, id
	case what == "blobs" && err == nil:
		r.kind, r.ref.Digest = blob, digest
	case what == "tags" && id == "list", what == "referrers" && err == nil:
		r.kind, r.rest = list, what+"/"+id
		r.ref.Digest = digest
	}
	return r
}

// canonical returns what rules call a registry: docker.io for Docker Hub.
func canonical(host string) string {
	if host = strings.ToLower(host); host == name.DefaultRegistry {
		return ref.DockerHub
	}
	return host
}

// reads reports whether a method reads.
func reads(method string) bool { return method == http.MethodGet || method == http.MethodHead }
