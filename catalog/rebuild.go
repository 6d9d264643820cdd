package catalog

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"

	ispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
)

// FilteredFrom is the label, and where its format has them the annotation, by which
// a filtered catalog's image says what it is: the digest of the image that it was made
// from.
const FilteredFrom = "entrepot.dev/filtered-from"

// A Rebuilt is a new image, made for a filtered catalog: only what is not in the
// image that it was made from.
type Rebuilt struct {
	// Manifest is the image, or the index of those of all platforms.
	Manifest oci.Manifest
	// Manifests are all new manifests, those that another names before it;
	// Manifest is the last one.
	Manifests []oci.Manifest
	// Blobs are all new blobs: configurations and layers.
	Blobs map[oci.Digest][]byte
}

// Rebuild makes the image of a filtered catalog out of the one that the whole catalog
// was read from: the same layers and on top of them two, of which one takes away the
// catalog's directory and opm's cache, and the other has the new catalog. opm is told
// to serve without a cache. An image for several platforms is made again for all that
// the source has; what is said about the old images, as their attestations, is left
// out. The same image and catalog make the same bytes.
func Rebuild(ctx context.Context, from oci.Reader, image *Image, c *Catalog) (*Rebuilt, error) {
	b := &builder{from: from, image: image, out: &Rebuilt{Blobs: map[oci.Digest][]byte{}}}
	for _, fill := range []func(*layerWriter) error{b.remove, func(w *layerWriter) error { return b.add(w, c) }} {
		plain, err := b.write(fill)
		if err != nil {
			return nil, err
		}
		if err := b.layer(plain); err != nil {
			return nil, err
		}
	}
	top, err := from.Manifest(ctx, ref.Ref{Name: image.Ref.Name, Digest: image.Digest})
	if err == nil {
		_, err = b.manifest(ctx, top)
	}
	if err != nil {
		return nil, fmt.Errorf("rebuild %s: %w", image.Ref, err)
	}
	b.out.Manifest = b.out.Manifests[len(b.out.Manifests)-1]
	return b.out, nil
}

// A builder makes one image.
type builder struct {
	from   oci.Reader
	image  *Image
	out    *Rebuilt
	layers []oci.Descriptor // the new ones; their media type is that of each manifest
	diffs  []oci.Digest     // of what they are unpacked
}

// layer adds a layer to those that every platform gets.
func (b *builder) layer(plain []byte) error {
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed) // no name and no time in its header
	if _, err := w.Write(plain); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	b.diffs = append(b.diffs, oci.FromBytes(plain, ""))
	b.layers = append(b.layers, b.blob("", packed.Bytes()))
	return nil
}

func (b *builder) blob(mediaType string, data []byte) oci.Descriptor {
	d := oci.Descriptor{MediaType: mediaType, Digest: oci.FromBytes(data, ""), Size: int64(len(data))}
	b.out.Blobs[d.Digest] = data
	return d
}

// A layerWriter writes a layer that is always the same for the same content.
type layerWriter struct {
	*tar.Writer
	tree *tree
	made map[string]bool // :: directory → true
}

// directory writes a directory and those above it, with the modes that they have in
// the image: some tools give a directory that a layer has no entry for another one.
func (w *layerWriter) directory(name string) error {
	if name == "" || name == "." || w.made[name] {
		return nil
	}
	if err := w.directory(path.Dir(name)); err != nil {
		return err
	}
	w.made[name] = true
	d, known := w.tree.dirs[name]
	if !known {
		d = dir{mode: 0o755}
	}
	return w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: d.mode, Uid: d.uid, Gid: d.gid})
}

// file writes a file and the directories above it.
func (w *layerWriter) file(name string, data []byte) error {
	if err := w.directory(path.Dir(name)); err != nil {
		return err
	}
	if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(data))}); err != nil {
		return err
	}
	_, err := w.Write(data)
	return err
}

// remove takes away the catalog and the cache. They have whiteouts of their own, in a
// layer of its own: not every tool knows opaque ones.
func (b *builder) remove(w *layerWriter) error {
	gone := []string{b.image.tree.configs}
	for _, cache := range b.image.tree.caches {
		if _, there := b.image.tree.dirs[cache]; there && !below(b.image.tree.configs, cache) {
			gone = append(gone, cache)
		}
	}
	slices.Sort(gone)
	for _, name := range slices.Compact(gone) {
		if err := w.file(path.Join(path.Dir(name), whiteout+path.Base(name)), nil); err != nil {
			return err
		}
	}
	return nil
}

