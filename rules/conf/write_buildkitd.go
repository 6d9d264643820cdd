package conf

// buildkitdLimits are those of BuildKit 0.34.
func buildkitdLimits() limits {
	reach := exact(unverifiedTLS, plainHTTP, unverifiedThenPlain)
	with(reach, verifiedThenPlain, unverifiedThenPlain, featureFallback, "with http alone HTTPS would not be tried")
	return limits{paths: pathsAnyCase, local: true, ns: nsSource, reach: reach, scope: scopeHost, certs: certsFiles}
}

// writeBuildkitdToml writes a table for each registry, and one for each mirror
// with settings: those of a registry do not hold for its mirrors.
func writeBuildkitdToml(w *writing) []File {
	settings, hosts := w.byHost()
	mirrors := map[string][]string{}
	for _, r := range w.routes {
		for _, p := range r.mirrors() {
			mirrors[r.match.Host] = append(mirrors[r.match.Host], joinPath(p.wire(), p.base))
		}
	}
	var t text
	for _, host := range hosts {
		p := settings[host]
		var table text
		if m := mirrors[host]; len(m) > 0 {
			table.line("  mirrors = %s", quotes(m))
		}
		p.buildkitd(&table, host)
		if table.Len() == 0 {
			continue
		}
		if t.Len() > 0 {
			t.line("")
		}
		t.line("[registry.%s]", quote(host))
		t.WriteString(table.String())
	}
	return []File{t.file("buildkitd.toml")}
}

// byHost returns a place for each host, from which its settings are taken, and
// the hosts in the order in which they are met: those of rules first.
func (w *writing) byHost() (settings map[string]*stop, hosts []string) {
	settings = map[string]*stop{}
	add := func(host string, p *stop) {
		if settings[host] == nil {
			settings[host] = p
			hosts = append(hosts, host)
		}
	}
	for _, r := range w.routes {
		for i := range r.stops {
			if p := &r.stops[i]; p.own {
				add(w.key(r, p), p)
			}
		}
	}
	for _, r := range w.routes {
		for i := range r.stops {
			if p := &r.stops[i]; !p.own && (w.limits.scope == scopeHost || p.reach != plainHTTP) {
				add(w.key(r, p), p)
			}
		}
	}
	return settings, hosts
}

// wire returns the host that is asked for a place.
func (p *stop) wire() string {
	if isHub(p.host) {
		return hubDNS
	}
	return p.host
}

// buildkitd writes the settings of a host. One on this machine is plain HTTP
// unless something else is said.
func (p *stop) buildkitd(t *text, host string) {
	if p.skips() {
		t.line("  insecure = true")
	}
	switch {
	case p.reach == plainHTTP || p.reach == unverifiedThenPlain:
		t.line("  http = true")
	case isThisMachine(host):
		t.line("  http = false")
	}
	if len(p.tr.CA) > 0 {
		t.line("  ca = %s", quotes(p.tr.CA))
	}
	for _, c := range p.tr.Client {
		key := c.Key
		if key == "" {
			key = c.Cert
		}
		t.line("  [[registry.%s.keypair]]\n    key = %s\n    cert = %s", quote(host), quote(key), quote(c.Cert))
	}
}
