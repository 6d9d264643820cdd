package conf

import (
	"fmt"
	"slices"
	"strings"

	"github.com/entrepot/entrepot/ref"
	"github.com/entrepot/entrepot/rules"
)

// refuse notes a loss of a route that is to be refused; p is the place that it
// is about, nil for the rule. It explains every difference for the rule's
// images.
func (w *writing) refuse(r *route, p *stop, feature, hint, text string, args ...any) {
	w.note(r, p, true, feature, hint, fmt.Sprintf(text, args...), r.is)
}

// warn notes a loss that is only told of, and the differences that it explains.
func (w *writing) warn(r *route, p *stop, feature, hint, text string, kinds diffKind) {
	w.note(r, p, false, feature, hint, text, func(d difference) bool { return r.is(d) && kinds&d.kind == d.kind })
}

func (w *writing) note(r *route, p *stop, refuse bool, feature, hint, text string, explains func(difference) bool) {
	at := r.at
	if p != nil && p.at.File != "" {
		at = p.at
	}
	w.lose(Loss{Feature: feature, At: at, Refuse: refuse, Text: text, Hint: hint}, explains)
}

// is reports whether a difference is one for images of the route.
func (r *route) is(d difference) bool {
	if r.narrow && r.match.Kind == rules.Host {
		return r.match.Host == d.ref.Host
	}
	return r.rule == d.rule && (r.rule >= 0 || r.match.Kind == rules.Any)
}

// fit leaves in the routes what the format can say, and notes the rest.
func (w *writing) fit() {
	if !w.limits.namespaces {
		w.widen()
	}
	w.matches()
	for _, r := range w.routes {
		r.stops = slices.DeleteFunc(r.stops, func(p stop) bool { return !w.askable(r, &p) })
		w.kinds(r)
		r.stops = slices.DeleteFunc(r.stops, func(p stop) bool { return !w.placed(r, &p) })
		w.once(r)
		w.end(r)
		for i := range r.stops {
			w.transport(r, &r.stops[i])
		}
		w.once(r) // now that some are reached in the same way
	}
	for _, r := range w.routes {
		w.nsOf(r)
	}
	w.exempt()
	w.shareHosts()
	w.rest()
}

// matches keeps the routes whose images the format can name.
func (w *writing) matches() {
	var all []*route
	for _, r := range w.routes {
		switch {
		case r.match.Kind == rules.Any && w.limits.anyAlone && len(w.routes) > 1:
			w.refuse(r, nil, featureAny, "name the registries that it is to be written for", "in %s a rule for all registries beats every other, and there are others", w.format.name)
		case r.match.Kind == rules.Any && !w.limits.everything:
			all = append(all, w.expand(r, featureAny, "all registries")...)
		case r.match.Kind == rules.HostSuffix && !w.limits.wildcards:
			all = append(all, w.expand(r, featureWildcard, "the registries below "+r.match.Host)...)
		default:
			all = append(all, r)
		}
	}
	w.routes = slices.DeleteFunc(all, func(r *route) bool { return !w.nameable(r) })
}

// nameable reports whether the format can name the registry of a route.
func (w *writing) nameable(r *route) bool {
	many := r.match.Kind == rules.Any || r.match.Kind == rules.HostSuffix
	switch {
	case w.limits.noIPv6 && strings.HasPrefix(r.match.Host, "["):
		w.refuse(r, nil, featureIPv6, "give the registry a name", "%s takes no reference to an IPv6 address, such as %s", w.client(), r.match.Host)
	case w.limits.noOneLabel && !many && !isRegistryHost(r.match.Host):
		w.refuse(r, nil, featureOneLabel, "write the registry's whole name, or its port", "%s takes %q for a namespace of Docker Hub", w.client(), r.match.Host)
	case w.limits.hubOnly && r.match != hubMatch && !r.onlyOriginal():
		w.refuse(r, nil, featureNonHub, "write a hosts.toml for it", "%s has mirrors for Docker Hub alone, and the rule is for %s", w.format.name, r.match)
	default:
		return true
	}
	return false
}

var hubMatch = rules.Match{Kind: rules.Host, Host: ref.DockerHub}

// client names the client that reads the result.
func (w *writing) client() string { return w.target.Client }

// onlyOriginal reports whether a route has nothing but the image's own
// registry.
func (r *route) onlyOriginal() bool { return len(r.stops) == 1 && r.stops[0].own && !r.blocked }

