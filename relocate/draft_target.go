package relocate

import (
	"context"
	"errors"

	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
)

// drafting is the target of a draft's run: it keeps manifests, and of blobs
// where they are. Repositories share everything, as in a layout.
type drafting struct{ d *Draft }

var (
	_ Target = drafting{}
	_ noter  = drafting{}
)

// A noter is a target that wants to know which blobs there are, and not their
// bytes.
type noter interface {
	// note is told that an image needs a blob, and in which repository of the
	// source it is.
	note(d oci.Descriptor, from ref.Name, img *image) (how, error)
}

func (t drafting) note(desc oci.Descriptor, from ref.Name, img *image) (how, error) {
	d := t.d
	d.mu.Lock()
	defer d.mu.Unlock()
	if b := d.blobs[desc.Digest]; b != nil {
		if b.d.Size != desc.Size {
			return 0, oci.Errorf(oci.ErrMismatch, oci.CodeSizeInvalid, "one manifest says that it has %d bytes, another says %d", b.d.Size, desc.Size)
		}
		b.from = append(b.from, from)
		return wasThere, nil
	}
	held, based := d.base[desc.Digest]
	based = based && held.Size == desc.Size
	d.blobs[desc.Digest] = &draftBlob{d: desc, from: []ref.Name{from}, image: img, based: based}
	if based {
		return wasThere, nil
	}
	return noted, nil
}

// Resolve returns the descriptor of a manifest that was found.
func (t drafting) Resolve(ctx context.Context, r ref.Ref) (oci.Descriptor, error) {
	m, err := t.Manifest(ctx, r)
	return m.Descriptor(), err
}

// Manifest returns a manifest that was found.
func (t drafting) Manifest(_ context.Context, r ref.Ref) (oci.Manifest, error) {
	t.d.mu.Lock()
	defer t.d.mu.Unlock()
	digest := r.Digest
	if digest == "" {
		digest = t.d.tags[r]
	}
	m, ok := t.d.manifests[digest]
	if !ok {
		return m, oci.Errorf(oci.ErrNotFound, oci.CodeManifestUnknown, "%s is not in the set", r)
	}
	return m, nil
}

// Stat returns the size of a blob that was noted.
func (t drafting) Stat(_ context.Context, _ ref.Name, digest oci.Digest) (oci.Descriptor, error) {
	t.d.mu.Lock()
	defer t.d.mu.Unlock()
	if b := t.d.blobs[digest]; b != nil {
		return oci.Descriptor{Digest: digest, Size: b.d.Size}, nil
	}
	return oci.Descriptor{}, oci.Errorf(oci.ErrNotFound, oci.CodeBlobUnknown, "%s is not in the set", digest)
}

// errNoBytes is for what a run does not ask of a noter.
var errNoBytes = errors.New("a draft has no bytes of blobs")

// Blob is not for a draft.
func (drafting) Blob(context.Context, ref.Name, oci.Digest, int64) (oci.Blob, error) {
	return oci.Blob{}, errNoBytes
}

// PutBlob is not for a draft.
func (drafting) PutBlob(context.Context, ref.Name, oci.Descriptor, oci.Source) error {
	return errNoBytes
}

// PutManifest keeps a manifest.
func (t drafting) PutManifest(_ context.Context, n ref.Name, m oci.Manifest, tags ...string) error {
	t.d.mu.Lock()
	defer t.d.mu.Unlock()
	t.d.manifests[m.Digest] = m
	for _, tag := range tags {
		if tag != "" {
			t.d.tags[n.WithTag(tag)] = m.Digest
		}
	}
	return nil
}

// discovering tells of a run that reads no blobs: an image is not done when all
// of it is known, and of bytes that are read later whoever writes them tells.
func discovering(observe func(Event)) func(Event) {
	if observe == nil {
		return nil
	}
	return func(e Event) {
		if e.Kind != BlobProgress && (e.Kind != ImageCopied || e.Err != nil) {
			observe(e)
		}
	}
}

// needed returns what needs each blob and each manifest of the draft: the
// manifests that name it, and for what refers to a manifest that manifest.
//
//	:: digest → manifests
func (d *Draft) needed() map[oci.Digest][]oci.Digest {
	up := map[oci.Digest][]oci.Digest{}
	for _, m := range d.manifests {
		links, err := m.Links()
		if err != nil {
			continue // it was read before
		}
		for _, l := range append(links.Blobs(), links.Manifests...) {
			up[l.Digest] = append(up[l.Digest], m.Digest)
		}
		if links.Subject != nil {
			up[m.Digest] = append(up[m.Digest], links.Subject.Digest)
		}
	}
	byTag := map[string]oci.Digest{} // :: tag of cosign's → what it is about
	for digest := range d.manifests {
		for _, suffix := range cosignSuffixes {
			byTag[cosignTag(digest, suffix)] = digest
		}
	}
	for at, digest := range d.tags {
		if about, ok := byTag[at.Tag]; ok {
			up[digest] = append(up[digest], about)
		}
	}
	return up
}

// above returns everything that needs a digest, itself included.
func above(up map[oci.Digest][]oci.Digest, digest oci.Digest) []oci.Digest {
	seen := map[oci.Digest]bool{digest: true}
	all := []oci.Digest{digest}
	for i := 0; i < len(all); i++ {
		for _, one := range up[all[i]] {
			if !seen[one] {
				seen[one] = true
				all = append(all, one)
			}
		}
	}
	return all
}
