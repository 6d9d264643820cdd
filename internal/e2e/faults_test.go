package e2e

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"

	"github.com/entrepot/entrepot/internal/regtest"
	"github.com/entrepot/entrepot/oci"
)

// TestFaults are rows of the fault matrix, each with its pass bar, against
// the real binary. Rows 11, 13 and 20 have tests of their own.
func TestFaults(t *testing.T) {
	for _, r := range []row{
		{"1 upstream cuts the body at random offsets", randomCuts},
		{"2 upstream resets the connection", resets},
		{"2 upstream stalls in the body", stalls},
		{"3 200 to a Range", func(t *testing.T) { badResume(t, regtest.NoRange()) }},
		{"3 wrong Content-Range", func(t *testing.T) { badResume(t, regtest.WrongRange("bytes 0-99/100")) }},
		{"3 no Content-Range", func(t *testing.T) { badResume(t, regtest.WrongRange("")) }},
		{"3 Content-Range that starts later", func(t *testing.T) { badResume(t, regtest.Fault{RangeShift: 4096}) }},
		{"4 first byte wrong", func(t *testing.T) { badBody(t, regtest.Fault{Flip: regtest.FlipFirst}) }},
		{"4 middle byte wrong", func(t *testing.T) { badBody(t, regtest.Fault{Flip: regtest.FlipMiddle}) }},
		{"4 last byte wrong", func(t *testing.T) { badBody(t, regtest.Fault{Flip: regtest.FlipLast}) }},
		{"4 retried at another endpoint", secondEndpoint},
		{"5 HTML instead of a blob", func(t *testing.T) { badBody(t, regtest.HTML()) }},
		{"5 gzip-encoded body", func(t *testing.T) { badBody(t, regtest.Fault{Gzip: true}) }},
		{"5 longer than the content", func(t *testing.T) { badBody(t, regtest.Fault{Extra: 1000}) }},
		{"5 shorter than the content", func(t *testing.T) { badBody(t, regtest.Fault{Extra: -1000}) }},
		{"5 longer than was declared", func(t *testing.T) { badBody(t, regtest.Fault{Claim: -1000}) }},
		{"5 HTML, gzip and longer for a manifest", badManifests},
		{"7 upstream refuses, tag is served stale", func(t *testing.T) { staleTag(t, (*regtest.Registry).Down) }},
		{"7 upstream is a black hole, tag is served stale", func(t *testing.T) { staleTag(t, (*regtest.Registry).BlackHole) }},
		{"8 upstream refuses, nothing cached", func(t *testing.T) { coldDown(t, unreachable(t)) }},
		{"8 upstream does not take connections, nothing cached", func(t *testing.T) {
			coldDown(t, "http://"+regtest.Unreachable(t))
		}},
	} {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			r.test(t)
		})
	}
}

// faultSize makes ten cuts a hundred times as many for a byte as the matrix
// asks for.
const faultSize = 100 << 20

// budget is what the upstream may send for a blob that broke on the way: 1.02
// times its size.
func budget(size int64) int64 { return size + size/50 }

func randomCuts(t *testing.T) {
	s := newStack(t, "", "")
	d, b := s.addBlob(t, "library/ubuntu", 1, faultSize)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	for range 10 {
		s.up.On(regtest.Match{Kind: regtest.Blob, Times: 1}, regtest.CutAt(1+rng.Int64N(faultSize/12)))
	}
	s.ask(t, "GET", blobPath(d)).is(t, b)
	s.resumed(t, d, 11, faultSize)
}

// resumed holds the upstream's log against what a blob may cost: so many
// requests, each but the first for the rest, and hardly a byte twice.
func (s *stack) resumed(t *testing.T, d oci.Digest, requests int, size int64) {
	t.Helper()
	if n := s.up.BlobBytes(d); n > budget(size) {
		t.Errorf("the upstream sent %d bytes of a blob of %d, want at most %d", n, size, budget(size))
	}
	n := 0
	for i, e := range s.up.Log() {
		n++
		if ranged := e.Header.Get("Range") != ""; e.Kind != regtest.Blob || ranged != (i > 0) {
			t.Errorf("request %d: %s", i, wireLine(e))
		}
	}
	if n != requests {
		t.Errorf("the upstream was asked %d times, want %d", n, requests)
	}
}

func resets(t *testing.T) {
	s := newStack(t, "", "")
	d, b := s.addBlob(t, "library/ubuntu", 1, faultSize)
	for i := range int64(3) { // each a bit from the end of what went before
		s.up.On(regtest.Match{Kind: regtest.Blob, Times: 1}, regtest.ResetAt(1<<17*(i+1)))
	}
	s.ask(t, "GET", blobPath(d)).is(t, b)
	s.resumed(t, d, 4, faultSize)
}

