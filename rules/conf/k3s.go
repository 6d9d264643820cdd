package conf

import (
	"errors"
	"net/netip"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/entrepot/entrepot/ref"
	"github.com/entrepot/entrepot/rules"
)

// registries.yaml of k3s and rke2. Source: rancher/wharfie v0.7.1,
// pkg/registries (GetPrivateRegistries, getEndpoints, rewrite, getTLSConfig),
// and what k3s makes of the file for containerd (pkg/agent/containerd).

// k3sSystem is where the file lies on a machine.
var k3sSystem = []string{"etc/rancher/k3s/registries.yaml", "etc/rancher/rke2/registries.yaml"}

// readK3s reads a registries.yaml.
func readK3s(r *reading) error {
	names := []string{"registries.yaml"}
	if r.src.System {
		names = k3sSystem
	}
	f, err := r.single(names...)
	if err != nil || f == nil {
		return err
	}
	docs, lost, err := parseLaxYAML(f.data)
	if err != nil {
		r.refuse(r.syntax(f, err))
		return nil
	}
	r.twice(f, lost)
	if len(docs) == 0 {
		return nil
	}
	if len(docs) > 1 {
		r.silent(f, docs[1].at, "put everything into one document", "only the first document is read")
	}
	k := k3sFile{reading: r, file: f}
	k.read(docs[0])
	return nil
}

// A k3sFile is a registries.yaml being read.
type k3sFile struct {
	*reading
	file *file
	star []rules.Rewrite // the rewrites of "*", which may have no endpoint
}

func (k *k3sFile) read(root *node) {
	if root.kind != isTable {
		k.typeError(k.file, root, "the document", isTable.String())
	}
	k.configs(k.table(k.file, root, "configs"))
	k.mirrors(k.table(k.file, root, "mirrors"))
	if v := k.value(root, "auths"); v != nil {
		k.silent(k.file, v.at, "write configs: {host: {auth: …}}", "auths is no longer used")
	}
	k.unknown(k.file, root, "the file", nil)
	if wrong := k.takeWrong(); wrong != nil {
		k.refuse(*wrong)
	}
}

// mirrors reads what the hosts' mirrors are.
func (k *k3sFile) mirrors(t *node) {
	if t == nil {
		return
	}
	star := t.find(rules.AnyHost, false) != nil
	for i := range t.keys {
		m := &t.keys[i]
		m.used = true
		rule := rules.Rule{Match: k.match(m), Origin: k.at(k.file, m.at)}
		switch m.value.kind {
		case isTable:
			k.mirror(&rule, m.value)
		case isNull:
		default:
			k.typeError(k.file, m.value, m.name, isTable.String())
		}
		if star && len(rule.Endpoints) == 0 && rule.Match.Kind == rules.Host {
			k.warn(k.file, m.at, `remove the key to have the mirrors of "*"`, "%s has no endpoint and a key of its own, and so does not use %q", m.name, rules.AnyHost)
		}
		k.cfg.Rules = append(k.cfg.Rules, rule)
	}
	if !k.d.Strict() {
		k.portless(t)
	}
}

// portless adds what the keys host:443 and host:80 mean for the host without a
// port, where that is another thing: endpoints are looked up by them, rewrites
// only by the host itself and by "*" (getEndpoints, getRewrites).
func (k *k3sFile) portless(t *node) {
	for _, port := range []string{":443", ":80"} {
		for i := range k.cfg.Rules {
			rule := k.cfg.Rules[i]
			host, ok := strings.CutSuffix(rule.Match.Host, port)
			if !ok || rule.Match.Kind != rules.Host || isK3sHub(host) || t.find(host, false) != nil ||
				port == ":80" && t.find(host+":443", false) != nil {
				continue
			}
			own := rewritesOf(&rule)
			if len(own)+len(k.star) == 0 || len(rule.Endpoints) == 0 {
				continue
			}
			rule.Match.Host = host
			rule.Endpoints = slices.Clone(rule.Endpoints)
			for j := range rule.Endpoints {
				rule.Endpoints[j].Repo.Rewrites = k.star
			}
			k.cfg.Rules = append(k.cfg.Rules, rule)
			if m := t.find(rule.Match.Text, false); m != nil && len(own) > 0 {
				k.silent(k.file, m.at, "write a key "+host+", too", "the rewrites of %q are not applied to images of %s without the port", m.name, host)
			}
		}
	}
}

// rewritesOf returns the rewrites of a rule, which all its endpoints have.
func rewritesOf(rule *rules.Rule) []rules.Rewrite {
	if len(rule.Endpoints) == 0 {
		return nil
	}
	return rule.Endpoints[0].Repo.Rewrites
}

