package layout_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/entrepot/entrepot/layout"
	"github.com/entrepot/entrepot/oci"
)

// TestVolumes holds that no volume is larger than it may be, that each is a tar
// by itself, and that together they are the archive, in any order.
func TestVolumes(t *testing.T) {
	th := newThings(t, 30_000, 200_000, 1)
	for _, limit := range []int64{20 << 10, 20_481, 30_000, 64 << 10, 150_000, 1 << 20} {
		w := write(t, layout.ArchiveConfig{VolumeSize: limit}, th.contents)
		if limit < 100_000 && len(w.Paths) < 3 || limit == 1<<20 && len(w.Paths) != 1 {
			t.Errorf("limit %d: %d volumes", limit, len(w.Paths))
		}
		for _, path := range w.Paths {
			info, err := os.Stat(path)
			if err != nil || info.Size() > limit {
				t.Errorf("limit %d: %s has %d bytes, %v", limit, path, info.Size(), err)
			}
			holdTar(t, path)
		}
		th.hold(t, open(t, w.Paths...))
		slices.Reverse(w.Paths)
		th.hold(t, open(t, w.Paths...))
	}
}

// holdTar reads a tar to its end with the standard reader, which has nothing
// after it, and holds that its blobs are what they are called.
func holdTar(t *testing.T, path string) {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	tr := tar.NewReader(bytes.NewReader(raw))
	for {
		h, err := tr.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		if h.ModTime.Unix() != 0 || h.Uid != 0 || h.Gid != 0 || h.Uname != "" || h.Mode != 0o644 {
			t.Errorf("%s: %s is not as everybody's: %+v", path, h.Name, h)
		}
		body, err := io.ReadAll(tr)
		if err != nil {
			t.Fatalf("%s: %s: %v", path, h.Name, err)
		}
		if hex, ok := strings.CutPrefix(h.Name, "blobs/sha256/"); ok && oci.FromBytes(body, "").Encoded() != hex {
			t.Errorf("%s: %s is something else", path, h.Name)
		}
	}
	if len(raw)%512 != 0 || !bytes.Equal(raw[len(raw)-1024:], make([]byte, 1024)) {
		t.Errorf("%s does not end as a tar", path)
	}
}

// TestVolumesFilled holds that no volume is begun for the manifest of the set
// alone where another one, but for the first, has room for it.
func TestVolumesFilled(t *testing.T) {
	const limit = 60 << 10
	th := newThings(t, 39_000, 36_000) // the first volume has the one, the second the other
	raw := make([]byte, 2*limit-5_000)
	for i := 0; oci.FromBytes(raw, "").Encoded() < "ff"; i++ { // it comes last, and what is left of it goes into the second
		raw = append(raw[:2*limit-5_000], fmt.Sprint(i)...)
	}
	d := oci.Descriptor{Digest: oci.FromBytes(raw, ""), Size: int64(len(raw))}
	th.contents.Blobs = append(th.contents.Blobs, layout.SourceBlob{Descriptor: d, Open: source(raw)})
	w := write(t, layout.ArchiveConfig{VolumeSize: limit}, th.contents)
	if len(w.Paths) != 4 {
		t.Errorf("there are %d volumes, want 4: %+v", len(w.Paths), w.Set.Volumes)
	}
	a := open(t, w.Paths...)
	if err := a.Verify(t.Context(), true); err != nil {
		t.Error(err)
	}
}

func TestVolumesRefused(t *testing.T) {
	th := newThings(t, 20_000, 50_000)
	w := write(t, layout.ArchiveConfig{VolumeSize: 40 << 10}, th.contents)
	other := th.contents
	other.Files = nil
	foreign := write(t, layout.ArchiveConfig{VolumeSize: 40 << 10}, other)
	if len(w.Paths) != 3 || len(foreign.Paths) != 3 {
		t.Fatalf("%d and %d volumes", len(w.Paths), len(foreign.Paths))
	}
	raw, err := os.ReadFile(w.Paths[1])
	if err != nil {
		t.Fatal(err)
	}
	cut := filepath.Join(t.TempDir(), "cut.tar")
	if err := os.WriteFile(cut, raw[:len(raw)-5000], 0o666); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		paths []string
		says  string
	}{
		"last missing":  {w.Paths[:2], "of the 3 volumes of the archive volume 3 is missing"},
		"first missing": {w.Paths[1:], "volume 1 is missing"},
		"one alone":     {w.Paths[1:2], "volumes 1, 3 are missing; " + w.Paths[1] + " is volume 2"},
		"foreign":       {[]string{w.Paths[0], foreign.Paths[1], w.Paths[2]}, foreign.Paths[1] + " are of different archives"},
		"twice":         {[]string{w.Paths[0], w.Paths[1], w.Paths[1], w.Paths[2]}, "are both volume 2"},
		"cut":           {[]string{w.Paths[0], cut, w.Paths[2]}, "cut.tar: it is cut off"},
		"no volume":     {[]string{w.Paths[0], write(t, layout.ArchiveConfig{}, th.contents).Paths[0]}, "of different archives"},
	} {
		t.Run(name, func(t *testing.T) {
			a, err := layout.OpenArchive(c.paths...)
			if err == nil {
				a.Close()
			}
			if !errors.Is(err, oci.ErrInvalid) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v, want ErrInvalid with %q", err, c.says)
			}
		})
	}
}

