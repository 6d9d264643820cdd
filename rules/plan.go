package rules

import (
	"errors"
	"fmt"
	"slices"

	"github.com/entrepot/entrepot/ref"
)

// A Plan says which places will be tried for an image. It is plain data.
type Plan struct {
	// Ref is the image, as the client normalises it.
	Ref ref.Ref
	// Rule is the rule that was chosen; nil means none.
	Rule *Rule
	// Others are the rules that match as well and lose, the best first.
	Others []*Rule
	// Tries are the places in the order in which they are tried.
	Tries []Try
	// Skips are the places that the rule names and that are not tried.
	Skips []Skip
	// Err is why nothing can serve the image; Tries may then still hold places
	// that are blocked or unusable.
	Err error
}

// A Skip is a place that is left out, and why.
type Skip struct {
	Try
	Why string
	// Missing is what the place would have to be able to do.
	Missing Can
}

// Usable reports whether there is a place that can be asked.
func (p *Plan) Usable() bool {
	for i := range p.Tries {
		if t := &p.Tries[i]; !t.Blocked && t.Unusable == "" {
			return true
		}
	}
	return false
}

// Plan returns the places that a client would try for an image, in order. want
// is Pull, Resolve, Push or Referrers: pulling a tag needs places that resolve,
// too. It is pure, and takes microseconds; where no rule matches, the slice of
// tries is all that it allocates. The rules in the result are not changed by
// the caller.
func (s *Set) Plan(r ref.Ref, want Can, d Dialect) Plan {
	pl := planner{set: s, d: d, want: want}
	p := &pl.plan
	p.Ref = d.normal(r)
	if s.refused != nil {
		p.Err = s.refused
		return pl.plan
	}
	if p.Err = d.refuses(r); p.Err != nil {
		return pl.plan
	}
	var room [12]found
	list := s.match(room[:0], p.Ref.Name, &pl.d)
	if len(list) == 0 {
		p.Tries = make([]Try, 0, 1)
		pl.add(&own, Primary)
	} else {
		pl.choose(list)
	}
	if p.Err == nil && !p.Usable() {
		p.Err = pl.nothing()
	}
	return pl.plan
}

// own is the image's own registry, with nothing special.
var own Endpoint

// A planner makes one plan. It holds everything by value, so that it stays on
// the stack.
type planner struct {
	set  *Set
	d    Dialect
	plan Plan
	want Can
	best found
}

// choose takes the best rule and follows it.
func (pl *planner) choose(list []found) {
	p := &pl.plan
	pl.best = list[0]
	rule := pl.best.rule
	p.Rule = rule
	for _, f := range list[1:] {
		p.Others = append(p.Others, f.rule)
	}
	switch {
	case pl.d.TieFails && len(list) > 1 && list[1].rank == pl.best.rank:
		p.Err = fmt.Errorf("two rules are for %s, %s at %s and %s at %s: remove one",
			p.Ref.Name, rule.Match, rule.Origin, list[1].rule.Match, list[1].rule.Origin)
	case rule.Fails != nil:
		p.Err = rule.Fails
	case pl.want == Push && pl.d.ReadOnly:
		pl.pushOriginal()
	default:
		pl.follow()
	}
	if p.Err != nil {
		p.Tries = nil
	}
}

// follow makes the tries of a rule.
func (pl *planner) follow() {
	rule := pl.best.rule
	pl.plan.Tries = make([]Try, 0, len(rule.Endpoints)+1)
	for i := range rule.Endpoints {
		ep := &rule.Endpoints[i]
		role := Mirror
		if ep.Primary {
			role = Primary
		}
		pl.add(ep, role)
		if pl.plan.Err != nil {
			return
		}
	}
	if rule.Upstream.Kind != None {
		pl.add(&rule.Upstream.Endpoint, Primary)
	}
}

// pushOriginal makes the only try of a push by a client whose rules are for
// reading.
func (pl *planner) pushOriginal() {
	rule, ep := pl.best.rule, &own
	if rule.Upstream.Kind == Original || pl.d.PushPrimary {
		ep = &rule.Upstream.Endpoint
	}
	if i := slices.IndexFunc(rule.Endpoints, func(ep Endpoint) bool { return ep.Primary }); i >= 0 && pl.d.PushPrimary {
		ep = &rule.Endpoints[i]
	}
	pl.add(ep, Primary)
}

func (pl *planner) isOwnHost(host string) bool {
	own := pl.plan.Ref.Host
	return host == own || host == pl.d.wire(own, false)
}

// add makes the try, or the skip, of an endpoint.
func (pl *planner) add(ep *Endpoint, role Role) {
	kind := Tags
	if pl.plan.Ref.Digest != "" {
		kind = Digests
	}
	missing := pl.needs() &^ (ep.Can.OrAll() & pl.d.Can.OrAll())
	if ep.Kinds.Has(kind) && missing == 0 {
		t, err := pl.try(ep, role)
		if err != nil {
			pl.plan.Err = err
			return
		}
		pl.append(t)
		return
	}
	t, err := pl.try(ep, role)
	if err != nil {
		t.Unusable = err.Error() // it is not tried: no reason to fail
	}
	pl.plan.Skips = append(pl.plan.Skips, Skip{Try: t, Why: why(kind, ep, missing), Missing: missing})
}

// append adds a try, or two where the client makes two of a fallback.
func (pl *planner) append(t Try) {
	if t.Scheme == HTTPSThenHTTP && pl.d.SplitFallback {
		first := t
		first.Scheme, t.Scheme = HTTPS, HTTP
		pl.plan.Tries = append(pl.plan.Tries, first)
	}
	pl.plan.Tries = append(pl.plan.Tries, t)
}

// needs returns what a place must be able to do.
func (pl *planner) needs() Can {
	switch {
	case pl.want != Pull && pl.want != Resolve:
		return pl.want
	case pl.plan.Ref.Digest != "":
		return Pull
	default:
		return Pull | Resolve
	}
}

func why(kind Kinds, ep *Endpoint, missing Can) string {
	if missing != 0 {
		return fmt.Sprintf("it may not be asked to %s", missing.words())
	}
	if kind == Tags {
		return "digest-only mirror, reference has a tag"
	}
	return "tag-only mirror, reference has a digest"
}

func (c Can) words() string {
	words := ""
	for i, name := range c.Names() {
		if i > 0 {
			words += " and "
		}
		words += name
	}
	return words
}

// nothing says why no place can serve the image.
func (pl *planner) nothing() error {
	p := &pl.plan
	switch {
	case len(p.Tries) == 1 && p.Tries[0].Blocked:
		return fmt.Errorf("%s is blocked by the rule for %s", p.Ref.Name, p.Tries[0].BlockedBy.Match)
	case len(p.Tries) > 0:
		return errors.New("every place is blocked or unusable")
	case len(p.Skips) > 0:
		return fmt.Errorf("no place is left: %d skipped, the first because %s", len(p.Skips), p.Skips[0].Why)
	default:
		return errors.New("the rule leads nowhere: it has no mirror and no upstream")
	}
}
