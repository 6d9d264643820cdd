package web

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// A MetricsConfig says what is known before anything is counted.
type MetricsConfig struct {
	// Upstreams are the configured names, wildcards as "*.suffix". They are
	// the only values of the label "upstream", besides "" for requests that
	// have to do with none and "other" for what is not in the list: a label
	// that clients could choose would fill the memory.
	Upstreams []string
	Pools     func() []Pool // what is stored now; nil means nothing; has to be cheap
	Broken    Upstreams     // which are not asked; nil where nobody knows
	Version   string

	Filling func() (fills, readers int) // downloads that run, and who reads along; nil means that they are not shown; has to be cheap

	Connections func() Connections // of clients; nil means that they are not shown
}

// Connections are those of clients.
type Connections struct {
	Open    int64 // now
	Shed    int64 // closed while they waited, to make room
	Refused int64 // closed at once
}

// Metrics counts what a server does. Its methods are safe for concurrent use
// and cost some hundred nanoseconds, without allocating.
type Metrics struct {
	registry *prometheus.Registry
	exact    map[string]bool // the names of upstreams
	suffixes []string        // of wildcards, with their dot

	requests         family[requestKey]
	latency          latency
	aliases          aliases
	savedBytes       family[string]
	clientBytes      family[string]
	upstreamRequests family[upstreamKey]
	upstreamBytes    family[string]
	fills            family[fillKey]
	fillSeconds      *prometheus.HistogramVec
	resumes          family[string]
	parts            family[string]
	prefetches       family[fillKey]
	mismatches       family[string]
	keeping          keeping
	inFlight         prometheus.Gauge
	remaining        *prometheus.GaugeVec
	reloads          family[string]
	collections      collections
	certificates     family[string]
	entries          family[fillKey]
}

type requestKey struct {
	op, upstream, result string
	class                int // 2 for 2xx
}

type upstreamKey struct {
	upstream, kind string
	code           int // 0: no answer
}

type fillKey struct{ upstream, result string }

// A Request is an answered request of a client.
type Request struct {
	Op       string        // the operation, one of a fixed set
	Upstream string        // its name, "" for a hosted repository or none
	Result   string        // hit, miss, coalesced, …; "" where it does not apply
	Code     int           // of the answer
	Bytes    int64         // of the answer's body
	First    time.Duration // until its header; 0 where there was none
}

// An UpstreamRequest is an answered request of ours.
type UpstreamRequest struct {
	Upstream string
	Kind     string // manifest, blob, token, …; one of a fixed set
	Code     int    // of the answer, 0 for none
	Bytes    int64  // of the answer's body
}

// A Fill is a download into the cache that has ended.
type Fill struct {
	Upstream string
	Result   string // how it ended, one of a fixed set
	Duration time.Duration
}

// NewMetrics returns metrics of which nothing is counted yet.
func NewMetrics(cfg MetricsConfig) *Metrics {
	r := prometheus.NewRegistry()
	m := &Metrics{registry: r, exact: map[string]bool{"": true}}
	for _, name := range cfg.Upstreams {
		if suffix, ok := strings.CutPrefix(name, "*"); ok {
			m.suffixes = append(m.suffixes, suffix)
			continue
		}
		m.exact[name] = true
	}
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	m.registerTraffic(r)
	m.latency.register(r)
	m.aliases.register(r)
	m.registerFills(r)
	m.registerUpstreams(r, cfg.Broken)
	m.collections.register(r)
	m.keeping.register(r)
	if cfg.Pools != nil {
		r.MustRegister(poolCollector(cfg.Pools))
	}
	if cfg.Filling != nil {
		r.MustRegister(fillingCollector(cfg.Filling))
	}
	if cfg.Connections != nil {
		r.MustRegister(connectionCollector(cfg.Connections))
	}
	info := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "entrepot_build_info", Help: "The running version; always 1."}, []string{"version"})
	info.WithLabelValues(cfg.Version).Set(1)
	r.MustRegister(info)
	return m
}

func (m *Metrics) registerTraffic(r prometheus.Registerer) {
	requests := counters(r, "entrepot_requests_total", "Requests of clients, by how they were answered.", "op", "upstream", "result", "code")
	m.requests.init(func(k requestKey) prometheus.Counter {
		return requests.WithLabelValues(k.op, k.upstream, k.result, strconv.Itoa(k.class)+"xx")
	})
	m.clientBytes.init(byUpstream(counters(r, "entrepot_client_bytes_total", "Bytes of content sent to clients.", "upstream")))
	m.savedBytes.init(byUpstream(counters(r, "entrepot_saved_bytes_total", "Bytes of content sent to clients for which no upstream had to send any.", "upstream")))
	upstreamRequests := counters(r, "entrepot_upstream_requests_total", "Requests sent to upstreams, by answer; code 0 is none.", "upstream", "kind", "code")
	m.upstreamRequests.init(func(k upstreamKey) prometheus.Counter {
		return upstreamRequests.WithLabelValues(k.upstream, k.kind, strconv.Itoa(k.code))
	})
	m.upstreamBytes.init(byUpstream(counters(r, "entrepot_upstream_bytes_total", "Bytes of content received from upstreams.", "upstream")))
	m.inFlight = prometheus.NewGauge(prometheus.GaugeOpts{Name: "entrepot_in_flight_requests", Help: "Requests of clients that are being answered."})
	r.MustRegister(m.inFlight)
	m.reloads.init(byResult(counters(r, "entrepot_reloads_total", "Times the configuration was read again, by whether it was taken.", "result")))
	m.certificates.init(byResult(counters(r, "entrepot_tls_reloads_total", "Times our certificate had changed, by whether it was taken.", "result")))
	for _, result := range []string{done, failed} { // there from the start, so that the first failure is a change
		m.reloads.of(result)
		m.certificates.of(result)
	}
}

