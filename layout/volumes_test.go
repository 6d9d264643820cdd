package layout_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/entrepot/entrepot/internal/regtest"
	"github.com/entrepot/entrepot/layout"
	"github.com/entrepot/entrepot/oci"
	"github.com/google/go-cmp/cmp"
)

// TestVolumeFiles finds the volumes that belong together, beside each other or where
// they are named, and mixes no two archives.
func TestVolumeFiles(t *testing.T) {
	dir, away := t.TempDir(), t.TempDir()
	a := write(t, layout.ArchiveConfig{Path: filepath.Join(dir, "a.tar"), VolumeSize: 48 << 10}, newThings(t, 60_000, 50_000).contents).Paths
	b := write(t, layout.ArchiveConfig{Path: filepath.Join(dir, "a-2026.tar"), VolumeSize: 48 << 10}, newThings(t, 61_000, 50_000).contents).Paths
	if len(a) < 3 || len(b) < 3 {
		t.Fatalf("%d and %d volumes, want 3 at least", len(a), len(b))
	}
	move := func(from string) string {
		to := filepath.Join(away, "renamed-"+filepath.Base(from))
		if err := os.Rename(from, to); err != nil {
			t.Fatal(err)
		}
		return to
	}
	none := filepath.Join(dir, "none.tar")
	for _, c := range []struct {
		name  string
		paths []string
		want  [][]string
	}{
		{"one of them", a[1:2], [][]string{append([]string{a[1], a[0]}, a[2:]...)}},
		{"their name", []string{filepath.Join(dir, "a.tar")}, [][]string{a}},
		{"of two archives", []string{b[2], a[0]}, [][]string{append([]string{b[2], b[0], b[1]}, b[3:]...), a}},
		{"the same twice", []string{a[0], a[0]}, [][]string{a}},
	} {
		got, err := layout.Volumes(c.paths...)
		if diff := cmp.Diff(c.want, got); diff != "" || err != nil {
			t.Errorf("%s: %v (-want +got):\n%s", c.name, err, diff)
		}
	}
	if _, err := layout.Volumes(none); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want ErrNotExist", err)
	}
	moved := move(a[1])
	got, err := layout.Volumes(moved, a[0])
	if err != nil || len(got) != 1 {
		t.Fatalf("got %v, %v, want one archive", got, err)
	}
	open(t, got[0]...)
	if got, err := layout.Volumes(a[0]); err != nil || len(got[0]) != len(a)-1 {
		t.Errorf("got %v, %v, want all but the one that is elsewhere", got, err)
	}
	raw, err := os.ReadFile(a[0])
	if err == nil {
		err = os.WriteFile(filepath.Join(away, "copy.tar"), raw, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := layout.Volumes(a[0], filepath.Join(away, "copy.tar")); !errors.Is(err, oci.ErrInvalid) {
		t.Errorf("the same volume as two files: %v, want ErrInvalid", err)
	}
}

// TestEntries lists what a layout names, and not what only refers to that.
func TestEntries(t *testing.T) {
	l, err := layout.Create(filepath.Join(t.TempDir(), "l"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	s := regtest.NewShelf()
	img := s.AddImage("x", regtest.Image{Layers: []int64{10}})
	sig := s.AddReferrer("x", img.Descriptor(), "application/sig", 3)
	for _, d := range append(append(img.Layers, img.Config), append(sig.Layers, sig.Config)...) {
		if d.Digest == "" {
			continue
		}
		if err := l.PutBlob(t.Context(), alpine, d, shelfSource(s, d.Digest)); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.PutManifest(t.Context(), alpine, img.Manifest, "3.20", "latest"); err != nil {
		t.Fatal(err)
	}
	if err := l.PutManifest(t.Context(), alpine, sig.Manifest); err != nil {
		t.Fatal(err)
	}
	entries, err := l.Entries()
	if err != nil || len(entries) != 2 || entries[0].Ref != alpine.WithTag("3.20") || entries[1].Ref != alpine.WithTag("latest") || entries[1].Descriptor.Digest != img.Digest {
		t.Errorf("the entries are %v, %v", entries, err)
	}
}
