package proxy_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"os"
	"time"

	"github.com/entrepot/entrepot/internal/regtest"
	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/proxy"
	"github.com/entrepot/entrepot/ref"
	"github.com/entrepot/entrepot/store"
)

func Example() {
	dir, err := os.MkdirTemp("", "entrepot")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	st, err := store.Open(dir, store.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer st.Close()

	hub := regtest.NewMemory("hub", nil) // any oci.Reader
	hub.AddImage("library/alpine", regtest.Image{Layers: []int64{100_000}}, "3.20")
	p := proxy.New(hub, st.Cache(), proxy.Config{
		Policy: func(context.Context, ref.Name) proxy.Policy {
			return proxy.Policy{TagTTL: time.Minute, Anonymous: true}
		},
	})
	defer p.Close(context.Background())

	for range 2 {
		var o oci.Outcome
		ctx := oci.WithOutcome(context.Background(), &o)
		m, err := p.Manifest(ctx, ref.Name{Host: "docker.io", Path: "library/alpine"}.WithTag("3.20"))
		if err != nil {
			log.Fatal(err)
		}
		links, err := m.Links()
		if err != nil {
			log.Fatal(err)
		}
		b, err := p.Blob(context.Background(), ref.Name{Host: "docker.io", Path: "library/alpine"}, links.Layers[0].Digest, 0)
		if err != nil {
			log.Fatal(err)
		}
		n, err := io.Copy(io.Discard, b.Body)
		if err != nil {
			log.Fatal(err)
		}
		b.Body.Close()
		fmt.Println("manifest:", o.Result, "layer:", n, "bytes")
	}
	// Output:
	// manifest: miss layer: 100000 bytes
	// manifest: hit layer: 100000 bytes
}
