package proxy

import (
	"context"
	"testing"

	"github.com/entrepot/entrepot/internal/regtest"
	"github.com/entrepot/entrepot/oci"
)

// What the proxy adds to the store's memory on the way of most requests.
func BenchmarkHot(b *testing.B) {
	r := newRig(b, Config{Policy: ttl(1 << 62)})
	r.stop()
	r.cfg.Observe, r.cfg.Now = nil, nil
	r.start(r.up)
	img := r.up.AddImage(alpine.Path, regtest.Image{Layers: []int64{1000}}, "3.20")
	if _, _, err := r.pull("3.20"); err != nil {
		b.Fatal(err)
	}
	if _, _, err := r.read(alpine, img.Layers[0].Digest); err != nil {
		b.Fatal(err)
	}
	ctx := oci.WithOutcome(context.Background(), new(oci.Outcome))
	for name, request := range map[string]func() error{
		"Tag":    func() error { _, err := r.Manifest(ctx, alpine.WithTag("3.20")); return err },
		"Digest": func() error { _, err := r.Manifest(ctx, alpine.WithDigest(img.Digest)); return err },
		"Head":   func() error { _, err := r.Resolve(ctx, alpine.WithTag("3.20")); return err },
		"Store":  func() error { _, err := r.store.Cache().Manifest("docker.io", alpine, img.Digest); return err },
		"Blob": func() error {
			blob, err := r.Blob(ctx, alpine, img.Layers[0].Digest, 0)
			if err == nil {
				blob.Body.Close()
			}
			return err
		},
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := request(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
