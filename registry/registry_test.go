package registry

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/entrepot/entrepot/access"
	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func handler(t testing.TB, cfg Config) *Handler {
	t.Helper()
	h, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func serve(h http.Handler, method, target string, body io.Reader, headers ...string) *httptest.ResponseRecorder {
	w, r := httptest.NewRecorder(), httptest.NewRequest(method, target, body)
	for _, header := range headers {
		name, value, _ := strings.Cut(header, ": ")
		r.Header.Set(name, value)
	}
	h.ServeHTTP(w, r)
	return w
}

func containsAny(s string, parts ...string) bool {
	for _, p := range parts {
		if strings.Contains(s, p) {
			return true
		}
	}
	return false
}

// hostile are values of ns that must reach nobody.
var hostile = []string{
	"", ".", "..", "/", ":", "@", "%", "?", "#", " ", "-", "*", "*.docker.io", "a b", " docker.io", "docker.io ", "docker.io\t", "docker.io\n", "docker.io\x00",
	"docker.io\r\nX-Evil: 1", "https://docker.io", "http://docker.io/", "//docker.io", "file:///etc/passwd", "docker.io/", "docker.io/library", "docker.io?x=y",
	"docker.io#x", "user@docker.io", "user:pass@docker.io", "a@b", "docker.io@evil.example", "evil.example\\@docker.io", "docker.io%2f..", "docker.io%00",
	"%64ocker.io", "docker.io:", "docker.io:0", "docker.io:0443", "docker.io:65536", "docker.io:443:443", "docker.io:port", "docker.io:-1", "docker.io..", "docker..io",
	"-docker.io", "docker-.io", "dock_er.io", "döcker.io", "doc\u212Aer.io", "docker。io", "localhost", "localhost:22", "127.0.0.1", "127.0.0.1:5001.", "127.1", "2130706433",
	"0x7f000001", "0x7f.1", "0177.0.0.1", "017700000001", "169.254.169.254", "169.254.169.254:80", "10.0.0.1:5001", "[::1]", "[::1]:5001", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]",
	"[fe80::1%25eth0]", "::1", "0", "0.0.0.0", "metadata.google.internal", "evil.example", "docker.io.evil.example", "evildocker.io", "io", "*", strings.Repeat("a", 300),
	strings.Repeat("a.", 200) + "io",
}

// TestHostileNamespaces holds that what ns says is refused, before anybody is
// asked and whatever the request wants.
func TestHostileNamespaces(t *testing.T) {
	m := newMemory()
	fill(t, m, ref.Name{Host: "docker.io", Path: "library/alpine"})
	h := handler(t, Config{Routes: Routes{Upstreams: []Upstream{{Name: "docker.io", Default: true}, {Name: "127.0.0.1:5001"}, {Name: "*.wild.example"}}, Hosted: []string{"apps/**"}},
		Hosted: m, Proxied: m, Access: access.Policy{Anonymous: access.All}})
	if len(hostile) < 60 {
		t.Fatalf("only %d hostile values", len(hostile))
	}
	digest := string(oci.FromBytes(layerBytes, ""))
	for _, ns := range hostile {
		for _, path := range []string{"GET manifests/3.20", "HEAD manifests/3.20", "GET blobs/" + digest, "GET tags/list", "GET referrers/" + digest, "POST blobs/uploads/", "PUT manifests/t", "DELETE manifests/t"} {
			method, path, _ := strings.Cut(path, " ")
			w := serve(h, method, "/v2/library/alpine/"+path+"?ns="+url.QueryEscape(ns), nil)
			if w.Code != http.StatusBadRequest && w.Code != http.StatusNotFound {
				t.Errorf("ns=%q: %s %s: got %d", ns, method, path, w.Code)
			}
			if echo := w.Header().Get("Oci-Namespace"); echo != "" && echo != ns || strings.ContainsAny(echo, "\r\n") {
				t.Errorf("ns=%q: echoed as %q", ns, echo)
			}
		}
	}
	for _, query := range []string{"ns=docker.io&ns=ghcr.io", "ns=&ns=docker.io", "ns", "%6es=evil.example", "ns=docker.io&%6es=docker.io", "ns=%zz", "ns=docker.io;x"} {
		if w := serve(h, http.MethodGet, "/v2/library/alpine/manifests/3.20?"+query, nil); w.Code != http.StatusBadRequest && w.Code != http.StatusNotFound {
			t.Errorf("?%s: got %d", query, w.Code)
		}
	}
	if m.calls != 0 {
		t.Errorf("the backend was asked %d times", m.calls)
	}
}

