package registry_test

import (
	"fmt"
	"net/http/httptest"

	"github.com/entrepot/entrepot/access"
	"github.com/entrepot/entrepot/registry"
)

func ExampleNew() {
	h, err := registry.New(registry.Config{
		Routes: registry.Routes{
			Upstreams: []registry.Upstream{{Name: "docker.io"}},
			Hosted:    []string{"apps/**"},
		},
		Access: access.Policy{Anonymous: access.Pull},
		// Hosted and Proxied are what answers; here there is nothing yet.
	})
	if err != nil {
		panic(err)
	}
	for _, target := range []string{"/v2/", "/v2/library/alpine/manifests/3.20?ns=evil.example"} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("GET", target, nil))
		fmt.Println(w.Code, w.Body)
	}
	// Output:
	// 200 {}
	// 404 {"errors":[{"code":"NAME_UNKNOWN","message":"upstream not allowed: evil.example","detail":{"name":"library/alpine","reference":"3.20"}}]}
}
