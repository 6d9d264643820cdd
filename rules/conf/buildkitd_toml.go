package conf

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"path"
	"strings"

	"github.com/entrepot/entrepot/ref"
	"github.com/entrepot/entrepot/rules"
)

// buildkitd.toml of BuildKit. Source: moby/buildkit v0.34.2, util/resolver
// (NewRegistryConfig, fillInsecureOpts, extractMirrorHostAndPath) and
// cmd/buildkitd/config.

// buildkitCan is what the registry itself may be asked for where it has a
// table; without one it may be asked for referrers, too.
const buildkitCan = rules.Pull | rules.Resolve | rules.Push

// buildkitKeys are the other keys of the top level.
var buildkitKeys = []string{
	"debug", "trace", "root", "insecure-entitlements", "provenanceEnvDir", "log", "grpc", "otel", "cdi", "worker",
	"dns", "history", "frontend", "system", "cache", "proxyNetwork",
}

// readBuildkitdToml reads the one file.
func readBuildkitdToml(r *reading) error {
	names := []string{"buildkitd.toml"}
	if r.src.System {
		names[0] = "etc/buildkit/buildkitd.toml"
	}
	f, err := r.single(names...)
	if err != nil || f == nil {
		return err
	}
	if p := r.noBOM(f); p != nil {
		r.refuse(*p)
		return nil
	}
	root, err := parseTOML(f.data)
	if err != nil {
		r.refuse(r.syntax(f, err))
		return nil
	}
	b := &buildkitFile{reading: r, file: f, byHost: map[string]*node{}}
	b.read(root)
	if wrong := r.takeWrong(); wrong != nil {
		r.refuse(*wrong)
	}
	return nil
}

// A buildkitFile is the file being read.
type buildkitFile struct {
	*reading
	file   *file
	byHost map[string]*node // :: host → its table
}

func (b *buildkitFile) read(root *node) {
	registry := b.table(b.file, root, "registry")
	for _, key := range buildkitKeys {
		b.value(root, key)
	}
	if registry != nil {
		for i := range registry.keys {
			m := &registry.keys[i]
			m.used = true
			if m.value.kind != isTable {
				b.typeError(b.file, m.value, "registry."+m.name, isTable.String())
				continue
			}
			b.byHost[m.name] = m.value
		}
		for i := range registry.keys {
			if m := &registry.keys[i]; m.value.kind == isTable {
				b.registry(m)
			}
		}
		b.hubByName()
	}
	b.unknown(b.file, root, "the file", map[string]string{
		"mirrors": `a table [registry."docker.io"]`, "http": `a table [registry."host"]`, "insecure": `a table [registry."host"]`,
	})
}

// hubByName keeps a table for the host of Docker Hub away from docker.io,
// whose settings BuildKit looks up by that name alone.
func (b *buildkitFile) hubByName() {
	if _, ok := b.cfg.Hosts[b.d.HubWire]; !ok {
		return
	}
	if _, ok := b.cfg.Hosts[ref.DockerHub]; !ok {
		b.cfg.Hosts[ref.DockerHub] = rules.HostSettings{}
	}
}

// registry reads the table of one registry: the rule for its images, and what
// holds for it as a host.
func (b *buildkitFile) registry(m *member) {
	t := m.value
	rule := rules.Rule{Match: b.match(m), Origin: b.at(b.file, t.at)}
	rule.Upstream.Endpoint = rules.Endpoint{Can: buildkitCan, Origin: rule.Origin}
	settings := b.settings(m.name, t)
	mirrors := b.strs(b.file, t, "mirrors")
	for _, v := range mirrors {
		rule.Endpoints = append(rule.Endpoints, b.mirror(v))
	}
	b.unknown(b.file, t, "[registry."+m.name+"]", nil)
	b.cfg.Rules = append(b.cfg.Rules, rule)
	if rule.Match.Kind == rules.Never && !mayBeHost(m.name) {
		return
	}
	if b.cfg.Hosts == nil {
		b.cfg.Hosts = map[string]rules.HostSettings{}
	}
	b.cfg.Hosts[m.name] = settings
	b.misplaced(m.name, t, rule.Endpoints)
}

