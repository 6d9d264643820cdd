package conf

import (
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/entrepot/entrepot/ref"
	"github.com/entrepot/entrepot/rules"
)

// A route is a rule as writers see it: all that the source's client would do is
// spelled out, and nothing is left to defaults.
type route struct {
	rule  int // in the configuration's rules; -1 where only the settings of a host say it
	match rules.Match
	stops []stop // in the order in which they are tried, the original too
	at    rules.Origin
	// blocked says that the image's own registry is never to be asked,
	// whatever leads to it.
	blocked bool
	// narrow says that it is for one of the registries alone that the rule is
	// for.
	narrow bool
}

// A stop is one place of a route.
type stop struct {
	// own says that it is the image's own registry and repository.
	own  bool
	host string // docker.io for Docker Hub's own; empty where it is that of each image
	// root is the path of the API, "/v2"; empty for none.
	root string
	// base takes the place of the path that the route is for, or goes in front
	// of the whole path.
	base     string
	rewrites []rules.Rewrite
	// tags and digests say which references it is for.
	tags, digests bool
	can           rules.Can // as the source says it; 0 where it says nothing
	reach         reach
	tr            rules.Transport
	ns            string // what it is sent; of what the image decides, sourceNS
	unusable      string
	at            rules.Origin
}

// sourceNS stands for the host of each image.
const sourceNS = "*"

// A reach says how a host is reached.
type reach uint8

const (
	verified reach = iota
	unverifiedTLS
	plainHTTP
	unverifiedThenPlain
	verifiedThenPlain
)

var reaches = [...]string{
	"HTTPS", "HTTPS without a check of the certificate", "plain HTTP",
	"HTTPS without a check of the certificate, then plain HTTP", "HTTPS, then plain HTTP",
}

func (r reach) String() string { return reaches[r] }

// reachOf returns how a try reaches its host.
func reachOf(t *rules.Try) reach {
	switch {
	case t.Scheme == rules.HTTP:
		return plainHTTP
	case t.Scheme == rules.HTTPSThenHTTP && t.Insecure():
		return unverifiedThenPlain
	case t.Scheme == rules.HTTPSThenHTTP:
		return verifiedThenPlain
	case t.Insecure():
		return unverifiedTLS
	default:
		return verified
	}
}

// isHub reports whether a host is one of Docker Hub's.
func isHub(host string) bool { return canonicalHub(host) == ref.DockerHub }

// normalise makes the routes of the configuration.
func (w *writing) normalise() {
	seen := map[rules.Match]int{} // :: match → its rule
	for _, i := range w.byKey() {
		rule := &w.cfg.Rules[i]
		match, ok := w.match(rule)
		if !ok {
			continue
		}
		r := &route{rule: i, match: match, at: rule.Origin}
		if first, twice := seen[match]; twice {
			w.note(r, nil, true, featureDuplicate, "keep one of them", "a second rule for "+match.String(), func(d difference) bool { return d.rule == first || r.is(d) })
			continue
		}
		seen[match] = i
		if w.resolve(r, rule) {
			w.routes = append(w.routes, r)
		}
	}
	w.withoutPorts(seen)
	slices.SortStableFunc(w.routes, func(a, b *route) int { return a.rule - b.rule })
	for _, host := range slices.Sorted(maps.Keys(w.cfg.Hosts)) {
		w.implied(host, seen)
	}
}

// withoutPorts adds routes for hosts without a port, where the source's client
// finds the rule of a port for them.
func (w *writing) withoutPorts(seen map[rules.Match]int) {
	for _, port := range w.opts.Source.PortKeys {
		for _, r := range slices.Clone(w.routes) {
			host, ok := strings.CutSuffix(r.match.Host, ":"+port)
			bare := route{rule: r.rule, match: rules.Match{Kind: rules.Host, Host: host}, at: r.at, narrow: true}
			if _, taken := seen[bare.match]; !ok || r.match.Kind != rules.Host || taken {
				continue
			}
			seen[bare.match] = r.rule
			if w.resolve(&bare, &w.cfg.Rules[r.rule]) {
				w.routes = append(w.routes, &bare)
			}
		}
	}
}

// byKey returns the numbers of the rules, those first whose key for Docker Hub
// is looked up first.
func (w *writing) byKey() []int {
	order := make([]int, len(w.cfg.Rules))
	for i := range order {
		order[i] = i
	}
	rank := func(i int) int { return slices.Index(w.opts.Source.HubKeys, w.cfg.Rules[i].Match.Host) }
	slices.SortStableFunc(order, func(a, b int) int { return rank(a) - rank(b) })
	return order
}

