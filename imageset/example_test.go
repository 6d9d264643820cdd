package imageset_test

import (
	"context"
	"fmt"

	"github.com/entrepot/entrepot/document"
	"github.com/entrepot/entrepot/imageset"
)

func Example() {
	cfg, err := imageset.Parse("isc.yaml", []byte(`apiVersion: mirror.openshift.io/v2alpha1
kind: ImageSetConfiguration
mirror:
  additionalImages:
  - name: quay.io/team/app:v1
    targetRepo: tools/app
  blockedImages:
  - name: alpine
`))
	if err != nil {
		fmt.Println(err)
		return
	}
	set, err := cfg.Expand(context.Background(), imageset.Env{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer set.Close()
	for _, i := range set.Images {
		fmt.Println(i.At, i.Written, i.Target, i.Role)
	}
	// Output: isc.yaml:5 quay.io/team/app:v1 /tools/app additional
}

func ExampleParse() {
	_, err := imageset.Parse("isc.yaml", []byte(`apiVersion: mirror.openshift.io/v1alpha2
kind: ImageSetConfiguration
mirror:
  platform:
    release: quay.io/openshift-release-dev/ocp-release:4.15.3-x86_64
  samples:
  - name: ruby
`))
	for _, e := range document.Errors(err) {
		fmt.Println(e)
	}
	// Output:
	// isc.yaml:5: mirror.platform.release: v1alpha2 does not have this field, v2alpha1 does
	// isc.yaml:6: mirror.samples: samples are not implemented, as in oc-mirror
}
