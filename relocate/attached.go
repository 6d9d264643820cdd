package relocate

import (
	"context"
	"errors"
	"fmt"

	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
)

// attached finds what refers to manifests of a repository of the source, what
// refers to that, and so on: referrers, and what stands under cosign's tags. look
// is told of each and returns the manifests that it consists of. It returns how
// many there are.
func (r *run) attached(ctx context.Context, n ref.Name, to []oci.Digest, look func(oci.Manifest) ([]oci.Digest, error)) (int, error) {
	tags, err := r.tagsOf(ctx, n)
	if err != nil {
		return 0, err
	}
	count, seen := 0, make(map[oci.Digest]bool)
	for i := 0; i < len(to); i++ {
		if seen[to[i]] {
			continue
		}
		if seen[to[i]] = true; len(seen) > maxManifests {
			return count, oci.Errorf(oci.ErrTooLarge, "", "the image has more than %d manifests", maxManifests)
		}
		found, err := r.refersTo(ctx, n, to[i], tags)
		if err != nil {
			return count, fmt.Errorf("what refers to %s: %w", to[i], err)
		}
		for _, m := range found {
			parts, err := look(m)
			if err != nil {
				return count, fmt.Errorf("%s, which refers to %s: %w", m.Digest, to[i], err)
			}
			to = append(to, parts...)
		}
		count += len(found)
	}
	return count, nil
}

// refersTo reads what refers to one manifest.
func (r *run) refersTo(ctx context.Context, n ref.Name, d oci.Digest, tags *tagList) ([]oci.Manifest, error) {
	g := &graph{run: r, img: &image{}, from: n}
	list, err := g.subjects(ctx, d, tags)
	if err != nil {
		return nil, err
	}
	var found []oci.Manifest
	for _, one := range list {
		m, err := r.cfg.Source.Manifest(ctx, n.WithDigest(one.Digest))
		if err != nil {
			return nil, err
		}
		found = append(found, m)
	}
	for _, suffix := range cosignSuffixes {
		tag := cosignTag(d, suffix)
		if !tags.may(tag) {
			continue
		}
		m, err := r.cfg.Source.Manifest(ctx, n.WithTag(tag))
		if errors.Is(err, oci.ErrNotFound) && !tags.all {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", tag, err)
		}
		found = append(found, m)
	}
	return found, nil
}
