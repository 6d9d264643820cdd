// Package oci is the vocabulary of the product: what a manifest and a blob
// are, and what it means to read and to write them.
//
// A registry, a list of mirrors, a cache, a store and an archive are all
// places that hold images; each is a [Reader], and those that take images are
// a [Writer] too. Further powers are the small interfaces of powers.go, found
// by type assertion. Errors are of one of eight kinds; see [Error].
//
//	m, err := reader.Manifest(ctx, r)   // the exact bytes
//	links, err := m.Links()             // what it refers to
//	b, err := reader.Blob(ctx, r.Name, links.Layers[0].Digest, 0)
package oci

import (
	"context"
	"io"

	"github.com/entrepot/entrepot/ref"
	digest "github.com/opencontainers/go-digest"
	ispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// A Digest names content by its hash, "sha256:…" or "sha512:…". Digests that
// come from outside are made by [ref.ParseDigest] alone.
type Digest = ref.Digest

// A Descriptor says what content is: media type, digest, size. Its size is
// what somebody claims, never an amount to allocate. (image-spec 1.1,
// "descriptor".)
type Descriptor = ispec.Descriptor

// MaxManifest is the largest manifest that is read where nothing else is
// configured, in bytes. Containerd refuses more than 4,393,216, containers/image
// more than 4 MiB; the conformance suite pushes 3.9 MB.
const MaxManifest = 4 << 20

// A Manifest is a manifest or an index as its registry sent it. The zero value
// is no manifest. It is immutable: nobody changes Raw.
type Manifest struct {
	MediaType string
	Digest    Digest // of Raw; verified by whoever made the value
	Raw       []byte // the exact bytes
}

// Descriptor returns the manifest's descriptor.
func (m Manifest) Descriptor() Descriptor {
	return Descriptor{MediaType: m.MediaType, Digest: m.Digest, Size: int64(len(m.Raw))}
}

// A Blob is an open blob. Whoever receives one closes its Body.
type Blob struct {
	Descriptor               // MediaType is often unknown; Size is that of the whole blob, -1 where the source did not say
	Body       io.ReadCloser // from Offset to the end; an *os.File where it is local, positioned at Offset
	Offset     int64         // where Body starts, in bytes
	From       string        // the endpoint or store that it comes from, for logs
}

// A Reader is a place that images can be read from. Its methods are safe for
// concurrent use. A reference with a digest is answered by that digest and
// verified against it; the tag is then ignored.
type Reader interface {
	// Resolve returns the descriptor of the manifest that r names, without
	// its bytes. The error is ErrNotFound where there is none.
	Resolve(ctx context.Context, r ref.Ref) (Descriptor, error)
	// Manifest returns the manifest that r names, its digest verified.
	Manifest(ctx context.Context, r ref.Ref) (Manifest, error)
	// Stat returns the size of a blob of the repository.
	Stat(ctx context.Context, n ref.Name, d Digest) (Descriptor, error)
	// Blob opens a blob of the repository at a byte offset. Its bytes are
	// not verified, unless the implementation says so. The context governs
	// the reading of the body too.
	Blob(ctx context.Context, n ref.Name, d Digest, off int64) (Blob, error)
}

// A Source opens content at a byte offset. It may be called again, to resume.
type Source func(ctx context.Context, off int64) (io.ReadCloser, error)

// A Writer is a place that images can be written to. Its methods are safe for
// concurrent use.
type Writer interface {
	// PutBlob stores a blob. It pulls the bytes from open, again where it has
	// to resume, and returns nil only once they are stored and verified.
	// A blob that is already there costs nothing.
	PutBlob(ctx context.Context, n ref.Name, d Descriptor, open Source) error
	// PutManifest stores a manifest by its digest and points tags at it.
	PutManifest(ctx context.Context, n ref.Name, m Manifest, tags ...string) error
}

// FromBytes returns the digest of b with the algorithm of like, sha256 where
// like is "".
func FromBytes(b []byte, like Digest) Digest { return Algorithm(like).FromBytes(b) }

// Algorithm returns the hash algorithm of d, sha256 where d is "".
func Algorithm(d Digest) digest.Algorithm {
	if d == "" {
		return digest.SHA256
	}
	return d.Algorithm()
}
