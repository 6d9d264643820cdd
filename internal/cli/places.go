package cli

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/url"
	"strings"
	"sync"

	"github.com/entrepot/entrepot/mirror"
	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/proxy"
	"github.com/entrepot/entrepot/ref"
	"github.com/entrepot/entrepot/remote"
)

func (u upstream) plainHTTP() bool { return strings.HasPrefix(u.url, "http://") }

// Places knows where each upstream's images are: at its mirrors, in order, and
// then at its own URL.
type places struct {
	client    *remote.Client
	fixed     map[string][]mirror.Place // :: upstream → places, without names
	wildcards []upstream

	mu   sync.Mutex                // guards seen
	seen map[string][]mirror.Place // :: host below a wildcard → places
}

// maxSeen bounds the hosts below wildcards that are remembered. Clients choose
// them.
const maxSeen = 256

func newPlaces(client *remote.Client, ups []upstream) (*places, error) {
	p := &places{client: client, fixed: map[string][]mirror.Place{}, seen: map[string][]mirror.Place{}}
	for _, u := range ups {
		if isWildcard(u.name) {
			p.wildcards = append(p.wildcards, u)
			continue
		}
		all, err := p.of(u)
		if err != nil {
			return nil, fmt.Errorf("upstream %s: %w", u.name, err)
		}
		p.fixed[u.name] = all
	}
	return p, nil
}

// plan names the places for a question.
func (p *places) plan(_ mirror.Op, r ref.Ref) ([]mirror.Place, error) {
	n := r.Name
	all, ok := p.fixed[n.Host]
	if !ok {
		var err error
		if all, err = p.below(n.Host); err != nil {
			return nil, err
		}
	}
	named := make([]mirror.Place, len(all))
	for i, place := range all {
		place.Name = n
		named[i] = place
	}
	return named, nil
}

// below returns the places for a host that a wildcard stands for: the host
// itself, by https.
func (p *places) below(host string) ([]mirror.Place, error) {
	u, ok := wildcardOf(p.wildcards, host)
	if !ok {
		return nil, oci.Errorf(oci.ErrNotFound, oci.CodeNameUnknown, "upstream not allowed: %s", host)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if all, ok := p.seen[host]; ok {
		return all, nil
	}
	u.name, u.url = host, "https://"+host
	all, err := p.of(u)
	if err != nil {
		return nil, err
	}
	if len(p.seen) >= maxSeen {
		clear(p.seen)
	}
	p.seen[host] = all
	return all, nil
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
func (p *places) of(u upstream) ([]mirror.Place, error) {
	var all []mirror.Place
	for _, m := range u.mirrors {
		place, err := p.place(u, remote.EndpointConfig{URL: m, Label: mirrorLabel(u.name, m)})
		if err != nil {
			return nil, err
		}
		all = append(all, place)
	}
	place, err := p.place(u, remote.EndpointConfig{URL: u.url, Label: u.name, TokenHosts: u.tokenHosts, Credentials: u.account.credentials()})
	if err != nil {
		return nil, err
	}
	return append(all, place), nil
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
}

func newPolicies(ups []upstream) policies {
	p := policies{fixed: map[string]proxy.Policy{}}
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
	if policy, ok := p.fixed[host]; ok {
		return policy
	}
	u, _ := wildcardOf(p.wildcards, host)
	return u.policy(host)
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
