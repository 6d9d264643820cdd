package conf

import (
	"encoding/base64"

	"github.com/entrepot/entrepot/rules"
)

// talosLimits are those of Talos.
func talosLimits() limits {
	l := k3sLimits()
	l.rewrites, l.ending, l.nowhere, l.certs, l.forced, l.reachAny = false, endsBare, true, certsInline, nil, nil
	l.bareRoot, l.plainAlone, l.wireKeys = true, true, true
	return l
}

// writeTalos writes machine.registries, as a patch for a machine's
// configuration: all versions read that form.
func writeTalos(w *writing) []File {
	var t, mirrors, config text
	for _, r := range w.routes {
		if len(r.mirrors()) > 0 || !r.hasOriginal() || w.covered(r) {
			r.talos(&mirrors)
		}
	}
	settings, hosts := w.byHost()
	for _, host := range hosts {
		settings[host].talos(&config)
	}
	if mirrors.Len()+config.Len() > 0 {
		t.line("machine:\n  registries:")
	}
	if mirrors.Len() > 0 {
		t.line("    mirrors:")
		t.WriteString(mirrors.String())
	}
	if config.Len() > 0 {
		t.line("    config:")
		t.WriteString(config.String())
	}
	return []File{t.file("machine.yaml")}
}

// talos writes the mirrors of a route. overridePath holds for all of them, so
// that with it each has its whole path.
func (r *route) talos(t *text) {
	key := r.match.Host
	if r.match.Kind == rules.Any {
		key = rules.AnyHost
	}
	mirrors := r.mirrors()
	override := false
	for i := range mirrors {
		override = override || mirrors[i].path() != "/v2"
	}
	t.line("      %s:", quote(key))
	if len(mirrors) == 0 {
		t.line("        endpoints: []")
	} else {
		t.line("        endpoints:")
	}
	for i := range mirrors {
		p := &mirrors[i]
		address := p.endpoint()
		if override && p.path() == "/v2" {
			address += "/v2"
		}
		t.line("          - %s", quote(address))
	}
	if override {
		t.line("        overridePath: true")
	}
	if !r.hasOriginal() {
		t.line("        skipFallback: true")
	}
}

// talos writes the settings of a host, whose CA is the text of certificates.
func (p *stop) talos(t *text) {
	if !p.skips() && len(p.tr.CA) == 0 {
		return
	}
	t.line("      %s:\n        tls:", quote(p.wire()))
	if p.skips() {
		t.line("          insecureSkipVerify: true")
	}
	for _, pem := range p.tr.CA {
		t.line("          ca: %s", base64.StdEncoding.EncodeToString([]byte(pem)))
	}
}
