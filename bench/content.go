package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
)

// Media types of what we make.
const (
	typeIndex    = "application/vnd.oci.image.index.v1+json"
	typeManifest = "application/vnd.oci.image.manifest.v1+json"
	typeConfig   = "application/vnd.oci.image.config.v1+json"
	typeLayer    = "application/vnd.oci.image.layer.v1.tar+gzip"
)

// The repositories.
const (
	blobRepo  = "bench/blob"
	smallRepo = "bench/small"
	imageRepo = "bench/image"
	tag       = "v1"
)

// imageLayers are the sizes of one platform's layers, in bytes: 143 MB, in the
// proportions of a database server on a distribution's base image.
var imageLayers = []int64{107 << 20, 21 << 20, 6 << 20, 2 << 20, 300 << 10}

// A descriptor as in image-spec 1.1.
type descriptor struct {
	MediaType string    `json:"mediaType"`
	Digest    string    `json:"digest"`
	Size      int64     `json:"size"`
	Platform  *platform `json:"platform,omitempty"`
}

type platform struct {
	Architecture string `json:"architecture"`
	OS           string `json:"os"`
}

// A document is a manifest or an index.
type document struct {
	SchemaVersion int          `json:"schemaVersion"`
	MediaType     string       `json:"mediaType"`
	Config        *descriptor  `json:"config,omitempty"`
	Layers        []descriptor `json:"layers,omitempty"`
	Manifests     []descriptor `json:"manifests,omitempty"`
}

// A repository is content to push: blobs, then manifests in order.
type repository struct {
	name      string
	blobs     []descriptor
	manifests []manifest // the last one gets the tag
}

type manifest struct {
	descriptor
	raw []byte
}

// Content is the same in every run: seeded, not compressible. Blobs are files
// of dir, named by their digest.
type content struct {
	dir          string
	hundred, big descriptor // blobs of 100 MiB and 2 GiB
	repos        []repository
}

// makeContent writes all blobs.
func makeContent(dir string, bigSize int64) (*content, error) {
	c := &content{dir: dir}
	var err error
	if c.hundred, err = c.blob(typeLayer, 100<<20, 1); err != nil {
		return nil, err
	}
	if c.big, err = c.blob(typeLayer, bigSize, 2); err != nil {
		return nil, err
	}
	// A registry takes blobs without a manifest, and keeps them while nobody
	// collects garbage.
	c.repos = append(c.repos, repository{name: blobRepo, blobs: []descriptor{c.hundred, c.big}})

	small := repository{name: smallRepo}
	if err := c.addImage(&small, []int64{900, 800, 700, 600, 500, 400, 300}, 100); err != nil {
		return nil, err
	}
	image := repository{name: imageRepo}
	index := document{SchemaVersion: 2, MediaType: typeIndex}
	for i, arch := range []string{"arm64", "amd64"} {
		if err := c.addImage(&image, imageLayers, 200+byte(i)*20); err != nil {
			return nil, err
		}
		d := image.manifests[i].descriptor
		d.Platform = &platform{Architecture: arch, OS: "linux"}
		index.Manifests = append(index.Manifests, d)
	}
	m, err := newManifest(index)
	if err != nil {
		return nil, err
	}
	image.manifests = append(image.manifests, m)
	c.repos = append(c.repos, small, image)
	return c, nil
}

// addImage adds the manifest of an image with layers of these sizes.
func (c *content) addImage(r *repository, sizes []int64, seed byte) error {
	config, err := c.blob(typeConfig, 8<<10, seed)
	if err != nil {
		return err
	}
	doc := document{SchemaVersion: 2, MediaType: typeManifest, Config: &config}
	for i, size := range sizes {
		layer, err := c.blob(typeLayer, size, seed+byte(i)+1)
		if err != nil {
			return err
		}
		doc.Layers = append(doc.Layers, layer)
	}
	m, err := newManifest(doc)
	if err != nil {
		return err
	}
	r.blobs = append(append(r.blobs, config), doc.Layers...)
	r.manifests = append(r.manifests, m)
	return nil
}

// blob writes a blob of pseudo-random bytes.
func (c *content) blob(mediaType string, size int64, seed byte) (descriptor, error) {
	f, err := os.CreateTemp(c.dir, "blob-")
	if err != nil {
		return descriptor{}, err
	}
	h := sha256.New()
	_, err = io.CopyBuffer(io.MultiWriter(f, h), io.LimitReader(rand.NewChaCha8([32]byte{seed}), size), make([]byte, 1<<20))
	if err != nil {
		f.Close()
		return descriptor{}, err
	}
	if err := f.Close(); err != nil {
		return descriptor{}, err
	}
	d := descriptor{MediaType: mediaType, Digest: "sha256:" + hex.EncodeToString(h.Sum(nil)), Size: size}
	if err := os.Chmod(f.Name(), 0o644); err != nil { // nginx's workers are another user
		return d, err
	}
	return d, os.Rename(f.Name(), c.path(d))
}

func (c *content) path(d descriptor) string { return filepath.Join(c.dir, d.Digest) }

// image returns the repository of that name.
func (c *content) repo(name string) repository {
	for _, r := range c.repos {
		if r.name == name {
			return r
		}
	}
	panic("no repository " + name)
}

func newManifest(doc document) (manifest, error) {
	raw, err := json.Marshal(doc)
	if err != nil {
		return manifest{}, err
	}
	d := descriptor{MediaType: doc.MediaType, Digest: digestOf(raw), Size: int64(len(raw))}
	return manifest{descriptor: d, raw: raw}, nil
}

func digestOf(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// tree lays all content out as files under the paths of the protocol, for a
// server of files. Blobs are hard links.
func (c *content) tree(root string) error {
	for _, r := range c.repos {
		blobs := filepath.Join(root, "v2", r.name, "blobs")
		manifests := filepath.Join(root, "v2", r.name, "manifests")
		for _, dir := range []string{blobs, manifests} {
			if err := os.MkdirAll(dir, 0o755); err != nil {
				return err
			}
		}
		for _, b := range r.blobs {
			if err := os.Link(c.path(b), filepath.Join(blobs, b.Digest)); err != nil {
				return err
			}
		}
		for i, m := range r.manifests {
			names := []string{m.Digest}
			if i == len(r.manifests)-1 {
				names = append(names, tag)
			}
			for _, name := range names {
				if err := os.WriteFile(filepath.Join(manifests, name), m.raw, 0o644); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// push uploads a repository to a registry.
func (c *content) push(addr string, r repository) error {
	for _, b := range r.blobs {
		if err := c.pushBlob(addr, r.name, b); err != nil {
			return fmt.Errorf("push %s: %w", b.Digest, err)
		}
	}
	for i, m := range r.manifests {
		name := m.Digest
		if i == len(r.manifests)-1 {
			name = tag
		}
		url := fmt.Sprintf("http://%s/v2/%s/manifests/%s", addr, r.name, name)
		if _, err := send("PUT", url, m.MediaType, bytes.NewReader(m.raw), m.Size); err != nil {
			return err
		}
	}
	return nil
}

func (c *content) pushBlob(addr, repo string, d descriptor) error {
	resp, err := send("POST", fmt.Sprintf("http://%s/v2/%s/blobs/uploads/", addr, repo), "", nil, 0)
	if err != nil {
		return err
	}
	to, err := resp.Location()
	if err != nil {
		return err
	}
	q := to.Query()
	q.Set("digest", d.Digest)
	to.RawQuery = q.Encode()
	f, err := os.Open(c.path(d))
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = send("PUT", to.String(), "application/octet-stream", f, d.Size)
	return err
}
