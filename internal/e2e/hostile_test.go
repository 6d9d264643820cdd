package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/entrepot/entrepot/oci"
)

// talk sends what no client library would, and returns all that is answered
// until the server closes the connection.
func talk(t *testing.T, e *entrepot, text string) string {
	t.Helper()
	conn, err := net.Dial("tcp", e.address())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	fmt.Fprint(conn, text)
	answer, err := io.ReadAll(conn)
	if err != nil && len(answer) == 0 {
		t.Errorf("%.60q: %v", text, err)
	}
	return string(answer)
}

// TestHalfHeader holds that a client that never comes to the end of its header,
// or pretends to speak HTTP/2, is let go without being answered, though nobody
// else wants its place (CVE-2026-56853: ReadHeaderTimeout did not count for
// HTTP/2 without TLS).
func TestHalfHeader(t *testing.T) {
	t.Parallel() // for it waits for the timeout
	s := newStack(t, "", "")
	done := make(chan string)
	all := []string{"", "GET /v2/ HTTP/1.1\r\nHost: x\r\nX-Half: ", "PRI * HTTP/2.0\r\n", "GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\nGET /v2/ HTTP/1.1\r\n"}
	for _, text := range all {
		go func() { done <- talkHalf(t, s.entrepot, text) }()
	}
	for range all {
		if answer := <-done; strings.Count(answer, "HTTP/1.1 200") > 1 || strings.Contains(answer, "HTTP/2") {
			t.Errorf("answered with %q", answer)
		}
	}
}

