package store

import (
	"context"
	"time"

	"github.com/entrepot/entrepot/oci"
)

// touchEach is how often the time of a blob that is used is set. It is what
// eviction goes by.
const touchEach = time.Hour

// A touch is a blob whose time is to be set. Where it is a manifest, what it
// refers to is touched as well: a client that has all layers asks for the
// manifest alone, and the layers must not age meanwhile.
type touch struct {
	key      Key
	manifest oci.Manifest // zero for other blobs
}

// use notes that a manifest was served.
func (c *Cache) use(m oci.Manifest, h *held) {
	now := c.store.cfg.now().Unix()
	last := h.touched.Load()
	if now-last < int64(touchEach/time.Second) || !h.touched.CompareAndSwap(last, now) {
		return
	}
	if k, err := cacheBlobKey(m.Digest); err == nil {
		c.store.touchLater(touch{k, m})
	}
}

// touchLater leaves the touching to the background. When that cannot follow,
// the touch is dropped: a later use brings another one.
func (s *Store) touchLater(t touch) {
	select {
	case s.touches <- t:
	default:
	}
}

func (s *Store) touchAlways(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case t := <-s.touches:
			s.touch(ctx, t.key)
			if t.manifest.Digest == "" {
				continue
			}
			links, err := t.manifest.Links()
			if err != nil {
				continue // nothing known to touch
			}
			for _, d := range append(links.Blobs(), links.Manifests...) {
				if k, err := cacheBlobKey(d.Digest); err == nil {
					s.touch(ctx, k)
				}
			}
		}
	}
}

// touch sets the time of an object, unless that was done lately. It is best
// effort: what cannot be touched is evicted sooner.
func (s *Store) touch(ctx context.Context, k Key) {
	t, ok := s.bucket.(Toucher)
	if !ok {
		return
	}
	now := s.cfg.now()
	if info, err := s.bucket.Stat(ctx, k); err != nil || now.Sub(info.ModTime) < touchEach {
		return
	}
	if err := t.Touch(ctx, k, now); err != nil {
		s.log.Debug("cannot touch", "key", string(k), "err", err)
	}
}
