package cli

import (
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/entrepot/entrepot/ref"
	"github.com/entrepot/entrepot/remote"
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
		c.secretOnce(secrets, at, t, u)
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
		tokenHosts: c.hosts(at+"token_hosts", t.TokenHosts),
		maxStale:   c.duration(at+"max_stale", t.MaxStale, 0),
		tagTTL:     c.tagTTL(at+"tag_ttl", t.TagTTL),
		immutable:  c.expressions(at+"immutable_tags", t.ImmutableTags),
		account:    c.account(at, t),
	}
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
	switch t.On404 {
	case "", "not_found":
	case "serve_stale":
		u.serveStaleOn404 = true
	default:
		c.add(at+"on_404", "", "%q is neither not_found nor serve_stale", t.On404)
	}
	return u
}

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

// account reads what we log in with. Credentials that no mode uses are a
// mistake that would show up as pulls that fail much later.
func (c *checker) account(at string, t fileUpstream) account {
	given := t.Username != "" || t.PasswordFile != "" || t.DockerConfig != ""
	switch t.Auth {
	case "", "anonymous":
		if given {
			c.add(firstOf(c.lines, at+"username", at+"password_file", at+"docker_config"), `add auth = "service"`, "credentials are given, but the upstream is read anonymously")
		}
		return account{}
	case "service":
	case "passthrough": // refused by notYet
		return account{}
	default:
		c.add(at+"auth", "", "%q is none of anonymous, service and passthrough", t.Auth)
		return account{}
	}
	switch {
	case !given:
		c.add(at+"auth", "add username and password_file, or docker_config", "service needs credentials")
	case t.DockerConfig != "" && (t.Username != "" || t.PasswordFile != ""):
		c.add(at+"docker_config", "", "docker_config and username exclude each other")
	case t.DockerConfig != "":
		return account{dockerConfig: t.DockerConfig}
	case t.Username == "":
		c.add(at+"password_file", "", "password_file needs username")
	default:
		return account{username: t.Username, passwordFile: t.PasswordFile, password: c.password(at, t)}
	}
	return account{}
}

// password reads the environment. A file is only tried here: it is read again
// whenever it changes.
func (c *checker) password(at string, t fileUpstream) remote.Secret {
	if t.PasswordFile != "" {
		if err := tryPasswordFile(t.PasswordFile); err != nil {
			c.fail(at+"password_file", err)
		}
		return remote.Secret{}
	}
	name := passwordVariable(t.Name)
	s := c.env.Getenv(name)
	if s == "" {
		c.add(at+"username", "", "the password is missing: set password_file or the environment variable %s", name)
	}
	return remote.NewSecret(s)
}

// secretOnce refuses two upstreams whose passwords would come from one
// variable: one of them would be sent the other's.
func (c *checker) secretOnce(secrets map[string]string, at string, t fileUpstream, u upstream) {
	if u.account.username == "" || t.PasswordFile != "" {
		return
	}
	name := passwordVariable(t.Name)
	if other, taken := secrets[name]; taken {
		c.add(at+".username", "use password_file", "%s is the password of %s already", name, other)
	}
	secrets[name] = u.name
}

// passwordVariable is the environment variable that holds an upstream's
// password: ENTREPOT_PASSWORD_DOCKER_IO for docker.io.
func passwordVariable(name string) string {
	clean := strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
			return r
		}
		return '_'
	}, strings.ToUpper(name))
	return "ENTREPOT_PASSWORD_" + strings.TrimLeft(clean, "_")
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
