package remote

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path"
	"strings"

	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
)

// An EndpointConfig describes one registry. The URL is required.
type EndpointConfig struct {
	// URL is where the registry is: "https://registry.example.com:5000"; https
	// where it names no scheme. A path stands before "/v2/"; one that has a
	// segment "v2" already is taken as it is, so that a mirror may keep a
	// registry below "https://mirror.example.com/v2/docker.io".
	URL string

	// Root takes the URL's path as the whole API root, also where it has no
	// segment "v2": repositories are right below it.
	Root bool

	// Label names the endpoint in events, logs and [oci.Blob.From]; "" is the
	// URL's host.
	Label string

	// AllowPrivate lets the endpoint, and whatever it redirects to, be on a
	// private or loopback address. Metadata services are refused even then.
	AllowPrivate bool

	// PrivateHost lets the endpoint's own origin be on a private or loopback
	// address, and nothing that it leads to: where an operator named the host,
	// but not what it redirects to.
	PrivateHost bool

	// Transport is how the endpoint, and whatever it redirects to, is spoken
	// to; nil means as the client does. It belongs to the same Client.
	Transport *Transport

	// Header is sent with every request to the endpoint's own origin, and to
	// no other. What a request sets itself goes before; an Authorization is
	// for requests that have none by the registry's own way. Names that would
	// change what is asked for, such as Range, are left out.
	Header http.Header

	// TokenHosts are further hosts, with a port where it is not the usual
	// one, whose token services may be given this endpoint's credentials.
	TokenHosts []string

	// LocalTokens lets a registry on this machine have its token service at
	// another port of this machine. It is for commands, whose user names the
	// registry and starts what listens here.
	LocalTokens bool

	// Credentials are used where the registry asks for them; nil is
	// anonymous.
	Credentials Credentials

	// Namespace is sent as ns= with each read, for an endpoint that is itself
	// a mirror of several registries; "" sends none.
	Namespace string

	MaxManifest int64 // bytes; 0 is oci.MaxManifest
	MaxSkip     int64 // bytes that are read and dropped where a registry does not honour a range; 0 is 64 MiB

	// TrustHead believes a 404 that answers a HEAD. Some registries answer so
	// for what a GET finds, so that normally a GET is asked to confirm.
	TrustHead bool

	// AssumeAbsent makes PutBlob push without asking first whether the blob
	// is there.
	AssumeAbsent bool
}

// An Endpoint is one registry. Its methods are safe for concurrent use. Of a
// [ref.Name] they use the path alone: the host is the endpoint's.
type Endpoint struct {
	client *Client
	cfg    EndpointConfig
	base   *url.URL // ends in a slash, with /v2/ in it
	below  string   // the part of the base's path after /v2/, which belongs to the names of repositories there
	wire   *Transport
	auth   *authorizer
	etags  etags
	sizes  uploadSizes

	api apiState // of referrers
}

var (
	_ oci.Reader          = (*Endpoint)(nil)
	_ oci.Lister          = (*Endpoint)(nil)
	_ oci.Catalog         = (*Endpoint)(nil)
	_ oci.ReferrersLister = (*Endpoint)(nil)
	_ oci.SubjectLister   = (*Endpoint)(nil)
	_ oci.Ranger          = (*Endpoint)(nil)
)

// Endpoint returns the registry that cfg describes. Nothing is asked yet; the
// only error is a URL that is none.
func (c *Client) Endpoint(cfg EndpointConfig) (*Endpoint, error) {
	base, err := parseBase(cfg.URL, cfg.Root)
	if err != nil {
		return nil, fmt.Errorf("endpoint %q: %w", cfg.URL, err)
	}
	e := &Endpoint{client: c, cfg: cfg, base: base, wire: cmp.Or(cfg.Transport, c.shared), sizes: defaultSizes}
	e.cfg.Label = cmp.Or(cfg.Label, base.Host)
	e.cfg.Header = extras(cfg.Header)
	_, e.below, _ = strings.Cut(base.Path, "/v2/")
	e.auth = &authorizer{e: e}
	return e, nil
}

