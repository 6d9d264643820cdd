package oracle

import (
	"fmt"
	"strings"
)

// registriesFiles makes up a registries.conf, with drop-ins now and then.
func registriesFiles(g *gen) files {
	fs := files{"registries.conf": registriesConf(g)}
	for _, name := range []string{"10-a.conf", "20-b.conf", "05-not-read.txt"} {
		if g.maybe(0.15) {
			fs["registries.conf.d/"+name] = registriesConf(g)
		}
	}
	return fs
}

func registriesReference(g *gen, _ files) string { return g.image() }

// shortReference returns a name without a registry, or something like one.
func shortReference(g *gen, _ files) string {
	if g.odd(0.4) {
		return g.pick("ALPINE", "Foo/bar", "QUAYIO/bar", "localhost/x", "quay.io/a", "docker.io/alpine", "x.y/z", "a b", "",
			"registry:5000/x", "a..b", "alpine/", "/alpine") + g.tag()
	}
	return g.pick("alpine", "alpine", "team/app", "library/alpine", "x/y/z", "a-b_c") + g.tag()
}

func registriesConf(g *gen) string {
	var b strings.Builder
	registriesGlobals(g, &b)
	for range g.IntN(5) {
		registryTable(g, &b)
	}
	if g.odd(0.1) {
		registriesGlobals(g, &b) // swallowed by the table
	}
	return g.mutate(b.String())
}

func registriesGlobals(g *gen, b *strings.Builder) {
	if g.maybe(0.4) {
		fmt.Fprintf(b, "%s = %s\n", g.key("unqualified-search-registries"), g.list(3, func() string { return g.host() + g.oddly(0.1, "/", "/x") }))
	}
	if g.maybe(0.15) {
		fmt.Fprintf(b, "%s = %q\n", g.key("short-name-mode"), g.pick("permissive", "enforcing", "disabled")+g.oddly(0.1, "x"))
	}
	if g.odd(0.1) {
		b.WriteString(g.pick("[registries.search]\nregistries=[]\n", "[registries]\n", "[registries.block]\n", "[registries.insecure]\nregistries=['x']\n",
			"credential-helpers = ['x']\n", "registries = 1\n", "x = 1\n", "registry = 3\n", "additional-layer-store-auth-helper = 'x'\n", "aliases = 1\n"))
	}
	if g.maybe(0.2) {
		b.WriteString("[aliases]\n")
		for range g.IntN(3) {
			fmt.Fprintf(b, "%q = %q\n", g.pick("alpine", "alpine", "team/app", "x/y/z", "a-b_c")+g.oddly(0.2, ":1", ".y/z", "X", " b"),
				g.pick("", "quay.io/a/b", "docker.io/alpine", "example.com:5000/x", g.host()+"/x")+g.oddly(0.2, ":1", "/", "A"))
		}
	}
}

func registryTable(g *gen, b *strings.Builder) {
	b.WriteString("[[registry]]\n")
	if g.maybe(0.5) {
		fmt.Fprintf(b, "%s = %q\n", g.key("prefix"), registryPrefix(g))
	}
	if !g.odd(0.2) {
		fmt.Fprintf(b, "%s = %q\n", g.key("location"), registryLocation(g))
	}
	for _, key := range []string{"insecure", "blocked", "mirror-by-digest-only"} {
		if g.maybe(0.15) {
			fmt.Fprintf(b, "%s = %s\n", g.key(key), g.flag())
		}
	}
	if g.odd(0.04) {
		fmt.Fprintf(b, "pull-from-mirror = %q\n", g.pick("", "all"))
	}
	if g.maybe(0.1) {
		fmt.Fprintf(b, "%s = %q\n", g.key("namespace-proxy"), g.host())
	}
	for range g.IntN(3) {
		registryMirror(g, b)
	}
}

func registryMirror(g *gen, b *strings.Builder) {
	b.WriteString("[[registry.mirror]]\n")
	if !g.odd(0.03) {
		fmt.Fprintf(b, "%s = %q\n", g.key("location"), registryLocation(g))
	}
	if g.maybe(0.2) {
		fmt.Fprintf(b, "%s = %s\n", g.key("insecure"), g.flag())
	}
	if g.maybe(0.25) {
		fmt.Fprintf(b, "%s = %q\n", g.key("pull-from-mirror"), g.pick("", "all", "digest-only", "tag-only", "digest-only", "tag-only")+g.oddly(0.05, "x"))
	}
	if g.maybe(0.1) {
		fmt.Fprintf(b, "%s = %q\n", g.key("namespace-proxy"), g.host())
	}
	if g.odd(0.1) {
		b.WriteString(g.pick("short-name-mode = \"enforcing\"\n", "unknown = 1\n", g.key("location")+" = \"quay.io\"\n"))
	}
}

func registryLocation(g *gen) string {
	switch l := g.host() + g.path(); {
	case g.odd(0.04):
		return g.pick("https://", "http://", "ftp://") + l
	case g.odd(0.04):
		return l + g.pick(":1", digest, " ")
	case g.odd(0.02):
		return ""
	default:
		return l
	}
}

func registryPrefix(g *gen) string {
	if g.odd(0.1) {
		return g.pick("*.example.com:5000", "*.example.com/x", "*", "*.", "a.*.com", "*example.com")
	}
	if g.maybe(0.25) {
		return g.pick("*.example.com", "*.example.com", "*.com", "*.io", "*.b.example.com", "*.corp")
	}
	return registryLocation(g)
}
