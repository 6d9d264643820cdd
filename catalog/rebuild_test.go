package catalog_test

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	ispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/entrepot/entrepot/catalog"
	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
)

// rebuild filters the catalog of an image to the heads of quay, makes its image and
// puts it beside the old one.
func (s *shelf) rebuild(tag, newTag string) (*catalog.Rebuilt, *catalog.Catalog) {
	s.t.Helper()
	c, image := s.from(tag)
	kept, _, err := c.Filter(catalog.Filter{Packages: []pf{{Name: "quay"}}})
	if err != nil {
		s.t.Fatal(err)
	}
	made, err := catalog.Rebuild(s.t.Context(), s, image, kept)
	if err != nil {
		s.t.Fatal(err)
	}
	for d, data := range made.Blobs {
		if got := s.blob("", data); got.Digest != d {
			s.t.Errorf("a blob is called %s and is %s", d, got.Digest)
		}
	}
	for _, m := range made.Manifests {
		if err := s.PutManifest(s.t.Context(), s.name, m); err != nil {
			s.t.Fatal(err)
		}
	}
	if err := s.PutManifest(s.t.Context(), s.name, made.Manifest, newTag); err != nil {
		s.t.Fatal(err)
	}
	return made, kept
}

func TestRebuild(t *testing.T) {
	for _, docker := range []bool{false, true} {
		s := newShelf(t)
		old := s.image(made{docker: docker, layers: [][]byte{zstandard(t, catalogLayer(t)), zip(t, archive(t, "etc/x = y"))}}, "v1")
		made, kept := s.rebuild("v1", "v1-quay")
		got, image := s.from("v1-quay")
		if diff := cmp.Diff(inside(t, kept), inside(t, got)); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff(kept.Files(), got.Files()); diff != "" {
			t.Error(diff)
		}
		if image.Digest != made.Manifest.Digest || image.Digest == old.Digest {
			t.Errorf("the new image is %s, the old one %s", image.Digest, old.Digest)
		}
		var m ispec.Manifest
		if err := json.Unmarshal(made.Manifest.Raw, &m); err != nil {
			t.Fatal(err)
		}
		if made.Manifest.MediaType != old.MediaType || len(m.Layers) != 4 {
			t.Errorf("the manifest is %s", made.Manifest.Raw)
		}
		if from := m.Annotations[catalog.FilteredFrom]; docker == (from == string(old.Digest)) {
			t.Errorf("the annotation says %q", from)
		}
	}
}

func TestRebuildConfig(t *testing.T) {
	s := newShelf(t)
	old := s.image(made{layers: [][]byte{zip(t, catalogLayer(t))}, cmd: []string{"serve", "/configs", "--cache-dir", "/tmp/cache", "--cache-enforce-integrity=false", "--debug"}}, "v1")
	made, _ := s.rebuild("v1", "new")
	var m ispec.Manifest
	if err := json.Unmarshal(made.Manifest.Raw, &m); err != nil {
		t.Fatal(err)
	}
	var c ispec.Image
	if err := json.Unmarshal(made.Blobs[m.Config.Digest], &c); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"serve", "/configs", "--debug"}, c.Config.Cmd); diff != "" {
		t.Error(diff)
	}
	if c.Config.Labels[catalog.FilteredFrom] != string(old.Digest) || c.Config.Labels[configsLabel] != "/configs" || c.Config.User != "1001" || c.Author != "them" {
		t.Errorf("the configuration is %s", made.Blobs[m.Config.Digest])
	}
	if n := len(c.History); n != len(m.Layers) || !strings.Contains(c.History[n-1].CreatedBy, "filtered") || c.History[n-1].Created == nil {
		t.Errorf("the history is %+v", c.History)
	}
	for i, l := range m.Layers[1:] {
		if got := oci.FromBytes(unzip(t, made.Blobs[l.Digest]), ""); got != c.RootFS.DiffIDs[i+1] {
			t.Errorf("layer %d is %s unpacked, the configuration says %s", i+1, got, c.RootFS.DiffIDs[i+1])
		}
	}
	want := []string{".wh.configs 0644", "tmp/ 1777", "tmp/.wh.cache 0644"}
	if diff := cmp.Diff(want, entries(t, unzip(t, made.Blobs[m.Layers[1].Digest]))); diff != "" {
		t.Error(diff)
	}
	want = []string{"configs/ 1777", "configs/catalog.json 0644", "configs/quay/ 0755", "configs/quay/catalog.json 0644"}
	if diff := cmp.Diff(want, entries(t, unzip(t, made.Blobs[m.Layers[2].Digest]))); diff != "" {
		t.Error(diff)
	}
}

// entries lists a tar, "name mode", and holds that no time is in it.
func entries(t *testing.T, data []byte) []string {
	t.Helper()
	var all []string
	for r := tar.NewReader(bytes.NewReader(data)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.ModTime.Unix() != 0 || h.Uid != 0 || h.Uname != "" {
			t.Errorf("%s: of %v, by %d %q", h.Name, h.ModTime, h.Uid, h.Uname)
		}
		all = append(all, strings.TrimSpace(h.Name)+" "+octal(h.Mode))
	}
}

