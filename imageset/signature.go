package imageset

import (
	"context"
	"strings"

	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/openshift"
	"github.com/entrepot/entrepot/relocate"
)

// signatures adds what signs a release, beside what goes with the image itself: a
// cluster verifies the releases that it is updated to by detached signatures,
// which are files and not in a registry.
func (x *expansion) signatures(ctx context.Context, r release, d oci.Digest) {
	if x.cfg.Delete {
		return
	}
	var all [][]byte
	var err error
	if x.env.Signatures != nil {
		all, err = x.env.Signatures(ctx, d)
	}
	if err != nil {
		x.fail(r.place, err, "", "the signature of the release %s", r.image)
		return
	}
	name := r.image
	if !strings.Contains(name, "@") {
		name += "@" + string(d)
	}
	if len(all) == 0 {
		x.note(r.place, "put it into signatures/ beside the configuration, or say with OCP_SIGNATURE_URL where there are some, as https://mirror.openshift.com/pub/openshift-v4/signatures/openshift/release/",
			"there is no signature of the release %s: a cluster will not be updated to it unless it is forced", name)
	}
	for i, data := range all {
		x.set.Files = append(x.set.Files, relocate.File{Name: openshift.SignatureFile(d, i+1), Data: data})
	}
}
