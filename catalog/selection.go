package catalog

import "fmt"

// A selection is the part of a catalog that is kept, while it is chosen.
type selection struct {
	c        *Catalog
	full     bool
	kept     map[string]*keptPackage // :: package → what is kept of it
	problems []Problem
}

// A keptPackage is what is kept of a package.
type keptPackage struct {
	*pkg
	defaultChannel string
	entries        map[string]map[string]bool // :: channel → entry → true
}

func (s *selection) note(p *pkg, channel, bundle, format string, args ...any) {
	s.problems = append(s.problems, Problem{Package: p.Name, Channel: channel, Bundle: bundle, Text: fmt.Sprintf(format, args...)})
}

// has reports whether a bundle is kept in any channel.
func (k *keptPackage) has(bundle string) bool {
	for _, kept := range k.entries {
		if kept[bundle] {
			return true
		}
	}
	return false
}

// catalog returns what is kept as a catalog, its objects in the order that they
// had.
func (s *selection) catalog() (*Catalog, error) {
	var objects []*object
	for _, o := range s.c.objects {
		part, err := s.object(o)
		if err == nil && part != nil && part != o {
			err = part.read()
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", o.at, err)
		}
		if part != nil {
			objects = append(objects, part)
		}
	}
	return join(objects)
}

// object returns what is kept of an object: itself, another one, or nil.
func (s *selection) object(o *object) (*object, error) {
	if o.Schema != schemaPackage && o.Package == "" {
		return o, nil
	}
	name := o.Package
	if o.Schema == schemaPackage {
		name = o.Name
	}
	k := s.kept[name]
	if k == nil {
		return nil, nil
	}
	switch o.Schema {
	case schemaPackage:
		if k.defaultChannel == k.pkg.defaultChannel {
			return o, nil
		}
		return o.with("defaultChannel", k.defaultChannel)
	case schemaChannel:
		kept := k.entries[o.Name]
		return keepEntries(o, func(e entry) bool { return kept[e.Name] })
	case schemaBundle:
		if !k.has(o.Name) {
			return nil, nil
		}
	case schemaDeprecations:
		return keepEntries(o, k.keepsDeprecation)
	}
	return o, nil
}

// keepsDeprecation reports whether what is deprecated is kept.
func (k *keptPackage) keepsDeprecation(d deprecation) bool {
	switch d.Reference.Schema {
	case schemaBundle:
		return k.has(d.Reference.Name)
	case schemaChannel:
		return k.entries[d.Reference.Name] != nil
	}
	return true
}