// isK3sHub reports whether a host is one of the names of Docker Hub as k3s knows
// them.
func isK3sHub(host string) bool { return host == ref.DockerHub || host == "index.docker.io" }

// match returns what a key is for.
func (k *k3sFile) match(m *member) rules.Match {
	match := rules.Match{Kind: rules.Host, Host: m.name, Text: m.name}
	switch {
	case m.name == rules.AnyHost:
		return rules.Match{Kind: rules.Any, Text: m.name}
	case !ref.ValidHost(m.name):
		match.Kind = rules.Never
		k.silent(k.file, m.at, `a key is host[:port] or "*", without scheme, path or wildcard`, "key %q matches nothing", redactPair(m.name))
	case m.name == "registry-1.docker.io":
		k.silent(k.file, m.at, "write docker.io", "key %q is not for the images of Docker Hub", m.name)
	case strings.HasSuffix(m.name, ":443"), strings.HasSuffix(m.name, ":80"):
		k.warn(k.file, m.at, "write the host without port, too", "key %q is used for the host without a port as well, but only where k3s pulls itself and not in containerd", m.name)
	}
	return match
}

// mirror reads the endpoints of a host, and the rewrites that all of them have.
func (k *k3sFile) mirror(rule *rules.Rule, t *node) {
	f := k.file
	rewrites := k.rewrites(t)
	if rule.Match.Kind == rules.Any {
		k.star = rewrites
	}
	seen := map[string]bool{}
	for _, v := range k.strs(f, t, "endpoint") {
		ep, err := k.endpoint(v)
		if err != nil {
			k.silent(f, v.at, "the form is https://host[:port][/path]", "the endpoint %q is passed over: %v", redactPair(v.text), err)
			continue
		}
		if seen[v.text] {
			k.warn(f, v.at, "remove it", "the endpoint is in the list twice")
		}
		seen[v.text] = true
		ep.Repo.Rewrites = rewrites
		rule.Endpoints = append(rule.Endpoints, ep)
	}
	k.unknown(f, t, "the mirrors of a host", nil)
}

// rewrites reads the table of rewrites. Its order is the file's, though the
// client's own is none.
func (k *k3sFile) rewrites(t *node) []rules.Rewrite {
	table := k.table(k.file, t, "rewrite")
	if table == nil {
		return nil
	}
	var out []rules.Rewrite
	for i := range table.keys {
		m := &table.keys[i]
		m.used = true
		if m.value.kind != isString && m.value.kind != isNull {
			k.typeError(k.file, m.value, m.name, isString.String())
			continue
		}
		re, err := regexp.Compile(m.name)
		if err != nil {
			k.silent(k.file, m.at, "patterns are regular expressions as Go has them", "the rewrite is passed over: %v", err)
			continue
		}
		out = append(out, rules.Rewrite{Pattern: re, Replace: m.value.text, Origin: k.at(k.file, m.at)})
	}
	if len(out) > 1 {
		k.warn(k.file, table.at, "let the patterns exclude each other", "where several rewrites match, the client takes any of them")
	}
	return out
}

var (
	errNoHost  = errors.New("it has no host")
	errNoParse = errors.New("it is no address")
)

// endpoint reads the address of a mirror (normalizeEndpointAddress). A path
// takes the place of "/v2".
func (k *k3sFile) endpoint(v *node) (rules.Endpoint, error) {
	ep := rules.Endpoint{NS: rules.NS{Source: true}, Origin: k.at(k.file, v.at)}
	text := v.text
	if !strings.Contains(text, "://") {
		text = "//" + text
	}
	u, err := url.Parse(text)
	if err != nil {
		return ep, errNoParse // its text may hold a password
	}
	if u.Host == "" {
		return ep, errNoHost
	}
	ep.Host = u.Host
	switch {
	case u.Scheme == "https":
		ep.Scheme = rules.HTTPS
	case u.Scheme == "http":
		ep.Scheme = rules.HTTP
	case u.Scheme != "":
		ep.Unusable = "the scheme " + u.Scheme + " is neither http nor https"
		k.silent(k.file, v.at, "write https:// or http://", "no request can be made: %s", ep.Unusable)
	case u.Port() != "" && u.Port() != "443" && isLoopback(u.Hostname()):
		ep.Scheme = rules.HTTP
	default:
		ep.Scheme = rules.HTTPS
	}
	ep.SetPath(k.root(u, v))
	if ep.Scheme == rules.HTTP {
		k.plain(&ep)
	}
	if u.User != nil {
		k.silent(k.file, v.at, "write them below configs", "credentials in the address of an endpoint are not used")
	}
	if u.RawQuery != "" || u.Fragment != "" {
		k.silent(k.file, v.at, "remove it", "what follows the path of an endpoint is not used")
	}
	return ep, nil
}

