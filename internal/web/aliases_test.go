package web

import (
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
)

// everything returns metrics of which each was counted at least once.
func everything() *Metrics {
	m := NewMetrics(MetricsConfig{
		Upstreams:   []string{"docker.io"},
		Pools:       func() []Pool { return []Pool{{Name: "cache"}} },
		Broken:      func() []string { return nil },
		Connections: func() Connections { return Connections{Open: 1} },
		Filling:     func() (int, int) { return 2, 5 },
		Version:     "v1",
	})
	for _, r := range []Request{
		{Op: "manifest", Upstream: "docker.io", Result: "hit", Code: 200, Bytes: 10, First: time.Millisecond},
		{Op: "manifest", Upstream: "docker.io", Result: "miss", Code: 200, Bytes: 20, First: 100 * time.Millisecond},
		{Op: "manifest", Upstream: "docker.io", Result: "stale", Code: 200, Bytes: 40, First: time.Millisecond},
		{Op: "manifest", Upstream: "docker.io", Result: "negative", Code: 404, Bytes: 99, First: time.Millisecond},
		{Op: "blob", Upstream: "docker.io", Result: "miss", Code: 206, Bytes: 100, First: time.Millisecond},
		{Op: "blob", Upstream: "docker.io", Result: "coalesced", Code: 200, Bytes: 200, First: time.Millisecond},
		{Op: "blob", Code: 200, Bytes: 5000, First: time.Millisecond}, // our own
		{Op: "tags", Upstream: "docker.io", Result: "miss", Code: 200, Bytes: 7, First: time.Millisecond},
	} {
		m.Request(r)
	}
	m.UpstreamRequest(UpstreamRequest{Upstream: "docker.io", Kind: "manifest", Code: 200, Bytes: 60})
	m.UpstreamRequest(UpstreamRequest{Upstream: "docker.io", Kind: "blob", Code: 200, Bytes: 300})
	m.UpstreamRequest(UpstreamRequest{Upstream: "docker.io", Kind: "token", Code: 200, Bytes: 900})
	m.Proof("docker.io", "known")
	m.Remaining("docker.io", 42)
	m.Fill(Fill{Upstream: "docker.io", Result: "done", Duration: time.Second})
	m.Resume("docker.io")
	m.Part("docker.io")
	m.Prefetch("docker.io", "same")
	m.Mismatch("docker.io")
	m.Evicted(7, time.Hour)
	return m
}

// The names and the label are those of distribution v3
// (registry/proxy/proxymetrics.go, namespace registry, subsystem proxy).
func TestAliasesOfDistribution(t *testing.T) {
	_, text := get(t, Handler(Config{Metrics: everything()}), "/metrics")
	for _, want := range []string{
		`registry_proxy_requests_total{type="manifest"} 3`,
		`registry_proxy_hits_total{type="manifest"} 2`,
		`registry_proxy_misses_total{type="manifest"} 1`,
		`registry_proxy_pulled_bytes_total{type="manifest"} 60`,
		`registry_proxy_pushed_bytes_total{type="manifest"} 70`,
		`registry_proxy_requests_total{type="blob"} 2`,
		`registry_proxy_hits_total{type="blob"} 0`,
		`registry_proxy_misses_total{type="blob"} 2`,
		`registry_proxy_pulled_bytes_total{type="blob"} 300`,
		`registry_proxy_pushed_bytes_total{type="blob"} 300`,
		`entrepot_saved_bytes_total{upstream="docker.io"} 250`,
		`entrepot_first_byte_seconds_count{op="manifest",result="hit"} 1`,
		`entrepot_first_byte_seconds_bucket{op="manifest",result="miss",le="0.05"} 0`,
		`entrepot_first_byte_seconds_bucket{op="manifest",result="miss",le="0.2"} 1`,
		`entrepot_fills_running 2`,
		`entrepot_fill_followers 5`,
		`entrepot_proofs_total{result="known",upstream="docker.io"} 1`,
	} {
		if !strings.Contains(text, want+"\n") {
			t.Errorf("missing in /metrics: %s", want)
		}
	}
	if strings.Contains(text, `entrepot_first_byte_seconds_count{op="manifest",result="negative"}`) {
		t.Error("a refusal counts as an answer that began")
	}
	_, fresh := get(t, Handler(Config{Metrics: NewMetrics(MetricsConfig{})}), "/metrics")
	for _, name := range []string{"requests", "hits", "misses", "pulled_bytes", "pushed_bytes"} {
		for _, kind := range []string{"blob", "manifest"} {
			if want := "registry_proxy_" + name + `_total{type="` + kind + `"} 0`; !strings.Contains(fresh, want+"\n") {
				t.Errorf("missing at the start: %s", want)
			}
		}
	}
}

// What promtool check metrics says.
func TestMetricsAreWellNamed(t *testing.T) {
	_, text := get(t, Handler(Config{Metrics: everything()}), "/metrics")
	found, err := promlint.New(strings.NewReader(text)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range found {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}