// TestAccess holds who may do what: every level, verb and owner.
func TestAccess(t *testing.T) {
	digest := string(oci.FromBytes(layerBytes, ""))
	for _, c := range []struct {
		request              string
		none, pull, push     int // hosted
		pullProxy, pushProxy int
	}{
		{"GET /v2/", 401, 200, 200, 200, 200},
		{"GET /v2/%s/manifests/t", 401, 404, 404, 404, 404},
		{"HEAD /v2/%s/blobs/" + digest, 401, 404, 404, 404, 404},
		{"GET /v2/%s/tags/list", 401, 404, 404, 404, 404},
		{"GET /v2/%s/referrers/" + digest, 401, 200, 200, 200, 200},
		{"GET /v2/_catalog", 401, 200, 200, 200, 200},
		{"POST /v2/%s/blobs/uploads/", 401, 403, 202, 403, 403},
		{"GET /v2/%s/blobs/uploads/x", 401, 403, 404, 403, 403},
		{"PATCH /v2/%s/blobs/uploads/x", 401, 403, 404, 403, 403},
		{"PUT /v2/%s/blobs/uploads/x?digest=" + digest, 401, 403, 404, 403, 403},
		{"DELETE /v2/%s/blobs/uploads/x", 401, 403, 404, 403, 403},
		{"PUT /v2/%s/manifests/t", 401, 403, 400, 403, 403},
		{"DELETE /v2/%s/manifests/t", 401, 403, 404, 405, 405},
		{"DELETE /v2/%s/blobs/" + digest, 401, 403, 404, 405, 405},
		{"PATCH /v2/%s/manifests/t", 401, 405, 405, 405, 405},
		{"GET /elsewhere", 401, 404, 404, 404, 404},
	} {
		for _, on := range []struct {
			level access.Rights
			name  string
			want  int
		}{
			{access.None, "apps/x", c.none}, {access.Pull, "apps/x", c.pull}, {access.All, "apps/x", c.push},
			{access.None, "docker.io/library/x", c.none}, {access.Pull, "docker.io/library/x", c.pullProxy}, {access.All, "docker.io/library/x", c.pushProxy},
		} {
			m := newMemory()
			h := handler(t, Config{Routes: Routes{Upstreams: []Upstream{{Name: "docker.io"}}}, Hosted: m, Proxied: m, Access: access.Policy{Anonymous: on.level}})
			request := c.request
			if strings.Contains(request, "%s") {
				request = fmt.Sprintf(request, on.name)
			}
			method, target, _ := strings.Cut(request, " ")
			w := serve(h, method, target, nil)
			if w.Code != on.want {
				t.Errorf("%s with %s: got %d, want %d", request, on.level, w.Code, on.want)
			}
			if challenge := w.Header().Get("Www-Authenticate"); (challenge != "") != (w.Code == 401) {
				t.Errorf("%s with %s: %d with challenge %q", request, on.level, w.Code, challenge)
			}
		}
	}
}