// match returns the match of a rule with the name that Docker Hub has
// everywhere; false where no image can match.
func (w *writing) match(rule *rules.Rule) (rules.Match, bool) {
	m := rule.Match
	m.Text = ""
	if w.opts.Source.AnyFirst && m.Kind != rules.Any && slices.ContainsFunc(w.cfg.Rules, func(r rules.Rule) bool { return r.Match.Kind == rules.Any }) {
		return m, false
	}
	if w.opts.Source.FoldCase {
		m.Host = strings.ToLower(m.Host)
	}
	switch {
	case m.Kind == rules.Never:
		return m, false
	case m.Kind == rules.Any:
		return m, true
	case slices.Contains(w.opts.Source.HubKeys, m.Host):
		m.Host = ref.DockerHub
	case isHub(m.Host):
		w.hubName(rule)
		return m, false
	case w.opts.Source.NoIPv6 && strings.HasPrefix(m.Host, "["):
		return m, false
	case m.Kind != rules.HostSuffix && isOneLabel(m.Host):
		return m, false // a name that begins so is one of Docker Hub's
	}
	return m, ref.ValidHost(m.Host) && (m.Kind != rules.Prefix || !strings.ContainsAny(m.Path, "@: \t\n"))
}

// hubName tells of a rule for the host of Docker Hub where that is no name of
// it: images are not called so, unless somebody does on purpose.
func (w *writing) hubName(rule *rules.Rule) {
	if rule.Match.Host != hubDNS {
		return // never the host of an image
	}
	w.lose(Loss{
		Feature: featureHubName, At: rule.Origin, Hint: "write docker.io",
		Text: "the rule for " + hubDNS + " is left out: images of Docker Hub are not looked for by that name",
	}, func(d difference) bool { return d.ref.Host == hubDNS })
}

// isOneLabel reports whether a host looks like a namespace of Docker Hub.
func isOneLabel(host string) bool {
	return host != "localhost" && !strings.ContainsAny(host, ".:") && strings.ToLower(host) == host
}

// implied adds a route for a host that has settings and no rule: images of its
// own are had in that way.
func (w *writing) implied(host string, seen map[rules.Match]int) {
	settings := w.cfg.Hosts[host]
	rule := rules.Rule{Match: rules.Match{Kind: rules.Host, Host: canonicalHub(host)}, Origin: settings.Origin}
	if host == rules.AnyHost {
		rule.Match = rules.Match{Kind: rules.Any}
	}
	if saysNothing(settings) {
		return
	}
	if rule.Match.Host == ref.DockerHub {
		rule.Match.Host = w.opts.Source.HubKeys[0]
	}
	match, ok := w.match(&rule)
	if _, taken := seen[match]; !ok || taken {
		return
	}
	r := &route{rule: -1, match: match, at: settings.Origin, narrow: true}
	if plan := w.from.Plan(sample(match).WithTag("latest"), rules.Pull, w.opts.Source); plan.Rule != nil && plan.Rule.Match.Kind != rules.Prefix {
		rule = *plan.Rule // one for more registries
		r.rule = w.number(plan.Rule)
	}
	if w.resolve(r, &rule) && len(r.stops) > 0 && (!r.last().ordinary() || isPrivate(match.Host) || isThisMachine(match.Host)) {
		seen[match] = -1
		w.routes = append(w.routes, r)
	}
}

// number returns the number of a rule of w.from.
func (w *writing) number(rule *rules.Rule) int {
	all := w.from.Rules()
	for i := range all {
		if &all[i] == rule {
			return i
		}
	}
	return -1
}

// saysNothing reports whether settings are as good as none.
func saysNothing(h rules.HostSettings) bool {
	return h.Scheme == rules.SchemeUnset && h.Fails == nil && (h.Transport == nil || reflect.DeepEqual(*h.Transport, rules.Transport{}))
}

// ordinary reports whether a place is the image's own registry, reached as it
// is where nothing is configured.
func (p *stop) ordinary() bool {
	return p.own && p.reach == verified && p.ns == "" && p.tags && p.digests && !p.tr.InlineAuth && p.tr.DialTimeout == 0 &&
		len(p.tr.CA)+len(p.tr.Client)+len(p.tr.Header) == 0
}

// resolve fills in the places of a route, as the source's client sees them. It
// reports false, and refuses, where the client would fail on them all.
func (w *writing) resolve(r *route, rule *rules.Rule) bool {
	eps := slices.Clone(rule.Endpoints)
	if rule.Upstream.Kind != rules.None {
		eps = append(eps, rule.Upstream.Endpoint)
	}
	tries, err := w.tries(r.match, eps)
	if rule.Fails != nil {
		err = rule.Fails
	}
	if err != nil {
		w.refuse(r, nil, featureFailing, "repair it first", "the rule for %s fails: %v", rule.Match, err)
		return false
	}
	for i := range eps {
		p := w.stop(r, &eps[i], &tries[i])
		switch d := &w.opts.Source; {
		case eps[i].Blocked && p.own:
			r.blocked = true
		case eps[i].Blocked && (d.BlockByRule || !d.BlockByName), d.BlockByName && !p.own && w.blockedBy(r, &p):
		default:
			r.stops = append(r.stops, p)
		}
	}
	own := func(p stop) bool { return p.own }
	switch {
	case r.blocked && w.opts.Source.BlockByName:
		r.stops = slices.DeleteFunc(r.stops, own)
	case slices.ContainsFunc(r.stops, own):
		r.blocked = false // it is asked at another place of the list
	}
	return true
}

