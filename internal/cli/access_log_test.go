package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entrepot/entrepot/internal/regtest"
	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
	"github.com/entrepot/entrepot/registry"
)

func exampleEvent() *registry.Event {
	trace, _ := oci.ParseTrace("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
	return &registry.Event{ID: "r1", Op: "manifest", Method: "GET", Proxied: true, Name: ref.Name{Host: "docker.io", Path: "library/alpine"}, Reference: "3.20",
		Namespace: "docker.io", Result: oci.Hit, From: "mirror.corp", Status: 200, Sent: 1500, Dur: 1500 * time.Microsecond, Client: "10.0.0.7", User: "ci", Agent: "a \"b\" c=d", Trace: trace}
}

func accessLine(e *registry.Event, asJSON bool) string {
	var out bytes.Buffer
	a := &accessLog{out: &logWriter{w: &out}, json: asJSON}
	a.write(e)
	a.out.flush()
	return out.String()
}

func TestAccessLogText(t *testing.T) {
	_, line, _ := strings.Cut(accessLine(exampleEvent(), false), " ") // without the time
	want := `level=INFO msg=request id=r1 method=GET op=manifest ns=docker.io upstream=docker.io repo=library/alpine ref=3.20 status=200 bytes=1500 dur=1.5ms` +
		` result=hit endpoint=mirror.corp client=10.0.0.7 user=ci agent="a \"b\" c=d" trace=4bf92f3577b34da6a3ce929d0e0e4736` + "\n"
	if line != want {
		t.Errorf("got  %swant %s", line, want)
	}
}

// The JSON form is JSON, whatever a client sends, and has the types of slog's.
func TestAccessLogJSON(t *testing.T) {
	e := exampleEvent()
	e.Agent, e.Received, e.Err = "\x00\xff\u2028é\"\\\n", 7, errors.New("why")
	var got map[string]any
	line := accessLine(e, true)
	if err := json.Unmarshal([]byte(line), &got); err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	for key, want := range map[string]any{"level": "INFO", "msg": "request", "upstream": "docker.io", "repo": "library/alpine", "status": 200.0, "bytes": 1500.0,
		"received": 7.0, "dur": 1.5e6, "user": "ci", "err": "why"} {
		if got[key] != want {
			t.Errorf("%s is %v, want %v", key, got[key], want)
		}
	}
	if _, err := time.Parse(time.RFC3339Nano, fmt.Sprint(got["time"])); err != nil {
		t.Error(err)
	}
}

// What a client sends cannot forge a line or a field, and is bounded.
func TestAccessLogIsNotForged(t *testing.T) {
	e := exampleEvent()
	e.Agent, e.Path, e.Op = "x\nlevel=WARN", "/a b="+strings.Repeat("y", 5000), ""
	line := accessLine(e, false)
	if strings.Count(line, "\n") != 1 || strings.Contains(line, " level=WARN") || !strings.Contains(line, `path="/a b=yy`) || len(line) > 2*maxLogged+500 {
		t.Errorf("%d bytes: %s", len(line), line)
	}
	e.Op, e.Path, e.Reference = "upload", "", "sessionsecret"
	if line := accessLine(e, false); strings.Contains(line, "sessionsecret") {
		t.Errorf("the session of an upload: %s", line)
	}
}

// A failure appears at once and after what was before it; the rest appears soon.
func TestLogWriterKeepsTheOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		l := &logWriter{w: &out}
		add := func(s string) func([]byte) []byte { return func(b []byte) []byte { return append(b, s...) } }
		l.line(false, add("1"))
		l.line(false, add("2"))
		if out.String() != "" {
			t.Errorf("at once: %q", &out)
		}
		l.line(true, add("3"))
		if out.String() != "123" {
			t.Errorf("after a failure: %q", &out)
		}
		l.line(false, add("4"))
		fmt.Fprint(l, "5")
		if out.String() != "12345" {
			t.Errorf("after another line of the log: %q", &out)
		}
		l.line(false, add("6"))
		time.Sleep(gatherTime)
		synctest.Wait()
		if out.String() != "123456" {
			t.Errorf("soon: %q", &out)
		}
		l.line(false, add(strings.Repeat("7", gatherBytes)))
		if out.Len() != 6+gatherBytes {
			t.Errorf("much at once: %d bytes", out.Len())
		}
	})
}

