package catalog

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/Masterminds/semver/v3"
)

// The properties of bundles that filters read (operator-registry, alpha/property).
const (
	propPackage         = "olm.package"
	propPackageRequired = "olm.package.required"
	propGVK             = "olm.gvk"
	propGVKRequired     = "olm.gvk.required"
	propConstraint      = "olm.constraint"
)

// A property is one of a bundle's.
type property struct {
	Type  string          `json:"type"`
	Value json.RawMessage `json:"value"`
}

// A gvk is an API.
type gvk struct {
	Group   string `json:"group"`
	Version string `json:"version"`
	Kind    string `json:"kind"`
}

// A requirement is what a bundle needs of another: an API, or a package in a
// version.
type requirement struct {
	gvk          *gvk
	PackageName  string `json:"packageName"`
	VersionRange string `json:"versionRange"`
	versions     *semver.Constraints
}

func (r requirement) String() string {
	if r.gvk != nil {
		return fmt.Sprintf("%s of %s/%s", r.gvk.Kind, r.gvk.Group, r.gvk.Version)
	}
	if r.VersionRange == "" {
		return "package " + r.PackageName
	}
	return fmt.Sprintf("package %s in a version %s", r.PackageName, r.VersionRange)
}

// describe notes what a bundle's properties say. That it has no version, or a wrong
// one, is an error only to who asks for it.
func (b *bundle) describe(all []property) error {
	b.wrong = fmt.Errorf("%s: bundle %q has no property %s, which says its version", b.at, b.Name, propPackage)
	for i, p := range all {
		var err error
		switch p.Type {
		case propPackage:
			var v struct {
				Version string `json:"version"`
			}
			if err = json.Unmarshal(p.Value, &v); err != nil {
				break
			}
			if b.version, b.wrong = semver.StrictNewVersion(v.Version); b.wrong != nil {
				b.wrong = fmt.Errorf("%s: bundle %q: version %q: %w", b.at, b.Name, v.Version, b.wrong)
			}
		case propGVK:
			var v gvk
			err = json.Unmarshal(p.Value, &v)
			b.provides = append(b.provides, v)
		case propGVKRequired, propPackageRequired, propConstraint:
			b.properties = append(b.properties, property{p.Type, slices.Clone(p.Value)})
		}
		if err != nil {
			return fmt.Errorf("%s: bundle %q: properties[%d], %s: %w", b.at, b.Name, i, p.Type, err)
		}
	}
	return nil
}

// A constraint is the value of an olm.constraint
// (https://olm.operatorframework.io/docs/concepts/olm-architecture/dependency-resolution/).
type constraint struct {
	GVK     *gvk         `json:"gvk"`
	Package *requirement `json:"package"`
	All     *struct {
		Constraints []constraint `json:"constraints"`
	} `json:"all"`
}

// requires returns what a bundle needs of others, and what of that is not understood.
func (b *bundle) requires() (all []requirement, unknown []string) {
	for _, p := range b.properties {
		var c constraint
		var err error
		switch p.Type {
		case propGVKRequired:
			c.GVK = new(gvk)
			err = json.Unmarshal(p.Value, c.GVK)
		case propPackageRequired:
			c.Package = new(requirement)
			err = json.Unmarshal(p.Value, c.Package)
		case propConstraint:
			err = json.Unmarshal(p.Value, &c)
		default:
			continue
		}
		if err == nil {
			all, err = c.flatten(all)
		}
		if err != nil {
			unknown = append(unknown, fmt.Sprintf("%s %s: %v", p.Type, p.Value, err))
		}
	}
	return all, unknown
}

// flatten adds the requirements of a constraint to others.
func (c constraint) flatten(all []requirement) ([]requirement, error) {
	switch {
	case c.GVK != nil:
		return append(all, requirement{gvk: c.GVK}), nil
	case c.Package != nil:
		r := *c.Package
		if r.VersionRange != "" {
			versions, err := semver.NewConstraint(r.VersionRange)
			if err != nil {
				return all, err
			}
			versions.IncludePrerelease = true // as blang/semver, by which OLM reads them
			r.versions = versions
		}
		return append(all, r), nil
	case c.All != nil:
		var err error
		for _, part := range c.All.Constraints {
			if all, err = part.flatten(all); err != nil {
				return all, err
			}
		}
		return all, nil
	}
	return all, fmt.Errorf("only gvk, package and all are followed")
}

