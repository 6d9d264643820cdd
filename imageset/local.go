package imageset

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"io"
	"io/fs"
	"iter"
	"os"
	"path"
	"regexp"
	"strings"

	"github.com/entrepot/entrepot/layout"
	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
)

// localHost is the registry of images that are in none, as podman calls those
// that it has built.
const localHost = "localhost"

// onDisk opens the image of a layout and returns what it is called: the name
// that is given, else one after the directory.
func (x *expansion) onDisk(ctx context.Context, dir, name, tag string) (ref.Ref, error) {
	l, dir, at, err := openLayout(dir)
	if err != nil {
		return ref.Ref{}, err
	}
	x.set.closers = append(x.set.closers, l.Close)
	m, err := l.Manifest(ctx, at)
	if err != nil {
		return ref.Ref{}, err
	}
	r := ref.Ref{Name: ref.Name{Host: localHost, Path: plainPath(dir)}}
	if name != "" {
		if r, err = ref.Parse(name); err != nil {
			return ref.Ref{}, err
		}
	}
	r.Tag, r.Digest = cmp.Or(tag, r.Tag, at.Tag, "latest"), ""
	if !tagForm.MatchString(r.Tag) {
		r.Tag = "latest"
	}
	if _, taken := x.set.Local[r.Name]; taken {
		return r, oci.Errorf(oci.ErrInvalid, "", "another image of the set is called %s too: give its directory another name", r.Name)
	}
	return r, x.made(r.Name, nameless{l}).put(m, r.Tag)
}

// nameless is a layout whose repository without a name is asked, whatever the
// image is called.
type nameless struct{ *layout.Layout }

func (l nameless) Resolve(ctx context.Context, r ref.Ref) (oci.Descriptor, error) {
	r.Name = ref.Name{}
	return l.Layout.Resolve(ctx, r)
}

func (l nameless) Manifest(ctx context.Context, r ref.Ref) (oci.Manifest, error) {
	r.Name = ref.Name{}
	return l.Layout.Manifest(ctx, r)
}

func (l nameless) Tags(ctx context.Context, _ ref.Name, after string) iter.Seq2[string, error] {
	return l.Layout.Tags(ctx, ref.Name{}, after)
}

func (l nameless) Subjects(ctx context.Context, _ ref.Name, d oci.Digest) ([]oci.Descriptor, error) {
	return l.Layout.Subjects(ctx, ref.Name{}, d)
}

// openLayout opens a layout at a path, which may have a tag after a colon.
func openLayout(dir string) (l *layout.Layout, path string, at ref.Ref, err error) {
	_, err = os.Stat(dir)
	if i := strings.LastIndexByte(dir, ':'); errors.Is(err, fs.ErrNotExist) && i > strings.LastIndexByte(dir, '/') {
		dir, at.Tag = dir[:i], dir[i+1:]
	}
	l, err = layout.Open(dir)
	return l, dir, at, err
}

var notInNames = regexp.MustCompile(`[^a-z0-9]+`)

// plainPath makes a repository's path of a directory's name.
func plainPath(dir string) string {
	base := strings.Trim(notInNames.ReplaceAllString(strings.ToLower(path.Base(path.Clean("/"+dir))), "-"), "-")
	return cmp.Or(base, "image")
}

// A shelf is a repository with some images of its own: all else is read from
// the rest, which may be nil.
type shelf struct {
	rest      oci.Reader
	tags      map[string]oci.Manifest
	manifests map[oci.Digest]oci.Manifest
	blobs     map[oci.Digest][]byte
}

var (
	_ oci.Reader        = (*shelf)(nil)
	_ oci.Lister        = (*shelf)(nil)
	_ oci.SubjectLister = (*shelf)(nil)
)

