package catalog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
)

// The labels of catalog images (operator-registry, pkg/containertools).
const (
	labelConfigs  = "operators.operatorframework.io.index.configs.v1"
	labelDatabase = "operators.operatorframework.io.index.database.v1"
)

// ErrNoCatalog is wrapped by the error for an image that is no catalog.
var ErrNoCatalog = errors.New("the image is no operator catalog")

// maxConfig is the largest configuration of an image that is read, in bytes.
const maxConfig = 8 << 20

// An Image is a catalog's image, as far as it was looked at.
type Image struct {
	// Ref is the reference that was asked for.
	Ref ref.Ref
	// Digest and MediaType are those of what the reference names: an image, or the
	// index of one for several platforms.
	Digest    oci.Digest
	MediaType string
	// Platform is that of the image whose files were read, "linux/amd64" where there
	// is a choice: all have the same catalog. "" for an image without an index.
	Platform string
	// Configs is the catalog's directory in the image, "/configs".
	Configs string

	tree *tree
}

// imageConfig is what is read of an image's configuration.
type imageConfig struct {
	Config struct {
		Entrypoint []string          `json:"Entrypoint"`
		Cmd        []string          `json:"Cmd"`
		Labels     map[string]string `json:"Labels"`
	} `json:"config"`
}

// FromImage reads the catalog in an image, from the directory that its label
// operators.operatorframework.io.index.configs.v1 names. Of an index one platform's
// image is read. Layers are read as they come, and nothing is written. An image that
// is none of a catalog is an error that wraps ErrNoCatalog, before any layer is
// read.
func FromImage(ctx context.Context, from oci.Reader, r ref.Ref) (*Catalog, *Image, error) {
	if r.Name != (ref.Name{}) { // in a layout it may be the only one, without any name
		r = r.WithDefaultTag()
	}
	top, err := from.Manifest(ctx, r)
	if err != nil {
		return nil, nil, err
	}
	image := &Image{Ref: r, Digest: top.Digest, MediaType: top.MediaType}
	links, err := image.choose(ctx, from, top, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", r, err)
	}
	c, err := image.read(ctx, from, links)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", r, err)
	}
	return c, image, nil
}

// choose returns what an image consists of; of an index that of linux/amd64, or the
// first that is there.
func (i *Image) choose(ctx context.Context, from oci.Reader, m oci.Manifest, depth int) (oci.Links, error) {
	links, err := m.Links()
	if err != nil || !oci.IsIndex(m.MediaType) {
		return links, err
	}
	if depth > 1 {
		return links, errors.New("indexes of indexes of indexes are not read")
	}
	choices := slices.DeleteFunc(slices.Clone(links.Manifests), isAttestation)
	slices.SortStableFunc(choices, func(a, b oci.Descriptor) int { return rank(a) - rank(b) })
	err = fmt.Errorf("%w: its index has no image", ErrNoCatalog)
	for _, d := range choices {
		child, wrong := from.Manifest(ctx, ref.Ref{Name: i.Ref.Name, Digest: d.Digest})
		if errors.Is(wrong, oci.ErrNotFound) {
			err = wrong // a sparse copy has not every platform
			continue
		} else if wrong != nil {
			return links, wrong
		}
		if d.Platform != nil {
			i.Platform = path.Join(d.Platform.OS, d.Platform.Architecture, d.Platform.Variant)
		}
		return i.choose(ctx, from, child, depth+1)
	}
	return links, err
}

// isAttestation reports whether an index has an entry for what is said about its
// images rather than for one more.
func isAttestation(d oci.Descriptor) bool {
	return d.Annotations["vnd.docker.reference.type"] != "" || d.Platform != nil && d.Platform.OS == "unknown" || !oci.IsManifest(d.MediaType)
}

func rank(d oci.Descriptor) int {
	if d.Platform != nil && d.Platform.OS == "linux" && d.Platform.Architecture == "amd64" {
		return 0
	}
	return 1
}

// read reads the catalog's files out of the image's layers.
func (i *Image) read(ctx context.Context, from oci.Reader, links oci.Links) (*Catalog, error) {
	if links.Config == nil {
		return nil, ErrNoCatalog
	}
	var config imageConfig
	raw, err := readBlob(ctx, from, i.Ref.Name, *links.Config, maxConfig)
	if err != nil {
		return nil, fmt.Errorf("read its configuration: %w", err)
	}
	if err := json.Unmarshal(raw, &config); err != nil {
		return nil, fmt.Errorf("%w: its configuration is none of an image", ErrNoCatalog)
	}
	dir, err := configsDir(config.Config.Labels)
	if err != nil {
		return nil, err
	}
	i.Configs = "/" + dir
	i.tree = newTree(dir, cacheDirs(config))
	for _, layer := range links.Layers {
		if err := i.tree.readLayer(ctx, from, i.Ref.Name, layer); err != nil {
			return nil, fmt.Errorf("layer %s: %w", layer.Digest, err)
		}
	}
	files, err := i.tree.files()
	if err != nil {
		return nil, err
	}
	c, err := readFiles(files)
	if err != nil {
		return nil, fmt.Errorf("its catalog in %s: %w", i.Configs, err)
	}
	return c, nil
}

// configsDir returns the catalog's directory, without the slash at its start.
func configsDir(labels map[string]string) (string, error) {
	dir, ok := labels[labelConfigs]
	if !ok {
		if labels[labelDatabase] != "" {
			return "", fmt.Errorf("%w of files: it has a database (label %s), which `opm migrate` turns into files", ErrNoCatalog, labelDatabase)
		}
		return "", fmt.Errorf("%w: it has no label %s", ErrNoCatalog, labelConfigs)
	}
	clean := cleanPath(dir)
	if clean == "" {
		return "", fmt.Errorf("its label %s is %q, which is not a directory below the root", labelConfigs, dir)
	}
	return clean, nil
}

// cleanPath returns a path in an image without the slash at its start; "" is the
// root.
func cleanPath(name string) string { return strings.TrimPrefix(path.Clean("/"+name), "/") }

// readBlob reads a small blob whole and verifies it.
func readBlob(ctx context.Context, from oci.Reader, n ref.Name, d oci.Descriptor, most int64) ([]byte, error) {
	if d.Size > most {
		return nil, oci.Errorf(oci.ErrTooLarge, "", "%s has %d bytes, at most %d are read", d.Digest, d.Size, most)
	}
	b, err := from.Blob(ctx, n, d.Digest, 0)
	if err != nil {
		return nil, err
	}
	defer b.Body.Close()
	return io.ReadAll(oci.VerifyReader(io.LimitReader(b.Body, d.Size+1), d.Digest, d.Size))
}
