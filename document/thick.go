package document

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"regexp"
	"strings"
)

// layoutDir is where a thick bundle has its images (CNAB core specification,
// section 104).
const layoutDir = "artifacts/layout/"

// layoutFile matches the files of an image layout; others are passed over.
var layoutFile = regexp.MustCompile(`^(oci-layout|index\.json|blobs/(sha256|sha512)/[0-9a-f]+)$`)

// UnpackImages writes the image layout that a thick bundle brings along into a
// directory, which is empty. What the files hold is not verified.
func (d *Document) UnpackImages(dir string) (err error) {
	if !d.thick {
		return fmt.Errorf("%s brings no images along", d.Name)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	body, err := d.in.open()
	if err != nil {
		return err
	}
	err = walkTar(body, func(name string, h *tar.Header, body io.Reader) error {
		file, ok := strings.CutPrefix(name, layoutDir)
		if !ok || h.Typeflag != tar.TypeReg || !layoutFile.MatchString(file) {
			return nil
		}
		return unpack(root, file, body)
	})
	if err = errors.Join(err, body.Close()); err != nil {
		return fmt.Errorf("unpack the images of %s: %w", d.Name, err)
	}
	return nil
}

// unpack writes one file.
func unpack(root *os.Root, name string, body io.Reader) error {
	if err := root.MkdirAll(path.Dir(name), 0o755); err != nil {
		return err
	}
	f, err := root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, body)
	return errors.Join(err, f.Close())
}
