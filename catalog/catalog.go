// Package catalog reads OLM's file-based catalogs, keeps a part of one, and says
// which images it needs.
//
// A Catalog is a list of objects: packages, their channels, the bundles that are
// versions of an operator, and what is deprecated. It is read from a directory
// (Read) or from a catalog image (FromImage). Catalog.Filter keeps what a Filter
// selects, in the meaning of oc-mirror v2, and Catalog.Images is what has to be
// copied so that the catalog works:
//
//	c, image, err := catalog.FromImage(ctx, registry, ref)
//	kept, problems, err := c.Filter(catalog.Filter{Packages: []catalog.PackageFilter{{Name: "etcd"}}})
//	images, more := kept.Images()
//	rebuilt, err := catalog.Rebuild(ctx, registry, image, kept)
//
// Objects are kept as the bytes that they were read from: what a filter does not
// touch is written as it came. A filtered catalog is another image than the one it
// was made from, and says so (Rebuild); bundles are never changed.
//
// The format is that of operator-registry's alpha/declcfg
// (https://olm.operatorframework.io/docs/reference/file-based-catalogs/).
package catalog

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/Masterminds/semver/v3"
)

// The schemas that a catalog gives a meaning to. Objects of others are kept as
// they are.
const (
	schemaPackage      = "olm.package"
	schemaChannel      = "olm.channel"
	schemaBundle       = "olm.bundle"
	schemaDeprecations = "olm.deprecations"
)

// A Catalog is a file-based catalog. It does not change, and is safe for concurrent
// use. The zero value is an empty one.
type Catalog struct {
	objects []*object       // in the order in which they were read
	byName  map[string]*pkg // :: package → what belongs to it
}

// An object is one object of a catalog.
type object struct {
	Schema  string `json:"schema"`
	Package string `json:"package"`
	Name    string `json:"name"`

	raw  []byte // as it came, or as it is written where it was changed
	yaml bool   // raw is YAML rather than JSON
	json []byte // as JSON; raw itself where that is JSON
	at   string // "file:line"

	// content is a *channel, a *bundle, or of a package the name of its default
	// channel; nil for other schemas.
	content any
}

// A pkg is a package with all that belongs to it.
type pkg struct {
	*object
	defaultChannel string
	channels       []*channel
	bundles        map[string]*bundle // :: name → bundle
}

// A channel is a stream of versions.
type channel struct {
	*object
	entries []entry
}

// An entry is a bundle's place in a channel's graph of upgrades.
type entry struct {
	Name      string   `json:"name"`
	Replaces  string   `json:"replaces"`
	Skips     []string `json:"skips"`
	SkipRange string   `json:"skipRange"`
}

// A bundle is one version of an operator.
type bundle struct {
	*object
	image      string
	related    []relatedImage
	properties []property // those that say what it requires
	provides   []gvk
	version    *semver.Version // nil where wrong says why
	wrong      error
}

type relatedImage struct {
	Name  string `json:"name"`
	Image string `json:"image"`
}

// A deprecation is an entry of a package's deprecations.
type deprecation struct {
	Reference struct {
		Schema string `json:"schema"`
		Name   string `json:"name"`
	} `json:"reference"`
}

// A Problem is something about a catalog that its user should know, and that does
// not keep anybody from using it.
type Problem struct {
	Package string // "" where it is about no package
	Channel string // "" where it is about no channel
	Bundle  string // "" where it is about no bundle
	Text    string // what it is, without the names above
}

// String returns "package p: channel c: bundle b: text", as far as there are such.
func (p Problem) String() string {
	var b strings.Builder
	for _, part := range []struct{ what, name string }{{"package", p.Package}, {"channel", p.Channel}, {"bundle", p.Bundle}} {
		if part.name != "" {
			fmt.Fprintf(&b, "%s %s: ", part.what, part.name)
		}
	}
	b.WriteString(p.Text)
	return b.String()
}

// Packages returns the names of the packages, sorted.
func (c *Catalog) Packages() []string {
	names := make([]string, 0, len(c.byName))
	for name := range c.byName {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// sorted returns the packages by their names.
func (c *Catalog) sorted() []*pkg {
	all := make([]*pkg, 0, len(c.byName))
	for _, p := range c.byName {
		all = append(all, p)
	}
	slices.SortFunc(all, func(a, b *pkg) int { return cmp.Compare(a.Name, b.Name) })
	return all
}

// channel returns the channel of a name, nil where there is none.
func (p *pkg) channel(name string) *channel {
	for _, ch := range p.channels {
		if ch.Name == name {
			return ch
		}
	}
	return nil
}

// channelNames returns the names of the channels, sorted.
func (p *pkg) channelNames() []string {
	names := make([]string, len(p.channels))
	for i, ch := range p.channels {
		names[i] = ch.Name
	}
	slices.Sort(names)
	return names
}

// sortedBundles returns the bundles by their names.
func (p *pkg) sortedBundles() []*bundle {
	all := make([]*bundle, 0, len(p.bundles))
	for _, b := range p.bundles {
		all = append(all, b)
	}
	slices.SortFunc(all, func(a, b *bundle) int { return cmp.Compare(a.Name, b.Name) })
	return all
}
