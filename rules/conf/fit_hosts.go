package conf

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/entrepot/entrepot/ref"
	"github.com/entrepot/entrepot/rules"
)

// transport fits how a place is spoken to.
func (w *writing) transport(r *route, p *stop) {
	if p.reach == plainHTTP {
		p.tr.CA, p.tr.Client = nil, nil // of no use
	}
	if p.tr.InlineAuth {
		w.inlineAuth(r, p)
	}
	if len(p.tr.Header) > 0 && !w.limits.header {
		w.refuse(r, p, featureHeader, "where it is for logging in, use the client's own credentials", "%s sends no headers of its own, and %s is sent %s",
			w.format.name, p.host, strings.Join(headerNames(p.tr.Header), ", "))
		p.tr.Header = nil
	}
	if p.tr.DialTimeout != 0 && !w.limits.dial {
		w.warn(r, p, featureDialTimeout, "", w.format.name+" has no dial timeout: while "+p.host+" is down, it takes longer until the next place is tried", diffDial)
		p.tr.DialTimeout = 0
	}
	w.certificates(r, p)
	as, ok := w.reaches(r, p)[p.reach]
	will := as.as
	if w.limits.forced != nil {
		will = w.limits.forced(p.host, p.own, as.as)
	}
	switch {
	case will == p.reach: // whatever is written
	case !ok:
		w.refuse(r, p, reachFeature(p.reach), "give it a certificate that the client trusts", "%s cannot ask %s by %s", w.format.name, p.host, p.reach)
	case as.feature != "":
		w.warn(r, p, as.feature, reachHints[as.feature], fmt.Sprintf("%s is asked by %s, and not by %s: %s", p.host, as.as, p.reach, as.text), diffReach)
	}
	if will != p.reach && will != as.as {
		w.warn(r, p, featureLocal, "", fmt.Sprintf("%s is asked by %s, as %s asks every such address, and not by %s", p.host, will, w.client(), p.reach), diffReach|diffCerts)
	}
	if p.reach = will; will == plainHTTP {
		p.tr.CA, p.tr.Client = nil, nil
	}
}

// reaches returns how the format writes the reach of a place.
func (w *writing) reaches(r *route, p *stop) map[reach]reachAs {
	switch {
	case p.own && r.match.Kind == rules.Any:
		return w.limits.reachAny
	case p.own && w.limits.hubVerified && isHub(p.host):
		return nil
	case p.own && w.limits.reachOwn != nil:
		return w.limits.reachOwn
	default:
		return w.limits.reach
	}
}

// reachHints say what to do about what a reach becomes.
//
//	:: feature → hint
var reachHints = map[string]string{
	featureSkipVerify: "a certificate that the client trusts is safer: put its CA into the client's certs.d",
}

// reachFeature returns the feature that a reach is.
func reachFeature(r reach) string {
	switch r {
	case unverifiedTLS:
		return featureSkipVerify
	case plainHTTP:
		return featurePlainHTTP
	default:
		return featureFallback
	}
}

func headerNames(headers []rules.Header) []string {
	var names []string
	for _, h := range headers {
		names = append(names, h.Name)
	}
	return names
}

// inlineAuth tells of credentials that the source holds. They are never kept,
// and so never written.
func (w *writing) inlineAuth(r *route, p *stop) {
	p.tr.InlineAuth = false
	text := "the credentials for " + p.host + " are not written"
	if w.format.name == "hosts.toml" && p.at.Format == "containerd-cri" {
		w.warn(r, p, featureInlineAuth, "keep them in config.toml, or let the kubelet give them", text, 0)
		return
	}
	w.refuse(r, p, featureInlineAuth, "put them where "+w.client()+" looks for credentials, under the name "+p.host, "%s", text)
}

// certificates fits the certificates of a place.
func (w *writing) certificates(r *route, p *stop) {
	tr := &p.tr
	if p.own && r.match.Kind == rules.Any && w.limits.reachAny == nil && len(tr.CA)+len(tr.Client) > 0 {
		w.refuse(r, p, featureCA, "name the registries", "%s has no certificates for all registries", w.format.name)
		tr.CA, tr.Client = nil, nil
	}
	if len(tr.CA) > 0 && !w.authorities(r, p) {
		tr.CA = nil
	}
	if len(tr.Client) == 0 {
		return
	}
	switch {
	case w.limits.certs == certsFiles && !slices.ContainsFunc(tr.Client, func(c rules.KeyPair) bool { return c.Cert == inline }):
		return
	case w.limits.certs == certsOne && len(tr.Client) == 1 && tr.Client[0].Cert != inline:
		return
	case w.limits.certs == certsNone:
		w.refuse(r, p, featureClient, "", "%s has no client certificates, and %s is sent one", w.format.name, p.host)
	default:
		w.warn(r, p, featureClient, "give the client the certificate and its key by hand", "the client certificate for "+p.host+" is not written: a key is never copied", diffCerts)
	}
	tr.Client = nil
}

