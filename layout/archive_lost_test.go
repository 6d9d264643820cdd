package layout_test

import (
	"bytes"
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

// TestCarry: what was written of a set is taken over by another one, into other
// volumes too, and nothing of it is read again.
func TestCarry(t *testing.T) {
	th := newThings(t, 100, 50_000, 0)
	dir := t.TempDir()
	some := th.contents
	some.Images, some.Names, some.Manifests = nil, nil, nil
	some.Blobs = th.contents.Blobs[1:]
	rest := th.contents.Blobs[0].Descriptor.Size
	for name, c := range map[string]struct{ before, after int64 }{
		"one file": {0, 0}, "more files": {0, 20_000}, "fewer files": {20_000, 0}, "other files": {20_000, 30_000},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := layout.ArchiveConfig{Path: filepath.Join(t.TempDir(), "x.tar"), VolumeSize: c.before, Incomplete: true}
			if _, err := layout.WriteArchive(t.Context(), cfg, some); !errors.Is(err, layout.ErrIncomplete) {
				t.Fatalf("got %v, want ErrIncomplete", err)
			}
			onlyPartial(t, filepath.Dir(cfg.Path))
			cfg.VolumeSize, cfg.Incomplete = c.after, false
			w := write(t, cfg, th.contents)
			if w.Read != rest {
				t.Errorf("%d bytes were read, want %d", w.Read, rest)
			}
			th.hold(t, open(t, w.Paths...))
			files, err := os.ReadDir(filepath.Dir(cfg.Path))
			if err != nil || len(files) != len(w.Paths) {
				t.Errorf("there are %v, %v, want %q", files, err, w.Paths)
			}
			plain := write(t, layout.ArchiveConfig{Path: filepath.Join(dir, strings.ReplaceAll(name, " ", "-")+".tar"), VolumeSize: c.after}, th.contents)
			for i, path := range plain.Paths {
				a, err := os.ReadFile(path)
				b, other := os.ReadFile(w.Paths[i])
				if err != nil || other != nil || !bytes.Equal(a, b) {
					t.Errorf("%s is not what is written in one go: %v, %v", w.Paths[i], err, other)
				}
			}
		})
	}
}

// TestCarryDamaged: a journal that leads to other bytes, or says nonsense, costs
// no more than to read everything again.
func TestCarryDamaged(t *testing.T) {
	th := newThings(t, 100, 50_000)
	for _, places := range []string{"1 1:0:50000", "1 1:9000000000000000000:50000", "1 2:0:50000", "0", "x", "1 1:0:49999", "9999999999 1:0:50000", "2 1:0:25000 2:0:25000"} {
		path := filepath.Join(t.TempDir(), "x.tar")
		journal := "entrepot archive 1 sha256:of-another-set\n" + string(th.one.Layers[1].Digest) + " " + places + "\n"
		for name, text := range map[string]string{path + ".partial": strings.Repeat("x", 60_000), path + ".partial.journal": journal} {
			if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		w := write(t, layout.ArchiveConfig{Path: path}, th.contents)
		if w.Kept != 0 {
			t.Errorf("%q: %d bytes were kept", places, w.Kept)
		}
		th.hold(t, open(t, path))
	}
}
