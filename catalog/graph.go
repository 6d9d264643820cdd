package catalog

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/Masterminds/semver/v3"
)

// A graph is a channel's upgrades. From its head the entries that replace each other
// form the chain; what an entry skips hangs off it.
type graph struct {
	head    string
	chain   []string          // names from the head down; the last may be no entry
	entries map[string]*entry // :: name → entry
	order   []string          // the names as the channel has them
}

// newGraph reads a channel's graph: exactly one entry is neither replaced nor
// skipped, and there is no cycle.
func newGraph(ch *channel) (*graph, error) {
	if len(ch.entries) == 0 {
		return nil, errors.New("it has no entries")
	}
	g := &graph{entries: make(map[string]*entry, len(ch.entries))}
	for i := range ch.entries {
		e := &ch.entries[i]
		if g.entries[e.Name] != nil {
			return nil, fmt.Errorf("the entry %q is there twice", e.Name)
		}
		g.entries[e.Name] = e
		g.order = append(g.order, e.Name)
	}
	incoming := g.incoming()
	var heads []string
	for _, name := range g.order {
		if incoming[name] == 0 {
			heads = append(heads, name)
		}
	}
	if len(heads) > 1 {
		slices.Sort(heads)
		return nil, fmt.Errorf("it has several heads: %s", strings.Join(heads, ", "))
	}
	if len(heads) == 0 || !g.acyclic(heads[0], incoming) {
		return nil, errors.New("its upgrades form a cycle")
	}
	g.head = heads[0]
	for name := g.head; name != ""; {
		g.chain = append(g.chain, name)
		e := g.entries[name]
		if e == nil {
			break
		}
		name = e.Replaces
	}
	return g, nil
}

// next returns what an entry replaces and skips, each once.
func (e *entry) next() []string {
	all := slices.Clone(e.Skips)
	if e.Replaces != "" {
		all = append(all, e.Replaces)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// incoming counts the entries that replace or skip each one.
func (g *graph) incoming() map[string]int {
	n := make(map[string]int, len(g.entries))
	for _, e := range g.entries {
		for _, to := range e.next() {
			n[to]++
		}
	}
	return n
}

// acyclic reports whether everything can be put in an order that starts at the head.
// It uses up incoming.
func (g *graph) acyclic(head string, incoming map[string]int) bool {
	for queue := []string{head}; len(queue) > 0; queue = queue[1:] {
		e := g.entries[queue[0]]
		if e == nil {
			continue
		}
		for _, to := range e.next() {
			if incoming[to]--; incoming[to] == 0 {
				delete(incoming, to)
				queue = append(queue, to)
			}
		}
	}
	return len(incoming) == 0
}

// versions returns the entries within a range and, because a channel must stay one
// chain, those between them. It is the rule of oc-mirror v2: the new head is the
// lowest entry of the chain that has all entries in the range at or below it, the
// tail ends before the first that has none.
func (g *graph) versions(in func(name string) bool) map[string]bool {
	top, bottom := g.span(in)
	kept := map[string]bool{}
	for i := top; i < bottom; i++ {
		e := g.entries[g.chain[i]]
		if e == nil {
			continue
		}
		kept[e.Name] = true
		for _, skipped := range e.Skips {
			if in(skipped) {
				kept[skipped] = true
			}
		}
	}
	return kept
}

// span returns the part chain[top:bottom] that versions keeps.
func (g *graph) span(in func(name string) bool) (top, bottom int) {
	counts := make([]int, len(g.chain)+1)
	seen := map[string]bool{}
	for i := len(g.chain) - 1; i >= 0; i-- {
		counts[i] = counts[i+1]
		names := []string{g.chain[i]}
		if e := g.entries[g.chain[i]]; e != nil {
			names = append(names, e.Skips...)
		}
		for _, name := range names {
			if !seen[name] && in(name) {
				seen[name] = true
				counts[i]++
			}
		}
	}
	for i := range g.chain {
		if counts[i] == 0 {
			return top, i
		}
		if counts[i] == counts[0] {
			top = i
		}
	}
	return top, len(g.chain)
}

// extend adds an entry to those that are kept, and what is between, so that the kept
// ones still have one head and hang together.
func (g *graph) extend(kept map[string]bool, name string) {
	if kept[name] {
		return
	}
	first := len(kept) == 0
	kept[name] = true
	if first {
		return
	}
	low, high := len(g.chain), -1
	for _, each := range slices.Collect(maps.Keys(kept)) {
		i := g.attach(kept, each)
		low, high = min(low, i), max(high, i)
	}
	for i := low; i <= high; i++ {
		if g.entries[g.chain[i]] != nil {
			kept[g.chain[i]] = true
		}
	}
}

// attach keeps the entries by which one that is not of the chain hangs off it, and
// returns where in the chain that is.
func (g *graph) attach(kept map[string]bool, name string) int {
	for {
		kept[name] = true
		if i := slices.Index(g.chain, name); i >= 0 {
			return i
		}
		name = g.above(name)
	}
}

// above returns an entry that skips another or replaces it; one of the chain where
// there is one. All but the head have one, and there are no cycles.
func (g *graph) above(name string) string {
	found := g.head
	for _, by := range g.order {
		if slices.Contains(g.entries[by].next(), name) {
			if slices.Contains(g.chain, by) {
				return by
			}
			found = by
		}
	}
	return found
}

// parseRange reads the range that a minimum and a maximum make, nil where there is
// neither. A version before a release is in no range that does not name one.
func parseRange(minimum, maximum string) (*semver.Constraints, error) {
	var parts []string
	if minimum != "" {
		parts = append(parts, ">="+minimum)
	}
	if maximum != "" {
		parts = append(parts, "<="+maximum)
	}
	if len(parts) == 0 {
		return nil, nil
	}
	c, err := semver.NewConstraint(strings.Join(parts, " "))
	if err != nil {
		return nil, fmt.Errorf("the range of versions %q: %w", strings.Join(parts, " "), err)
	}
	return c, nil
}
