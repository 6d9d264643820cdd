package catalog

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/entrepot/entrepot/ref"
)

// A Related is an image that a catalog needs.
type Related struct {
	// Ref is the reference as the catalog writes it.
	Ref string
	// Bundle says that it is the image of a bundle: an operator's manifests. Others
	// are what an operator runs.
	Bundle bool
	// Needs are the bundles that name it, sorted; never empty.
	Needs []Need
}

// A Need says which bundle names an image.
type Need struct {
	Package string
	Bundle  string
	Name    string // what the bundle calls the image; "" for its own
	At      string // where the bundle is: file and line, in the catalog's directory
}

// Images returns the images that the catalog's bundles name, themselves and what
// they run, sorted by reference, each once. A bundle whose content is in the catalog
// has no image. What is named and is no image is left out and is a problem, as
// oc-mirror warns of it and goes on.
func (c *Catalog) Images() ([]Related, []Problem) {
	g := gathered{images: map[string]*Related{}}
	for _, p := range c.sorted() {
		for _, b := range p.sortedBundles() {
			if b.image != "" {
				g.add(p, b, "", b.image, true)
			}
			for i, r := range b.related {
				if r.Image == "" {
					g.problem(p, b, "relatedImages[%d] (%q) names no image", i, r.Name)
				} else if r.Image != b.image {
					g.add(p, b, r.Name, r.Image, false)
				}
			}
		}
	}
	all := make([]Related, 0, len(g.images))
	for _, r := range g.images {
		all = append(all, *r)
	}
	slices.SortFunc(all, func(a, b Related) int { return cmp.Compare(a.Ref, b.Ref) })
	return all, g.problems
}

// gathered are the images of a catalog while they are collected.
type gathered struct {
	images   map[string]*Related // :: reference → image
	problems []Problem
}

func (g *gathered) problem(p *pkg, b *bundle, format string, args ...any) {
	g.problems = append(g.problems, Problem{Package: p.Name, Bundle: b.Name, Text: fmt.Sprintf(format, args...)})
}

func (g *gathered) add(p *pkg, b *bundle, name, image string, own bool) {
	r := g.images[image]
	if r == nil {
		if text := wrongRef(image); text != "" {
			g.problem(p, b, "%q is left out: %s", image, text)
			return
		}
		r = &Related{Ref: image}
		g.images[image] = r
	}
	r.Bundle = r.Bundle || own
	need := Need{Package: p.Name, Bundle: b.Name, Name: name, At: b.at}
	if !slices.Contains(r.Needs, need) {
		r.Needs = append(r.Needs, need)
	}
}

// wrongRef says why a text is not an image in a registry, "" where it is one.
func wrongRef(image string) string {
	if transport, _, ok := strings.Cut(image, "://"); ok {
		return transport + ":// is not an image of a registry"
	}
	if _, err := ref.Parse(image); err != nil {
		return err.Error()
	}
	return ""
}