// authorities fits the authorities of a place, and reports whether there is
// something to write.
func (w *writing) authorities(r *route, p *stop) bool {
	names := strings.Join(p.tr.CA, ", ")
	embedded := slices.Contains(p.tr.CA, inline)
	switch w.limits.certs {
	case certsNone:
		w.refuse(r, p, featureCA, "add the CA to those that the client trusts for everything", "%s names no CA, and %s has one of its own", w.format.name, p.host)
		return false
	case certsElsewhere:
		where := certsDirs[w.format.name] + p.host + "/ca.crt"
		w.warn(r, p, featureCA, "copy "+names+" to "+where, "the CA of "+p.host+" goes into another file, "+where+", and holds for the host in every rule", diffCerts)
		return false
	case certsInline:
		if text, err := w.pemOf(p.tr.CA); err != nil {
			w.warn(r, p, featureCA, "write the certificate into the result by hand", fmt.Sprintf("the CA of %s is not written: %v", p.host, err), diffCerts)
			return false
		} else {
			p.tr.CA = []string{text}
			host := canonicalHub(p.host)
			w.accepted = append(w.accepted, func(d difference) bool { return r.is(d) && d.kind == diffCerts && canonicalHub(d.host) == host })
		}
	case certsOne:
		if len(p.tr.CA) > 1 {
			w.refuse(r, p, featureCA, "put them into one file", "%s takes one file with a CA, and %s has %s", w.format.name, p.host, names)
			return false
		}
	}
	if embedded && w.limits.certs != certsInline {
		w.warn(r, p, featureCA, "put the certificate into a file, and name that in the result", "the CA of "+p.host+" is in the source itself, and is not written", diffCerts)
		return false
	}
	return true
}

// certsDirs are the directories in which clients look for certificates.
//
//	:: format → directory
var certsDirs = map[string]string{"registries.conf": "/etc/containers/certs.d/", "daemon.json": "/etc/docker/certs.d/"}

// pemOf returns the text of certificate files.
func (w *writing) pemOf(names []string) (string, error) {
	var b strings.Builder
	for _, name := range names {
		switch {
		case name == inline:
			return "", fmt.Errorf("it is in the source itself, which is not kept")
		case w.opts.ReadFile == nil:
			return "", fmt.Errorf("%s has to be read for it", name)
		}
		text, err := w.opts.ReadFile(name)
		if err != nil {
			return "", err
		}
		b.WriteString(strings.TrimRight(string(text), "\n") + "\n")
	}
	return b.String(), nil
}

// key returns the host that the settings of a place are under.
func (w *writing) key(r *route, p *stop) string {
	switch {
	case p.own && r.match.Kind == rules.Any:
		return rules.AnyHost
	case !w.limits.wireKeys && (p.own || w.limits.literalHub):
		return p.host
	default:
		return p.wire()
	}
}

// shareHosts lets the places of a host have the same settings, where the format
// has them by host.
func (w *writing) shareHosts() {
	if w.limits.scope == scopePlace {
		return
	}
	chosen := map[string]*stop{}
	own := map[string]bool{} // :: host → its own images have the settings by a route
	w.eachShared(func(r *route, p *stop) {
		own[w.key(r, p)] = own[w.key(r, p)] || p.own
		if first := chosen[w.key(r, p)]; first == nil || p.reach < first.reach {
			chosen[w.key(r, p)] = p
		}
	})
	w.eachShared(func(r *route, p *stop) {
		first := chosen[w.key(r, p)]
		if w.alike(p, first) {
			return
		}
		w.refuse(r, p, featurePerRuleTLS, "use another name for the mirror in one of the rules",
			"%s speaks to %s in one way in all rules, and elsewhere that is by %s", w.format.name, p.host, first.reach)
		p.reach, p.tr = first.reach, first.tr
	})
	if w.limits.plainAlone {
		w.plainAlone(chosen)
	}
	for _, host := range slices.Sorted(maps.Keys(chosen)) {
		if !own[host] {
			w.directly(host, chosen[host])
		}
	}
}

// plainAlone drops the settings of hosts that a rule asks by plain HTTP, where
// the client takes both for a contradiction.
func (w *writing) plainAlone(chosen map[string]*stop) {
	for _, r := range w.routes {
		for i := range r.stops {
			p := &r.stops[i]
			first := chosen[w.key(r, p)]
			if p.reach != plainHTTP || first == nil || !first.skips() && len(first.tr.CA) == 0 {
				continue
			}
			w.lose(Loss{
				Feature: featurePerRuleTLS, At: p.at, Refuse: true, Hint: "use another name for the mirror in one of the rules",
				Text: fmt.Sprintf("%s takes no settings of TLS for %s, because a rule asks it by plain HTTP", w.format.name, p.host),
			}, func(d difference) bool {
				return canonicalHub(d.host) == canonicalHub(p.host) && (diffReach|diffCerts)&d.kind != 0
			})
			w.eachShared(func(other *route, o *stop) {
				if w.key(other, o) == w.key(r, p) {
					o.reach, o.tr.CA = verified, nil
				}
			})
		}
	}
}

