package document

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
)

// The annotations of a bundle in a registry (CNAB core specification, section
// 201), and the media types that its bundle.json has there: the specification's
// and cnab-to-oci's.
const (
	cnabType      = "io.cnab.manifest.type"
	cnabComponent = "io.cnab.component.name"

	cnabConfig     = "application/vnd.cnab.bundle.config.v1+json"
	cnabToOCI      = "application/vnd.cnab.config.v1+json"
	ociImageConfig = "application/vnd.oci.image.config.v1+json"
)

// A storedIndex is the index or manifest of a bundle in a registry.
type storedIndex struct {
	Manifests []oci.Descriptor `json:"manifests"`
	Config    oci.Descriptor   `json:"config"`
	Layers    []oci.Descriptor `json:"layers"`
}

// FetchBundle reads a CNAB bundle that is stored in a registry, as cnab-to-oci
// and Porter store it, as an input. Its Mapping says that the images are where
// the bundle is. An index that is no bundle is an error that wraps ErrUnknown.
func FetchBundle(ctx context.Context, from oci.Reader, r ref.Ref) (Input, error) {
	in, err := fetchBundle(ctx, from, r.WithDefaultTag())
	if err != nil {
		return Input{}, fmt.Errorf("read the bundle %s: %w", r, err)
	}
	in.Name, in.Path, in.Kind = r.String(), "bundle.json", Bundle
	return in, nil
}

func fetchBundle(ctx context.Context, from oci.Reader, r ref.Ref) (Input, error) {
	m, err := from.Manifest(ctx, r)
	if err != nil {
		return Input{}, err
	}
	var index storedIndex
	if err := json.Unmarshal(m.Raw, &index); err != nil {
		return Input{}, err
	}
	config := oci.Descriptor{}
	for _, d := range index.Manifests {
		if d.Annotations[cnabType] == "config" {
			config = d
		}
	}
	if config.Digest == "" {
		return Input{}, fmt.Errorf("%w: it is no index of a bundle, which has a manifest with %s=config", ErrUnknown, cnabType)
	}
	data, err := fetchConfig(ctx, from, r.Name, config)
	if err != nil {
		return Input{}, err
	}
	in := Input{Data: data}
	in.Mapping, err = storedMapping(r.Name, index.Manifests, data)
	return in, err
}

// fetchConfig returns the bundle.json that a manifest has: as its config, or
// where the registry took none of the media types as a layer.
func fetchConfig(ctx context.Context, from oci.Reader, n ref.Name, d oci.Descriptor) ([]byte, error) {
	digest, err := ref.ParseDigest(string(d.Digest))
	if err != nil {
		return nil, err
	}
	m, err := from.Manifest(ctx, n.WithDigest(digest))
	if err != nil {
		return nil, err
	}
	var manifest storedIndex
	if err := json.Unmarshal(m.Raw, &manifest); err != nil {
		return nil, err
	}
	for _, d := range append([]oci.Descriptor{manifest.Config}, manifest.Layers...) {
		switch d.MediaType {
		case cnabConfig, cnabToOCI, ociImageConfig:
			return fetchBlob(ctx, from, n, d)
		}
	}
	if len(manifest.Layers) == 1 {
		return fetchBlob(ctx, from, n, manifest.Layers[0])
	}
	return nil, errors.New("it has no bundle.json, neither as a config nor as a layer")
}

// fetchBlob reads a small blob and verifies it.
func fetchBlob(ctx context.Context, from oci.Reader, n ref.Name, d oci.Descriptor) ([]byte, error) {
	digest, err := ref.ParseDigest(string(d.Digest))
	if err != nil {
		return nil, err
	}
	b, err := from.Blob(ctx, n, digest, 0)
	if err != nil {
		return nil, err
	}
	defer b.Body.Close()
	data, err := io.ReadAll(io.LimitReader(b.Body, maxBundle+1))
	switch {
	case err != nil:
		return nil, err
	case len(data) > maxBundle:
		return nil, fmt.Errorf("the bundle.json is larger than %d MiB", maxBundle>>20)
	case oci.FromBytes(data, digest) != digest:
		return nil, fmt.Errorf("the bundle.json has not the digest %s", digest)
	}
	return data, nil
}

// storedMapping says for each image of a bundle where the index has it.
func storedMapping(n ref.Name, manifests []oci.Descriptor, bundle []byte) (Mapping, error) {
	var b struct {
		InvocationImages []struct{ Image string }
		Images           map[string]struct{ Image string }
	}
	if err := json.Unmarshal(bundle, &b); err != nil {
		return nil, fmt.Errorf("the bundle.json: %w", err)
	}
	m := Mapping{}
	for _, d := range manifests {
		digest, err := ref.ParseDigest(string(d.Digest))
		if err != nil {
			return nil, err
		}
		at := n.WithDigest(digest).String()
		switch d.Annotations[cnabType] {
		case "invocation":
			for _, i := range b.InvocationImages {
				m[i.Image] = at
			}
		case "component":
			name := d.Annotations[cnabComponent]
			if _, ok := b.Images[name]; !ok {
				return nil, fmt.Errorf("the index has the component %q, which the bundle.json does not name", name)
			}
			m[b.Images[name].Image] = at
		}
	}
	return m, nil
}
