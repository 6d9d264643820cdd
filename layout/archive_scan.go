package layout

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
	ispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// The files of an archive that are ours to read, beside the blobs.
const (
	layoutFile = ispec.ImageLayoutFile
	indexFile  = ispec.ImageIndexFile
	dockerFile = "manifest.json"

	volumeFile = "entrepot/volume.json" // the first entry of a volume
	sumsFile   = "entrepot/sums.json"   // the last, but for the set's manifest
	setFile    = "entrepot/set.json"    // the last of the last volume
	partsDir   = "entrepot/parts/"      // + algorithm/hex/0001: pieces of blobs
	filesDir   = "entrepot/files/"
)

const (
	// maxEntries bounds what is remembered of a tar. The largest sets that are
	// known have some 30,000 blobs.
	maxEntries = 1 << 18
	// maxDocument bounds index.json and the like, in bytes: 30,000 blobs take
	// 6 MB of set.json.
	maxDocument = 32 << 20
	// maxName bounds the names that are remembered, in bytes.
	maxName = 512
	// maxLinks is how many links may lead from one to another.
	maxLinks = 16
)

// A place is where content starts in a volume, and its size, in bytes.
type place struct {
	Offset int64 `json:"offset"`
	Size   int64 `json:"size"`
}

// A volume is one tar. It is immutable once it is scanned.
type volume struct {
	path  string
	file  *os.File
	size  int64
	files map[string]place  // :: clean name → where it is
	links map[string]string // :: clean name → the clean name that it leads to
	id    volumeID          // zero in an archive by somebody else
}

// openVolume opens a file and finds out where everything is in it.
func openVolume(path string) (_ *volume, err error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, oci.Errorf(oci.ErrNotFound, oci.CodeNameUnknown, "there is no archive %s: %w", path, err)
	}
	if err != nil {
		return nil, fmt.Errorf("open archive: %w", err)
	}
	defer func() {
		if err != nil {
			f.Close()
		}
	}()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("open archive: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, oci.Errorf(oci.ErrInvalid, "", "%s is no file: an archive is read where it is, not from a pipe or a directory", path)
	}
	v := &volume{path: path, file: f, size: info.Size()}
	if err := v.scan(); err != nil {
		return nil, fmt.Errorf("read archive %s: %w", path, err)
	}
	return v, nil
}

// compressed are the first bytes of compressed files, and what undoes them.
//
//	:: first bytes → command
var compressed = map[string]string{"\x1f\x8b": "gunzip", "\x28\xb5\x2f\xfd": "unzstd", "\xfd7zXZ\x00": "unxz", "BZh": "bunzip2"}

// scan walks through the headers, and leaves out the content between them.
func (v *volume) scan() error {
	head := make([]byte, 6)
	n, err := v.file.ReadAt(head, 0)
	if err != nil && err != io.EOF {
		return err
	}
	for magic, undo := range compressed {
		if bytes.HasPrefix(head[:n], []byte(magic)) {
			return oci.Errorf(oci.ErrUnsupported, "", "it is compressed, and an archive is read where it is: run %s on it first", undo)
		}
	}
	v.files, v.links = make(map[string]place), make(map[string]string)
	r := io.NewSectionReader(v.file, 0, v.size)
	for tr := tar.NewReader(r); ; {
		h, err := tr.Next()
		switch {
		case err == io.EOF:
			return v.settle()
		case errors.Is(err, tar.ErrInsecurePath): // left out below
		case errors.Is(err, io.ErrUnexpectedEOF):
			return oci.Errorf(oci.ErrInvalid, "", "it is cut off: %w", err)
		case err != nil:
			return oci.Errorf(oci.ErrInvalid, "", "it is no tar: %w", err)
		}
		at, _ := r.Seek(0, io.SeekCurrent) // never fails
		if err := v.add(h, at); err != nil {
			return err
		}
	}
}

