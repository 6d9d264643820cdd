package rules

import "maps"

// Merge puts configurations together, as if the files had been read one after
// the other: a rule replaces an earlier one for the same names, as a whole; a
// host's settings and an alias replace earlier ones; a list of registries to
// search does where it is written at all. Rules for the same names in one
// configuration stay. The first that a client refuses makes it refuse them all.
func Merge(configs ...Config) Config {
	var m Config
	for _, c := range configs {
		old := len(m.Rules)
		for _, r := range c.Rules {
			if i := indexOf(m.Rules[:old], r.Match); i >= 0 {
				m.Rules[i] = r
			} else {
				m.Rules = append(m.Rules, r)
			}
		}
		m.Hosts = merged(m.Hosts, c.Hosts)
		m.Nets = append(m.Nets, c.Nets...)
		m.ShortNames = m.ShortNames.merge(c.ShortNames)
		m.Problems = append(m.Problems, c.Problems...)
		if m.Refused == nil {
			m.Refused = c.Refused
		}
	}
	return m
}

func indexOf(rules []Rule, m Match) int {
	for i := range rules {
		if rules[i].Match.Same(m) {
			return i
		}
	}
	return -1
}

func (s ShortNames) merge(o ShortNames) ShortNames {
	if o.SearchAt != (Origin{}) {
		s.Search, s.SearchAt = o.Search, o.SearchAt
	}
	if o.Mode != ModeUnset {
		s.Mode = o.Mode
	}
	s.Aliases = merged(s.Aliases, o.Aliases)
	return s
}

func merged[K comparable, V any](a, b map[K]V) map[K]V {
	if len(b) == 0 {
		return a
	}
	out := make(map[K]V, len(a)+len(b))
	maps.Copy(out, a)
	maps.Copy(out, b)
	return out
}