// meets reports whether a bundle is what is required.
func (r requirement) meets(p *pkg, b *bundle) bool {
	if r.gvk != nil {
		return slices.Contains(b.provides, *r.gvk)
	}
	if p.Name != r.PackageName {
		return false
	}
	return r.versions == nil || b.version != nil && r.versions.Check(b.version)
}

// follow keeps, for everything that the kept bundles require, a bundle that meets it,
// and so on for that one. What nothing meets is a problem: another catalog may.
func (s *selection) follow() {
	var queue []*bundle
	for _, p := range s.c.sorted() {
		if k := s.kept[p.Name]; k != nil {
			queue = append(queue, s.bundles(k)...)
		}
	}
	for seen := map[*bundle]bool{}; len(queue) > 0; queue = queue[1:] {
		b := queue[0]
		if seen[b] {
			continue
		}
		seen[b] = true
		p := s.c.byName[b.Package]
		needs, unknown := b.requires()
		for _, text := range unknown {
			s.note(p, "", b.Name, "what it requires is not understood: %s", text)
		}
		for _, need := range needs {
			queue = append(queue, s.require(p, b, need)...)
		}
	}
}

// bundles returns the kept bundles of a package, by their names.
func (s *selection) bundles(k *keptPackage) []*bundle {
	return slices.DeleteFunc(k.sortedBundles(), func(b *bundle) bool { return !k.has(b.Name) })
}

// require keeps a bundle that meets a requirement, and returns what is kept now.
func (s *selection) require(p *pkg, b *bundle, need requirement) []*bundle {
	var best *candidate
	for _, c := range s.candidates(need) {
		if c.kept {
			return nil
		}
		if best == nil || c.better(*best) {
			best = &c
		}
	}
	if best == nil {
		s.note(p, "", b.Name, "it requires %s, which the catalog does not have", need)
		return nil
	}
	if err := s.add(best); err != nil {
		s.note(p, "", b.Name, "it requires %s; %s is not added: %v", need, best.b.Name, err)
		return nil
	}
	s.note(best.p, best.channel.Name, best.b.Name, "added because %s requires %s", b.Name, need)
	return s.bundles(s.kept[best.p.Name])
}

// A candidate is a bundle in a channel that meets a requirement.
type candidate struct {
	p       *pkg
	channel *channel
	b       *bundle
	kept    bool // it is kept anyhow
	rank    int  // 2 in a channel that is kept, 1 in a package's default channel
	version *semver.Version
}

// better reports whether c is rather kept than another: a package that is kept
// anyhow, a channel that is, the default channel, the higher version, the first name.
func (c candidate) better(than candidate) bool {
	return cmp.Or(cmp.Compare(c.rank, than.rank), -cmp.Compare(c.p.Name, than.p.Name), c.version.Compare(than.version), -cmp.Compare(c.channel.Name, than.channel.Name)) > 0
}

// candidates returns the bundles that meet a requirement.
func (s *selection) candidates(need requirement) []candidate {
	var all []candidate
	for _, p := range s.c.sorted() {
		k := s.kept[p.Name]
		for _, ch := range p.channels {
			for _, e := range ch.entries {
				b := p.bundles[e.Name]
				if b == nil || !need.meets(p, b) {
					continue
				}
				c := candidate{p: p, channel: ch, b: b, version: cmp.Or(b.version, new(semver.Version))}
				if ch.Name == p.defaultChannel {
					c.rank = 1
				}
				if k != nil && k.entries[ch.Name] != nil {
					c.rank, c.kept = 2, k.entries[ch.Name][b.Name]
				}
				all = append(all, c)
			}
		}
	}
	return all
}

// add keeps a candidate, in its channel, with what lies between it and the entries
// that are kept there.
func (s *selection) add(c *candidate) error {
	g, err := newGraph(c.channel)
	if err != nil {
		return fmt.Errorf("channel %q: %w", c.channel.Name, err)
	}
	k := s.kept[c.p.Name]
	if k == nil {
		k = &keptPackage{pkg: c.p, defaultChannel: c.p.defaultChannel, entries: map[string]map[string]bool{}}
		if k.defaultChannel != "" && k.defaultChannel != c.channel.Name {
			k.defaultChannel = c.channel.Name
			s.note(c.p, c.channel.Name, "", "it becomes the default channel in the place of %s, which is not kept", c.p.defaultChannel)
		}
		s.kept[c.p.Name] = k
	}
	if k.entries[c.channel.Name] == nil {
		k.entries[c.channel.Name] = map[string]bool{}
	}
	g.extend(k.entries[c.channel.Name], c.b.Name)
	return nil
}
