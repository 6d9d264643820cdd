package regtest

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
	ispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// A Shelf is the content of a registry: blobs, manifests and tags by
// repository. Its methods are safe for concurrent use. They panic where a test
// asks for what cannot be, such as a tag on a manifest that is not there.
type Shelf struct {
	mu    sync.Mutex // guards repos and what they hold
	repos map[string]*repo
}

type repo struct {
	blobs     map[oci.Digest]Content
	manifests map[oci.Digest]oci.Manifest
	tags      map[string]oci.Digest
}

// NewShelf returns an empty shelf.
func NewShelf() *Shelf { return &Shelf{repos: map[string]*repo{}} }

// AddBlob adds a blob to a repository and returns its descriptor.
func (s *Shelf) AddBlob(path string, c Content) oci.Descriptor {
	d := oci.Descriptor{MediaType: ispec.MediaTypeImageLayer, Digest: DigestOf(c), Size: c.Size()}
	s.AddBlobAs(path, d.Digest, c)
	return d
}

// AddBlobAs adds content under a digest that need not be its own, as a
// registry that has gone bad would.
func (s *Shelf) AddBlobAs(path string, d oci.Digest, c Content) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.repo(path).blobs[d] = c
}

// AddManifest adds the exact bytes of a manifest, whatever they are, and
// points tags at it.
func (s *Shelf) AddManifest(path, mediaType string, raw []byte, tags ...string) oci.Manifest {
	m := oci.Manifest{MediaType: mediaType, Digest: oci.FromBytes(raw, ""), Raw: raw}
	s.putManifest(path, m, tags...)
	return m
}

func (s *Shelf) putManifest(path string, m oci.Manifest, tags ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.repo(path)
	r.manifests[m.Digest] = m
	for _, tag := range tags {
		r.tags[tag] = m.Digest
	}
}

// SetTag points a tag at a manifest of the repository, or moves it there.
func (s *Shelf) SetTag(path, tag string, d oci.Digest) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.repo(path)
	if _, ok := r.manifests[d]; !ok {
		panic(fmt.Sprintf("regtest: %s has no manifest %s", path, d))
	}
	r.tags[tag] = d
}

// Delete removes a tag, a manifest with its tags, or a blob, and reports
// whether there was one.
func (s *Shelf) Delete(path, reference string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, d := s.repo(path), oci.Digest(reference)
	_, tag := r.tags[reference]
	_, manifest := r.manifests[d]
	_, blob := r.blobs[d]
	delete(r.tags, reference)
	delete(r.manifests, d)
	delete(r.blobs, d)
	maps.DeleteFunc(r.tags, func(_ string, to oci.Digest) bool { return to == d })
	return tag || manifest || blob
}

// repo returns a repository, a new one where there is none. The caller holds
// the mutex.
func (s *Shelf) repo(path string) *repo {
	r := s.repos[path]
	if r == nil {
		r = &repo{map[oci.Digest]Content{}, map[oci.Digest]oci.Manifest{}, map[string]oci.Digest{}}
		s.repos[path] = r
	}
	return r
}

func (s *Shelf) blob(path string, d oci.Digest) (Content, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.repos[path]
	if r == nil {
		return nil, false
	}
	c, ok := r.blobs[d]
	return c, ok
}

// manifest finds a manifest by tag or digest.
func (s *Shelf) manifest(path, reference string) (oci.Manifest, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.repos[path]
	if r == nil {
		return oci.Manifest{}, false
	}
	d, ok := r.tags[reference]
	if !ok {
		d = oci.Digest(reference)
	}
	m, ok := r.manifests[d]
	return m, ok
}

func (s *Shelf) tags(path string) ([]string, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.repos[path]
	if r == nil {
		return nil, false
	}
	return slices.Sorted(maps.Keys(r.tags)), true
}

func (s *Shelf) paths() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.repos))
}

// referrers returns the descriptors of what has d as its subject, in the order
// of their digests.
func (s *Shelf) referrers(path string, d oci.Digest, artifactType string) []oci.Descriptor {
	s.mu.Lock()
	defer s.mu.Unlock()
	found := []oci.Descriptor{}
	r := s.repos[path]
	if r == nil {
		return found
	}
	for _, m := range r.manifests {
		l, err := m.Links()
		if err != nil || l.Subject == nil || l.Subject.Digest != d {
			continue
		}
		if artifactType == "" || l.ArtifactType == artifactType {
			desc := m.Descriptor()
			desc.ArtifactType, desc.Annotations = l.ArtifactType, l.Annotations
			found = append(found, desc)
		}
	}
	slices.SortFunc(found, func(a, b oci.Descriptor) int { return strings.Compare(string(a.Digest), string(b.Digest)) })
	return found
}

// fallback makes the index of the referrers tag schema for a tag such as
// "sha256-<hex>" (distribution-spec 1.1, "Referrers Tag Schema").
func (s *Shelf) fallback(path, tag string) (oci.Manifest, bool) {
	d, err := ref.ParseDigest(strings.Replace(tag, "-", ":", 1))
	if err != nil {
		return oci.Manifest{}, false
	}
	found := s.referrers(path, d, "")
	if len(found) == 0 {
		return oci.Manifest{}, false
	}
	raw := indexOf(found)
	return oci.Manifest{MediaType: oci.TypeImageIndex, Digest: oci.FromBytes(raw, ""), Raw: raw}, true
}

func indexOf(manifests []oci.Descriptor) []byte {
	index := ispec.Index{MediaType: oci.TypeImageIndex, Manifests: manifests}
	index.SchemaVersion = 2
	return mustJSON(index)
}

func mustJSON(v any) []byte {
	raw, err := json.Marshal(v)
	if err != nil {
		panic(err) // only types of our own
	}
	return raw
}

// DigestOf returns the sha256 digest of content.
func DigestOf(c Content) oci.Digest {
	h := oci.Algorithm("").Hash()
	if _, err := io.Copy(h, io.NewSectionReader(c, 0, c.Size())); err != nil {
		panic(err) // content does not fail
	}
	return oci.FromHash("sha256:", h)
}

// Content returns a blob of a repository, and whether it is there.
func (s *Shelf) Content(path string, d oci.Digest) (Content, bool) { return s.blob(path, d) }
