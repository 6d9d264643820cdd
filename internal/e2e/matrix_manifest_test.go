package e2e

import (
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/entrepot/entrepot/internal/regtest"
	"github.com/entrepot/entrepot/oci"
)

const ubuntuTag = "library/ubuntu/manifests/24.04?ns=docker.io"

var manifestRows = []row{
	{"L02 HEAD manifest by tag, cold", func(t *testing.T) { headTag(t, "MISS") }},
	{"L03 HEAD manifest by tag, 100 clients at once", hundredHeads},
	{"L04 HEAD manifest by tag, fresh", func(t *testing.T) { headTag(t, "MISS", "HIT", "HIT") }},
	{"L05 GET manifest by digest, stored, upstream up and down", storedDigest},
	{"B3 GET manifest by tag, the stored digest costs a HEAD", revalidated},
	{"B3 GET manifest by tag that moved", movedTag},
	{"L23 upstream 404 for a tag, and again within 10 s", func(t *testing.T) {
		s := newStack(t, "", "")
		s.up.AddImage("library/ubuntu", ubuntu, "22.04")
		s.ask(t, "HEAD", ubuntuTag).status(t, http.StatusNotFound, "")
		s.up.ResetLog()
		s.ask(t, "GET", ubuntuTag).status(t, http.StatusNotFound, oci.CodeManifestUnknown)
		s.wire(t)
	}},
	{"L29 GET referrers where the upstream lacks the API", referrersByTag},
	{"B12 GET referrers, upstream has the API", referrersByAPI},
	{"B11 GET tags", func(t *testing.T) {
		s := newStack(t, "", "")
		s.up.AddImage("library/ubuntu", ubuntu, "22.04", "24.04")
		s.ask(t, "GET", "ubuntu/tags/list?ns=docker.io").is(t, []byte(`{"name":"ubuntu","tags":["22.04","24.04"]}`))
	}},
}

// headTag asks for a tag once for each result that it is to have.
func headTag(t *testing.T, results ...string) {
	t.Helper()
	s := newStack(t, "", "")
	im := s.up.AddImage("library/ubuntu", ubuntu, "24.04")
	for _, want := range results {
		a := s.ask(t, "HEAD", ubuntuTag)
		a.status(t, http.StatusOK, "")
		a.header(t, "Docker-Content-Digest: "+string(im.Digest), "Content-Length: "+strconv.Itoa(len(im.Raw)),
			"Content-Type: "+im.MediaType, "OCI-Namespace: docker.io", "X-Cache: "+want)
	}
	s.wire(t, "HEAD manifest 24.04")
}

// hundredHeads holds the upstream's answer until all clients have asked.
func hundredHeads(t *testing.T) {
	s := newStack(t, "", "")
	im := s.up.AddImage("library/ubuntu", ubuntu, "24.04")
	held := s.up.On(regtest.Match{Kind: regtest.Manifest}, regtest.Held())
	var all sync.WaitGroup
	for range 100 {
		all.Go(func() {
			a, err := tryGet(t, "HEAD", s.url+"/v2/"+ubuntuTag)
			if err != nil || a.StatusCode != http.StatusOK || a.Header.Get("Docker-Content-Digest") != string(im.Digest) {
				t.Errorf("one of 100 got %v, %v", a.Response, err)
			}
		})
	}
	eventually(t, "all clients are being answered", func() bool { return s.metric(t, "entrepot_in_flight_requests") >= 100 })
	held.Release()
	all.Wait()
	s.wire(t, "HEAD manifest 24.04")
}

func storedDigest(t *testing.T) {
	s := newStack(t, "", "")
	im := s.up.AddImage("library/ubuntu", ubuntu, "24.04")
	path := "library/ubuntu/manifests/" + string(im.Digest) + "?ns=docker.io"
	s.ask(t, "GET", path).is(t, im.Raw)
	s.settle(t, im)
	for range 2 { // then with the upstream down
		a := s.ask(t, "GET", path)
		a.is(t, im.Raw)
		a.header(t, "X-Cache: HIT", "Etag: "+strconv.Quote(string(im.Digest)))
		if !strings.Contains(a.Header.Get("Cache-Control"), "immutable") {
			t.Errorf("Cache-Control is %q, want immutable", a.Header.Get("Cache-Control"))
		}
		s.ask(t, "GET", path, "If-None-Match: "+strconv.Quote(string(im.Digest))).status(t, http.StatusNotModified, "")
		s.wire(t)
		s.up.Down()
	}
}

