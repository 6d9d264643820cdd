package catalog

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/klauspost/compress/zstd"

	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
)

// What a layer may cost.
const (
	maxUnpacked = 64 << 30  // bytes of one layer, unpacked and mostly passed over
	maxFiles    = 200_000   // files of the catalog
	maxWindow   = 128 << 20 // bytes that zstd looks back; what its own tool takes by itself
)

// Whiteouts (image-spec 1.1, "Whiteouts").
const (
	whiteout = ".wh."
	opaque   = ".wh..wh..opq"
)

// A tree is a directory of an image, put together from its layers, in memory. Paths
// are from the image's root, without the slash at their start. No path of an archive
// is ever opened by its name.
type tree struct {
	configs string          // the catalog's directory
	caches  []string        // directories of which it is only known whether they are there
	nodes   map[string]node // :: path at, below or above configs → what is there
	dirs    map[string]dir  // :: path at, below or above configs and caches → directory
	left    int64           // bytes of files that may still be read
}

// A node is a file or a link.
type node struct {
	data []byte
	link string // where a symbolic link points; "" for a file
}

// A dir is a directory, as it has to be written where something in it changes.
type dir struct {
	mode     int64
	uid, gid int
}

func newTree(configs string, caches []string) *tree {
	return &tree{configs: configs, caches: caches, nodes: map[string]node{}, dirs: map[string]dir{}, left: MaxSize}
}

// below reports whether a path is at or below a directory.
func below(name, dir string) bool {
	return dir == "" || name == dir || strings.HasPrefix(name, dir+"/")
}

// readLayer puts a layer on top of those before it.
func (t *tree) readLayer(ctx context.Context, from oci.Reader, n ref.Name, d oci.Descriptor) error {
	c := t.change()
	if err := WalkLayer(ctx, from, n, d, c.entry); err != nil {
		return err
	}
	return t.put(c)
}

// change is what another layer changes.
func (t *tree) change() *change {
	return &change{tree: t, nodes: map[string]node{}, dirs: map[string]dir{}}
}

// put puts what a layer changes on top.
func (t *tree) put(c *change) error {
	c.apply()
	if len(t.nodes) > maxFiles {
		return oci.Errorf(oci.ErrTooLarge, "", "the catalog has more than %d files", maxFiles)
	}
	return nil
}

// WalkLayer calls each for the entries of a layer: a tar, plain or compressed. What
// it is shows its content, because the media types of old layers are not to be relied
// on. After the last entry the layer was verified: until then nothing that each has
// seen is to be used. A layer of more than 64 GiB, unpacked, is ErrTooLarge; an error
// of each ends it.
func WalkLayer(ctx context.Context, from oci.Reader, n ref.Name, d oci.Descriptor, each func(*tar.Header, io.Reader) error) error {
	b, err := from.Blob(ctx, n, d.Digest, 0)
	if err != nil {
		return err
	}
	defer b.Body.Close() // it was read
	verified := oci.VerifyReader(b.Body, d.Digest, d.Size)
	if err := walk(verified, each); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, verified) // what follows the archive belongs to the digest too
	return err
}

// walk reads the tar of a layer.
func walk(r io.Reader, each func(*tar.Header, io.Reader) error) error {
	plain, done, err := decompress(r)
	if err != nil {
		return err
	}
	defer done()
	for archive := tar.NewReader(&bounded{r: plain, left: maxUnpacked}); ; {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if err := each(h, archive); err != nil {
			return fmt.Errorf("%s: %w", h.Name, err)
		}
	}
}

// decompress returns the plain bytes. done frees what that takes.
func decompress(r io.Reader) (plain io.Reader, done func(), err error) {
	buffered := bufio.NewReaderSize(r, 64<<10)
	magic, err := buffered.Peek(4)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, nil, err
	}
	switch {
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		z, err := gzip.NewReader(buffered)
		return z, func() {}, err
	case bytes.Equal(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		z, err := zstd.NewReader(buffered, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return nil, nil, err
		}
		return z, z.Close, nil
	}
	return buffered, func() {}, nil
}

// bounded fails where more is read than a layer may have.
type bounded struct {
	r    io.Reader
	left int64
}

func (b *bounded) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, oci.Errorf(oci.ErrTooLarge, "", "unpacked it has more than %d bytes", int64(maxUnpacked))
	}
	return n, err
}
