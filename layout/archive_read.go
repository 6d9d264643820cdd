package layout

import (
	"context"
	"io"
	"iter"
	"maps"
	"slices"

	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
)

// Resolve returns the descriptor of the manifest that r means; see
// [Archive.Lookup].
func (a *Archive) Resolve(ctx context.Context, r ref.Ref) (oci.Descriptor, error) {
	m, err := a.Manifest(ctx, r)
	if err != nil {
		return oci.Descriptor{}, err
	}
	return m.Descriptor(), nil
}

// Manifest returns a manifest, its digest verified.
func (a *Archive) Manifest(_ context.Context, r ref.Ref) (oci.Manifest, error) {
	e, err := a.Lookup(r)
	if err != nil {
		return oci.Manifest{}, err
	}
	d := e.Descriptor
	raw, err := a.rawManifest(d.Digest)
	if err != nil {
		return oci.Manifest{}, err
	}
	m := oci.Manifest{MediaType: d.MediaType, Digest: d.Digest, Raw: raw}
	if m.MediaType == "" {
		m.MediaType = mediaTypeOf(raw)
	}
	return m, nil
}

// Stat returns the size of a blob, of whichever repository.
func (a *Archive) Stat(_ context.Context, _ ref.Name, d oci.Digest) (oci.Descriptor, error) {
	x, err := a.blob(d)
	if err != nil {
		return oci.Descriptor{}, err
	}
	return oci.Descriptor{Digest: d, Size: x.size()}, nil
}

// blob returns where a blob is.
func (a *Archive) blob(d oci.Digest) (extents, error) {
	x, ok := a.content[d]
	if ok {
		return x, nil
	}
	if _, err := pathOf(d); err != nil {
		return nil, err
	}
	if b, ok := a.base[d]; ok {
		return nil, oci.Errorf(oci.ErrNotFound, oci.CodeBlobUnknown, "the archive was made without %s, which its destination had in %v", d, b.Repositories)
	}
	return nil, oci.Errorf(oci.ErrNotFound, oci.CodeBlobUnknown, "the archive has no %s", d)
}

// Blob opens a blob, of whichever repository. Its body is an io.ReaderAt and an
// io.Seeker too.
func (a *Archive) Blob(ctx context.Context, n ref.Name, d oci.Digest, off int64) (oci.Blob, error) {
	return a.BlobRange(ctx, n, d, off, -1)
}

// BlobRange is Blob for the bytes from off to end, the latter not included; -1
// is the end of the blob.
func (a *Archive) BlobRange(_ context.Context, _ ref.Name, d oci.Digest, off, end int64) (oci.Blob, error) {
	x, err := a.blob(d)
	if err != nil {
		return oci.Blob{}, err
	}
	size := x.size()
	if end < 0 {
		end = size
	}
	if off < 0 || off > end || end > size {
		return oci.Blob{}, oci.Errorf(oci.ErrInvalid, "", "the range from %d to %d is outside of the blob's %d bytes", off, end, size)
	}
	desc := oci.Descriptor{Digest: d, Size: size}
	return oci.Blob{Descriptor: desc, Body: body{io.NewSectionReader(x, off, end-off), x, off}, Offset: off, From: "archive"}, nil
}

// body is a part of an archive, which stays open when it is closed.
type body struct {
	*io.SectionReader
	x   extents
	off int64 // of the part's start
}

func (body) Close() error { return nil }

// Tags lists the tags of a repository; those of the one without a name are all
// annotations that are tags. A repository that is not named is ErrNotFound.
func (a *Archive) Tags(_ context.Context, n ref.Name, after string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		tags, known := map[string]bool{}, n == (ref.Name{})
		for _, e := range a.named {
			tag := e.Ref.Tag
			if n == (ref.Name{}) {
				tag = e.text
			} else if e.Ref.Name != n {
				continue
			}
			known = true
			if ref.ValidTag(tag) && tag > after {
				tags[tag] = true
			}
		}
		if !known {
			yield("", oci.Errorf(oci.ErrNotFound, oci.CodeNameUnknown, "the archive has no repository %s", n))
			return
		}
		for _, tag := range slices.Sorted(maps.Keys(tags)) {
			if !yield(tag, nil) {
				return
			}
		}
	}
}
