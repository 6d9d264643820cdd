package e2e

import (
	"net/http"
	"strings"
	"testing"

	"github.com/entrepot/entrepot/internal/regtest"
	"github.com/entrepot/entrepot/oci"
)

// Two ways of an upstream to be away.
var (
	refuses = (*regtest.Registry).Down
	silent  = (*regtest.Registry).BlackHole
)

// TestFault06ByDigest: what is stored is served by its digest without a word to
// the upstream, which may as well be away (distribution#3705, harbor#18270,
// zot#2213).
func TestFault06ByDigest(t *testing.T) {
	together(t,
		row{"upstream refuses", func(t *testing.T) { storedWithout(t, refuses) }},
		row{"upstream is a black hole", func(t *testing.T) { storedWithout(t, silent) }})
}

// TestFault07ByTag: a stored tag is served too, and it is said how old it is.
func TestFault07ByTag(t *testing.T) {
	together(t,
		row{"upstream refuses", func(t *testing.T) { staleTag(t, refuses) }},
		row{"upstream is a black hole", func(t *testing.T) { staleTag(t, silent) }})
}

// TestFault08Cold: with nothing stored everybody is told to come back, at once:
// a slow "no" uses up all the patience that a client has for its mirrors
// (containerd#10624).
func TestFault08Cold(t *testing.T) {
	together(t,
		row{"upstream refuses", func(t *testing.T) { coldDown(t, unreachable(t)) }},
		row{"upstream takes no connections", func(t *testing.T) { coldDown(t, "http://"+regtest.Unreachable(t)) }})
}

func storedWithout(t *testing.T, down func(*regtest.Registry)) {
	s := newStack(t, `tag_ttl = "0s"`, "")
	im := s.up.AddImage("library/ubuntu", ubuntu, "24.04")
	s.ask(t, "GET", ubuntuTag).is(t, im.Raw)
	s.settle(t, im)
	for _, l := range im.Layers {
		eventually(t, "the layer is stored", func() bool { return s.ask(t, "GET", blobPath(l.Digest)).Header.Get("X-Cache") == "HIT" })
	}
	s.up.ResetLog()
	down(s.up)
	for range 20 {
		for _, method := range []string{"GET", "HEAD"} {
			a := s.ask(t, method, "library/ubuntu/manifests/"+string(im.Digest)+"?ns=docker.io")
			a.status(t, http.StatusOK, "")
			a.header(t, "X-Cache: HIT", "Warning:")
		}
		for _, l := range im.Layers {
			a := s.ask(t, "GET", blobPath(l.Digest))
			a.status(t, http.StatusOK, "")
			a.header(t, "X-Cache: HIT", "Warning:")
		}
	}
	if n := s.metric(t, "entrepot_upstream_requests_total", `code="0"`); n != 0 {
		t.Errorf("the upstream was asked %v times in vain, want never", n)
	}
}

// staleTag: whatever is wrong with the upstream, what is stored is served, and
// it is said how old it is.
func staleTag(t *testing.T, down func(*regtest.Registry)) {
	s := newStack(t, `tag_ttl = "0s"`, "")
	im := s.up.AddImage("library/ubuntu", ubuntu, "24.04")
	s.ask(t, "GET", ubuntuTag).is(t, im.Raw)
	s.settle(t, im)
	down(s.up)
	for range 5 {
		a := s.ask(t, "GET", ubuntuTag)
		a.is(t, im.Raw)
		a.header(t, "X-Cache: STALE")
		if a.Header.Get("Age") == "" || !strings.HasPrefix(a.Header.Get("Warning"), `299 - "`) {
			t.Errorf("Age %q, Warning %q; want both", a.Header.Get("Age"), a.Header.Get("Warning"))
		}
	}
	if n := s.metric(t, "entrepot_requests_total", `result="stale"`); n != 5 {
		t.Errorf("%v stale answers counted, want 5", n)
	}
	for _, l := range im.Layers {
		s.ask(t, "GET", blobPath(l.Digest)).status(t, http.StatusOK, "")
	}
}

// coldDown: nothing is stored and the upstream cannot be reached. Every client
// is told so, and nothing stays behind for it.
func coldDown(t *testing.T, url string) {
	e := serve(t, serving{upstreams: []upstream{{name: "docker.io", url: url}}})
	before := e.metric(t, "go_goroutines")
	d := oci.FromBytes([]byte("x"), "")
	for _, path := range []string{ubuntuTag, blobPath(d), "library/ubuntu/manifests/" + string(d) + "?ns=docker.io"} {
		done := make(chan answer)
		for range 30 {
			go func() {
				a, err := tryGet(t, "GET", e.url+"/v2/"+path)
				if err != nil {
					t.Errorf("%s: %v", path, err)
					a = answer{Response: new(http.Response)}
				}
				done <- a
			}()
		}
		for range 30 {
			if a := <-done; !t.Failed() { // one is enough to see
				a.status(t, http.StatusServiceUnavailable, "")
				if a.Header.Get("Retry-After") == "" {
					t.Errorf("%s: a 503 without Retry-After", path)
				}
			}
		}
	}
	bare.CloseIdleConnections()
	eventually(t, "the goroutines of these requests end", func() bool { return e.metric(t, "go_goroutines") < before+20 })
}
