package rules

import (
	"regexp"
	"strings"
	"time"
)

// An Endpoint is a place that a rule leads to. The zero value is the image's
// own registry and repository, over HTTPS, for everything.
type Endpoint struct {
	// Scheme is how the host is reached; the zero value leaves it to the
	// host's settings, and is HTTPS where there are none.
	Scheme Scheme
	// Host is host[:port]; empty means the image's own registry.
	Host string
	// APIRoot is the path in front of the repository, with a slash at its
	// front and none at its end: "/v2", "/repository/hub/v2". Empty means
	// "/v2", "/" means that there is none.
	APIRoot string
	// Repo says how the repository is called there.
	Repo Repo
	// Kinds are the kinds of reference that it is for; the zero value means
	// all.
	Kinds Kinds
	// Can is what it may be asked for; the zero value means everything.
	Can Can
	// Primary marks the entry that the format itself puts as the upstream, for
	// clients that do not try it last.
	Primary bool
	// Transport overrides the host's settings; nil leaves it to them.
	Transport *Transport
	// NS says what goes into the query parameter ns of every request.
	NS NS
	// Blocked marks a place that the client refuses to ask.
	Blocked bool
	// Unusable is why no request can be made for it. Empty means that it can.
	Unusable string
	// Origin is where it is written.
	Origin Origin
}

// SetPath sets APIRoot and the repository's prefix from the path of an API
// root: "/v2/team" is the namespace "team" below "/v2", anything else is a root
// of its own. Namespace and root thereby stay apart, whichever way the file
// spells them.
func (e *Endpoint) SetPath(path string) {
	e.APIRoot, e.Repo.Prefix = path, ""
	if path == "" {
		e.APIRoot = "/"
	}
	if rest, ok := strings.CutPrefix(path, "/v2/"); ok && rest != "" {
		e.APIRoot, e.Repo.Prefix = "/v2", strings.TrimSuffix(rest, "/")
	}
}

// Path returns the path of the API root and the namespace below it, as
// [Endpoint.SetPath] takes it.
func (e *Endpoint) Path() string {
	root := e.APIRoot
	switch root {
	case "":
		root = "/v2"
	case "/":
		root = ""
	}
	if e.Repo.Prefix != "" {
		root += "/" + e.Repo.Prefix
	}
	return root
}

// A Scheme says how a host is reached.
type Scheme uint8

const (
	// SchemeUnset leaves it to the host's settings; HTTPS where there are none.
	SchemeUnset Scheme = iota
	// HTTPS is HTTPS only.
	HTTPS
	// HTTP is plain HTTP only.
	HTTP
	// HTTPSThenHTTP is HTTPS, and plain HTTP where that does not answer.
	HTTPSThenHTTP
)

var schemes = [...]string{"", "https", "http", "https, then http"}

// String returns the scheme in words.
func (s Scheme) String() string { return schemes[s] }

// Repo says how an endpoint calls a repository. The zero value keeps the name.
type Repo struct {
	// StripMatched drops the part of the path that the rule's Match is for.
	StripMatched bool
	// Prefix is put in front, with a slash between; empty means nothing. It is
	// not validated: a client may ask for nonsense.
	Prefix string
	// Rewrites are applied before Prefix, and not where the endpoint is the
	// image's own registry. The first that makes another name of the path is
	// the only one.
	Rewrites []Rewrite
}

// A Rewrite replaces what a pattern matches in a repository's path.
type Rewrite struct {
	Pattern *regexp.Regexp
	Replace string // as [regexp.Regexp.ReplaceAllString] takes it
	Origin  Origin
}

// Kinds is a set of kinds of reference. The zero value means all.
type Kinds uint8

const (
	// Tags are references that a tag decides.
	Tags Kinds = 1 << iota
	// Digests are references that a digest decides, with or without a tag.
	Digests
)

// Has reports whether the set has k. The zero set has everything.
func (s Kinds) Has(k Kinds) bool { return s == 0 || s&k != 0 }

// Can is a set of what a place may be asked for. In an [Endpoint] the zero
// value means everything.
type Can uint8

const (
	// Pull is reading manifests by digest, and blobs.
	Pull Can = 1 << iota
	// Resolve is saying which digest a tag has.
	Resolve
	// Push is writing.
	Push
	// Referrers is listing what refers to a manifest.
	Referrers

	// Everything is all of these.
	Everything = Pull | Resolve | Push | Referrers
)

// OrAll returns the set, and everything for the zero one.
func (c Can) OrAll() Can {
	if c == 0 {
		return Everything
	}
	return c
}

// Names returns the names of what is in the set, in the order "pull",
// "resolve", "push", "referrers".
func (c Can) Names() []string {
	var names []string
	for i, name := range [...]string{"pull", "resolve", "push", "referrers"} {
		if c&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return names
}

// CanNamed returns the capability of that name; false where there is none.
func CanNamed(name string) (Can, bool) {
	switch name {
	case "pull":
		return Pull, true
	case "resolve":
		return Resolve, true
	case "push":
		return Push, true
	case "referrers":
		return Referrers, true
	}
	return 0, false
}

// NS says what an endpoint is sent in the query parameter ns (distribution-spec,
// "Registry Proxying"). The zero value sends none.
type NS struct {
	// Source sends the host of the image's own registry, except to that
	// registry itself.
	Source bool
	// Value is sent as it is; it goes before Source.
	Value string
}

// A Transport is how a host is spoken to. The zero value verifies certificates
// by the system's roots.
type Transport struct {
	SkipVerify  bool          // no check of the certificate
	CA          []string      // files, or "inline" for InlineCA; beside the system's roots
	InlineCA    string        // authorities that stand in the file itself, in PEM; they are no secret
	Client      []KeyPair     // client certificates
	Header      []Header      // sent with every request
	DialTimeout time.Duration // 0 means the client's own
	// InlineAuth says that the file holds credentials for the host; the
	// credentials themselves are never kept.
	InlineAuth bool
}

// A KeyPair names the files of a client certificate. An empty Key means that it
// is in the file of the certificate.
type KeyPair struct{ Cert, Key string }

// A Header is a header of a request, with all its values.
type Header struct {
	Name   string // as the file spells it
	Values []string
}
