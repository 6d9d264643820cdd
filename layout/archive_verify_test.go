package layout_test

import (
	"bytes"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/entrepot/entrepot/layout"
	"github.com/entrepot/entrepot/oci"
)

func TestVerifyWhole(t *testing.T) {
	th := newThings(t, 30_000, 60_000)
	for _, limit := range []int64{0, 40 << 10} {
		w := write(t, layout.ArchiveConfig{VolumeSize: limit}, th.contents)
		a := open(t, w.Paths...)
		for _, deep := range []bool{false, true} {
			if err := a.Verify(t.Context(), deep); err != nil {
				t.Errorf("Verify of volumes of %d bytes, deep %v: %v", limit, deep, err)
			}
		}
		for _, path := range w.Paths {
			if err := layout.VerifyVolume(t.Context(), path); err != nil {
				t.Errorf("VerifyVolume(%s): %v", path, err)
			}
		}
	}
}

// TestVerifyMissing holds that a blob or a manifest that nothing brought is
// found without reading blobs, unless it was left out on purpose.
func TestVerifyMissing(t *testing.T) {
	th := newThings(t)
	lost := th.one.Layers[1]
	var c layout.Contents
	for _, b := range th.contents.Blobs {
		if b.Descriptor.Digest != lost.Digest {
			c.Blobs = append(c.Blobs, b)
		}
	}
	c.Manifests, c.Names = th.contents.Manifests, th.contents.Names
	err := open(t, write(t, layout.ArchiveConfig{}, c).Paths...).Verify(t.Context(), false)
	if !errors.Is(err, oci.ErrNotFound) || !strings.Contains(err.Error(), string(lost.Digest)) {
		t.Errorf("without a layer: %v, want ErrNotFound with %s", err, lost.Digest)
	}
	c.Base = []layout.BaseBlob{{Digest: lost.Digest, Size: lost.Size, Repositories: []string{"team/app"}}}
	a := open(t, write(t, layout.ArchiveConfig{}, c).Paths...)
	if err := a.Verify(t.Context(), true); err != nil {
		t.Errorf("with that layer in the base: %v", err)
	}
	if _, err := a.Stat(t.Context(), none, lost.Digest); !errors.Is(err, oci.ErrNotFound) || !strings.Contains(err.Error(), "team/app") {
		t.Errorf("Stat of a blob of the base: %v, want ErrNotFound that names team/app", err)
	}
}

// TestVerifyDamage flips a byte of each part of an archive, and holds that a
// deep look finds it in the volume that has it.
func TestVerifyDamage(t *testing.T) {
	th := newThings(t, 30_000, 60_000)
	w := write(t, layout.ArchiveConfig{VolumeSize: 40 << 10}, th.contents)
	for n, path := range w.Paths {
		raw, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range append(w.Set.Blobs, w.Set.Manifests...) {
			for _, p := range append(c.Parts, layout.SetPart{Volume: c.Volume, Offset: c.Offset, Size: c.Size}) {
				if p.Volume != n+1 || p.Size == 0 {
					continue
				}
				broken := bytes.Clone(raw)
				broken[p.Offset+p.Size/2] ^= 1
				if err := os.WriteFile(path, broken, 0o666); err != nil {
					t.Fatal(err)
				}
				if err := layout.VerifyVolume(t.Context(), path); !errors.Is(err, oci.ErrMismatch) || !strings.Contains(err.Error(), path) {
					t.Errorf("volume %d with a broken %s: %v, want ErrMismatch", n+1, c.Digest, err)
				}
				if err := open(t, w.Paths...).Verify(t.Context(), true); !errors.Is(err, oci.ErrMismatch) {
					t.Errorf("an archive with a broken %s: %v, want ErrMismatch", c.Digest, err)
				}
			}
		}
		if err := os.WriteFile(path, raw, 0o666); err != nil {
			t.Fatal(err)
		}
	}
}
