package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/entrepot/entrepot/document"
	"github.com/entrepot/entrepot/layout"
	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
)

// intake reads the inputs of a command that copies, and opens what their images
// are copied from and to. A registry is asked for a bundle that is there, for what
// an image set names its images by, and for nothing else. Inputs that cannot be read are those of an earlier round, where
// there was one. Whoever calls it closes the transfer.
func (t *transferFlags) intake(ctx context.Context, env Env, in *inputFlags, how document.Options, args []string) (*inputSet, *transfer, error) {
	if !in.offline {
		in.fetch, in.catalog, in.use = t.bundleOrImage(ctx, env), t.catalogs(ctx, env), max(in.use, copySets)
	}
	set, err := in.read(env, args, how)
	if err != nil && in.earlier == nil {
		return nil, nil, err
	}
	if err != nil {
		again := *in.earlier
		again.stale = err
		set = &again
	}
	t.networkFlags.extend(set.docs)
	x, err := t.open(env)
	if err != nil {
		return nil, nil, err
	}
	if err := t.expand(ctx, set, in, how, x); err != nil {
		x.close()
		return nil, nil, err
	}
	return set, x, nil
}

// bundleOrImage reads an input in a registry: a bundle, or what is none as a list
// of that one image.
func (t *transferFlags) bundleOrImage(ctx context.Context, env Env) func(ref.Ref) (document.Input, error) {
	bundle := t.bundles(ctx, env)
	return func(r ref.Ref) (document.Input, error) {
		in, err := bundle(r)
		if errors.Is(err, document.ErrUnknown) {
			return document.Input{Name: r.String(), Path: imageAlone, Kind: document.List, Data: []byte(r.String() + "\n")}, nil
		}
		return in, err
	}
}

// imageAlone is the path of an input that is one image by itself, or an archive:
// there is no document to be written again.
const imageAlone = "\x00"

// unpack makes the images that thick bundles bring along, those of archives, and
// catalogs in layouts, the source of what they name. done gives up what it has
// opened.
func (s *inputSet) unpack(x *transfer) (done func(), err error) {
	a := &oci.Split{At: make(map[ref.Name]oci.Reader), Rest: x.cfg.Source}
	var undo []func()
	done = func() {
		for _, f := range slices.Backward(undo) {
			f()
		}
	}
	err = s.unpackArchives(a)
	if s.archives != nil {
		undo = append(undo, func() { s.archives.Close() }) // it was only read
		x.cfg.Lacks = lacks(a)
	}
	if err != nil {
		return done, err
	}
	for _, d := range s.docs {
		if !d.Thick() {
			continue
		}
		close, err := s.openBundle(a, d)
		if undo = append(undo, close); err != nil {
			return done, err
		}
	}
	for _, c := range s.catalogs {
		close, err := c.open(a)
		if undo = append(undo, close); err != nil {
			return done, err
		}
	}
	if len(a.At) > 0 {
		x.cfg.Source = a
	}
	return done, nil
}

// openBundle makes the images that a thick bundle brings along the source of what it
// names. close removes them, after an error as well.
func (s *inputSet) openBundle(a *oci.Split, d *document.Document) (close func(), err error) {
	dir, err := os.MkdirTemp("", "entrepot-bundle-")
	if err != nil {
		return func() {}, err
	}
	remove := func() { os.RemoveAll(dir) }
	l, err := unpackBundle(d, dir)
	if err != nil {
		return remove, err
	}
	for _, i := range d.Images() {
		if named, err := ref.Parse(s.from(d, i.Ref)); err == nil {
			a.At[named.Name] = l
		}
	}
	return func() {
		l.Close() // it was only read
		remove()
	}, nil
}

// unpackArchives opens the archives among the inputs.
func (s *inputSet) unpackArchives(a *oci.Split) (err error) {
	if len(s.stored) == 0 {
		return nil
	}
	if s.archives, err = openArchives(s.stored); err != nil {
		return err
	}
	for r := range s.archives.names {
		a.At[r.Name] = s.archives
	}
	return s.bring(s.archives)
}

// unpackBundle opens the images of a thick bundle in a directory of their own.
func unpackBundle(d *document.Document, dir string) (*layout.Layout, error) {
	if err := d.UnpackImages(dir); err != nil {
		return nil, err
	}
	l, err := layout.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", d.Name, err)
	}
	return l, nil
}

// lacks reports whether an archive leaves an image of an index out.
func lacks(s *oci.Split) func(ref.Name, oci.Digest) bool {
	return func(n ref.Name, d oci.Digest) bool {
		a, ok := s.At[n].(*archives)
		return ok && !a.has(d)
	}
}
