package openshift_test

import (
	"fmt"

	"github.com/entrepot/entrepot/openshift"
	"github.com/entrepot/entrepot/ref"
	"github.com/entrepot/entrepot/relocate"
)

// A set of one image, in a place that keeps nothing of its name.
func Example() {
	naming, err := relocate.NewNaming(relocate.NamingConfig{Prefix: ref.Name{Host: "registry.corp", Path: "ocp"}})
	if err != nil {
		panic(err)
	}
	pairs, err := relocate.Pairs([]relocate.Mention{{Written: "quay.io/istio/proxyv2:1.2", Role: relocate.Additional}}, naming)
	if err != nil {
		panic(err)
	}
	files, _, err := openshift.Files(relocate.Set{Naming: naming, Images: []relocate.Placed{{Pair: pairs[0]}}})
	if err != nil {
		panic(err)
	}
	for _, f := range files {
		fmt.Printf("%s\n%s", f.Name, f.Data)
	}
	// Output:
	// itms-oc-mirror.yaml
	// ---
	// apiVersion: config.openshift.io/v1
	// kind: ImageTagMirrorSet
	// metadata:
	//   annotations:
	//     createdBy: entrepot
	//   name: itms-generic-0
	// spec:
	//   imageTagMirrors:
	//   - mirrors:
	//     - registry.corp/ocp/istio-proxyv2-d392f582357758c2a10deace1b8cb31b
	//     source: quay.io/istio/proxyv2
}