// Label returns the name of the endpoint in events and logs.
func (e *Endpoint) Label() string { return e.cfg.Label }

func parseBase(s string, root bool) (*url.URL, error) {
	if !strings.Contains(s, "://") {
		s = "https://" + s
	}
	u, err := url.Parse(s)
	if err != nil {
		return nil, errors.New("it is no URL") // the cause would quote it, and it may hold a password
	}
	switch {
	case u.Scheme != "https" && u.Scheme != "http":
		return nil, errors.New("the scheme is neither https nor http")
	case u.Hostname() == "":
		return nil, errors.New("the host is missing")
	case u.User != nil:
		return nil, errors.New("credentials do not belong into the URL")
	case u.RawQuery != "" || u.Fragment != "":
		return nil, errors.New("a registry's URL has no query and no fragment")
	}
	p := path.Clean("/" + u.Path + "/")
	if p = strings.TrimSuffix(p, "/") + "/"; !root && !strings.Contains(p, "/v2/") {
		p += "v2/"
	}
	return &url.URL{Scheme: u.Scheme, Host: strings.ToLower(u.Host), Path: p}, nil
}

// extras returns a copy of a header without what is not for a configuration
// to say.
func extras(h http.Header) http.Header {
	var out http.Header
	for name, values := range h {
		name = http.CanonicalHeaderKey(name)
		switch name {
		case "Accept", "Accept-Encoding", "Connection", "Content-Length", "Content-Type", "Host", "If-Range", "Range", "Transfer-Encoding", "Via":
			continue
		}
		if out == nil {
			out = make(http.Header, len(h))
		}
		out[name] = append(out[name], values...)
	}
	return out
}

// mayBePrivate reports whether a host of the endpoint may be on a private
// address. own says that it is the endpoint's origin.
func (e *Endpoint) mayBePrivate(own bool) bool {
	return e.cfg.AllowPrivate || own && e.cfg.PrivateHost
}

// wires returns the connections for a host.
func (e *Endpoint) wires(own bool) *wires { return e.wire.wires(e.mayBePrivate(own)) }

// plain reports whether the endpoint itself is plain HTTP, so that what it
// leads to may be.
func (e *Endpoint) plain() bool { return e.base.Scheme == "http" }

// url returns the URL of something below a repository, with the query.
func (e *Endpoint) url(n ref.Name, below string, query url.Values) *url.URL {
	u := *e.base
	u.Path += n.Path + "/" + below
	u.RawQuery = query.Encode()
	return &u
}

// reading returns the query that every read has.
func (e *Endpoint) reading() url.Values {
	q := make(url.Values)
	if e.cfg.Namespace != "" {
		q.Set("ns", e.cfg.Namespace)
	}
	return q
}

// scope returns the token scope for actions on a repository.
func (e *Endpoint) scope(n ref.Name, actions string) string {
	return "repository:" + e.below + n.Path + ":" + actions
}

// checkName refuses what would make another URL than the one that is meant.
func checkName(n ref.Name) error {
	if !ref.ValidPath(n.Path) {
		return oci.Errorf(oci.ErrInvalid, oci.CodeNameInvalid, "%q is no name of a repository", n.Path)
	}
	return nil
}

func checkDigest(n ref.Name, d oci.Digest) error {
	if _, err := ref.ParseDigest(string(d)); err != nil {
		return oci.Errorf(oci.ErrInvalid, oci.CodeDigestInvalid, "%w", err)
	}
	return checkName(n)
}

func checkRef(r ref.Ref) error {
	if r.Digest != "" {
		return checkDigest(r.Name, r.Digest)
	}
	if !ref.ValidTag(r.Tag) {
		return oci.Errorf(oci.ErrInvalid, oci.CodeManifestInvalid, "%q is no tag", r.Tag)
	}
	return checkName(r.Name)
}
