package rules

import (
	"maps"
	"slices"
)

// Merge puts configurations together, as if the files had been read one after
// the other: a rule replaces an earlier one for the same names, as a whole; a
// host's settings and an alias replace earlier ones; a list of registries to
// search does where it is written at all. Rules for the same names in one
// configuration stay. The first that a client refuses makes it refuse them all.
func Merge(configs ...Config) Config {
	var m Config
	for _, c := range configs {
		m.Rules = mergeRules(m.Rules, c.Rules)
		m.Hosts = merged(m.Hosts, c.Hosts)
		m.Nets = append(m.Nets, c.Nets...)
		m.ShortNames = m.ShortNames.merge(c.ShortNames)
		m.Problems = append(m.Problems, c.Problems...)
		m.Localhost = max(m.Localhost, c.Localhost)
		if m.Refused == nil {
			m.Refused = c.Refused
		}
	}
	return m
}

// mergeRules replaces rules of old, in their place, and appends the others.
func mergeRules(old, add []Rule) []Rule {
	at := make(map[Match]int, len(old)) // :: match → its place in old, -1 where it has been replaced
	for i := len(old) - 1; i >= 0; i-- {
		at[old[i].Match.key()] = i
	}
	out := slices.Clone(old)
	for _, r := range add {
		if i, ok := at[r.Match.key()]; ok && i >= 0 {
			out[i] = r
			at[r.Match.key()] = -1
		} else {
			out = append(out, r)
		}
	}
	return out
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
