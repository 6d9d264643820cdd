package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"strings"

	"github.com/entrepot/entrepot/access"
	"github.com/entrepot/entrepot/ref"
)

// access reads who may do what.
func (c *checker) access(cfg *config, f file) {
	cfg.policy.Anonymous = c.anonymous(f.Auth.Anonymous, cfg.listen)
	for i, a := range f.Access {
		cfg.policy.Rules = append(cfg.policy.Rules, c.rule(fmt.Sprintf("access[%d]", i), a))
	}
	if cfg.htpasswd = f.Auth.Htpasswd; cfg.htpasswd != "" {
		if err := access.CheckHtpasswd(cfg.htpasswd); err != nil {
			hint := "each line is USER:HASH with a bcrypt hash of a cost of at most 12, as htpasswd -B -C 10 writes it"
			if _, ok := errors.AsType[*fs.PathError](err); ok {
				hint = "the file has to be there, and this user has to be able to read it"
			}
			c.add("auth.htpasswd", hint, "%v", err)
		}
	}
	if cfg.tokenKey = f.Auth.TokenKey; cfg.tokenKey != "" {
		if err := access.CheckTokenKey(cfg.tokenKey); err != nil {
			c.add("auth.token_key", "leave it out to have one made, or write one: openssl genpkey -algorithm ed25519", "%v", err)
		}
	}
	for i, o := range f.Auth.OIDC {
		cfg.issuers = append(cfg.issuers, c.issuer(fmt.Sprintf("auth.oidc[%d]", i), o))
	}
	if cfg.externalURL = strings.TrimRight(f.Server.ExternalURL, "/"); cfg.externalURL != "" {
		if err := endpointURL(cfg.externalURL); err != nil {
			c.fail("server.external_url", err)
		}
	}
	if cfg.clientCA = f.Server.ClientCA; cfg.clientCA != "" && f.Server.TLSCert == "" {
		c.add("server.client_ca", "add tls_cert and tls_key", "client certificates need TLS")
	}
	for i, s := range f.Auth.CIDR {
		cfg.cidr = append(cfg.cidr, c.network(fmt.Sprintf("auth.cidr[%d]", i), s))
	}
	if cfg.policy.Nothing() && !cfg.loginPossible() {
		c.add("auth.anonymous", "name accounts with htpasswd, or let anonymous callers pull", "nobody could do anything: there are no accounts")
	}
}

// issuer reads one [[auth.oidc]] table. The issuer itself is not asked.
func (c *checker) issuer(at string, f fileOIDC) access.Issuer {
	i := access.Issuer{
		URL: f.Issuer, Audience: f.Audience, Keys: f.JWKSURL, CA: f.CA, TokenFile: f.TokenFile,
		UserClaim: f.UsernameClaim, GroupsClaim: f.GroupsClaim, Prefix: f.Prefix,
	}
	const isURL = "write it as its tokens have it in iss, such as https://kubernetes.default.svc.cluster.local"
	c.needed(at+".issuer", len(i.URL), isURL)
	c.needed(at+".audience", len(i.Audience), "whom the tokens are made for, such as your mirror's name; those for others are not taken")
	for _, key := range []struct {
		name, value, hint string
		check             func(access.Issuer) error
	}{
		{"issuer", i.URL, isURL, access.Issuer.CheckURL},
		{"jwks_url", i.Keys, "leave it out where the issuer has a discovery document", access.Issuer.CheckKeys},
		{"ca", i.CA, "it is a PEM file with the certificates of authorities", access.Issuer.CheckCA},
		{"token_file", i.TokenFile, "the file has to be there and to hold a token, and this user has to be able to read it", access.Issuer.CheckTokenFile},
	} {
		if key.value == "" {
			continue
		}
		if err := key.check(i); err != nil {
			c.add(at+"."+key.name, key.hint, "%v", err)
		}
	}
	return i
}

// anonymous decides what everybody may do. Whoever reaches a loopback listener
// is on this machine and may push; elsewhere that has to be said.
func (c *checker) anonymous(value, listen string) access.Rights {
	switch {
	case value == "" && isLoopback(listen):
		return access.All
	case value == "":
		return access.Pull
	}
	level, err := access.ParseLevel(value)
	if err != nil {
		c.fail("auth.anonymous", err)
		return access.Pull
	}
	return level
}

// network reads a network, or an address alone.
func (c *checker) network(key, s string) netip.Prefix {
	if addr, err := netip.ParseAddr(s); err == nil && addr.Zone() == "" {
		addr = addr.Unmap()
		return netip.PrefixFrom(addr, addr.BitLen())
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		c.add(key, `write it as "10.0.0.0/8" or "fd00::/8"`, "%q is no network", s)
		return netip.Prefix{}
	}
	if p != p.Masked() {
		c.add(key, fmt.Sprintf("write %q, or an address alone", p.Masked()), "%q has bits set behind its prefix", s)
	}
	return p
}

// rule reads one [[access]] table.
func (c *checker) rule(at string, f fileAccess) access.Rule {
	var r access.Rule
	c.needed(at+".who", len(f.Who), `name users, "group:NAME", or "anonymous"`)
	c.needed(at+".repositories", len(f.Repositories), `"**" is every repository`)
	for i, who := range f.Who {
		if err := r.ParseWho(who); err != nil {
			c.add(fmt.Sprintf("%s.who[%d]", at, i), `name a user, "group:NAME", or "anonymous"`, "%q: %v", who, err)
		}
	}
	for i, s := range f.Repositories {
		p, err := ref.ParsePattern(s)
		if err != nil {
			c.add(fmt.Sprintf("%s.repositories[%d]", at, i), `write it as "apps/**", "team/*" or "docker.io/library/*"`, "%q is no pattern of repository names", s)
		}
		r.Repositories = append(r.Repositories, p)
	}
	for i, s := range f.Allow {
		right, err := access.ParseRights(s)
		if err != nil {
			c.fail(fmt.Sprintf("%s.allow[%d]", at, i), err)
		}
		r.Allow |= right
	}
	return r
}

func (c *checker) needed(key string, n int, hint string) {
	if n == 0 {
		c.add(key, hint, "it is needed")
	}
}
