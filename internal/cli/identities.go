package cli

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/entrepot/entrepot/ref"
	"github.com/entrepot/entrepot/rules"
)

// Identities say who we are at the mirrors that rules name. A header or a
// client certificate may let us read what others may not, as an account does:
// the cache keeps what was read so apart from what everybody may read.
type identities struct {
	all []identity // none in most configurations

	mu   sync.Mutex        // guards seen
	seen map[string]string // :: upstream → who we are there
}

// An identity is that of one place, and the names that its rule is for.
type identity struct {
	match rules.Match
	text  string
}

// newIdentities gathers them. What is set for a host counts wherever a rule
// may lead there, so for every name.
func newIdentities(c *rules.Config) *identities {
	ids := &identities{seen: map[string]string{}}
	add := func(m rules.Match, host string, t *rules.Transport) {
		if t != nil && len(t.Header)+len(t.Client) > 0 {
			ids.all = append(ids.all, identity{m, fmt.Sprintf("%s %q %q", host, t.Client, t.Header)})
		}
	}
	for i := range c.Rules {
		r := &c.Rules[i]
		for j := range r.Endpoints {
			add(r.Match, r.Endpoints[j].Host, r.Endpoints[j].Transport)
		}
		add(r.Match, r.Upstream.Endpoint.Host, r.Upstream.Endpoint.Transport)
	}
	everywhere := rules.Match{Kind: rules.Any}
	for host, h := range c.Hosts {
		add(everywhere, host, h.Transport)
	}
	for _, n := range c.Nets {
		add(everywhere, n.Net.String(), n.Transport)
	}
	return ids
}

// at returns who we are for an upstream besides its own account, "" where that
// is nobody in particular.
func (ids *identities) at(upstream string) string {
	if len(ids.all) == 0 {
		return ""
	}
	ids.mu.Lock()
	defer ids.mu.Unlock()
	if who, ok := ids.seen[upstream]; ok {
		return who
	}
	var texts []string
	for _, id := range ids.all {
		if mayMatch(id.match, upstream) {
			texts = append(texts, id.text)
		}
	}
	who := ""
	if len(texts) > 0 {
		slices.Sort(texts)
		sum := sha256.Sum256([]byte(strings.Join(slices.Compact(texts), "\n")))
		who = hex.EncodeToString(sum[:8])
	}
	if len(ids.seen) >= maxSeen {
		clear(ids.seen)
	}
	ids.seen[upstream] = who
	return who
}

// mayMatch reports whether a rule may be for images of an upstream.
func mayMatch(m rules.Match, upstream string) bool {
	host := strings.ToLower(m.Host)
	switch m.Kind {
	case rules.Any:
		return true
	case rules.HostSuffix:
		return strings.HasSuffix(upstream, "."+host)
	case rules.Host, rules.Prefix:
		return host == upstream || upstream == ref.DockerHub && isHubName(host)
	}
	return false
}
