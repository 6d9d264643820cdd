package imageset

import (
	"context"
	"errors"
	"path"
	"strings"

	"github.com/entrepot/entrepot/catalog"
	"github.com/entrepot/entrepot/document"
	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/openshift"
	"github.com/entrepot/entrepot/ref"
	"github.com/entrepot/entrepot/relocate"
)

// A chosen is a catalog of which a part is taken.
type chosen struct {
	Operator
	at     ref.Ref    // its original name
	from   oci.Reader // where it is
	disk   bool
	whole  *catalog.Catalog
	kept   *catalog.Catalog
	image  *catalog.Image
	target string
}

// operator adds a catalog, and what the operators in it need.
func (x *expansion) operator(ctx context.Context, o Operator) {
	c, err := x.choose(ctx, o)
	if err != nil {
		x.fail(o.below("catalog"), err, "", "%s", o.Catalog)
		return
	}
	if err := x.catalog(ctx, c); err != nil {
		x.fail(o.below("catalog"), err, "", "build the filtered catalog of %s", o.Catalog)
		return
	}
	images, problems := c.kept.Images()
	for _, p := range problems {
		x.note(o.below("catalog"), "", "%s: %s", o.Catalog, p)
	}
	for _, i := range images {
		role := relocate.RelatedImage
		if i.Bundle {
			role = relocate.OperatorBundle
		}
		x.add(x.placeOf(o, i), relocate.Mention{Written: i.Ref, Role: role, Platforms: o.Platforms})
	}
}

// placeOf is the package of the configuration that an image is there for.
func (x *expansion) placeOf(o Operator, i catalog.Related) Place {
	for _, p := range o.Packages {
		for _, n := range i.Needs {
			if n.Package == p.Name {
				return p.Place
			}
		}
	}
	return o.below("catalog")
}

// choose reads a catalog, and keeps what is wanted.
func (x *expansion) choose(ctx context.Context, o Operator) (*chosen, error) {
	c := &chosen{Operator: o, from: x.env.Source, target: target(o.TargetCatalog, o.TargetTag)}
	var err error
	if dir, ok := strings.CutPrefix(o.Catalog, layoutScheme); ok {
		c.disk = true
		c.at, err = x.onDisk(ctx, dir, o.OriginalRef, o.TargetTag)
		c.from = x.set.Local[c.at.Name]
		if err == nil && o.OriginalRef == "" && o.TargetCatalog == "" {
			c.target = target(c.at.Path, c.at.Tag)
		}
	} else {
		c.at, err = ref.Parse(o.Catalog)
		c.at = c.at.WithDefaultTag()
	}
	if err != nil {
		return nil, err
	}
	if o.TargetName != "" && o.TargetCatalog == "" {
		c.target = target(path.Join(path.Dir(c.at.Path), o.TargetName), o.TargetTag)
	}
	if c.from == nil {
		return nil, errors.New("catalogs in registries cannot be read from here")
	}
	if c.whole, c.image, err = catalog.FromImage(ctx, c.from, c.at); err != nil {
		return nil, err
	}
	return c, x.keep(c)
}

// keep takes the part of a catalog that is wanted.
func (x *expansion) keep(c *chosen) error {
	f := catalog.Filter{Full: c.Full, SkipDependencies: c.SkipDependencies}
	for _, p := range c.Packages {
		one := catalog.PackageFilter{Name: p.Name, DefaultChannel: p.DefaultChannel, Min: p.Min, Max: p.Max}
		for _, ch := range p.Channels {
			one.Channels = append(one.Channels, catalog.ChannelFilter{Name: ch.Name, Min: ch.Min, Max: ch.Max})
		}
		f.Packages = append(f.Packages, one)
	}
	kept, problems, err := c.whole.Filter(f)
	if err != nil {
		return err
	}
	for _, p := range problems {
		x.note(c.placeOf(p.Package), "", "%s: %s", c.Catalog, p)
	}
	c.kept = kept
	return nil
}

// placeOf is where a package is in the configuration, or the catalog.
func (c *chosen) placeOf(name string) Place {
	for _, p := range c.Packages {
		if p.Name == name {
			return p.Place
		}
	}
	return c.below("catalog")
}

// catalog adds the catalog's image: as it is, or a new one of the part.
func (x *expansion) catalog(ctx context.Context, c *chosen) error {
	m := relocate.Mention{Written: c.Catalog, Target: c.target, Role: relocate.Catalog, Platforms: c.Platforms}
	if c.disk {
		m.Written = c.at.String()
	}
	if c.kept != c.whole && !x.cfg.Delete {
		built, err := catalog.Rebuild(ctx, c.from, c.image, c.kept)
		if err != nil {
			return err
		}
		m.Written, err = x.stand(c, built)
		if err != nil {
			return err
		}
	}
	x.add(c.below("catalog"), m)
	return x.template(c, m.Written)
}

// stand puts a catalog that was built in the place of the one that it was made
// from, and returns its name. One that is called by its digest alone needs a tag
// for a name, for its digest is another one now; so does the second part of one
// catalog.
func (x *expansion) stand(c *chosen, built *catalog.Rebuilt) (string, error) {
	s := x.made(c.at.Name, c.from)
	for _, m := range built.Manifests {
		if err := s.put(m, ""); err != nil {
			return "", err
		}
	}
	for d, b := range built.Blobs {
		s.blobs[d] = b
	}
	name := c.at
	short := built.Manifest.Digest.Encoded()[:12]
	if name.Digest != "" {
		if name.Tag == "" {
			name.Tag = c.at.Digest.Encoded()[:12]
		}
		name.Digest = ""
	}
	if had, taken := s.tags[name.Tag]; taken && had.Digest != built.Manifest.Digest && !c.disk {
		name.Tag = name.Tag[:min(len(name.Tag), 100)] + "-" + short
	}
	if c.disk {
		delete(s.tags, name.Tag) // the part takes the place of the whole
	}
	x.note(c.below("catalog"), "", "a part of the catalog is taken: %s is a new image, %s", name, built.Manifest.Digest)
	return name.String(), s.put(built.Manifest, name.Tag)
}

// template reads what the catalog's CatalogSource is made from.
func (x *expansion) template(c *chosen, written string) error {
	if c.Template == "" || x.cfg.Delete {
		return nil
	}
	at, err := ref.Parse(written)
	if err != nil {
		return err
	}
	data, err := x.readFile(c.Template)
	if err == nil {
		_, err = openshift.ParseTemplate(c.Template, data)
	}
	if err != nil {
		x.errs = append(x.errs, &document.Error{At: c.TemplateAt.At, Field: c.TemplateAt.Field, Text: "the template", Err: err})
		return nil
	}
	x.set.Files = append(x.set.Files, relocate.File{Name: openshift.TemplateFile(at.WithDefaultTag()), Data: data})
	return nil
}

var errNoFiles = errors.New("no file can be read from here")

func (x *expansion) readFile(name string) ([]byte, error) {
	if x.env.ReadFile == nil {
		return nil, errNoFiles
	}
	return x.env.ReadFile(name)
}
