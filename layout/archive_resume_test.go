package layout_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/entrepot/entrepot/layout"
	"github.com/entrepot/entrepot/oci"
)

// counted counts how often blobs are opened, and fails those that fail names.
func counted(c layout.Contents, opened *atomic.Int64, fail func(oci.Digest) error) layout.Contents {
	c.Blobs = slices.Clone(c.Blobs)
	for i, b := range c.Blobs {
		c.Blobs[i].Open = func(ctx context.Context, off int64) (io.ReadCloser, error) {
			if err := fail(b.Descriptor.Digest); err != nil {
				return nil, err
			}
			opened.Add(1)
			return b.Open(ctx, off)
		}
	}
	return c
}

func never(oci.Digest) error { return nil }

// TestResume holds that a run that failed leaves no archive, and that the next
// one reads only what is missing, to the same bytes.
func TestResume(t *testing.T) {
	th := newThings(t, 30_000, 60_000)
	for name, limit := range map[string]int64{"one": 0, "volumes": 40 << 10} {
		t.Run(name, func(t *testing.T) {
			whole := write(t, layout.ArchiveConfig{VolumeSize: limit}, th.contents)
			dir := t.TempDir()
			cfg := layout.ArchiveConfig{Path: filepath.Join(dir, "images.tar"), VolumeSize: limit, Jobs: 1}
			missing := th.one.Layers[0].Digest // the largest one comes before it
			var opened atomic.Int64
			broken := errors.New("the network is gone")
			_, err := layout.WriteArchive(t.Context(), cfg, counted(th.contents, &opened, func(d oci.Digest) error {
				if d == missing {
					return broken
				}
				return nil
			}))
			if !errors.Is(err, broken) || opened.Load() == 0 {
				t.Fatalf("got %v after %d blobs, want the source's error", err, opened.Load())
			}
			onlyPartial(t, dir)
			first := opened.Swap(0)
			w, err := layout.WriteArchive(t.Context(), cfg, counted(th.contents, &opened, never))
			if err != nil {
				t.Fatal(err)
			}
			if all := int64(len(w.Set.Blobs)); opened.Load() != all-first || w.Kept == 0 {
				t.Errorf("the second run read %d of %d blobs, the first %d", opened.Load(), all, first)
			}
			for i, path := range w.Paths {
				want, _ := os.ReadFile(whole.Paths[i])
				if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, want) {
					t.Errorf("%s is not what one run writes, %v", path, err)
				}
			}
			if left, _ := filepath.Glob(filepath.Join(dir, "*.partial*")); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

// onlyPartial holds that nothing in a directory looks whole, or can be opened.
func onlyPartial(t *testing.T, dir string) {
	t.Helper()
	files, err := os.ReadDir(dir)
	if err != nil || len(files) < 2 {
		t.Errorf("there are %v, %v, want a journal and partial files", files, err)
	}
	for _, f := range files {
		if !strings.Contains(f.Name(), ".partial") {
			t.Errorf("%s is there already", f.Name())
		}
		if a, err := layout.OpenArchive(filepath.Join(dir, f.Name())); err == nil {
			a.Close()
			t.Errorf("%s passes for an archive", f.Name())
		}
	}
}

// TestResumeDamaged holds that a blob of the journal is believed only when its
// bytes are right.
func TestResumeDamaged(t *testing.T) {
	th := newThings(t, 30_000, 60_000)
	whole := write(t, layout.ArchiveConfig{}, th.contents)
	cfg := layout.ArchiveConfig{Path: filepath.Join(t.TempDir(), "images.tar"), Jobs: 1}
	var opened atomic.Int64
	c := counted(th.contents, &opened, func(d oci.Digest) error {
		if d == th.one.Layers[0].Digest {
			return errors.New("broken")
		}
		return nil
	})
	if _, err := layout.WriteArchive(t.Context(), cfg, c); err == nil {
		t.Fatal("the first run worked")
	}
	i := slices.IndexFunc(whole.Set.Blobs, func(c layout.SetContent) bool { return c.Digest == th.one.Layers[1].Digest })
	f, err := os.OpenFile(cfg.Path+".partial", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(make([]byte, 100), whole.Set.Blobs[i].Offset+500); err != nil {
		t.Fatal(err)
	}
	write(t, cfg, th.contents)
	want, _ := os.ReadFile(whole.Paths[0])
	if got, err := os.ReadFile(cfg.Path); err != nil || !bytes.Equal(got, want) {
		t.Errorf("the archive differs, %v", err)
	}
}

// TestResumeAnother holds that what is left of another set is not gone on with.
func TestResumeAnother(t *testing.T) {
	th := newThings(t)
	cfg := layout.ArchiveConfig{Path: filepath.Join(t.TempDir(), "images.tar"), Jobs: 1}
	var opened atomic.Int64
	c := counted(th.contents, &opened, func(d oci.Digest) error {
		if d == th.one.Layers[2].Digest {
			return errors.New("broken")
		}
		return nil
	})
	if _, err := layout.WriteArchive(t.Context(), cfg, c); err == nil {
		t.Fatal("the first run worked")
	}
	other := th.contents
	other.Files = append(slices.Clone(other.Files), layout.File{Name: "more", Data: []byte("more")})
	write(t, cfg, other)
	a := open(t, cfg.Path)
	th.hold(t, a)
	if err := a.Verify(t.Context(), true); err != nil {
		t.Error(err)
	}
}

// TestWrongBlobs holds that no byte is committed that was not verified.
func TestWrongBlobs(t *testing.T) {
	th := newThings(t, 30_000, 60_000)
	layer := th.one.Layers[1].Digest
	for name, change := range map[string]func([]byte) []byte{
		"other": func(b []byte) []byte { b[7] ^= 1; return b },
		"short": func(b []byte) []byte { return b[:len(b)-1] },
		"long":  func(b []byte) []byte { return append(b, 0) },
	} {
		for _, limit := range []int64{0, 40 << 10} {
			c := th.contents
			c.Blobs = slices.Clone(c.Blobs)
			for i, b := range c.Blobs {
				if b.Descriptor.Digest == layer {
					raw, _ := io.ReadAll(must(b.Open(t.Context(), 0)))
					c.Blobs[i].Open = source(change(raw))
				}
			}
			dir := t.TempDir()
			_, err := layout.WriteArchive(t.Context(), layout.ArchiveConfig{Path: filepath.Join(dir, "x.tar"), VolumeSize: limit}, c)
			if !errors.Is(err, oci.ErrMismatch) || !strings.Contains(err.Error(), string(layer)) {
				t.Errorf("%s: got %v, want ErrMismatch that names the blob", name, err)
			}
			onlyPartial(t, dir)
			var stream bytes.Buffer
			if _, err := layout.WriteArchive(t.Context(), layout.ArchiveConfig{Stream: &stream}, c); !errors.Is(err, oci.ErrMismatch) {
				t.Errorf("%s in a stream: got %v, want ErrMismatch", name, err)
			}
			path := filepath.Join(dir, "stream.tar")
			if err := os.WriteFile(path, stream.Bytes(), 0o666); err != nil {
				t.Fatal(err)
			}
			if a, err := layout.OpenArchive(path); err == nil {
				a.Close()
				t.Errorf("%s: the broken stream is an archive", name)
			}
		}
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// rejected is a body whose reader knows one more place.
type rejected struct {
	io.Reader
	again *bool
}

func (r rejected) Close() error { return nil }
func (r rejected) Reject() bool { was := *r.again; *r.again = false; return was }

// TestWrongOnce holds that a blob is read again where its reader knows another
// place that may have it.
func TestWrongOnce(t *testing.T) {
	th := newThings(t, 1000)
	c := th.contents
	c.Blobs = slices.Clone(c.Blobs)
	right, again := c.Blobs[0].Open, true
	c.Blobs[0].Open = func(ctx context.Context, off int64) (io.ReadCloser, error) {
		if again {
			return rejected{strings.NewReader("wrong"), &again}, nil
		}
		return right(ctx, off)
	}
	w := write(t, layout.ArchiveConfig{}, c)
	if err := open(t, w.Paths...).Verify(t.Context(), true); err != nil {
		t.Error(err)
	}
}

func TestWriteRefused(t *testing.T) {
	th := newThings(t)
	w := write(t, layout.ArchiveConfig{}, th.contents)
	before, _ := os.ReadFile(w.Paths[0])
	two := th.contents
	two.Names = append(slices.Clone(two.Names), layout.Entry{Ref: alpine.WithTag("3.20"), Descriptor: th.index.Descriptor()})
	unknown := th.contents
	unknown.Names = append(slices.Clone(unknown.Names), layout.Entry{Ref: app.WithTag("x"), Descriptor: oci.Descriptor{Digest: digestOf("x")}})
	unsized := th.contents
	unsized.Blobs = append(slices.Clone(unsized.Blobs), layout.SourceBlob{Descriptor: oci.Descriptor{Digest: digestOf("x"), Size: -1}})
	badly := th.contents
	badly.Files = []layout.File{{Name: "../x"}}
	wrong := th.contents
	wrong.Manifests = []oci.Manifest{{Digest: digestOf("x"), Raw: []byte("y")}}
	for name, c := range map[string]struct {
		cfg      layout.ArchiveConfig
		contents layout.Contents
		kind     error
		says     string
	}{
		"there already":  {layout.ArchiveConfig{Path: w.Paths[0]}, th.contents, oci.ErrInvalid, "there already"},
		"two of a name":  {layout.ArchiveConfig{}, two, oci.ErrInvalid, "would be two images"},
		"no manifest":    {layout.ArchiveConfig{}, unknown, oci.ErrInvalid, "and not have"},
		"no size":        {layout.ArchiveConfig{}, unsized, oci.ErrInvalid, "is not known"},
		"bad file name":  {layout.ArchiveConfig{}, badly, oci.ErrInvalid, "cannot hold a file"},
		"wrong manifest": {layout.ArchiveConfig{}, wrong, oci.ErrMismatch, "is not"},
		"small stream":   {layout.ArchiveConfig{Stream: io.Discard, VolumeSize: 20 << 10}, newThings(t, 30_000).contents, oci.ErrInvalid, "a stream is one volume"},
	} {
		t.Run(name, func(t *testing.T) {
			if c.cfg.Path == "" {
				c.cfg.Path = filepath.Join(t.TempDir(), "x.tar")
			}
			if _, err := layout.WriteArchive(t.Context(), c.cfg, c.contents); !errors.Is(err, c.kind) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v, want %q", err, c.says)
			}
		})
	}
	if after, err := os.ReadFile(w.Paths[0]); err != nil || !bytes.Equal(before, after) {
		t.Errorf("what was there is not there any more, %v", err)
	}
	write(t, layout.ArchiveConfig{Path: w.Paths[0], Replace: true}, th.contents)
}

// TestWriteCancelled holds that a run can be stopped, and gone on with.
func TestWriteCancelled(t *testing.T) {
	th := newThings(t, 100_000)
	ctx, cancel := context.WithCancel(t.Context())
	cfg := layout.ArchiveConfig{Path: filepath.Join(t.TempDir(), "x.tar"), Observe: func(oci.Digest, int64) { cancel() }}
	if _, err := layout.WriteArchive(ctx, cfg, th.contents); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want Canceled", err)
	}
	cfg.Observe = nil
	th.hold(t, open(t, write(t, cfg, th.contents).Paths...))
}

// TestNoSpace holds that a full disk is a clear error, and that the run goes on
// when there is room.
func TestNoSpace(t *testing.T) {
	dir := t.TempDir()
	if out, err := exec.CommandContext(t.Context(), "mount", "-t", "tmpfs", "-o", "size=1m", "none", dir).CombinedOutput(); err != nil {
		t.Skipf("no small file system can be mounted here: %s", out)
	}
	defer exec.Command("umount", dir).Run() // nothing is left open in it
	th := newThings(t, 300_000, 300_001, 500_000)
	cfg := layout.ArchiveConfig{Path: filepath.Join(dir, "x.tar"), Jobs: 1}
	_, err := layout.WriteArchive(t.Context(), cfg, th.contents)
	if !errors.Is(err, oci.ErrUnavailable) || !strings.Contains(err.Error(), "no room for the archive") || !strings.Contains(err.Error(), ".partial") {
		t.Fatalf("got %v, want that there is no room", err)
	}
	onlyPartial(t, dir)
	if out, err := exec.CommandContext(t.Context(), "mount", "-o", "remount,size=4m", dir).CombinedOutput(); err != nil {
		t.Skipf("it cannot be made larger: %s", out)
	}
	w := write(t, cfg, th.contents)
	if w.Kept == 0 {
		t.Error("nothing of the first run was kept")
	}
	a, err := layout.OpenArchive(w.Paths...)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	th.hold(t, a)
}
