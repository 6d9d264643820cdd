package conf

import (
	"cmp"
	"slices"

	"github.com/entrepot/entrepot/ref"
	"github.com/entrepot/entrepot/rules"
)

// Docker with the containerd image store. Source: moby/moby v2.0.0-beta.24,
// daemon/hosts.go (RegistryHosts, mergeLegacyConfig, mirrorsToRegistryHosts).

// containerdStore sets the rules of the containerd image store: those of
// certs.d, and daemon.json where they leave one place alone.
func (d *daemonFile) containerdStore() {
	if d.certs != "" {
		d.hostsToml(d.certs)
	}
	d.hosts()
	for _, host := range d.insecureHosts() {
		d.shadowed(host, d.insecure[host])
	}
	d.shadowedNets()
	for i := range d.cfg.Rules {
		d.legacy(&d.cfg.Rules[i])
	}
	if len(d.mirrors) > 0 {
		d.hubMirrors()
	}
}

// rule returns the rule for a host; nil where there is none.
func (d *daemonFile) rule(host string) *rules.Rule {
	var all *rules.Rule
	for i := range d.cfg.Rules {
		switch rule := &d.cfg.Rules[i]; {
		case rule.Match.Kind == rules.Host && rule.Match.Host == host:
			return rule
		case rule.Match.Kind == rules.Any:
			all = rule
		}
	}
	return all
}

// shadowed notes an insecure registry whose hosts.toml has mirrors, because of
// which daemon.json does not count. Where that is the one for all hosts, the
// registry gets a copy.
func (d *daemonFile) shadowed(host string, origin rules.Origin) {
	rule := d.rule(host)
	if rule == nil || len(rule.Endpoints) == 0 {
		return
	}
	p := rules.Problem{
		At: origin, Level: rules.Warning, Hint: "write skip_verify = true, or http://, into that hosts.toml",
		Text: "insecure-registries has no effect for " + host + ", because " + rule.Origin.File + " names a mirror for it",
	}
	d.note(p)
	if rule.Match.Kind != rules.Any {
		return
	}
	own := *rule
	own.Match = rules.Match{Kind: rules.Host, Host: host, Text: rule.Match.Text}
	own.Endpoints = slices.Clone(rule.Endpoints)
	d.cfg.Rules = append(d.cfg.Rules, own)
}

// shadowedNets drops the networks where certs.d has mirrors for every registry.
func (d *daemonFile) shadowedNets() {
	all := d.rule("")
	if all == nil || len(all.Endpoints) == 0 {
		return
	}
	for _, n := range d.nets {
		d.note(rules.Problem{
			At: n.Origin, Level: rules.Warning, Hint: "write skip_verify = true, or http://, into that hosts.toml",
			Text: "network " + n.Net.String() + " has no effect, because " + all.Origin.File + " names a mirror for every registry",
		})
	}
	d.cfg.Nets = nil
}

// legacy lets daemon.json count in a rule of certs.d, or keeps it out.
func (d *daemonFile) legacy(rule *rules.Rule) {
	up := &rule.Upstream.Endpoint
	if len(rule.Endpoints) == 0 {
		host := up.Host
		if host == "" {
			host = rule.Match.Host
		}
		if host == ref.DockerHub {
			host = d.d.HubWire
		}
		if d.merges() && host != "" && d.isInsecure(host) {
			unverified(up)
		}
		return
	}
	for i := range rule.Endpoints {
		settled(&rule.Endpoints[i])
	}
	settled(up)
	if rule.Match.Kind == rules.Host && !isThisMachine(rule.Match.Host) && up.Scheme == rules.SchemeUnset {
		up.Scheme = rules.HTTPS
	}
}

// merges reports whether daemon.json says anything; only then what is on this
// machine counts as insecure, too.
func (d *daemonFile) merges() bool { return len(d.mirrors)+len(d.insecure)+len(d.nets) > 0 }

// settled keeps settings of the host out of an endpoint.
func settled(ep *rules.Endpoint) {
	if ep.Transport == nil {
		ep.Transport = &rules.Transport{}
	}
}

// unverified lets an endpoint be asked without a check of its certificate, and
// then by plain HTTP.
func unverified(ep *rules.Endpoint) {
	var tr rules.Transport
	if ep.Transport != nil {
		tr = *ep.Transport
	}
	tr.SkipVerify = true
	ep.Transport = &tr
	if ep.Scheme != rules.HTTP {
		ep.Scheme = rules.HTTPSThenHTTP
	}
}

// shareInsecure lets all places of Docker Hub be asked without a check where one
// of them is an insecure registry: mirrors are copies of the host that they are
// put before, and share its client (mirrorsToRegistryHosts).
func (d *daemonFile) shareInsecure(hub *rules.Rule) {
	up := &hub.Upstream.Endpoint
	at := slices.IndexFunc(hub.Endpoints, func(ep rules.Endpoint) bool { return d.isInsecure(ep.Host) })
	switch {
	case at < 0 && !d.isInsecure(cmp.Or(up.Host, d.d.HubWire)):
		return
	case at >= 0:
		ep := &hub.Endpoints[at]
		d.note(rules.Problem{
			At: ep.Origin, Level: rules.Warning, Hint: "give the mirror a certificate, or write it into a hosts.toml instead",
			Text: "mirror " + ep.Host + " is an insecure registry, and so no certificate is checked for Docker Hub and its other mirrors either",
		})
	}
	for i := range hub.Endpoints {
		unverified(&hub.Endpoints[i])
	}
	unverified(up)
}

// hubMirrors puts registry-mirrors in front of the one place that there is for
// Docker Hub. Where certs.d gives more, they have no effect.
func (d *daemonFile) hubMirrors() {
	hub := rules.Rule{Match: rules.Match{Kind: rules.Host, Host: ref.DockerHub}, Origin: d.at(d.file, d.mirrors[0].node.at)}
	rule := d.rule(ref.DockerHub)
	if rule != nil && len(rule.Endpoints) > 0 {
		d.silent(d.file, d.mirrors[0].node.at, "put the mirrors into that file", "registry-mirrors has no effect, because %s names a mirror for Docker Hub", rule.Origin.File)
		return
	}
	if rule != nil {
		hub.Upstream, hub.Fails = rule.Upstream, rule.Fails
	}
	for _, m := range d.mirrors {
		ep := d.endpoint(m)
		ep.Can, ep.NS = rules.Pull|rules.Resolve|rules.Referrers, rules.NS{Source: true}
		if tr := hub.Upstream.Endpoint.Transport; tr != nil { // a mirror is a copy of that place
			own := *tr
			own.SkipVerify = own.SkipVerify || ep.Transport != nil
			ep.Transport = &own
		}
		hub.Endpoints = append(hub.Endpoints, ep)
	}
	d.shareInsecure(&hub)
	if rule != nil && rule.Match.Kind == rules.Host {
		*rule = hub
		return
	}
	d.cfg.Rules = append(d.cfg.Rules, hub)
}
