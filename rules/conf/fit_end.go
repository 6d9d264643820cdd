package conf

import (
	"slices"

	"github.com/entrepot/entrepot/rules"
)

// end fits the end of a route: the original, something else, or nothing.
func (w *writing) end(r *route) {
	if r.blocked && !(w.limits.blocked && len(r.stops) > 0 || w.limits.bareBlock) {
		w.refuse(r, nil, featureBlocked, "keep the client from it by other means, such as a firewall", "%s cannot block %s", w.format.name, r.match)
		if r.blocked = false; len(r.stops) == 0 {
			return
		}
	}
	if i := slices.IndexFunc(r.stops, func(p stop) bool { return p.host == r.match.Host }); i >= 0 && r.blocked {
		w.refuse(r, &r.stops[i], featureBlocked, "", "%s blocks %s whatever its path is", w.format.name, r.match.Host)
		r.stops = slices.Delete(r.stops, i, i+1)
	}
	inside := func(p stop) bool { return p.own && (p.host == "" || !w.limits.ownInside) }
	if n := len(r.stops); n > 1 && slices.ContainsFunc(r.stops[:n-1], inside) {
		at := slices.IndexFunc(r.stops, inside)
		w.refuse(r, &r.stops[at], featureOrder, "", "%s cannot put %s in front of a mirror: what comes behind it is left out", w.format.name, r.match)
		r.stops = r.stops[:at+1]
	}
	if len(r.stops) == 0 && !r.blocked {
		w.nowhere(r)
		return
	}
	if w.limits.single {
		w.onePlace(r)
		return
	}
	if w.limits.reversed && len(r.stops) > 2 {
		w.warn(r, nil, featureOrder, "use one mirror", w.client()+" promises no order of mirrors: they are written so that its present version tries them in the order of the source", diffOrder)
	}
	if r.hasOriginal() || r.blocked {
		return
	}
	w.endElsewhere(r)
}

// endElsewhere fits a route that does not end with the original.
func (w *writing) endElsewhere(r *route) {
	switch {
	case w.limits.ending == endsAnywhere, w.limits.ending == endsBare:
		return
	case w.limits.ending == endsByFlag && w.allElsewhere():
		w.warn(r, nil, featureNoFallback, "start it with "+noFallbackFlags[w.client()], noFallbackFlags[w.client()]+" leaves the original out of every rule, and is no setting of one", diffOriginal)
		return
	case w.limits.ending == endsWarned:
		w.warn(r, nil, featureNoFallback, "", w.client()+" asks "+r.match.String()+" itself where no mirror has the image, which the source does not", diffOriginal)
	default:
		w.refuse(r, nil, featureNoFallback, "", "%s always asks %s itself last, which the source does not", w.format.name, r.match)
	}
	r.addOriginal()
}

// addOriginal puts the original behind the places of a route.
func (r *route) addOriginal() {
	original := stop{own: true, root: "/v2", base: r.match.Path, tags: true, digests: true}
	if r.match.Kind != rules.HostSuffix {
		original.host = r.match.Host
	}
	r.stops = append(r.stops, original)
}

// nowhere fits a route that leads nowhere.
func (w *writing) nowhere(r *route) {
	switch {
	case w.limits.bareBlock:
		r.blocked = true
	case !w.limits.nowhere:
		w.refuse(r, nil, featureNoFallback, "", "%s has no rule that leads nowhere: %s is asked itself", w.format.name, r.match)
		r.addOriginal()
	}
}

// noFallbackFlags are the flags that leave the original out of all rules.
//
//	:: client → flag
var noFallbackFlags = map[string]string{"kaniko": "--skip-default-registry-fallback", "k3s": "--disable-default-registry-endpoint"}

// allElsewhere reports whether no route with a mirror has the original.
func (w *writing) allElsewhere() bool {
	return !slices.ContainsFunc(w.routes, func(r *route) bool {
		return len(r.stops) > 1 && slices.ContainsFunc(r.stops, func(p stop) bool { return p.own })
	})
}

// onePlace fits a route for a format whose rules have one place, which is not
// the original.
func (w *writing) onePlace(r *route) {
	if len(r.stops) > 1 {
		w.refuse(r, nil, featureSeveral, "let the one place be a mirror that asks the others itself", "%s has one place for a registry and no fallback: %s alone is written", w.format.name, r.stops[0].host)
		r.stops = r.stops[:1]
	}
}

// exempt leaves out routes that say nothing: those with the original alone,
// unless a broader one would be for their images.
func (w *writing) exempt() {
	w.routes = slices.DeleteFunc(w.routes, func(r *route) bool {
		if len(r.stops) > 1 || len(r.stops) == 1 && !r.stops[0].ordinary() || r.blocked || len(r.stops) == 1 && (w.limits.exempt && w.covered(r) || w.limits.local && isThisMachine(r.match.Host)) {
			return false
		}
		if len(r.stops) == 1 && w.covered(r) {
			w.refuse(r, nil, featureExempt, "", "%s has no rule that keeps images of %s from another rule's mirrors", w.format.name, r.match)
		}
		return len(r.stops) > 0 || !w.limits.nowhere
	})
}

// covered reports whether a broader route would be for the images of r.
func (w *writing) covered(r *route) bool {
	n := sample(r.match)
	return slices.ContainsFunc(w.routes, func(o *route) bool {
		if o == r {
			return false
		}
		switch o.match.Kind {
		case rules.Any:
			return true
		case rules.HostSuffix:
			return inside(n.Host, "*."+o.match.Host)
		default:
			return inside(n.String(), joinPath(o.match.Host, o.match.Path))
		}
	})
}
