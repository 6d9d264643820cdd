package layout

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"sync"

	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
)

// An Archive is an OCI image layout in a tar, or in the volumes of one, that is
// read where it is: nothing is unpacked, and nothing is opened by a name that
// the archive gives. A file that docker save wrote is one too; its manifests
// are made from what it says.
//
// Its methods are safe for concurrent use. Files that are written over while
// they are open give content that does not match its digest.
type Archive struct {
	volumes []*volume
	content map[oci.Digest]extents // :: digest → where it is
	types   map[oci.Digest]string  // :: digest → the media type that index.json or the set says it has
	made    map[oci.Digest][]byte  // :: digest → a manifest that no file holds
	named   []named                // what index.json lists, in its order
	// The same by the names that ask for them: the annotation as it is, the tag
	// alone, and the whole name with its tag. :: name → each digest once
	texts, tags, names map[string][]Entry

	set  SetManifest
	base map[oci.Digest]BaseBlob // :: digest → what was left out

	subjects func() *subjects // once; see archive_refs.go
}

var (
	_ oci.Reader          = (*Archive)(nil)
	_ oci.Ranger          = (*Archive)(nil)
	_ oci.Lister          = (*Archive)(nil)
	_ oci.ReferrersLister = (*Archive)(nil)
	_ oci.SubjectLister   = (*Archive)(nil)
)

// An Entry is an image that an archive names.
type Entry struct {
	// Ref is the original name. Name is zero where the archive says a tag
	// alone, and all of it where it says nothing.
	Ref        ref.Ref
	Descriptor oci.Descriptor
}

// named is an entry of index.json with what it says.
type named struct {
	Entry
	text string // the annotation as it is
}

// OpenArchive opens the tar of one OCI image layout, by whomever it was
// written, a file of docker save, or all volumes of an archive of ours, in any
// order. The error is ErrNotFound where there is no file, and ErrInvalid where
// it is no archive, is cut off, or where volumes are missing or do not belong
// together; it names them. Whoever opened it closes it.
func OpenArchive(paths ...string) (*Archive, error) {
	a := &Archive{content: make(map[oci.Digest]extents), types: make(map[oci.Digest]string)}
	a.texts, a.tags, a.names = make(map[string][]Entry), make(map[string][]Entry), make(map[string][]Entry)
	a.subjects = sync.OnceValue(a.findSubjects)
	err := a.open(paths)
	if err != nil {
		return nil, errors.Join(err, a.Close())
	}
	return a, nil
}

func (a *Archive) open(paths []string) error {
	if len(paths) == 0 {
		return oci.Errorf(oci.ErrInvalid, "", "no archive is named")
	}
	for _, path := range paths {
		v, err := openVolume(path)
		if err != nil {
			return err
		}
		a.volumes = append(a.volumes, v)
	}
	if err := a.join(); err != nil {
		return err
	}
	for _, v := range a.volumes {
		for name, at := range v.files {
			if d, ok := digestOf(name); ok && a.content[d] == nil {
				a.content[d] = extents{{v.file, at.Offset, at.Size}}
			}
		}
	}
	if a.set.Version != 0 {
		if err := a.adopt(); err != nil {
			return err
		}
	}
	if err := a.readNames(a.volumes[0]); err != nil {
		return fmt.Errorf("read archive %s: %w", a.volumes[0].path, err)
	}
	return nil
}

// readNames reads the names of the images. A file that is both an OCI layout
// and one of docker save is read as the former, which has the real manifests.
func (a *Archive) readNames(v *volume) error {
	switch {
	case v.has(indexFile):
		return a.readIndex(v)
	case v.has(dockerFile):
		return a.readDocker(v)
	}
	return oci.Errorf(oci.ErrInvalid, "", "it holds no images: it has neither %s nor %s", indexFile, dockerFile)
}

// Close closes the files. Bodies that are open give errors afterwards.
func (a *Archive) Close() error {
	var errs []error
	for _, v := range a.volumes {
		errs = append(errs, v.file.Close())
	}
	return errors.Join(errs...)
}

// Entries returns what index.json names, sorted by name and digest. Manifests
// that stand there without a name because they refer to others are not in it.
func (a *Archive) Entries() []Entry {
	refers := a.subjects().refers
	var all []Entry
	for _, n := range a.named {
		if n.text == "" && refers[n.Descriptor.Digest] {
			continue
		}
		all = append(all, n.Entry)
	}
	sortEntries(all)
	return all
}

// Set returns the manifest of the set, and the zero value for an archive by
// somebody else.
func (a *Archive) Set() SetManifest { return a.set }

// Files returns the names of the files that travel with the images, sorted.
func (a *Archive) Files() []string {
	names := map[string]bool{}
	for _, f := range a.set.Files {
		names[f.Name] = true
	}
	return slices.Sorted(maps.Keys(names))
}

// ReadFile returns one of these files, its digest verified.
func (a *Archive) ReadFile(name string) ([]byte, error) {
	i := slices.IndexFunc(a.set.Files, func(f SetFile) bool { return f.Name == name })
	if i < 0 {
		return nil, oci.Errorf(oci.ErrNotFound, "", "the archive has no file %q", name)
	}
	f := a.set.Files[i]
	for _, v := range a.volumes {
		if raw, err := v.read(filesDir + name); !errors.Is(err, os.ErrNotExist) {
			if err == nil && oci.FromBytes(raw, f.Digest) != f.Digest {
				err = oci.Errorf(oci.ErrMismatch, "", "%s is not %s", name, f.Digest)
			}
			return raw, err
		}
	}
	return nil, oci.Errorf(oci.ErrNotFound, "", "the archive has lost its file %q", name)
}

// An extent is a piece of a file.
type extent struct {
	r         io.ReaderAt
	off, size int64
}

// extents are content in pieces, one after the other.
type extents []extent

func (x extents) size() int64 {
	var n int64
	for _, e := range x {
		n += e.size
	}
	return n
}

// ReadAt reads across the pieces. A file that ends too early is
// io.ErrUnexpectedEOF.
func (x extents) ReadAt(p []byte, off int64) (n int, err error) {
	for _, e := range x {
		if off >= e.size {
			off -= e.size
			continue
		}
		part := p[n:min(int64(len(p)), int64(n)+e.size-off)]
		k, err := e.r.ReadAt(part, e.off+off)
		n += k
		if k < len(part) {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return n, err
		}
		if n == len(p) {
			return n, nil
		}
		off = 0
	}
	return n, io.EOF
}
