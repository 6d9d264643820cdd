package store

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"testing"

	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
	"pgregory.net/rapid"
)

// A model is what the store should hold, in plain maps. RAM in the real one is
// so small that half of the answers come from disk.
type model struct {
	t    *testing.T
	dir  string
	s    *Store
	all  []oci.Manifest
	tags map[tagID]oci.Digest  // of both pools; the vault's have no scope
	has  map[digestID]bool     // manifests
	link map[digestID]struct{} // of the cache
}

var (
	modelNames  = []ref.Name{{Host: "docker.io", Path: "a"}, {Host: "docker.io", Path: "a/b"}, {Host: "ghcr.io", Path: "a"}}
	modelScopes = []string{"docker.io", "docker.io@alice"}
	modelTags   = []string{"latest", "Latest", "v1"}
)

func (m *model) open(t *rapid.T) {
	var err error
	if m.s, err = Open(m.dir, Config{Records: 2, ManifestBytes: 1500, before: quick}); err != nil {
		t.Fatal(err)
	}
}

// place draws a repository of the cache, or with "" one of the vault.
func (m *model) place(t *rapid.T) (scope string, n ref.Name) {
	n = rapid.SampledFrom(modelNames).Draw(t, "name")
	if rapid.Bool().Draw(t, "vault") {
		return "", ref.Name{Path: n.Path}
	}
	return rapid.SampledFrom(modelScopes).Draw(t, "scope"), n
}

func (m *model) manifest(t *rapid.T) oci.Manifest {
	return rapid.SampledFrom(m.all).Draw(t, "manifest")
}
func (m *model) tag(t *rapid.T) string { return rapid.SampledFrom(modelTags).Draw(t, "tag") }

func (m *model) must(t *rapid.T, err error) {
	if err != nil {
		t.Fatal(err)
	}
}

func (m *model) push(t *rapid.T) {
	scope, n := m.place(t)
	man, tag := m.manifest(t), m.tag(t)
	if scope == "" {
		m.must(t, m.s.Vault().PutManifest(m.t.Context(), n, man, tag))
	} else {
		m.must(t, m.s.Cache().PutManifest(m.t.Context(), scope, n, man))
		m.must(t, m.s.Cache().PutTag(scope, n, tag, TagRecord{Digest: man.Digest}))
	}
	m.tags[tagID{scope, n, tag}] = man.Digest
	m.has[digestID{scope, n, man.Digest}] = true
}

func (m *model) deleteTag(t *rapid.T) {
	scope, n := m.place(t)
	id := tagID{scope, n, m.tag(t)}
	if scope != "" {
		m.must(t, m.s.Cache().DeleteTag(scope, n, id.tag))
	} else if err := m.s.Vault().DeleteTag(m.t.Context(), n, id.tag); (err == nil) != (m.tags[id] != "") {
		t.Fatalf("DeleteTag(%v): %v, the model has %q", id, err, m.tags[id])
	}
	delete(m.tags, id)
}

func (m *model) deleteManifest(t *rapid.T) {
	n := ref.Name{Path: rapid.SampledFrom(modelNames).Draw(t, "name").Path}
	id := digestID{"", n, m.manifest(t).Digest}
	if err := m.s.Vault().DeleteManifest(m.t.Context(), n, id.d); (err == nil) != m.has[id] {
		t.Fatalf("DeleteManifest(%v): %v, the model has it: %v", id, err, m.has[id])
	}
	delete(m.has, id)
	for tag, d := range m.tags {
		if tag.scope == "" && tag.name == n && d == id.d {
			delete(m.tags, tag)
		}
	}
}

func (m *model) addLink(t *rapid.T) {
	scope, n := rapid.SampledFrom(modelScopes).Draw(t, "scope"), rapid.SampledFrom(modelNames).Draw(t, "name")
	d := m.manifest(t).Digest
	m.must(t, m.s.Cache().Link(scope, n, d))
	m.link[digestID{scope, n, d}] = struct{}{}
}

func (m *model) reopen(t *rapid.T) {
	m.must(t, m.s.Close())
	m.open(t)
}

// look asks one thing of each kind.
func (m *model) look(t *rapid.T) {
	scope, n := m.place(t)
	tag, man := tagID{scope, n, m.tag(t)}, m.manifest(t)
	id := digestID{scope, n, man.Digest}
	var at oci.Digest
	var got oci.Manifest
	var tagErr, err error
	if scope == "" {
		var d oci.Descriptor
		d, tagErr = m.s.Vault().Resolve(m.t.Context(), n.WithTag(tag.tag))
		at = d.Digest
		got, err = m.s.Vault().Manifest(m.t.Context(), n.WithDigest(id.d))
	} else {
		var r TagRecord
		r, tagErr = m.s.Cache().Tag(scope, n, tag.tag)
		at = r.Digest
		got, err = m.s.Cache().Manifest(scope, n, id.d)
		if _, want := m.link[id]; m.s.Cache().Linked(scope, n, id.d) != want {
			t.Fatalf("Linked(%v) is not %v", id, want)
		}
	}
	if at != m.tags[tag] || (at == "") != errors.Is(tagErr, oci.ErrNotFound) {
		t.Fatalf("tag %v is %q, %v, the model has %q", tag, at, tagErr, m.tags[tag])
	}
	if m.has[id] != (err == nil) || !m.has[id] && !errors.Is(err, oci.ErrNotFound) || err == nil && string(got.Raw) != string(man.Raw) {
		t.Fatalf("manifest %v: %v, the model has it: %v", id, err, m.has[id])
	}
	m.list(t, scope, n)
}

func (m *model) list(t *rapid.T, scope string, n ref.Name) {
	var want, got []string
	for id := range m.tags {
		if id.scope == scope && id.name == n {
			want = append(want, id.tag)
		}
	}
	slices.Sort(want)
	if scope != "" {
		var err error
		got, err = m.s.Cache().Tags(scope, n)
		m.must(t, err)
	} else {
		for tag, err := range m.s.Vault().Tags(m.t.Context(), n, "") {
			if err != nil && !errors.Is(err, oci.ErrNotFound) {
				t.Fatal(err)
			} else if err == nil {
				got = append(got, tag)
			}
		}
	}
	if !slices.Equal(got, want) {
		t.Fatalf("tags of %q %v: got %q, want %q", scope, n, got, want)
	}
}

// TestModel does at random what callers do, reopens the store in between, and
// compares every answer with the model's.
func TestModel(t *testing.T) {
	var all []oci.Manifest
	for i := range 4 {
		all = append(all, manifestOf(oci.TypeImageIndex, fmt.Sprintf(`{"schemaVersion":2,"manifests":[],"annotations":{"n":"%d"}}`, i)))
	}
	dir := quickDir(t)
	rapid.Check(t, func(rt *rapid.T) {
		run, err := os.MkdirTemp(dir, "run-")
		if err != nil {
			rt.Fatal(err)
		}
		defer os.RemoveAll(run)
		m := &model{t: t, dir: run, all: all, tags: map[tagID]oci.Digest{}, has: map[digestID]bool{}, link: map[digestID]struct{}{}}
		m.open(rt)
		defer func() {
			if err := errors.Join(m.s.Close(), check(run)); err != nil {
				rt.Error(err)
			}
		}()
		rt.Repeat(map[string]func(*rapid.T){
			"push": m.push, "deleteTag": m.deleteTag, "deleteManifest": m.deleteManifest,
			"link": m.addLink, "look": m.look, "look again": m.look, "reopen": m.reopen,
		})
	})
}
