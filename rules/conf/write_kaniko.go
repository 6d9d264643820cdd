package conf

import (
	"net/netip"
	"strings"

	"github.com/entrepot/entrepot/ref"
)

// kanikoLimits are those of kaniko's flags.
func kanikoLimits() limits {
	reach := exact(unverifiedTLS, unverifiedThenPlain, verifiedThenPlain)
	with(reach, plainHTTP, verifiedThenPlain, featurePlainHTTP, "kaniko tries HTTPS first")
	return limits{
		noDotted: true, literalHub: true, paths: pathsNamespace, ending: endsByFlag, reach: reach, scope: scopeHost, certs: certsNone,
		forced: privateFallback,
	}
}

// privateFallback returns how go-containerregistry reaches a host: at addresses
// of this machine and of private networks plain HTTP follows HTTPS.
func privateFallback(host string, _ bool, r reach) reach {
	if !isPrivate(host) {
		return r
	}
	switch r {
	case verified:
		return verifiedThenPlain
	case unverifiedTLS:
		return unverifiedThenPlain
	default:
		return r
	}
}

// isPrivate reports whether go-containerregistry takes a host for one of this
// machine or of a private network (pkg/name, Registry.Scheme).
func isPrivate(host string) bool {
	name := withoutPort(host)
	if strings.HasPrefix(host, "localhost:") || strings.HasSuffix(name, ".localhost") {
		return true
	}
	addr, err := netip.ParseAddr(strings.Trim(name, "[]"))
	if err != nil {
		return false
	}
	return addr == netip.IPv6Loopback() || addr == netip.AddrFrom4([4]byte{127, 0, 0, 1}) || addr.Is4() && addr.IsPrivate()
}

// ggcrHost returns what go-containerregistry calls a registry.
func ggcrHost(host string) string {
	if host == ref.DockerHub {
		return kanikoHub
	}
	return host
}

// writeKaniko writes flags, one a line.
func writeKaniko(w *writing) []File {
	var t text
	bare := false
	for _, r := range w.routes {
		for _, p := range r.mirrors() {
			t.line("--registry-map=%s=%s", ggcrHost(r.match.Host), joinPath(ggcrHost(p.host), p.base))
		}
		bare = bare || len(r.stops) > 0 && !r.hasOriginal()
	}
	if bare {
		t.line("%s", noFallbackFlags["kaniko"])
	}
	settings, hosts := w.byHost()
	for _, host := range hosts {
		p := settings[host]
		if (p.reach == unverifiedThenPlain || p.reach == verifiedThenPlain) && !isPrivate(host) {
			t.line("--insecure-registry=%s", ggcrHost(host))
		}
		if p.skips() {
			t.line("--skip-tls-verify-registry=%s", ggcrHost(host))
		}
	}
	return []File{t.file("kaniko.flags")}
}
