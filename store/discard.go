package store

import (
	"context"
	"errors"

	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
)

// DiscardManifest takes a manifest out of a repository, and its bytes out of the
// cache: somebody wants it to be fetched again. What it leads to stays until it is
// evicted. ErrNotFound means that the repository does not have it, ErrDenied that it
// is protected from eviction.
func (c *Cache) DiscardManifest(ctx context.Context, scope string, n ref.Name, d oci.Digest) error {
	record, err := cacheManifestKey(scope, n, d)
	if err != nil {
		return err
	}
	if _, err := c.manifestRecord(digestID{scope, n, d}); err != nil {
		return err
	}
	if err := c.mayDiscard(ctx, record); err != nil {
		return err
	}
	if err := c.discard(ctx, d); err != nil && !errors.Is(err, oci.ErrNotFound) {
		return err
	}
	defer c.manifests.forget(digestID{scope, n, d})
	return c.store.bucket.Delete(ctx, record)
}

// DiscardBlob takes a blob out of the cache that the repository may read. Its
// errors are those of DiscardManifest.
func (c *Cache) DiscardBlob(ctx context.Context, scope string, n ref.Name, d oci.Digest) error {
	if !c.Linked(scope, n, d) {
		return errMiss
	}
	l, err := c.newLedger(ctx, nil)
	if err != nil {
		return err
	}
	if _, kept := l.kept[briefOf(d)]; kept {
		return errKept
	}
	return c.discard(ctx, d)
}

// errKept refuses to remove what somebody has protected.
var errKept error = oci.Errorf(oci.ErrDenied, "", "it is pinned")

// mayDiscard refuses the manifest of a record that is protected.
func (c *Cache) mayDiscard(ctx context.Context, record Key) error {
	keeps, err := c.Keeps(ctx)
	if err != nil {
		return err
	}
	if m, ok := parseCached(string(record)); ok && c.isKept(ctx, keeps, m) {
		return errKept
	}
	return nil
}

// discard removes a blob.
func (c *Cache) discard(ctx context.Context, d oci.Digest) error {
	k, err := cacheBlobKey(d)
	if err != nil {
		return err
	}
	defer c.bytes.forget(d)
	info, err := c.store.bucket.Stat(ctx, k)
	if err == nil {
		err = c.store.bucket.Delete(ctx, k)
	}
	if err != nil {
		return err
	}
	c.store.usage.remove(k, info.Size)
	age := c.store.evictor.clock.look(ctx, c.store).age(info.ModTime)
	c.store.observe(Event{Kind: EventEvicted, Pool: "cache", Digest: d, Bytes: info.Size, Age: age})
	return nil
}
