package e2e

import (
	"encoding/json"
	"net/http"
	"testing"

	"github.com/entrepot/entrepot/oci"
	ispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2"
	layout "oras.land/oras-go/v2/content/oci"
	"oras.land/oras-go/v2/registry/remote"
)

// TestSignedImage: an image has a signature as its referrer at a registry that
// lacks the referrers API, as distribution v3 does, so that it is listed under
// the fallback tag. Through Entrepot it is found by every route, and a client
// that takes referrers along takes it.
func TestSignedImage(t *testing.T) {
	o := startOrigin(t)
	im := newImage("real/signed", "v1")
	im.platform(t, "amd64", false, layer{kit.tar(t, "bash"), gzipped})
	artifact, list := signature(t, im.repo, im.root().Descriptor())
	for _, part := range []*image{im, artifact, list} {
		push(t, o.direct, part)
	}
	e := serve(t, serving{upstreams: []upstream{{name: firstUpstream, url: o.url, more: "default = true"}}})

	for name, path := range map[string]string{
		"ns":      im.repo + "/referrers/" + string(im.root().Digest) + "?ns=" + firstUpstream,
		"prefix":  firstUpstream + "/" + im.repo + "/referrers/" + string(im.root().Digest),
		"default": im.repo + "/referrers/" + string(im.root().Digest),
	} {
		t.Run(name, func(t *testing.T) {
			a := get(t, http.MethodGet, e.url+"/v2/"+path)
			a.status(t, http.StatusOK, "")
			a.header(t, "Content-Type: "+oci.TypeImageIndex)
			var index ispec.Index
			if err := json.Unmarshal(a.body, &index); err != nil || len(index.Manifests) != 1 {
				t.Fatalf("the referrers are %s (%v), want one", a.body, err)
			}
			if got := index.Manifests[0]; got.Digest != artifact.root().Digest || got.ArtifactType != signatureType || got.Annotations["by"] != "e2e" {
				t.Errorf("the referrer is %+v, want the signature %s", got, artifact.root().Digest)
			}
		})
	}
	t.Run("oras-go", func(t *testing.T) {
		repo, err := remote.NewRepository(e.address() + "/" + firstUpstream + "/" + im.repo)
		if err != nil {
			t.Fatal(err)
		}
		repo.PlainHTTP = true
		dir := t.TempDir()
		store, err := layout.New(dir)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := oras.ExtendedCopy(t.Context(), repo, im.tag, store, im.tag, oras.DefaultExtendedCopyOptions); err != nil {
			t.Fatalf("oras.ExtendedCopy: %v", err)
		}
		sameLayout(t, dir, im)
		sameLayout(t, dir, artifact)
	})
}
