package layout

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"iter"
	"maps"
	"slices"
	"strings"

	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
	ispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Resolve returns the descriptor of a manifest. A reference with neither name,
// tag nor digest means the only one that there is.
func (l *Layout) Resolve(ctx context.Context, r ref.Ref) (oci.Descriptor, error) {
	m, err := l.Manifest(ctx, r)
	return m.Descriptor(), err
}

// Manifest returns a manifest, its digest verified.
func (l *Layout) Manifest(_ context.Context, r ref.Ref) (oci.Manifest, error) {
	d, err := l.find(r)
	if err != nil {
		return oci.Manifest{}, err
	}
	f, size, err := l.open(d.Digest, oci.CodeManifestUnknown)
	if err != nil {
		return oci.Manifest{}, err
	}
	defer f.Close()
	if size > oci.MaxManifest {
		return oci.Manifest{}, oci.Errorf(oci.ErrTooLarge, "", "%s is no manifest: it has %d bytes", d.Digest, size)
	}
	raw, err := io.ReadAll(oci.VerifyReader(f, d.Digest, size))
	if err != nil {
		return oci.Manifest{}, err
	}
	m := oci.Manifest{MediaType: d.MediaType, Digest: d.Digest, Raw: raw}
	if m.MediaType == "" {
		m.MediaType = mediaTypeOf(raw)
	}
	return m, nil
}

// mediaTypeOf finds out what a manifest is that nobody names: by what it says,
// or by what it looks like.
func mediaTypeOf(raw []byte) string {
	var doc struct {
		MediaType string          `json:"mediaType"`
		Manifests json.RawMessage `json:"manifests"`
	}
	switch err := json.Unmarshal(raw, &doc); {
	case err == nil && doc.MediaType != "":
		return doc.MediaType
	case err == nil && doc.Manifests != nil:
		return oci.TypeImageIndex
	}
	return oci.TypeImageManifest
}

// open opens content. code is what a client reads where it is missing.
func (l *Layout) open(d oci.Digest, code string) (fs.File, int64, error) {
	name, err := pathOf(d)
	if err != nil {
		return nil, 0, err
	}
	f, err := l.root.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0, oci.Errorf(oci.ErrNotFound, code, "the layout has no %s", d)
	}
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = oci.Errorf(oci.ErrInvalid, code, "%s is no file", name)
	}
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, info.Size(), nil
}

// Stat returns the size of a blob, of whichever repository.
func (l *Layout) Stat(_ context.Context, _ ref.Name, d oci.Digest) (oci.Descriptor, error) {
	f, size, err := l.open(d, oci.CodeBlobUnknown)
	if err != nil {
		return oci.Descriptor{}, err
	}
	return oci.Descriptor{Digest: d, Size: size}, f.Close()
}

// Blob opens a blob, of whichever repository. Its body is an *os.File.
func (l *Layout) Blob(_ context.Context, _ ref.Name, d oci.Digest, off int64) (oci.Blob, error) {
	f, size, err := l.open(d, oci.CodeBlobUnknown)
	if err != nil {
		return oci.Blob{}, err
	}
	if off < 0 || off > size {
		f.Close()
		return oci.Blob{}, oci.Errorf(oci.ErrInvalid, "", "the offset %d is outside of the blob's %d bytes", off, size)
	}
	if _, err := f.(io.Seeker).Seek(off, io.SeekStart); err != nil {
		f.Close()
		return oci.Blob{}, err
	}
	return oci.Blob{Descriptor: oci.Descriptor{Digest: d, Size: size}, Body: f, Offset: off, From: "layout"}, nil
}

// Tags lists the tags of a repository; those of the one without a name are all
// annotations that are tags.
func (l *Layout) Tags(_ context.Context, n ref.Name, after string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		index, err := l.index()
		if err != nil {
			yield("", err)
			return
		}
		prefix := strings.TrimSuffix(nameOf(n, "x"), "x")
		tags := map[string]bool{}
		for _, d := range index.Manifests {
			tag, ok := strings.CutPrefix(d.Annotations[ispec.AnnotationRefName], prefix)
			if ok && ref.ValidTag(tag) && tag > after {
				tags[tag] = true
			}
		}
		for _, tag := range slices.Sorted(maps.Keys(tags)) {
			if !yield(tag, nil) {
				return
			}
		}
	}
}

// Referrers returns what refers to a manifest, among the entries of index.json
// without a name and the list that is kept under the tag of the referrers tag
// schema.
func (l *Layout) Referrers(ctx context.Context, n ref.Name, d oci.Digest, artifactType string) ([]oci.Descriptor, error) {
	index, err := l.index()
	if err != nil {
		return nil, err
	}
	all := slices.DeleteFunc(index.Manifests, func(o oci.Descriptor) bool { return o.Annotations[ispec.AnnotationRefName] != "" })
	if list, err := l.Manifest(ctx, n.WithTag(oci.FallbackTag(d))); err == nil {
		if links, err := list.Links(); err == nil {
			all = append(all, links.Manifests...)
		}
	}
	var found []oci.Descriptor
	seen := map[oci.Digest]bool{}
	for _, one := range all {
		if seen[one.Digest] {
			continue
		}
		seen[one.Digest] = true
		m, err := l.Manifest(ctx, n.WithDigest(one.Digest))
		if err != nil {
			continue // an entry whose content is not here refers to nothing
		}
		links, err := m.Links()
		if err != nil || links.Subject == nil || links.Subject.Digest != d || artifactType != "" && links.ArtifactType != artifactType {
			continue
		}
		desc := m.Descriptor()
		desc.ArtifactType, desc.Annotations = links.ArtifactType, links.Annotations
		found = append(found, desc)
	}
	return found, nil
}

// Subjects is Referrers of every type.
func (l *Layout) Subjects(ctx context.Context, n ref.Name, d oci.Digest) ([]oci.Descriptor, error) {
	return l.Referrers(ctx, n, d, "")
}

// Entries returns what index.json names, sorted by name and digest. Manifests
// that stand there without a name because they refer to others are not in it.
func (l *Layout) Entries() ([]Entry, error) {
	index, err := l.index()
	if err != nil {
		return nil, err
	}
	var all []Entry
	for _, d := range index.Manifests {
		text := d.Annotations[ispec.AnnotationRefName]
		if text == "" && l.refers(d.Digest) {
			continue
		}
		all = append(all, Entry{originalName(text, d.Annotations[annotationImage]), d})
	}
	sortEntries(all)
	return all, nil
}

// refers reports whether a manifest refers to another one.
func (l *Layout) refers(d oci.Digest) bool {
	m, err := l.Manifest(context.Background(), ref.Ref{Digest: d})
	if err != nil {
		return false
	}
	links, err := m.Links()
	return err == nil && links.Subject != nil
}

// sortEntries orders entries by name and digest.
func sortEntries(all []Entry) {
	slices.SortStableFunc(all, func(x, y Entry) int {
		return cmp.Or(strings.Compare(x.Ref.String(), y.Ref.String()), cmp.Compare(x.Descriptor.Digest, y.Descriptor.Digest))
	})
}
