package store

import (
	"context"
	"io"
	"testing"

	"github.com/entrepot/entrepot/oci"
)

func BenchmarkWarm(b *testing.B) {
	s := open(b, b.TempDir(), Config{})
	c, v := s.Cache(), s.Vault()
	m := someManifest()
	putManifest(b, c, m)
	if err := c.PutTag(scope, hub, "latest", TagRecord{Digest: m.Digest}); err != nil {
		b.Fatal(err)
	}
	if err := c.Link(scope, hub, m.Digest); err != nil {
		b.Fatal(err)
	}
	pushed := pushImage(b, v, app, "one", "latest")
	layer := digestOf("layer of one")
	fill(b, c, "layer of one")
	ctx := context.Background()
	for name, do := range map[string]func() error{
		"cache tag":      func() error { _, err := c.Tag(scope, hub, "latest"); return err },
		"cache manifest": func() error { _, err := c.Manifest(scope, hub, m.Digest); return err },
		"cache link": func() error {
			if !c.Linked(scope, hub, m.Digest) {
				return oci.ErrNotFound
			}
			return nil
		},
		"vault manifest by tag":    func() error { _, err := v.Manifest(ctx, app.WithTag("latest")); return err },
		"vault manifest by digest": func() error { _, err := v.Manifest(ctx, app.WithDigest(pushed.Digest)); return err },
		"cache open": func() error {
			f, _, err := c.Open(layer)
			if err == nil {
				err = f.Close()
			}
			return err
		},
		"vault open": func() error {
			blob, err := v.Blob(ctx, app, layer, 0)
			if err == nil {
				err = blob.Body.Close()
			}
			return err
		},
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.RunParallel(func(p *testing.PB) {
				for p.Next() {
					if err := do(); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}

// BenchmarkTakeIn measures what a download and a push cost beside the network.
func BenchmarkTakeIn(b *testing.B) {
	const size = 64 << 20
	content := make([]byte, bufferSize)
	d := func() oci.Digest {
		h := oci.Algorithm("").Hash()
		for range size / bufferSize {
			h.Write(content)
		}
		return oci.FromHash("sha256:x", h)
	}()
	b.Run("spool", func(b *testing.B) {
		c := open(b, b.TempDir(), Config{}).Cache()
		b.SetBytes(size)
		for b.Loop() {
			sp, err := c.Spool(d, size)
			if err != nil {
				b.Fatal(err)
			}
			for range size / bufferSize {
				if _, err := sp.Write(content); err != nil {
					b.Fatal(err)
				}
			}
			if err := sp.Commit(b.Context()); err != nil {
				b.Fatal(err)
			}
			sp.Release()
		}
	})
	b.Run("upload", func(b *testing.B) {
		v := open(b, b.TempDir(), Config{}).Vault()
		b.SetBytes(size)
		for b.Loop() {
			u, err := v.NewUpload(b.Context(), app, "")
			if err != nil {
				b.Fatal(err)
			}
			if _, err := u.Append(b.Context(), 0, io.LimitReader(zeros{}, size)); err != nil {
				b.Fatal(err)
			}
			if _, err := u.Commit(b.Context(), d); err != nil {
				b.Fatal(err)
			}
		}
	})
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }
