package rules

import (
	"fmt"
	"net/netip"
	"net/url"
	"strings"

	"github.com/entrepot/entrepot/ref"
)

// A Role says what a place is in its rule.
type Role uint8

const (
	// Mirror is a place that the rule puts beside the upstream.
	Mirror Role = iota
	// Primary is the upstream: the original, or what the format puts in its
	// place.
	Primary
)

// String returns "mirror" or "primary".
func (r Role) String() string {
	if r == Primary {
		return "primary"
	}
	return "mirror"
}

// A Try is one place that is asked for an image. It is plain data.
type Try struct {
	// Ref is the image as it is called there.
	Ref ref.Ref
	// Host is the host[:port] that is asked.
	Host string
	// Scheme is how; never SchemeUnset.
	Scheme Scheme
	// APIRoot is the path in front of the repository, "" for none.
	APIRoot string
	Role    Role
	// Original says that it is the image's own registry and repository.
	Original bool
	// Can is what it may be asked for.
	Can Can
	// NS is the value of the query parameter ns, "" where none is sent.
	NS string
	// Transport is how the host is spoken to; nil means nothing special.
	Transport *Transport
	// Blocked says that the client refuses to ask it, because of BlockedBy.
	Blocked   bool
	BlockedBy *Rule
	// Unusable is why no request can be made. Empty means that one can.
	Unusable string
	// Origin is where it is written; the zero value means nowhere.
	Origin Origin
}

// Insecure reports whether the certificate is not checked.
func (t *Try) Insecure() bool { return t.Transport != nil && t.Transport.SkipVerify }

// Reference returns the image as it is called there: host/path[:tag][@digest].
func (t *Try) Reference() string { return t.Ref.String() }

// URL returns the address of the manifest, "" where no request can be made.
// For a place that is asked by HTTPS and then HTTP it is the first.
func (t *Try) URL() string {
	if t.Unusable != "" {
		return ""
	}
	u := t.base() + "/manifests/" + t.Ref.Identifier()
	if t.NS != "" {
		u += "?ns=" + url.QueryEscape(t.NS)
	}
	return u
}

// Base returns the address in front of "/manifests/" and "/blobs/", without ns;
// "" where no request can be made.
func (t *Try) Base() string {
	if t.Unusable != "" {
		return ""
	}
	return t.base()
}

func (t *Try) base() string {
	u := url.URL{Scheme: "https", Host: strings.TrimSuffix(t.Host, ":"), Path: t.APIRoot + "/" + t.Ref.Path}
	if t.Scheme == HTTP {
		u.Scheme = "http"
	}
	u.RawPath = u.Path // where it is valid as it is
	return u.String()
}

// try resolves an endpoint for the plan's image.
func (pl *planner) try(ep *Endpoint, role Role) (Try, error) {
	own := pl.plan.Ref
	t := Try{
		Ref: own, Role: role, Can: ep.Can.OrAll() & pl.d.Can.OrAll(), Unusable: ep.Unusable,
		Transport: ep.Transport, Scheme: ep.Scheme, Origin: ep.Origin,
	}
	switch ep.APIRoot {
	case "":
		t.APIRoot = "/v2"
	case "/":
	default:
		t.APIRoot = ep.APIRoot
	}
	if err := pl.name(&t, ep); err != nil {
		return t, err
	}
	if t.Host = pl.d.wire(t.Ref.Host, ep.Host != ""); t.Host == ":" && t.Unusable == "" {
		t.Unusable = "the address has a port's colon and no host"
	}
	t.Original = t.Ref.Path == own.Path && t.APIRoot == "/v2" && pl.isOwnHost(t.Host)
	if err := pl.settings(&t, ep); err != nil {
		return t, err
	}
	switch {
	case ep.NS.Value != "":
		t.NS = ep.NS.Value
	case ep.NS.Source && !pl.isOwnHost(t.Host):
		t.NS = own.Host
	}
	pl.block(&t, ep)
	return t, nil
}

// name sets what the image is called at an endpoint.
func (pl *planner) name(t *Try, ep *Endpoint) error {
	if ep.Host == "" && ep.Repo.isZero() {
		return nil
	}
	if pl.d.Textual {
		return pl.rewriteText(t, ep)
	}
	if ep.Host != "" {
		t.Ref.Host = ep.Host
	}
	t.Ref.Path = pl.rename(&ep.Repo, t.Ref.Path, pl.isOwnHost(t.Ref.Host))
	if pl.d.HostInPath && ep.Host != "" {
		if first, rest, ok := strings.Cut(t.Ref.Path, "/"); ok && (first == "localhost" || strings.ContainsAny(first, ".:")) {
			t.Ref.Host, t.Ref.Path = first, rest
		}
	}
	if pl.d.CheckNames && t.Unusable == "" && !ref.ValidPath(t.Ref.Path) {
		t.Unusable = fmt.Sprintf("%q is no repository's name", t.Ref.Path)
		if t.Ref.Path == "" {
			t.Unusable = "nothing is left of the repository's name"
		}
	}
	return nil
}