// add writes the catalog's files.
func (b *builder) add(w *layerWriter, c *Catalog) error {
	if err := w.directory(b.image.tree.configs); err != nil {
		return err
	}
	for _, f := range c.Files() {
		if err := w.file(path.Join(b.image.tree.configs, f.Path), f.Data); err != nil {
			return err
		}
	}
	return nil
}

func (b *builder) write(fill func(*layerWriter) error) ([]byte, error) {
	var out bytes.Buffer
	w := &layerWriter{Writer: tar.NewWriter(&out), tree: b.image.tree, made: map[string]bool{}}
	if err := fill(w); err != nil {
		return nil, err
	}
	err := w.Close()
	return out.Bytes(), err
}

// manifest makes a manifest again and returns the descriptor of the new one.
func (b *builder) manifest(ctx context.Context, m oci.Manifest) (oci.Descriptor, error) {
	if oci.IsIndex(m.MediaType) {
		return b.index(ctx, m)
	}
	var v ispec.Manifest
	if err := json.Unmarshal(m.Raw, &v); err != nil {
		return oci.Descriptor{}, err
	}
	config, err := b.config(ctx, v.Config, m.Digest)
	if err != nil {
		return oci.Descriptor{}, err
	}
	v.Config, v.Subject = config, nil
	layerType := ispec.MediaTypeImageLayerGzip
	if m.MediaType == oci.TypeDockerManifest {
		layerType = "application/vnd.docker.image.rootfs.diff.tar.gzip"
	} else {
		v.Annotations = b.annotate(v.Annotations, m.Digest)
	}
	for _, d := range b.layers {
		d.MediaType = layerType
		v.Layers = append(v.Layers, d)
	}
	return b.keep(m.MediaType, v)
}

// index makes an index again, of the images that the source has.
func (b *builder) index(ctx context.Context, m oci.Manifest) (oci.Descriptor, error) {
	var v ispec.Index
	if err := json.Unmarshal(m.Raw, &v); err != nil {
		return oci.Descriptor{}, err
	}
	images := slices.DeleteFunc(slices.Clone(v.Manifests), isAttestation)
	v.Manifests = nil
	for _, old := range images {
		child, err := b.from.Manifest(ctx, ref.Ref{Name: b.image.Ref.Name, Digest: old.Digest})
		if errors.Is(err, oci.ErrNotFound) {
			continue
		}
		if err != nil {
			return oci.Descriptor{}, err
		}
		d, err := b.manifest(ctx, child)
		if err != nil {
			return oci.Descriptor{}, err
		}
		d.Platform = old.Platform
		v.Manifests = append(v.Manifests, d)
	}
	v.Subject = nil
	if m.MediaType == oci.TypeImageIndex {
		v.Annotations = b.annotate(v.Annotations, m.Digest)
	}
	return b.keep(m.MediaType, v)
}

// annotate returns annotations that say what the image is made from.
func (b *builder) annotate(had map[string]string, from oci.Digest) map[string]string {
	all := maps.Clone(had)
	if all == nil {
		all = map[string]string{}
	}
	all[FilteredFrom] = string(from)
	return all
}

// keep adds a manifest to what is new.
func (b *builder) keep(mediaType string, v any) (oci.Descriptor, error) {
	raw, err := json.Marshal(v)
	if err != nil {
		return oci.Descriptor{}, err
	}
	m := oci.Manifest{MediaType: mediaType, Digest: oci.FromBytes(raw, ""), Raw: raw}
	b.out.Manifests = append(b.out.Manifests, m)
	return m.Descriptor(), nil
}

// config makes an image's configuration again. What is not known of it stays.
func (b *builder) config(ctx context.Context, d oci.Descriptor, from oci.Digest) (oci.Descriptor, error) {
	raw, err := readBlob(ctx, b.from, b.image.Ref.Name, d, maxConfig)
	if err != nil {
		return oci.Descriptor{}, fmt.Errorf("read its configuration: %w", err)
	}
	c, err := parseConfig(raw)
	if err != nil {
		return oci.Descriptor{}, fmt.Errorf("its configuration %s: %w", d.Digest, err)
	}
	if raw, err = c.filtered(from, b.diffs); err != nil {
		return oci.Descriptor{}, err
	}
	return b.blob(d.MediaType, raw), nil
}
