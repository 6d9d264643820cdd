package layout_test

import (
	"bytes"
	"context"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/entrepot/entrepot/internal/regtest"
	"github.com/entrepot/entrepot/layout"
	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
	"github.com/google/go-cmp/cmp"
)

var (
	alpine = ref.Name{Host: ref.DockerHub, Path: "library/alpine"}
	app    = ref.Name{Host: "registry.example.com:5000", Path: "team/app"}
)

// shelfSource reads a blob of a shelf.
func shelfSource(s *regtest.Shelf, d oci.Digest) oci.Source {
	return func(_ context.Context, off int64) (io.ReadCloser, error) {
		c, _ := s.Content("x", d)
		return io.NopCloser(io.NewSectionReader(c, off, c.Size()-off)), nil
	}
}

// things are what the tests put into archives: an image with two tags, an index
// of two images, and a signature of the index.
type things struct {
	shelf           *regtest.Shelf
	one, index, sig regtest.Built
	contents        layout.Contents
}

func newThings(t testing.TB, sizes ...int64) things {
	t.Helper()
	s := regtest.NewShelf()
	if len(sizes) == 0 {
		sizes = []int64{100, 5000, 0}
	}
	th := things{shelf: s, one: s.AddImage("x", regtest.Image{Layers: sizes, Seed: 1})}
	two := s.AddImage("x", regtest.Image{Layers: []int64{700, 5000}, Seed: 2})
	th.index = s.AddIndex("x", []regtest.Built{th.one, two})
	th.sig = s.AddReferrer("x", th.index.Descriptor(), "application/sig", 7)
	c := &th.contents
	for _, b := range []regtest.Built{th.one, two, th.index, th.sig} {
		c.Manifests = append(c.Manifests, b.Manifest)
		for _, d := range append(slices.Clone(b.Layers), b.Config) {
			if d.Digest != "" {
				c.Blobs = append(c.Blobs, layout.SourceBlob{Descriptor: d, Open: shelfSource(s, d.Digest)})
			}
		}
	}
	for r, m := range map[ref.Ref]oci.Manifest{
		alpine.WithTag("3.20"):          th.one.Manifest,
		alpine.WithTag("latest"):        th.one.Manifest,
		app.WithDigest(th.index.Digest): th.index.Manifest,
		app.WithTag("v1"):               th.index.Manifest,
	} {
		c.Names = append(c.Names, layout.Entry{Ref: r, Descriptor: m.Descriptor()})
	}
	c.Base = []layout.BaseBlob{{Digest: oci.FromBytes([]byte("elsewhere"), ""), Size: 9, Repositories: []string{"team/base"}}}
	c.Files = []layout.File{{Name: "signatures/a.json", Data: []byte("{}")}, {Name: "empty"}}
	return th
}

// write writes an archive and returns its files.
func write(t *testing.T, cfg layout.ArchiveConfig, c layout.Contents) layout.Written {
	t.Helper()
	if cfg.Path == "" && cfg.Stream == nil {
		cfg.Path = filepath.Join(t.TempDir(), "images.tar")
	}
	w, err := layout.WriteArchive(t.Context(), cfg, c)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func open(t *testing.T, paths ...string) *layout.Archive {
	t.Helper()
	a, err := layout.OpenArchive(paths...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close() })
	return a
}

// hold checks that an archive has all the things.
func (th things) hold(t *testing.T, a *layout.Archive) {
	t.Helper()
	for r, want := range map[ref.Ref]oci.Manifest{
		alpine.WithTag("3.20"):                    th.one.Manifest,
		alpine.WithTag("latest"):                  th.one.Manifest,
		app.WithTag("v1"):                         th.index.Manifest,
		app.WithDigest(th.index.Digest):           th.index.Manifest,
		none.WithDigest(th.one.Digest):            th.one.Manifest,
		none.WithTag("v1"):                        th.index.Manifest,
		none.WithTag(alpine.String() + ":latest"): th.one.Manifest,
	} {
		m, err := a.Manifest(t.Context(), r)
		if err != nil || m.MediaType != want.MediaType || !bytes.Equal(m.Raw, want.Raw) {
			t.Errorf("Manifest(%v) = %s %s, %v, want %s", r, m.MediaType, m.Digest, err, want.Digest)
		}
	}
	for _, b := range th.contents.Blobs {
		th.holdBlob(t, a, b.Descriptor)
	}
	found, err := a.Referrers(t.Context(), app, th.index.Digest, "application/sig")
	if err != nil || len(found) != 1 || found[0].Digest != th.sig.Digest {
		t.Errorf("Referrers: %v, %v, want %s", found, err, th.sig.Digest)
	}
	for _, f := range th.contents.Files {
		if raw, err := a.ReadFile(f.Name); err != nil || !bytes.Equal(raw, f.Data) {
			t.Errorf("ReadFile(%s) = %q, %v", f.Name, raw, err)
		}
	}
}

