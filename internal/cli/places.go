package cli

import (
	"context"
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
	fixed     map[string]*estate    // :: upstream → its own places
	wildcards []upstream

	mu    sync.Mutex                    // guards what follows
	seen  map[string]*estate            // :: host below a wildcard → its own places
	files map[string]remote.Credentials // :: docker_config → what it says; one reader, so that its helpers run one at a time
}

// An estate is an upstream with a home for each of its accounts.
type estate struct {
	upstream
	homes []*home // that of the upstream's own account, then those of its parts
}

// at returns the home for a repository.
func (e *estate) at(path string) *home { return e.homes[e.choose(path)+1] }

// A home is an upstream, as one account sees it, with the places that are its
// own.
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
	p := &places{client: client, fixed: map[string]*estate{}, seen: map[string]*estate{}, files: map[string]remote.Credentials{}}
	for _, u := range ups {
		if isWildcard(u.name) {
			p.wildcards = append(p.wildcards, u)
			continue
		}
		s, err := p.of(u)
		if err != nil {
			return nil, fmt.Errorf("upstream %s: %w", u.name, err)
		}
		p.fixed[u.name] = s
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
	s, ok := p.fixed[r.Host]
	if !ok {
		var err error
		if s, err = p.below(r.Host); err != nil {
			return nil, err
		}
	}
	h := s.at(r.Path)
	// What a mirror gives to anybody says nothing about what a caller may read.
	if g := p.guide.Load(); g != nil && !h.passthrough {
		return g.plan(op, r, h)
	}
	return h.named(r.Name), nil
}

// below returns the places for a host that a wildcard stands for: the host
// itself, by https.
func (p *places) below(host string) (*estate, error) {
	u, ok := wildcardOf(p.wildcards, host)
	if !ok {
		return nil, oci.Errorf(oci.ErrNotFound, oci.CodeNameUnknown, "upstream not allowed: %s", host)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if s, ok := p.seen[host]; ok {
		return s, nil
	}
	u.name, u.url = host, defaultURL(host)
	s, err := p.of(u)
	if err != nil {
		return nil, err
	}
	if len(p.seen) >= maxSeen {
		clear(p.seen)
	}
	p.seen[host] = s
	return s, nil
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
// credentials are the upstream's own. Whoever calls it while p is in use holds
// mu.
func (p *places) of(u upstream) (*estate, error) {
	var mirrors []mirror.Place
	for _, m := range u.mirrors {
		place, err := p.place(u, remote.EndpointConfig{URL: m, Label: mirrorLabel(u.name, m)})
		if err != nil {
			return nil, err
		}
		mirrors = append(mirrors, place)
	}
	s := &estate{upstream: u}
	for i := -1; i < len(u.parts); i++ {
		h := &home{upstream: u.as(i)}
		h.credentials = p.inTurn(&h.upstream)
		if u.passthrough {
			h.credentials = callersOwn{}
		}
		place, err := p.place(u, remote.EndpointConfig{URL: u.url, Label: u.name, TokenHosts: u.tokenHosts, Credentials: h.credentials})
		if err != nil {
			return nil, err
		}
		h.places = append(slices.Clone(mirrors), place)
		s.homes = append(s.homes, h)
	}
	return s, nil
}

// inTurn are the credentials of an upstream, as one of its parts.
func (p *places) inTurn(u *upstream) remote.Credentials {
	if len(u.turns) == 0 {
		return p.credentials(u.account)
	}
	all := []remote.Credentials{p.credentials(u.account)}
	for _, a := range u.turns {
		all = append(all, p.credentials(a))
	}
	return remote.Rotate(all...)
}

// credentials are what the remote room asks, nil for an anonymous account.
func (p *places) credentials(a account) remote.Credentials {
	switch {
	case a.dockerConfig != "":
		if p.files[a.dockerConfig] == nil {
			p.files[a.dockerConfig] = remote.AuthFile(a.dockerConfig)
		}
		return p.files[a.dockerConfig]
	case a.passwordFile != "":
		return remote.PasswordFile(a.username, a.passwordFile)
	case a.username != "":
		return remote.Static(a.username, a.password)
	}
	return nil
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
	fixed     map[string]*rulings // :: upstream → its policies
	wildcards []upstream
	who       func(upstream string) string // at its mirrors
}

// Rulings are the policies of an upstream, in the order of an estate's homes.
type rulings struct {
	upstream
	policies []proxy.Policy
}

func newPolicies(ups []upstream, who func(string) string) policies {
	p := policies{fixed: map[string]*rulings{}, who: who}
	for _, u := range ups {
		if isWildcard(u.name) {
			p.wildcards = append(p.wildcards, u)
			continue
		}
		r := &rulings{upstream: u}
		for i := -1; i < len(u.parts); i++ {
			r.policies = append(r.policies, u.as(i).policy(u.name))
		}
		p.fixed[u.name] = r
	}
	return p
}

// of returns the policy for a repository of an upstream, or of a host below a
// wildcard.
func (p policies) of(_ context.Context, n ref.Name) proxy.Policy {
	var policy proxy.Policy
	if r, ok := p.fixed[n.Host]; ok {
		policy = r.policies[r.choose(n.Path)+1]
	} else {
		u, _ := wildcardOf(p.wildcards, n.Host)
		policy = u.as(u.choose(n.Path)).policy(n.Host)
	}
	if who := p.who(n.Host); who != "" && !policy.Passthrough {
		policy.Scope += "+" + who
		policy.Anonymous = false
	}
	return policy
}

func (u upstream) policy(host string) proxy.Policy {
	scope := u.scope(host)
	if u.passthrough {
		scope = host + "+passthrough"
	}
	return proxy.Policy{
		Scope:           scope,
		Anonymous:       u.account == account{} && !u.passthrough,
		Passthrough:     u.passthrough,
		TagTTL:          u.tagTTL,
		Immutable:       u.immutable,
		MaxStale:        u.maxStale,
		ServeStaleOn404: u.serveStaleOn404,
		FillParallelism: u.parallelism,

		TagTTLs:              u.tags,
		StaleWhileRevalidate: u.revalidate,
		AuthGrace:            u.authGrace,
		ConfirmMissing:       u.confirm404,
		OfflineProofTTL:      u.offlineProof,
	}
}
