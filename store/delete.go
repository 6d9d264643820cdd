package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
)

// DeleteTag deletes a tag; the manifest stays.
func (v *Vault) DeleteTag(ctx context.Context, n ref.Name, tag string) error {
	n.Host = ""
	mu := v.repo(n)
	mu.Lock()
	defer mu.Unlock()
	if err := v.deleteTag(ctx, n, tag); err != nil {
		return unknown(err, errManifestUnknown(n.WithTag(tag)))
	}
	return nil
}

func (v *Vault) deleteTag(ctx context.Context, n ref.Name, tag string) error {
	k, err := vaultTagKey(n, tag)
	if err != nil {
		return err
	}
	defer v.tags.forget(tagID{name: n, tag: tag})
	if err := v.store.bucket.Delete(ctx, k); err != nil {
		return fmt.Errorf("delete tag %s: %w", tag, err)
	}
	return nil
}

// DeleteManifest deletes a manifest from the repository, and every tag that
// points at it. Other manifests that refer to it stay as they are; so do its
// bytes, for a collector to remove.
func (v *Vault) DeleteManifest(ctx context.Context, n ref.Name, d oci.Digest) error {
	n.Host = ""
	mu := v.repo(n)
	mu.Lock()
	defer mu.Unlock()
	keys, err := v.pinKeys(ctx, n, d)
	if err != nil {
		return err
	}
	if len(keys) == 0 {
		return errManifestUnknown(n.WithDigest(d))
	}
	if err := v.deleteTagsOf(ctx, n, d); err != nil {
		return err
	}
	// The pins go after the tags, so that no tag ever points at nothing, and
	// the referrers' entry after the pins, so that none is missing.
	subjects, err := v.deletePins(ctx, n, d, keys)
	if err != nil {
		return fmt.Errorf("delete manifest %s: %w", d, err)
	}
	for subject := range subjects {
		k, err := vaultReferrerKey(n, subject, d)
		if err != nil {
			return err
		}
		if err := v.store.bucket.Delete(ctx, k); err != nil && !errors.Is(err, oci.ErrNotFound) {
			return fmt.Errorf("delete referrer of %s: %w", subject, err)
		}
	}
	return nil
}

// deletePins deletes the pins of a manifest, and returns its subjects. It looks
// again until there is none: a collector in another process may have put a new
// pin in the place of one of keys.
func (v *Vault) deletePins(ctx context.Context, n ref.Name, d oci.Digest, keys []Key) (map[oci.Digest]bool, error) {
	defer v.pins.forget(digestID{name: n, d: d})
	subjects := map[oci.Digest]bool{}
	for len(keys) > 0 {
		for _, k := range keys {
			if p, err := v.readPin(ctx, k); err == nil && p.Subject != "" {
				subjects[p.Subject] = true
			}
			if err := v.store.bucket.Delete(ctx, k); err != nil && !errors.Is(err, oci.ErrNotFound) {
				return nil, err
			}
		}
		var err error
		if keys, err = v.pinKeys(ctx, n, d); err != nil {
			return nil, err
		}
	}
	return subjects, nil
}

func (v *Vault) deleteTagsOf(ctx context.Context, n ref.Name, d oci.Digest) error {
	tags, err := v.listTags(ctx, n)
	if err != nil {
		return err
	}
	for _, tag := range tags {
		k, err := vaultTagKey(n, tag)
		if err != nil {
			return err
		}
		if at, err := v.readTag(ctx, k); err != nil || at != d {
			continue // a record that cannot be read points nowhere
		}
		if err := v.deleteTag(ctx, n, tag); err != nil && !errors.Is(err, oci.ErrNotFound) {
			return err
		}
	}
	return nil
}

// DeleteBlob takes the repository's link to a blob away.
func (v *Vault) DeleteBlob(ctx context.Context, n ref.Name, d oci.Digest) error {
	n.Host = ""
	prefix, err := vaultPrefixOf("l", n, d)
	if err != nil {
		return err
	}
	mu := v.repo(n)
	mu.Lock()
	defer mu.Unlock()
	defer v.links.forget(digestID{name: n, d: d})
	found := false
	for e, err := range v.store.bucket.List(ctx, prefix, "", false) {
		if err != nil {
			return err
		}
		found = true
		if err := v.store.bucket.Delete(ctx, Key(e.Key)); err != nil && !errors.Is(err, oci.ErrNotFound) {
			return fmt.Errorf("delete blob %s: %w", d, err)
		}
	}
	if !found {
		return errBlobUnknown(n, d)
	}
	return nil
}
