package mirror_test

import (
	"context"
	"fmt"

	"github.com/entrepot/entrepot/internal/regtest"
	"github.com/entrepot/entrepot/mirror"
	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
)

// A mirror that is down does not keep anybody from the original.
func Example() {
	cache := regtest.NewMemory("cache", nil) // stand for endpoints of package remote
	hub := regtest.NewMemory("docker.io", nil)
	cache.On(regtest.Match{}, regtest.Down())
	img := hub.AddImage("library/alpine", regtest.Image{Layers: []int64{1000}}, "3.20")

	m := mirror.New(mirror.Config{Plan: func(_ mirror.Op, r ref.Ref) ([]mirror.Place, error) {
		return []mirror.Place{
			{Label: "cache", Reader: cache, Name: ref.Name{Host: "cache.example.com", Path: "hub/" + r.Path}},
			{Label: "docker.io", Reader: hub, Name: r.Name, Tags: true},
		}, nil
	}})

	var o oci.Outcome
	ctx := oci.WithOutcome(context.Background(), &o)
	n := ref.Name{Host: ref.DockerHub, Path: "library/alpine"}
	b, err := m.Blob(ctx, n, img.Layers[0].Digest, 0)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer b.Body.Close()
	fmt.Println(b.Size, "bytes from", o.From)
	// Output: 1000 bytes from docker.io
}
