package conf

import (
	"fmt"
	"slices"
	"strings"
)

// regclientLimits are those of regclient's configuration.
func regclientLimits() limits {
	reach := exact(unverifiedTLS, plainHTTP)
	with(reach, unverifiedThenPlain, unverifiedTLS, featureFallback, "plain HTTP is no longer tried")
	with(reach, verifiedThenPlain, verified, featureFallback, "plain HTTP is no longer tried")
	return limits{paths: pathsAnyCase, reversed: true, ending: endsAnywhere, ns: nsWire, reach: reach, certs: certsInline}
}

// A regEntry is an entry of hosts.
type regEntry struct {
	TLS      string   `json:"tls,omitempty"`
	Cert     string   `json:"regcert,omitempty"`
	Hostname string   `json:"hostname,omitempty"`
	Prefix   string   `json:"pathPrefix,omitempty"`
	Mirrors  []string `json:"mirrors,omitempty"`
}

// writeRegclient writes a config.json. A mirror with a namespace or settings of
// its own gets an entry under a name that is no registry's: under its own name
// they would hold for its own images, too.
func writeRegclient(w *writing) []File {
	hosts := map[string]regEntry{}
	for _, r := range w.routes {
		var e regEntry
		last := r.last()
		e.settings(last)
		if !last.own {
			e.Hostname, e.Prefix = last.wire(), last.base
		}
		for i := range r.stops[:len(r.stops)-1] {
			e.Mirrors = append(e.Mirrors, w.regMirror(hosts, &r.stops[i]))
		}
		slices.Reverse(e.Mirrors) // regclient tries those of one priority from the end
		hosts[r.match.Host] = e
	}
	return []File{jsonFile("config.json", map[string]any{"hosts": hosts})}
}

func (e *regEntry) settings(p *stop) {
	switch p.reach {
	case unverifiedTLS:
		e.TLS = "insecure"
	case plainHTTP:
		e.TLS = "disabled"
	}
	e.Cert = strings.Join(p.tr.CA, "")
}

// regMirror returns the name of a mirror's entry.
func (w *writing) regMirror(hosts map[string]regEntry, p *stop) string {
	e := regEntry{Prefix: p.base}
	e.settings(p)
	own := slices.ContainsFunc(w.routes, func(r *route) bool { return r.match.Host == p.host })
	if e.Prefix+e.TLS+e.Cert == "" && !own && !isHub(p.host) {
		return p.host
	}
	e.Hostname = p.wire()
	for i := 1; ; i++ {
		name := fmt.Sprintf("mirror-%d", i)
		if old, ok := hosts[name]; !ok || old.equal(e) {
			hosts[name] = e
			return name
		}
	}
}

// equal reports whether two entries of mirrors are the same.
func (e regEntry) equal(o regEntry) bool {
	return e.TLS == o.TLS && e.Cert == o.Cert && e.Hostname == o.Hostname && e.Prefix == o.Prefix
}
