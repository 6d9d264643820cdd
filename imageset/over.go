package imageset

import (
	"context"
	"iter"

	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
)

// Over returns a reader of all images of the set: those that the set has by
// itself, and all others from rest. It is an oci.Lister and an
// oci.SubjectLister as far as they are. It is of use until the set is closed.
func (s *Set) Over(rest oci.Reader) oci.Reader {
	if len(s.Local) == 0 {
		return rest
	}
	return &over{rest: rest, local: s.Local}
}

// over reads some repositories from where the set has them.
type over struct {
	rest  oci.Reader
	local map[ref.Name]oci.Reader
}

var (
	_ oci.Reader        = (*over)(nil)
	_ oci.Lister        = (*over)(nil)
	_ oci.SubjectLister = (*over)(nil)
)

func (o *over) of(n ref.Name) oci.Reader {
	if l := o.local[n]; l != nil {
		return l
	}
	return o.rest
}

func (o *over) Resolve(ctx context.Context, r ref.Ref) (oci.Descriptor, error) {
	return o.of(r.Name).Resolve(ctx, r)
}

func (o *over) Manifest(ctx context.Context, r ref.Ref) (oci.Manifest, error) {
	return o.of(r.Name).Manifest(ctx, r)
}

func (o *over) Stat(ctx context.Context, n ref.Name, d oci.Digest) (oci.Descriptor, error) {
	return o.of(n).Stat(ctx, n, d)
}

func (o *over) Blob(ctx context.Context, n ref.Name, d oci.Digest, off int64) (oci.Blob, error) {
	return o.of(n).Blob(ctx, n, d, off)
}

func (o *over) Tags(ctx context.Context, n ref.Name, after string) iter.Seq2[string, error] {
	if l, ok := o.of(n).(oci.Lister); ok {
		return l.Tags(ctx, n, after)
	}
	return func(yield func(string, error) bool) { yield("", oci.ErrUnsupported) }
}

func (o *over) Subjects(ctx context.Context, n ref.Name, d oci.Digest) ([]oci.Descriptor, error) {
	if l, ok := o.of(n).(oci.SubjectLister); ok {
		return l.Subjects(ctx, n, d)
	}
	return nil, oci.ErrUnsupported
}
