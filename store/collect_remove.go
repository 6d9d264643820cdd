package store

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/entrepot/entrepot/oci"
	"golang.org/x/sync/errgroup"
)

// each calls f for all garbage, several at once.
func (c *collector) each(ctx context.Context, f func(context.Context, garbage) error) error {
	if c.cfg.jobs() == 1 {
		for _, g := range c.garbage {
			if err := f(ctx, g); err != nil {
				return err
			}
		}
		return nil
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(c.cfg.jobs())
	for _, g := range c.garbage {
		if ctx.Err() != nil {
			break
		}
		group.Go(func() error { return f(ctx, g) })
	}
	return group.Wait()
}

// condemn is C2. From here on no writer chooses what is marked, and a mark
// stays until the blob is gone: a collector that has stalled may still believe
// in it.
func (c *collector) condemn(ctx context.Context) error {
	for _, g := range c.garbage {
		c.doomed[g.incarnation] = struct{}{}
	}
	return c.each(ctx, func(ctx context.Context, g garbage) error {
		if g.marked {
			return nil
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		k, err := vaultMarkerKey(g.digest, g.inc)
		if err != nil {
			return err
		}
		return c.b.Put(ctx, k, nil)
	})
}

// remove is C4 and C5: first the blob, then its mark.
func (c *collector) remove(ctx context.Context) error {
	var mu sync.Mutex // guards c.out
	return c.each(ctx, func(ctx context.Context, g garbage) error {
		if c.needed(g.incarnation) {
			mu.Lock()
			defer mu.Unlock()
			c.out.Spared++
			return nil
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		gone, err := c.trash(ctx, g)
		if err != nil {
			return err
		}
		if gone {
			mu.Lock()
			c.out.Trashed.add(g.size)
			mu.Unlock()
		}
		return c.removeMarker(ctx, g.incarnation)
	})
}

// trash takes a blob out of the pool. It reports false where another collector
// was faster.
func (c *collector) trash(ctx context.Context, g garbage) (bool, error) {
	k, err := vaultBlobKey(g.digest, g.inc)
	if err != nil {
		return false, err
	}
	if m, ok := c.b.(Mover); ok {
		to, bad := trashKey(c.v.store.cfg.now(), g.incarnation)
		if bad != nil {
			return false, bad
		}
		err = m.Move(ctx, k, to)
	} else {
		err = c.b.Delete(ctx, k)
	}
	if errors.Is(err, oci.ErrNotFound) {
		// The mark goes next, so be sure that it is the blob that is missing.
		gone, err := c.gone(ctx, g.incarnation)
		if err == nil && !gone {
			err = oci.Errorf(oci.ErrUnavailable, "", "%s cannot be moved to the trash", k)
		}
		return false, err
	}
	if err == nil {
		c.v.store.usage.remove(k, g.size)
	}
	return err == nil, err
}

func (c *collector) removeMarker(ctx context.Context, i incarnation) error {
	k, err := vaultMarkerKey(i.digest, i.inc)
	if err != nil {
		return err
	}
	if err := c.b.Delete(ctx, k); err != nil && !errors.Is(err, oci.ErrNotFound) {
		return err
	}
	return nil
}

// removeMarkers removes the marks whose blobs are gone: collectors that ended
// between C4 and C5 left them, or one that was late with C2.
func (c *collector) removeMarkers(ctx context.Context) error {
	for _, i := range sortedIncarnations(c.doomed) {
		if _, ok := c.blobs[c.hash(i)]; ok {
			continue
		}
		gone, err := c.gone(ctx, i)
		if err != nil {
			return err
		}
		if !gone {
			continue
		}
		if err := c.removeMarker(ctx, i); err != nil {
			return err
		}
	}
	return nil
}

func sortedIncarnations(set map[incarnation]struct{}) []incarnation {
	all := make([]incarnation, 0, len(set))
	for i := range set {
		all = append(all, i)
	}
	slices.SortFunc(all, func(a, b incarnation) int {
		return strings.Compare(string(a.digest)+string(a.inc), string(b.digest)+string(b.inc))
	})
	return all
}

// gone reports whether a blob that was once there is no more. It will never
// come back, since no name is used again.
func (c *collector) gone(ctx context.Context, i incarnation) (bool, error) {
	k, err := vaultBlobKey(i.digest, i.inc)
	if err != nil {
		return false, err
	}
	_, err = c.b.Stat(ctx, k)
	if errors.Is(err, oci.ErrNotFound) {
		return true, nil
	}
	return false, err
}

// removeLinks removes the links to blobs that are gone, unless a pin still
// names them: then something is wrong, and the right to read is kept for when
// the blob is back. For what is in the trash it is kept as well.
func (c *collector) removeLinks(ctx context.Context) error {
	for e, err := range c.b.List(ctx, "v/l/", "", true) {
		if err != nil {
			return err
		}
		i, ok := parseLink(e.Key)
		if !ok || c.needed(i) {
			continue
		}
		if _, ok := c.blobs[c.hash(i)]; ok {
			continue // it is there, or in the trash
		}
		gone, err := c.gone(ctx, i)
		if err != nil {
			return err
		}
		if !gone {
			continue
		}
		err = c.b.Delete(ctx, Key(e.Key))
		if err != nil && !errors.Is(err, oci.ErrNotFound) {
			return err
		}
		c.out.Links++
	}
	return nil
}

// parseLink reads the name of a link. What is no link is not ours to judge.
func parseLink(key string) (incarnation, bool) {
	_, rest, ok := strings.Cut(key, "/_l/")
	name, rest, found := strings.Cut(rest, "/")
	i, rand, found2 := strings.Cut(rest, ".")
	d, err := unflat(name)
	return incarnation{d, inc(i)}, ok && found && found2 && err == nil && validInc(i) && validInc(rand)
}

// The trash is v's, by the hour in which something came into it. An "_" lets
// the directory of an hour go with what is in it.
const (
	trashPrefix = "trash/b/"
	trashHour   = "_2006010215"
)

func trashKey(now time.Time, i incarnation) (Key, error) {
	name, err := flat(i.digest)
	return Key(trashPrefix + now.UTC().Format(trashHour) + "/" + name + "." + string(i.inc)), err
}

// parseTrash is the reverse of trashKey.
func parseTrash(key string) (time.Time, incarnation, bool) {
	rest, ok := strings.CutPrefix(key, trashPrefix)
	hour, name, found := strings.Cut(rest, "/")
	at, err := time.Parse(trashHour, hour)
	name, i, _ := strings.Cut(name, ".")
	d, err2 := unflat(name)
	return at, incarnation{d, inc(i)}, ok && found && err == nil && err2 == nil && validInc(i)
}

// readTrash returns what is in the trash for too long. What is younger is
// noted, so that its links stay.
func (c *collector) readTrash(ctx context.Context) ([]Entry, error) {
	now := c.v.store.cfg.now()
	var old []Entry
	for e, err := range c.b.List(ctx, trashPrefix, "", true) {
		if err != nil {
			return nil, err
		}
		at, i, ok := parseTrash(e.Key)
		if !ok {
			continue
		}
		if now.Sub(at).Abs() < trashAge+time.Hour { // the hour may just have begun
			c.blobs[c.hash(i)] = struct{}{}
			continue
		}
		old = append(old, e)
	}
	return old, nil
}

// purge removes it for good, after its links.
func (c *collector) purge(ctx context.Context, old []Entry) error {
	for _, e := range old {
		info, err := e.Info()
		if err == nil {
			err = c.b.Delete(ctx, Key(e.Key))
		}
		if errors.Is(err, oci.ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		c.out.Purged.add(info.Size)
	}
	return nil
}
