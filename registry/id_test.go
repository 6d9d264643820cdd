package registry

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/entrepot/entrepot/access"
	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
)

// A client may name its request, as long as the name is fit for a header and a
// log.
func TestRequestIDOfTheClient(t *testing.T) {
	h := handler(t, Config{Access: access.Policy{Anonymous: access.All}})
	for given, taken := range map[string]bool{
		"7f3a-client/42": true, "a": true, strings.Repeat("x", maxID): true, "01J:a+b=c@d_e.f": true,
		"": false, strings.Repeat("x", maxID+1): false, "two words": false, "\"quoted\"": false, "a\r\nb": false, "a\x00": false, "é": false, "a;b": false, "<b>": false,
	} {
		w := serve(h, http.MethodGet, "/v2/", nil, "X-Request-Id: "+given)
		got := w.Header().Get("X-Request-Id")
		if (got == given) != taken || got == "" {
			t.Errorf("%q is answered with %q", given, got)
		}
	}
	r := httptest.NewRequest(http.MethodGet, "/v2/", nil)
	r.Header["X-Request-Id"] = []string{"one", "two"}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	if got := w.Header()["X-Request-Id"]; len(got) != 1 || got[0] == "one" || got[0] == "two" {
		t.Errorf("two names are answered with %q", got)
	}
}

// causes is a reader that notes what a request's upstream requests would tell.
type causes struct {
	oci.Reader
	got []oci.Cause
}

func (c *causes) Manifest(ctx context.Context, r ref.Ref) (oci.Manifest, error) {
	c.got = append(c.got, *oci.CauseOf(ctx))
	return c.Reader.Manifest(ctx, r)
}

// What is asked of upstreams tells the client's own name and trace, or those
// that we gave.
func TestCauseOfUpstreamRequests(t *testing.T) {
	m := newMemory()
	fill(t, m, ref.Name{Host: "docker.io", Path: "library/alpine"})
	up := &causes{Reader: m}
	cfg := Config{Routes: Routes{Upstreams: []Upstream{{Name: "docker.io"}}}, Proxied: up, Access: access.Policy{Anonymous: access.Pull}}
	const path, parent = "/v2/docker.io/library/alpine/manifests/3.20", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	w := serve(handler(t, cfg), http.MethodGet, path, nil)
	serve(handler(t, cfg), http.MethodGet, path, nil, "X-Request-Id: mine", "Traceparent: "+parent)
	serve(handler(t, cfg), http.MethodGet, path, nil, "X-Request-Id: mine", "Traceparent: nonsense")
	own := oci.NewTrace(true)
	cfg.Trace = func(from oci.Trace) oci.Trace {
		if from.String() != parent {
			t.Errorf("traced from %v", from)
		}
		return own
	}
	serve(handler(t, cfg), http.MethodGet, path, nil, "Traceparent: "+parent)
	if len(up.got) != 4 {
		t.Fatalf("%d requests reached the upstream", len(up.got))
	}
	if c := up.got[0]; c.ID != w.Header().Get("X-Request-Id") || c.Trace.Valid() {
		t.Errorf("no headers: got %+v", c)
	}
	if c := up.got[1]; c.ID != "mine" || c.Trace.String() != parent {
		t.Errorf("both headers: got %+v", c)
	}
	if c := up.got[2]; c.Trace.Valid() {
		t.Errorf("a malformed trace goes on as %v", c.Trace)
	}
	if c := up.got[3]; c.Trace != own {
		t.Errorf("traced here: got %v, want %v", c.Trace, own)
	}
}

// logged answers one request and returns the lines of the log.
func logged(t *testing.T, cfg Config, method, target string, headers ...string) string {
	t.Helper()
	var log bytes.Buffer
	cfg.Log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	serve(handler(t, cfg), method, target, nil, headers...)
	return log.String()
}