// expand returns a route for each of the hosts that the caller names, where the
// format has none for many hosts.
func (w *writing) expand(r *route, feature, what string) []*route {
	var hosts []string
	var out []*route
	for _, host := range w.opts.Hosts {
		match := rules.Match{Kind: rules.Host, Host: canonicalHub(host)}
		if r.match.Kind == rules.HostSuffix && !strings.HasSuffix(match.Host, "."+r.match.Host) || slices.Contains(hosts, match.Host) ||
			!ref.ValidHost(match.Host) || slices.ContainsFunc(w.routes, func(o *route) bool { return o.match == match }) {
			continue
		}
		hosts = append(hosts, match.Host)
		own := *r
		own.narrow = true
		own.match, own.stops = match, slices.Clone(r.stops)
		for i := range own.stops {
			own.stops[i].named(match.Host)
			own.stops[i].own = own.stops[i].isOriginal(match)
		}
		out = append(out, &own)
	}
	if len(out) == 0 {
		w.refuse(r, nil, feature, "name the registries that it is to be written for", "%s has no rule for %s", w.format.name, what)
		return nil
	}
	w.note(r, nil, false, feature, "name the other registries, too", fmt.Sprintf("%s has no rule for %s: it is written for %s alone", w.format.name, what, strings.Join(hosts, ", ")),
		func(d difference) bool { return r.is(d) && !slices.Contains(hosts, d.ref.Host) })
	return out
}

// named fills in the host of the images that a place is for.
func (p *stop) named(host string) {
	if p.host == "" {
		p.host = host
	}
	if p.ns == sourceNS {
		p.ns = host
	}
}

// askable reports whether a place is one that the format's client could ask.
func (w *writing) askable(r *route, p *stop) bool {
	switch {
	case p.unusable != "":
		w.warn(r, p, featureUnusable, "", "the place at "+p.host+" is left out, because no request can be made for it: "+p.unusable, diffPlaces)
	case !p.tags && !p.digests:
		w.warn(r, p, featureCan, "", p.host+" is left out, because nothing is ever pulled from it", diffPlaces)
	case !p.own && p.host == "":
		w.refuse(r, p, featureOwnPath, "name the registries that it is for", "each registry with another namespace cannot be said")
	case len(p.rewrites) > 0 && !w.limits.rewrites, !p.own && !sameRewrites(p.rewrites, r.stops[0].rewrites):
		w.refuse(r, p, featureRewrite, "let the mirror map the names", "%s has no rewrites for one place: %s is left out", w.format.name, p.host)
	default:
		return true
	}
	return false
}

func sameRewrites(a, b []rules.Rewrite) bool {
	return slices.EqualFunc(a, b, func(x, y rules.Rewrite) bool {
		return x.Replace == y.Replace && x.Pattern.String() == y.Pattern.String()
	})
}

// placed reports whether the format can name a place.
func (w *writing) placed(r *route, p *stop) bool {
	if p.own {
		return true
	}
	leave := func(feature, hint, text string, args ...any) bool {
		w.refuse(r, p, feature, hint, text+": "+p.host+" is left out", args...)
		return false
	}
	switch {
	case w.limits.noIPv6 && strings.HasPrefix(p.host, "["):
		return leave(featureIPv6, "give the mirror a name", "%s takes no IPv6 address", w.client())
	case w.limits.noOneLabel && !isRegistryHost(p.host):
		return leave(featureOneLabel, "write the mirror's whole name, or its port", "%s takes %q for a namespace of Docker Hub", w.client(), p.host)
	case w.limits.noDotted && isRegistryHost(strings.SplitN(p.base, "/", 2)[0]):
		return leave(featureDotted, "choose a namespace without a dot in its first part", "%s takes the namespace %q for a registry", w.client(), p.base)
	}
	switch w.limits.paths {
	case pathsFree:
		if p.path() == "" && !w.limits.bareRoot {
			return leave(featureRoot, "let the mirror answer below /v2", "%s cannot ask %s without a path", w.format.name, p.host)
		}
		return true
	case pathsNone, pathsBefore:
		if p.base != "" {
			return leave(featureMirrorPath, "let the mirror map its root", "%s has no namespaces at a mirror", w.format.name)
		}
		if w.limits.paths == pathsBefore && strings.HasSuffix(p.root, "/v2") {
			return true
		}
	}
	if p.root != "/v2" {
		return leave(featureRoot, "let the mirror answer below /v2", "%s asks below /v2 alone, and not at %q", w.format.name, p.root+"/")
	}
	if w.limits.paths == pathsNamespace && p.base != "" && !ref.ValidPath(p.base) {
		feature := featureInvalid
		if strings.ToLower(p.base) != p.base {
			feature = featureUppercase
		}
		return leave(feature, "name it in lower case at the mirror", "with %s the namespace %q makes every pull of the rule fail", w.client(), p.base)
	}
	return true
}