// add remembers an entry.
func (v *volume) add(h *tar.Header, at int64) error {
	name := path.Clean(h.Name)
	if !fs.ValidPath(name) || len(name) > maxName {
		return nil // a name that leads elsewhere is nobody's
	}
	if isSparse(h) {
		return oci.Errorf(oci.ErrUnsupported, "", "%s is stored as a sparse file", name)
	}
	switch h.Typeflag {
	case tar.TypeReg:
	case tar.TypeLink:
		v.links[name] = path.Clean(h.Linkname)
		return v.bounded()
	case tar.TypeSymlink:
		v.links[name] = path.Join(path.Dir(name), h.Linkname)
		return v.bounded()
	default:
		return nil
	}
	if h.Size > v.size-at {
		return oci.Errorf(oci.ErrInvalid, "", "it is cut off: %s has %d bytes, and %d are left", name, h.Size, v.size-at)
	}
	if was, ok := v.files[name]; ok {
		if _, blob := digestOf(name); blob && was.Size == h.Size {
			return nil // the same content once more
		}
		return oci.Errorf(oci.ErrInvalid, "", "%s is in it twice", name)
	}
	v.files[name] = place{at, h.Size}
	return v.bounded()
}

func isSparse(h *tar.Header) bool {
	for key := range h.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return true
		}
	}
	return h.Typeflag == tar.TypeGNUSparse
}

// bounded holds what is remembered within its bounds.
func (v *volume) bounded() error {
	if len(v.files)+len(v.links) > maxEntries {
		return oci.Errorf(oci.ErrTooLarge, "", "it has more than %d entries", maxEntries)
	}
	return nil
}

// settle follows the links of blobs, once everything is known.
func (v *volume) settle() error {
	for name := range v.links {
		if _, blob := digestOf(name); !blob || v.has(name) {
			continue
		}
		at, err := v.find(name)
		if err != nil {
			return err
		}
		v.files[name] = at
	}
	return nil
}

func (v *volume) has(name string) bool {
	_, ok := v.files[name]
	return ok
}

// find returns where a name leads: to a file of this archive and nowhere else.
func (v *volume) find(name string) (place, error) {
	to := name
	for range maxLinks {
		if at, ok := v.files[to]; ok {
			return at, nil
		}
		next, ok := v.links[to]
		if !ok {
			if to == name {
				return place{}, fmt.Errorf("%s: %w", name, fs.ErrNotExist)
			}
			return place{}, oci.Errorf(oci.ErrInvalid, "", "%s is a link to %s, which is not in the archive", name, to)
		}
		to = next
	}
	return place{}, oci.Errorf(oci.ErrInvalid, "", "%s is a link that leads nowhere", name)
}

// read returns a document. The error is fs.ErrNotExist where there is none.
func (v *volume) read(name string) ([]byte, error) {
	at, err := v.find(name)
	if err != nil {
		return nil, err
	}
	if at.Size > maxDocument {
		return nil, oci.Errorf(oci.ErrTooLarge, "", "%s has %d bytes, and at most %d are read", name, at.Size, int64(maxDocument))
	}
	raw := make([]byte, at.Size)
	if _, err := (extents{{v.file, at.Offset, at.Size}}).ReadAt(raw, 0); err != nil && err != io.EOF {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return raw, nil
}

// decode reads a JSON document into doc.
func (v *volume) decode(name string, doc any) error {
	raw, err := v.read(name)
	if err == nil {
		if bad := json.Unmarshal(raw, doc); bad != nil {
			err = oci.Errorf(oci.ErrInvalid, "", "read %s: %w", name, bad)
		}
	}
	return err
}

// digestOf returns the digest of the blob that a name is of.
func digestOf(name string) (oci.Digest, bool) {
	rest, ok := strings.CutPrefix(name, "blobs/")
	if !ok {
		return "", false
	}
	d, err := ref.ParseDigest(strings.Replace(rest, "/", ":", 1))
	return d, err == nil
}
