package relocate

import (
	"cmp"
	"context"
	"slices"

	"github.com/entrepot/entrepot/oci"
)

// finished makes sure that an image which was finished in an earlier run, and
// is at the target still, has nothing new that refers to it.
func (r *run) finished(ctx context.Context, img *image) error {
	if r.cfg.NoReferrers {
		return nil
	}
	same, err := r.sameReferrers(ctx, img)
	if err != nil || same {
		return err
	}
	img.had = false
	src := img.pair.Source
	if img.root, _, err = r.read.do(ctx, src, func() (oci.Manifest, error) { return r.cfg.Source.Manifest(ctx, src) }); err != nil {
		return err
	}
	return r.copy(ctx, img)
}

// sameReferrers reports whether what refers to an image is what referred to it
// when it was copied: by one list of tags for its repository, what the
// referrers API says of the image itself, and the digest of each tag that is
// about it.
func (r *run) sameReferrers(ctx context.Context, img *image) (bool, error) {
	was := img.was.Refers
	if was == nil {
		return false, nil // they were left behind
	}
	from := img.pair.Source.Name
	tags, err := r.tagsOf(ctx, from)
	if err != nil {
		return false, err
	}
	if l, ok := r.cfg.Source.(oci.SubjectLister); ok {
		found, err := l.Subjects(ctx, from, cmp.Or(img.was.Becomes, img.was.Digest))
		if err == nil && !slices.Equal(digests(found), was.Subjects) {
			return false, nil
		}
	}
	for _, d := range was.Manifests {
		for _, tag := range tagsAbout(d) {
			if !tags.all && was.Tags[tag] == "" || !tags.may(tag) {
				if was.Tags[tag] != "" {
					return false, nil
				}
				continue
			}
			got, err := r.cfg.Source.Resolve(ctx, from.WithTag(tag))
			if err != nil || got.Digest != was.Tags[tag] {
				return false, nil
			}
		}
	}
	return true, nil
}

// tagsAbout returns the tags that may be about a manifest.
func tagsAbout(d oci.Digest) []string {
	tags := []string{oci.FallbackTag(d)}
	for _, suffix := range cosignSuffixes {
		tags = append(tags, cosignTag(d, suffix))
	}
	return tags
}

// digests returns those of a list, sorted.
func digests(all []oci.Descriptor) []oci.Digest {
	var some []oci.Digest
	for _, d := range all {
		some = append(some, d.Digest)
	}
	slices.Sort(some)
	return slices.Compact(some)
}

// remember notes that an image is whole.
func (r *run) remember(img *image) error {
	if img.had || img.kept || img.partial {
		return nil // what is there is not all that there is to it
	}
	return r.cfg.Have.add(img.record)
}

// recordOf returns what is remembered of an image that is in place.
func (r *run) recordOf(img *image) (finished, error) {
	if r.cfg.Have == nil {
		return finished{}, nil
	}
	to := img.pair.Target.Name
	one := finished{Host: to.Host, Repo: to.Path, Digest: img.source.Digest, Scope: r.cfg.scope(img.pair)}
	if img.root.Digest != img.source.Digest {
		one.Becomes = img.root.Digest
	}
	img.mu.Lock()
	defer img.mu.Unlock()
	if !r.cfg.NoReferrers {
		one.Refers = &refers{Subjects: digests(img.subjects), Tags: img.seen}
	}
	for _, m := range img.closure {
		if one.Refers != nil {
			one.Refers.Manifests = append(one.Refers.Manifests, m.Digest)
		}
		links, err := m.Links()
		if err != nil {
			return one, err
		}
		for _, d := range links.Blobs() {
			if !isForeign(d) {
				one.Blobs = append(one.Blobs, d.Digest)
			}
		}
	}
	return one, nil
}
