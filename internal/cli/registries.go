package cli

import (
	"cmp"
	"context"
	"iter"
	"strings"

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
	_ oci.Deleter       = registries{}
	_ relocate.Prober   = registries{}
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

func (r registries) DeleteTag(ctx context.Context, n ref.Name, tag string) error {
	e, err := r.to(n)
	if err != nil {
		return err
	}
	return e.DeleteTag(ctx, n, tag)
}

func (r registries) DeleteManifest(ctx context.Context, n ref.Name, d oci.Digest) error {
	e, err := r.to(n)
	if err != nil {
		return err
	}
	return e.DeleteManifest(ctx, n, d)
}

func (r registries) DeleteBlob(ctx context.Context, n ref.Name, d oci.Digest) error {
	e, err := r.to(n)
	if err != nil {
		return err
	}
	return e.DeleteBlob(ctx, n, d)
}

func (r registries) MayPush(ctx context.Context, n ref.Name) error {
	e, err := r.to(n)
	if err != nil {
		return err
	}
	return e.MayPush(ctx, n)
}

// repositories lists those of a registry that are below a prefix.
func (r registries) repositories(ctx context.Context, prefix ref.Name) ([]ref.Name, error) {
	e, err := r.to(ref.Name{Host: prefix.Host, Path: cmp.Or(prefix.Path, "x")})
	if err != nil {
		return nil, err
	}
	var all []ref.Name
	for path, err := range e.Repositories(ctx, "") {
		if err != nil {
			return nil, err
		}
		if n := (ref.Name{Host: prefix.Host, Path: path}); isBelow(n, prefix) && ref.ValidPath(path) {
			all = append(all, n)
		}
	}
	return all, nil
}

// isBelow reports whether a repository is below a prefix.
func isBelow(n, prefix ref.Name) bool {
	return n.Host == prefix.Host && (prefix.Path == "" || strings.HasPrefix(n.Path, prefix.Path+"/"))
}
