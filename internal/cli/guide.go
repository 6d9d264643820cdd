package cli

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/entrepot/entrepot/mirror"
	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
	"github.com/entrepot/entrepot/remote"
	"github.com/entrepot/entrepot/rules"
)

// A guide leads questions to the places that mirror rules name. It holds the
// connections to them, and is closed when another guide takes its place;
// questions that are under way by then end where they are.
type guide struct {
	client *remote.Client
	set    *rules.Set
	known  *identities

	mu         sync.Mutex // guards what follows
	closed     bool
	transports map[string]*remote.Transport // :: settings → connections
	readers    map[placeKey]oci.Reader
}

// A placeKey is all that two places must have in common to be one.
type placeKey struct {
	upstream string
	scope    string // who we are there
	base     string
	scheme   rules.Scheme
	ns       string
	settings string
}

// maxReaders bounds the readers that are remembered: below wildcards clients
// choose the hosts that they are for.
const maxReaders = 4096

// newGuide makes the guide of a steering, nil where no rules are named. Its
// files are read now, so that what cannot be used is known before it is.
func newGuide(client *remote.Client, s steering) (*guide, error) {
	if s.set == nil {
		return nil, nil
	}
	g := &guide{
		client: client, set: s.set, known: newIdentities(&s.config),
		transports: map[string]*remote.Transport{}, readers: map[placeKey]oci.Reader{},
	}
	for at, t := range transports(&s.config) {
		if _, err := g.transport(t); err != nil {
			g.close()
			return nil, fmt.Errorf("%s: %w", at, err)
		}
	}
	return g, nil
}

// close closes connections as they become idle. A nil guide has none.
func (g *guide) close() {
	if g == nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = true
	for _, t := range g.transports {
		t.Close() // never fails
	}
}

// settings names the settings of a transport, "" for none.
func settings(t *rules.Transport) string {
	if t == nil || !t.SkipVerify && len(t.CA) == 0 && len(t.Client) == 0 && len(t.Header) == 0 && t.DialTimeout == 0 {
		return ""
	}
	return fmt.Sprintf("%t %q %q %q %q %v", t.SkipVerify, t.CA, t.InlineCA, t.Client, t.Header, t.DialTimeout)
}

// transport returns the connections for settings.
func (g *guide) transport(t *rules.Transport) (*remote.Transport, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	key := settings(t)
	if own, ok := g.transports[key]; ok {
		return own, nil
	}
	tlsConfig, err := tlsOf(t)
	if err != nil {
		return nil, err
	}
	own := g.client.Transport(remote.TransportConfig{TLS: tlsConfig, DialTimeout: dialTimeout(t)})
	g.transports[key] = own
	if g.closed {
		own.Close() // it may be used, and then leaves nothing behind
	}
	return own, nil
}

// wants is what a place has to be able to do for a question.
func wants(op mirror.Op) rules.Can {
	if op == mirror.OpReferrers {
		return rules.Referrers
	}
	return rules.Pull
}

// plan names the places for a question about an upstream: those of the rules'
// plan, with the upstream's own ones where the plan has the image's registry.
//
// A mirror for tags only is asked for digests too, after all others: what a
// tag there leads to may be nowhere else.
func (g *guide) plan(op mirror.Op, r ref.Ref, home *home) ([]mirror.Place, error) {
	plan := g.set.Plan(r, wants(op), rules.Native())
	var all []mirror.Place
	add := func(t *rules.Try) error {
		if t.Blocked || t.Unusable != "" {
			return nil
		}
		places, err := g.places(t, r.Name, home)
		for _, p := range places {
			// A mirror that the upstream's table names too has had its turn.
			if len(places) == 1 || p.Original || !labelled(all, p.Label) {
				all = append(all, p)
			}
		}
		return err
	}
	for i := range plan.Tries {
		if err := add(&plan.Tries[i]); err != nil {
			return nil, err
		}
	}
	for i := range plan.Skips {
		if s := &plan.Skips[i]; r.Digest != "" && s.Missing == 0 {
			if err := add(&s.Try); err != nil {
				return nil, err
			}
		}
	}
	if len(all) == 0 {
		return nil, &oci.Error{Kind: oci.ErrDenied, Code: oci.CodeDenied, Message: "mirror rules leave no place for " + r.Name.String(), Err: plan.Err}
	}
	return all, nil
}

func labelled(places []mirror.Place, label string) bool {
	return slices.ContainsFunc(places, func(p mirror.Place) bool { return p.Label == label })
}

// isOwn reports whether a try is the upstream itself: the image's registry, or
// what the upstream's table says about where it is.
func isOwn(t *rules.Try, n ref.Name, u upstream) bool {
	return t.Ref.Path == n.Path && (t.Original || t.Scheme != rules.HTTPSThenHTTP && baseOf(t) == apiRoot(u.url))
}

