package conf

import "github.com/entrepot/entrepot/rules"

// openshiftLimits are those of the objects that the machine-config operator
// reads, from OpenShift 4.13 on.
func openshiftLimits() limits {
	return limits{
		namespaces: true, wildcards: true, blocked: true, noIPv6: true, noOneLabel: true,
		paths: pathsNamespace, kinds: rules.Tags | rules.Digests, ending: endsBare, ns: nsNever, reach: exact(), certs: certsNone,
	}
}

// writeOpenShift writes an ImageDigestMirrorSet and an ImageTagMirrorSet. A
// mirror for all references has to be in both.
func writeOpenShift(w *writing) []File {
	var t text
	for _, k := range mirrorKinds {
		if k.policy {
			w.mirrorObject(&t, k)
		}
	}
	return []File{t.file(w.opts.name() + ".yaml")}
}

// mirrorObject writes the object for one kind of reference, where there is a
// mirror for it.
func (w *writing) mirrorObject(t *text, k mirrorKind) {
	begun := false
	for _, r := range w.routes {
		var mirrors []string
		for _, p := range r.mirrors() {
			if k.kinds == rules.Tags && p.tags || k.kinds == rules.Digests && p.digests {
				mirrors = append(mirrors, p.name())
			}
		}
		if len(mirrors) == 0 {
			continue
		}
		if !begun {
			if t.Len() > 0 {
				t.line("---")
			}
			t.line("apiVersion: %s\nkind: %s\nmetadata:\n  name: %s\nspec:\n  %s:", k.api, k.kind, quote(w.opts.name()), k.key)
			begun = true
		}
		source := joinPath(r.match.Host, r.match.Path)
		if r.match.Kind == rules.HostSuffix {
			source = "*." + r.match.Host
		}
		t.line("    - source: %s\n      mirrors:", quote(source))
		for _, m := range mirrors {
			t.line("        - %s", quote(m))
		}
		if !r.hasOriginal() {
			t.line("      mirrorSourcePolicy: NeverContactSource")
		}
	}
}
