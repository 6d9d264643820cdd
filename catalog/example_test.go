package catalog_test

import (
	"fmt"
	"os"

	"github.com/entrepot/entrepot/catalog"
)

// The images of the newest version of one operator.
func Example() {
	whole, err := catalog.Read(os.DirFS("testdata/catalog"))
	if err != nil {
		panic(err)
	}
	kept, problems, err := whole.Filter(catalog.Filter{
		Packages: []catalog.PackageFilter{{Name: "quay", Channels: []catalog.ChannelFilter{{Name: "stable-3.9"}}}},
	})
	if err != nil {
		panic(err)
	}
	for _, p := range problems {
		fmt.Println(p)
	}
	images, _ := kept.Images()
	for _, i := range images {
		fmt.Println(i.Ref[:28], i.Needs[0].Bundle, i.Bundle)
	}
	// Output:
	// docker.io/library/busybox:1. quay.v3.9.3 false
	// registry.example.com/quay/bu quay.v3.9.3 true
	// registry.example.com/quay/cl quay.v3.9.3 false
	// registry.example.com/quay/qu quay.v3.9.3 false
}
