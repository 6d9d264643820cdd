package layout

import (
	"context"
	"slices"

	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
)

// subjects says what refers to what, among the manifests of index.json.
type subjects struct {
	of     map[oci.Digest][]oci.Descriptor // :: subject → its referrers, in the order of index.json
	refers map[oci.Digest]bool             // manifests that have a subject
}

// findSubjects reads all manifests of index.json once, instead of for each
// question. One whose content is not here refers to nothing.
func (a *Archive) findSubjects() *subjects {
	s := &subjects{make(map[oci.Digest][]oci.Descriptor), make(map[oci.Digest]bool)}
	for _, n := range a.named {
		d := n.Descriptor.Digest
		if s.refers[d] {
			continue
		}
		if desc, subject, ok := a.referrer(d); ok {
			s.refers[d] = true
			s.of[subject] = append(s.of[subject], desc)
		}
	}
	return s
}

// referrer reads a manifest and tells its subject, if it has one.
func (a *Archive) referrer(d oci.Digest) (desc oci.Descriptor, subject oci.Digest, ok bool) {
	m, err := a.Manifest(context.Background(), ref.Ref{Digest: d})
	if err != nil {
		return desc, "", false
	}
	links, err := m.Links()
	if err != nil || links.Subject == nil {
		return desc, "", false
	}
	desc = m.Descriptor()
	desc.ArtifactType, desc.Annotations = links.ArtifactType, links.Annotations
	return desc, links.Subject.Digest, true
}

// Referrers returns what refers to a manifest, among the entries of index.json
// and the list that is kept under the tag of the referrers tag schema.
func (a *Archive) Referrers(ctx context.Context, n ref.Name, d oci.Digest, artifactType string) ([]oci.Descriptor, error) {
	found := slices.Clone(a.subjects().of[d])
	for _, one := range a.fallback(ctx, n, d) {
		desc, subject, ok := a.referrer(one.Digest)
		if ok && subject == d && !slices.ContainsFunc(found, func(o oci.Descriptor) bool { return o.Digest == desc.Digest }) {
			found = append(found, desc)
		}
	}
	return slices.DeleteFunc(found, func(o oci.Descriptor) bool { return artifactType != "" && o.ArtifactType != artifactType }), nil
}

// fallback returns the list under the tag of the referrers tag schema.
func (a *Archive) fallback(ctx context.Context, n ref.Name, d oci.Digest) []oci.Descriptor {
	m, err := a.Manifest(ctx, n.WithTag(oci.FallbackTag(d)))
	if err != nil {
		return nil
	}
	links, err := m.Links()
	if err != nil {
		return nil
	}
	return links.Manifests
}

// Subjects is Referrers of every type.
func (a *Archive) Subjects(ctx context.Context, n ref.Name, d oci.Digest) ([]oci.Descriptor, error) {
	return a.Referrers(ctx, n, d, "")
}
