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

// together runs rows beside one another, each with an Entrepot and an upstream of
// its own.
func together(t *testing.T, rows ...row) {
	t.Parallel() // some wait for timeouts of half a minute
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			r.test(t)
		})
	}
}

// TestFault01Cuts: the upstream cuts the body at random offsets, and the client
// gets one whole body (harbor#23600, containerd#4908).
func TestFault01Cuts(t *testing.T) { together(t, row{"ten cuts", randomCuts}) }

// TestFault02Breaks: a connection that is reset, or says nothing any more, is
// gone on with (containerd PR#13915, container-libs#777).
func TestFault02Breaks(t *testing.T) {
	together(t, row{"reset", resets}, row{"stall", stalls})
}

// TestFault03Resume: what continues a body wrongly spoils nothing
// (container-libs#1114).
func TestFault03Resume(t *testing.T) {
	bad := func(name string, f regtest.Fault) row { return row{name, func(t *testing.T) { badResume(t, f) }} }
	together(t,
		bad("200 to a Range", regtest.NoRange()),
		bad("wrong Content-Range", regtest.WrongRange("bytes 0-99/100")),
		bad("no Content-Range", regtest.WrongRange("")),
		bad("Content-Range that starts later", regtest.Fault{RangeShift: 4096}))
}

// TestFault04BitFlip: a wrong byte anywhere. proxy.TestFault04Random has it at
// random places.
func TestFault04BitFlip(t *testing.T) {
	together(t,
		badBody("first byte", regtest.Fault{Flip: regtest.FlipFirst}),
		badBody("middle byte", regtest.Fault{Flip: regtest.FlipMiddle}),
		badBody("last byte", regtest.Fault{Flip: regtest.FlipLast}),
		row{"retried at another endpoint", secondEndpoint})
}

// TestFault05Bodies: what is not the content at all (harbor#23882).
func TestFault05Bodies(t *testing.T) {
	together(t,
		badBody("HTML", regtest.HTML()),
		badBody("gzip-encoded", regtest.Fault{Gzip: true}),
		badBody("longer", regtest.Fault{Extra: 1000}),
		badBody("shorter", regtest.Fault{Extra: -1000}),
		badBody("longer than was declared", regtest.Fault{Claim: -1000}),
		row{"manifests", badManifests})
}

// faultSize is the size of a blob that breaks on the way. Ten cuts in it are ten
// times as many for a byte as the matrix asks for, unless -fault-mib says more.
func faultSize() int64 { return int64(*faultMiB) << 20 }

// budget is what the upstream may send for a blob that broke on the way: 1.02
// times its size.
func budget(size int64) int64 { return size + size/50 }

func randomCuts(t *testing.T) {
	s := newStack(t, "", "")
	d, b := s.addBlob(t, "library/ubuntu", 1, faultSize())
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	for range 10 {
		s.up.On(regtest.Match{Kind: regtest.Blob, Times: 1}, regtest.CutAt(1+rng.Int64N(faultSize()/12)))
	}
	s.ask(t, "GET", blobPath(d)).is(t, b)
	s.resumed(t, d, 11, faultSize())
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
	d, b := s.addBlob(t, "library/ubuntu", 1, faultSize())
	for i := range int64(3) { // each a bit from the end of what went before
		s.up.On(regtest.Match{Kind: regtest.Blob, Times: 1}, regtest.ResetAt(1<<17*(i+1)))
	}
	s.ask(t, "GET", blobPath(d)).is(t, b)
	s.resumed(t, d, 4, faultSize())
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

// badBody is a row in which what comes is not the content. Nobody gets it as if
// it were, and nothing of it is kept.
func badBody(name string, f regtest.Fault) row {
	return row{name, func(t *testing.T) {
		s := newStack(t, "", "")
		d, b := s.addBlob(t, "library/ubuntu", 1, blobSize)
		s.up.On(regtest.Match{Kind: regtest.Blob}, f)
		for range 3 {
			checkAborted(t, s, d, b)
		}
		if n := s.storedBlobs(t); n != 0 {
			t.Errorf("%v blobs are stored, want none", n)
		}
	}}
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