// match returns what a key is for. Keys are compared as text with the host of
// an image, in which Docker Hub is always docker.io.
func (b *buildkitFile) match(m *member) rules.Match {
	hint := ""
	switch {
	case strings.Contains(m.name, "*"):
		hint = "name each registry, because there are no wildcards"
	case strings.Contains(m.name, "://"):
		hint = "write the host alone, without a scheme"
	case strings.Contains(m.name, "/"):
		hint = "write the host alone, because there are no rules for a namespace"
	case m.name == "index.docker.io":
		hint = "write docker.io"
	case !ref.ValidHost(m.name):
		hint = "a key is host or host:port"
	default:
		return rules.Match{Kind: rules.Host, Host: m.name}
	}
	b.silent(b.file, m.at, hint, "key %q matches no registry, and its table has no effect", m.name)
	return rules.Match{Kind: rules.Never, Host: m.name, Text: m.name}
}

// misplaced warns of settings that are for the registry itself, where they look
// as if they were for its mirrors.
func (b *buildkitFile) misplaced(host string, t *node, mirrors []rules.Endpoint) {
	for _, ep := range mirrors {
		if b.byHost[ep.Host] != nil {
			return
		}
	}
	for _, key := range []string{"http", "insecure", "ca", "keypair", "tlsconfigdir"} {
		v := t.find(key, b.fold)
		if len(mirrors) == 0 || v == nil || v.value.kind == isBool && !v.value.truth {
			continue
		}
		b.warn(b.file, v.at, fmt.Sprintf("where it is meant for a mirror, give that a table: [registry.%q]", mirrors[0].Host),
			"%s holds for %s itself and not for its mirrors", key, host)
		return
	}
}

// mirror reads one entry of mirrors: its scheme is dropped, and its path goes
// behind /v2.
func (b *buildkitFile) mirror(v *node) rules.Endpoint {
	ep := rules.Endpoint{Can: rules.Pull | rules.Resolve, NS: rules.NS{Source: true}, Origin: b.at(b.file, v.at)}
	u, err := url.Parse(v.text)
	if err != nil || u.Host == "" {
		u, err = url.Parse("//" + v.text)
	}
	if err != nil || u.Host == "" {
		ep.Host, ep.Unusable = v.text, "it names no host"
		b.silent(b.file, v.at, "write host[:port][/path]", "mirror %q names no host, and can never be asked", redactPair(v.text))
		return ep
	}
	ep.Host = u.Host
	ep.SetPath(path.Join("/v2", strings.TrimRight(u.Path, "/")))
	if !mayBeHost(strings.TrimRight(ep.Host, ".:")) {
		ep.Unusable = fmt.Sprintf("%q is no host", ep.Host)
		b.silent(b.file, v.at, "write host[:port][/path]", "mirror %q can never be asked, because %q is no host", redactPair(v.text), ep.Host)
	}
	b.dropped(v, u, ep.Host)
	if b.byHost[ep.Host] == nil && isThisMachine(ep.Host) {
		ep.Scheme = rules.HTTP
	}
	return ep
}

// dropped notes the parts of a mirror that BuildKit drops.
func (b *buildkitFile) dropped(v *node, u *url.URL, host string) {
	table := fmt.Sprintf("[registry.%q]", host)
	switch {
	case u.User != nil:
		b.silent(b.file, v.at, "log in to the mirror instead", "the credentials in the mirror at %s are dropped", host)
	case u.RawQuery != "" || u.Fragment != "":
		b.silent(b.file, v.at, "remove what follows the path", "the query of mirror %q is dropped", v.text)
	case u.Scheme == "http" && !b.plain(host):
		b.silent(b.file, v.at, "write http = true into a table "+table, "the scheme of mirror %q is dropped: it is asked by HTTPS", v.text)
	case u.Scheme != "" && u.Scheme != "http" && u.Scheme != "https":
		b.silent(b.file, v.at, "write the host alone", "the scheme of mirror %q is dropped: it is asked by HTTPS", v.text)
	case u.Path == "/v2" || strings.HasPrefix(u.Path, "/v2/"):
		b.warn(b.file, v.at, "leave /v2 out", "the path of mirror %q goes behind /v2, and so has it twice", v.text)
	}
}

