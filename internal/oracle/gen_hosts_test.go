package oracle

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// hostsFiles makes up a certs.d directory.
func hostsFiles(g *gen) files {
	fs := files{"ca2.pem": g.cert}
	for range 1 + g.IntN(3) {
		dir := hostDirectory(g)
		if g.maybe(0.9) {
			fs[dir+"/hosts.toml"] = hostsToml(g)
		}
		fs[dir+"/ca.pem"], fs[dir+"/bad.pem"] = g.cert, "x"
		fs[dir+"/client.pem"], fs[dir+"/client.key"] = g.cert+g.private, g.private
		for _, name := range []string{"x.crt", "y.cert", "y.key"} {
			if g.maybe(0.1) {
				fs[dir+"/"+name] = g.pick(g.cert, g.cert, g.private, "x")
			}
		}
	}
	return fs
}

// hostDirectory returns a host in one of the spellings that directories have.
func hostDirectory(g *gen) string {
	host := g.host()
	if i := strings.LastIndexByte(host, ':'); i > 0 && g.maybe(0.7) {
		host = host[:i] + "_" + host[i+1:] + "_"
	}
	return g.pick(host, host, host, host, "_default", "quay.io", "docker.io", "example.com_5000_")
}

// hostsReference returns an image at one of the hosts half of the time.
func hostsReference(g *gen, fs files) string {
	host, _, _ := strings.Cut(g.pick(slices.Sorted(maps.Keys(fs))...), "/")
	if body, ok := strings.CutSuffix(host, "_"); ok {
		if i := strings.LastIndexByte(body, '_'); i > 0 {
			host = body[:i] + ":" + body[i+1:]
		}
	}
	if g.maybe(0.4) || host == "_default" || host == "ca2.pem" {
		return g.image()
	}
	return host + "/a/b" + g.tag()
}

func hostsToml(g *gen) string {
	var b strings.Builder
	if g.maybe(0.5) {
		fmt.Fprintf(&b, "%s = %q\n", g.key("server"), g.pick(g.address(), g.address(), g.address(), ""))
	}
	if g.maybe(0.3) {
		hostSettings(g, &b)
	}
	if g.odd(0.05) {
		fmt.Fprintf(&b, "host.%q.capabilities = ['pull']\n", g.address())
	}
	var seen []string
	for range g.IntN(4) {
		address := g.address()
		if g.maybe(0.1) && len(seen) > 0 {
			address = g.pick(seen...)
		}
		seen = append(seen, address)
		fmt.Fprintf(&b, "[%s.%q]\n", g.key("host"), address)
		hostSettings(g, &b)
		hostSubTable(g, &b, seen)
	}
	if g.odd(0.08) {
		b.WriteString(g.pick("[host]\n\"https://lost\" = {capabilities=['pull']}\n", "[[host]]\n", "[host]\n", "[other]\nx = 1\n", "[header]\nx = 'y'\n"))
	}
	return g.mutate(b.String())
}

func hostSubTable(g *gen, b *strings.Builder, seen []string) {
	if !g.maybe(0.15) {
		return
	}
	address := seen[len(seen)-1]
	if g.maybe(0.3) {
		address = g.pick(seen...)
	}
	fmt.Fprintf(b, "[host.%q.%s]\n%s\n", address, g.key("header"), g.pick("x = 'a'", "x = ['a', 'b']", "x = 1", "x = [1]", "", "authorization = 'x'\nX = ['y']"))
}

func hostSettings(g *gen, b *strings.Builder) {
	set := func(p float64, key string, values ...string) {
		if g.maybe(p) {
			fmt.Fprintf(b, "%s = %s\n", g.key(key), g.pick(values...))
		}
	}
	set(0.4, "capabilities", g.list(4, func() string {
		return g.pick("pull", "resolve", "pull", "resolve", "pull", "resolve", "push", "referrers", "Pull", "PUSH") + g.oddly(0.03, "x")
	}))
	set(0.2, "skip_verify", g.flag())
	set(0.2, "override_path", g.flag())
	set(0.1, "dial_timeout", `"1s"`, `"1m30s"`, cmp.Or(g.oddly(0.5, `"x"`, `""`, `1`, `"-1s"`), `"0s"`))
	set(0.15, "ca", `"ca.pem"`, `["ca.pem"]`, `["ca.pem", "../ca2.pem"]`, `"../ca2.pem"`, cmp.Or(g.oddly(0.7, `"none.pem"`, `1`, `[1]`, `""`, `"bad.pem"`), `[]`))
	set(0.08, "client", `"client.pem"`, `["client.pem"]`, `[["ca.pem", "client.key"]]`, cmp.Or(g.oddly(0.7, `"ca.pem"`, `[["a", "b"]]`, `[["a"]]`, `1`, `[1]`, `[["ca.pem", ""]]`), `[]`))
	if g.odd(0.05) {
		b.WriteString(g.pick("unknown = 1\n", "server = 'https://x.corp'\n", "host = 1\n", "header = {a = 'b'}\n", "header = {a = 1}\n", "header = 3\n", "header.x = 'y'\n"))
	}
}

// address returns the address of a host, most of the time one that can be
// asked.
func (g *gen) address() string {
	scheme := cmp.Or(g.oddly(0.2, "HTTP://", "ftp://", "httpx://", "http"), g.pick("https://", "https://", "https://", "http://", "http://", ""))
	host := g.pick("m.corp", "m.corp:8443", "quay.io", "quay.io:8443", "docker.io", "registry-1.docker.io", "localhost:5000", "localhost", "10.0.0.5:5000",
		"[::1]:5000", "m.corp:80", "m.corp:443", "httpd.corp", "M.corp", "example.com:5000", "example.com", "127.0.0.1:5000")
	host = cmp.Or(g.oddly(0.1, "user:pw@m.corp", "m .corp", "m.corp:x", "m.corp:", "[::1", "m_corp", "-", "m.corp:99999", ":", ":5000"), host)
	if g.odd(0.01) {
		host = ""
	}
	path := ""
	if g.maybe(0.5) {
		path = g.pick("/", "/v2", "/v2/", "/x", "/x/v2", "/v2/x", "//a/./b/../c/", "/x?y=z", "/x#f", "/v2/x/v2", "/X y", "/%41", "/..", "/a%2Fb", "/v2/a/"+strconv.Itoa(g.IntN(3)))
	}
	return scheme + host + path
}