// made returns the repository for images that the set has by itself. All else in
// it is read from rest.
func (x *expansion) made(n ref.Name, rest oci.Reader) *shelf {
	if s, ok := x.set.Local[n].(*shelf); ok {
		return s
	}
	s := &shelf{rest: rest, tags: map[string]oci.Manifest{}, manifests: map[oci.Digest]oci.Manifest{}, blobs: map[oci.Digest][]byte{}}
	x.set.Local[n] = s
	return s
}

// put adds a manifest. A tag that is taken by another is an error.
func (s *shelf) put(m oci.Manifest, tag string) error {
	s.manifests[m.Digest] = m
	if tag == "" {
		return nil
	}
	if had, ok := s.tags[tag]; ok && had.Digest != m.Digest {
		return oci.Errorf(oci.ErrInvalid, oci.CodeManifestInvalid, "the tag %s would be two images: give one of them a targetTag", tag)
	}
	s.tags[tag] = m
	return nil
}

func errAbsent(what string) error {
	return oci.Errorf(oci.ErrNotFound, oci.CodeManifestUnknown, "%s is not there", what)
}

func (s *shelf) own(r ref.Ref) (oci.Manifest, bool) {
	if r.Digest != "" {
		m, ok := s.manifests[r.Digest]
		return m, ok
	}
	m, ok := s.tags[r.Tag]
	return m, ok
}

// Resolve returns the descriptor of a manifest.
func (s *shelf) Resolve(ctx context.Context, r ref.Ref) (oci.Descriptor, error) {
	if m, ok := s.own(r); ok {
		return m.Descriptor(), nil
	}
	if s.rest == nil {
		return oci.Descriptor{}, errAbsent(r.String())
	}
	return s.rest.Resolve(ctx, r)
}

// Manifest returns a manifest.
func (s *shelf) Manifest(ctx context.Context, r ref.Ref) (oci.Manifest, error) {
	if m, ok := s.own(r); ok {
		return m, nil
	}
	if s.rest == nil {
		return oci.Manifest{}, errAbsent(r.String())
	}
	return s.rest.Manifest(ctx, r)
}

// Stat returns the size of a blob.
func (s *shelf) Stat(ctx context.Context, n ref.Name, d oci.Digest) (oci.Descriptor, error) {
	if b, ok := s.blobs[d]; ok {
		return oci.Descriptor{Digest: d, Size: int64(len(b))}, nil
	}
	if s.rest == nil {
		return oci.Descriptor{}, errAbsent(d.String())
	}
	return s.rest.Stat(ctx, n, d)
}

// Blob opens a blob.
func (s *shelf) Blob(ctx context.Context, n ref.Name, d oci.Digest, off int64) (oci.Blob, error) {
	b, ok := s.blobs[d]
	switch {
	case ok && (off < 0 || off > int64(len(b))):
		return oci.Blob{}, oci.Errorf(oci.ErrInvalid, "", "the blob %s has no byte %d", d, off)
	case ok:
		return oci.Blob{
			Descriptor: oci.Descriptor{Digest: d, Size: int64(len(b))},
			Body:       io.NopCloser(bytes.NewReader(b[off:])), Offset: off, From: localHost,
		}, nil
	case s.rest == nil:
		return oci.Blob{}, errAbsent(d.String())
	}
	return s.rest.Blob(ctx, n, d, off)
}

// Tags lists the tags of the images, and those of the rest.
func (s *shelf) Tags(ctx context.Context, n ref.Name, after string) iter.Seq2[string, error] {
	if l, ok := s.rest.(oci.Lister); ok {
		return l.Tags(ctx, n, after)
	}
	return func(yield func(string, error) bool) { yield("", oci.ErrUnsupported) }
}

// Subjects returns what refers to a manifest.
func (s *shelf) Subjects(ctx context.Context, n ref.Name, d oci.Digest) ([]oci.Descriptor, error) {
	if l, ok := s.rest.(oci.SubjectLister); ok {
		return l.Subjects(ctx, n, d)
	}
	return nil, oci.ErrUnsupported
}