// root returns the path of the API.
func (k *k3sFile) root(u *url.URL, v *node) string {
	if u.Path == "" || u.Path == "/" {
		return "/v2"
	}
	root := path.Clean(u.Path)
	if !strings.Contains(root+"/", "/v2/") {
		k.warn(k.file, v.at, "write /v2"+root+" for a namespace, or "+root+"/v2 for an API below a path", "the path %s takes the place of /v2", root)
	}
	return root
}

// plain keeps a host's TLS settings from an endpoint that is asked by plain
// HTTP.
func (k *k3sFile) plain(ep *rules.Endpoint) {
	h, ok := k.cfg.Hosts[ep.Host]
	if !ok {
		h = k.cfg.Hosts[rules.AnyHost]
	}
	if h.Transport != nil {
		ep.Transport = &rules.Transport{InlineAuth: h.Transport.InlineAuth}
	}
}

// isLoopback reports whether a host is this machine, as Go's net package reads
// addresses.
func isLoopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
}

// configs reads the settings of hosts.
func (k *k3sFile) configs(t *node) {
	if t == nil || len(t.keys) == 0 {
		return
	}
	k.cfg.Hosts = make(map[string]rules.HostSettings, len(t.keys)+1)
	for i := range t.keys {
		m := &t.keys[i]
		m.used = true
		h := rules.HostSettings{Origin: k.at(k.file, m.at)}
		switch m.value.kind {
		case isTable:
			k.config(&h, m)
		case isNull:
		default:
			k.typeError(k.file, m.value, m.name, isTable.String())
		}
		if m.name != rules.AnyHost && !ref.ValidHost(m.name) {
			k.silent(k.file, m.at, `a key is host[:port] or "*", without scheme or path`, "key %q is for no host", redactPair(m.name))
			continue
		}
		k.cfg.Hosts[m.name] = h
	}
	// Both names are Docker Hub's, and index.docker.io is looked up first.
	if h, ok := k.cfg.Hosts["index.docker.io"]; ok {
		k.cfg.Hosts[ref.DockerHub] = h
	} else if h, ok := k.cfg.Hosts[ref.DockerHub]; ok {
		k.cfg.Hosts["index.docker.io"] = h
	}
}

// config reads the settings of a host. Credentials are looked at and not kept.
func (k *k3sFile) config(h *rules.HostSettings, m *member) {
	f := k.file
	var tr rules.Transport
	auth := k.table(f, m.value, "auth")
	if auth != nil {
		for _, key := range []string{"username", "password", "auth", "identity_token"} {
			k.value(auth, key)
		}
		k.unknown(f, auth, "auth", nil)
		tr.InlineAuth = true
	}
	t := k.table(f, m.value, "tls")
	if t != nil {
		if err := k.tls(&tr, t); err != nil {
			p := k.problem(f, t.at, "until it is repaired nothing of tls is used", "tls of %s: %v", m.name, err)
			if k.d.Strict() {
				h.Fails = &p
			} else {
				p.Level = rules.Warning
			}
			k.note(p)
			tr = rules.Transport{InlineAuth: tr.InlineAuth}
		}
	}
	k.unknown(f, m.value, "the settings of a host", map[string]string{
		"insecure_skip_verify": "tls", "ca_file": "tls", "cert_file": "tls", "key_file": "tls",
		"username": "auth", "password": "auth",
	})
	if auth != nil || t != nil {
		h.Transport = &tr
	}
}

var errHalfPair = errors.New("cert_file and key_file go together, and one is missing")

// tls reads the TLS settings of a host. An error makes the client drop them
// all, with a line in its log.
func (k *k3sFile) tls(tr *rules.Transport, t *node) error {
	f := k.file
	tr.SkipVerify = k.yes(f, t, "insecure_skip_verify")
	ca, cert, key := k.str(f, t, "ca_file"), k.str(f, t, "cert_file"), k.str(f, t, "key_file")
	k.unknown(f, t, "tls", nil)
	if (cert == "") != (key == "") {
		return errHalfPair
	}
	if cert != "" {
		pair := rules.KeyPair{Cert: cert, Key: key}
		if err := k.checkPair(pair); err != nil {
			return err
		}
		tr.Client = []rules.KeyPair{pair}
	}
	if ca == "" {
		return nil
	}
	if _, err := k.pem(ca); err != nil {
		return err
	}
	tr.CA = []string{ca}
	if err := k.checkCA(ca); err != nil {
		k.silent(f, t.find("ca_file", k.fold).value.at, "it should hold PEM certificates", "%v", err)
	}
	return nil
}