// stalls waits for the idle timeout of 30 seconds in real time.
func stalls(t *testing.T) {
	s := newStack(t, "", "")
	d, b := s.addBlob(t, "library/ubuntu", 1, blobSize)
	s.up.On(regtest.Match{Kind: regtest.Blob, Times: 1}, regtest.StallAt(blobSize/2))
	s.ask(t, "GET", blobPath(d)).is(t, b)
	s.wire(t, "GET blob "+string(d), fmt.Sprintf("GET blob %s bytes=%d-", d, blobSize/2))
}

// badResume: the answer to the second request, for the rest, is wrong. What
// the client gets is right or visibly broken, and the next one gets all.
func badResume(t *testing.T, f regtest.Fault) {
	s := newStack(t, "", "")
	d, b := s.addBlob(t, "library/ubuntu", 1, blobSize)
	s.up.On(regtest.Match{Kind: regtest.Blob, Times: 1}, regtest.CutAt(blobSize/2))
	s.up.On(regtest.Match{Kind: regtest.Blob, Times: 1}, f)
	a, err := tryGet(t, "GET", s.url+"/v2/"+blobPath(d))
	switch {
	case err != nil || a.err != nil:
		if !bytes.HasPrefix(b, a.body) {
			t.Error("the bytes before the break are wrong")
		}
	case a.StatusCode == http.StatusOK:
		a.is(t, b)
	case a.StatusCode < 500:
		t.Errorf("status %d, want 200 or a clean error", a.StatusCode)
	}
	eventually(t, "a client gets the blob", func() bool {
		a, err := tryGet(t, "GET", s.url+"/v2/"+blobPath(d))
		return err == nil && a.err == nil && a.StatusCode == http.StatusOK && bytes.Equal(a.body, b)
	})
	if n := s.up.BlobBytes(d); n > 2*blobSize {
		t.Errorf("the upstream sent %d bytes of a blob of %d", n, blobSize)
	}
}

// badBody: what comes is not the content. Nobody gets it as if it were, and
// nothing of it is kept.
func badBody(t *testing.T, f regtest.Fault) {
	s := newStack(t, "", "")
	d, b := s.addBlob(t, "library/ubuntu", 1, blobSize)
	s.up.On(regtest.Match{Kind: regtest.Blob}, f)
	for range 3 {
		checkAborted(t, s, d, b)
	}
	if n := s.storedBlobs(t); n != 0 {
		t.Errorf("%v blobs are stored, want none", n)
	}
}

// storedBlobs counts the blobs of the cache.
func (s *stack) storedBlobs(t *testing.T) float64 {
	t.Helper()
	return s.metric(t, "entrepot_store_blobs", `pool="cache"`)
}

// secondEndpoint: a mirror sends wrong bytes, the upstream itself right ones.
// Nobody gets the wrong ones whole, and nobody waits for the quarantine.
func secondEndpoint(t *testing.T) {
	bad := regtest.New(t, regtest.Config{})
	s := newStack(t, "mirrors = ["+fmt.Sprintf("%q", bad.URL())+"]", "")
	d, b := s.addBlob(t, "library/ubuntu", 1, blobSize)
	bad.AddBlob("library/ubuntu", regtest.Random(1, blobSize))
	bad.On(regtest.Match{Kind: regtest.Blob}, regtest.Fault{Flip: regtest.FlipLast})
	a, err := tryGet(t, "GET", s.url+"/v2/"+blobPath(d))
	if err == nil && a.err == nil && !bytes.Equal(a.body, b) {
		t.Errorf("a wrong body of %d bytes ended as if it were whole", len(a.body))
	}
	s.untilHit(t, d, b)
	if n := s.blobGets(d); n != 1 {
		t.Errorf("the upstream was asked %d times, want once", n)
	}
	if n := bad.Count("GET", regtest.Blob); n != 1 {
		t.Errorf("the bad mirror was asked %d times, want once", n)
	}
}

func badManifests(t *testing.T) {
	for name, f := range map[string]regtest.Fault{
		"HTML": regtest.HTML(), "gzip": {Gzip: true}, "longer": {Extra: 10}, "bit flip": {Flip: regtest.FlipMiddle},
		"huge": regtest.Huge(5 << 20), "wrong digest": regtest.WrongDigest("sha256:" + strings.Repeat("0", 64)),
	} {
		s := newStack(t, "", "")
		im := s.up.AddImage("library/ubuntu", ubuntu, "24.04")
		s.up.On(regtest.Match{Kind: regtest.Manifest, Method: "GET"}, f)
		a, err := tryGet(t, "GET", s.url+"/v2/library/ubuntu/manifests/"+string(im.Digest)+"?ns=docker.io")
		whole := err == nil && a.StatusCode == http.StatusOK && a.err == nil
		if whole && !bytes.Equal(a.body, im.Raw) {
			t.Errorf("%s: a wrong manifest is answered as if it were right: %.100q", name, a.body)
		}
		if !whole && (err != nil || a.StatusCode < 500) {
			t.Errorf("%s: %v, %v; want a clean 5xx", name, a.Response, err)
		}
		s.stop(t)
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
