package cli

import (
	"context"
	"iter"

	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
	"github.com/entrepot/entrepot/relocate"
)

// registries are the registries that a network writes to, as one place: the
// host of a name says which.
type registries struct{ *network }

var (
	_ relocate.Target   = registries{}
	_ oci.Pusher        = registries{}
	_ oci.Lister        = registries{}
	_ oci.SubjectLister = registries{}
	_ oci.Ranger        = registries{}
)

func (r registries) Resolve(ctx context.Context, at ref.Ref) (oci.Descriptor, error) {
	e, err := r.to(at.Name)
	if err != nil {
		return oci.Descriptor{}, err
	}
	return e.Resolve(ctx, at)
}

func (r registries) Manifest(ctx context.Context, at ref.Ref) (oci.Manifest, error) {
	e, err := r.to(at.Name)
	if err != nil {
		return oci.Manifest{}, err
	}
	return e.Manifest(ctx, at)
}

func (r registries) Stat(ctx context.Context, n ref.Name, d oci.Digest) (oci.Descriptor, error) {
	e, err := r.to(n)
	if err != nil {
		return oci.Descriptor{}, err
	}
	return e.Stat(ctx, n, d)
}

func (r registries) Blob(ctx context.Context, n ref.Name, d oci.Digest, off int64) (oci.Blob, error) {
	e, err := r.to(n)
	if err != nil {
		return oci.Blob{}, err
	}
	return e.Blob(ctx, n, d, off)
}

func (r registries) BlobRange(ctx context.Context, n ref.Name, d oci.Digest, off, end int64) (oci.Blob, error) {
	e, err := r.to(n)
	if err != nil {
		return oci.Blob{}, err
	}
	return e.BlobRange(ctx, n, d, off, end)
}

func (r registries) PutBlob(ctx context.Context, n ref.Name, d oci.Descriptor, open oci.Source) error {
	e, err := r.to(n)
	if err != nil {
		return err
	}
	return e.PutBlob(ctx, n, d, open)
}

func (r registries) PutManifest(ctx context.Context, n ref.Name, m oci.Manifest, tags ...string) error {
	e, err := r.to(n)
	if err != nil {
		return err
	}
	return e.PutManifest(ctx, n, m, tags...)
}

func (r registries) PushBlob(ctx context.Context, n ref.Name, d oci.Descriptor, open oci.Source, p oci.Push) (bool, error) {
	e, err := r.to(n)
	if err != nil {
		return false, err
	}
	if p.From.Host != n.Host {
		p.From = ref.Name{}
	}
	return e.PushBlob(ctx, n, d, open, p)
}

func (r registries) PushManifest(ctx context.Context, n ref.Name, m oci.Manifest, tag string) (bool, error) {
	e, err := r.to(n)
	if err != nil {
		return false, err
	}
	return e.PushManifest(ctx, n, m, tag)
}

func (r registries) Subjects(ctx context.Context, n ref.Name, d oci.Digest) ([]oci.Descriptor, error) {
	e, err := r.to(n)
	if err != nil {
		return nil, err
	}
	return e.Subjects(ctx, n, d)
}

func (r registries) Tags(ctx context.Context, n ref.Name, after string) iter.Seq2[string, error] {
	e, err := r.to(n)
	if err != nil {
		return func(yield func(string, error) bool) { yield("", err) }
	}
	return e.Tags(ctx, n, after)
}
