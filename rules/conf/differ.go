package conf

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/entrepot/entrepot/ref"
	"github.com/entrepot/entrepot/rules"
)

// A comparison holds two configurations against each other.
type comparison struct {
	from, to               *rules.Set
	fromDialect, toDialect rules.Dialect
	rules                  map[*rules.Rule]int // :: rule of from → its number
	configs                []*rules.Config     // of both
}

// silent reports whether neither configuration says anything about a host that
// no rule is for. What clients do then is their own affair.
func (c *comparison) silent(host string) bool {
	for _, cfg := range c.configs {
		for key, settings := range cfg.Hosts {
			if (key == rules.AnyHost || canonicalHub(key) == host) && !saysNothing(settings) {
				return false
			}
		}
		if len(cfg.Nets) > 0 {
			return false
		}
	}
	return true
}

// reference returns in what the plans for an image differ. What is blocked or
// cannot be asked is as good as not there.
func (c *comparison) reference(r ref.Ref) []difference {
	if c.fromDialect.NoIPv6 && strings.HasPrefix(r.Host, "[") {
		return nil // the source's client takes no such image
	}
	from := c.from.Plan(r, rules.Pull, c.fromDialect)
	to := c.to.Plan(r, rules.Pull, c.toDialect)
	if from.Rule == nil && to.Rule == nil && c.silent(r.Host) {
		return nil
	}
	d := difference{rule: -1, ref: r}
	if i, ok := c.rules[from.Rule]; ok {
		d.rule = i
	}
	a, b := usable(&from), usable(&to)
	if kind := placesDiffer(a, b); kind != 0 {
		d.kind, d.text = kind, fmt.Sprintf("the source asks %s, the result %s", inWords(a), inWords(b))
		return []difference{d}
	}
	var found []difference
	for i := range a {
		d.host = a[i].Host
		add := func(kind diffKind, what, from, to string) {
			if from != to {
				d.kind, d.text = kind, fmt.Sprintf("the source asks %s with %s, the result with %s", a[i].Host, orNone(what, from), orNone(what, to))
				found = append(found, d)
			}
		}
		if !ownAffair(&from, a[i], b[i]) {
			add(diffReach, "", reachOf(a[i]).String(), reachOf(b[i]).String())
		}
		add(diffNS, "ns ", a[i].NS, b[i].NS)
		add(diffCerts, "certificates ", certsOf(a[i]), certsOf(b[i]))
		if headersOf(a[i]) != headersOf(b[i]) { // their values may be secret
			add(diffHeader, "headers ", "of its own", "others")
		}
		add(diffDial, "dial timeout ", dialOf(a[i]), dialOf(b[i]))
	}
	return found
}

// ownAffair reports whether two clients reach a registry of this machine, or of
// a private network, as they always do: a rule for all registries does not mean
// that.
func ownAffair(p *rules.Plan, a, b *rules.Try) bool {
	return p.Rule != nil && p.Rule.Match.Kind == rules.Any && a.Original && b.Original && (isThisMachine(a.Host) || isPrivate(a.Host))
}

func orNone(what, value string) string {
	if value == "" {
		return "no " + strings.TrimSpace(what)
	}
	return what + value
}

// usable returns the tries of a plan that can be asked. One that comes twice in
// a row counts once.
func usable(p *rules.Plan) []*rules.Try {
	var tries []*rules.Try
	for i := range p.Tries {
		if t := &p.Tries[i]; !t.Blocked && t.Unusable == "" {
			tries = append(tries, t)
		}
	}
	return slices.CompactFunc(tries, func(a, b *rules.Try) bool {
		return address(a) == address(b) && reachOf(a) == reachOf(b) && a.NS == b.NS
	})
}

// address returns what is asked for an image, but for how.
func address(t *rules.Try) string {
	return canonicalHub(t.Host) + t.APIRoot + "/" + t.Ref.Path + "/manifests/" + t.Ref.Identifier()
}

// placesDiffer returns how the places of two plans differ, 0 where they do not.
func placesDiffer(a, b []*rules.Try) diffKind {
	same := func(x, y *rules.Try) bool { return address(x) == address(y) }
	switch {
	case slices.EqualFunc(a, b, same):
		return 0
	case len(b) == len(a)+1 && b[len(a)].Original && slices.EqualFunc(a, b[:len(a)], same):
		return diffOriginal
	}
	byAddress := func(x, y *rules.Try) int { return strings.Compare(address(x), address(y)) }
	if slices.EqualFunc(slices.SortedFunc(slices.Values(a), byAddress), slices.SortedFunc(slices.Values(b), byAddress), same) {
		return diffOrder
	}
	return diffPlaces
}

func inWords(tries []*rules.Try) string {
	if len(tries) == 0 {
		return "nothing"
	}
	var words []string
	for _, t := range tries {
		words = append(words, address(t))
	}
	return strings.Join(words, ", then ")
}

// certsOf returns the certificates of a try as text.
func certsOf(t *rules.Try) string {
	if t.Transport == nil || t.Scheme == rules.HTTP {
		return ""
	}
	return certsText(*t.Transport)
}

func certsText(tr rules.Transport) string {
	words := slices.Clone(tr.CA)
	for _, c := range tr.Client {
		words = append(words, c.Cert+" with "+cmp.Or(c.Key, c.Cert))
	}
	return strings.Join(words, ", ")
}

// headersOf returns the headers that a try is sent.
func headersOf(t *rules.Try) string {
	if t.Transport == nil {
		return ""
	}
	var words []string
	for _, h := range t.Transport.Header {
		words = append(words, fmt.Sprintf("%s: %q", h.Name, h.Values))
	}
	slices.Sort(words)
	return strings.Join(words, "\n")
}

func dialOf(t *rules.Try) string {
	if t.Transport == nil || t.Transport.DialTimeout == 0 {
		return ""
	}
	return t.Transport.DialTimeout.String()
}
