package conf

import (
	"maps"
	"slices"

	"github.com/entrepot/entrepot/rules"
)

// registriesConfLimits are those of containers/image 5.42; older versions do
// not know namespace-proxy.
func registriesConfLimits() limits {
	reach := exact(unverifiedThenPlain)
	with(reach, unverifiedTLS, unverifiedThenPlain, featureSkipVerify, "insecure allows plain HTTP as well")
	with(reach, plainHTTP, unverifiedThenPlain, featurePlainHTTP, "insecure tries HTTPS first")
	with(reach, verifiedThenPlain, unverifiedThenPlain, featureFallback, "insecure checks no certificate")
	return limits{
		namespaces: true, wildcards: true, ownInside: true, blocked: true, bareBlock: true, noIPv6: true, noOneLabel: true, exempt: true,
		paths: pathsNamespace, kinds: rules.Tags | rules.Digests, ending: endsAnywhere, ns: nsLiteral,
		reach: reach, certs: certsElsewhere,
	}
}

// writeRegistriesConf writes a drop-in. What is global comes first: behind a
// table it would belong to that (containers/podman#14306).
func writeRegistriesConf(w *writing) []File {
	var t text
	s := w.cfg.ShortNames
	if s.SearchAt != (rules.Origin{}) || len(s.Search) > 0 {
		t.line("unqualified-search-registries = %s", quotes(s.Search))
	}
	if mode, ok := shortNameModes[s.Mode]; ok {
		t.line("short-name-mode = %s", quote(mode))
	}
	for _, r := range w.routes {
		if t.Len() > 0 {
			t.line("")
		}
		r.registriesConf(&t)
	}
	if len(s.Aliases) > 0 {
		t.line("\n[aliases]")
	}
	for _, name := range slices.Sorted(maps.Keys(s.Aliases)) {
		t.line("%s = %s", quote(name), quote(s.Aliases[name].Name.String()))
	}
	return []File{t.file("50-" + w.opts.name() + ".conf")}
}

var shortNameModes = map[rules.ShortNameMode]string{rules.Permissive: "permissive", rules.Enforcing: "enforcing", rules.Disabled: "disabled"}

// registriesConf writes the table of a route.
func (r *route) registriesConf(t *text) {
	prefix := joinPath(r.match.Host, r.match.Path)
	if r.match.Kind == rules.HostSuffix {
		prefix = "*." + r.match.Host
	}
	mirrors, location, insecure := r.stops, prefix, false
	last := r.last()
	blocked := r.blocked || last == nil || !last.own && last.tags != last.digests
	if !blocked {
		mirrors, insecure = r.stops[:len(r.stops)-1], last.reach != verified
		if !last.own {
			location = last.name()
		}
	}
	t.line("[[registry]]\nprefix = %s", quote(prefix))
	if r.match.Kind != rules.HostSuffix || location != prefix {
		t.line("location = %s", quote(location))
	}
	if insecure {
		t.line("insecure = true")
	}
	if blocked {
		t.line("blocked = true")
	} else if last.ns != "" && last.ns != sourceNS {
		t.line("namespace-proxy = %s", quote(last.ns))
	}
	for _, p := range mirrors {
		p.registriesConf(t)
	}
}

// registriesConf writes the table of a mirror.
func (p *stop) registriesConf(t *text) {
	t.line("[[registry.mirror]]\nlocation = %s", quote(p.name()))
	if p.reach != verified {
		t.line("insecure = true")
	}
	switch {
	case !p.tags:
		t.line("pull-from-mirror = %s", quote("digest-only"))
	case !p.digests:
		t.line("pull-from-mirror = %s", quote("tag-only"))
	}
	if p.ns != "" && p.ns != sourceNS {
		t.line("namespace-proxy = %s", quote(p.ns))
	}
}