// settle waits until the blobs that a manifest announces have been fetched
// ahead, and forgets what was asked for that.
func (s *stack) settle(t *testing.T, im regtest.Built) {
	t.Helper()
	for _, d := range append([]oci.Descriptor{im.Config}, im.Layers...) {
		s.ask(t, "GET", "library/ubuntu/blobs/"+string(d.Digest)+"?ns=docker.io").status(t, http.StatusOK, "")
	}
	s.up.Idle()
	s.up.ResetLog()
}

func revalidated(t *testing.T) {
	s := newStack(t, `tag_ttl = "0s"`, "")
	im := s.up.AddImage("library/ubuntu", ubuntu, "24.04")
	s.ask(t, "GET", ubuntuTag).is(t, im.Raw)
	s.settle(t, im)
	a := s.ask(t, "GET", ubuntuTag)
	a.is(t, im.Raw)
	a.header(t, "X-Cache: REVALIDATED")
	s.wire(t, "HEAD manifest 24.04")
}

func movedTag(t *testing.T) {
	s := newStack(t, `tag_ttl = "0s"`, "")
	old := s.up.AddImage("library/ubuntu", ubuntu, "24.04")
	s.ask(t, "GET", ubuntuTag).is(t, old.Raw)
	s.settle(t, old)
	moved := s.up.AddImage("library/ubuntu", regtest.Image{Seed: 7}, "24.04")
	s.ask(t, "GET", ubuntuTag).is(t, moved.Raw)
	s.up.Idle()
	if n := s.up.Count("HEAD", regtest.Manifest); n != 1 {
		t.Errorf("%d HEADs of the tag, want one", n)
	}
	s.ask(t, "GET", "library/ubuntu/manifests/"+string(old.Digest)+"?ns=docker.io").is(t, old.Raw)
}

func referrersByTag(t *testing.T) {
	s := newStack(t, "", "")
	im := s.up.AddImage("library/ubuntu", ubuntu, "24.04")
	s.up.DropReferrersAPI()
	path := "library/ubuntu/referrers/" + string(im.Digest) + "?ns=docker.io"
	s.ask(t, "GET", path).is(t, []byte(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}`))

	signed := s.up.AddImage("library/ubuntu", regtest.Image{Seed: 8}, "signed")
	sig := s.up.AddReferrer("library/ubuntu", signed.Descriptor(), signatureType, 1)
	s.up.ResetLog()
	a := s.ask(t, "GET", "library/ubuntu/referrers/"+string(signed.Digest)+"?ns=docker.io")
	a.status(t, http.StatusOK, "")
	a.header(t, "Content-Type: "+oci.TypeImageIndex)
	if !strings.Contains(string(a.body), string(sig.Digest)) || !strings.Contains(string(a.body), signatureType) {
		t.Errorf("the referrers are %s, want %s", a.body, sig.Digest)
	}
	if s.up.Count("GET", regtest.Manifest) == 0 {
		t.Error("the referrers tag was not tried")
	}
}

func referrersByAPI(t *testing.T) {
	s := newStack(t, "", "")
	im := s.up.AddImage("library/ubuntu", ubuntu, "24.04")
	sig := s.up.AddReferrer("library/ubuntu", im.Descriptor(), signatureType, 1)
	s.up.AddReferrer("library/ubuntu", im.Descriptor(), "application/vnd.other", 2)
	a := s.ask(t, "GET", "library/ubuntu/referrers/"+string(im.Digest)+"?ns=docker.io&artifactType="+signatureType)
	a.status(t, http.StatusOK, "")
	a.header(t, "OCI-Filters-Applied: artifactType")
	if !strings.Contains(string(a.body), string(sig.Digest)) || strings.Contains(string(a.body), "vnd.other") {
		t.Errorf("the referrers are %s, want %s alone", a.body, sig.Digest)
	}
}
