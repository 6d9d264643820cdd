package registry

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
)

// A memory is a backend with every power. Repositories are keyed by the whole
// name, so that it does for hosted and proxied names.
type memory struct {
	mu      sync.Mutex // guards all below
	repos   map[ref.Name]*memoryRepo
	uploads map[string]*memoryUpload
	calls   int    // of reading methods
	via     string // that the last of them was told
	sparse  bool
	err     error       // what every reading method returns, where not nil
	outcome oci.Outcome // what it reports
	open    func(content []byte, off int64) io.ReadCloser
	unsized bool // blobs have no known size
}

type memoryRepo struct {
	tags      map[string]oci.Digest
	manifests map[oci.Digest]oci.Manifest
	blobs     map[oci.Digest][]byte
}

func newMemory() *memory {
	return &memory{repos: map[ref.Name]*memoryRepo{}, uploads: map[string]*memoryUpload{},
		open: func(b []byte, off int64) io.ReadCloser { return io.NopCloser(bytes.NewReader(b[off:])) }}
}

var _ interface {
	oci.Reader
	oci.Writer
	oci.Lister
	oci.Catalog
	oci.ReferrersLister
	oci.Mounter
	oci.Deleter
	oci.Uploader
} = (*memory)(nil)

// read begins a reading method; the caller unlocks.
func (m *memory) read(ctx context.Context, n ref.Name) (*memoryRepo, error) {
	m.mu.Lock()
	m.calls++
	m.via = oci.Via(ctx)
	o := oci.OutcomeOf(ctx)
	o.Result, o.Age, o.Warning = m.outcome.Result, m.outcome.Age, m.outcome.Warning
	if m.err != nil {
		return nil, m.err
	}
	if r := m.repos[n]; r != nil {
		return r, nil
	}
	return nil, oci.ErrNotFound
}

func (m *memory) repo(n ref.Name) *memoryRepo {
	r := m.repos[n]
	if r == nil {
		r = &memoryRepo{map[string]oci.Digest{}, map[oci.Digest]oci.Manifest{}, map[oci.Digest][]byte{}}
		m.repos[n] = r
	}
	return r
}

func (m *memory) Resolve(ctx context.Context, r ref.Ref) (oci.Descriptor, error) {
	man, err := m.Manifest(ctx, r)
	return man.Descriptor(), err
}

func (m *memory) Manifest(ctx context.Context, r ref.Ref) (oci.Manifest, error) {
	repo, err := m.read(ctx, r.Name)
	defer m.mu.Unlock()
	if err != nil {
		return oci.Manifest{}, err
	}
	d := r.Digest
	if d == "" {
		d = repo.tags[r.Tag]
	}
	man, ok := repo.manifests[d]
	if !ok {
		return oci.Manifest{}, oci.ErrNotFound
	}
	return man, nil
}

func (m *memory) Stat(ctx context.Context, n ref.Name, d oci.Digest) (oci.Descriptor, error) {
	repo, err := m.read(ctx, n)
	defer m.mu.Unlock()
	if err != nil {
		return oci.Descriptor{}, err
	}
	b, ok := repo.blobs[d]
	if !ok {
		return oci.Descriptor{}, oci.ErrNotFound
	}
	if m.unsized {
		return oci.Descriptor{Digest: d, Size: -1}, nil
	}
	return oci.Descriptor{Digest: d, Size: int64(len(b))}, nil
}

