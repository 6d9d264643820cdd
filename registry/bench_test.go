package registry

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/entrepot/entrepot/access"
	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
)

// oneManifest is the quickest backend there can be.
type oneManifest struct {
	oci.Reader
	m oci.Manifest
}

func (o oneManifest) Manifest(ctx context.Context, _ ref.Ref) (oci.Manifest, error) {
	oci.OutcomeOf(ctx).Result = oci.Hit
	return o.m, nil
}

func manifestHandler(b testing.TB) (*Handler, oci.Manifest) {
	raw := make([]byte, 1500)
	m := oci.Manifest{MediaType: oci.TypeImageManifest, Digest: oci.FromBytes(raw, ""), Raw: raw}
	h, err := New(Config{
		Routes:  Routes{Upstreams: []Upstream{{Name: "docker.io", Default: true}, {Name: "ghcr.io"}, {Name: "quay.io"}}},
		Proxied: oneManifest{m: m},
		Access:  access.Policy{Anonymous: access.Pull},
		Observe: func(Event) {},
	})
	if err != nil {
		b.Fatal(err)
	}
	return h, m
}

// BenchmarkManifest measures this package alone, without net/http.
func BenchmarkManifest(b *testing.B) {
	h, m := manifestHandler(b)
	for name, path := range map[string]string{
		"digest": "/v2/library/alpine/manifests/" + string(m.Digest) + "?ns=docker.io",
		"tag":    "/v2/docker.io/library/alpine/manifests/3.20",
	} {
		b.Run(name, func(b *testing.B) {
			r := httptest.NewRequest(http.MethodGet, path, nil)
			b.ReportAllocs()
			for b.Loop() {
				h.ServeHTTP(&discardWriter{header: http.Header{}}, r)
			}
		})
	}
}

type discardWriter struct{ header http.Header }

func (w *discardWriter) Header() http.Header         { return w.header }
func (w *discardWriter) Write(p []byte) (int, error) { return len(p), nil }
func (w *discardWriter) WriteHeader(int)             {}

// BenchmarkManifestHTTP measures whole requests over loopback connections,
// client included.
func BenchmarkManifestHTTP(b *testing.B) {
	h, m := manifestHandler(b)
	srv := httptest.NewServer(h)
	defer srv.Close()
	request := []byte("GET /v2/library/alpine/manifests/" + string(m.Digest) + "?ns=docker.io HTTP/1.1\r\nHost: x\r\n\r\n")
	b.SetParallelism(16)
	b.RunParallel(func(pb *testing.PB) {
		conn, err := net.Dial("tcp", srv.Listener.Addr().String())
		if err != nil {
			b.Error(err)
			return
		}
		defer conn.Close()
		buf, size := make([]byte, 8<<10), 0
		for pb.Next() {
			if _, err := conn.Write(request); err != nil {
				b.Error(err)
				return
			}
			if size == 0 { // every answer is as long as the first
				size, err = conn.Read(buf)
			} else {
				_, err = io.ReadFull(conn, buf[:size])
			}
			if err != nil {
				b.Error(err)
				return
			}
		}
	})
}

// BenchmarkBlobHTTP measures a stored blob over one loopback connection. It is
// about three times slower where the kernel does not copy the file.
func BenchmarkBlobHTTP(b *testing.B) {
	const size = 64 << 20
	name := filepath.Join(b.TempDir(), "blob")
	if err := os.WriteFile(name, make([]byte, size), 0o600); err != nil {
		b.Fatal(err)
	}
	h, err := New(Config{Hosted: oneFile{name: name, size: size}, Access: access.Policy{Anonymous: access.Pull}})
	if err != nil {
		b.Fatal(err)
	}
	srv := httptest.NewServer(h)
	defer srv.Close()
	conn, err := net.Dial("tcp", srv.Listener.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	request := []byte("GET /v2/apps/x/blobs/" + string(oci.FromBytes(nil, "")) + " HTTP/1.1\r\nHost: x\r\n\r\n")
	buf := make([]byte, 1<<20)
	b.SetBytes(size)
	for b.Loop() {
		if _, err := conn.Write(request); err != nil {
			b.Fatal(err)
		}
		n, err := conn.Read(buf) // the header, and perhaps the beginning
		if err != nil {
			b.Fatal(err)
		}
		head := bytes.Index(buf[:n], []byte("\r\n\r\n")) + 4
		if _, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, io.LimitReader(conn, int64(size-(n-head))), buf); err != nil {
			b.Fatal(err)
		}
	}
}

type oneFile struct {
	oci.Reader
	name string
	size int64
}

func (o oneFile) Blob(_ context.Context, _ ref.Name, d oci.Digest, _ int64) (oci.Blob, error) {
	f, err := os.Open(o.name)
	return oci.Blob{Descriptor: oci.Descriptor{Digest: d, Size: o.size}, Body: f}, err
}
