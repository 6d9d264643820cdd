package document

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"github.com/entrepot/entrepot/ref"
)

// ExtractLayout unpacks the images of a thick bundle: its artifacts/layout, an
// OCI image layout, into an empty directory. Each blob is checked against its
// name. Whatever else the archive has is passed over and nothing is opened by a
// name that it gives; links are followed to blobs of the same archive. max
// limits the bytes that are written, 0 means no limit. After an error the
// directory holds a part.
func ExtractLayout(ctx context.Context, archive io.Reader, dir *os.Root, max int64) error {
	x := extraction{ctx: ctx, dir: dir, max: max}
	if err := walkTar(archive, x.entry); err != nil {
		return err
	}
	if !x.index {
		return archiveError{errors.New("it has no artifacts/layout/index.json: the bundle brings no images")}
	}
	return nil
}

// An extraction is a layout that is being unpacked.
type extraction struct {
	ctx     context.Context
	dir     *os.Root
	max     int64
	written int64
	index   bool
}

// layoutName returns what an entry is called in the layout, "" where it is none
// of it.
func layoutName(name string) (string, ref.Digest) {
	rest, ok := strings.CutPrefix(name, "artifacts/layout/")
	if !ok {
		return "", ""
	}
	if rest == "oci-layout" || rest == "index.json" {
		return rest, ""
	}
	if blob, ok := strings.CutPrefix(rest, "blobs/"); ok {
		if d, err := ref.ParseDigest(strings.Replace(blob, "/", ":", 1)); err == nil {
			return rest, d
		}
	}
	return "", ""
}

// entry unpacks an entry, if it is part of the layout.
func (x *extraction) entry(name string, h *tar.Header, body io.Reader) error {
	if err := x.ctx.Err(); err != nil {
		return err
	}
	to, digest := layoutName(name)
	if to == "" || h.Typeflag == tar.TypeDir {
		return nil
	}
	if err := x.dir.MkdirAll(path.Dir(to), 0o755); err != nil {
		return err
	}
	switch h.Typeflag {
	case tar.TypeReg:
		x.index = x.index || to == "index.json"
		return x.file(to, digest, h, body)
	case tar.TypeLink, tar.TypeSymlink:
		from := h.Linkname
		if h.Typeflag == tar.TypeSymlink {
			from = path.Join(path.Dir(name), from)
		}
		clean, ok := cleanName(from)
		target, same := layoutName(clean)
		if !ok || target == "" || digest == "" || same != digest {
			return archiveError{fmt.Errorf("%s is a link to %s, which is not that blob", name, h.Linkname)}
		}
		return nil // a blob that links to itself under its own name is there already
	}
	return archiveError{fmt.Errorf("%s is neither a file nor a link", name)}
}

// file writes a file of the layout. digest is "" for one that is no blob.
func (x *extraction) file(to string, digest ref.Digest, h *tar.Header, body io.Reader) error {
	if x.written += h.Size; x.max > 0 && x.written > x.max {
		return archiveError{fmt.Errorf("its images have more than %d bytes", x.max)}
	}
	if digest == "" && h.Size > maxBundle {
		return archiveError{fmt.Errorf("%s has %d bytes, and may have %d", to, h.Size, maxBundle)}
	}
	f, err := x.dir.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if errors.Is(err, os.ErrExist) && digest != "" {
		return nil // the same blob twice; the first one was checked
	}
	if err != nil {
		return err
	}
	var sink io.Writer = f
	check := func() bool { return true }
	if digest != "" {
		v := digest.Verifier()
		sink, check = io.MultiWriter(f, v), v.Verified
	}
	_, err = io.Copy(sink, body)
	if err = errors.Join(err, f.Close()); err != nil {
		return archiveError{fmt.Errorf("unpack %s: %w", to, err)}
	}
	if !check() {
		return archiveError{fmt.Errorf("%s has other content than its name says", to)}
	}
	return nil
}
