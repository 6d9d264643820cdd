package conf

import (
	"strings"

	"github.com/entrepot/entrepot/rules"
)

// k3sLimits are those of k3s and rke2.
func k3sLimits() limits {
	own := exact(unverifiedTLS)
	with(own, unverifiedThenPlain, unverifiedTLS, featureFallback, "plain HTTP is no longer tried")
	with(own, verifiedThenPlain, verified, featureFallback, "plain HTTP is no longer tried")
	mirrors := exact(unverifiedTLS, plainHTTP)
	with(mirrors, unverifiedThenPlain, unverifiedTLS, featureFallback, "plain HTTP is no longer tried")
	with(mirrors, verifiedThenPlain, verified, featureFallback, "plain HTTP is no longer tried")
	return limits{
		everything: true, rewrites: true, exempt: true,
		paths: pathsFree, ending: endsByFlag, ns: nsSource, reach: mirrors, reachOwn: own, reachAny: own, scope: scopeTLS, certs: certsOne,
		forced: func(host string, own bool, r reach) reach {
			if _, port, _ := strings.Cut(host, ":"); own && isThisMachine(host) && port != "" && port != "443" {
				return plainHTTP
			}
			return r
		},
	}
}

// writeK3s writes a registries.yaml.
func writeK3s(w *writing) []File {
	var t, mirrors, configs text
	for _, r := range w.routes {
		r.k3s(&mirrors, len(r.stops) > 1 || w.covered(r))
	}
	settings, hosts := w.byHost()
	for _, host := range hosts {
		settings[host].k3s(&configs, host, settings[rules.AnyHost] != nil)
	}
	if mirrors.Len() > 0 {
		t.line("mirrors:")
		t.WriteString(mirrors.String())
	}
	if configs.Len() > 0 {
		t.line("configs:")
		t.WriteString(configs.String())
	}
	return []File{t.file("registries.yaml")}
}

// k3s writes the mirrors of a route. A key without any keeps "*" away.
func (r *route) k3s(t *text, wanted bool) {
	mirrors := r.mirrors()
	if len(mirrors) == 0 && !wanted {
		return
	}
	key := r.match.Host
	if r.match.Kind == rules.Any {
		key = rules.AnyHost
	}
	t.line("  %s:", quote(key))
	if len(mirrors) == 0 {
		t.line("    endpoint: []")
		return
	}
	t.line("    endpoint:")
	for i := range mirrors {
		t.line("      - %s", quote(mirrors[i].endpoint()))
	}
	if rewrites := mirrors[0].rewrites; len(rewrites) > 0 {
		t.line("    rewrite:")
		for _, rw := range rewrites {
			t.line("      %s: %s", quote(rw.Pattern.String()), quote(rw.Replace))
		}
	}
}

// endpoint returns the address of a place whose path stands for /v2.
func (p *stop) endpoint() string {
	address := "https://" + p.wire()
	if p.reach == plainHTTP {
		address = "http://" + p.wire()
	}
	if p.path() == "/v2" {
		return address
	}
	return address + p.path()
}

// k3s writes the settings of a host. Those of all hosts are kept away from one
// that has none.
func (p *stop) k3s(t *text, host string, all bool) {
	var lines []string
	if p.skips() {
		lines = append(lines, "insecure_skip_verify: true")
	}
	for _, name := range p.tr.CA {
		lines = append(lines, "ca_file: "+quote(name))
	}
	for _, c := range p.tr.Client {
		key := c.Key
		if key == "" {
			key = c.Cert
		}
		lines = append(lines, "cert_file: "+quote(c.Cert), "key_file: "+quote(key))
	}
	switch {
	case len(lines) == 0 && all && host != rules.AnyHost:
		t.line("  %s:\n    tls: {}", quote(host))
	case len(lines) > 0:
		t.line("  %s:\n    tls:\n      %s", quote(host), strings.Join(lines, "\n      "))
	}
}
