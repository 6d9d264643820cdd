package conf

import (
	"maps"
	"slices"
	"strings"

	"github.com/entrepot/entrepot/rules"
)

// How the machine-config operator makes one registries.conf of all objects.
// Source: openshift/runtime-utils pkg/registries (EditRegistriesConfig,
// topoGraph.Sorted).

// A scope is a [[registry]] table of the registries.conf that is written.
type scope struct {
	name              string
	insecure, blocked bool
	mirrors           []scopeMirror
	origin            rules.Origin
}

// A scopeMirror is a [[registry.mirror]] table of it.
type scopeMirror struct {
	location string
	kinds    rules.Kinds
	insecure bool
	origin   rules.Origin
}

// rules returns the rules that the objects make together.
func (o *openshift) rules() []rules.Rule {
	sources := append(o.merge(rules.Digests), o.merge(rules.Tags)...)
	for _, p := range o.blocked {
		o.scope(p)
	}
	o.spread()
	if !o.inherit(sources) {
		return nil
	}
	out := make([]rules.Rule, 0, len(o.scopes))
	for _, s := range o.scopes {
		out = append(out, s.rule())
	}
	return out
}

// scope returns the table for a name, a new one where there is none.
func (o *openshift) scope(p place) *scope {
	if s := o.known[p.name]; s != nil {
		return s
	}
	s := &scope{name: p.name, origin: o.at(p.file, p.at)}
	o.known[p.name] = s
	o.scopes = append(o.scopes, s)
	return s
}

// merge adds the mirrors of one kind of reference, and returns their sources,
// sorted.
func (o *openshift) merge(kinds rules.Kinds) []string {
	bySource := map[string][]*mirrorSet{} // :: source → its sets
	for i := range o.sets {
		if set := &o.sets[i]; set.real && set.kinds == kinds {
			bySource[set.source.name] = append(bySource[set.source.name], set)
		}
	}
	sources := slices.Sorted(maps.Keys(bySource))
	for _, source := range sources {
		sets := bySource[source]
		s := o.scope(sets[0].source)
		origins := map[string]rules.Origin{} // :: mirror → where it is first
		var lists [][]string
		for _, set := range sets {
			s.blocked = s.blocked || set.never
			var list []string
			for _, m := range set.mirrors {
				if _, ok := origins[m.name]; !ok {
					origins[m.name] = o.at(m.file, m.at)
				}
				list = append(list, m.name)
			}
			lists = append(lists, list)
		}
		merged, conflict := mergeMirrors(source, lists)
		if last := sets[len(sets)-1].source; conflict {
			o.silent(last.file, last.at, "write the mirrors in the same order everywhere, or in one list", "the lists of mirrors of %q contradict each other: the order of names decides", source)
		}
		for _, m := range merged {
			s.mirrors = append(s.mirrors, scopeMirror{location: m, kinds: kinds, origin: origins[m]})
		}
	}
	return sources
}

// mergeMirrors puts lists of mirrors together so that the order of each is
// kept; the source comes after all, and is left out where it ends up last. Of
// those that may be next the one goes first that could be first, and among
// these the order of names decides. conflict says that the lists contradict
// each other; the first name that is left then breaks the cycle.
func mergeMirrors(source string, lists [][]string) (merged []string, conflict bool) {
	g := mirrorGraph{after: map[string]map[string]bool{}, open: map[string]int{}}
	for _, list := range lists {
		for i := range len(list) - 1 {
			g.edge(list[i], list[i+1])
		}
		if !slices.Contains(list, source) {
			g.edge(list[len(list)-1], source)
		}
	}
	names := slices.Sorted(maps.Keys(g.after))
	var ready []string
	for _, name := range names {
		if g.open[name] == 0 {
			ready = append(ready, name)
		}
	}
	placed := map[string]bool{}
	for left := names; len(merged) < len(names); {
		var name string
		if len(ready) > 0 {
			name, ready = ready[0], ready[1:]
		} else {
			for placed[left[0]] {
				left = left[1:]
			}
			name, conflict = left[0], true
		}
		placed[name] = true
		merged = append(merged, name)
		for _, next := range slices.Sorted(maps.Keys(g.after[name])) {
			if g.open[next]--; g.open[next] == 0 && !placed[next] {
				ready = append(ready, next)
			}
		}
	}
	if merged[len(merged)-1] == source {
		merged = merged[:len(merged)-1]
	}
	return merged, conflict
}

