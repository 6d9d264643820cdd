// Package layout keeps images in files: in a directory, as an OCI image layout
// (image-spec 1.1, "OCI Image Layout Specification"), or in an archive, which is
// one in a tar.
//
// A [Layout] is an [oci.Reader] and an [oci.Writer]. Blobs and manifests are
// files named by their digests, which appear when they are verified; names are
// entries of index.json, which is replaced as a whole.
//
//	l, err := layout.Create("images")
//	err = l.PutManifest(ctx, ref.Name{}, m, "v1")
//	m, err = l.Manifest(ctx, ref.Name{}.WithTag("v1"))
//
// A layout has one pool of blobs, so that every repository of it has every
// blob. A tag stands in the annotation org.opencontainers.image.ref.name: by
// itself where the repository has no name, as skopeo, crane and oras write it,
// and after the whole name, "docker.io/library/alpine:3.20", where it has one.
package layout

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"sync"

	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
	ispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// A Layout is one directory. Its methods are safe for concurrent use, by
// several processes too.
type Layout struct {
	root *os.Root

	mu sync.Mutex // held while index.json is replaced by this process
}

var (
	_ oci.Reader          = (*Layout)(nil)
	_ oci.Writer          = (*Layout)(nil)
	_ oci.Pusher          = (*Layout)(nil)
	_ oci.Lister          = (*Layout)(nil)
	_ oci.ReferrersLister = (*Layout)(nil)
	_ oci.SubjectLister   = (*Layout)(nil)
)

// Open opens a layout that is there. The error is ErrNotFound where the
// directory is none. Whoever opened it closes it.
func Open(dir string) (*Layout, error) {
	root, err := os.OpenRoot(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, oci.Errorf(oci.ErrNotFound, oci.CodeNameUnknown, "there is no OCI layout in %s: %w", dir, err)
	}
	if err != nil {
		return nil, fmt.Errorf("open layout: %w", err)
	}
	if err := check(root); err != nil {
		root.Close()
		return nil, fmt.Errorf("open layout %s: %w", dir, err)
	}
	return &Layout{root: root}, nil
}

// check reads the file that makes a directory a layout.
func check(root *os.Root) error {
	raw, err := root.ReadFile(ispec.ImageLayoutFile)
	if errors.Is(err, fs.ErrNotExist) {
		return oci.Errorf(oci.ErrNotFound, oci.CodeNameUnknown, "it is no OCI layout: %w", err)
	}
	if err != nil {
		return err
	}
	return checkLayout(raw)
}

// Create opens a layout, and makes one where the directory is empty or not
// there. A directory with other files in it is refused with ErrInvalid.
func Create(dir string) (*Layout, error) {
	l, err := Open(dir)
	if !errors.Is(err, oci.ErrNotFound) {
		return l, err
	}
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return nil, fmt.Errorf("make layout: %w", err)
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) > 0 {
		return nil, cmp.Or(err, oci.Errorf(oci.ErrInvalid, "", "%s is no OCI layout, and not empty", dir))
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("make layout: %w", err)
	}
	l = &Layout{root: root}
	if err := l.begin(); err != nil {
		root.Close()
		return nil, fmt.Errorf("make layout %s: %w", dir, err)
	}
	return l, nil
}

func (l *Layout) begin() error {
	if err := l.root.MkdirAll("blobs/"+string(oci.Algorithm("")), 0o777); err != nil {
		return err
	}
	if err := l.writeIndex(ispec.Index{}); err != nil {
		return err
	}
	raw, err := json.Marshal(ispec.ImageLayout{Version: ispec.ImageLayoutVersion})
	if err != nil {
		return err
	}
	return l.replace(ispec.ImageLayoutFile, raw) // last: now it is one
}

// Close closes the directory. Bodies that are open stay readable.
func (l *Layout) Close() error { return l.root.Close() }

// pathOf returns where content is. Digests of other forms would lead elsewhere.
func pathOf(d oci.Digest) (string, error) {
	if _, err := ref.ParseDigest(string(d)); err != nil {
		return "", oci.Errorf(oci.ErrInvalid, oci.CodeDigestInvalid, "%w", err)
	}
	return "blobs/" + string(d.Algorithm()) + "/" + d.Encoded(), nil
}

// index reads index.json.
func (l *Layout) index() (ispec.Index, error) {
	raw, err := l.root.ReadFile(ispec.ImageIndexFile)
	if err != nil {
		return ispec.Index{}, fmt.Errorf("read layout: %w", err)
	}
	var index ispec.Index
	if err := json.Unmarshal(raw, &index); err != nil {
		return index, oci.Errorf(oci.ErrInvalid, "", "read %s: %w", ispec.ImageIndexFile, err)
	}
	for _, d := range index.Manifests {
		if _, err := ref.ParseDigest(string(d.Digest)); err != nil {
			return index, oci.Errorf(oci.ErrInvalid, "", "read %s: %w", ispec.ImageIndexFile, err)
		}
	}
	return index, nil
}

// nameOf returns the annotation of a tag of a repository.
func nameOf(n ref.Name, tag string) string {
	if n == (ref.Name{}) {
		return tag
	}
	return n.WithTag(tag).String()
}

// find returns the entry that r names.
func (l *Layout) find(r ref.Ref) (oci.Descriptor, error) {
	index, err := l.index()
	if err != nil {
		return oci.Descriptor{}, err
	}
	name := nameOf(r.Name, r.Tag)
	i := slices.IndexFunc(index.Manifests, func(d oci.Descriptor) bool {
		return r.Digest != "" && d.Digest == r.Digest || r.Digest == "" && d.Annotations[ispec.AnnotationRefName] == name
	})
	switch {
	case i >= 0:
		return index.Manifests[i], nil
	case r.Digest != "":
		return oci.Descriptor{Digest: r.Digest}, nil // it may be a part of an index
	case r.Name == (ref.Name{}) && r.Tag == "" && len(index.Manifests) == 1:
		return index.Manifests[0], nil // there is only one that can be meant
	}
	return oci.Descriptor{}, oci.Errorf(oci.ErrNotFound, oci.CodeManifestUnknown, "the layout has no %q", name)
}