func (r *Repo) isZero() bool { return !r.StripMatched && r.Prefix == "" && len(r.Rewrites) == 0 }

// rename returns what a repository is called at an endpoint. own says that the
// endpoint is the image's own registry.
func (pl *planner) rename(r *Repo, path string, own bool) string {
	if rule := pl.best.rule; r.StripMatched && rule != nil && rule.Match.Kind == Prefix {
		path = strings.TrimPrefix(strings.TrimPrefix(path, rule.Match.Path), "/")
	}
	if !own {
		path = pl.rewrite(r.Rewrites, path)
	}
	switch {
	case r.Prefix == "":
		return path
	case path == "":
		return r.Prefix
	default:
		return r.Prefix + "/" + path
	}
}

// rewrite applies the first rewrite that makes another name of a path.
func (pl *planner) rewrite(rewrites []Rewrite, path string) string {
	for i := range rewrites {
		to := rewrites[i].Pattern.ReplaceAllString(path, rewrites[i].Replace)
		if to == path || !rewritten(to) {
			continue
		}
		if pl.d.HubLibrary && pl.plan.Ref.Host == ref.DockerHub && !strings.Contains(to, "/") {
			to = "library/" + to
		}
		return to
	}
	return path
}

// rewritten reports whether a rewrite may make a repository's name of s. It is
// what go-containerregistry takes (pkg/name, checkRepository), which is more
// than is valid.
func rewritten(s string) bool {
	return s != "" && len(s) <= 255 && !strings.ContainsFunc(s, func(c rune) bool {
		return (c < 'a' || c > 'z') && (c < '0' || c > '9') && !strings.ContainsRune("_-./", c)
	})
}

// rewriteText glues what follows the matched text to the endpoint, as
// containers/image does (rewriteReference): the port of a host that was matched
// without it, too. The result must be a normalised reference.
func (pl *planner) rewriteText(t *Try, ep *Endpoint) error {
	if ep.Host == "" {
		return nil
	}
	location := ep.Host
	if ep.Repo.Prefix != "" {
		location += "/" + ep.Repo.Prefix
	}
	text := location + pl.plan.Ref.String()[pl.best.end:]
	r, err := ref.Parse(text)
	if err == nil {
		err = pl.d.refuses(r)
	} else if pathOnly(location, text) {
		t.Ref.Host, t.Ref.Path = location, "" // shown, and not asked
		t.Unusable = fmt.Sprintf("%q begins with no host: the client takes all of it for a path", location)
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s at %s: %w", location, ep.Origin, err)
	}
	if r.String() != text {
		return fmt.Errorf("%s at %s: rewriting gives %q, which is not a whole name", location, ep.Origin, text)
	}
	t.Ref = r
	return nil
}

// pathOnly reports whether containers/image takes a whole reference for a path
// without a host, as it does where the host has a "_": it then builds a request
// to nobody and goes on to the next place.
func pathOnly(location, text string) bool {
	host, _, _ := strings.Cut(location, "/")
	if ref.ValidHost(host) || !strings.Contains(host, ".") {
		return false
	}
	_, err := ref.Parse(ref.DockerHub + "/" + text)
	return err == nil
}

// settings fills in what the host's settings say where the endpoint says
// nothing.
func (pl *planner) settings(t *Try, ep *Endpoint) error {
	h, ok := pl.set.settingsOf(t.Ref.Host, t.Host)
	if ok {
		if h.Fails != nil {
			return h.Fails
		}
		if t.Transport == nil {
			t.Transport = h.Transport
		}
		if t.Scheme == SchemeUnset {
			t.Scheme = h.Scheme
		}
	}
	if t.Scheme == SchemeUnset && (ep.Host == "" || pl.d.Localhost == LocalhostOrPrivate) {
		pl.localhost(t)
	}
	if t.Scheme == SchemeUnset {
		t.Scheme = HTTPS
	}
	if pl.set.local == LocalhostPlain && t.Scheme == HTTP && isLocalhost(pl.plan.Ref.Host) {
		t.unverified() // decided by the image's registry, and not by the place
	}
	return nil
}

