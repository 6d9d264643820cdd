package imageset

import (
	"archive/tar"
	"context"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/entrepot/entrepot/catalog"
	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
)

// maxFile is the largest file that is taken out of an image, in bytes.
const maxFile = 64 << 20

// readFiles returns files of an image, by their paths without a slash in front.
// Those that it does not have are left out.
func readFiles(ctx context.Context, from oci.Reader, n ref.Name, m oci.Manifest, names ...string) (map[string][]byte, error) {
	links, err := m.Links()
	if err != nil {
		return nil, err
	}
	found := &found{want: names, files: map[string][]byte{}}
	for _, d := range slices.Backward(links.Layers) { // the last layer wins
		if len(found.want) == 0 {
			break
		}
		if err := found.layer(ctx, from, n, d); err != nil {
			return nil, fmt.Errorf("layer %s: %w", d.Digest, err)
		}
	}
	return found.files, nil
}

// found is what was found of an image's files.
type found struct {
	want  []string // what is still looked for
	files map[string][]byte
}

// layer looks into one layer.
func (f *found) layer(ctx context.Context, from oci.Reader, n ref.Name, d oci.Descriptor) error {
	here := &found{want: f.want, files: map[string][]byte{}}
	var gone []string
	if err := catalog.WalkLayer(ctx, from, n, d, func(h *tar.Header, r io.Reader) error { return here.entry(r, h, &gone) }); err != nil {
		return err
	}
	f.take(here, gone)
	return nil
}

// take adds what a layer has. What it deletes is not looked for any further.
func (f *found) take(here *found, gone []string) {
	var rest []string
	for _, name := range f.want {
		data, ok := here.files[name]
		switch {
		case ok:
			f.files[name] = data
		case !slices.ContainsFunc(gone, func(g string) bool { return name == g || strings.HasPrefix(name, g+"/") }):
			rest = append(rest, name)
		}
	}
	f.want = rest
}

// The prefix of what deletes a file of a layer below, and the name of what deletes
// all of a directory (image-spec 1.1, "Whiteouts").
const (
	whiteout = ".wh."
	opaque   = ".wh..wh..opq"
)

// entry looks at one entry of a layer.
func (f *found) entry(r io.Reader, h *tar.Header, gone *[]string) error {
	name := strings.TrimPrefix(path.Clean("/"+h.Name), "/")
	dir, base := path.Split(name)
	switch {
	case base == opaque:
		*gone = append(*gone, strings.TrimSuffix(dir, "/"))
	case strings.HasPrefix(base, whiteout):
		*gone = append(*gone, dir+strings.TrimPrefix(base, whiteout))
	case h.Typeflag == tar.TypeReg && slices.Contains(f.want, name):
		if h.Size > maxFile {
			return oci.Errorf(oci.ErrTooLarge, "", "%s is larger than %d MiB", name, maxFile>>20)
		}
		data, err := io.ReadAll(r)
		f.files[name] = data
		return err
	}
	return nil
}