func TestAccessLogDoesNotAllocate(t *testing.T) {
	a, e := &accessLog{out: &logWriter{w: &bytes.Buffer{}}}, exampleEvent()
	e.Trace = oci.Trace{}
	for range 2 * gatherBytes / 200 { // the buffer has its size
		a.write(e)
	}
	a.out.w = &discard{}
	if n := testing.AllocsPerRun(1000, func() { a.write(e) }); n > 2 { // the duration's text
		t.Errorf("%v allocations a line", n)
	}
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }

func BenchmarkAccessLog(b *testing.B) {
	a, e := &accessLog{out: &logWriter{w: discard{}}}, exampleEvent()
	b.ReportAllocs()
	for b.Loop() {
		a.write(e)
	}
}

// The whole way: one line for each request, with the same name as the answer and
// the request to the upstream, and no secret in any of them.
func TestServeAccessLog(t *testing.T) {
	reg := regtest.New(t, regtest.Config{})
	img := reg.AddImage("a/b", regtest.Image{Layers: []int64{1000}}, "v1")
	layer := string(img.Layers[0].Digest)
	reg.On(regtest.Match{Kind: regtest.Blob, Ref: layer}, regtest.Fault{Status: http.StatusTemporaryRedirect, Redirect: "http://127.0.0.1:1/blob?X-Amz-Signature=c2lnbmVk"})
	r := start(t, "[server]\nlog_format = 'json'\n"+upstreamTable(reg, "example.com", ""))
	ask := func(path string) {
		req, err := http.NewRequest(http.MethodGet, r.url+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-Request-Id", "from-the-client")
		req.Header.Set("Authorization", "Basic c2VjcmV0OnNlY3JldA==")
		resp, err := r.client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if id := resp.Header.Get("X-Request-Id"); id != "from-the-client" {
			t.Errorf("%s is answered as %q", path, id)
		}
	}
	ask("/v2/example.com/a/b/manifests/v1?secret=cXVlcnk")
	ask("/v2/example.com/a/b/manifests/v1")
	ask("/v2/example.com/a/b/blobs/" + layer)
	r.out.waitCount(t, `"msg":"request"`, 3)
	said := r.out.String()
	for _, want := range []string{`"op":"manifest","upstream":"example.com","repo":"a/b","ref":"v1","status":200`, `"result":"miss"`, `"result":"hit"`, `"level":"WARN","msg":"request","id":"from-the-client","method":"GET","op":"blob"`} {
		if !strings.Contains(said, want) {
			t.Errorf("no %s in\n%s", want, said)
		}
	}
	for _, secret := range []string{"c2lnbmVk", "c2VjcmV0", "cXVlcnk"} {
		if strings.Contains(said, secret) {
			t.Errorf("the log has %s:\n%s", secret, said)
		}
	}
	for _, e := range reg.Log() {
		if id := e.Header.Get("X-Request-Id"); id != "from-the-client" {
			t.Errorf("%s %s was asked as %q", e.Method, e.Path, id)
		}
	}
}

func TestServeWithoutAccessLog(t *testing.T) {
	r := start(t, "[server]\naccess_log = false")
	r.get(r.url + "/v2/")
	r.stop()
	r.out.wait(t, "(shutting down)")
	if strings.Contains(r.out.String(), "msg=request") {
		t.Errorf("a request is logged:\n%s", r.out)
	}
}

func TestLogKeys(t *testing.T) {
	cfg, err := parse(t, "[server]\nlog_format = 'json'\naccess_log = false")
	if err != nil || !cfg.jsonLog || cfg.accessLog(nil, slog.LevelInfo) != nil {
		t.Errorf("got %v", err)
	}
	if cfg, err = parse(t, ""); err != nil || cfg.jsonLog || cfg.accessLog(nil, slog.LevelInfo) == nil {
		t.Errorf("defaults: %v", err)
	}
	for text, want := range map[string]string{
		"[server]\nlog_format = 'xml'":  `entrepot.toml:2: server.log_format: "xml" is neither text nor json`,
		"[server]\naccess_log = 'none'": "entrepot.toml:2: server.access_log has to be true or false",
	} {
		if _, err := parse(t, text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", text, err, want)
		}
	}
}