// TestCutAnywhere holds that no part of an archive passes for the whole.
func TestCutAnywhere(t *testing.T) {
	th := newThings(t)
	w := write(t, layout.ArchiveConfig{}, th.contents)
	raw, err := os.ReadFile(w.Paths[0])
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "cut.tar")
	for n := int64(0); n < w.Set.Volumes[0].Size-1024; n += 512 {
		if err := os.WriteFile(path, raw[:n], 0o666); err != nil {
			t.Fatal(err)
		}
		if a, err := layout.OpenArchive(path); err == nil {
			a.Close()
			t.Fatalf("%d of %d bytes are an archive", n, len(raw))
		}
	}
}

func TestVolumeTooSmall(t *testing.T) {
	th := newThings(t)
	for _, limit := range []int64{-1, 1, 1000, 4000} {
		_, err := layout.WriteArchive(t.Context(), layout.ArchiveConfig{Path: filepath.Join(t.TempDir(), "x.tar"), VolumeSize: limit}, th.contents)
		if !errors.Is(err, oci.ErrInvalid) {
			t.Errorf("volumes of %d bytes: %v, want ErrInvalid", limit, err)
		}
	}
}

// TestLongDigests holds that blobs with long digests are written and cut as
// others are.
func TestLongDigests(t *testing.T) {
	th := newThings(t, 30_000)
	raw := bytes.Repeat([]byte("long"), 20_000)
	d := oci.Descriptor{Digest: oci.FromBytes(raw, oci.Digest("sha512:x")), Size: int64(len(raw))}
	th.contents.Blobs = append(th.contents.Blobs, layout.SourceBlob{Descriptor: d, Open: source(raw)})
	for _, limit := range []int64{0, 40 << 10} {
		w := write(t, layout.ArchiveConfig{VolumeSize: limit}, th.contents)
		a := open(t, w.Paths...)
		b, err := a.Blob(t.Context(), none, d.Digest, 5)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(b.Body); err != nil || !bytes.Equal(got, raw[5:]) {
			t.Errorf("volumes of %d bytes: %d bytes, %v", limit, len(got), err)
		}
		if err := a.Verify(t.Context(), true); err != nil {
			t.Error(err)
		}
		for _, path := range w.Paths {
			holdTar(t, path)
		}
	}
}

// TestBlobRange reads parts of blobs, across the ends of volumes too, from many
// goroutines.
func TestBlobRange(t *testing.T) {
	th := newThings(t, 100_000)
	d := th.one.Layers[0]
	want, err := io.ReadAll(must(shelfSource(th.shelf, d.Digest)(t.Context(), 0)))
	if err != nil {
		t.Fatal(err)
	}
	a := open(t, write(t, layout.ArchiveConfig{VolumeSize: 40 << 10}, th.contents).Paths...)
	var wg sync.WaitGroup
	for off := int64(0); off <= d.Size; off += 9_999 {
		for _, end := range []int64{off, min(off+50_000, d.Size), d.Size} {
			wg.Go(func() {
				b, err := a.BlobRange(t.Context(), none, d.Digest, off, end)
				if err != nil {
					t.Error(err)
					return
				}
				defer b.Body.Close()
				if got, err := io.ReadAll(b.Body); err != nil || !bytes.Equal(got, want[off:end]) || b.Size != d.Size {
					t.Errorf("from %d to %d: %d bytes, %v", off, end, len(got), err)
				}
			})
		}
	}
	wg.Wait()
	for _, r := range [][2]int64{{-1, 5}, {5, 4}, {0, d.Size + 1}, {d.Size + 1, -1}} {
		if _, err := a.BlobRange(t.Context(), none, d.Digest, r[0], r[1]); !errors.Is(err, oci.ErrInvalid) {
			t.Errorf("the range %v: %v, want ErrInvalid", r, err)
		}
	}
}
