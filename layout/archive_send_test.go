package layout_test

import (
	"bytes"
	"io"
	"os"
	"testing"

	"github.com/entrepot/entrepot/layout"
	"github.com/entrepot/entrepot/oci"
)

// A socket is a writer as a connection is one: what it is given to read from
// matters.
type socket struct {
	bytes.Buffer
	files, others int
}

func (s *socket) ReadFrom(r io.Reader) (int64, error) {
	inner := r
	if l, ok := r.(*io.LimitedReader); ok {
		inner = l.R
	}
	if _, ok := inner.(*os.File); ok {
		s.files++
	} else {
		s.others++
	}
	return s.Buffer.ReadFrom(r)
}

// TestBlobWritesItself holds that a blob in one volume or several is given to a
// connection as pieces of files, from any offset, and by something else where the
// files have been replaced.
func TestBlobWritesItself(t *testing.T) {
	th := newThings(t, 30_000, 200_000, 0)
	for _, limit := range []int64{0, 40 << 10} {
		w := write(t, layout.ArchiveConfig{VolumeSize: limit}, th.contents)
		a := open(t, w.Paths...)
		check := func(d oci.Descriptor, off int64, files bool) {
			b, err := a.Blob(t.Context(), alpine, d.Digest, off)
			if err != nil {
				t.Fatal(err)
			}
			defer b.Body.Close()
			var to socket
			n, err := b.Body.(io.WriterTo).WriteTo(&to)
			want, _ := th.shelf.Content("x", d.Digest)
			all, bad := io.ReadAll(io.NewSectionReader(want, off, d.Size-off))
			if err != nil || bad != nil || n != d.Size-off || !bytes.Equal(to.Bytes(), all) {
				t.Errorf("limit %d: %s from %d: %d bytes, %v", limit, d.Digest, off, n, err)
			}
			if n > 0 && files != (to.files > 0 && to.others == 0) {
				t.Errorf("limit %d: %d files, %d others", limit, to.files, to.others)
			}
			if rest, err := io.ReadAll(b.Body); err != nil || len(rest) > 0 {
				t.Errorf("%d bytes are left, %v", len(rest), err)
			}
		}
		for _, d := range th.one.Layers {
			for _, off := range []int64{0, 1, 29_999, d.Size} {
				if off <= d.Size {
					check(d, off, true)
				}
			}
		}
		for _, path := range w.Paths {
			if err := os.Rename(path, path+".old"); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		check(th.one.Layers[1], 0, false)
	}
}
