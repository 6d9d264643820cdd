package layout_test

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/entrepot/entrepot/layout"
	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
)

// look does with an archive whatever can be done. Whatever is wrong with it has
// to be an error, and what it gives out verified has to be right.
func look(t *testing.T, path string) {
	t.Helper()
	a, err := layout.OpenArchive(path)
	if err != nil {
		return
	}
	defer a.Close()
	a.Verify(t.Context(), false)
	whole := a.Verify(t.Context(), true) == nil
	for _, f := range a.Files() {
		a.ReadFile(f)
	}
	for _, e := range a.Entries() {
		m, err := a.Manifest(t.Context(), ref.Ref{Digest: e.Descriptor.Digest})
		if err != nil {
			if whole {
				t.Errorf("it is whole, and %s is %v", e.Descriptor.Digest, err)
			}
			continue
		}
		if oci.FromBytes(m.Raw, m.Digest) != m.Digest {
			t.Errorf("%s is not what its digest says", m.Digest)
		}
		for _, err := range a.Tags(t.Context(), e.Ref.Name, "") {
			if err != nil {
				t.Errorf("the tags of %s: %v", e.Ref.Name, err)
			}
		}
		a.Lookup(e.Ref)
		a.Referrers(t.Context(), e.Ref.Name, m.Digest, "")
		lookAtBlobs(t, a, m, whole)
	}
}

func lookAtBlobs(t *testing.T, a *layout.Archive, m oci.Manifest, whole bool) {
	t.Helper()
	links, err := m.Links()
	if err != nil {
		return
	}
	for _, d := range links.Blobs() {
		b, err := a.Blob(context.Background(), ref.Name{}, d.Digest, 0)
		if err != nil {
			continue // it may be one that was left out
		}
		_, err = io.Copy(io.Discard, oci.VerifyReader(b.Body, d.Digest, d.Size))
		if whole && errors.Is(err, oci.ErrMismatch) {
			t.Errorf("it is whole, and %s is %v", d.Digest, err)
		}
		b.Body.Close()
	}
}

// FuzzArchive holds that no file makes a reader panic, or takes it elsewhere.
func FuzzArchive(f *testing.F) {
	th := newThings(f, 10, 700)
	seeds := []string{
		tarOf(f, layoutEntry, indexEntry(digestOf("{}")), blobEntry("{}")),
		tarOf(f, entry{name: "l", text: "x"}, entry{name: "c", text: dockerConfig("x")}, entry{name: "manifest.json", text: `[{"Config":"c","RepoTags":["a:1"],"Layers":["l"]}]`}),
		tarOf(f, layoutEntry, entry{name: "index.json", kind: '2', link: "a"}, entry{name: "a", kind: '1', link: "index.json"}),
	}
	for _, limit := range []int64{0, 12 << 10} {
		path := filepath.Join(f.TempDir(), "x.tar")
		w, err := layout.WriteArchive(f.Context(), layout.ArchiveConfig{Path: path, VolumeSize: limit}, th.contents)
		if err != nil {
			f.Fatal(err)
		}
		seeds = append(seeds, w.Paths...)
	}
	for _, path := range seeds {
		raw, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	path := filepath.Join(f.TempDir(), "fuzz.tar")
	f.Fuzz(func(t *testing.T, raw []byte) {
		if err := os.WriteFile(path, raw, 0o666); err != nil {
			t.Fatal(err)
		}
		look(t, path)
		layout.VerifyVolume(t.Context(), path)
		layout.Volumes(path)
	})
}

// FuzzDocuments does the same to the documents in a tar that is none the worse.
func FuzzDocuments(f *testing.F) {
	d := string(digestOf("{}"))
	f.Add("", `{"manifests":[{"digest":"`+d+`","size":2}]}`, "", "", "")
	f.Add(`[{"Config":"c","RepoTags":["a:1"],"Layers":["l"]}]`, "", "", "", "")
	f.Add("", `{"manifests":[]}`, `{"version":1,"set":"`+d+`","volume":1,"volumes":1}`, `{"version":1,"entries":[]}`,
		`{"version":1,"id":"`+d+`","blobs":[{"digest":"`+d+`","size":2,"parts":[{"volume":1,"offset":0,"size":2}]}],"volumes":[{"size":1,"digest":"`+d+`"}]}`)
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, docker, index, volume, sums, set string) {
		entries := []entry{layoutEntry, blobEntry("{}"), {name: "c", text: dockerConfig("x")}, {name: "l", text: "x"}}
		for name, text := range map[string]string{"manifest.json": docker, "index.json": index, "entrepot/volume.json": volume, "entrepot/sums.json": sums, "entrepot/set.json": set} {
			if text != "" {
				entries = append(entries, entry{name: name, text: text})
			}
		}
		look(t, tarIn(t, dir, entries...))
	})
}
