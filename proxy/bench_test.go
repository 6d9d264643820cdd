package proxy

import (
	"context"
	"io"
	"strconv"
	"sync"
	"testing"

	"github.com/entrepot/entrepot/internal/regtest"
	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
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

// fast is an upstream that costs nothing: a blob of zeros, in reads of 64 KiB.
type fast struct {
	oci.Reader
	d oci.Digest
}

const fastSize = 143 << 20

func (f fast) Blob(_ context.Context, _ ref.Name, d oci.Digest, off int64) (oci.Blob, error) {
	body := io.NopCloser(chopped{io.LimitReader(zeros{}, fastSize-off)})
	return oci.Blob{Descriptor: oci.Descriptor{Digest: d, Size: fastSize}, Body: body, Offset: off}, nil
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

type chopped struct{ io.Reader }

func (c chopped) Read(p []byte) (int, error) { return c.Reader.Read(p[:min(len(p), 64<<10)]) }

// A cold blob of 143 MiB, to one client and to 16 at once.
func BenchmarkFill(b *testing.B) {
	h := oci.Algorithm("").Hash()
	io.Copy(h, io.LimitReader(zeros{}, fastSize))
	d := oci.FromHash("sha256:", h)
	for _, clients := range []int{1, 16} {
		b.Run(strconv.Itoa(clients), func(b *testing.B) {
			b.SetBytes(fastSize * int64(clients))
			b.ReportAllocs()
			for b.Loop() {
				b.StopTimer()
				r := newRig(b, Config{})
				r.stop()
				r.start(fast{r.up, d})
				b.StartTimer()
				var wg sync.WaitGroup
				for range clients {
					wg.Go(func() {
						blob, err := r.Blob(b.Context(), alpine, d, 0)
						if err != nil {
							b.Error(err)
							return
						}
						defer blob.Body.Close()
						buf := make([]byte, 32<<10)
						if n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{blob.Body}, buf); err != nil || n != fastSize {
							b.Errorf("got %d bytes, %v", n, err)
						}
					})
				}
				wg.Wait()
			}
		})
	}
}