// plain reports whether a mirror is asked by plain HTTP.
func (b *buildkitFile) plain(host string) bool {
	if m := b.byHost[host].find("http", b.fold); m != nil {
		return m.value.truth
	}
	return isThisMachine(host)
}

// settings reads how a host is spoken to.
func (b *buildkitFile) settings(host string, t *node) rules.HostSettings {
	s := rules.HostSettings{Scheme: rules.HTTPS, Origin: b.at(b.file, t.at)}
	http := b.typed(b.file, t, "http", isBool)
	insecure := b.flag(b.file, t, "insecure")
	plain := http != nil && http.truth || http == nil && isThisMachine(host)
	switch {
	case insecure && plain:
		s.Scheme = rules.HTTPSThenHTTP
	case plain:
		s.Scheme = rules.HTTP
	}
	tr := rules.Transport{SkipVerify: insecure}
	b.certificates(t, &tr, &s)
	if tr.SkipVerify || tr.CA != nil || tr.Client != nil {
		s.Transport = &tr
	}
	return s
}

// certificates reads the certificate files of a table. One that cannot be read
// fails every image that the host has a part in (loadTLSConfig).
func (b *buildkitFile) certificates(t *node, tr *rules.Transport, s *rules.HostSettings) {
	for _, v := range b.strs(b.file, t, "ca") {
		b.authority(v, v.text, tr, s)
	}
	for _, pair := range b.tables(b.file, t, "keypair") {
		p := rules.KeyPair{Cert: b.str(b.file, pair, "cert"), Key: b.str(b.file, pair, "key")}
		b.unknown(b.file, pair, "[[registry.….keypair]]", nil)
		b.pair(pair, p, tr, s)
	}
	for _, v := range b.strs(b.file, t, "tlsconfigdir") {
		for _, name := range b.names(fsPath(v.text)) {
			full := path.Join("/", v.text, name)
			switch {
			case strings.HasSuffix(name, ".crt"):
				b.authority(v, full, tr, s)
			case strings.HasSuffix(name, ".cert"):
				b.pair(v, rules.KeyPair{Cert: full, Key: strings.TrimSuffix(full, ".cert") + ".key"}, tr, s)
			}
		}
	}
}

// authority adds a file of authorities. One without a certificate is taken.
func (b *buildkitFile) authority(v *node, name string, tr *rules.Transport, s *rules.HostSettings) {
	tr.CA = append(tr.CA, name)
	if _, err := b.pem(name); err != nil {
		b.fails(v, err, s)
	} else if err := b.checkCA(name); err != nil {
		b.silent(b.file, v.at, "put a certificate in PEM into it", "%v, and has no effect", err)
	}
}

// pair adds a client certificate.
func (b *buildkitFile) pair(v *node, pair rules.KeyPair, tr *rules.Transport, s *rules.HostSettings) {
	tr.Client = append(tr.Client, pair)
	if pair.Cert == "" || pair.Key == "" {
		b.fails(v, errors.New("a client certificate needs both cert and key"), s)
	} else if err := b.checkPair(pair); err != nil {
		b.fails(v, fmt.Errorf("client certificate: %w", err), s)
	}
}

// fails makes the client refuse what the host has a part in.
func (b *buildkitFile) fails(v *node, err error, s *rules.HostSettings) {
	p := b.problem(b.file, v.at, "while it cannot be used, nothing is asked for images of this registry, nor of those that it is a mirror of", "%v", err)
	b.note(p)
	if s.Fails == nil {
		s.Fails = &p
	}
}

// isThisMachine reports whether host[:port] is this machine, by its name or as an
// address.
func isThisMachine(host string) bool {
	u := url.URL{Host: host}
	name := u.Hostname()
	if name == "localhost" {
		return true
	}
	addr, err := netip.ParseAddr(name)
	return err == nil && addr.IsLoopback()
}

// mayBeHost reports whether a mirror may have that name: a host may not have a "_"
// in a reference, and has one in many a private network.
func mayBeHost(host string) bool { return ref.ValidHost(strings.ReplaceAll(host, "_", "-")) }