func (m *memory) Blob(ctx context.Context, n ref.Name, d oci.Digest, off int64) (oci.Blob, error) {
	desc, err := m.Stat(ctx, n, d)
	if err != nil {
		return oci.Blob{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return oci.Blob{Descriptor: desc, Body: m.open(m.repos[n].blobs[d], off), Offset: off}, nil
}

func (m *memory) PutBlob(ctx context.Context, n ref.Name, d oci.Descriptor, open oci.Source) error {
	rc, err := open(ctx, 0)
	if err != nil {
		return err
	}
	defer rc.Close()
	b, err := io.ReadAll(oci.VerifyReader(rc, d.Digest, d.Size))
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.repo(n).blobs[d.Digest] = b
	return nil
}

func (m *memory) PutManifest(_ context.Context, n ref.Name, man oci.Manifest, tags ...string) error {
	links, err := man.Links()
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	repo := m.repo(n)
	for _, d := range links.Blobs() {
		if repo.blobs[d.Digest] == nil && !m.sparse && !strings.Contains(d.MediaType, "nondistributable") {
			return oci.Errorf(oci.ErrInvalid, oci.CodeManifestBlobUnknown, "blob %s is not here", d.Digest)
		}
	}
	for _, d := range links.Manifests {
		if _, ok := repo.manifests[d.Digest]; !ok && !m.sparse {
			return oci.Errorf(oci.ErrInvalid, oci.CodeManifestBlobUnknown, "manifest %s is not here", d.Digest)
		}
	}
	repo.manifests[man.Digest] = man
	for _, tag := range tags {
		repo.tags[tag] = man.Digest
	}
	return nil
}

func (m *memory) Tags(ctx context.Context, n ref.Name, after string) iter.Seq2[string, error] {
	repo, err := m.read(ctx, n)
	defer m.mu.Unlock()
	if err != nil {
		return func(yield func(string, error) bool) { yield("", err) }
	}
	return sortedAfter(slices.Collect(maps.Keys(repo.tags)), after)
}

func (m *memory) Repositories(_ context.Context, after string) iter.Seq2[string, error] {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []string
	for n, repo := range m.repos {
		if len(repo.manifests) > 0 {
			all = append(all, n.Path)
		}
	}
	return sortedAfter(all, after)
}

func sortedAfter(all []string, after string) iter.Seq2[string, error] {
	slices.Sort(all)
	return func(yield func(string, error) bool) {
		for _, s := range all {
			if s > after && !yield(s, nil) {
				return
			}
		}
	}
}

func (m *memory) Referrers(ctx context.Context, n ref.Name, d oci.Digest, artifactType string) ([]oci.Descriptor, error) {
	repo, err := m.read(ctx, n)
	defer m.mu.Unlock()
	if err != nil {
		return nil, err
	}
	var all []oci.Descriptor
	for _, man := range repo.manifests {
		links, err := man.Links()
		if err != nil || links.Subject == nil || links.Subject.Digest != d || artifactType != "" && links.ArtifactType != artifactType {
			continue
		}
		desc := man.Descriptor()
		desc.ArtifactType, desc.Annotations = links.ArtifactType, links.Annotations
		all = append(all, desc)
	}
	return all, nil
}

func (m *memory) Mount(_ context.Context, to, from ref.Name, d oci.Digest) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for n, repo := range m.repos {
		if b := repo.blobs[d]; b != nil && (from.Path == "" || n == from) {
			m.repo(to).blobs[d] = b
			return nil
		}
	}
	return oci.ErrNotFound
}

func (m *memory) DeleteTag(_ context.Context, n ref.Name, tag string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return drop(m.repo(n).tags, tag)
}

func (m *memory) DeleteManifest(_ context.Context, n ref.Name, d oci.Digest) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	maps.DeleteFunc(m.repo(n).tags, func(_ string, of oci.Digest) bool { return of == d })
	return drop(m.repo(n).manifests, d)
}

func (m *memory) DeleteBlob(_ context.Context, n ref.Name, d oci.Digest) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return drop(m.repo(n).blobs, d)
}

func drop[K comparable, V any](from map[K]V, key K) error {
	if _, ok := from[key]; !ok {
		return oci.ErrNotFound
	}
	delete(from, key)
	return nil
}

func (m *memory) NewUpload(_ context.Context, n ref.Name, _ string) (oci.Upload, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	u := &memoryUpload{m: m, n: n, id: fmt.Sprintf("upload-%d", len(m.uploads))}
	m.uploads[u.id] = u
	return u, nil
}

func (m *memory) Upload(_ context.Context, n ref.Name, id string) (oci.Upload, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if u := m.uploads[id]; u != nil && u.n == n && !u.ended {
		return u, nil
	}
	return nil, oci.ErrNotFound
}

type memoryUpload struct {
	m     *memory
	n     ref.Name
	id    string
	b     []byte
	ended bool
}

func (u *memoryUpload) ID() string { return u.id }

func (u *memoryUpload) Size() int64 {
	u.m.mu.Lock()
	defer u.m.mu.Unlock()
	return int64(len(u.b))
}

func (u *memoryUpload) Append(_ context.Context, off int64, r io.Reader) (int64, error) {
	if size := u.Size(); off >= 0 && off != size {
		return size, &oci.RangeError{Size: size}
	}
	b, err := io.ReadAll(r)
	u.m.mu.Lock()
	defer u.m.mu.Unlock()
	u.b = append(u.b, b...)
	return int64(len(u.b)), err
}

func (u *memoryUpload) Commit(_ context.Context, d oci.Digest) (oci.Descriptor, error) {
	u.m.mu.Lock()
	defer u.m.mu.Unlock()
	u.ended = true
	if got := oci.FromBytes(u.b, d); got != d {
		return oci.Descriptor{}, oci.Errorf(oci.ErrMismatch, oci.CodeDigestInvalid, "the blob is %s", got)
	}
	u.m.repo(u.n).blobs[d] = append([]byte{}, u.b...)
	return oci.Descriptor{Digest: d, Size: int64(len(u.b))}, nil
}

func (u *memoryUpload) Cancel(context.Context) error {
	u.m.mu.Lock()
	defer u.m.mu.Unlock()
	u.ended, u.b = true, nil
	return nil
}
