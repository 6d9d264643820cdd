package oci

import (
	"encoding/json"
	"slices"

	"github.com/entrepot/entrepot/ref"
	ispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Media types of manifests.
const (
	TypeImageManifest      = ispec.MediaTypeImageManifest
	TypeImageIndex         = ispec.MediaTypeImageIndex
	TypeDockerManifest     = "application/vnd.docker.distribution.manifest.v2+json"
	TypeDockerManifestList = "application/vnd.docker.distribution.manifest.list.v2+json"
	TypeDockerSchema1      = "application/vnd.docker.distribution.manifest.v1+json"
	TypeDockerSchema1JWS   = "application/vnd.docker.distribution.manifest.v1+prettyjws"
)

// IsIndex reports whether a media type is that of an index or manifest list.
func IsIndex(mediaType string) bool {
	return mediaType == TypeImageIndex || mediaType == TypeDockerManifestList
}

// IsManifest reports whether a media type is one of the manifest types that
// this package can look into (schema 1 is not).
func IsManifest(mediaType string) bool {
	return IsIndex(mediaType) || mediaType == TypeImageManifest || mediaType == TypeDockerManifest
}

// Links is what a manifest says about other content.
type Links struct {
	MediaType    string // as the document says; "" where it does not
	ArtifactType string // the manifest's own, or its config's media type (distribution-spec 1.1, "Listing Referrers")
	Annotations  map[string]string
	Config       *Descriptor  // nil in an index
	Layers       []Descriptor // of an image
	Manifests    []Descriptor // of an index
	Subject      *Descriptor  // nil where there is none
}

// Blobs returns config and layers, in the order in which a client asks for
// them.
func (l Links) Blobs() []Descriptor {
	if l.Config == nil {
		return l.Layers
	}
	return append([]Descriptor{*l.Config}, l.Layers...)
}

// Links reads what the manifest refers to. A media type that is not known is
// ErrUnsupported; a document that is broken, is ambiguous (both layers and
// manifests, GHSA-qq97-vm5h-rrhg), names another media type than it came with,
// holds a bad digest or a negative size, or more than CheckBounds and
// MaxManifests allow, is ErrInvalid.
func (m Manifest) Links() (Links, error) {
	if !IsManifest(m.MediaType) {
		return Links{}, Errorf(ErrUnsupported, CodeManifestInvalid, "media type %q is no manifest type known here", m.MediaType)
	}
	if err := CheckBounds(m.Raw); err != nil {
		return Links{}, err
	}
	var doc struct {
		SchemaVersion int               `json:"schemaVersion"`
		MediaType     string            `json:"mediaType"`
		ArtifactType  string            `json:"artifactType"`
		Annotations   map[string]string `json:"annotations"`
		Config        *Descriptor       `json:"config"`
		Layers        []Descriptor      `json:"layers"`
		Manifests     []Descriptor      `json:"manifests"`
		FSLayers      json.RawMessage   `json:"fsLayers"`
		Subject       *Descriptor       `json:"subject"`
	}
	if err := json.Unmarshal(m.Raw, &doc); err != nil {
		return Links{}, Errorf(ErrInvalid, CodeManifestInvalid, "read manifest: %w", err)
	}
	l := Links{MediaType: doc.MediaType, ArtifactType: doc.ArtifactType, Annotations: doc.Annotations,
		Config: doc.Config, Layers: doc.Layers, Manifests: doc.Manifests, Subject: doc.Subject}
	if l.ArtifactType == "" && doc.Config != nil {
		l.ArtifactType = doc.Config.MediaType
	}
	switch {
	case doc.SchemaVersion != 2:
		return Links{}, Errorf(ErrInvalid, CodeManifestInvalid, "schemaVersion is %d, not 2", doc.SchemaVersion)
	case doc.MediaType != "" && doc.MediaType != m.MediaType:
		return Links{}, Errorf(ErrInvalid, CodeManifestInvalid, "the document says mediaType %q, it came as %q", doc.MediaType, m.MediaType)
	case doc.FSLayers != nil:
		return Links{}, Errorf(ErrInvalid, CodeManifestInvalid, "a manifest with fsLayers is ambiguous")
	case IsIndex(m.MediaType) && (doc.Config != nil || doc.Layers != nil):
		return Links{}, Errorf(ErrInvalid, CodeManifestInvalid, "an index with config or layers is ambiguous")
	case !IsIndex(m.MediaType) && doc.Manifests != nil:
		return Links{}, Errorf(ErrInvalid, CodeManifestInvalid, "an image manifest with manifests is ambiguous")
	case !IsIndex(m.MediaType) && doc.Config == nil:
		return Links{}, Errorf(ErrInvalid, CodeManifestInvalid, "the manifest has no config")
	}
	return l, l.check()
}

func (l Links) check() error {
	all := slices.Concat(l.Blobs(), l.Manifests)
	if l.Subject != nil {
		all = append(all, *l.Subject)
	}
	if len(all) > MaxDescriptors {
		return Errorf(ErrInvalid, CodeManifestInvalid, "the manifest has %d descriptors, the limit is %d", len(all), MaxDescriptors)
	}
	if len(l.Manifests) > MaxManifests {
		return Errorf(ErrInvalid, CodeManifestInvalid, "the index has %d manifests, the limit is %d", len(l.Manifests), MaxManifests)
	}
	for _, d := range all {
		if _, err := ref.ParseDigest(string(d.Digest)); err != nil {
			return Errorf(ErrInvalid, CodeManifestInvalid, "read manifest: %w", err)
		}
		if d.Size < 0 {
			return Errorf(ErrInvalid, CodeManifestInvalid, "%s has the negative size %d", d.Digest, d.Size)
		}
	}
	return nil
}

// FallbackTag returns the tag under which referrers to d are listed where a
// registry lacks the referrers API: "<algorithm>-<hex>", the algorithm cut to
// 32 and the hash to 64 characters (distribution-spec 1.1, "Referrers Tag
// Schema").
func FallbackTag(d Digest) string {
	alg, hex := string(d.Algorithm()), d.Encoded()
	return alg[:min(len(alg), 32)] + "-" + hex[:min(len(hex), 64)]
}
