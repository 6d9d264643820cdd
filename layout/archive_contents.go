package layout

import (
	"cmp"
	"encoding/json"
	"io/fs"
	"slices"
	"strings"

	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
	ispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// A sorted is contents in their order, everything once.
type sorted struct {
	images    []SetImage
	index     []byte // index.json
	manifests []oci.Manifest
	blobs     []SourceBlob
	base      []BaseBlob
	files     []File
}

// newSorted brings contents into their order, and refuses what would not make
// an archive that can be read again.
func newSorted(c Contents) (sorted, error) {
	s := sorted{
		manifests: unique(c.Manifests, func(m oci.Manifest) string { return string(m.Digest) }),
		base:      unique(c.Base, func(b BaseBlob) string { return string(b.Digest) }),
		files:     unique(c.Files, func(f File) string { return f.Name }),
		images:    unique(c.Images, func(i SetImage) string { return i.Name + " " + string(i.Digest) + " " + i.Target }),
	}
	has := make(map[oci.Digest]bool, len(s.manifests))
	for _, m := range s.manifests {
		if oci.FromBytes(m.Raw, m.Digest) != m.Digest {
			return s, oci.Errorf(oci.ErrMismatch, oci.CodeDigestInvalid, "the manifest is not %s", m.Digest)
		}
		has[m.Digest] = true
	}
	for _, b := range unique(c.Blobs, func(b SourceBlob) string { return string(b.Descriptor.Digest) }) {
		if has[b.Descriptor.Digest] {
			continue
		}
		if _, err := pathOf(b.Descriptor.Digest); err != nil {
			return s, err
		}
		if b.Descriptor.Size < 0 {
			return s, oci.Errorf(oci.ErrInvalid, oci.CodeSizeInvalid, "the size of %s is not known", b.Descriptor.Digest)
		}
		s.blobs = append(s.blobs, b)
	}
	for _, f := range s.files {
		if !fs.ValidPath(f.Name) || f.Name == "." || len(filesDir+f.Name) > maxName || len(f.Data) > maxDocument {
			return s, oci.Errorf(oci.ErrInvalid, "", "an archive cannot hold a file %q of %d bytes", f.Name, len(f.Data))
		}
	}
	return s, s.name(c.Names, has)
}

// unique returns a list sorted by a key, with the first of each key.
func unique[T any](list []T, key func(T) string) []T {
	list = slices.Clone(list)
	slices.SortStableFunc(list, func(x, y T) int { return strings.Compare(key(x), key(y)) })
	return slices.CompactFunc(list, func(x, y T) bool { return key(x) == key(y) })
}

// name writes index.json: the names, and then what is found only by the subject
// that it has.
func (s *sorted) name(names []Entry, has map[oci.Digest]bool) error {
	index := ispec.Index{MediaType: oci.TypeImageIndex, Manifests: []oci.Descriptor{}}
	index.SchemaVersion = 2
	listed := make(map[oci.Digest]bool)
	names = unique(names, func(e Entry) string { return annotation(e.Ref) + " " + string(e.Descriptor.Digest) })
	for i, e := range names {
		if !has[e.Descriptor.Digest] {
			return oci.Errorf(oci.ErrInvalid, "", "the archive would name %s, and not have %s", e.Ref, e.Descriptor.Digest)
		}
		if i > 0 && annotation(e.Ref) != "" && annotation(names[i-1].Ref) == annotation(e.Ref) {
			return oci.Errorf(oci.ErrInvalid, "", "%s would be two images: %s and %s", e.Ref, names[i-1].Descriptor.Digest, e.Descriptor.Digest)
		}
		listed[e.Descriptor.Digest] = true
		index.Manifests = append(index.Manifests, s.entry(e))
	}
	for _, m := range s.manifests {
		links, err := m.Links()
		if err != nil || links.Subject == nil || listed[m.Digest] {
			continue
		}
		d := m.Descriptor()
		d.ArtifactType = links.ArtifactType
		index.Manifests = append(index.Manifests, d)
	}
	if len(s.images) == 0 {
		for _, e := range names {
			s.images = append(s.images, SetImage{Name: annotation(e.Ref), Digest: e.Descriptor.Digest})
		}
	}
	var err error
	s.index, err = json.Marshal(index)
	return err
}

// entry returns the descriptor of an image with what others look for: skopeo,
// oras and crane read the one name, containerd the other.
func (s *sorted) entry(e Entry) oci.Descriptor {
	i, _ := slices.BinarySearchFunc(s.manifests, e.Descriptor.Digest, func(m oci.Manifest, d oci.Digest) int { return cmp.Compare(m.Digest, d) })
	d := s.manifests[i].Descriptor()
	if e.Descriptor.MediaType != "" {
		d.MediaType = e.Descriptor.MediaType
	}
	text := annotation(e.Ref)
	if text != "" {
		d.Annotations = map[string]string{ispec.AnnotationRefName: text}
	}
	if e.Ref.Name != (ref.Name{}) {
		d.Annotations[annotationImage] = text
	}
	return d
}

// annotation returns what index.json says of an image: its tag if it has one,
// otherwise its digest.
func annotation(r ref.Ref) string {
	switch {
	case r.Name == (ref.Name{}):
		return r.Tag
	case r.Tag != "":
		return r.Name.WithTag(r.Tag).String()
	case r.Digest != "":
		return r.Name.WithDigest(r.Digest).String()
	}
	return ""
}
