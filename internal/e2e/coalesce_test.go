package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"testing"

	"github.com/entrepot/entrepot/internal/regtest"
)

// TestFault10Crowd has a crowd of clients pull one blob at once that is not
// stored: a tenth leaves early, a tenth does not read on until the others are
// done. The upstream sends each byte once, everybody else gets the right bytes,
// and the server's memory has a bound (distribution#4511, harbor#22184,
// zot#4399).
func TestFault10Crowd(t *testing.T) {
	size, clients := int64(*crowdMiB)<<20, *crowdClients
	early, slow := clients/10, clients/10
	s := newStack(t, "", "")
	want := contentOf(t, regtest.Random(1, size))
	d := s.up.AddBlob("library/ubuntu", regtest.Bytes(want)).Digest
	stall := s.up.On(regtest.Match{Kind: regtest.Blob}, regtest.StallAt(1<<20))

	h := herd{t: t, url: s.url + "/v2/" + blobPath(d), want: want, release: make(chan struct{})}
	var all, quick sync.WaitGroup
	for i := range clients {
		switch {
		case i < early:
			all.Go(func() { h.leave(int64(i+1) * size / int64(2*early)) })
		case i < early+slow:
			all.Go(h.slow)
		default:
			quick.Add(1)
			all.Go(func() {
				defer quick.Done()
				h.read()
			})
		}
	}
	<-stall.Reached()
	eventually(t, "all clients are being answered", func() bool { return s.metric(t, "entrepot_in_flight_requests") >= float64(clients) })
	stall.Release()
	quick.Wait()
	close(h.release) // those who were slow have slowed nobody
	all.Wait()

	if n := s.up.BlobBytes(d); n != size {
		t.Errorf("the upstream sent %d bytes of a blob of %d", n, size)
	}
	s.wire(t, "GET blob "+string(d))
	if peak, limit := s.peakMemory(t), int64(128<<20+clients*64<<10); peak > limit && !*binaryRace {
		t.Errorf("peak resident memory is %d KiB, want at most %d", peak>>10, limit>>10)
	} else {
		t.Logf("peak resident memory: %d KiB of %d", peak>>10, limit>>10)
	}
}

// A herd is many clients of one blob.
type herd struct {
	t       *testing.T
	url     string
	want    []byte
	release chan struct{} // closed when slow readers may go on
}

// read reads all of the blob.
func (h herd) read() {
	body := h.open()
	defer body.Close()
	if n, err := compare(body, h.want); err != nil {
		h.t.Errorf("a client's body after %d bytes: %v", n, err)
	}
}

// leave reads n bytes and goes away.
func (h herd) leave(n int64) {
	body := h.open()
	defer body.Close()
	if got, err := compare(io.LimitReader(body, n), h.want[:n]); err != nil {
		h.t.Errorf("a client that leaves, after %d bytes: %v", got, err)
	}
}

// slow reads a little, and the rest once it may.
func (h herd) slow() {
	body := h.open()
	defer body.Close()
	const little = 1 << 16
	if _, err := compare(io.LimitReader(body, little), h.want[:little]); err != nil {
		h.t.Errorf("a slow client: %v", err)
	}
	<-h.release
	if n, err := compare(body, h.want[little:]); err != nil {
		h.t.Errorf("a slow client after %d bytes: %v", little+n, err)
	}
}

// open asks over a connection of its own.
func (h herd) open() io.ReadCloser {
	tr := &http.Transport{DisableKeepAlives: true}
	req, err := http.NewRequestWithContext(h.t.Context(), http.MethodGet, h.url, nil)
	if err != nil {
		h.t.Error(err)
		return http.NoBody
	}
	resp, err := tr.RoundTrip(req)
	if err != nil {
		h.t.Error(err)
		return http.NoBody
	}
	if resp.StatusCode != http.StatusOK || resp.ContentLength != int64(len(h.want)) {
		h.t.Errorf("status %d, length %d; want 200 and %d", resp.StatusCode, resp.ContentLength, len(h.want))
	}
	return resp.Body
}

// compare reads r to its end, which has to be that of want, without keeping
// what it read. It returns how much was right.
func compare(r io.Reader, want []byte) (int, error) {
	buf := make([]byte, 256<<10)
	off := 0
	for {
		n, err := r.Read(buf)
		if off+n > len(want) || !bytes.Equal(buf[:n], want[off:off+n]) {
			return off, errors.New("wrong bytes")
		}
		off += n
		switch {
		case err == io.EOF && off < len(want):
			return off, fmt.Errorf("it ends %d bytes early", len(want)-off)
		case err == io.EOF:
			return off, nil
		case err != nil:
			return off, err
		}
	}
}
