package store

import (
	"context"
	"errors"
	"slices"

	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
)

// renewPins writes the pins anew that name something condemned: a push was
// acknowledged between our C1 and C2. The blob is safe, but nobody could use it
// for another push while the mark is on it, and the mark may not go before the
// blob. So the blob gets another name, the pin names that one, and the next
// collection takes the old name away. What fails is tried again then.
func (c *collector) renewPins(ctx context.Context) {
	for _, k := range c.renew {
		done, err := c.renewPin(ctx, k)
		if err != nil {
			c.v.store.log.Warn("cannot renew a pin that names what was condemned", "key", string(k), "err", err)
		}
		if done {
			c.out.Renewed++
		}
	}
}

// renewPin is a push by W1 to W3, and a delete.
func (c *collector) renewPin(ctx context.Context, k Key) (bool, error) {
	n, d, ok := parsePinKey(k)
	if !ok {
		return false, nil
	}
	mu := c.v.repo(n)
	mu.RLock()
	defer mu.RUnlock()
	p, err := c.v.readPin(ctx, k)
	if errors.Is(err, oci.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	p.Pins = slices.Clone(p.Pins)
	for i, x := range p.Pins {
		if p.Pins[i], err = c.another(ctx, n, x); err != nil {
			return false, err
		}
	}
	fresh, ok, err := c.v.writePin(ctx, n, d, p)
	if !ok {
		return false, err
	}
	err = c.b.Delete(ctx, k)
	if errors.Is(err, oci.ErrNotFound) {
		// Somebody deletes the manifest in another process, and has not seen
		// the new pin if it was written since; see DeleteManifest.
		c.v.dropPins(ctx, []Key{fresh})
		return false, nil
	}
	c.v.pins.forget(digestID{name: n, d: d})
	return err == nil, err
}

// another returns an incarnation of x that is alive, and makes one of x itself
// where there is none.
func (c *collector) another(ctx context.Context, n ref.Name, x pinned) (pinned, error) {
	p, err := c.v.choose(ctx, x.Digest, x.Inc)
	if err == nil && p.Inc == x.Inc {
		return x, nil
	}
	if err == nil && p.Size != x.Size {
		err = errMiss // one of the two is damaged, and we shall not say which
	}
	if errors.Is(err, oci.ErrNotFound) {
		p, err = c.copy(ctx, x)
	}
	if err != nil {
		return pinned{}, err
	}
	return p, c.v.relink(ctx, n, p)
}

// copy makes a new incarnation of x.
func (c *collector) copy(ctx context.Context, x pinned) (pinned, error) {
	b, ok := c.b.(Copier)
	if !ok {
		return pinned{}, oci.Errorf(oci.ErrUnsupported, "", "this bucket copies nothing")
	}
	from, err := vaultBlobKey(x.Digest, x.Inc)
	if err != nil {
		return pinned{}, err
	}
	p := pinned{x.Digest, c.v.newInc(), x.Size}
	to, err := vaultBlobKey(p.Digest, p.Inc)
	if err != nil {
		return pinned{}, err
	}
	if err := b.Copy(ctx, from, to); err != nil {
		return pinned{}, err
	}
	c.v.renew(ctx, to)
	c.v.store.usage.add(to, p.Size)
	return p, nil
}
