package e2e

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
)

// slow opens connections that send a text and read nothing, until the test
// ends. Those that are refused do not count.
func slow(t testing.TB, e *entrepot, n int, text string) {
	t.Helper()
	for range n {
		c, err := net.Dial("tcp", e.address())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		io.WriteString(c, text) // fails where it was closed already
	}
}

// pulls makes requests from some clients at once and fails the test for each
// that is not answered with 200 and a whole body.
func pulls(t *testing.T, url string, clients, each int) {
	t.Helper()
	var all sync.WaitGroup
	var failed atomic.Int64
	for range clients {
		all.Go(func() {
			client := &http.Client{Transport: &http.Transport{}}
			defer client.CloseIdleConnections()
			for range each {
				if err := pull(client, url); err != nil && failed.Add(1) == 1 {
					t.Errorf("the first that failed: %v", err)
				}
			}
		})
	}
	all.Wait()
	if n := failed.Load(); n > 0 {
		t.Errorf("%d of %d requests failed", n, clients*each)
	}
}

func pull(client *http.Client, url string) error {
	resp, err := client.Get(url)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("got %s", resp.Status)
	}
	return nil
}

// TestSlowClients is row 30 of the fault matrix: with many half-open connections
// and many that read nothing of a large blob, all from one address, whoever asks
// is answered, and memory stays bounded.
func TestSlowClients(t *testing.T) {
	s := newStack(t, `tag_ttl = "-1"`, "")
	im := s.up.AddImage("library/ubuntu", ubuntu, "24.04")
	s.ask(t, "GET", ubuntuTag).is(t, im.Raw)
	d, _ := s.addBlob(t, "library/ubuntu", 1, 16<<20)
	s.ask(t, "GET", blobPath(d)).status(t, 200, "")
	before := s.peakMemory(t)

	slow(t, s.entrepot, *slowClients, "GET /v2/ HTTP/1.1\r\nHost: x\r\nX-Slow: ")
	slow(t, s.entrepot, *slowClients/10, "GET /v2/"+blobPath(d)+" HTTP/1.1\r\nHost: x\r\n\r\n")
	pulls(t, s.url+"/v2/"+ubuntuTag, 8, 50)
	pulls(t, s.url+"/v2/"+blobPath(d), 4, 3)
	grown := s.peakMemory(t) - before
	t.Logf("%d half-open and %d slow clients: %d MiB more, %.0f connections open", *slowClients, *slowClients/10, grown>>20, s.metric(t, "entrepot_connections"))
	if limit := int64(64 << 20); grown > limit {
		t.Errorf("%d MiB more, want at most %d", grown>>20, limit>>20)
	}
}

// TestFewFiles is row 33: a process that may have 256 files open serves many
// more clients than that, each in its turn, cold and warm, and recovers.
func TestFewFiles(t *testing.T) {
	s := newStack(t, "", "")
	s.stop(t)
	s.cfg.files = 256
	s.restart(t)
	im := s.up.AddImage("library/ubuntu", ubuntu, "24.04")
	slow(t, s.entrepot, 300, "GET /v2/ HTTP/1.1\r\n")
	pulls(t, s.url+"/v2/"+ubuntuTag, *slowClients/2, 2)
	for _, l := range im.Layers {
		pulls(t, s.url+"/v2/"+blobPath(l.Digest), *slowClients/2, 2)
	}
	s.ready(t)
	if s.metric(t, "entrepot_connections_closed_total", `reason="shed"`) == 0 {
		t.Error("no connection gave way")
	}
}
