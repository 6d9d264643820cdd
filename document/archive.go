package document

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
)

// Limits of what is taken out of an archive; entries that are not wanted are
// read over and never held.
const (
	maxBundle  = 32 << 20  // bytes of a bundle.json, or of its mapping
	maxChart   = 100 << 20 // bytes of the files of a chart, as Helm limits them
	maxEntries = 1 << 20   // entries of an archive
)

// archiveError says that an archive is damaged or too large.
type archiveError struct{ err error }

func (e archiveError) Error() string { return "the archive cannot be read: " + e.err.Error() }
func (e archiveError) Unwrap() error { return e.err }

// walkTar calls visit for each entry of a tar that is compressed with gzip. The
// name is clean; entries with names that lead out of the archive, or are
// absolute, are passed over, because nothing that is looked for has one.
func walkTar(r io.Reader, visit func(name string, h *tar.Header, body io.Reader) error) error {
	zr, err := gzip.NewReader(r)
	if err != nil {
		return archiveError{err}
	}
	tr := tar.NewReader(zr)
	for n := 0; ; n++ {
		h, err := tr.Next()
		switch {
		case err == io.EOF:
			// Whatever follows the end has to be there for the checksum.
			if _, err := io.Copy(io.Discard, zr); err != nil {
				return archiveError{err}
			}
			return nil
		case err != nil:
			return archiveError{err}
		case n == maxEntries:
			return archiveError{fmt.Errorf("it has more than %d entries", maxEntries)}
		}
		name, ok := cleanName(h.Name)
		if !ok {
			continue
		}
		if err := visit(name, h, tr); err != nil {
			return err
		}
	}
}

// cleanName returns the name of an entry below the archive's root.
func cleanName(name string) (string, bool) {
	if name == "" || strings.HasPrefix(name, "/") || strings.Contains(name, `\`) || strings.ContainsRune(name, 0) {
		return "", false
	}
	for segment := range strings.SplitSeq(name, "/") {
		if segment == ".." {
			return "", false
		}
	}
	name = path.Clean(name)
	return name, name != "."
}

// readEntry reads an entry that is a plain file of at most max bytes.
func readEntry(name string, h *tar.Header, body io.Reader, max int64) ([]byte, error) {
	if h.Typeflag != tar.TypeReg {
		return nil, archiveError{fmt.Errorf("%s is no plain file", name)}
	}
	if h.Size > max {
		return nil, archiveError{fmt.Errorf("%s has %d bytes, and may have %d", name, h.Size, max)}
	}
	data, err := io.ReadAll(body)
	if err != nil {
		return nil, archiveError{fmt.Errorf("%s: %w", name, err)}
	}
	return data, nil
}

// open returns the bytes of an archive.
func (in Input) open() (io.ReadCloser, error) {
	if in.Open != nil {
		return in.Open()
	}
	return io.NopCloser(bytes.NewReader(in.Data)), nil
}

// isArchive reports whether the input is compressed with gzip.
func (in Input) isArchive() bool { return in.Open != nil || isGzip(in.Data) }

// contents is what an archive is recognised by.
type contents struct {
	bundle, mapping []byte // nil where it has none
	artifacts       bool   // images of a thick bundle
	chart           bool   // a directory with a Chart.yaml
	layout          bool   // an image archive
	err             error
}

// look reads over an archive, once.
func (r *reading) look() *contents {
	if r.archive != nil {
		return r.archive
	}
	c := &contents{}
	r.archive = c
	if !r.in.isArchive() {
		return c
	}
	body, err := r.in.open()
	if err != nil {
		c.err = err
		return c
	}
	err = walkTar(body, func(name string, h *tar.Header, body io.Reader) (err error) {
		switch dir, base := path.Split(name); {
		case name == "bundle.json" && c.bundle == nil:
			c.bundle, err = readEntry(name, h, body, maxBundle)
		case name == "relocation-mapping.json" && c.mapping == nil:
			c.mapping, err = readEntry(name, h, body, maxBundle)
		case strings.HasPrefix(name, "artifacts/"):
			c.artifacts = true
		case base == "Chart.yaml" && strings.Count(dir, "/") == 1:
			c.chart = true
		case name == "oci-layout" || name == "manifest.json":
			c.layout = true
		}
		return err
	})
	c.err = errors.Join(err, body.Close())
	return c
}
