package e2e

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/entrepot/entrepot/internal/regtest"
	"github.com/entrepot/entrepot/oci"
)

// roomRows are about what is done in the cache's own files.
var roomRows = []row{
	{"L14 GET blob, open ranges that are closed early", openRanges},
	{"L14 GET blob, several ranges at once, cold and stored", manyRanges},
	{"L35 disk full", diskFull},
}

// openRanges asks as containerd does from 2.1 on: "bytes=0-", and then open
// ranges further on, each closed after its chunk. The upstream stops in the
// middle of the first answer, so that nothing but connections of their own can
// bring what lies far ahead. It still sends about one copy.
func openRanges(t *testing.T) {
	const size, chunks = 96 << 20, 4
	s := newStack(t, "fill_parallelism = 3", "")
	d, b := s.addBlob(t, "library/ubuntu", 1, size)
	stall := s.up.On(regtest.Match{Kind: regtest.Blob, Times: 1}, regtest.StallAt(1<<20))
	var first, ahead sync.WaitGroup
	for k := range int64(chunks) {
		start := k * size / chunks
		wait := &ahead
		if start < 40<<20 { // what is near waits for the first connection
			wait = &first
		}
		wait.Go(func() {
			got, err := rangeOf(t, s.url+"/v2/"+blobPath(d), start, size/chunks)
			if err != nil || !bytes.Equal(got, b[start:start+size/chunks]) {
				t.Errorf("the range at %d: %d bytes, %v", start, len(got), err)
			}
		})
	}
	held := make(chan struct{})
	go func() {
		ahead.Wait()
		close(held)
	}()
	<-stall.Reached()
	<-held // while the first connection is stuck
	stall.Release()
	first.Wait()
	s.untilHit(t, d, b)
	// The upstream counts what it has put into sockets: of connections that are
	// given up, some MiB never come here. Four answers to their end would be 2.5
	// copies. (proxy.TestRangesCostOneCopy has no sockets, and holds the exact sum.)
	if n := s.up.BlobBytes(d); n > size+size/4 {
		t.Errorf("the upstream sent %d bytes of a blob of %d", n, size)
	}
}

// rangeOf asks for all that follows start, reads n bytes and goes away.
func rangeOf(t *testing.T, url string, start, n int64) ([]byte, error) {
	tr := &http.Transport{}
	defer tr.CloseIdleConnections()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Range", fmt.Sprintf("bytes=%d-", start))
	resp, err := tr.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusPartialContent {
		return nil, fmt.Errorf("got %s", resp.Status)
	}
	return io.ReadAll(io.LimitReader(resp.Body, n))
}

// manyRanges asks as containers/image does for zstd:chunked: several ranges in
// one request. A 400 would make it give up on them for good.
func manyRanges(t *testing.T) {
	s := newStack(t, "", "")
	d, b := s.addBlob(t, "library/ubuntu", 1, blobSize)
	for range 2 {
		a := s.ask(t, "GET", blobPath(d), "Range: bytes=0-9,1000-1009,-10")
		a.status(t, http.StatusPartialContent, "")
		if !strings.HasPrefix(a.Header.Get("Content-Type"), "multipart/byteranges") || !bytes.Contains(a.body, b[1000:1010]) {
			t.Errorf("several ranges: %s with %d bytes", a.Header.Get("Content-Type"), len(a.body))
		}
		s.untilHit(t, d, b)
	}
	s.wire(t, "GET blob "+string(d))
}

// diskFull: a pull never fails because there is no room for it.
func diskFull(t *testing.T) {
	s := newStack(t, "", "")
	s.stop(t)
	s.cfg.storage = `max_bytes = "1MiB"`
	s.restart(t)
	d, b := s.addBlob(t, "library/ubuntu", 1, blobSize)
	for range 2 {
		a := s.ask(t, "GET", blobPath(d))
		a.is(t, b)
		if !strings.HasPrefix(a.Header.Get("Warning"), `299 - "the cache is full`) {
			t.Errorf("Warning is %q, want one that says that the cache is full", a.Header.Get("Warning"))
		}
	}
	if n := s.storedBlobs(t); n != 0 {
		t.Errorf("%v blobs are stored, want none", n)
	}
	wrong := oci.FromBytes([]byte("wrong"), "")
	s.up.On(regtest.Match{Kind: regtest.Blob}, regtest.Fault{Flip: regtest.FlipLast})
	checkAborted(t, s, d, b)
	s.up.Clear()
	s.ask(t, "GET", blobPath(wrong)).status(t, http.StatusNotFound, oci.CodeBlobUnknown)
}
