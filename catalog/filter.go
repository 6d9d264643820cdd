package catalog

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/Masterminds/semver/v3"
)

// A Filter says which part of a catalog is kept. Its fields are those of an operator
// in oc-mirror's ImageSetConfiguration (v2alpha1), and mean the same:
//
//	Packages  Full  versions    what is kept
//	none      no    -           of every channel of every package the head
//	none      yes   -           everything: the catalog itself
//	some      no    none        of every channel, or those that are named, the head
//	some      no    some        of these channels what is in the range, and what a chain needs in between
//	some      yes   not allowed of these channels everything
//
// The zero value keeps the heads.
type Filter struct {
	Full bool
	// SkipDependencies leaves out what the kept bundles require of other packages,
	// by olm.package.required, olm.gvk.required and olm.constraint. Without it a
	// bundle that meets each requirement is kept as well: oc-mirror v1 did so, v2
	// has the field and does nothing about it.
	SkipDependencies bool
	Packages         []PackageFilter
}

// A PackageFilter selects a part of a package. A package that is named twice is
// selected with the channels of both, and with the versions of the last.
type PackageFilter struct {
	Name     string
	Channels []ChannelFilter // none means all
	// DefaultChannel is the package's new default channel; needed where its own is
	// not kept.
	DefaultChannel string
	Min, Max       string // versions, both included; "" means no limit
}

// A ChannelFilter selects a part of a channel.
type ChannelFilter struct {
	Name     string
	Min, Max string // versions, both included; "" means those of the package
}

// whole reports whether the filter keeps the catalog as it is.
func (f Filter) whole() bool { return f.Full && len(f.Packages) == 0 }

// Filter returns the part of the catalog that a filter selects; c itself where that
// is everything. What a filter names has to be there: an error says what is not, and
// what is there instead. Problems are what was done to keep the part whole: bundles
// out of the range that a chain needs, dependencies, channels that end up empty.
func (c *Catalog) Filter(f Filter) (*Catalog, []Problem, error) {
	if f.whole() {
		return c, nil, nil
	}
	s := selection{c: c, full: f.Full, kept: map[string]*keptPackage{}}
	wanted, err := f.compile()
	if err != nil {
		return nil, nil, err
	}
	if len(f.Packages) == 0 {
		for _, p := range c.sorted() {
			wanted = append(wanted, wantedPackage{name: p.Name})
		}
	}
	var errs []error
	for _, w := range wanted {
		errs = append(errs, s.take(w))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, s.problems, err
	}
	if !f.SkipDependencies {
		s.follow()
	}
	part, err := s.catalog()
	return part, s.problems, err
}

// A wantedPackage is a PackageFilter that has been read.
type wantedPackage struct {
	name           string
	defaultChannel string
	channels       map[string]versionRange // :: channel → range; empty means all
	versions       versionRange
}

// A versionRange is a range of versions; the zero value is none, so that heads alone
// are kept.
type versionRange struct {
	*semver.Constraints
}

