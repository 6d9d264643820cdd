package web

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func get(t *testing.T, h http.Handler, path string) (int, string) {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
	body, err := io.ReadAll(w.Result().Body)
	if err != nil {
		t.Fatal(err)
	}
	return w.Code, string(body)
}

func TestReadyFollowsTheStore(t *testing.T) {
	var ready error
	h := Handler(Config{Metrics: NewMetrics(MetricsConfig{}), Ready: func() error { return ready }})
	if code, _ := get(t, h, "/readyz"); code != 200 {
		t.Errorf("ready: got %d, want 200", code)
	}
	ready = errors.New("shutting down")
	if code, body := get(t, h, "/readyz"); code != 503 || !strings.Contains(body, "shutting down") {
		t.Errorf("not ready: got %d %q, want 503 and the reason", code, body)
	}
	if code, _ := get(t, h, "/healthz"); code != 200 {
		t.Errorf("healthz: got %d, want 200: a process that is not ready still lives", code)
	}
}

func TestMetrics(t *testing.T) {
	m := NewMetrics(MetricsConfig{
		Upstreams: []string{"docker.io", "*.pkg.dev"},
		Pools:     func() []Pool { return []Pool{{Name: "cache", Bytes: 7, Blobs: 2}} },
		Broken:    func() []string { return []string{"eu-docker.pkg.dev"} },
		Version:   "v1",
	})
	m.Remaining("docker.io", 42)
	m.Request(Request{Op: "manifest", Upstream: "docker.io", Result: "hit", Code: 200, Bytes: 10})
	m.Request(Request{Op: "manifest", Upstream: "docker.io", Result: "hit", Code: 206, Bytes: 5})
	m.Request(Request{Op: "blob", Upstream: "eu-docker.pkg.dev", Result: "miss", Code: 502})
	m.Request(Request{Op: "blob", Upstream: "whatever.a.client.sends", Code: 404})
	m.UpstreamRequest(UpstreamRequest{Upstream: "docker.io", Kind: "blob", Code: 206, Bytes: 100})
	m.UpstreamRequest(UpstreamRequest{Upstream: "docker.io", Kind: "blob"})
	m.UpstreamRequest(UpstreamRequest{Upstream: "docker.io", Kind: "blob", Code: 99999})
	m.Fill(Fill{Upstream: "docker.io", Result: "done", Duration: time.Second})
	m.Resume("docker.io")
	m.Mismatch("docker.io")

	inside := ""
	h := Handler(Config{Metrics: m})
	m.InFlight(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { _, inside = get(t, h, "/metrics") })).ServeHTTP(nil, nil)
	if !strings.Contains(inside, "entrepot_in_flight_requests 1\n") {
		t.Error("a request under way is not counted")
	}

	_, text := get(t, h, "/metrics")
	for _, want := range []string{
		`entrepot_requests_total{code="2xx",op="manifest",result="hit",upstream="docker.io"} 2`,
		`entrepot_requests_total{code="5xx",op="blob",result="miss",upstream="*.pkg.dev"} 1`,
		`entrepot_requests_total{code="4xx",op="blob",result="",upstream="other"} 1`,
		`entrepot_client_bytes_total{upstream="docker.io"} 15`,
		`entrepot_upstream_requests_total{code="206",kind="blob",upstream="docker.io"} 1`,
		`entrepot_upstream_requests_total{code="0",kind="blob",upstream="docker.io"} 2`,
		`entrepot_upstream_bytes_total{upstream="docker.io"} 100`,
		`entrepot_fills_total{result="done",upstream="docker.io"} 1`,
		`entrepot_fill_seconds_count{upstream="docker.io"} 1`,
		`entrepot_resumes_total{upstream="docker.io"} 1`,
		`entrepot_digest_mismatches_total{upstream="docker.io"} 1`,
		`entrepot_upstream_breaker_open{upstream="docker.io"} 0`,
		`entrepot_upstream_breaker_open{upstream="*.pkg.dev"} 1`,
		`entrepot_upstream_ratelimit_remaining{upstream="docker.io"} 42`,
		`entrepot_store_bytes{pool="cache"} 7`,
		`entrepot_store_blobs{pool="cache"} 2`,
		`entrepot_in_flight_requests 0`,
		`entrepot_build_info{version="v1"} 1`,
	} {
		if !strings.Contains(text, want+"\n") {
			t.Errorf("missing in /metrics: %s", want)
		}
	}
}

// A client's ns must not make a time series.
func TestLabelsAreBounded(t *testing.T) {
	m := NewMetrics(MetricsConfig{Upstreams: []string{"docker.io", "*.example.com"}})
	for name, want := range map[string]string{
		"": "", "docker.io": "docker.io", "a.example.com": "*.example.com", "b.c.example.com": "*.example.com",
		"example.com": "other", "evil": "other", "*.example.com": "*.example.com",
	} {
		if got := m.upstream(name); got != want {
			t.Errorf("upstream(%q) = %q, want %q", name, got, want)
		}
	}
}

func TestRequestDoesNotAllocate(t *testing.T) {
	m := NewMetrics(MetricsConfig{Upstreams: []string{"docker.io"}})
	r := Request{Op: "manifest", Upstream: "docker.io", Result: "hit", Code: 200, Bytes: 10, First: time.Millisecond}
	m.Request(r)
	if n := testing.AllocsPerRun(100, func() { m.Request(r) }); n != 0 {
		t.Errorf("counting a request allocates %v times", n)
	}
}

func TestPageEscapes(t *testing.T) {
	h := Handler(Config{Metrics: NewMetrics(MetricsConfig{}), Page: func() Page {
		return Page{Version: "<b>", Upstreams: []Upstream{{Name: "*.pkg.dev"}}, Pools: []Pool{{Name: "cache", Bytes: 3 << 30}, {Name: "pushed", Bytes: 12}}}
	}})
	code, body := get(t, h, "/")
	if code != 200 || strings.Contains(body, "<b>") || !strings.Contains(body, "3.0 GiB") || !strings.Contains(body, "12 bytes") {
		t.Errorf("got %d %s", code, body)
	}
	if code, _ := get(t, h, "/elsewhere"); code != 404 {
		t.Errorf("elsewhere: got %d, want 404", code)
	}
}

func BenchmarkRequest(b *testing.B) {
	m := NewMetrics(MetricsConfig{Upstreams: []string{"docker.io"}})
	r := Request{Op: "manifest", Upstream: "docker.io", Result: "hit", Code: 200, Bytes: 10, First: time.Millisecond}
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			m.Request(r)
		}
	})
}
