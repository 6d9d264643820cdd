package cli

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/entrepot/entrepot/mirror"
	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/proxy"
	"github.com/entrepot/entrepot/ref"
	"github.com/entrepot/entrepot/remote"
)

func (u upstream) plainHTTP() bool { return strings.HasPrefix(u.url, "http://") }

// Places knows where each upstream's images are: at the places that mirror
// rules name, at its own mirrors, in order, and then at its own URL.
type places struct {
	client    *remote.Client
	guide     atomic.Pointer[guide] // nil without rules
	fixed     map[string]*home      // :: upstream → its own places
	wildcards []upstream

	mu   sync.Mutex       // guards seen
	seen map[string]*home // :: host below a wildcard → its own places
}

// A home is an upstream with the places that are its own.
type home struct {
	upstream
	credentials remote.Credentials // nil for an anonymous account
	places      []mirror.Place     // its mirrors, then its url; without names
}

// named returns the places for a repository.
func (h *home) named(n ref.Name) []mirror.Place {
	named := slices.Clone(h.places)
	for i := range named {
		named[i].Name = n
	}
	return named
}

// maxSeen bounds the hosts below wildcards that are remembered. Clients choose
// them.
const maxSeen = 256

func newPlaces(client *remote.Client, ups []upstream) (*places, error) {
	p := &places{client: client, fixed: map[string]*home{}, seen: map[string]*home{}}
	for _, u := range ups {
		if isWildcard(u.name) {
			p.wildcards = append(p.wildcards, u)
			continue
		}
		h, err := p.of(u)
		if err != nil {
			return nil, fmt.Errorf("upstream %s: %w", u.name, err)
		}
		p.fixed[u.name] = h
	}
	return p, nil
}

// steer lets another guide take over, and closes the one before. No question
// fails: one that is under way ends at the places that it was led to.
func (p *places) steer(g *guide) { p.guide.Swap(g).close() }

// who returns who we are at the mirrors of an upstream, "" for nobody.
func (p *places) who(upstream string) string {
	if g := p.guide.Load(); g != nil {
		return g.known.at(upstream)
	}
	return ""
}

// plan names the places for a question.
func (p *places) plan(op mirror.Op, r ref.Ref) ([]mirror.Place, error) {
	h, ok := p.fixed[r.Host]
	if !ok {
		var err error
		if h, err = p.below(r.Host); err != nil {
			return nil, err
		}
	}
	if g := p.guide.Load(); g != nil {
		return g.plan(op, r, h)
	}
	return h.named(r.Name), nil
}

// below returns the places for a host that a wildcard stands for: the host
// itself, by https.
func (p *places) below(host string) (*home, error) {
	u, ok := wildcardOf(p.wildcards, host)
	if !ok {
		return nil, oci.Errorf(oci.ErrNotFound, oci.CodeNameUnknown, "upstream not allowed: %s", host)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if h, ok := p.seen[host]; ok {
		return h, nil
	}
	u.name, u.url = host, defaultURL(host)
	h, err := p.of(u)
	if err != nil {
		return nil, err
	}
	if len(p.seen) >= maxSeen {
		clear(p.seen)
	}
	p.seen[host] = h
	return h, nil
}

// wildcardOf returns the wildcard that a host is below, the longest one.
func wildcardOf(wildcards []upstream, host string) (found upstream, ok bool) {
	for _, u := range wildcards {
		if strings.HasSuffix(host, u.name[1:]) && len(u.name) > len(found.name) {
			found, ok = u, true
		}
	}
	return found, ok
}

// of makes the places of an upstream. Mirrors are read anonymously: our
// credentials are the upstream's own.
func (p *places) of(u upstream) (*home, error) {
	h := &home{upstream: u, credentials: u.account.credentials()}
	for _, m := range u.mirrors {
		place, err := p.place(u, remote.EndpointConfig{URL: m, Label: mirrorLabel(u.name, m)})
		if err != nil {
			return nil, err
		}
		h.places = append(h.places, place)
	}
	place, err := p.place(u, remote.EndpointConfig{URL: u.url, Label: u.name, TokenHosts: u.tokenHosts, Credentials: h.credentials})
	if err != nil {
		return nil, err
	}
	h.places = append(h.places, place)
	return h, nil
}

func (p *places) place(u upstream, cfg remote.EndpointConfig) (mirror.Place, error) {
	cfg.AllowPrivate = u.allowPrivate
	e, err := p.client.Endpoint(cfg)
	if err != nil {
		return mirror.Place{}, err
	}
	return mirror.Place{Reader: e, Label: cfg.Label, Tags: true}, nil
}

// mirrorLabel names a mirror in logs: "docker.io@mirror.gcr.io".
func mirrorLabel(name, mirrorURL string) string {
	if u, err := url.Parse(mirrorURL); err == nil {
		return name + "@" + u.Host + u.Path
	}
	return name + "@" + mirrorURL
}

// labelOwner returns the upstream that a label belongs to.
func labelOwner(label string) string {
	name, _, _ := strings.Cut(label, "@")
	return name
}

// Policies say how each upstream is cached.
type policies struct {
	fixed     map[string]proxy.Policy // :: upstream → policy
	wildcards []upstream
	who       func(upstream string) string // at its mirrors
}

func newPolicies(ups []upstream, who func(string) string) policies {
	p := policies{fixed: map[string]proxy.Policy{}, who: who}
	for _, u := range ups {
		if isWildcard(u.name) {
			p.wildcards = append(p.wildcards, u)
			continue
		}
		p.fixed[u.name] = u.policy(u.name)
	}
	return p
}

// of returns the policy for an upstream, or for a host below a wildcard.
func (p policies) of(host string) proxy.Policy {
	policy, ok := p.fixed[host]
	if !ok {
		u, _ := wildcardOf(p.wildcards, host)
		policy = u.policy(host)
	}
	if who := p.who(host); who != "" {
		policy.Scope += "+" + who
		policy.Anonymous = false
	}
	return policy
}

func (u upstream) policy(host string) proxy.Policy {
	return proxy.Policy{
		Scope:           u.account.scope(host),
		Anonymous:       u.account == account{},
		TagTTL:          u.tagTTL,
		Immutable:       u.immutable,
		MaxStale:        u.maxStale,
		ServeStaleOn404: u.serveStaleOn404,
	}
}

// credentials are what the remote room asks, nil for an anonymous account.
func (a account) credentials() remote.Credentials {
	switch {
	case a.dockerConfig != "":
		return remote.AuthFile(a.dockerConfig)
	case a.passwordFile != "":
		return remote.PasswordFile(a.username, a.passwordFile)
	case a.username != "":
		return remote.Static(a.username, a.password)
	}
	return nil
}

// scope names a host and who we are there. What one account may see must not
// answer for another, even after the configuration has changed; hence it is a
// part of the store's keys. A user's name is hashed because any character may
// be in it.
func (a account) scope(host string) string {
	who := ""
	switch {
	case a.dockerConfig != "":
		who = "docker_config " + a.dockerConfig
	case a.username != "":
		who = "user " + a.username
	default:
		return host
	}
	sum := sha256.Sum256([]byte(who))
	return host + "+" + hex.EncodeToString(sum[:8])
}
