package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/entrepot/entrepot/oci"
)

// Restore brings back what collections of the last day have removed, and
// returns how much that was. Each blob comes back as a new incarnation, since no
// name is used again, and the pins that name the old one are written anew. What
// no pin names is collected again after another day.
func (v *Vault) Restore(ctx context.Context) (PoolUsage, error) {
	c := newCollector(v, Collection{})
	back, err := c.restore(ctx)
	if err == nil {
		_, err = c.readPins(ctx)
	}
	if err != nil {
		return back, fmt.Errorf("bring garbage back: %w", err)
	}
	c.renewPins(ctx)
	return back, nil
}

func (c *collector) restore(ctx context.Context) (PoolUsage, error) {
	var back PoolUsage
	m, ok := c.b.(Mover)
	if !ok {
		return back, oci.Errorf(oci.ErrUnsupported, "", "this bucket keeps no trash")
	}
	for e, err := range c.b.List(ctx, trashPrefix, "", true) {
		if err != nil {
			return back, err
		}
		_, i, ok := parseTrash(e.Key)
		if !ok {
			continue
		}
		info, err := e.Info()
		if errors.Is(err, oci.ErrNotFound) {
			continue
		}
		if err != nil {
			return back, err
		}
		to, err := vaultBlobKey(i.digest, c.v.newInc())
		if err != nil {
			return back, err
		}
		c.v.renew(ctx, Key(e.Key)) // before it can be found and condemned again
		if err := m.Move(ctx, Key(e.Key), to); errors.Is(err, oci.ErrNotFound) {
			continue
		} else if err != nil {
			return back, err
		}
		c.v.store.usage.add(to, info.Size)
		back.add(info.Size)
		c.doomed[i] = struct{}{}
	}
	return back, nil
}

// CollectedAt returns when the last collection ended that was not stopped, the
// zero time for none.
func (v *Vault) CollectedAt(ctx context.Context) (time.Time, error) {
	b, err := (&collector{v: v}).readBaseline(ctx)
	return b.At, err
}