// blockedBy reports whether another rule of the source blocks a place.
func (w *writing) blockedBy(r *route, p *stop) bool {
	host := p.host
	if host == "" {
		host = sample(r.match).Host
	}
	plan := w.from.Plan(ref.Name{Host: host, Path: joinPath(p.base, "sample/image")}.WithTag("latest"), rules.Pull, w.opts.Source)
	return plan.Rule != nil && plan.Rule.Upstream.Endpoint.Blocked
}

// tries plans the endpoints of a rule for an image that matches it, each of
// them as if it was for everything.
func (w *writing) tries(match rules.Match, eps []rules.Endpoint) ([]rules.Try, error) {
	d := w.opts.Source
	d.SplitFallback, d.CheckNames, d.BlockByName, d.BlockByRule, d.HostInPath, d.Can = false, false, false, false, false, 0
	probe := rules.Rule{Match: match, Endpoints: slices.Clone(eps), Upstream: rules.Upstream{Kind: rules.None}}
	hosts := map[string]rules.HostSettings{}
	name := sample(match)
	if name.Host == ref.DockerHub {
		probe.Match.Host = d.HubKeys[0]
	}
	keys := []string{rules.AnyHost, name.Host}
	for i := range probe.Endpoints {
		ep := &probe.Endpoints[i]
		ep.Kinds, ep.Can, ep.Blocked = 0, 0, false
		if ep.Unusable == "" {
			ep.Unusable = " " // a plan that leads nowhere is no error here
		}
		keys = append(keys, ep.Host)
	}
	for _, key := range append(keys, d.HubWire, d.HubName, ref.DockerHub) {
		if h, ok := w.cfg.Hosts[key]; ok {
			hosts[key] = h
		}
	}
	set := rules.New(rules.Config{Rules: []rules.Rule{probe}, Hosts: hosts, Nets: w.cfg.Nets, Localhost: w.cfg.Localhost})
	plan := set.Plan(name.WithTag("latest"), rules.Pull, d)
	if len(plan.Tries) != len(eps) {
		return nil, plan.Err
	}
	return plan.Tries, nil
}

// stop returns an endpoint as writers see it.
func (w *writing) stop(r *route, ep *rules.Endpoint, t *rules.Try) stop {
	can := ep.Can.OrAll() & w.opts.Source.Can.OrAll()
	p := stop{
		host: ep.Host, root: t.APIRoot, base: strings.Trim(ep.Repo.Prefix, "/"), rewrites: ep.Repo.Rewrites,
		tags: ep.Kinds.Has(rules.Tags) && can&(rules.Pull|rules.Resolve) == rules.Pull|rules.Resolve,
		can:  ep.Can, digests: ep.Kinds.Has(rules.Digests) && can&rules.Pull != 0,
		reach: reachOf(t), unusable: ep.Unusable, at: ep.Origin,
	}
	if t.Transport != nil {
		p.tr = *t.Transport
	}
	sameHost := p.host == "" || p.host == r.match.Host || isHub(p.host) && isHub(r.match.Host)
	if r.match.Kind == rules.HostSuffix || r.match.Kind == rules.Any {
		sameHost = p.host == ""
	} else if sameHost {
		p.host = r.match.Host
	}
	keeps := !ep.Repo.StripMatched
	if w.opts.Source.Textual {
		if keeps = ep.Host == ""; keeps { // otherwise the name is text in front of what was not matched
			p.base = ""
		}
	}
	if keeps {
		p.base = joinPath(p.base, r.match.Path)
	}
	p.own = sameHost && p.isOriginal(r.match)
	switch {
	case t.NS == "":
	case ep.NS.Value != "":
		p.ns = ep.NS.Value
	case r.match.Kind == rules.HostSuffix || r.match.Kind == rules.Any:
		p.ns = sourceNS
	default:
		p.ns = t.NS
	}
	return p
}

// isOriginal reports whether a place is the image's own registry and repository,
// where its host is that of the match.
func (p *stop) isOriginal(m rules.Match) bool {
	sameHost := p.host == "" || p.host == m.Host || isHub(p.host) && isHub(m.Host)
	return sameHost && p.root == "/v2" && p.base == m.Path && len(p.rewrites) == 0
}

// path returns the path in front of a repository's name.
func (p *stop) path() string {
	if p.base == "" {
		return p.root
	}
	return p.root + "/" + p.base
}

// name returns host and base.
func (p *stop) name() string { return joinPath(p.host, p.base) }

func joinPath(a, b string) string {
	if a == "" || b == "" {
		return a + b
	}
	return a + "/" + b
}

// sample returns a name that a match is for.
func sample(m rules.Match) ref.Name {
	n := ref.Name{Host: m.Host, Path: "sample/image"}
	switch m.Kind {
	case rules.Any:
		n.Host = "registry.example.com"
	case rules.HostSuffix:
		n.Host = "sample." + m.Host
	case rules.Prefix:
		n.Path = m.Path + "/sample"
	}
	return n
}