// talkHalf is talk where no answer at all is right.
func talkHalf(t *testing.T, e *entrepot, text string) string {
	conn, err := net.Dial("tcp", e.address())
	if err != nil {
		t.Error(err)
		return ""
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	fmt.Fprint(conn, text)
	answer, err := io.ReadAll(conn)
	if n, ok := err.(net.Error); ok && n.Timeout() {
		t.Errorf("%q: the connection is still open", text)
	}
	return string(answer)
}

// TestNoHTTP2WithoutTLS holds that there is one way to speak on a connection in
// the clear: neither prior knowledge nor an upgrade makes it HTTP/2, whose
// limits are others.
func TestNoHTTP2WithoutTLS(t *testing.T) {
	s := newStack(t, "", "")
	if answer := talk(t, s.entrepot, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"); !strings.HasPrefix(answer, "HTTP/1.1 4") {
		t.Errorf("prior knowledge: %q", answer)
	}
	answer := talk(t, s.entrepot, "GET /v2/ HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings, close\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n")
	if !strings.HasPrefix(answer, "HTTP/1.1 200") || strings.Contains(answer, "Upgrade") {
		t.Errorf("upgrade: %q", answer)
	}
}

// TestOneReading holds that where a body ends cannot be read in two ways: a
// request that hides behind one is not answered (CVE-2025-22871: a chunk's line
// that ends with a line feed alone).
func TestOneReading(t *testing.T) {
	s := newStack(t, "", hostsApps)
	const hidden = "GET /v2/ HTTP/1.1\r\nHost: hidden\r\nConnection: close\r\n\r\n"
	for name, c := range map[string]struct {
		header, body string
	}{
		"line feed alone":       {"Transfer-Encoding: chunked", "5\nhello\r\n0\r\n\r\n"},
		"extension, line feed":  {"Transfer-Encoding: chunked", "5;x\nhello\r\n0\r\n\r\n"},
		"no number":             {"Transfer-Encoding: chunked", "0x5\r\nhello\r\n0\r\n\r\n"},
		"negative chunk":        {"Transfer-Encoding: chunked", "-5\r\nhello\r\n0\r\n\r\n"},
		"chunk too long":        {"Transfer-Encoding: chunked", "fffffffffffffffff\r\nhello\r\n0\r\n\r\n"},
		"chunk of another end":  {"Transfer-Encoding: chunked", "5\r\nhelloXX0\r\n\r\n"},
		"two lengths":           {"Content-Length: 5\r\nContent-Length: 6", "hello"},
		"signed length":         {"Content-Length: +5", "hello"},
		"unknown encoding":      {"Transfer-Encoding: gzip, chunked", "5\r\nhello\r\n0\r\n\r\n"},
		"encoding twice":        {"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", "5\r\nhello\r\n0\r\n\r\n"},
		"encoding and a space":  {"Transfer-Encoding : chunked", "5\r\nhello\r\n0\r\n\r\n"},
		"header of a line feed": {"X: y\rContent-Length: 5", "hello"},
	} {
		answer := talk(t, s.entrepot, "PUT /v2/apps/x/manifests/1 HTTP/1.1\r\nHost: x\r\nContent-Type: "+oci.TypeImageIndex+"\r\n"+c.header+"\r\n\r\n"+c.body+hidden)
		if n := strings.Count(answer, "HTTP/1.1 "); n != 1 || !strings.HasPrefix(answer, "HTTP/1.1 4") && !strings.HasPrefix(answer, "HTTP/1.1 501") {
			t.Errorf("%s: %d answers: %q", name, n, answer)
		}
	}
}

// TestNoOpenProxy holds that whatever a client calls the place that it wants,
// nobody but the configured upstream is asked, and that for pulls alone.
func TestNoOpenProxy(t *testing.T) {
	s := newStack(t, isDefault, "")
	other, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	dialled := make(chan struct{})
	go func() {
		if c, err := other.Accept(); err == nil {
			c.Close()
			close(dialled)
		}
	}()
	there := other.Addr().String()
	for _, request := range []string{
		"CONNECT " + there, "CONNECT /v2/", "GET http://" + there + "/", "GET http://" + there + "/v2/", "HEAD http://" + there + "/v2/library/x/manifests/1",
		"POST http://" + there + "/v2/library/x/blobs/uploads/", "GET //" + there + "/v2/", "GET /v2/" + there + "/x/manifests/1", "GET /v2/x/manifests/1?ns=" + there,
		"TRACE /v2/", "OPTIONS *", "PROPFIND /v2/library/x/manifests/1", "PATCH /v2/library/x/manifests/1",
	} {
		answer := talk(t, s.entrepot, request+" HTTP/1.1\r\nHost: "+there+"\r\nX-Forwarded-Host: "+there+"\r\nForwarded: host="+there+"\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
		resp, err := http.ReadResponse(bufio.NewReader(strings.NewReader(answer)), nil)
		if err != nil {
			t.Errorf("%s: %q, %v", request, answer, err)
			continue
		}
		resp.Body.Close()
		if resp.StatusCode >= 500 || strings.Contains(resp.Header.Get("Location"), there) {
			t.Errorf("%s: %q", request, answer)
		}
	}
	for _, e := range s.up.Log() {
		if e.Method != http.MethodGet && e.Method != http.MethodHead || e.Repo != "library/x" {
			t.Errorf("sent upstream: %s %s", e.Method, e.Path)
		}
	}
	select {
	case <-dialled:
		t.Error("a place that a client named was dialled")
	default:
	}
}

// TestAddressesApart holds that the registry's address has nothing of the
// admin address, that neither has what shows memory, and that the admin address
// changes nothing.
func TestAddressesApart(t *testing.T) {
	s := newStack(t, "", "")
	for _, path := range []string{"/", "/metrics", "/healthz", "/readyz", "/debug/pprof/", "/debug/pprof/heap", "/debug/vars", "/config"} {
		if a := get(t, http.MethodGet, s.url+path); a.StatusCode != http.StatusNotFound {
			t.Errorf("%s on the registry's address: %d", path, a.StatusCode)
		}
	}
	for _, path := range []string{"/v2/", "/debug/pprof/", "/debug/pprof/heap", "/debug/pprof/cmdline", "/debug/vars", "/config"} {
		if a := get(t, http.MethodGet, s.admin+path); a.StatusCode != http.StatusNotFound {
			t.Errorf("%s on the admin address: %d", path, a.StatusCode)
		}
	}
	for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodPatch} {
		for _, path := range []string{"/", "/metrics", "/readyz"} {
			if a := get(t, method, s.admin+path); a.StatusCode != http.StatusMethodNotAllowed {
				t.Errorf("%s %s on the admin address: %d", method, path, a.StatusCode)
			}
		}
	}
}
