package cli

import (
	"slices"

	"github.com/entrepot/entrepot/layout"
	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
	"github.com/entrepot/entrepot/relocate"
)

// contents returns a set as an archive takes it.
func contents(d *relocate.Draft, pairs []relocate.Pair, mentions []relocate.Mention, extras []relocate.File) layout.Contents {
	c := layout.Contents{Manifests: d.Manifests(), Images: []layout.SetImage{}}
	for _, f := range extras {
		c.Files = append(c.Files, layout.File(f))
	}
	for _, b := range d.Blobs() {
		if b.Base {
			c.Base = append(c.Base, layout.BaseBlob{Digest: b.Digest, Size: b.Size, Repositories: b.Repositories})
			continue
		}
		c.Blobs = append(c.Blobs, layout.SourceBlob{Descriptor: oci.Descriptor{Digest: b.Digest, Size: b.Size}, Open: b.Open})
	}
	named := d.Named()
	for _, n := range distinct(named) {
		c.Names = append(c.Names, layout.Entry{Ref: n.Name, Descriptor: oci.Descriptor{Digest: n.Digest}})
	}
	targets := targetsOf(mentions)
	for _, p := range pairs {
		i := slices.IndexFunc(named, func(n relocate.Named) bool { return n.Name == p.Name() })
		if i < 0 {
			continue
		}
		one := layout.SetImage{Name: current(named[i]).String(), Digest: named[i].Digest, Role: string(p.Role)}
		for _, one.Target = range targets[p.Name()] {
			c.Images = append(c.Images, one)
		}
		if len(targets[p.Name()]) == 0 {
			c.Images = append(c.Images, one)
		}
	}
	return c
}

// targetsOf returns where inputs want images to go.
//
//	:: original name → targets as they are written
func targetsOf(mentions []relocate.Mention) map[ref.Ref][]string {
	targets := map[ref.Ref][]string{}
	for _, m := range mentions {
		r, err := ref.Parse(m.Written)
		if err != nil || m.Target == "" {
			continue
		}
		name := r.WithDefaultTag()
		if !slices.Contains(targets[name], m.Target) {
			targets[name] = append(targets[name], m.Target)
		}
	}
	return targets
}

// current returns the name of an image with the digest that it has in the set,
// where that is another one: its index was trimmed.
func current(n relocate.Named) ref.Ref {
	r := n.Name
	if r.Digest != "" {
		r.Digest = n.Digest
	}
	return r
}

// distinct returns what the index of an archive calls manifests: a tag where it
// stands for one manifest, and otherwise the digest of those that are named with
// one.
func distinct(named []relocate.Named) []relocate.Named {
	tags := map[ref.Ref]oci.Digest{} // :: name with a tag → the manifest that it stands for
	for _, withDigest := range []bool{false, true} {
		for _, n := range named {
			at := n.Name.Name.WithTag(n.Name.Tag)
			if _, taken := tags[at]; n.Name.Tag != "" && !taken && (n.Name.Digest != "") == withDigest {
				tags[at] = n.Digest
			}
		}
	}
	var all []relocate.Named
	for _, n := range named {
		at := n.Name.Name.WithDigest(n.Digest)
		if tag := n.Name.Name.WithTag(n.Name.Tag); n.Name.Tag != "" && tags[tag] == n.Digest {
			at = tag
		}
		all = append(all, relocate.Named{Name: at, Digest: n.Digest})
	}
	return all
}
