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

func (x *expansion) charts(context.Context) {
	for _, r := range x.cfg.Helm.Repositories {
		x.fail(r.Place, nil, "", "charts are not expanded")
	}
	for _, c := range x.cfg.Helm.Local {
		x.fail(c.Place, nil, "", "charts are not expanded")
	}
}
