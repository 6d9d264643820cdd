package oracle

import (
	"fmt"
	"strings"
)

// hostReference returns an image at a host that a portless IPv6 literal is not.
func hostReference(g *gen, _ files) string { return g.image() }

// buildkitFiles makes up a buildkitd.toml.
func buildkitFiles(g *gen) files {
	var b strings.Builder
	for _, host := range g.hosts(4) {
		fmt.Fprintf(&b, "[%s.%q]\n", g.key("registry"), host)
		if g.maybe(0.7) {
			fmt.Fprintf(&b, "%s = %s\n", g.key("mirrors"), g.list(3, func() string {
				return g.oddly(0.2, "http://", "https://", "//") + g.host() + g.path() + g.oddly(0.1, "/", "?x=y", ":1")
			}))
		}
		for _, key := range []string{"http", "insecure"} {
			if g.maybe(0.25) {
				fmt.Fprintf(&b, "%s = %s\n", g.key(key), g.flag())
			}
		}
		if g.maybe(0.1) {
			fmt.Fprintf(&b, "ca = %s\n", g.list(1, func() string { return "{root}/" + g.pick("ca.pem", "ca.pem"+g.oddly(0.3, ".none")) }))
		}
		if g.maybe(0.1) {
			fmt.Fprintf(&b, "tlsconfigdir = [%q]\n", "{root}/"+g.pick("certs", "nothing"))
		}
		if g.maybe(0.1) {
			fmt.Fprintf(&b, "[[registry.%q.keypair]]\nkey = %q\ncert = %q\n", host, "{root}/client.key", "{root}/ca.pem"+g.oddly(0.3, ".none"))
		}
	}
	return files{"buildkitd.toml": g.mutate(b.String()), "ca.pem": g.cert, "client.key": g.private, "certs/x.crt": g.cert}
}

// hosts returns some hosts, each of them once.
func (g *gen) hosts(most int) []string {
	var out []string
	seen := map[string]bool{}
	for range g.IntN(most + 1) {
		if h := g.host(); !seen[h] {
			seen[h] = true
			out = append(out, h)
		}
	}
	return out
}

// dockerFiles makes up a daemon.json.
func dockerFiles(g *gen) files {
	var parts []string
	if g.maybe(0.7) {
		parts = append(parts, `"registry-mirrors": `+g.list(3, func() string {
			return g.pick("https://", "https://", "http://") + g.oddly(0.1, "user:pw@", "ftp://") + g.host() + g.path() + g.oddly(0.2, "/", "//", "?x=y", "#f", "/v2", "/v2/")
		}))
	}
	if g.maybe(0.7) {
		parts = append(parts, `"insecure-registries": `+g.list(3, func() string {
			if g.maybe(0.3) {
				return g.pick("10.0.0.0/8", "127.0.0.0/8", "10.0.0.1/32", "::1/128") + g.oddly(0.1, "0", "x")
			}
			return g.oddly(0.2, "http://", "https://", "ftp://", "-") + g.host() + g.oddly(0.2, "/", "/x", "-", ":1")
		}))
	}
	return files{"daemon.json": "{" + strings.Join(parts, ",\n") + "}\n"}
}

// k3sFiles makes up a registries.yaml. One rewrite for each key: of several,
// Go's order of maps chooses.
func k3sFiles(g *gen) files {
	var b strings.Builder
	b.WriteString("mirrors:\n")
	for _, host := range append(g.hosts(3), g.pick("*", "registry.example.com:443")) {
		if host == "*" && g.maybe(0.5) {
			continue
		}
		fmt.Fprintf(&b, "  %q:\n    endpoint: %s\n", host, g.list(3, g.endpoint))
		if g.maybe(0.3) {
			fmt.Fprintf(&b, "    rewrite:\n      %q: %q\n", g.pick("^(.*)$", "^library/(.*)", "^a/(.*)", "team", "(.*")+g.oddly(0.05, "[", "\\"),
				g.pick("proxy/$1", "$1", "x", "p/${1}", "")+g.oddly(0.1, "A", "//", " ", "."))
		}
	}
	b.WriteString("configs:\n")
	for _, host := range append(g.hosts(2), g.pick("*", "m.corp:8443", "m.corp")) {
		fmt.Fprintf(&b, "  %q:\n    tls:\n      insecure_skip_verify: %s\n", host, g.pick("true", "false"))
		if g.maybe(0.2) {
			fmt.Fprintf(&b, "      ca_file: %q\n", "{root}/ca.pem"+g.oddly(0.3, ".none"))
		}
	}
	return files{"registries.yaml": b.String(), "ca.pem": g.cert}
}

// endpoint returns an address, but for two that doc/formats lists as known.
func (g *gen) endpoint() string {
	for {
		a := g.address()
		if !strings.HasSuffix(a, "/..") && !strings.Contains(strings.TrimPrefix(a, "https://"), "docker.io") {
			return a
		}
	}
}

// regctlFiles makes up a config.json.
func regctlFiles(g *gen) files {
	var hosts []string
	for _, name := range g.hosts(4) {
		if name == "index.docker.io" || name == "registry-1.docker.io" {
			continue // other names of docker.io: which of them counts is left to chance
		}
		var parts []string
		add := func(p float64, key, value string) {
			if g.maybe(p) {
				parts = append(parts, fmt.Sprintf("%q: %s", key, value))
			}
		}
		add(0.5, "hostname", fmt.Sprintf("%q", g.pick(name, name, g.host())))
		add(0.6, "mirrors", g.list(3, g.host))
		add(0.3, "priority", g.pick("0", "1", "2", "10"))
		add(0.3, "pathPrefix", fmt.Sprintf("%q", g.pick("proj", "a/b", "")+g.oddly(0.1, "/", "//")))
		add(0.3, "tls", fmt.Sprintf("%q", g.pick("enabled", "insecure", "disabled")))
		hosts = append(hosts, fmt.Sprintf("%q: {%s}", name, strings.Join(parts, ", ")))
	}
	return files{"config.json": `{"hosts": {` + strings.Join(hosts, ",\n") + "}}\n"}
}
