package store

import (
	"context"
	"errors"

	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
)

// checkDepth refuses an index below which indexes lie too deep in each other.
func (v *Vault) checkDepth(ctx context.Context, n ref.Name, l oci.Links) error {
	d := depths{v: v, name: n, known: map[oci.Digest]int{}}
	_, err := d.of(ctx, l, oci.MaxDepth)
	return err
}

// A depths finds out how deep indexes of a repository are. It looks at each of
// them once, however many others name it.
type depths struct {
	v     *Vault
	name  ref.Name
	known map[oci.Digest]int
}

// of returns the depth of a manifest: 0 for an image, 1 for an index of images.
// More than allowed is an error.
func (d *depths) of(ctx context.Context, l oci.Links, allowed int) (int, error) {
	tooDeep := oci.Errorf(oci.ErrInvalid, oci.CodeManifestInvalid, "indexes lie more than %d deep in each other", oci.MaxDepth)
	if allowed <= 0 && len(l.Manifests) > 0 {
		return 0, tooDeep
	}
	deepest := 0
	for _, m := range l.Manifests {
		below, err := d.child(ctx, m, allowed-1)
		if err != nil {
			return 0, err
		}
		deepest = max(deepest, below+1)
	}
	if deepest > allowed {
		return 0, tooDeep
	}
	return deepest, nil
}

// child returns the depth of a manifest of the repository. One that is not here
// has none; whether it may be missing is decided elsewhere.
func (d *depths) child(ctx context.Context, m oci.Descriptor, allowed int) (int, error) {
	if depth, ok := d.known[m.Digest]; ok {
		return depth, nil
	}
	depth := 0
	p, err := d.v.pin(ctx, d.name, m.Digest)
	if err == nil && oci.IsIndex(p.MediaType) {
		depth, err = d.index(ctx, m.Digest, allowed)
	}
	if err != nil && !errors.Is(err, oci.ErrNotFound) {
		return 0, err
	}
	d.known[m.Digest] = depth
	return depth, nil
}

func (d *depths) index(ctx context.Context, digest oci.Digest, allowed int) (int, error) {
	m, err := d.v.Manifest(ctx, d.name.WithDigest(digest))
	if err != nil {
		return 0, err
	}
	links, err := m.Links()
	if err != nil {
		return 0, err
	}
	return d.of(ctx, links, allowed)
}
