package store

import (
	"context"
	"io"

	"github.com/entrepot/entrepot/oci"
)

// Bounds of what is followed from one manifest. More than that no client pulls.
const (
	maxGraphDepth = oci.MaxDepth
	maxGraphNodes = oci.MaxDescriptors
	maxManifest   = 4 << 20 // bytes
)

// A graphWalk follows one manifest to all that it needs, as far as it is in the
// cache.
type graphWalk struct {
	c     *Cache
	ctx   context.Context // of the one walk that this is
	seen  map[oci.Digest]bool
	visit func(oci.Digest)
}

// graph calls visit once for d and for everything that it leads to, whether it
// is in the cache or not. A manifest that is not, or cannot be read, leads
// nowhere.
func (c *Cache) graph(ctx context.Context, d oci.Digest, mediaType string, visit func(oci.Digest)) {
	w := graphWalk{c: c, ctx: ctx, seen: map[oci.Digest]bool{}, visit: visit}
	w.from(d, mediaType, 0)
}

func (w *graphWalk) from(d oci.Digest, mediaType string, depth int) {
	if w.seen[d] || len(w.seen) >= maxGraphNodes || depth > maxGraphDepth || w.ctx.Err() != nil {
		return
	}
	w.seen[d] = true
	w.visit(d)
	if !oci.IsManifest(mediaType) {
		return
	}
	raw, err := w.c.peek(w.ctx, d)
	if err != nil {
		return
	}
	links, err := oci.Manifest{MediaType: mediaType, Digest: d, Raw: raw}.Links()
	if err != nil {
		return
	}
	for _, b := range links.Blobs() {
		w.from(b.Digest, "", depth+1)
	}
	for _, m := range links.Manifests {
		w.from(m.Digest, m.MediaType, depth+1)
	}
}

// peek reads a manifest for its links alone: it is not verified, and takes no
// room among those in RAM.
func (c *Cache) peek(ctx context.Context, d oci.Digest) ([]byte, error) {
	if h, ok := c.bytes.peek(d); ok {
		return h.raw, nil
	}
	k, err := cacheBlobKey(d)
	if err != nil {
		return nil, err
	}
	o, err := c.store.bucket.Open(ctx, k)
	if err != nil {
		return nil, err
	}
	defer o.Body.Close()
	if o.Size > maxManifest {
		return nil, oci.Errorf(oci.ErrTooLarge, "", "the manifest has %d bytes", o.Size)
	}
	return io.ReadAll(io.LimitReader(o.Body, maxManifest))
}
