package store

import (
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entrepot/entrepot/oci"
)

// age sets the last use of blobs, as their files have it.
func age(t testing.TB, s *Store, at time.Time, ds ...oci.Digest) {
	t.Helper()
	for _, d := range ds {
		k, err := cacheBlobKey(d)
		if err == nil {
			err = s.disk.Touch(t.Context(), k, at)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// lastUse returns the last use of a blob, as its file has it.
func lastUse(t testing.TB, s *Store, d oci.Digest) time.Time {
	t.Helper()
	k, err := cacheBlobKey(d)
	if err != nil {
		t.Fatal(err)
	}
	fi, err := os.Stat(filepath.Join(s.dir, string(k)))
	if err != nil {
		t.Fatal(err)
	}
	return fi.ModTime()
}

// putImage stores an index with one image of one layer; the layer is its config
// too. It returns them from the top.
func putImage(t testing.TB, c *Cache, layer string) (index, image oci.Manifest, blob oci.Digest) {
	t.Helper()
	blob = fill(t, c, layer)
	b := oci.Descriptor{MediaType: blobType, Digest: blob, Size: int64(len(layer))}
	image = imageOf("", b, b)
	index = indexOf(image.Descriptor(), oci.Descriptor{MediaType: oci.TypeImageManifest, Digest: digestOf("not here"), Size: 8})
	putManifest(t, c, image)
	putManifest(t, c, index)
	return index, image, blob
}

// TestUsedTouchesTheGraph: whoever asks for no more than an index keeps its
// images' layers young, once an hour, across a restart, and whatever the clock
// did before.
func TestUsedTouchesTheGraph(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		s := open(t, dir, Config{})
		index, image, blob := putImage(t, s.Cache(), "layer")
		all := []oci.Digest{index.Digest, image.Digest, blob}
		for name, was := range map[string]time.Duration{"two days ago": -48 * time.Hour, "a clock that was ahead": 10 * 365 * 24 * time.Hour} {
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s = open(t, dir, Config{}) // what was touched lately is not remembered in RAM alone
			age(t, s, time.Now().Add(was), all...)
			s.Cache().Used(index.Digest, index.MediaType)
			synctest.Wait()
			for i, d := range all {
				if got := lastUse(t, s, d); !got.Equal(time.Now()) {
					t.Errorf("%s: file %d: last use %v, want now", name, i, got)
				}
			}
			// Within the hour nothing is written, from RAM or not.
			before := time.Now()
			time.Sleep(30 * time.Minute)
			for range 2 {
				s.Cache().Used(index.Digest, index.MediaType)
				if _, err := s.Cache().Manifest(scope, hub, index.Digest); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
			}
			for i, d := range all {
				if got := lastUse(t, s, d); !got.Equal(before) {
					t.Errorf("%s: file %d half an hour later: last use %v, want %v still", name, i, got, before)
				}
			}
		}
	})
}

// TestPutTouchesWhatIsThere: a manifest that another repository has brought long
// ago is as young as one that is new, and so are its layers.
func TestPutTouchesWhatIsThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, t.TempDir(), Config{})
		_, image, blob := putImage(t, s.Cache(), "layer")
		age(t, s, time.Now().Add(-100*time.Hour), image.Digest, blob)
		putManifest(t, s.Cache(), image)
		synctest.Wait()
		for _, d := range []oci.Digest{image.Digest, blob} {
			if got := lastUse(t, s, d); !got.Equal(time.Now()) {
				t.Errorf("%s: last use %v, want now", d, got)
			}
		}
	})
}

// TestUsedAllocates: it is on the path of every hit.
func TestUsedAllocates(t *testing.T) {
	s := open(t, t.TempDir(), Config{})
	m := someManifest()
	putManifest(t, s.Cache(), m)
	if n := testing.AllocsPerRun(100, func() { s.Cache().Used(m.Digest, m.MediaType) }); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}
