package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/entrepot/entrepot/internal/regtest"
	"github.com/entrepot/entrepot/oci"
)

// TestFault34SmallMemory is row 34 of the fault matrix: in a group of 128 MiB, of
// which the page cache is a part, a server lives through many streams of a blob
// that is larger than that, cold at first and then from many places of it at once.
// What it sends is held against what it sends with all the memory of the machine,
// and printed. -streams 1000 makes it the whole row, with a blob of 1 GiB.
func TestFault34SmallMemory(t *testing.T) {
	group := newMemoryGroup(t, 128<<20)
	run := streamRun{streams: *streams, size: 160 << 20, each: 16 << 20}
	if run.streams >= 1000 {
		run.size = 1 << 30
	}
	var free, small [2]float64
	t.Run("free", func(t *testing.T) { free = run.do(t, memoryGroup{}) })
	t.Run("small", func(t *testing.T) { small = run.do(t, group) })
	if n := group.kills(t); n > 0 {
		t.Errorf("the kernel has killed %d times", n)
	}
	if free[0] > 0 && free[1] > 0 {
		t.Logf("%d streams in 128 MiB: %.0f %% of the throughput of a cold blob, %.0f %% from places all over a stored one",
			run.streams, 100*small[0]/free[0], 100*small[1]/free[1])
	}
}

// A streamRun is many clients who each read a part of one blob.
type streamRun struct {
	streams    int
	size, each int64 // bytes, of the blob and of what each reads
}

// do returns the throughputs, in bytes per second: of a cold blob that all read
// from its start, and of a stored one that each reads from another place.
func (r streamRun) do(t *testing.T, group memoryGroup) (rates [2]float64) {
	s := &stack{up: regtest.New(t, regtest.Config{})}
	s.cfg = serving{store: t.TempDir() + "/store", group: group,
		upstreams: []upstream{{name: "docker.io", url: s.up.URL()}}}
	s.entrepot = serve(t, s.cfg)
	d := s.up.AddBlob("library/ubuntu", regtest.Random(34, r.size)).Digest
	rates[0] = r.read(t, s, d, func(int) int64 { return 0 })
	// The fill goes on without readers: whoever reads it whole waits for its end.
	whole(t, s.url+"/v2/"+blobPath(d), d)
	rates[1] = r.read(t, s, d, func(i int) int64 { return int64(i) * (r.size - r.each) / int64(r.streams) })
	whole(t, s.url+"/v2/"+blobPath(d), d)
	if n := s.up.BlobBytes(d); n > budget(r.size) {
		t.Errorf("the upstream sent %d bytes of a blob of %d, want at most %d", n, r.size, budget(r.size))
	}
	t.Logf("%d streams of %d MiB of a blob of %d MiB: %.2f GB/s cold from the start, %.2f GB/s stored from all places; peak RSS %d MiB",
		r.streams, r.each>>20, r.size>>20, rates[0]/1e9, rates[1]/1e9, s.peakMemory(t)>>20)
	return rates
}

// read lets each stream read its part, at the same time.
func (r streamRun) read(t *testing.T, s *stack, d oci.Digest, from func(i int) int64) float64 {
	t.Helper()
	var all sync.WaitGroup
	var failed atomic.Int64
	began := time.Now()
	for i := range r.streams {
		all.Go(func() {
			if err := readPart(s.address(), blobPath(d), from(i), r.each); err != nil && failed.Add(1) == 1 {
				t.Errorf("the first that failed: %v", err)
			}
		})
	}
	all.Wait()
	if n := failed.Load(); n > 0 {
		t.Errorf("%d of %d streams failed", n, r.streams)
	}
	return float64(int64(r.streams)*r.each) / time.Since(began).Seconds()
}

// readPart asks for a blob from an offset to its end, and leaves after n bytes.
func readPart(address, path string, from, n int64) error {
	c, err := net.Dial("tcp", address)
	if err != nil {
		return err
	}
	defer c.Close()
	// What a client has not read yet stays in the server's page cache here, where
	// it would be in another machine's memory.
	if err := c.(*net.TCPConn).SetReadBuffer(64 << 10); err != nil {
		return err
	}
	fmt.Fprintf(c, "GET /v2/%s HTTP/1.1\r\nHost: %s\r\nRange: bytes=%d-\r\n\r\n", path, address, from)
	resp, err := http.ReadResponse(bufio.NewReaderSize(c, 4096), nil)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusPartialContent {
		return fmt.Errorf("got %s", resp.Status)
	}
	got, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, io.LimitReader(resp.Body, n), make([]byte, 64<<10))
	if err == nil && got < n {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// whole reads a blob and holds it against its digest.
func whole(t *testing.T, url string, d oci.Digest) {
	t.Helper()
	resp, err := bare.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	h := d.Algorithm().Hash()
	n, err := io.Copy(h, resp.Body)
	if got := fmt.Sprintf("sha256:%x", h.Sum(nil)); err != nil || got != string(d) {
		t.Errorf("%d bytes (%v) are %s, want %s", n, err, got, d)
	}
}
