package conf

import "github.com/entrepot/entrepot/rules"

// packLimits are those of pack, which replaces the registry in an image's name.
func packLimits() limits {
	return limits{
		everything: true, anyAlone: true, single: true, noOneLabel: true,
		paths: pathsNamespace, ending: endsAnywhere, reach: exact(), certs: certsNone, forced: privateFallback,
	}
}

// writePack writes a config.toml.
func writePack(w *writing) []File {
	var t text
	for _, r := range w.routes {
		key := ggcrHost(r.match.Host)
		if r.match.Kind == rules.Any {
			key = rules.AnyHost
		}
		for _, p := range r.mirrors() {
			if t.Len() == 0 {
				t.line("[registry-mirrors]")
			}
			t.line("%s = %s", quote(key), quote(joinPath(ggcrHost(p.host), p.base)))
		}
	}
	return []File{t.file("config.toml")}
}
