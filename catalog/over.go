package catalog

import (
	"bytes"
	"context"
	"io"
	"iter"

	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
)

// Over returns a reader of the image by its digest: what is new comes from r, all
// else from the reader that the image was made from, whatever the repository. It
// lists tags and referrers as far as that one does; of what is new there are none.
func (r *Rebuilt) Over(from oci.Reader) oci.Reader {
	o := &over{Reader: from, blobs: r.Blobs, manifests: map[oci.Digest]oci.Manifest{}}
	for _, m := range r.Manifests {
		o.manifests[m.Digest] = m
	}
	return o
}

type over struct {
	oci.Reader
	manifests map[oci.Digest]oci.Manifest
	blobs     map[oci.Digest][]byte
}

var (
	_ oci.Lister        = (*over)(nil)
	_ oci.SubjectLister = (*over)(nil)
)

func (o *over) Resolve(ctx context.Context, r ref.Ref) (oci.Descriptor, error) {
	if m, ok := o.manifests[r.Digest]; ok {
		return m.Descriptor(), nil
	}
	return o.Reader.Resolve(ctx, r)
}

func (o *over) Manifest(ctx context.Context, r ref.Ref) (oci.Manifest, error) {
	if m, ok := o.manifests[r.Digest]; ok {
		return m, nil
	}
	return o.Reader.Manifest(ctx, r)
}

func (o *over) Stat(ctx context.Context, n ref.Name, d oci.Digest) (oci.Descriptor, error) {
	if b, ok := o.blobs[d]; ok {
		return oci.Descriptor{Digest: d, Size: int64(len(b))}, nil
	}
	return o.Reader.Stat(ctx, n, d)
}

func (o *over) Blob(ctx context.Context, n ref.Name, d oci.Digest, off int64) (oci.Blob, error) {
	b, ok := o.blobs[d]
	if !ok {
		return o.Reader.Blob(ctx, n, d, off)
	}
	size := int64(len(b))
	if off < 0 || off > size {
		return oci.Blob{}, oci.Errorf(oci.ErrInvalid, oci.CodeSizeInvalid, "the blob has %d bytes, not %d", size, off)
	}
	return oci.Blob{
		Descriptor: oci.Descriptor{Digest: d, Size: size}, Offset: off, From: "a filtered catalog",
		Body: io.NopCloser(bytes.NewReader(b[off:])),
	}, nil
}

func (o *over) Tags(ctx context.Context, n ref.Name, after string) iter.Seq2[string, error] {
	if l, ok := o.Reader.(oci.Lister); ok {
		return l.Tags(ctx, n, after)
	}
	return func(yield func(string, error) bool) { yield("", oci.ErrUnsupported) }
}

func (o *over) Subjects(ctx context.Context, n ref.Name, d oci.Digest) ([]oci.Descriptor, error) {
	if _, own := o.manifests[d]; own {
		return nil, nil
	}
	if l, ok := o.Reader.(oci.SubjectLister); ok {
		return l.Subjects(ctx, n, d)
	}
	return nil, oci.ErrUnsupported
}
