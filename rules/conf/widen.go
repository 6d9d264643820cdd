package conf

import (
	"fmt"
	"slices"
	"strings"

	"github.com/entrepot/entrepot/rules"
)

// widen makes rules for registries of those for namespaces, where that is
// wanted and possible, and drops the others.
func (w *writing) widen() {
	var kept []*route
	for _, r := range w.routes {
		if r.match.Kind != rules.Prefix {
			kept = append(kept, r)
		}
	}
	for _, r := range w.routes {
		if r.match.Kind != rules.Prefix {
			continue
		}
		wide, why := w.wider(r)
		i := slices.IndexFunc(kept, func(o *route) bool { return o.match == wide.match })
		switch {
		case why == "" && i >= 0 && !samePlaces(kept[i], &wide):
			why = fmt.Sprintf("the rule for %s at %s leads elsewhere", kept[i].match, kept[i].at)
		case why == "" && i < 0 && w.opts.Widen:
			kept = append(kept, &wide)
		}
		w.widened(r, why)
	}
	slices.SortStableFunc(kept, func(a, b *route) int { return a.rule - b.rule })
	w.routes = kept
}

// widened tells what becomes of a rule for a namespace. why is the reason why
// it cannot be widened.
func (w *writing) widened(r *route, why string) {
	host := r.match.Host
	switch {
	case why != "":
		w.refuse(r, nil, featureNamespace, "", "%s has rules for whole registries alone, and %s cannot be widened to %s: %s", w.format.name, r.match, host, why)
	case !w.opts.Widen:
		w.refuse(r, nil, featureNamespace, "widen it to "+host+" (--widen): its mirrors keep the namespace",
			"%s has rules for whole registries alone, and the rule is for %s", w.format.name, r.match)
	default:
		w.note(r, nil, false, featureNamespace, "", fmt.Sprintf("the rule for %s holds for all of %s", r.match, host),
			func(d difference) bool { return d.ref.Host == host && d.rule != r.rule })
	}
}

// wider returns the route for the whole registry, and why there can be none.
func (w *writing) wider(r *route) (wide route, why string) {
	wide = *r
	wide.match = rules.Match{Kind: rules.Host, Host: r.match.Host}
	if r.blocked {
		return wide, "it blocks the namespace"
	}
	if r.onlyOriginal() {
		return wide, "it has no mirror"
	}
	wide.stops = slices.Clone(r.stops)
	for i := range wide.stops {
		p := &wide.stops[i]
		rest, ok := strings.CutSuffix("/"+p.base, "/"+r.match.Path)
		if !ok || len(p.rewrites) > 0 {
			return wide, fmt.Sprintf("%s has the namespace under another name", p.host)
		}
		p.base = strings.TrimPrefix(rest, "/")
	}
	return wide, ""
}

// samePlaces reports whether two routes lead to the same places.
func samePlaces(a, b *route) bool {
	return slices.EqualFunc(a.stops, b.stops, func(p, q stop) bool { return p.equal(&q) && p.tags == q.tags && p.digests == q.digests })
}