// holdBlob reads a blob whole and from its middle.
func (th things) holdBlob(t *testing.T, a *layout.Archive, d oci.Descriptor) {
	t.Helper()
	for _, off := range []int64{0, d.Size / 2, d.Size} {
		b, err := a.Blob(t.Context(), app, d.Digest, off)
		if err != nil {
			t.Error(err)
			continue
		}
		want, _ := shelfSource(th.shelf, d.Digest)(t.Context(), off)
		expected, _ := io.ReadAll(want)
		got, err := io.ReadAll(b.Body)
		if err != nil || b.Size != d.Size || b.Offset != off || !bytes.Equal(got, expected) {
			t.Errorf("Blob(%s) from %d: %d bytes of %d, %v", d.Digest, off, len(got), b.Size, err)
		}
		b.Body.Close()
	}
}

func TestArchiveRoundTrip(t *testing.T) {
	th := newThings(t)
	w := write(t, layout.ArchiveConfig{}, th.contents)
	a := open(t, w.Paths...)
	th.hold(t, a)
	var names []string
	for _, e := range a.Entries() {
		names = append(names, e.Ref.String())
	}
	want := []string{alpine.String() + ":3.20", alpine.String() + ":latest", app.String() + ":v1", app.String() + "@" + string(th.index.Digest)}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("Entries: %s", diff)
	}
	if diff := cmp.Diff(w.Set, a.Set()); diff != "" {
		t.Errorf("Set: %s", diff)
	}
	if info, err := os.Stat(w.Paths[0]); err != nil || info.Size() != w.Bytes || w.Set.Volumes[0].Size != w.Bytes {
		t.Errorf("the file has %v bytes, %v, want %d, and the set says %d", info.Size(), err, w.Bytes, w.Set.Volumes[0].Size)
	}
}

// TestArchiveDeterministic holds that the same contents are the same bytes, in
// whatever order they are given and come, and as a stream too.
func TestArchiveDeterministic(t *testing.T) {
	th := newThings(t)
	one := write(t, layout.ArchiveConfig{Jobs: 1}, th.contents)
	want, err := os.ReadFile(one.Paths[0])
	if err != nil {
		t.Fatal(err)
	}
	c := th.contents
	for _, swap := range []func(int, func(int, int)){rand.New(rand.NewPCG(1, 1)).Shuffle} {
		swap(len(c.Blobs), func(i, j int) { c.Blobs[i], c.Blobs[j] = c.Blobs[j], c.Blobs[i] })
		swap(len(c.Manifests), func(i, j int) { c.Manifests[i], c.Manifests[j] = c.Manifests[j], c.Manifests[i] })
		swap(len(c.Names), func(i, j int) { c.Names[i], c.Names[j] = c.Names[j], c.Names[i] })
		c.Blobs, c.Names = append(c.Blobs, c.Blobs[0]), append(c.Names, c.Names[0])
	}
	two := write(t, layout.ArchiveConfig{Path: filepath.Join(t.TempDir(), "other.tar"), Jobs: 8}, c)
	if got, err := os.ReadFile(two.Paths[0]); err != nil || !bytes.Equal(got, want) {
		t.Errorf("the second archive differs, %v", err)
	}
	var stream bytes.Buffer
	write(t, layout.ArchiveConfig{Stream: &stream}, c)
	if !bytes.Equal(stream.Bytes(), want) {
		t.Error("the stream differs")
	}
}
