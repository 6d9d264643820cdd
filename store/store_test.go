package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
)

// open opens a store that is closed with the test.
func open(t testing.TB, dir string, cfg Config) *Store {
	t.Helper()
	s, err := Open(dir, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// source serves content from memory.
func source(content []byte) oci.Source {
	return func(_ context.Context, off int64) (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(content[off:])), nil
	}
}

// pushBlob pushes content and returns its descriptor.
func pushBlob(t testing.TB, v *Vault, n ref.Name, content string) oci.Descriptor {
	t.Helper()
	d := oci.Descriptor{MediaType: blobType, Digest: oci.FromBytes([]byte(content), ""), Size: int64(len(content))}
	if err := v.PutBlob(t.Context(), n, d, source([]byte(content))); err != nil {
		t.Fatal(err)
	}
	return d
}

// imageOf returns an image manifest of blobs, the first of them its config.
func imageOf(extra string, blobs ...oci.Descriptor) oci.Manifest {
	var layers []string
	for _, b := range blobs[1:] {
		layers = append(layers, descriptor(b))
	}
	return manifestOf(oci.TypeImageManifest, fmt.Sprintf(`{"schemaVersion":2,"config":%s,"layers":[%s]%s}`,
		descriptor(blobs[0]), strings.Join(layers, ","), extra))
}

func indexOf(children ...oci.Descriptor) oci.Manifest {
	var list []string
	for _, c := range children {
		list = append(list, descriptor(c))
	}
	return manifestOf(oci.TypeImageIndex, `{"schemaVersion":2,"manifests":[`+strings.Join(list, ",")+`]}`)
}

func descriptor(d oci.Descriptor) string {
	return fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":%d}`, d.MediaType, d.Digest, d.Size)
}

func manifestOf(mediaType, raw string) oci.Manifest {
	return oci.Manifest{MediaType: mediaType, Digest: oci.FromBytes([]byte(raw), ""), Raw: []byte(raw)}
}

var app = ref.Name{Path: "team/app"}

func TestPushAndPull(t *testing.T) {
	ctx := t.Context()
	v := open(t, t.TempDir(), Config{}).Vault()
	config, layer := pushBlob(t, v, app, "{}"), pushBlob(t, v, app, "layer")
	m := imageOf("", config, layer)
	if err := v.PutManifest(ctx, app, m, "latest", "V1"); err != nil {
		t.Fatal(err)
	}
	for _, r := range []ref.Ref{app.WithTag("latest"), app.WithTag("V1"), app.WithDigest(m.Digest)} {
		got, err := v.Manifest(ctx, r)
		if err != nil || !bytes.Equal(got.Raw, m.Raw) || got.MediaType != m.MediaType {
			t.Errorf("Manifest(%s) = %+v, %v", r, got, err)
		}
	}
	b, err := v.Blob(ctx, app, layer.Digest, 2)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Body.Close()
	if got, _ := io.ReadAll(b.Body); string(got) != "yer" || b.Size != 5 {
		t.Errorf("Blob at 2 = %q of %d", got, b.Size)
	}
	if _, err := v.Manifest(ctx, app.WithTag("v1")); !errors.Is(err, oci.ErrNotFound) {
		t.Errorf("tag in other case: got %v, want ErrNotFound", err)
	}
}
