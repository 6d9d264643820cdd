package store

import (
	"context"
	"strings"
	"time"

	"github.com/entrepot/entrepot/oci"
)

// touchEach is how often the time of a blob that is used is set. It is what
// eviction goes by.
const touchEach = time.Hour

// A touch is a blob whose time is to be set. Where it is a manifest, what it
// leads to is touched as well: a client that has all layers asks for the
// manifest alone, and the layers must not age meanwhile.
type touch struct {
	key       Key
	manifest  oci.Digest // "" for other blobs
	mediaType string     // of the manifest
}

// stale reports whether a time is to be set again. One in the future is: a
// clock that was wrong has written it.
func stale(t, now time.Time) bool { return now.Sub(t).Abs() >= touchEach }

// Used notes that somebody was told about a manifest without being given it, as
// a HEAD does: whoever has all of an image asks no more than that. It costs no
// I/O and does not allocate while the manifest is in RAM.
func (c *Cache) Used(d oci.Digest, mediaType string) {
	if h, ok := c.bytes.get(d); ok {
		c.use(d, mediaType, h)
		return
	}
	if k, err := cacheBlobKey(d); err == nil {
		c.store.touchLater(touch{k, oci.Digest(strings.Clone(string(d))), strings.Clone(mediaType)})
	}
}

// use notes that a manifest was served.
func (c *Cache) use(d oci.Digest, mediaType string, h *held) {
	now := c.store.cfg.now().Unix()
	last := h.touched.Load()
	const each = int64(touchEach / time.Second)
	if now-last < each && last-now < each || !h.touched.CompareAndSwap(last, now) {
		return
	}
	k, err := cacheBlobKey(d)
	if err != nil {
		return
	}
	if !c.store.touchLater(touch{k, oci.Digest(strings.Clone(string(d))), strings.Clone(mediaType)}) {
		h.touched.CompareAndSwap(now, last) // the next use tries again
	}
}

// touchLater leaves the touching to the background. Where that cannot follow,
// it reports false and the touch is dropped: a later use brings another one.
func (s *Store) touchLater(t touch) bool {
	select {
	case s.touches <- t:
		return true
	default:
		return false
	}
}

func (s *Store) touchAlways(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case t := <-s.touches:
			s.touch(ctx, t.key)
			if t.manifest == "" {
				continue
			}
			s.cache.graph(ctx, t.manifest, t.mediaType, func(d oci.Digest) {
				if k, err := cacheBlobKey(d); err == nil && d != t.manifest {
					s.touch(ctx, k)
				}
			})
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
	if info, err := s.bucket.Stat(ctx, k); err != nil || !stale(info.ModTime, now) {
		return
	}
	if err := t.Touch(ctx, k, now); err != nil {
		s.log.Debug("cannot touch", "key", string(k), "err", err)
	}
}
