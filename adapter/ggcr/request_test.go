package ggcr

import (
	"net/url"
	"strings"
	"testing"

	"github.com/entrepot/entrepot/ref"
)

func TestParse(t *testing.T) {
	const d = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	at := func(s string) ref.Ref {
		r, err := ref.Parse(s)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	for address, want := range map[string]request{
		"https://index.docker.io/v2/":                              {kind: ping},
		"https://index.docker.io/v2/library/alpine/manifests/3.20": {kind: manifest, ref: at("alpine:3.20")},
		"https://GCR.io/v2/a/manifests/" + d:                       {kind: manifest, ref: at("gcr.io/a@" + d)},
		"http://[::1]:5000/v2/a/b/blobs/" + d:                      {kind: blob, ref: at("[::1]:5000/a/b@" + d)},
		"https://gcr.io/v2/manifests/blobs/manifests/blobs":        {kind: manifest, ref: at("gcr.io/manifests/blobs:blobs")},
		"https://gcr.io/v2/a/tags/list?n=1":                        {kind: list, ref: at("gcr.io/a"), rest: "tags/list"},
		"https://gcr.io/v2/a/referrers/" + d:                       {kind: list, ref: at("gcr.io/a@" + d), rest: "referrers/" + d},
		"https://gcr.io/v2/_catalog":                               {kind: unknown},
		"https://gcr.io/v2/A/manifests/v1":                         {kind: unknown},
		"https://gcr.io/v2/a/../b/manifests/v1":                    {kind: unknown},
		"https://gcr.io/v2/a/blobs/v1":                             {kind: unknown, ref: at("gcr.io/a")},
		"https://gcr.io/v2":                                        {},
		"https://cdn.example.com/a/blobs/" + d:                     {},
	} {
		u, err := url.Parse(address)
		if err != nil {
			t.Fatal(err)
		}
		if got := parse(u); got != want {
			t.Errorf("%s: got %+v, want %+v", address, got, want)
		}
	}
}

// FuzzParse holds that what is asked for can be asked for again: the address
// that is made of it is the one that was read.
func FuzzParse(f *testing.F) {
	f.Add("/v2/library/alpine/manifests/3.20")
	f.Add("/v2/a/b/blobs/sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")
	f.Add("/v2/a/tags/list")
	f.Fuzz(func(t *testing.T, path string) {
		r := parse(&url.URL{Scheme: "https", Host: "gcr.io", Path: path})
		again := "/v2/" + r.ref.Path
		switch r.kind {
		case manifest:
			again += "/manifests/" + r.ref.Identifier()
		case blob:
			again += "/blobs/" + string(r.ref.Digest)
		case list:
			again += "/" + r.rest
		default:
			return
		}
		if again != path || strings.Contains(path, "//") {
			t.Fatalf("%q is read as %q", path, again)
		}
	})
}
