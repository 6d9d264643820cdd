package cli

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"

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
	in.fetch, in.use = t.bundleOrImage(ctx, env), max(in.use, copySets)
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

// imageAlone is the path of an input that is one image by itself: there is no
// document to be written again.
const imageAlone = "\x00"

// unpack makes the images that thick bundles bring along the source of what
// they name. done removes them.
func (s *inputSet) unpack(x *transfer) (done func(), err error) {
	a := &brought{rest: x.cfg.Source, from: make(map[ref.Name]*layout.Layout)}
	var undo []func()
	done = func() {
		for _, f := range undo {
			f()
		}
	}
	for _, d := range s.docs {
		if !d.Thick() {
			continue
		}
		dir, err := os.MkdirTemp("", "entrepot-bundle-")
		if err != nil {
			return done, err
		}
		undo = append(undo, func() { os.RemoveAll(dir) })
		if err := d.UnpackImages(dir); err != nil {
			return done, err
		}
		l, err := layout.Open(dir)
		if err != nil {
			return done, fmt.Errorf("%s: %w", d.Name, err)
		}
		undo = append(undo, func() { l.Close() })
		for _, i := range d.Images() {
			if named, err := ref.Parse(s.from(d, i.Ref)); err == nil {
				a.from[named.Name] = l
			}
		}
	}
	if len(a.from) > 0 {
		x.cfg.Source = a
	}
	return done, nil
}

// brought reads the repositories that thick bundles name from what they bring
// along, and all others elsewhere.
type brought struct {
	rest oci.Reader
	from map[ref.Name]*layout.Layout // :: repository → where its images are
}

var (
	_ oci.Reader        = (*brought)(nil)
	_ oci.Lister        = (*brought)(nil)
	_ oci.SubjectLister = (*brought)(nil)
)

func (b *brought) of(n ref.Name) oci.Reader {
	if l := b.from[n]; l != nil {
		return l
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
