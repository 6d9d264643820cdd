package cli

import (
	"context"
	"errors"
	"fmt"
	"iter"
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
	in.fetch, in.catalog, in.use = t.bundleOrImage(ctx, env), t.catalogs(ctx, env), max(in.use, copySets)
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
	a := &brought{rest: x.cfg.Source, from: make(map[ref.Name]place)}
	var undo []func()
	done = func() {
		for _, f := range slices.Backward(undo) {
			f()
		}
	}
	err = s.unpackArchives(a)
	if s.archives != nil {
		undo = append(undo, func() { s.archives.Close() }) // it was only read
		x.cfg.Lacks = a.lacks
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
	if len(a.from) > 0 {
		x.cfg.Source = a
	}
	return done, nil
}

// openBundle makes the images that a thick bundle brings along the source of what it
// names. close removes them, after an error as well.
func (s *inputSet) openBundle(a *brought, d *document.Document) (close func(), err error) {
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
			a.from[named.Name] = l
		}
	}
	return func() {
		l.Close() // it was only read
		remove()
	}, nil
}

// unpackArchives opens the archives among the inputs.
func (s *inputSet) unpackArchives(a *brought) (err error) {
	if len(s.stored) == 0 {
		return nil
	}
	if s.archives, err = openArchives(s.stored); err != nil {
		return err
	}
	for r := range s.archives.names {
		a.from[r.Name] = s.archives
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

// A place is where images are that inputs bring along.
type place interface {
	oci.Reader
	oci.Lister
	oci.SubjectLister
}

// brought reads the repositories of which inputs bring images along from there,
// and all others elsewhere.
type brought struct {
	rest oci.Reader
	from map[ref.Name]place // :: repository → where its images are
}

var (
	_ oci.Reader        = (*brought)(nil)
	_ oci.Lister        = (*brought)(nil)
	_ oci.SubjectLister = (*brought)(nil)
)

// lacks reports whether an archive leaves an image of an index out.
func (b *brought) lacks(n ref.Name, d oci.Digest) bool {
	a, ok := b.from[n].(*archives)
	return ok && !a.has(d)
}

func (b *brought) of(n ref.Name) oci.Reader {
	if p := b.from[n]; p != nil {
		return p
	}
	return b.rest
}

func (b *brought) Resolve(ctx context.Context, r ref.Ref) (oci.Descriptor, error) {
	return b.of(r.Name).Resolve(ctx, r)
}

func (b *brought) Manifest(ctx context.Context, r ref.Ref) (oci.Manifest, error) {
	return b.of(r.Name).Manifest(ctx, r)
}

func (b *brought) Stat(ctx context.Context, n ref.Name, d oci.Digest) (oci.Descriptor, error) {
	return b.of(n).Stat(ctx, n, d)
}

func (b *brought) Blob(ctx context.Context, n ref.Name, d oci.Digest, off int64) (oci.Blob, error) {
	return b.of(n).Blob(ctx, n, d, off)
}

func (b *brought) Tags(ctx context.Context, n ref.Name, after string) iter.Seq2[string, error] {
	if l, ok := b.of(n).(oci.Lister); ok {
		return l.Tags(ctx, n, after)
	}
	return func(yield func(string, error) bool) { yield("", oci.ErrUnsupported) }
}

func (b *brought) Subjects(ctx context.Context, n ref.Name, d oci.Digest) ([]oci.Descriptor, error) {
	if l, ok := b.of(n).(oci.SubjectLister); ok {
		return l.Subjects(ctx, n, d)
	}
	return nil, oci.ErrUnsupported
}
