package regtest

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"

	"github.com/entrepot/entrepot/oci"
	ispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Content is the bytes of a blob. It is immutable, and safe for concurrent
// use.
type Content interface {
	io.ReaderAt
	Size() int64 // bytes
}

// Bytes returns content that is in memory.
func Bytes(b []byte) Content { return bytes.NewReader(b) }

// Random returns bytes that do not compress and that depend on the seed alone.
// They are made when they are read, so that a large blob costs no memory.
func Random(seed uint64, size int64) Content { return random{seed, size} }

type random struct {
	seed uint64
	size int64
}

// randomBlock is how many bytes one generator makes, so that a read can start
// in the middle.
const randomBlock = 4 << 10

func (r random) Size() int64 { return r.size }

func (r random) ReadAt(p []byte, off int64) (int, error) {
	n := 0
	var block [randomBlock]byte
	for n < len(p) && off < r.size {
		var key [32]byte
		binary.LittleEndian.PutUint64(key[:], r.seed)
		binary.LittleEndian.PutUint64(key[8:], uint64(off/randomBlock))
		rand.NewChaCha8(key).Read(block[:]) // never fails
		from := off % randomBlock
		to := min(randomBlock, from+r.size-off)
		k := copy(p[n:], block[from:to])
		n += k
		off += int64(k)
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// Image says how to make an image. The zero value is one without layers.
type Image struct {
	Layers       []int64           // sizes in bytes
	Seed         uint64            // of the layers and the config; images of one seed share what has one size
	Docker       bool              // Docker's media types instead of OCI's
	Platform     string            // architecture, for the index that lists it; "" means amd64
	Subject      *oci.Descriptor   // what it refers to; nil for an ordinary image
	ArtifactType string            // "" for an ordinary image
	Annotations  map[string]string // nil means none
}

// A Built is an image or an index that was made.
type Built struct {
	oci.Manifest
	Config   oci.Descriptor   // of an image
	Layers   []oci.Descriptor // of an image
	Children []Built          // of an index
	platform string
}

// AddImage makes an image with random layers and points tags at it.
func (s *Shelf) AddImage(path string, img Image, tags ...string) Built {
	b := Built{platform: img.Platform}
	if b.platform == "" {
		b.platform = "amd64"
	}
	config, manifest, layer := ispec.MediaTypeImageConfig, oci.TypeImageManifest, ispec.MediaTypeImageLayer
	if img.Docker {
		config, manifest = "application/vnd.docker.container.image.v1+json", oci.TypeDockerManifest
		layer = "application/vnd.docker.image.rootfs.diff.tar"
	}
	b.Config = s.AddBlob(path, Bytes(fmt.Appendf(nil, `{"architecture":%q,"os":"linux","seed":%d}`, b.platform, img.Seed)))
	b.Config.MediaType = config
	b.Layers = []oci.Descriptor{}
	for i, size := range img.Layers {
		l := s.AddBlob(path, Random(img.Seed<<16+uint64(i), size))
		l.MediaType = layer
		b.Layers = append(b.Layers, l)
	}
	doc := ispec.Manifest{MediaType: manifest, Config: b.Config, Layers: b.Layers,
		Subject: img.Subject, ArtifactType: img.ArtifactType, Annotations: img.Annotations}
	doc.SchemaVersion = 2
	b.Manifest = s.AddManifest(path, manifest, mustJSON(doc), tags...)
	return b
}

// AddIndex makes an index of images, one for each platform, and points tags at
// it.
func (s *Shelf) AddIndex(path string, children []Built, tags ...string) Built {
	list := []oci.Descriptor{}
	for _, c := range children {
		d := c.Descriptor()
		d.Platform = &ispec.Platform{Architecture: c.platform, OS: "linux"}
		list = append(list, d)
	}
	return Built{Manifest: s.AddManifest(path, oci.TypeImageIndex, indexOf(list), tags...), Children: children}
}

// AddReferrer makes an artifact whose subject is a manifest of the repository,
// as a signature is.
func (s *Shelf) AddReferrer(path string, subject oci.Descriptor, artifactType string, seed uint64) Built {
	return s.AddImage(path, Image{Layers: []int64{64}, Seed: seed, ArtifactType: artifactType,
		Subject: &oci.Descriptor{MediaType: subject.MediaType, Digest: subject.Digest, Size: subject.Size}})
}
