package cli

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/entrepot/entrepot/internal/regtest"
)

// Which tags a reference of [[prefetch]] chooses.
func TestParseWarm(t *testing.T) {
	tags := []string{"latest", "3", "3.9", "3.20", "3.20.1", "v3.21.0", "4.0.0", "edge", "3.x"}
	digest := "sha256:" + strings.Repeat("a", 64)
	for _, c := range []struct {
		reference, semver string
		image             string // "" where tags are chosen
		want              string // the tags
		wrong             string // a part of the error
	}{
		{"docker.io/library/alpine:3.*", "", "", "3.9 3.20 3.20.1 3.x", ""},
		{"alpine:3.*", "", "", "3.9 3.20 3.20.1 3.x", ""},
		{"docker.io/library/alpine:3.*", ">=3.10", "", "3.20 3.20.1", ""},
		{"docker.io/library/alpine", "~3.20", "", "3.20 3.20.1", ""},
		{"docker.io/library/alpine", ">=3.20 <4", "", "3.20 3.20.1 v3.21.0", ""},
		{"docker.io/library/alpine:3.?0", "", "", "3.20", ""},
		{"docker.io/library/alpine:[34]*", "", "", "3 3.9 3.20 3.20.1 4.0.0 3.x", ""},
		{"docker.io/library/alpine:*", "", "", strings.Join(tags, " "), ""},
		{"docker.io/library/alpine", "", "docker.io/library/alpine:latest", "", ""},
		{"registry.corp:5000/a/b", "", "registry.corp:5000/a/b:latest", "", ""},
		{"registry.corp:5000/a/b:v*", "", "", "v3.21.0", ""},
		{"docker.io/library/alpine:3.20", "", "docker.io/library/alpine:3.20", "", ""},
		{"docker.io/library/alpine:3.20", "3.x", "docker.io/library/alpine:3.20", "", ""},
		{"docker.io/library/alpine@" + digest, "", "docker.io/library/alpine@" + digest, "", ""},
		{"docker.io/library/alpine:3.20", "4.x", "", "", "not in the range"},
		{"docker.io/library/alpine@" + digest, "4.x", "", "", "no version"},
		{"docker.io/library/alpine:3.20@" + digest, "", "", "", "a tag and a digest"},
		{"docker.io/library/*:3.20", "", "", "", "library/*"},
		{"docker.io/library/alpine:[", "", "", "", "no pattern"},
		{"", "", "", "", "empty"},
	} {
		versions, err := versionsIn(c.semver)
		if err != nil {
			t.Fatal(err)
		}
		w, err := parseWarm(c.reference, versions)
		if c.wrong != "" {
			if err == nil || !strings.Contains(err.Error(), c.wrong) {
				t.Errorf("%q, %q: error %v, want %q", c.reference, c.semver, err, c.wrong)
			}
			continue
		}
		if err != nil {
			t.Errorf("%q, %q: %v", c.reference, c.semver, err)
			continue
		}
		if w.Match == nil {
			if w.Ref.String() != c.image {
				t.Errorf("%q, %q: %s, want %q", c.reference, c.semver, w.Ref, c.image)
			}
			continue
		}
		var got []string
		for _, tag := range tags {
			if w.Match(tag) {
				got = append(got, tag)
			}
		}
		if strings.Join(got, " ") != c.want || w.Ref.Tag != "" {
			t.Errorf("%q, %q: chooses %q, want %q", c.reference, c.semver, got, c.want)
		}
	}
}

// FuzzParseWarm: whatever is written, there is an image, or tags of a
// repository, or an error.
func FuzzParseWarm(f *testing.F) {
	for _, s := range []string{"docker.io/library/alpine:3.*", "a:[", "x@sha256:1", ":", "localhost:5000/x:\\", "a/b:[a-c]?"} {
		f.Add(s, "3.1.2")
	}
	f.Fuzz(func(t *testing.T, s, tag string) {
		w, err := parseWarm(s, nil)
		if err != nil {
			return
		}
		if w.Ref.Path == "" || w.Match == nil && w.Ref.Tag == "" && w.Ref.Digest == "" {
			t.Errorf("%q is %+v", s, w)
		}
		if w.Match != nil {
			w.Match(tag)
		}
	})
}

// What [[prefetch]] names is fetched without a client, and is served after that
// with the upstream away.
func TestServePrefetches(t *testing.T) {
	reg := regtest.New(t, regtest.Config{})
	img := reg.AddImage("a/b", regtest.Image{Layers: []int64{5000}}, "3.1")
	old := reg.AddImage("a/b", regtest.Image{Layers: []int64{6000}}, "2.9")
	come := make(chan struct{})
	second := regtest.Match{Kind: regtest.Tags, After: 1, Times: 1} // a round begins when the one before is over
	reg.On(second, regtest.Fault{Before: func() { close(come) }})
	conf := upstreamTable(reg, "example.com", "tag_ttl = '-1'") + fmt.Sprintf("[storage]\nurl = 'file://%s'\n", t.TempDir())
	r := start(t, conf+"[[prefetch]]\nreferences = ['example.com/a/b:3.*']\ninterval = '1s'\n")
	<-come
	r.counts(`entrepot_prefetches_total{result="fetched",upstream="example.com"} 1`)
	r.client.CloseIdleConnections()
	if code := r.end(); code != 0 {
		t.Fatalf("got exit code %d", code)
	}
	if n := reg.BlobBytes(old.Layers[0].Digest); n > 0 {
		t.Errorf("%d bytes of a tag that nobody chose were fetched", n)
	}
	reg.Down()
	r = start(t, conf)
	if code, _, body := r.get(r.url + "/v2/example.com/a/b/manifests/3.1"); code != 200 || !bytes.Equal(body, img.Raw) {
		t.Errorf("manifest: got %d", code)
	}
	if code, _, body := r.get(r.url + "/v2/example.com/a/b/blobs/" + string(img.Layers[0].Digest)); code != 200 || len(body) != 5000 {
		t.Errorf("layer: got %d and %d bytes", code, len(body))
	}
}
