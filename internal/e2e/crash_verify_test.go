package e2e

import (
	"bytes"
	"encoding/json"
	"net/http"
	"testing"

	"github.com/entrepot/entrepot/internal/regtest"
	"github.com/entrepot/entrepot/oci"
)

// verify holds acknowledged pushes against the store.
func (c *crasher) verify(t *testing.T, pushes []ack) {
	t.Helper()
	for _, p := range pushes {
		for _, name := range []string{p.tag, string(p.manifest.Digest)} {
			if a := get(t, http.MethodGet, c.url+"/v2/"+p.repo+"/manifests/"+name); !bytes.Equal(a.body, p.manifest.Raw) {
				t.Errorf("the acknowledged %s:%s is answered with %d: %.200s", p.repo, name, a.StatusCode, a.body)
			}
		}
		if a := get(t, http.MethodGet, c.url+"/v2/"+p.repo+"/blobs/"+string(p.layer)); !bytes.Equal(a.body, p.content) {
			t.Errorf("the acknowledged layer of %s:%s is answered with %d, %d bytes, want %d", p.repo, p.tag, a.StatusCode, len(a.body), len(p.content))
		}
	}
}

// verifyTags holds the moving tags against what was pushed by them.
func (c *crasher) verifyTags(t *testing.T) {
	t.Helper()
	for repo, state := range c.tags {
		a := get(t, http.MethodGet, c.url+"/v2/"+repo+"/manifests/latest")
		d := oci.FromBytes(a.body, "")
		switch {
		case a.StatusCode == http.StatusNotFound && state.acked == "":
		case a.StatusCode != http.StatusOK || d != state.acked && !state.sent[d]:
			t.Errorf("%s:latest is %d, %s; acknowledged was %s", repo, a.StatusCode, d, state.acked)
		default: // from now on it is what it turned out to be
			c.tags[repo] = &tagState{acked: d, sent: make(map[oci.Digest]bool)}
		}
	}
}

// verifyVisible holds everything that a repository shows, acknowledged or not,
// to be whole.
func (c *crasher) verifyVisible(t *testing.T, repo string) {
	t.Helper()
	var list struct{ Tags []string }
	a := get(t, http.MethodGet, c.url+"/v2/"+repo+"/tags/list")
	if err := json.Unmarshal(a.body, &list); err != nil || len(list.Tags) == 0 {
		t.Errorf("%s has the tags %.200s (%v), want some", repo, a.body, err)
	}
	for _, tag := range list.Tags {
		a := get(t, http.MethodGet, c.url+"/v2/"+repo+"/manifests/"+tag)
		d := oci.Digest(a.Header.Get("Docker-Content-Digest"))
		m := oci.Manifest{MediaType: a.Header.Get("Content-Type"), Digest: d, Raw: a.body}
		links, err := m.Links()
		if err != nil || oci.FromBytes(a.body, "") != d {
			t.Errorf("%s:%s is visible as %d, %.200s (%v)", repo, tag, a.StatusCode, a.body, err)
			continue
		}
		for _, b := range links.Blobs() {
			if a := get(t, http.MethodGet, c.url+"/v2/"+repo+"/blobs/"+string(b.Digest)); oci.FromBytes(a.body, "") != b.Digest {
				t.Errorf("%s of %s:%s is %d, %d of %d bytes", b.Digest, repo, tag, a.StatusCode, len(a.body), b.Size)
			}
		}
	}
}

// verifyPulls pulls images whole, cold or resumed or stored.
func (c *crasher) verifyPulls(t *testing.T, images []regtest.Built) {
	t.Helper()
	for i, im := range images {
		repo := c.repoOf(im)
		a := get(t, http.MethodGet, c.url+"/v2/docker.io/"+repo+"/manifests/"+string(im.Digest))
		if !bytes.Equal(a.body, im.Raw) {
			t.Errorf("image %d of %s: manifest is answered with %d", i, repo, a.StatusCode)
		}
		for _, l := range im.Layers {
			a := get(t, http.MethodGet, c.url+"/v2/docker.io/"+repo+"/blobs/"+string(l.Digest))
			if a.err != nil || oci.FromBytes(a.body, "") != l.Digest {
				t.Errorf("layer %s of %s: %d, %d of %d bytes, %v", l.Digest, repo, a.StatusCode, len(a.body), l.Size, a.err)
			}
		}
	}
}
