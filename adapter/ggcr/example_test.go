package ggcr_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http/httptest"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/entrepot/entrepot/adapter/ggcr"
)

// A run image is pulled through CNB_REGISTRY_MIRRORS, which names two mirrors;
// the first is down.
func ExamplePuller_Image() {
	quiet := registry.Logger(log.New(io.Discard, "", 0))
	down := httptest.NewServer(registry.New(quiet))
	down.Close()
	up := httptest.NewServer(registry.New(quiet))
	defer up.Close()
	copied, err := name.ParseReference(strings.TrimPrefix(up.URL, "http://") + "/hub/paketo/run:v1")
	if err != nil {
		log.Fatal(err)
	}
	if err := remote.Write(copied, empty.Image); err != nil {
		log.Fatal(err)
	}

	env := map[string]string{"CNB_REGISTRY_MIRRORS": "docker.io=" + down.URL + ";docker.io=" + up.URL + "/hub"}
	cfg, err := ggcr.FromEnv(func(key string) string { return env[key] })
	if err != nil {
		log.Fatal(err)
	}
	p, err := ggcr.New(cfg)
	if err != nil {
		log.Fatal(err)
	}
	defer p.Close()
	ref, err := name.ParseReference("paketo/run:v1")
	if err != nil {
		log.Fatal(err)
	}
	img, found, err := p.Image(context.Background(), ref)
	if err != nil {
		log.Fatal(err)
	}
	digest, err := img.Digest()
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("pulled", found.Ref.Name(), digest)
	fmt.Println("from the second mirror:", found.From == copied.Name())
	fmt.Println("the first is down:", len(found.Failed) == 1 && strings.HasPrefix(found.Failed[0].URL, down.URL))
	// Output:
	// pulled index.docker.io/paketo/run:v1 sha256:732112270d7e59418a8c080b134b24cabd67d250d0d0147a97ed95ba5c280aa4
	// from the second mirror: true
	// the first is down: true
}
