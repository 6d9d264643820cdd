package conf

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"slices"
	"sort"
	"strconv"
	"strings"

	"github.com/entrepot/entrepot/ref"
	"github.com/entrepot/entrepot/rules"
)

// number returns the number at a key, 0 where there is none or it is no whole
// number of at least 0.
func (c *regclient) number(n *node, key string) uint64 {
	v := c.typed(c.f, n, key, isNumber)
	if v == nil {
		return 0
	}
	u, err := strconv.ParseUint(v.text, 10, 64)
	if err != nil && (key == "priority" || strings.ContainsAny(v.text, ".eE")) {
		c.wrong = append(c.wrong, c.problem(c.f, v.at, "write a whole number of at least 0", "%s is %s", key, v.text))
	}
	return u
}

// settings merges an entry into a host (Host.Merge).
func (c *regclient) settings(h *regHost, t *node, where string) {
	f := c.f
	if v := c.str(f, t, "hostname"); v != "" {
		h.hostname = v
	}
	if v := strings.Trim(c.str(f, t, "pathPrefix"), "/"); v != "" {
		h.prefix = v
	}
	if v := c.strs(f, t, "mirrors"); len(v) > 0 {
		h.mirrors = v
	}
	if p := c.number(t, "priority"); p != 0 {
		h.priority = p
	}
	c.tls(h, t)
	for _, key := range []string{"user", "pass", "token"} {
		if c.str(f, t, key) != "" {
			h.transport().InlineAuth = true
		}
	}
	for _, key := range []string{"credHelper", "credHost", "api", "scheme"} {
		c.str(f, t, key)
	}
	c.value(t, "credExpire")
	c.flag(f, t, "repoAuth")
	c.table(f, t, "apiOpts")
	for _, key := range []string{"blobChunk", "blobMax", "reqPerSec", "reqConcurrent"} {
		c.typed(f, t, key, isNumber)
	}
	c.unknown(f, t, where, nil)
}

// tls reads how a host is reached. What is wrong in certificates is logged and
// dropped by regclient.
func (c *regclient) tls(h *regHost, t *node) {
	f := c.f
	switch v := c.str(f, t, "tls"); strings.ToLower(v) {
	case "":
	case "enabled":
		h.scheme = rules.HTTPS
		if h.tr != nil {
			h.tr.SkipVerify = false
		}
	case "insecure":
		h.scheme = rules.HTTPS
		h.transport().SkipVerify = true
	case "disabled":
		h.scheme = rules.HTTP
		if h.tr != nil {
			h.tr.SkipVerify = false
		}
	default:
		c.wrong = append(c.wrong, c.problem(f, t.find("tls", true).value.at, `it may be "enabled", "insecure" or "disabled"`, "unknown value %q of tls", v))
	}
	if pem := c.str(f, t, "regcert"); pem != "" {
		if x509.NewCertPool().AppendCertsFromPEM([]byte(pem)) {
			h.transport().CA, h.tr.InlineCA = []string{inline}, pem
		} else {
			c.silent(f, t.find("regcert", true).at, "write the certificate itself, in PEM", "regcert holds no certificate: regclient goes on without it")
		}
	}
	cert, key := c.str(f, t, "clientCert"), c.str(f, t, "clientKey")
	if cert == "" && key == "" {
		return
	}
	at := t.find("clientCert", true)
	if at == nil {
		at = t.find("clientKey", true)
	}
	if _, err := tls.X509KeyPair([]byte(cert), []byte(key)); err != nil {
		c.silent(f, at.at, "write both, each in PEM", "clientCert and clientKey are no pair: regclient goes on without them")
		return
	}
	h.transport().Client = []rules.KeyPair{{Cert: inline, Key: inline}}
}

// inline stands for a file whose text is in the configuration.
const inline = "inline"

func (h *regHost) transport() *rules.Transport {
	if h.tr == nil {
		h.tr = new(rules.Transport)
	}
	return h.tr
}

// build makes a rule of each host where something changes, and a catch-all of
// what hostDefault says.
func (c *regclient) build() {
	for _, h := range c.order {
		match := c.match(h)
		if c.def.listed || len(h.mirrors) > 0 || h.prefix != "" || h.hostname != plainHost(h.name) {
			c.cfg.Rules = append(c.cfg.Rules, c.rule(h, match))
		} else if match.Kind == rules.Host {
			c.settingsOf(h)
		}
	}
	if !c.def.listed {
		return
	}
	if c.hosts[ref.DockerHub] == nil {
		hub := c.newHost(ref.DockerHub) // its hostname goes into ns
		c.cfg.Rules = append(c.cfg.Rules, c.rule(hub, rules.Match{Kind: rules.Host, Host: hub.name}))
	}
	c.warn(c.f, c.def.at, "write what should hold for Docker Hub into an entry docker.io", "hostDefault does not count for Docker Hub, which regclient knows before it")
	any := c.def
	any.name, any.hostname = "", ""
	c.cfg.Rules = append(c.cfg.Rules, c.rule(&any, rules.Match{Kind: rules.Any, Text: "hostDefault"}))
}

// settingsOf keeps how a host is reached, of which an entry says nothing else.
func (c *regclient) settingsOf(h *regHost) {
	if h.scheme == rules.HTTPS && h.tr == nil {
		return
	}
	if c.cfg.Hosts == nil {
		c.cfg.Hosts = map[string]rules.HostSettings{}
	}
	c.cfg.Hosts[h.name] = rules.HostSettings{Scheme: h.scheme, Transport: h.tr, Origin: c.at(c.f, h.at)}
}

