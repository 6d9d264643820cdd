package relocate_test

import (
	"fmt"

	"github.com/entrepot/entrepot/relocate"
)

func Example() {
	prefix, err := relocate.ParsePrefix("registry.example.com/team")
	if err != nil {
		panic(err)
	}
	naming, err := relocate.NewNaming(relocate.NamingConfig{Prefix: prefix})
	if err != nil {
		panic(err)
	}
	pairs, err := relocate.Pairs([]relocate.Mention{{Written: "ubuntu:24.04"}, {Written: "docker.io/library/ubuntu:24.04"}}, naming)
	if err != nil {
		panic(err)
	}
	for _, p := range pairs {
		fmt.Println(p.Source)
		fmt.Println(p.Target)
	}
	// Output:
	// docker.io/library/ubuntu:24.04
	// registry.example.com/team/library-ubuntu-c471a5f1357c32f142859414677bfcde:24.04
}