// TestRefusedPushIsNotRead holds that a client that asks before it sends is
// answered before it has sent anything.
func TestRefusedPushIsNotRead(t *testing.T) {
	m := newMemory()
	srv := httptest.NewServer(handler(t, Config{Routes: Routes{Upstreams: []Upstream{{Name: "docker.io"}}}, Hosted: m, Proxied: m, Access: access.Policy{Anonymous: access.All}}))
	defer srv.Close()
	for request, want := range map[string]string{
		"PUT /v2/docker.io/library/x/manifests/t":             "HTTP/1.1 403 Forbidden",
		"POST /v2/library/x/blobs/uploads/?ns=docker.io":      "HTTP/1.1 403 Forbidden",
		"PATCH /v2/apps/x/blobs/uploads/gone":                 "HTTP/1.1 404 Not Found",
		"PUT /v2/apps/x/manifests/sha256:bad":                 "HTTP/1.1 400 Bad Request",
		"POST /v2/apps/x/blobs/uploads/?digest=sha256:bad":    "HTTP/1.1 400 Bad Request",
		"PUT /v2/apps/x/manifests/toolarge":                   "HTTP/1.1 413 Request Entity Too Large",
		"POST /v2/apps/x/blobs/uploads/?digest-algorithm=md5": "HTTP/1.1 400 Bad Request",
	} {
		conn, err := net.Dial("tcp", srv.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(conn, "%s HTTP/1.1\r\nHost: x\r\nContent-Length: 10000000\r\nExpect: 100-continue\r\n\r\n", request)
		got, err := bufio.NewReader(conn).ReadString('\n')
		if strings.TrimSpace(got) != want || err != nil {
			t.Errorf("%s: got %q, %v, want %q", request, got, err, want)
		}
		conn.Close()
	}
}

// TestShortBody holds that nothing comes of a body that ends before its
// Content-Length, or is malformed: not even of chunks whose lines end in a bare
// LF, which another server on the way may read differently (CVE-2025-22871).
func TestShortBody(t *testing.T) {
	m := newMemory()
	srv := httptest.NewServer(handler(t, Config{Hosted: m, Access: access.Policy{Anonymous: access.All}}))
	defer srv.Close()
	d := oci.FromBytes([]byte("short"), "")
	for _, request := range []string{"POST /v2/apps/x/blobs/uploads/?digest=" + string(d), "PUT /v2/apps/x/manifests/t"} {
		conn, err := net.Dial("tcp", srv.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(conn, "%s HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nshort", request)
		conn.(*net.TCPConn).CloseWrite()
		if answer, err := io.ReadAll(conn); err != nil || len(answer) > 0 { // net/http takes the client for gone
			t.Errorf("%s: got %q, %v, want a closed connection", request, answer, err)
		}
		conn.Close()
	}
	if w := serve(handler(t, Config{Hosted: m, Access: access.Policy{Anonymous: access.All}}), http.MethodGet, "/v2/apps/x/blobs/"+string(d), nil); w.Code != http.StatusNotFound {
		t.Errorf("the blob: got %d, want 404", w.Code)
	}
	for _, chunks := range []string{"5\r\nshort\r\nno length\r\n", "5\nshort\r\n0\r\n\r\n", "5;x\nshort\r\n0\r\n\r\n"} {
		conn, err := net.Dial("tcp", srv.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(conn, "POST /v2/apps/x/blobs/uploads/?digest=%s HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n%s", d, chunks)
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		if body, err := io.ReadAll(resp.Body); resp.StatusCode != http.StatusBadRequest || !strings.Contains(string(body), oci.CodeSizeInvalid) {
			t.Errorf("malformed chunks %q: got %d %s, %v", chunks, resp.StatusCode, body, err)
		}
		conn.Close()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for id, u := range m.uploads {
		if !u.ended {
			t.Errorf("session %s, whose name nobody knows, is still there", id)
		}
	}
}

// TestManifestLimit: a pushed manifest is not read beyond the limit, whether its
// length was declared or not (CVE-2017-11468).
func TestManifestLimit(t *testing.T) {
	m := newMemory()
	h := handler(t, Config{Hosted: m, Access: access.Policy{Anonymous: access.All}})
	put := func(size int, chunked bool) *httptest.ResponseRecorder {
		doc := `{"schemaVersion":2,"mediaType":"` + oci.TypeImageIndex + `","manifests":[]}`
		r := httptest.NewRequest(http.MethodPut, "/v2/apps/x/manifests/t", strings.NewReader(doc+strings.Repeat(" ", size-len(doc))))
		if chunked {
			r.ContentLength = -1
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w
	}
	for _, chunked := range []bool{false, true} {
		if w := put(oci.MaxManifest, chunked); w.Code != http.StatusCreated {
			t.Errorf("at the limit: got %d %s", w.Code, w.Body)
		}
		if w := put(oci.MaxManifest+1, chunked); w.Code != http.StatusRequestEntityTooLarge {
			t.Errorf("above the limit: got %d %s", w.Code, w.Body)
		}
	}
}

// TestOutcomeHeaders holds what a client learns about how it was answered.
func TestOutcomeHeaders(t *testing.T) {
	m := newMemory()
	fill(t, m, ref.Name{Host: "docker.io", Path: "library/alpine"})
	h := handler(t, Config{Routes: Routes{Upstreams: []Upstream{{Name: "docker.io", Default: true}}}, Proxied: m, Access: access.Policy{Anonymous: access.Pull}})
	m.outcome = oci.Outcome{Result: oci.Stale, Age: 90*time.Minute + 500*time.Millisecond, Warning: "stale: upstream \"docker.io\" \\ unreachable\r\nX: ü"}
	w := serve(h, http.MethodGet, "/v2/library/alpine/manifests/3.20", nil)
	for key, want := range map[string]string{
		"X-Cache": "STALE", "Age": "5400",
		"Warning": `299 - "stale: upstream \"docker.io\" \\ unreachable??X: ??"`,
	} {
		if got := w.Header().Get(key); got != want {
			t.Errorf("%s: got %q, want %q", key, got, want)
		}
	}
	m.outcome.Warning = strings.Repeat(`"`, 5000)
	w = serve(h, http.MethodGet, "/v2/library/alpine/manifests/3.20", nil)
	if got := w.Header().Get("Warning"); len(got) > 4096 || !strings.HasPrefix(got, `299 - "\"`) || !strings.HasSuffix(got, `\""`) {
		t.Errorf("a long warning has %d bytes and ends with %q", len(got), got[len(got)-5:])
	}
	m.err = &oci.Error{Kind: oci.ErrUnavailable, Code: oci.CodeTooManyRequests, RetryAfter: 1500 * time.Millisecond}
	w = serve(h, http.MethodGet, "/v2/library/alpine/manifests/3.20", nil)
	if w.Code != http.StatusTooManyRequests || w.Header().Get("Retry-After") != "2" || w.Header().Get("Etag") != "" {
		t.Errorf("got %d with Retry-After %q and Etag %q", w.Code, w.Header().Get("Retry-After"), w.Header().Get("Etag"))
	}
}

// TestLoop holds A11: a request that we have sent ourselves is refused.
func TestLoop(t *testing.T) {
	m := newMemory()
	fill(t, m, ref.Name{Host: "docker.io", Path: "library/alpine"})
	h := handler(t, Config{Routes: Routes{Upstreams: []Upstream{{Name: "docker.io"}}}, Hosted: m, Proxied: m, Access: access.Policy{Anonymous: access.Pull}, InstanceID: "entrepot-5f3a"})
	for via, want := range map[string]int{"1.1 entrepot-5f3a": 508, "1.1 other, 1.1 entrepot-5f3a": 508, "1.1 entrepot-0000": 200} {
		r := httptest.NewRequest(http.MethodGet, "/v2/docker.io/library/alpine/manifests/3.20", nil)
		r.Header.Set("Via", via)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != want {
			t.Errorf("Via %q: got %d, want %d", via, w.Code, want)
		}
		if want == 200 && m.via != via {
			t.Errorf("Via %q: the backend got %q", via, m.via)
		}
	}
}

// TestPageSizeIsNoAllocation: the number that a client asks for costs nothing by
// itself (CVE-2023-2253: _catalog made room for it).
func TestPageSizeIsNoAllocation(t *testing.T) {
	m := newMemory()
	fill(t, m, ref.Name{Path: "apps/x"})
	h := handler(t, Config{Hosted: m, Access: access.Policy{Anonymous: access.Pull}})
	digest := string(oci.FromBytes(layerBytes, ""))
	for _, path := range []string{"_catalog", "apps/x/tags/list", "apps/x/referrers/" + digest} {
		for n, want := range map[string]int{"1000000000000": 200, "9223372036854775807": 200, "9223372036854775808": 400, "-1": 400, "0x7fffffff": 400} {
			if w := serve(h, http.MethodGet, "/v2/"+path+"?n="+n, nil); w.Code != want {
				t.Errorf("%s?n=%s: got %d, want %d", path, n, w.Code, want)
			}
		}
		ask := func() { serve(h, http.MethodGet, "/v2/"+path+"?n=1000000000000", nil) }
		if n := testing.AllocsPerRun(10, ask); n > 500 {
			t.Errorf("%s: %v allocations", path, n)
		}
	}
}

// TestReferrersPages walks through referrers that do not fit into one page, which
// is as much as a client has to take at once (CVE-2023-46737, CVE-2024-29902).
func TestReferrersPages(t *testing.T) {
	m := newMemory()
	name := ref.Name{Path: "apps/x"}
	image, _ := fill(t, m, name)
	config := oci.FromBytes(configBytes, "")
	const n = 9
	for i := range n {
		man := makeManifest(fmt.Sprintf(`{"schemaVersion":2,"artifactType":"application/vnd.example.big","config":{"mediaType":"application/vnd.oci.empty.v1+json","digest":"%s","size":2},"layers":[],"subject":{"mediaType":"%s","digest":"%s","size":%d},"annotations":{"n":"%d","big":"%s"}}`,
			config, image.MediaType, image.Digest, len(image.Raw), i, strings.Repeat("x", 1<<20)))
		if err := m.PutManifest(t.Context(), name, man); err != nil {
			t.Fatal(err)
		}
	}
	h := handler(t, Config{Hosted: m, Access: access.Policy{Anonymous: access.Pull}})
	seen := map[oci.Digest]bool{}
	pages := 0
	for target := "/v2/apps/x/referrers/" + string(image.Digest) + "?artifactType=application/vnd.example.big"; target != ""; pages++ {
		w := serve(h, http.MethodGet, target, nil)
		var index struct{ Manifests []oci.Descriptor }
		if err := json.Unmarshal(w.Body.Bytes(), &index); err != nil || w.Body.Len() > 4<<20 || w.Header().Get("Oci-Filters-Applied") != "artifactType" {
			t.Fatalf("page %d: %v, %d bytes, %v", pages, err, w.Body.Len(), w.Header())
		}
		for _, d := range index.Manifests {
			seen[d.Digest] = true
		}
		target, _, _ = strings.Cut(strings.TrimPrefix(w.Header().Get("Link"), "<"), ">")
	}
	if len(seen) != n || pages < 3 {
		t.Errorf("saw %d of %d referrers on %d pages", len(seen), n, pages)
	}
}

// TestPowers holds that a backend that can only read is read-only, and no more
// than that.
func TestPowers(t *testing.T) {
	m := newMemory()
	fill(t, m, ref.Name{Path: "apps/x"})
	h := handler(t, Config{Hosted: struct{ oci.Reader }{m}, Access: access.Policy{Anonymous: access.All}})
	digest := string(oci.FromBytes(layerBytes, ""))
	for request, want := range map[string]int{
		"GET /v2/apps/x/manifests/3.20":          200,
		"GET /v2/apps/x/referrers/" + digest:     200,
		"GET /v2/apps/x/tags/list":               404,
		"GET /v2/_catalog":                       404,
		"PUT /v2/apps/x/manifests/3.20":          405,
		"POST /v2/apps/x/blobs/uploads/":         405,
		"DELETE /v2/apps/x/manifests/3.20":       405,
		"DELETE /v2/apps/x/blobs/" + digest:      405,
		"GET /v2/docker.io/library/x/manifests/": 404,
	} {
		method, target, _ := strings.Cut(request, " ")
		if w := serve(h, method, target, nil); w.Code != want {
			t.Errorf("%s: got %d, want %d", request, w.Code, want)
		}
	}
	if w := serve(handler(t, Config{Access: access.Policy{Anonymous: access.All}}), http.MethodGet, "/v2/apps/x/tags/list", nil); w.Code != 404 {
		t.Errorf("no backend at all: got %d, want 404", w.Code)
	}
}

// TestObserve holds what metrics and the log are told.
func TestObserve(t *testing.T) {
	m := newMemory()
	name := ref.Name{Host: "docker.io", Path: "library/alpine"}
	fill(t, m, name)
	m.outcome = oci.Outcome{Result: oci.Miss}
	var got []Event
	var log bytes.Buffer
	h := handler(t, Config{Routes: Routes{Upstreams: []Upstream{{Name: "docker.io"}}}, Hosted: m, Proxied: m, Access: access.Policy{Anonymous: access.All},
		Observe: func(e Event) { got = append(got, e) }, Log: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	w := serve(h, http.MethodGet, "/v2/alpine/blobs/"+string(oci.FromBytes(layerBytes, ""))+"?ns=docker.io", nil)
	e := got[0]
	if e.ID == "" || e.ID != w.Header().Get("X-Request-Id") || e.Dur <= 0 {
		t.Errorf("ID %q, header %q, Dur %v", e.ID, w.Header().Get("X-Request-Id"), e.Dur)
	}
	if e.First <= 0 || e.First > e.Dur {
		t.Errorf("First %v of %v", e.First, e.Dur)
	}
	e.ID, e.Dur, e.First = "", 0, 0
	want := Event{Op: "blob", Method: "GET", Proxied: true, Name: name, Reference: string(oci.FromBytes(layerBytes, "")), Namespace: "docker.io",
		Result: oci.Miss, Status: 200, Sent: int64(len(layerBytes)), Client: "192.0.2.1"}
	if e != want {
		t.Errorf("got %+v, want %+v", e, want)
	}
	serve(h, http.MethodPost, "/v2/apps/x/blobs/uploads/?digest="+string(oci.FromBytes(layerBytes, "")), bytes.NewReader(layerBytes))
	if e := got[1]; e.Op != "upload" || e.Status != 201 || e.Received != int64(len(layerBytes)) || e.Proxied {
		t.Errorf("a push: got %+v", e)
	}
	serve(h, http.MethodGet, "/v2/docker.io/library/alpine/manifests/nope", nil)
	if n := strings.Count(log.String(), "level=DEBUG msg=request"); n != 3 {
		t.Errorf("%d lines for 3 requests: %s", n, log.String())
	}
	log.Reset()
	m.err = &oci.Error{Kind: oci.ErrUnavailable, Message: "upstream docker.io is down", Err: errors.New("the cause")}
	w = serve(h, http.MethodGet, "/v2/docker.io/library/alpine/manifests/3.20", nil)
	if line := log.String(); !containsAny(line, "the cause") || !containsAny(line, "level=WARN") || strings.Count(line, "\n") != 1 || !containsAny(line, w.Header().Get("X-Request-Id")) {
		t.Errorf("logged: %s", line)
	}
}

func TestRequestIDsDiffer(t *testing.T) {
	a, b := handler(t, Config{}), handler(t, Config{})
	seen := map[string]bool{}
	for range 100 {
		seen[a.requestID()], seen[b.requestID()] = true, true
	}
	if len(seen) != 200 {
		t.Errorf("%d different IDs of 200", len(seen))
	}
}
