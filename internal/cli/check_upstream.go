package cli

import (
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/entrepot/entrepot/ref"
)

const defaultTagTTL = 60 * time.Second

// upstreams reads the [[upstream]] tables; without any, the well-known public
// registries are mirrored.
func (c *checker) upstreams(tables []fileUpstream) []upstream {
	if len(tables) == 0 {
		return wellKnown()
	}
	var ups []upstream
	owners := map[string]string{}  // :: name or alias → the upstream that has it
	secrets := map[string]string{} // :: variable → the upstream whose password it is
	isDefault := ""
	for i, t := range tables {
		at := fmt.Sprintf("upstream[%d]", i)
		if t.Name == "" {
			c.add(at, `for example name = "docker.io"`, "name is missing")
			continue
		}
		u := c.upstream(at+".", t)
		c.claim(owners, at+".name", u.name, u.name)
		for j, a := range u.aliases {
			c.claim(owners, fmt.Sprintf("%s.aliases[%d]", at, j), a, u.name)
		}
		if u.isDefault && isDefault != "" {
			c.add(at+".default", "only one upstream can serve what names none", "%s is the default already", isDefault)
		}
		if u.isDefault {
			isDefault = u.name
		}
		c.secretsOnce(secrets, at, t, u)
		ups = append(ups, u)
	}
	return ups
}

// claim notes that an upstream owns a name or an alias, which only one can.
func (c *checker) claim(owners map[string]string, key, name, owner string) {
	if other, taken := owners[name]; taken {
		c.add(key, "every name has one owner", "%q already belongs to the upstream %s", name, other)
		return
	}
	owners[name] = owner
}

func (c *checker) upstream(at string, t fileUpstream) upstream {
	u := upstream{
		name: c.upstreamName(at+"name", t.Name), isDefault: t.Default, aliases: t.Aliases, allowPrivate: t.AllowPrivate,
		tokenHosts:  c.hosts(at+"token_hosts", t.TokenHosts),
		maxStale:    c.duration(at+"max_stale", t.MaxStale, 0),
		tagTTL:      c.tagTTL(at+"tag_ttl", t.TagTTL),
		immutable:   c.expressions(at+"immutable_tags", t.ImmutableTags),
		account:     c.ownAccount(at, t),
		parts:       c.parts(at, t),
		passthrough: t.Auth == "passthrough",

		parallelism: c.parallelism(at+"fill_parallelism", t.Parallelism),
		budget:      c.budget(at+"soft_budget", t.SoftBudget),
	}
	c.ways(at, t, &u)
	u.url = c.upstreamURL(at+"url", t.URL, u.name)
	wildcard := isWildcard(u.name)
	if wildcard && t.Default {
		c.add(at+"default", "name one registry", "%s is many registries and cannot be the default", u.name)
	}
	for i, m := range t.Mirrors {
		if err := endpointURL(m); err != nil {
			c.fail(fmt.Sprintf("%smirrors[%d]", at, i), err)
		}
		u.mirrors = append(u.mirrors, m)
	}
	if wildcard && len(t.Mirrors) > 0 {
		c.add(at+"mirrors", "name each registry in a table of its own", "a mirror cannot tell which registry of %s is meant", u.name)
	}
	for i, a := range t.Aliases {
		if !ref.ValidPath(a) || strings.Contains(a, "/") || wildcard {
			c.add(fmt.Sprintf("%saliases[%d]", at, i), "an alias is the first segment of a repository's name, for example \"hub\"", "%q cannot be an alias of %s", a, u.name)
		}
	}
	return u
}

// parallelism reads how many connections may fetch one blob; 0 where nothing is
// said.
func (c *checker) parallelism(key string, n *int) int {
	switch {
	case n == nil:
		return 0
	case *n < 1 || *n > maxParallelism:
		c.add(key, "1 fetches each blob over one connection", "%d is not between 1 and %d", *n, maxParallelism)
	}
	return *n
}

// maxParallelism bounds the connections for one blob: no registry likes more.
const maxParallelism = 16

// isHubName reports the other names of Docker Hub. Clients may send them; in a
// configuration they would be a second upstream by mistake.
func isHubName(name string) bool {
	return name == "index.docker.io" || name == "registry-1.docker.io" || name == "hub.docker.com"
}

func isWildcard(name string) bool { return strings.HasPrefix(name, "*.") }

func (c *checker) upstreamName(key, name string) string {
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	suffix, wildcard := strings.CutPrefix(name, "*.")
	switch {
	case !ref.ValidHost(suffix) || wildcard && !strings.Contains(suffix, "."):
		c.add(key, `write the host as image names have it, for example "ghcr.io", "registry.example.com:5000" or "*.example.com"`, "%q is no host", name)
	case isHubName(name):
		c.add(key, `write "docker.io"`, "%s is a name of Docker Hub, which image names call docker.io", name)
	}
	return name
}

func (c *checker) upstreamURL(key, value, name string) string {
	if value == "" {
		return defaultURL(name)
	}
	if err := endpointURL(value); err != nil {
		c.fail(key, err)
	}
	if isWildcard(name) {
		c.add(key, "leave url out: the host that was asked for is reached by https", "one URL cannot serve all of %s", name)
	}
	return value
}

func (c *checker) tagTTL(key string, s scalar) time.Duration {
	if s.set && s.text == "-1" {
		return neverAsk
	}
	return c.duration(key, s, defaultTagTTL)
}

func (c *checker) expressions(key string, values []string) []*regexp.Regexp {
	var all []*regexp.Regexp
	for i, v := range values {
		re, err := regexp.Compile(v)
		if err != nil {
			c.add(fmt.Sprintf("%s[%d]", key, i), "the syntax is that of RE2, in single quotes no backslash needs a second one", "%v", err)
			continue
		}
		all = append(all, re)
	}
	return all
}

// firstOf returns the first key that was written.
func firstOf(l lines, keys ...string) string {
	for _, k := range keys {
		if _, ok := l[k]; ok {
			return k
		}
	}
	return keys[0]
}
