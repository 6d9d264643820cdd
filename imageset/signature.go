package imageset

import (
	"context"

	"github.com/entrepot/entrepot/oci"
)

// signature finds what signs a release, beside what goes with the image itself.
func (x *expansion) signature(release, oci.Digest) {}

func (x *expansion) graphImage(context.Context) {
	x.fail(x.cfg.Platform.GraphAt, ErrNoGraphData, "", "the update graph")
}