func (m *Metrics) registerFills(r prometheus.Registerer) {
	fills := counters(r, "entrepot_fills_total", "Downloads into the cache that ended, by how.", "upstream", "result")
	m.fills.init(func(k fillKey) prometheus.Counter { return fills.WithLabelValues(k.upstream, k.result) })
	m.fillSeconds = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "entrepot_fill_seconds", Help: "How long downloads into the cache took.",
		Buckets: []float64{.05, .2, 1, 5, 20, 60, 300, 1200},
	}, []string{"upstream"})
	r.MustRegister(m.fillSeconds)
	m.resumes.init(byUpstream(counters(r, "entrepot_resumes_total", "Broken downloads that went on where they had stopped.", "upstream")))
	m.parts.init(byUpstream(counters(r, "entrepot_parts_total", "Parts of blobs that were fetched beside the connection of their download.", "upstream")))
	prefetches := counters(r, "entrepot_prefetches_total", "Images that are kept in the cache, each time that they were looked after, by how it went.", "upstream", "result")
	m.prefetches.init(func(k fillKey) prometheus.Counter { return prefetches.WithLabelValues(k.upstream, k.result) })
	entries := counters(r, "entrepot_proofs_total", "Requests of callers who log in to the upstream themselves, by whether it has let them in: known from before, asked, or refused.", "upstream", "result")
	m.entries.init(func(k fillKey) prometheus.Counter { return entries.WithLabelValues(k.upstream, k.result) })
	m.mismatches.init(byUpstream(counters(r, "entrepot_digest_mismatches_total", "Downloads that were thrown away because they were not what their digest says.", "upstream")))
}

func counters(r prometheus.Registerer, name, help string, labels ...string) *prometheus.CounterVec {
	v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	r.MustRegister(v)
	return v
}

func byUpstream(v *prometheus.CounterVec) func(string) prometheus.Counter {
	return func(upstream string) prometheus.Counter { return v.WithLabelValues(upstream) }
}

func byResult(v *prometheus.CounterVec) func(string) prometheus.Counter {
	return func(result string) prometheus.Counter { return v.WithLabelValues(result) }
}

// Request counts an answered request of a client.
func (m *Metrics) Request(r Request) {
	up := m.upstream(r.Upstream)
	m.requests.of(requestKey{op: r.Op, upstream: up, result: r.Result, class: r.Code / 100}).Inc()
	if r.Bytes > 0 {
		m.clientBytes.of(up).Add(float64(r.Bytes))
		if saved(r.Result) {
			m.savedBytes.of(up).Add(float64(r.Bytes))
		}
	}
	m.latency.observe(&r)
	m.aliases.request(&r)
}

// UpstreamRequest counts an answered request of ours.
func (m *Metrics) UpstreamRequest(r UpstreamRequest) {
	up := m.upstream(r.Upstream)
	if r.Code < 100 || r.Code > 599 {
		r.Code = 0
	}
	m.upstreamRequests.of(upstreamKey{upstream: up, kind: r.Kind, code: r.Code}).Inc()
	if r.Bytes > 0 {
		m.upstreamBytes.of(up).Add(float64(r.Bytes))
		m.aliases.pulled(r.Kind, r.Bytes)
	}
}

// Fill counts a download that ended.
func (m *Metrics) Fill(f Fill) {
	up := m.upstream(f.Upstream)
	m.fills.of(fillKey{upstream: up, result: f.Result}).Inc()
	m.fillSeconds.WithLabelValues(up).Observe(f.Duration.Seconds())
}

// Resume counts a download that went on where it had stopped.
func (m *Metrics) Resume(upstream string) { m.resumes.of(m.upstream(upstream)).Inc() }

// Part counts a part of a blob that was fetched beside its download.
func (m *Metrics) Part(upstream string) { m.parts.of(m.upstream(upstream)).Inc() }

// Prefetch counts an image that was looked after; result is one of a fixed set.
func (m *Metrics) Prefetch(upstream, result string) {
	m.prefetches.of(fillKey{m.upstream(upstream), result}).Inc()
}

// Proof counts a caller who wanted into a repository; result is one of a fixed set.
func (m *Metrics) Proof(upstream, result string) {
	m.entries.of(fillKey{m.upstream(upstream), result}).Inc()
}

// Mismatch counts content that was not what its digest says.
func (m *Metrics) Mismatch(upstream string) { m.mismatches.of(m.upstream(upstream)).Inc() }

// Reload counts a reading of the configuration; ok says that it was taken.
func (m *Metrics) Reload(ok bool) {
	m.reloads.of(resultOf(ok)).Inc()
}

// CertificateReload counts a certificate of ours that had changed; ok says that
// it was taken.
func (m *Metrics) CertificateReload(ok bool) { m.certificates.of(resultOf(ok)).Inc() }

// What became of a reading.
const (
	done   = "done"
	failed = "failed"
)

func resultOf(ok bool) string {
	if ok {
		return done
	}
	return failed
}

// InFlight returns a handler that counts the requests that are under way. The
// ResponseWriter is passed on as it is, so that files still go from the disk to
// the socket within the kernel.
func (m *Metrics) InFlight(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		m.inFlight.Inc()
		defer m.inFlight.Dec()
		next.ServeHTTP(w, r)
	})
}

func (m *Metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}

// upstream returns the label for an upstream's name.
func (m *Metrics) upstream(name string) string {
	if m.exact[name] {
		return name
	}
	for _, s := range m.suffixes {
		if strings.HasSuffix(name, s) {
			return "*" + s
		}
	}
	return "other"
}