// settingsOf returns what holds for a host in every rule; for one that nothing
// is said about, what holds for all such hosts.
func (s *Set) settingsOf(name, wire string) (HostSettings, bool) {
	if h, ok := s.hosts[name]; ok {
		return h, true
	}
	if h, ok := s.hosts[wire]; ok {
		return h, true
	}
	if len(s.nets) > 0 {
		host := withoutPort(wire)
		if host != wire { // a literal without a port is no address to Docker
			host = strings.Trim(host, "[]")
		}
		addr, err := netip.ParseAddr(host)
		for i := range s.nets {
			if err == nil && s.nets[i].Net.Contains(addr) {
				return s.nets[i].HostSettings, true
			}
		}
	}
	h, ok := s.hosts[AnyHost]
	return h, ok
}

var unverified = Transport{SkipVerify: true}

// localhost applies the rule for registries on this machine: the files', or
// else the client's.
func (pl *planner) localhost(t *Try) {
	how := pl.d.Localhost
	if pl.set.local != LocalhostVerified {
		how = pl.set.local
	}
	if how == LocalhostOrPrivate {
		if isLocalOrPrivate(t.Host) {
			t.Scheme = HTTPSThenHTTP
		}
		return
	}
	if how == LocalhostVerified || !how.isLocalhost(t.Host) {
		return
	}
	var skipVerify bool
	t.Scheme, skipVerify = how.reach(portOf(t.Host))
	switch {
	case skipVerify:
		t.unverified()
	case how == LocalhostPortHTTP && t.Scheme == HTTP && t.Transport != nil: // settings of TLS are then left aside
		t.Transport = &Transport{InlineAuth: t.Transport.InlineAuth}
	}
}

// unverified switches the check of the certificate off.
func (t *Try) unverified() {
	if t.Transport == nil {
		t.Transport = &unverified
		return
	}
	tr := *t.Transport
	tr.SkipVerify = true
	t.Transport = &tr
}

// reach says how a registry on this machine is reached at a port, "" for none.
func (how LocalhostRule) reach(port string) (scheme Scheme, skipVerify bool) {
	ambiguous := port != "" && port != "443"
	switch how {
	case LocalhostHTTP:
		return HTTP, false
	case LocalhostPortHTTP:
		if ambiguous {
			return HTTP, false
		}
		return SchemeUnset, false
	case LocalhostPlain:
		return HTTP, true
	case LocalhostInsecure:
		return HTTPSThenHTTP, true
	}
	switch {
	case port == "80":
		return HTTP, false
	case ambiguous:
		return HTTPSThenHTTP, true
	default:
		return HTTPS, true
	}
}

// isLocalhost reports whether host[:port] is this machine to a client with that
// rule. Of the IPv6 literals without a port, [::1] counts for BuildKit alone.
func (how LocalhostRule) isLocalhost(host string) bool {
	return host == "[::1]" && how == LocalhostHTTP || isLocalhost(host)
}

// isLocalhost reports whether host[:port] is this machine. An IPv6 literal
// without a port does not count.
func isLocalhost(host string) bool {
	name := withoutPort(host)
	if name == "localhost" {
		return true
	}
	if host == "" || host[0] != '[' && (host[0] < '0' || host[0] > '9') {
		return false
	}
	if name != host {
		name = strings.Trim(name, "[]")
	}
	addr, err := netip.ParseAddr(name)
	return err == nil && addr.IsLoopback()
}

// isLocalOrPrivate reports whether go-containerregistry tries plain HTTP for
// host[:port]: addresses of RFC 1918, 127.0.0.1, ::1, localhost with a port, and
// every name below localhost.
func isLocalOrPrivate(host string) bool {
	name := withoutPort(host)
	if strings.HasPrefix(host, "localhost:") || strings.HasSuffix(name, ".localhost") {
		return true
	}
	if host == "" || host[0] != '[' && (host[0] < '0' || host[0] > '9') {
		return false // no address: parsing it would allocate an error
	}
	addr, err := netip.ParseAddr(strings.Trim(name, "[]"))
	if err != nil {
		return false
	}
	return addr == netip.IPv6Loopback() || addr == netip.AddrFrom4([4]byte{127, 0, 0, 1}) || addr.Is4() && addr.IsPrivate()
}

// block finds out whether the client refuses to ask the place.
func (pl *planner) block(t *Try, ep *Endpoint) {
	rule := pl.best.rule
	switch {
	case ep.Blocked && (pl.d.BlockByRule || !pl.d.BlockByName):
		t.Blocked, t.BlockedBy = true, rule
	case rule != nil && pl.d.BlockByName:
		var room [12]found
		list := pl.set.match(room[:0], t.Ref.Name, &pl.d)
		if len(list) > 0 && list[0].rule.Upstream.Endpoint.Blocked {
			t.Blocked, t.BlockedBy = true, list[0].rule
		}
	}
}