// match returns which references an entry is for: those of exactly that host.
func (c *regclient) match(h *regHost) rules.Match {
	m := rules.Match{Kind: rules.Host, Host: h.name}
	switch {
	case h.name == "index.docker.io":
		c.silent(c.f, h.at, "write docker.io", "the entry for index.docker.io never matches: regclient calls Docker Hub docker.io")
		if !c.d.Strict() {
			m.Kind, m.Text = rules.Never, h.name
		}
	case !ref.ValidHost(h.name):
		if c.isMirror(h.name) {
			break
		}
		c.silent(c.f, h.at, "write each registry as host[:port]", "the entry %q never matches: there are no wildcards and no namespaces", redactPair(h.name))
		m = rules.Match{Kind: rules.Never, Text: redactPair(h.name)}
	}
	return m
}

// isMirror reports whether an entry is only there to be a mirror.
func (c *regclient) isMirror(name string) bool {
	return slices.ContainsFunc(c.order, func(h *regHost) bool {
		return slices.ContainsFunc(h.mirrors, func(m *node) bool { return m.text == name })
	})
}

// rule makes the rule of a host.
func (c *regclient) rule(h *regHost, match rules.Match) rules.Rule {
	rule := rules.Rule{Match: match, Origin: c.at(c.f, h.at)}
	list := make([]regTry, 0, len(h.mirrors)+1)
	for _, m := range h.mirrors {
		c.mirror(m)
		host := c.hostOf(m.text)
		list = append(list, regTry{host: host, ep: c.mirrorOf(host, h, m)})
	}
	up := c.upstream(h)
	list = append(list, regTry{host: h, ep: up.Endpoint, upstream: true})
	list = c.sort(list, h)
	last := len(list) - 1
	if list[last].upstream {
		rule.Upstream = up
		list = list[:last]
	} else {
		rule.Upstream.Kind = rules.None
	}
	for _, t := range list {
		t.ep.Primary = t.upstream
		rule.Endpoints = append(rule.Endpoints, t.ep)
	}
	return rule
}

// A regTry is one of the places for a host.
type regTry struct {
	host     *regHost
	ep       rules.Endpoint
	upstream bool
}

// sort returns the places of h in regclient's order, or, in the native reading,
// in the documented one: higher priorities first, mirrors as listed, then the
// upstream.
func (c *regclient) sort(list []regTry, h *regHost) []regTry {
	documented := slices.Clone(list)
	slices.SortStableFunc(documented, func(a, b regTry) int { return cmp.Compare(b.host.priority, a.host.priority) })
	// This is no order, since of two mirrors of one priority each is less than
	// the other. What comes out is up to the algorithm, which is therefore
	// regclient's own.
	sort.Slice(list, func(i, j int) bool {
		if a, b := list[i].host.priority, list[j].host.priority; a != b {
			return a < b
		}
		return list[i].host.name != h.name
	})
	if !slices.EqualFunc(list, documented, func(a, b regTry) bool { return a.host.name == b.host.name }) {
		var names []string
		for _, t := range list {
			names = append(names, redactPair(cmp.Or(t.host.name, "the upstream")))
		}
		c.warn(c.f, h.at, "use one mirror, without a priority",
			"regclient asks %s, in this order: lower priorities first, and mirrors of one priority by chance of its sorting", strings.Join(names, ", "))
	}
	if c.d.Strict() {
		return documented
	}
	return list
}

// mirror notes what is dropped from a mirror's name.
func (c *regclient) mirror(m *node) {
	_, host, path := regName(m.text)
	switch {
	case host == "":
		c.silent(c.f, m.at, "remove it", "the mirror has no name")
	case strings.Contains(m.text, "@"):
		c.silent(c.f, m.at, "put user and pass into the entry of the mirror", "the mirror has credentials in its name")
	case path != "":
		c.silent(c.f, m.at, "write it as pathPrefix into the entry of "+host, "the path of the mirror %q is dropped", m.text)
	}
}

// mirrorOf returns the endpoint of a mirror of h.
func (c *regclient) mirrorOf(m, h *regHost, at *node) rules.Endpoint {
	ep := c.endpoint(m)
	ep.Origin = c.at(c.f, at.at)
	ep.Host = m.hostname
	if i := strings.LastIndexByte(ep.Host, '@'); i >= 0 {
		ep.Host = ep.Host[i+1:]
	}
	if !ref.ValidHost(ep.Host) {
		ep.Unusable = "the mirror's host is none"
		if ep.Host == "" {
			ep.Host = "?"
		}
	}
	switch {
	case h.hostname == "": // hostDefault: that of the reference
		ep.NS.Source = true
	case m.hostname != h.hostname:
		ep.NS.Value = h.hostname
	}
	return ep
}

// upstream returns what a host itself is.
func (c *regclient) upstream(h *regHost) rules.Upstream {
	up := rules.Upstream{Endpoint: c.endpoint(h)}
	if h.hostname == plainHost(h.name) {
		return up
	}
	up.Kind, up.Endpoint.Host = rules.At, h.hostname
	if !ref.ValidHost(h.hostname) {
		up.Endpoint.Host = h.hostname[strings.LastIndexByte(h.hostname, '@')+1:]
		up.Endpoint.Unusable = "the hostname is none"
		c.silent(c.f, h.at, "write host[:port]; a path goes into pathPrefix, plain HTTP into tls", "the hostname of %s is none", redactPair(h.name))
	}
	return up
}

// plainHost returns the hostname that a registry has of itself.
func plainHost(name string) string {
	if name == ref.DockerHub {
		return hubDNS
	}
	return name
}

// endpoint returns the settings of a host.
func (c *regclient) endpoint(h *regHost) rules.Endpoint {
	return rules.Endpoint{Scheme: h.scheme, Repo: rules.Repo{Prefix: h.prefix}, Transport: h.tr, Origin: c.at(c.f, h.at)}
}
