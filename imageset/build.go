package imageset

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	ispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
)

// A builder makes images upon others: a layer more, and another command.
type builder struct {
	from    oci.Reader
	name    ref.Name // where the base is
	out     *shelf   // where new content goes
	layer   []byte   // a tar
	comment string   // what the layer is
	command []string
}

// dockerLayer is what Docker's manifests call a compressed layer.
const dockerLayer = "application/vnd.docker.image.rootfs.diff.tar.gzip"

// build makes the image, or the index of those of all platforms. The same base
// and layer make the same bytes.
func (b *builder) build(ctx context.Context, m oci.Manifest) (oci.Manifest, error) {
	links, err := m.Links()
	if err != nil {
		return m, err
	}
	if oci.IsIndex(m.MediaType) {
		return b.index(ctx, m, links)
	}
	if links.Config == nil {
		return m, errors.New("the base is no image")
	}
	config, err := b.config(ctx, *links.Config)
	if err != nil {
		return m, err
	}
	packed, err := pack(b.layer)
	if err != nil {
		return m, err
	}
	layer := b.blob(ispec.MediaTypeImageLayerGzip, packed)
	if strings.HasPrefix(m.MediaType, "application/vnd.docker.") {
		layer.MediaType = dockerLayer
	}
	doc := ispec.Manifest{MediaType: m.MediaType, Config: config, Layers: append(links.Layers, layer)}
	doc.SchemaVersion = 2
	return b.manifest(m.MediaType, doc)
}

// index makes the images of an index.
func (b *builder) index(ctx context.Context, m oci.Manifest, links oci.Links) (oci.Manifest, error) {
	index := ispec.Index{MediaType: m.MediaType}
	for _, d := range platformsOf(links.Manifests) {
		child, err := b.from.Manifest(ctx, b.name.WithDigest(d.Digest))
		if err != nil {
			return m, err
		}
		built, err := b.build(ctx, child)
		if err != nil {
			return m, err
		}
		next := built.Descriptor()
		next.Platform = d.Platform
		index.Manifests = append(index.Manifests, next)
	}
	if len(index.Manifests) == 0 {
		return m, errors.New("the base has no image of a platform")
	}
	index.SchemaVersion = 2
	return b.manifest(m.MediaType, index)
}

// manifest keeps a new manifest.
func (b *builder) manifest(mediaType string, doc any) (oci.Manifest, error) {
	raw, err := json.Marshal(doc)
	if err != nil {
		return oci.Manifest{}, err
	}
	m := oci.Manifest{MediaType: mediaType, Digest: oci.FromBytes(raw, ""), Raw: raw}
	return m, b.out.put(m, "")
}

func (b *builder) blob(mediaType string, data []byte) oci.Descriptor {
	d := oci.FromBytes(data, "")
	b.out.blobs[d] = data
	return oci.Descriptor{MediaType: mediaType, Digest: d, Size: int64(len(data))}
}

// pack compresses a layer, without a time in its header.
func pack(layer []byte) ([]byte, error) {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write(layer); err != nil {
		return nil, err
	}
	err := w.Close()
	return out.Bytes(), err
}

// config makes the configuration of a new image. What it does not know of the
// old one stays as it is.
func (b *builder) config(ctx context.Context, d oci.Descriptor) (oci.Descriptor, error) {
	blob, err := b.from.Blob(ctx, b.name, d.Digest, 0)
	if err != nil {
		return d, err
	}
	defer blob.Body.Close() // it was read
	raw, err := io.ReadAll(io.LimitReader(oci.VerifyReader(blob.Body, d.Digest, d.Size), oci.MaxManifest+1))
	if err != nil {
		return d, err
	}
	if len(raw) > oci.MaxManifest {
		return d, oci.Errorf(oci.ErrTooLarge, "", "the configuration of the base is larger than %d MiB", oci.MaxManifest>>20)
	}
	var doc map[string]json.RawMessage
	if err := json.Unmarshal(raw, &doc); err != nil {
		return d, fmt.Errorf("the configuration of the base: %w", err)
	}
	for name, change := range map[string]func([]byte) (any, error){"config": b.run, "rootfs": b.rootfs, "history": b.history} {
		v, err := change(doc[name])
		if err == nil {
			doc[name], err = json.Marshal(v)
		}
		if err != nil {
			return d, fmt.Errorf("the configuration of the base: %s: %w", name, err)
		}
	}
	raw, err = json.Marshal(doc)
	return b.blob(d.MediaType, raw), err
}

// run changes what the image runs.
func (b *builder) run(raw []byte) (any, error) {
	doc := map[string]any{}
	if len(raw) > 0 && string(raw) != "null" {
		if err := json.Unmarshal(raw, &doc); err != nil {
			return nil, err
		}
	}
	delete(doc, "Entrypoint")
	doc["Cmd"] = b.command
	return doc, nil
}

// rootfs adds the layer, by the digest of what it is unpacked.
func (b *builder) rootfs(raw []byte) (any, error) {
	var doc struct {
		Type  string       `json:"type"`
		Diffs []oci.Digest `json:"diff_ids"`
	}
	if err := json.Unmarshal(raw, &doc); err != nil {
		return nil, err
	}
	doc.Diffs = append(doc.Diffs, oci.FromBytes(b.layer, ""))
	return doc, nil
}

// history adds a line, without a time.
func (b *builder) history(raw []byte) (any, error) {
	var lines []json.RawMessage
	if len(raw) > 0 {
		if err := json.Unmarshal(raw, &lines); err != nil {
			return nil, err
		}
	}
	line, err := json.Marshal(map[string]string{"created_by": "entrepot", "comment": b.comment})
	return append(lines, line), err
}