// The line of a request says who asked for what, and how it was answered.
func TestAccessLog(t *testing.T) {
	m := newMemory()
	fill(t, m, ref.Name{Host: "docker.io", Path: "library/alpine"})
	m.outcome = oci.Outcome{Result: oci.Hit}
	cfg := Config{Routes: Routes{Upstreams: []Upstream{{Name: "docker.io"}}}, Hosted: m, Proxied: m, Access: access.Policy{Anonymous: access.All}}
	line := logged(t, cfg, http.MethodHead, "/v2/alpine/manifests/3.20?ns=docker.io", "User-Agent: containerd/2.1", "X-Request-Id: r1",
		"Traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00")
	for _, want := range []string{"level=DEBUG", "msg=request", "id=r1", "method=HEAD", "op=manifest", "ns=docker.io", "upstream=docker.io", "repo=library/alpine",
		"ref=3.20", "status=200", "bytes=0", "dur=", "result=hit", "client=192.0.2.1", "agent=containerd/2.1", "trace=4bf92f3577b34da6a3ce929d0e0e4736"} {
		if !strings.Contains(line, " "+want) {
			t.Errorf("no %s in %s", want, line)
		}
	}
	if n := strings.Count(line, "\n"); n != 1 {
		t.Errorf("%d lines for a request", n)
	}
}

// No line has a secret, in whatever place of a request it came, nor more than
// so much of anything.
func TestAccessLogHasNoSecrets(t *testing.T) {
	m := newMemory()
	m.err = errors.New("the cause")
	cfg := Config{Routes: Routes{Upstreams: []Upstream{{Name: "docker.io"}}}, Hosted: m, Proxied: m, Access: access.Policy{Anonymous: access.All}}
	const secret = "c2VjcmV0"
	for _, target := range []string{
		"/v2/docker.io/library/alpine/manifests/3.20?token=" + secret, "/v2/?sig=" + secret, "/elsewhere?X-Amz-Signature=" + secret,
		"/v2/apps/x/blobs/uploads/" + secret + "?_state=" + secret, "/v2/docker.io/library/alpine/blobs/sha256:1?ns=docker.io&password=" + secret,
	} {
		for _, method := range []string{http.MethodGet, http.MethodPut} {
			line := logged(t, cfg, method, target, "Authorization: Basic "+secret, "Cookie: a="+secret, "Proxy-Authorization: Bearer "+secret, "Referer: https://x/?"+secret)
			if strings.Contains(line, secret) || strings.Count(line, "\n") != 1 {
				t.Errorf("%s %s: %s", method, target, line)
			}
		}
	}
	long := strings.Repeat("y", 4000)
	line := logged(t, cfg, http.MethodGet, "/v2/"+long+"/manifests/"+long+"?ns="+long, "User-Agent: "+long+"\"\nid=forged")
	if len(line) > 2500 || strings.Contains(line, "\nid=") {
		t.Errorf("%d bytes: %s", len(line), line)
	}
	if line := logged(t, cfg, http.MethodGet, "/nowhere?x=1"); !strings.Contains(line, "path=/nowhere ") {
		t.Errorf("a path that is none of ours: %s", line)
	}
}

// What belongs to the protocol without being a part of it is named, logged and
// counted as all else.
func TestAside(t *testing.T) {
	var log bytes.Buffer
	var got []Event
	h := handler(t, Config{Log: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})), Observe: func(e Event) { got = append(got, e) }})
	token := h.Aside("token", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			w.WriteHeader(http.StatusForbidden)
		}
		io.WriteString(w, "secret")
	}))
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		w := httptest.NewRecorder()
		token.ServeHTTP(w, httptest.NewRequest(method, "/token?account=ci&password=hunter2", nil))
		if w.Header().Get("X-Request-Id") == "" || w.Body.String() != "secret" {
			t.Errorf("%s: got %v %s", method, w.Header(), w.Body)
		}
	}
	if len(got) != 2 || got[0].Op != "token" || got[0].Status != 200 || got[0].Sent != 6 || got[1].Status != 403 {
		t.Errorf("got %+v", got)
	}
	if said := log.String(); strings.Count(said, "op=token") != 2 || strings.Contains(said, "hunter2") || strings.Contains(said, "secret") {
		t.Errorf("logged: %s", said)
	}
}