// eachShared calls fn for the places whose settings are their host's.
func (w *writing) eachShared(fn func(r *route, p *stop)) {
	for _, r := range w.routes {
		for i := range r.stops {
			if p := &r.stops[i]; w.limits.scope == scopeHost || p.reach != plainHTTP {
				fn(r, p)
			}
		}
	}
}

// alike reports whether two places of a host have the same settings by it.
func (w *writing) alike(a, b *stop) bool {
	if w.limits.scope == scopeTLS {
		return a.skips() == b.skips() && a.sameCerts(b)
	}
	return a.reach == b.reach && a.sameCerts(b)
}

// skips reports whether the certificate of a place is not checked.
func (p *stop) skips() bool { return p.reach == unverifiedTLS || p.reach == unverifiedThenPlain }

// directly tells where the settings of a mirror hold for images of its own as
// well, and did not.
func (w *writing) directly(host string, p *stop) {
	if p.reach == verified && len(p.tr.CA)+len(p.tr.Client) == 0 && !(w.limits.local && isThisMachine(host)) || !ref.ValidHost(host) || isOneLabel(host) {
		return
	}
	name := ref.Name{Host: canonicalHub(host), Path: "sample/image"}
	plan := w.from.Plan(name.WithTag("latest"), rules.Pull, w.source())
	if len(plan.Tries) == 1 && reachOf(&plan.Tries[0]) == p.reach && certsOf(&plan.Tries[0]) == certsText(p.tr) {
		return
	}
	w.lose(Loss{Feature: featureHostTLS, At: p.at, Text: fmt.Sprintf("%s speaks to %s by %s for images of its own, too, and not only as a mirror", w.client(), host, p.reach)},
		func(d difference) bool { return d.ref.Host == name.Host && (diffReach|diffCerts)&d.kind == d.kind })
}

// nsOf tells where requests to a mirror get a parameter ns that they do not
// have, lose it, or get another one.
func (w *writing) nsOf(r *route) {
	told := false
	for i := range r.stops {
		p := &r.stops[i]
		was, will := p.ns, w.nsFor(r, p)
		p.ns = will
		text := ""
		switch {
		case told: // one is enough for a rule
			continue
		case will == was && (was == "" || w.limits.ns != nsLiteral):
			continue
		case will == was:
			text = fmt.Sprintf("requests to %s have ns=%s, which is written as namespace-proxy: versions of podman that do not know it send none", p.host, was)
		case was == "":
			text = fmt.Sprintf("requests to %s get ns=%s, which the source does not send", p.host, nsText(will))
		case will == "":
			text = fmt.Sprintf("requests to %s lose ns=%s: where it serves several registries by that, it cannot tell them apart", p.host, nsText(was))
		default:
			text = fmt.Sprintf("requests to %s have ns=%s instead of ns=%s", p.host, nsText(will), nsText(was))
		}
		w.warn(r, p, featureNS, "", text, diffNS)
		told = true
	}
}

func nsText(ns string) string {
	if ns == sourceNS {
		return "the registry of the image"
	}
	return ns
}

// nsFor returns what the target's client sends a place.
func (w *writing) nsFor(r *route, p *stop) string {
	host := r.match.Host
	if r.match.Kind == rules.Any || r.match.Kind == rules.HostSuffix {
		host = sourceNS
	}
	switch {
	case w.limits.ns == nsLiteral && p.ns != sourceNS:
		return p.ns
	case p.own, w.limits.ns == nsNever, w.limits.ns == nsLiteral, p.host == host, isHub(p.host) && isHub(host):
		return ""
	case w.limits.ns == nsWire:
		return r.nsWire(p)
	}
	return host
}

// nsWire returns what a client sends a mirror that takes it from the place
// that comes last.
func (r *route) nsWire(p *stop) string {
	last := r.last()
	if p == last || p.wire() == last.wire() {
		return ""
	}
	return last.wire()
}

// rest tells of what is in no rule.
func (w *writing) rest() {
	never := func(difference) bool { return false }
	if s := w.cfg.ShortNames; s.Configured() && w.format.name != "registries.conf" && (len(s.Aliases) > 0 || !slices.Equal(s.Search, []string{ref.DockerHub})) {
		at := s.SearchAt
		for _, name := range slices.Sorted(maps.Keys(s.Aliases)) {
			if at == (rules.Origin{}) {
				at = s.Aliases[name].Origin
			}
		}
		w.lose(Loss{
			Feature: featureShortNames, At: at, Hint: "write whole names",
			Text: w.client() + " takes names without a registry for Docker Hub's, whatever the source says about them",
		}, never)
	}
	if w.format.name == "daemon.json" {
		return
	}
	for _, n := range w.cfg.Nets {
		w.lose(Loss{
			Feature: featureNetwork, At: n.Origin, Hint: "name the registries",
			Text: fmt.Sprintf("%s has no settings for a network: %s holds for the hosts alone that the rules name", w.format.name, n.Net),
		}, func(d difference) bool { return d.inNet(n.Net) && (diffReach|diffCerts)&d.kind == d.kind })
	}
}
