package e2e

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/entrepot/entrepot/internal/regtest"
	"github.com/entrepot/entrepot/oci"
)

// blobSize is that of the rows' blobs: several times what is held back.
const blobSize = 4 << 20

// heldBack is how much of a blob is withheld until its digest was verified.
const heldBack = 64 << 10

var blobRows = []row{
	{"L12 GET blob, cold and stored", coldBlob},
	{"L13 GET blob, N clients with ranges while it fills", rangesWhileFilling},
	{"L15 GET blob, range beyond its size", func(t *testing.T) {
		s := newStack(t, "", "")
		d, b := s.addBlob(t, "library/ubuntu", 1, blobSize)
		for range 2 { // cold, then stored
			a := s.ask(t, "GET", blobPath(d), "Range: bytes=999999999-")
			a.status(t, http.StatusRequestedRangeNotSatisfiable, "")
			a.header(t, fmt.Sprintf("Content-Range: bytes */%d", blobSize))
			s.ask(t, "GET", blobPath(d)).is(t, b)
		}
	}},
	{"L16 GET blob, upstream's body has the wrong digest", wrongDigest},
	{"L17 GET blob, upstream cuts at byte N", func(t *testing.T) {
		s := newStack(t, "", "")
		d, b := s.addBlob(t, "library/ubuntu", 1, blobSize)
		s.up.On(regtest.Match{Kind: regtest.Blob, Times: 1}, regtest.CutAt(1_000_003))
		s.ask(t, "GET", blobPath(d)).is(t, b)
		s.wire(t, "GET blob "+string(d), "GET blob "+string(d)+" bytes=1000003-")
	}},
	{"L18 GET blob, upstream never recovers", neverRecovers},
	{"L19 GET blob, client leaves at 10 %", func(t *testing.T) {
		s := newStack(t, "", "")
		d, b := s.addBlob(t, "library/ubuntu", 1, blobSize)
		leaveAt(t, s.url+"/v2/"+blobPath(d), blobSize/10)
		s.untilHit(t, d, b)
		s.wire(t, "GET blob "+string(d))
	}},
	{"L30 GET blob, upstream's HEAD is 401 but GET works", func(t *testing.T) {
		s := newStack(t, "", "")
		d, b := s.addBlob(t, "library/ubuntu", 1, blobSize)
		s.up.On(regtest.Match{Kind: regtest.Blob, Method: "HEAD"}, regtest.Status(http.StatusUnauthorized))
		s.ask(t, "GET", blobPath(d)).is(t, b)
		s.wire(t, "GET blob "+string(d))
	}},
	{"C9 HEAD blob, upstream's HEAD is 401 but GET works", func(t *testing.T) {
		s := newStack(t, "", "")
		d, _ := s.addBlob(t, "library/ubuntu", 1, blobSize)
		s.up.On(regtest.Match{Kind: regtest.Blob, Method: "HEAD"}, regtest.Status(http.StatusUnauthorized))
		a := s.ask(t, "HEAD", blobPath(d))
		a.status(t, http.StatusOK, "")
		a.header(t, fmt.Sprintf("Content-Length: %d", blobSize), "Docker-Content-Digest: "+string(d))
	}},
	{"B13 GET blob that the upstream lacks, and again within 10 s", func(t *testing.T) {
		s := newStack(t, "", "")
		s.up.AddImage("library/ubuntu", ubuntu, "24.04")
		d := oci.FromBytes([]byte("nobody has this"), "")
		s.ask(t, "GET", blobPath(d)).status(t, http.StatusNotFound, oci.CodeBlobUnknown)
		s.up.ResetLog()
		s.ask(t, "GET", blobPath(d)).status(t, http.StatusNotFound, oci.CodeBlobUnknown)
		s.wire(t)
	}},
	{"C14 GET empty blob", func(t *testing.T) {
		s := newStack(t, "", "")
		d, _ := s.addBlob(t, "library/ubuntu", 1, 0)
		for range 2 {
			s.ask(t, "GET", blobPath(d)).is(t, nil)
		}
		s.wire(t, "GET blob "+string(d))
	}},
}

func blobPath(d oci.Digest) string { return "library/ubuntu/blobs/" + string(d) + "?ns=docker.io" }

func coldBlob(t *testing.T) {
	s := newStack(t, "", "")
	d, b := s.addBlob(t, "library/ubuntu", 1, blobSize)
	a := s.ask(t, "GET", blobPath(d))
	a.is(t, b)
	a.header(t, "X-Cache: MISS", "Docker-Content-Digest: "+string(d), fmt.Sprintf("Content-Length: %d", blobSize), "OCI-Namespace: docker.io")
	s.untilHit(t, d, b)
	ranged := s.ask(t, "GET", blobPath(d), "Range: bytes=100-199")
	ranged.status(t, http.StatusPartialContent, "")
	if !bytes.Equal(ranged.body, b[100:200]) {
		t.Errorf("a range of a stored blob has %d wrong bytes", len(ranged.body))
	}
	s.wire(t, "GET blob "+string(d))
}

// untilHit asks for a blob until it is answered from the store, and checks
// each answer.
func (s *stack) untilHit(t *testing.T, d oci.Digest, want []byte) {
	t.Helper()
	eventually(t, "the blob is stored", func() bool {
		a := s.ask(t, "GET", blobPath(d))
		a.is(t, want)
		return a.Header.Get("X-Cache") == "HIT" || t.Failed()
	})
}

