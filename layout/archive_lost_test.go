package layout_test

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/entrepot/entrepot/layout"
	"github.com/entrepot/entrepot/oci"
)

// TestBlobsThatCannotBeRead: they do not stop the others, which the next run does
// not read again.
func TestBlobsThatCannotBeRead(t *testing.T) {
	th := newThings(t)
	path := filepath.Join(t.TempDir(), "x.tar")
	gone, wrong := th.one.Layers[0].Digest, th.one.Layers[1].Digest
	broken, reads := th.contents, map[oci.Digest]int{}
	broken.Blobs = nil
	for _, b := range th.contents.Blobs {
		d := b.Descriptor.Digest
		open := b.Open
		b.Open = func(ctx context.Context, off int64) (io.ReadCloser, error) {
			reads[d]++
			switch d {
			case gone:
				return nil, oci.ErrNotFound
			case wrong:
				return io.NopCloser(strings.NewReader("x")), nil
			}
			return open(ctx, off)
		}
		broken.Blobs = append(broken.Blobs, b)
	}
	_, err := layout.WriteArchive(t.Context(), layout.ArchiveConfig{Path: path, Jobs: 1}, broken)
	for _, d := range []oci.Digest{gone, wrong} {
		if err == nil || !strings.Contains(err.Error(), string(d)) {
			t.Errorf("%v, want a word on %s", err, d)
		}
	}
	if !errors.Is(err, oci.ErrNotFound) || !errors.Is(err, oci.ErrMismatch) {
		t.Errorf("%v, want not found and a mismatch", err)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("there is an archive: %v", err)
	}
	for _, b := range broken.Blobs {
		if d := b.Descriptor.Digest; reads[d] != 1 {
			t.Errorf("%s was read %d times, want 1", d, reads[d])
		}
	}
	w := write(t, layout.ArchiveConfig{Path: path}, th.contents)
	if w.Read != th.one.Layers[0].Size+th.one.Layers[1].Size {
		t.Errorf("the second run read %d bytes", w.Read)
	}
	th.hold(t, open(t, path))
}
