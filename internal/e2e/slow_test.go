package e2e

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
)

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

// TestFault30SlowClients is row 30 of the fault matrix: with many connections
// that send a byte of a header a second and many that read a large blob by the
// kilobyte, whoever asks is answered, and memory stays bounded. What a request
// takes beside them is printed; -slow-clients 10000 makes it the whole row.
func TestFault30SlowClients(t *testing.T) {
	s := newStack(t, `tag_ttl = "-1"`, "")
	im := s.up.AddImage("library/ubuntu", ubuntu, "24.04")
	s.ask(t, "GET", ubuntuTag).is(t, im.Raw)
	d, _ := s.addBlob(t, "library/ubuntu", 1, 16<<20)
	s.ask(t, "GET", blobPath(d)).status(t, 200, "")
	before := s.peakMemory(t)
	legit := func(when string) {
		t.Logf("%s: manifest, kept connections: %v", when, timed(t, s.url+"/v2/"+ubuntuTag, 4, 250, false))
		t.Logf("%s: manifest, new connections: %v", when, timed(t, s.url+"/v2/"+ubuntuTag, 4, 100, true))
		t.Logf("%s: blob of 16 MiB: %v", when, timed(t, s.url+"/v2/"+blobPath(d), 2, 8, false))
	}
	legit("alone")

	headers := mob{to: s.address(), first: "GET /v2/ HTTP/1.1\r\nHost: x\r\nX-Slow: ", step: drips}
	readers := mob{to: s.address(), first: "GET /v2/" + blobPath(d) + " HTTP/1.1\r\nHost: x\r\n\r\n", step: sips}
	headers.gather(t, *slowClients)
	readers.gather(t, *slowClients/10)
	legit("beside them")
	grown := s.peakMemory(t) - before
	t.Logf("%d half-open and %d slow clients: %d MiB more, %.0f connections open, %d came back", *slowClients, *slowClients/10,
		grown>>20, s.metric(t, "entrepot_connections"), headers.back.Load()+readers.back.Load())
	if limit := int64(64 << 20); grown > limit {
		t.Errorf("%d MiB more, want at most %d", grown>>20, limit>>20)
	}
}

// TestFault33FewFiles is row 33: a process that may have 256 files open serves
// many more clients than that, each in its turn, cold and warm, and recovers.
func TestFault33FewFiles(t *testing.T) {
	s := newStack(t, "", "")
	s.stop(t)
	s.cfg.files = 256
	s.restart(t)
	s.ready(t)
	im := s.up.AddImage("library/ubuntu", ubuntu, "24.04")
	atRest := s.openFiles(t)
	var idle []net.Conn
	for range 300 {
		c, err := net.Dial("tcp", s.address())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		idle = append(idle, c)
		io.WriteString(c, "GET /v2/ HTTP/1.1\r\n") // fails where it was closed already
	}
	clients := max(250, *slowClients/10)
	t.Logf("%d clients, cold manifest: %v", clients, timed(t, s.url+"/v2/"+ubuntuTag, clients, 2, false))
	for _, l := range im.Layers {
		t.Logf("%d clients, cold blob: %v", clients, timed(t, s.url+"/v2/"+blobPath(l.Digest), clients, 2, false))
	}
	if s.metric(t, "entrepot_connections_closed_total", `reason="shed"`) == 0 {
		t.Error("no connection gave way")
	}
	for _, c := range idle {
		c.Close()
	}
	s.ready(t)
	const slack = 8 // connections to the upstream and to the admin address, kept alive
	eventually(t, "the files are closed again", func() bool { return s.openFiles(t) <= atRest+slack })
	if strings.Contains(s.log.String(), "panic") {
		t.Error("there was a panic")
	}
}

// openFiles is how many files the process has open. The test is skipped where
// nobody counts.
func (p *process) openFiles(t testing.TB) int {
	t.Helper()
	list, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.cmd.Process.Pid))
	if err != nil {
		t.Skipf("SKIPPED: no /proc here, so that open files cannot be counted: %v", err)
	}
	return len(list)
}