// places returns the places of a try: one, or all that the upstream has of its
// own.
func (g *guide) places(t *rules.Try, n ref.Name, home *home) ([]mirror.Place, error) {
	if !isOwn(t, n, home.upstream) {
		label := mirrorLabel(home.name, strings.TrimSuffix(baseOf(t), "/v2"))
		reader, err := g.reader(t, label, home)
		return []mirror.Place{{Reader: reader, Name: t.Ref.Name, Label: label, Tags: true}}, err
	}
	own := home.named(n)
	last := &own[len(own)-1]
	last.Original = true
	at, differs := home.reached(*t)
	if !differs {
		return own, nil
	}
	reader, err := g.reader(&at, home.name, home)
	last.Reader = reader
	return own, err
}

// reached returns how the rules have the upstream itself reached, and whether
// that differs from what its own place does. Where it is, and by which scheme,
// its url says where it is set; what the rules say about a host is nothing to
// an upstream whose url is at another one.
func (h *home) reached(t rules.Try) (rules.Try, bool) {
	if h.url == defaultURL(h.name) {
		return t, settings(t.Transport) != "" || t.Scheme != rules.HTTPS || t.NS != ""
	}
	u, err := url.Parse(h.url)
	if err != nil || strings.ToLower(u.Host) != t.Host || settings(t.Transport) == "" && t.NS == "" {
		return t, false
	}
	t.Scheme, t.APIRoot = rules.HTTPS, strings.TrimPrefix(apiRoot(h.url), originOf(h.url))
	if u.Scheme == "http" {
		t.Scheme = rules.HTTP
	}
	return t, true
}

// reader returns what reads from the place of a try.
func (g *guide) reader(t *rules.Try, label string, home *home) (oci.Reader, error) {
	key := placeKey{upstream: home.name, scope: home.scope(home.name), base: baseOf(t), scheme: t.Scheme, ns: t.NS, settings: settings(t.Transport)}
	g.mu.Lock()
	known := g.readers[key]
	g.mu.Unlock()
	if known != nil {
		return known, nil
	}
	made, err := g.open(t, label, home)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", t.Origin, err)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if known := g.readers[key]; known != nil {
		return known, nil // somebody else was faster, and it may have a token already
	}
	if len(g.readers) >= maxReaders {
		clear(g.readers)
	}
	g.readers[key] = made
	return made, nil
}

// open makes what reads from the place of a try.
func (g *guide) open(t *rules.Try, label string, home *home) (oci.Reader, error) {
	over, err := g.transport(t.Transport)
	if err != nil {
		return nil, err
	}
	cfg := endpointOf(t, firstScheme(t))
	cfg.Label, cfg.Transport = label, over
	cfg.AllowPrivate, cfg.PrivateHost = home.allowPrivate, true
	home.introduce(&cfg)
	first, err := g.client.Endpoint(cfg)
	if err != nil || t.Scheme != rules.HTTPSThenHTTP {
		return first, err
	}
	cfg.URL = "http://" + strings.TrimPrefix(cfg.URL, "https://")
	cfg.Credentials = nil // they are for the other origin
	second, err := g.client.Endpoint(cfg)
	if err != nil {
		return nil, err
	}
	return &eitherWay{secure: first, plain: second}, nil
}

// introduce says who we are at a place. The upstream's account, and what else
// its table allows, is for the origin of its own url. At another host we are
// whoever the upstream's docker_config has for that host, if anybody, and only
// the host itself may be private: it is the operator who named it.
func (h *home) introduce(cfg *remote.EndpointConfig) {
	switch {
	case strings.HasPrefix(cfg.URL+"/", originOf(h.url)+"/"):
		cfg.PrivateHost = false
		cfg.TokenHosts, cfg.Credentials = h.tokenHosts, h.credentials
	case h.account.dockerConfig != "" && len(h.turns) == 0:
		cfg.Credentials = h.credentials
	}
}

// baseOf is the URL below which a try's repositories are.
func baseOf(t *rules.Try) string { return endpointOf(t, firstScheme(t)).URL }

// endpointOf returns what a plan says of a place: where it is, and what is sent
// with every request. Who we are there is for the caller to say.
func endpointOf(t *rules.Try, scheme string) remote.EndpointConfig {
	return remote.EndpointConfig{
		URL: scheme + "://" + t.Host + t.APIRoot, Root: true, Namespace: t.NS, Header: headerOf(t.Transport),
	}
}

// dialTimeout is how long a connection may take, 0 where settings leave it open.
func dialTimeout(t *rules.Transport) time.Duration {
	if t == nil {
		return 0
	}
	return t.DialTimeout
}

// originOf is a URL without its path.
func originOf(s string) string {
	u, err := url.Parse(s)
	if err != nil {
		return ""
	}
	return u.Scheme + "://" + strings.ToLower(u.Host)
}

// apiRoot is the URL below which an upstream's repositories are.
func apiRoot(s string) string {
	u, err := url.Parse(s)
	if err != nil {
		return ""
	}
	path := strings.TrimRight(u.Path, "/")
	if !strings.Contains(path+"/", "/v2/") {
		path += "/v2"
	}
	return originOf(s) + path
}

// headerOf returns the headers that settings add to a request.
func headerOf(t *rules.Transport) http.Header {
	if t == nil {
		return nil
	}
	h := http.Header{}
	for _, one := range t.Header {
		for _, v := range one.Values {
			h.Add(one.Name, v)
		}
	}
	return h
}
