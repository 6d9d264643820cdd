package remote_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"

	"github.com/entrepot/entrepot/ref"
	"github.com/entrepot/entrepot/remote"
)

func Example() {
	registry := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/vnd.oci.image.index.v1+json")
		io.WriteString(w, `{"schemaVersion":2,"manifests":[]}`)
	}))
	defer registry.Close()

	client := remote.NewClient(remote.ClientConfig{})
	defer client.Close()
	endpoint, err := client.Endpoint(remote.EndpointConfig{
		URL:          registry.URL,
		AllowPrivate: true, // it is on loopback
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	m, err := endpoint.Manifest(context.Background(), ref.Name{Path: "library/alpine"}.WithTag("3.20"))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(m.MediaType)
	fmt.Println(m.Digest)
	// Output:
	// application/vnd.oci.image.index.v1+json
	// sha256:bc5857ac9458293d5111ab85c952172cd7f56bceb4e3014ddc4cafac8927b313
}
