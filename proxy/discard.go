package proxy

import (
	"context"
	"errors"

	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
)

var _ oci.Deleter = (*Proxy)(nil)

// DeleteTag forgets a tag and what it points at, so that the next who asks for
// it gets what the upstream has. Nothing is deleted there. A manifest that is
// pinned is ErrDenied, and the tag stays.
func (p *Proxy) DeleteTag(ctx context.Context, n ref.Name, tag string) error {
	pol, in := p.policy(ctx, n)
	if pol.Passthrough {
		return oci.ErrUnsupported // each caller has a view of his own
	}
	k := tagKey{in, tag}
	rec, stored := p.storedTag(k)
	if !stored {
		return oci.Errorf(oci.ErrNotFound, oci.CodeManifestUnknown, "the tag %s of %s is not in the cache", tag, n)
	}
	if err := p.cache.DiscardManifest(ctx, in.scope, in.name, rec.Digest); err != nil && !errors.Is(err, oci.ErrNotFound) {
		return err
	}
	p.troubles.delete(k)
	return p.cache.DeleteTag(in.scope, in.name, tag)
}

// DeleteManifest takes a manifest out of the cache. Tags that point at it stay:
// it is fetched again when one is asked for.
func (p *Proxy) DeleteManifest(ctx context.Context, n ref.Name, d oci.Digest) error {
	pol, in := p.policy(ctx, n)
	if pol.Passthrough {
		return oci.ErrUnsupported
	}
	err := p.cache.DiscardManifest(ctx, in.scope, in.name, d)
	if errors.Is(err, oci.ErrNotFound) {
		return oci.Errorf(oci.ErrNotFound, oci.CodeManifestUnknown, "%s of %s is not in the cache", d, n)
	}
	return err
}

// DeleteBlob takes a blob out of the cache that the repository may read. Whoever
// has it open reads all of it.
func (p *Proxy) DeleteBlob(ctx context.Context, n ref.Name, d oci.Digest) error {
	pol, in := p.policy(ctx, n)
	if pol.Passthrough {
		return oci.ErrUnsupported
	}
	var err error = oci.ErrNotFound
	if k := (blobKey{in, d}); p.linked(&pol, k) {
		scope, n := in.scope, in.name
		if pol.Anonymous && !p.cache.Linked(scope, n, d) {
			scope, n = public(in)
		}
		err = p.cache.DiscardBlob(ctx, scope, n, d)
	}
	if errors.Is(err, oci.ErrNotFound) {
		return oci.Errorf(oci.ErrNotFound, oci.CodeBlobUnknown, "%s of %s is not in the cache", d, n)
	}
	return err
}
