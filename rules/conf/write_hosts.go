package conf

import (
	"strings"

	"github.com/entrepot/entrepot/rules"
)

// hostsTomlLimits are those of containerd 2.
func hostsTomlLimits() limits {
	return limits{
		everything: true, ownInside: true, exempt: true, local: true, bareRoot: true,
		paths: pathsFree, kinds: rules.Digests, kindsOwn: true, ending: endsAnywhere, ns: nsSource,
		reach: exact(unverifiedTLS, plainHTTP, unverifiedThenPlain, verifiedThenPlain), reachAny: exact(unverifiedTLS), certs: certsFiles, header: true, dial: true,
		forced: func(host string, _ bool, r reach) reach {
			if strings.HasSuffix(host, ":80") && (r == unverifiedThenPlain || r == verifiedThenPlain) {
				return plainHTTP // at this port http:// is not HTTPS first
			}
			return r
		},
	}
}

// writeHostsToml writes a certs.d directory, a directory for each registry.
func writeHostsToml(w *writing) []File {
	var files []File
	for _, r := range w.routes {
		var t text
		r.hostsToml(&t)
		files = append(files, t.file(hostDirName(r.match)+"/hosts.toml"))
	}
	return files
}

// hostDirName returns the directory of a registry. The form without a colon
// exists on every file system, and is the one that is looked for first.
func hostDirName(m rules.Match) string {
	if m.Kind == rules.Any {
		return defaultDir
	}
	if host := withoutPort(m.Host); host != m.Host {
		return host + "_" + m.Host[len(host)+1:] + "_"
	}
	return m.Host
}

// hostsToml writes the file of a route: the server first, because behind a
// table it would belong to that, and a header for each mirror, because their
// order is that of the headers.
func (r *route) hostsToml(t *text) {
	mirrors, last := r.stops[:len(r.stops)-1], r.last()
	if !last.own || r.match.Kind != rules.Any {
		t.line("server = %s", quote(last.address()))
	}
	if !last.own || last.tags != last.digests {
		last.hostCapabilities(t, "")
	}
	last.hostSettings(t, "")
	last.hostHeader(t, "header", "")
	for i := range mirrors {
		p := &mirrors[i]
		t.line("\n[host.%s]", quote(p.address()))
		p.hostCapabilities(t, "  ")
		p.hostSettings(t, "  ")
		p.hostHeader(t, "host."+quote(p.address())+".header", "  ")
	}
}

// address returns the address of a place. A path that does not end in /v2 needs
// override_path.
func (p *stop) address() string {
	host, scheme := p.wire(), "https://"
	if p.reach == plainHTTP || p.reach == unverifiedThenPlain || p.reach == verifiedThenPlain {
		scheme = "http://"
	}
	switch p.path() {
	case "/v2":
		return scheme + host
	case "":
		return scheme + host + "/"
	default:
		return scheme + host + p.path()
	}
}

// hostCapabilities writes what a place may be asked for. What a source does not
// say is pulling; nothing is pushed to a mirror that was for reading.
func (p *stop) hostCapabilities(t *text, indent string) {
	can := p.can
	if can == 0 {
		can = rules.Pull | rules.Resolve
	}
	if !p.tags {
		can &^= rules.Resolve
	}
	t.line("%scapabilities = %s", indent, quotes(can.Names()))
}

// hostSettings writes how a place is spoken to. With http:// any setting of TLS
// means HTTPS first.
func (p *stop) hostSettings(t *text, indent string) {
	switch p.reach {
	case unverifiedTLS, unverifiedThenPlain:
		t.line("%sskip_verify = true", indent)
	case verifiedThenPlain:
		t.line("%sskip_verify = false", indent)
	}
	if path := p.path(); path != "/v2" && !strings.HasSuffix(path, "/v2") {
		t.line("%soverride_path = true", indent)
	}
	if len(p.tr.CA) > 0 {
		t.line("%sca = %s", indent, quotes(p.tr.CA))
	}
	if len(p.tr.Client) > 0 {
		var pairs []string
		for _, c := range p.tr.Client {
			pair := quotes([]string{c.Cert, c.Key})
			if c.Key == "" {
				pair = quotes([]string{c.Cert, c.Cert})
			}
			pairs = append(pairs, pair)
		}
		t.line("%sclient = [%s]", indent, strings.Join(pairs, ", "))
	}
	if p.tr.DialTimeout != 0 {
		t.line("%sdial_timeout = %s", indent, quote(p.tr.DialTimeout.String()))
	}
}

// hostHeader writes the headers that a place is sent, as a table of their own.
func (p *stop) hostHeader(t *text, table, indent string) {
	if len(p.tr.Header) == 0 {
		return
	}
	t.line("%s[%s]", indent, table)
	for _, h := range p.tr.Header {
		t.line("%s  %s = %s", indent, quote(h.Name), quotes(h.Values))
	}
}