// rangesWhileFilling stops the upstream in the middle of the blob, so that all
// clients are there while it fills.
func rangesWhileFilling(t *testing.T) {
	s := newStack(t, "", "")
	d, b := s.addBlob(t, "library/ubuntu", 1, blobSize)
	stall := s.up.On(regtest.Match{Kind: regtest.Blob}, regtest.StallAt(blobSize/2))
	var all sync.WaitGroup
	for i := range 12 {
		from, to := 0, blobSize
		var headers []string
		switch i % 3 {
		case 1: // what is there already
			from, to = i*1000, i*100_000
			headers = []string{fmt.Sprintf("Range: bytes=%d-%d", from, to-1)}
		case 2: // what is still to come
			from = blobSize - i*50_000
			headers = []string{fmt.Sprintf("Range: bytes=%d-", from)}
		}
		all.Go(func() {
			a, err := tryGet(t, "GET", s.url+"/v2/"+blobPath(d), headers...)
			if err != nil || a.err != nil || !bytes.Equal(a.body, b[from:to]) || (a.StatusCode == 206) != (headers != nil) {
				t.Errorf("client %d with %v: %v, %v", i, headers, a.Response, cmpErr(err, a.err))
			}
		})
	}
	<-stall.Reached()
	eventually(t, "clients follow", func() bool { return s.metric(t, "entrepot_in_flight_requests") >= 8 })
	stall.Release()
	all.Wait()
	s.wire(t, "GET blob "+string(d))
}

func cmpErr(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// wrongDigest: right length, one wrong byte. Nobody gets the end of it, nothing
// is kept, and the digest is in quarantine: the next client does not even make
// us ask again.
func wrongDigest(t *testing.T) {
	s := newStack(t, "", "")
	d, b := s.addBlob(t, "library/ubuntu", 1, blobSize)
	s.up.On(regtest.Match{Kind: regtest.Blob}, regtest.Fault{Flip: regtest.FlipLast})
	checkAborted(t, s, d, b)
	if n := s.metric(t, "entrepot_digest_mismatches_total"); n < 1 {
		t.Errorf("%v digest mismatches counted, want at least one", n)
	}
	s.up.Idle()
	s.up.ResetLog()
	a, err := tryGet(t, "GET", s.url+"/v2/"+blobPath(d))
	if err == nil && a.StatusCode < 500 {
		t.Errorf("a blob in quarantine is answered with %d", a.StatusCode)
	}
	s.wire(t)
}

// checkAborted asks for a blob that arrives broken: the client must see that
// it is not whole, and must not get what was held back.
func checkAborted(t *testing.T, s *stack, d oci.Digest, b []byte) {
	t.Helper()
	a, err := tryGet(t, "GET", s.url+"/v2/"+blobPath(d))
	switch {
	case err != nil: // cut before the status line
	case a.StatusCode >= 500:
		a.status(t, a.StatusCode, "")
	case a.StatusCode != http.StatusOK:
		t.Errorf("status %d for a broken body, want an abort or 5xx", a.StatusCode)
	case a.err == nil:
		t.Errorf("a broken body ended as if it were whole, with %d bytes", len(a.body))
	case int64(len(a.body)) > a.ContentLength-heldBack:
		t.Errorf("%d of %d bytes were sent before the digest was known, want at most %d", len(a.body), a.ContentLength, a.ContentLength-heldBack)
	}
}

// neverRecovers: what was received before the upstream broke for good is kept,
// and the next client goes on from there.
func neverRecovers(t *testing.T) {
	s := newStack(t, "", "")
	d, b := s.addBlob(t, "library/ubuntu", 1, blobSize)
	const n = 3 << 20
	s.up.On(regtest.Match{Kind: regtest.Blob, Times: 1}, regtest.CutAt(n))
	s.up.On(regtest.Match{Kind: regtest.Blob}, regtest.HangUp())
	a, err := tryGet(t, "GET", s.url+"/v2/"+blobPath(d))
	if err == nil && (a.err == nil || len(a.body) > n || !bytes.HasPrefix(b, a.body)) {
		t.Errorf("status %d with %d bytes, %v; want a body that breaks off at %d or before", a.StatusCode, len(a.body), a.err, n)
	}
	s.up.Clear()
	s.up.Idle()
	s.up.ResetLog()
	eventually(t, "a later client gets the blob", func() bool {
		a, err := tryGet(t, "GET", s.url+"/v2/"+blobPath(d))
		return err == nil && a.StatusCode == http.StatusOK && a.err == nil && bytes.Equal(a.body, b)
	})
	s.wire(t, "GET blob "+string(d)+" bytes="+strconv.Itoa(n)+"-")
}

// leaveAt starts to download and goes away after n bytes.
func leaveAt(t testing.TB, url string, n int64) {
	t.Helper()
	tr := &http.Transport{}
	defer tr.CloseIdleConnections()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, strings.NewReader(""))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := tr.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.CopyN(io.Discard, resp.Body, n); err != nil {
		t.Error(err)
	}
	resp.Body.Close() // with bytes outstanding: the connection is closed
}