// once leaves out places that are there already: few formats take a place
// twice, and asking again what failed is of little use.
func (w *writing) once(r *route) {
	var kept []stop
	for _, p := range r.stops {
		if n := len(kept); n > 0 && p.own && kept[n-1].own && kept[n-1].reach == p.reach && kept[n-1].ns == p.ns {
			kept[n-1] = p // the registry of the images is its own mirror
			continue
		}
		i := slices.IndexFunc(kept, func(o stop) bool { return !p.own && o.address() == p.address() })
		switch {
		case i < 0:
			kept = append(kept, p)
		case kept[i].tags && p.tags, kept[i].digests && p.digests:
			text := "the second mention of " + p.host + " is left out"
			covered := (kept[i].tags || !p.tags) && (kept[i].digests || !p.digests)
			w.note(r, &p, !covered, featureTwice, "", text, r.is)
		default:
			kept = append(kept, p)
		}
	}
	r.stops = kept
}

// kinds leaves out places for tags or digests alone that the format cannot tell
// apart from the others.
func (w *writing) kinds(r *route) {
	if w.limits.kinds != rules.Tags|rules.Digests {
		r.unite()
	}
	r.stops = slices.DeleteFunc(r.stops, func(p stop) bool {
		feature, what, kind := featureDigestOnly, "digest", rules.Digests
		if p.tags {
			feature, what, kind = featureTagOnly, "tag", rules.Tags
		}
		if p.tags == p.digests || w.limits.kinds&kind != 0 && (!p.own || w.limits.kindsOwn && r.match.Kind != rules.Any) {
			return false
		}
		w.refuse(r, &p, feature, "let it be used for all references, or for none", "%s has no place that is for references with a %s alone: %s is left out", w.format.name, what, p.host)
		return true
	})
}

// unite makes one place of two, where the places for tags are those for
// digests.
func (r *route) unite() {
	var tags, digests []stop
	for _, p := range r.stops {
		both := p
		both.tags, both.digests, both.can, both.at = true, true, 0, rules.Origin{}
		if p.tags {
			tags = append(tags, both)
		}
		if p.digests {
			digests = append(digests, both)
		}
	}
	if !slices.EqualFunc(tags, digests, func(a, b stop) bool { return a.equal(&b) }) {
		return
	}
	r.stops = slices.DeleteFunc(r.stops, func(p stop) bool { return !p.tags })
	for i := range r.stops {
		r.stops[i].digests = true
	}
}

// equal reports whether two places are the same, whatever they are for.
func (p *stop) equal(o *stop) bool {
	return p.host == o.host && p.own == o.own && p.root == o.root && p.base == o.base && p.reach == o.reach && p.ns == o.ns && p.sameCerts(o) &&
		len(p.rewrites)+len(o.rewrites)+len(p.tr.Header)+len(o.tr.Header) == 0 && p.tr.DialTimeout == o.tr.DialTimeout
}

func (p *stop) sameCerts(o *stop) bool {
	return slices.Equal(p.tr.CA, o.tr.CA) && slices.Equal(p.tr.Client, o.tr.Client)
}

// mirrors returns the places in front of the last, and the last where it is not
// the original.
func (r *route) mirrors() []stop {
	if r.hasOriginal() {
		return r.stops[:len(r.stops)-1]
	}
	return r.stops
}

// hasOriginal reports whether the original comes last.
func (r *route) hasOriginal() bool { return len(r.stops) > 0 && r.stops[len(r.stops)-1].own }

// last returns the last place; nil where there is none.
func (r *route) last() *stop {
	if len(r.stops) == 0 {
		return nil
	}
	return &r.stops[len(r.stops)-1]
}
