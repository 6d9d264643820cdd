package layout

import (
	"encoding/json"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
	ispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Media types of what docker save writes.
const (
	typeDockerConfig = "application/vnd.docker.container.image.v1+json"
	typeDockerLayer  = "application/vnd.docker.image.rootfs.diff.tar"
)

// A dockerImage is an entry of manifest.json, as docker save, podman, skopeo
// and crane write it.
type dockerImage struct {
	Config   string
	RepoTags []string
	Layers   []string
}

// A dockerArchive is a file of docker save that is being read.
type dockerArchive struct {
	*Archive
	v       *volume
	configs map[place]dockerConfig    // :: where it is → what it says
	layers  map[string]oci.Descriptor // :: name of a compressed layer's file → what it is
}

// readDocker makes manifests from manifest.json. The layers are what they are in
// the file: mostly not compressed, and then named by their diff ID, which is
// their digest.
func (a *Archive) readDocker(v *volume) error {
	var images []dockerImage
	if err := v.decode(dockerFile, &images); err != nil {
		return err
	}
	if len(images) > oci.MaxDescriptors {
		return oci.Errorf(oci.ErrTooLarge, "", "%s lists %d images, and at most %d are read", dockerFile, len(images), oci.MaxDescriptors)
	}
	a.made = make(map[oci.Digest][]byte)
	da := dockerArchive{a, v, make(map[place]dockerConfig), make(map[string]oci.Descriptor)}
	for _, image := range images {
		d, err := da.manifest(image)
		if err != nil {
			return err
		}
		for _, tag := range image.RepoTags {
			a.name(named{Entry{originalName(tag, ""), d}, tag})
		}
		if len(image.RepoTags) == 0 {
			a.name(named{Entry{ref.Ref{}, d}, ""})
		}
	}
	return nil
}

// A dockerConfig is the config of an image.
type dockerConfig struct {
	descriptor oci.Descriptor
	diffIDs    []oci.Digest
}

// config reads the config of an image, each once however many images have it.
func (da dockerArchive) config(name string) (dockerConfig, error) {
	at, err := da.v.find(name)
	if err != nil {
		return dockerConfig{}, err
	}
	if c, ok := da.configs[at]; ok {
		return c, nil
	}
	if at.Size > oci.MaxManifest {
		return dockerConfig{}, oci.Errorf(oci.ErrTooLarge, "", "%s has %d bytes", name, at.Size)
	}
	raw, err := da.v.read(name)
	if err != nil {
		return dockerConfig{}, err
	}
	var doc struct {
		RootFS struct {
			DiffIDs []oci.Digest `json:"diff_ids"`
		} `json:"rootfs"`
	}
	if err := json.Unmarshal(raw, &doc); err != nil {
		return dockerConfig{}, fmt.Errorf("read %s: %w", name, err)
	}
	c := dockerConfig{oci.Descriptor{MediaType: typeDockerConfig, Digest: oci.FromBytes(raw, ""), Size: at.Size}, doc.RootFS.DiffIDs}
	da.content[c.descriptor.Digest] = extents{{da.v.file, at.Offset, at.Size}}
	da.configs[at] = c
	return c, nil
}

// manifest makes the manifest of an image.
func (da dockerArchive) manifest(image dockerImage) (oci.Descriptor, error) {
	config, err := da.config(path.Clean(image.Config))
	if err != nil {
		return oci.Descriptor{}, oci.Errorf(oci.ErrInvalid, "", "read %s: the config: %w", dockerFile, err)
	}
	if len(config.diffIDs) != len(image.Layers) {
		return oci.Descriptor{}, oci.Errorf(oci.ErrInvalid, "", "read %s: an image has %d layers, and its config %s has %d", dockerFile, len(image.Layers), image.Config, len(config.diffIDs))
	}
	m := ispec.Manifest{MediaType: oci.TypeDockerManifest, Layers: []oci.Descriptor{}}
	m.SchemaVersion = 2
	m.Config = config.descriptor
	for i, name := range image.Layers {
		d, err := da.layer(path.Clean(name), config.diffIDs[i])
		if err != nil {
			return oci.Descriptor{}, oci.Errorf(oci.ErrInvalid, "", "read %s: layer %d: %w", dockerFile, i+1, err)
		}
		m.Layers = append(m.Layers, d)
	}
	return da.make(m)
}

// make keeps a manifest that no file holds.
func (da dockerArchive) make(m ispec.Manifest) (oci.Descriptor, error) {
	raw, err := json.Marshal(m)
	if err != nil {
		return oci.Descriptor{}, err
	}
	d := oci.Descriptor{MediaType: m.MediaType, Digest: oci.FromBytes(raw, ""), Size: int64(len(raw))}
	da.made[d.Digest], da.types[d.Digest] = raw, d.MediaType
	return d, nil
}

// layer finds out what a layer is, and where. What its digest is said to be is
// held against its bytes by whoever reads it.
func (da dockerArchive) layer(name string, diffID oci.Digest) (oci.Descriptor, error) {
	if d, ok := da.layers[name]; ok {
		return d, nil
	}
	at, err := da.v.find(name)
	if err != nil {
		return oci.Descriptor{}, err
	}
	x := extents{{da.v.file, at.Offset, at.Size}}
	d := oci.Descriptor{MediaType: typeDockerLayer, Digest: diffID, Size: at.Size}
	if suffix := compression(x); suffix != "" {
		d.MediaType += suffix
		d.Digest = digestInName(name)
		if d.Digest == "" {
			if d.Digest, err = digestAt(x); err != nil {
				return oci.Descriptor{}, err
			}
		}
		da.layers[name] = d
	}
	if _, err := ref.ParseDigest(string(d.Digest)); err != nil {
		return oci.Descriptor{}, err
	}
	da.content[d.Digest] = x
	return d, nil
}

// compression returns what the media type of a layer ends in, by its first
// bytes.
func compression(x extents) string {
	head := make([]byte, 4)
	n, _ := x.ReadAt(head, 0) // what is too short is not compressed
	switch s := string(head[:n]); {
	case strings.HasPrefix(s, "\x1f\x8b"):
		return ".gzip"
	case s == "\x28\xb5\x2f\xfd":
		return ".zstd"
	}
	return ""
}

// digestInName returns the digest that crane names a compressed layer by.
func digestInName(name string) oci.Digest {
	hex, _, _ := strings.Cut(path.Base(name), ".")
	d, err := ref.ParseDigest("sha256:" + hex)
	if err != nil || path.Ext(name) != ".gz" {
		return ""
	}
	return d
}

// digestAt returns the digest of content that nobody names.
func digestAt(x extents) (oci.Digest, error) {
	h := oci.Algorithm("").Hash()
	if _, err := io.Copy(h, io.NewSectionReader(x, 0, x.size())); err != nil {
		return "", err
	}
	return oci.FromHash(noDigest, h), nil
}
