package relocate

import (
	"context"
	"errors"
	"fmt"

	"github.com/entrepot/entrepot/oci"
)

// unkept explains why an image is not there by the digest that its input
// promises: most likely it is something else by now. Other errors are as they
// were.
func (c *Config) unkept(ctx context.Context, p Pair, err error) error {
	if p.differs == nil || !errors.Is(err, oci.ErrNotFound) {
		return err
	}
	if p.Source.Tag != "" {
		if d, bad := c.Source.Resolve(ctx, p.Source.WithTag(p.Source.Tag)); bad == nil {
			if differs := p.differs(d.Digest); differs != nil {
				return fmt.Errorf("%w: %w", differs, err)
			}
		}
	}
	return fmt.Errorf("%w: the digest is what the input says for that image", err)
}