// compile reads the filters of the packages, in the order in which they are first
// named.
func (f Filter) compile() ([]wantedPackage, error) {
	var all []wantedPackage
	var errs []error
	for i, p := range f.Packages {
		w, err := p.compile(f.Full)
		if p.Name == "" {
			err = fmt.Errorf("packages[%d] has no name", i)
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		n := slices.IndexFunc(all, func(before wantedPackage) bool { return before.name == w.name })
		if n < 0 {
			all = append(all, w)
			continue
		}
		for name, versions := range all[n].channels {
			if _, again := w.channels[name]; !again {
				w.channels[name] = versions
			}
		}
		all[n] = w
	}
	return all, errors.Join(errs...)
}

func (p PackageFilter) compile(full bool) (w wantedPackage, err error) {
	w = wantedPackage{name: p.Name, defaultChannel: p.DefaultChannel, channels: map[string]versionRange{}}
	if w.versions.Constraints, err = parseRange(p.Min, p.Max); err != nil {
		return w, fmt.Errorf("package %q: %w", p.Name, err)
	}
	ranged := w.versions.Constraints != nil
	for i, ch := range p.Channels {
		if ch.Name == "" {
			return w, fmt.Errorf("package %q: channels[%d] has no name", p.Name, i)
		}
		c, err := parseRange(ch.Min, ch.Max)
		if err != nil {
			return w, fmt.Errorf("package %q: channel %q: %w", p.Name, ch.Name, err)
		}
		if c != nil && w.versions.Constraints != nil {
			return w, fmt.Errorf("package %q: channel %q: minVersion and maxVersion may be set for the package or for its channels, not for both", p.Name, ch.Name)
		}
		ranged = ranged || c != nil
		w.channels[ch.Name] = versionRange{c}
	}
	if full && ranged {
		return w, fmt.Errorf("package %q: full cannot be mixed with minVersion and maxVersion", p.Name)
	}
	return w, nil
}

// take keeps what is wanted of a package.
func (s *selection) take(w wantedPackage) error {
	p := s.c.byName[w.name]
	if p == nil {
		return fmt.Errorf("package %q is not in the catalog, which has %s", w.name, list(s.c.Packages()))
	}
	for name := range w.channels {
		if p.channel(name) == nil {
			return fmt.Errorf("package %q has no channel %q, it has %s", p.Name, name, list(p.channelNames()))
		}
	}
	k := &keptPackage{pkg: p, defaultChannel: p.defaultChannel, entries: map[string]map[string]bool{}}
	s.kept[p.Name] = k
	if w.defaultChannel != "" {
		k.defaultChannel = w.defaultChannel
	}
	wanted := func(ch *channel) bool { _, named := w.channels[ch.Name]; return named || len(w.channels) == 0 }
	if err := checkDefault(p, w, wanted); err != nil {
		return err
	}
	for _, ch := range p.channels {
		if !wanted(ch) {
			continue
		}
		versions := w.versions
		if own := w.channels[ch.Name]; own.Constraints != nil {
			versions = own
		}
		if err := s.takeChannel(k, ch, versions); err != nil {
			return fmt.Errorf("package %q: channel %q: %w", p.Name, ch.Name, err)
		}
	}
	return nil
}

// checkDefault holds that a package's default channel is among those that are
// wanted.
func checkDefault(p *pkg, w wantedPackage, wanted func(*channel) bool) error {
	if len(w.channels) == 0 && w.defaultChannel == "" {
		return nil
	}
	if name := w.defaultChannel; name != "" {
		if ch := p.channel(name); ch == nil || !wanted(ch) {
			return fmt.Errorf("package %q: the default channel %q that is asked for does not exist in the filtered output: keep it too, or name another", p.Name, name)
		}
		return nil
	}
	if ch := p.channel(p.defaultChannel); p.defaultChannel != "" && (ch == nil || !wanted(ch)) {
		return fmt.Errorf("package %q: the default channel %q was filtered out, a new default channel must be configured for this package", p.Name, p.defaultChannel)
	}
	return nil
}

// takeChannel keeps what is wanted of a channel: what is in the range, the head where
// there is no range.
func (s *selection) takeChannel(k *keptPackage, ch *channel, versions versionRange) error {
	kept := map[string]bool{}
	k.entries[ch.Name] = kept
	if s.full {
		for _, e := range ch.entries {
			kept[e.Name] = true
		}
		return nil
	}
	g, err := newGraph(ch)
	if err != nil {
		return err
	}
	if versions.Constraints == nil {
		kept[g.head] = true
		return nil
	}
	known, err := k.versions(ch)
	if err != nil {
		return err
	}
	in := func(name string) bool { v := known[name]; return v != nil && versions.Check(v) }
	k.entries[ch.Name] = g.versions(in)
	return s.judge(k, ch, versions, known, in)
}

// judge says what a range of versions led to in a channel.
func (s *selection) judge(k *keptPackage, ch *channel, versions versionRange, known map[string]*semver.Version, in func(string) bool) error {
	if len(k.entries[ch.Name]) == 0 {
		empty := fmt.Sprintf("no version is in the range %q, there is %s", versions, list(texts(known)))
		if ch.Name == k.defaultChannel {
			return fmt.Errorf("%s; the package's default channel cannot be empty", empty)
		}
		delete(k.entries, ch.Name)
		s.note(k.pkg, ch.Name, "", "%s; the channel is left out", empty)
		return nil
	}
	for _, e := range ch.entries {
		if k.entries[ch.Name][e.Name] && !in(e.Name) {
			s.note(k.pkg, ch.Name, e.Name, "kept although it is not in the range %q: the upgrades between those that are need it", versions)
		}
	}
	return nil
}

// versions returns the versions of a channel's entries.
func (k *keptPackage) versions(ch *channel) (map[string]*semver.Version, error) {
	all := make(map[string]*semver.Version, len(ch.entries))
	for _, e := range ch.entries {
		b := k.bundles[e.Name]
		if b == nil {
			continue
		}
		if b.wrong != nil {
			return nil, b.wrong
		}
		all[e.Name] = b.version
	}
	return all, nil
}

// texts returns versions in their order.
func texts(known map[string]*semver.Version) []string {
	var all []*semver.Version
	for _, v := range known {
		all = append(all, v)
	}
	slices.SortFunc(all, (*semver.Version).Compare)
	out := make([]string, len(all))
	for i, v := range all {
		out[i] = v.Original()
	}
	return slices.Compact(out)
}

// list joins names for a message; of many it says how many more there are.
func list(names []string) string {
	const most = 12
	switch n := len(names); {
	case n == 0:
		return "none"
	case n > most:
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), n-most)
	}
	return strings.Join(names, ", ")
}
