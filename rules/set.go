package rules

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/entrepot/entrepot/ref"
)

// A Set is a compiled [Config]. It does not change, and any number of
// goroutines may use it.
type Set struct {
	rules   []Rule
	exact   index // by hosts as written
	folded  index // by hosts in lower case
	hosts   map[string]HostSettings
	nets    []NetSettings
	short   ShortNames
	local   LocalhostRule
	refused *Problem
	text    []Problem
}

// New compiles a configuration. It keeps no part of c but what is never
// written to.
func New(c Config) *Set {
	s := &Set{
		rules:   slices.Clone(c.Rules),
		hosts:   maps.Clone(c.Hosts),
		nets:    slices.Clone(c.Nets),
		short:   c.ShortNames,
		local:   c.Localhost,
		refused: c.Refused,
		text:    slices.Clone(c.Problems),
	}
	for i := range s.rules {
		s.exact.add(&s.rules[i], s.rules[i].Match.Host)
		s.folded.add(&s.rules[i], strings.ToLower(s.rules[i].Match.Host))
	}
	return s
}

// Rules returns the rules in their order. The caller does not change them.
func (s *Set) Rules() []Rule { return s.rules }

// Problems returns what is wrong or doubtful in the files. The caller does not
// change it.
func (s *Set) Problems() []Problem { return s.text }

// ShortNames returns what is said about names without a registry.
func (s *Set) ShortNames() ShortNames { return s.short }

// Refused returns why the client refuses the configuration as a whole; nil
// means that it does not.
func (s *Set) Refused() *Problem { return s.refused }

// An index finds the rules for a name in as many look-ups as the name has
// parts, however many rules there are.
type index struct {
	hosts    map[string]*hostIndex // :: host[:port] → its rules
	suffixes map[string][]*Rule    // :: domain → rules for the hosts below it
	any      []*Rule
}

// A hostIndex has the rules of one host.
type hostIndex struct {
	all   []*Rule            // for every repository
	paths map[string][]*Rule // :: path → rules for it and what is below
}

func (x *index) add(r *Rule, host string) {
	switch r.Match.Kind {
	case Any:
		x.any = append(x.any, r)
	case HostSuffix:
		if x.suffixes == nil {
			x.suffixes = make(map[string][]*Rule)
		}
		x.suffixes[host] = append(x.suffixes[host], r)
	case Host, Prefix:
		x.host(host).add(r)
	}
}

func (x *index) host(host string) *hostIndex {
	if x.hosts == nil {
		x.hosts = make(map[string]*hostIndex)
	}
	h := x.hosts[host]
	if h == nil {
		h = new(hostIndex)
		x.hosts[host] = h
	}
	return h
}

func (h *hostIndex) add(r *Rule) {
	if r.Match.Kind == Host {
		h.all = append(h.all, r)
		return
	}
	if h.paths == nil {
		h.paths = make(map[string][]*Rule)
	}
	h.paths[r.Match.Path] = append(h.paths[r.Match.Path], r)
}

// A found rule is one that matches a name. Higher ranks win.
type found struct {
	rule *Rule
	rank int
	// end is the length of what it matches in the name as text.
	end int
}

// ranks of the kinds; within one, longer keys win.
const (
	rankAny    = 0
	rankSuffix = 1 << 16
	rankHost   = 2 << 16
	rankPrefix = 3 << 16
	rankTop    = 4 << 16
)

// match appends the rules for a name to list, the best first. It allocates
// only where there are more than list has room for.
func (s *Set) match(list []found, n ref.Name, d *Dialect) []found {
	x := &s.exact
	if d.FoldCase {
		x = &s.folded
		n.Host = strings.ToLower(n.Host)
	}
	if n.Host == ref.DockerHub {
		for _, key := range d.HubKeys {
			list = x.atHost(list, key, n, d)
		}
	} else {
		list = x.atHost(list, n.Host, n, d)
		if len(d.PortKeys) > 0 && portOf(n.Host) == "" {
			for _, port := range d.PortKeys {
				list = x.atHost(list, n.Host+":"+port, n, d)
			}
		}
	}
	list = x.below(list, n.Host, d)
	for _, r := range x.any {
		rank := rankAny
		if d.AnyFirst {
			rank = rankTop
		}
		list = append(list, found{rule: r, rank: rank})
	}
	if len(list) > 1 {
		slices.SortStableFunc(list, func(a, b found) int { return d.order(a, b) })
	}
	return list
}

// order puts the better of two rules first.
func (d *Dialect) order(a, b found) int {
	if c := cmp.Compare(b.rank, a.rank); c != 0 || !d.Textual {
		return c
	}
	return cmp.Compare(a.rule.Match.String(), b.rule.Match.String())
}

// atHost appends the rules whose key is host, or a path below it.
func (x *index) atHost(list []found, host string, n ref.Name, d *Dialect) []found {
	h := x.hosts[host]
	if d.Textual {
		if bare := withoutPort(host); bare != host {
			if b := x.hosts[bare]; b != nil { // a host matches whatever its port is
				list = appendFound(list, b.all, len(bare), len(bare))
			}
		}
	}
	if h == nil {
		return list
	}
	for i := len(n.Path); i > 0 && len(h.paths) > 0; i = strings.LastIndexByte(n.Path[:i], '/') {
		rs := h.paths[n.Path[:i]]
		if len(rs) == 0 {
			continue
		}
		end := len(host) + 1 + i
		rank := rankPrefix + 1 + strings.Count(n.Path[:i], "/")
		if d.Textual {
			rank = end
		}
		list = appendFound(list, rs, rank, end)
	}
	rank := rankHost
	if d.Textual {
		rank = len(host)
	}
	return appendFound(list, h.all, rank, len(host))
}

// below appends the rules for a domain that host is in.
func (x *index) below(list []found, host string, d *Dialect) []found {
	if len(x.suffixes) == 0 {
		return list
	}
	bare := host
	if d.Textual {
		bare = withoutPort(host)
	}
	labels := strings.Count(bare, ".")
	for i := 0; i < len(bare); i++ {
		if bare[i] != '.' {
			continue
		}
		rs := x.suffixes[bare[i+1:]]
		rank := rankSuffix + labels
		labels--
		if d.Textual {
			if strings.Index(bare, bare[i:]) != i {
				continue // only the first place where the text occurs is looked at
			}
			rank = len("*") + len(bare[i:])
		}
		list = appendFound(list, rs, rank, len(bare))
	}
	return list
}

func appendFound(list []found, rs []*Rule, rank, end int) []found {
	for _, r := range rs {
		list = append(list, found{rule: r, rank: rank, end: end})
	}
	return list
}

// withoutPort drops the port of host[:port].
func withoutPort(host string) string {
	if port := portOf(host); port != "" {
		return host[:len(host)-len(port)-1]
	}
	return host
}

// portOf returns the port of host[:port], "" where there is none.
func portOf(host string) string {
	i := strings.LastIndexByte(host, ':')
	if i < 0 || strings.HasSuffix(host, "]") {
		return ""
	}
	return host[i+1:]
}