func octal(mode int64) string {
	return string([]byte{'0' + byte(mode>>9&7), '0' + byte(mode>>6&7), '0' + byte(mode>>3&7), '0' + byte(mode&7)})
}

func TestRebuildAllPlatforms(t *testing.T) {
	s := newShelf(t)
	var children []oci.Descriptor
	for _, arch := range []string{"amd64", "arm64", "s390x"} {
		d := s.image(made{arch: arch, layers: [][]byte{zip(t, catalogLayer(t)), zip(t, archive(t, "bin/opm = "+arch))}})
		d.Platform = &ispec.Platform{OS: "linux", Architecture: arch}
		children = append(children, d)
	}
	said := s.image(made{arch: "unknown", layers: [][]byte{zip(t, archive(t, "a = b"))}})
	said.Platform = &ispec.Platform{OS: "unknown", Architecture: "unknown"}
	said.Annotations = map[string]string{"vnd.docker.reference.type": "attestation-manifest"}
	index := s.manifest(oci.TypeImageIndex, map[string]any{
		"schemaVersion": 2, "mediaType": oci.TypeImageIndex, "manifests": append(children, said), "annotations": map[string]string{"a": "b"},
	}, "v1")
	if err := os.Remove(filepath.Join(s.dir, "blobs/sha256", children[2].Digest.Encoded())); err != nil {
		t.Fatal(err)
	}
	made, _ := s.rebuild("v1", "new")
	var v ispec.Index
	if err := json.Unmarshal(made.Manifest.Raw, &v); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"a": "b", catalog.FilteredFrom: string(index.Digest)}, v.Annotations); diff != "" {
		t.Error(diff)
	}
	var archs []string
	for _, d := range v.Manifests {
		archs = append(archs, d.Platform.Architecture)
		if !slices.ContainsFunc(made.Manifests, func(m oci.Manifest) bool { return m.Digest == d.Digest }) {
			t.Errorf("the index names %s, which is not there", d.Digest)
		}
	}
	if diff := cmp.Diff([]string{"amd64", "arm64"}, archs); diff != "" {
		t.Error(diff)
	}
}

func TestRebuildIsDeterministic(t *testing.T) {
	var first *catalog.Rebuilt
	for range 3 {
		s := newShelf(t)
		s.image(made{layers: [][]byte{zip(t, catalogLayer(t))}}, "v1")
		made, _ := s.rebuild("v1", "new")
		if first == nil {
			first = made
		}
		if diff := cmp.Diff(first, made); diff != "" {
			t.Fatal(diff)
		}
	}
}

func TestOver(t *testing.T) {
	s := newShelf(t)
	s.image(made{layers: [][]byte{zip(t, catalogLayer(t))}}, "v1")
	c, image := s.from("v1")
	kept, _, err := c.Filter(catalog.Filter{Packages: []pf{{Name: "quay"}}})
	if err != nil {
		t.Fatal(err)
	}
	made, err := catalog.Rebuild(t.Context(), s, image, kept)
	if err != nil {
		t.Fatal(err)
	}
	r := made.Over(s)
	got, _, err := catalog.FromImage(t.Context(), r, ref.Ref{Name: s.name, Digest: made.Manifest.Digest})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(inside(t, kept), inside(t, got)); diff != "" {
		t.Error(diff)
	}
	if _, err := r.Resolve(t.Context(), s.ref("v1")); err != nil {
		t.Errorf("the old image: %v", err)
	}
	if of, err := r.(oci.SubjectLister).Subjects(t.Context(), s.name, made.Manifest.Digest); err != nil || len(of) > 0 {
		t.Errorf("referrers of the new image: %v, %v", of, err)
	}
	for tag, err := range r.(oci.Lister).Tags(t.Context(), s.name, "") {
		if tag != "v1" || err != nil {
			t.Errorf("tag %q, %v", tag, err)
		}
	}
	if _, err := r.(oci.SubjectLister).Subjects(t.Context(), s.name, image.Digest); err != nil {
		t.Errorf("referrers of the old image: %v", err)
	}
	if m, err := r.Manifest(t.Context(), s.ref("v1")); err != nil || m.Digest != image.Digest {
		t.Errorf("the old image is %s, %v", m.Digest, err)
	}
	if d, err := r.Resolve(t.Context(), ref.Ref{Name: s.name, Digest: made.Manifest.Digest}); err != nil || d.Size != int64(len(made.Manifest.Raw)) {
		t.Errorf("the new image is %v, %v", d, err)
	}
	for d, data := range made.Blobs {
		if got, err := r.Stat(t.Context(), s.name, d); err != nil || got.Size != int64(len(data)) {
			t.Errorf("%s has %d bytes, %v", d, got.Size, err)
		}
		b, err := r.Blob(t.Context(), s.name, d, 5)
		if err != nil {
			t.Fatal(err)
		}
		if rest, err := io.ReadAll(b.Body); err != nil || !bytes.Equal(rest, data[5:]) {
			t.Errorf("%s from 5 on: %d bytes, %v", d, len(rest), err)
		}
		if _, err := r.Blob(t.Context(), s.name, d, int64(len(data))+1); !errors.Is(err, oci.ErrInvalid) {
			t.Errorf("beyond its end: %v", err)
		}
	}
}