// A mirrorGraph says which mirrors come before which.
type mirrorGraph struct {
	after map[string]map[string]bool // :: mirror → those that come directly after it
	open  map[string]int             // :: mirror → how many that come directly before it are not placed
}

func (g mirrorGraph) edge(from, to string) {
	for _, name := range []string{from, to} {
		if g.after[name] == nil {
			g.after[name] = map[string]bool{}
		}
	}
	if !g.after[from][to] {
		g.after[from][to] = true
		g.open[to]++
	}
}

// spread marks what is inside an insecure or blocked scope: only the table for
// the most of a name counts, so each needs the mark itself.
func (o *openshift) spread() {
	for _, p := range o.insecure {
		o.scope(p)
		for _, s := range o.scopes {
			s.insecure = s.insecure || inside(s.name, p.name)
			for i := range s.mirrors {
				m := &s.mirrors[i]
				m.insecure = m.insecure || inside(m.location, p.name)
			}
		}
	}
	for _, p := range o.blocked {
		for _, s := range o.scopes {
			s.blocked = s.blocked || inside(s.name, p.name)
		}
	}
}

// inherit gives tables without mirrors those of the source that they are
// inside, in the order of sources and not by the longest one. It reports false
// where the operator fails.
func (o *openshift) inherit(sources []string) bool {
	var bare []*scope
	for _, s := range o.scopes {
		if len(s.mirrors) == 0 {
			bare = append(bare, s)
		}
	}
	for _, source := range sources {
		for _, s := range bare {
			if len(s.mirrors) > 0 || !inside(s.name, source) {
				continue
			}
			rest, ok := strings.CutPrefix(s.name, source)
			if !ok {
				o.refuse(rules.Problem{
					At: s.origin, Text: "the operator fails on " + s.name + ", because it is inside " + source + ", which has mirrors",
					Hint: "write mirrors for " + s.name + ", too",
				})
				return false
			}
			for _, m := range o.known[source].mirrors {
				m.location += rest
				s.mirrors = append(s.mirrors, m)
			}
		}
	}
	return true
}

// inside reports whether a scope is another one or inside it
// (ScopeIsNestedInsideScope).
func inside(sub, super string) bool {
	if sub == super || strings.HasPrefix(sub, super+"/") {
		return true
	}
	if !strings.HasPrefix(super, "*.") {
		return false
	}
	domain := super[1:]
	if host, _, ok := strings.Cut(sub, ":"); ok {
		return strings.HasSuffix(host, domain) && !strings.Contains(host, "/")
	}
	host, _, _ := strings.Cut(sub, "/")
	return strings.HasSuffix(host, domain)
}

// rule returns the rule of a table.
func (s *scope) rule() rules.Rule {
	domain, wildcard := strings.CutPrefix(s.name, "*.")
	rule := rules.Rule{Match: rules.MatchName(s.name), Origin: s.origin}
	if wildcard {
		rule.Match = rules.Match{Kind: rules.HostSuffix, Host: domain}
	}
	rule.Match.Text = s.name
	for _, m := range s.mirrors {
		ep := rules.Endpoint{Scheme: rules.HTTPS, Kinds: m.kinds, Origin: m.origin}
		ep.Host, ep.Repo.Prefix, _ = strings.Cut(m.location, "/")
		ep.Repo.StripMatched = !wildcard
		if m.insecure {
			ep.Scheme, ep.Transport = rules.HTTPSThenHTTP, &rules.Transport{SkipVerify: true}
		}
		rule.Endpoints = append(rule.Endpoints, ep)
	}
	ep := &rule.Upstream.Endpoint
	*ep = rules.Endpoint{Scheme: rules.HTTPS, Blocked: s.blocked, Primary: true, Origin: s.origin}
	if s.insecure {
		ep.Scheme, ep.Transport = rules.HTTPSThenHTTP, &rules.Transport{SkipVerify: true}
	}
	return rule
}
