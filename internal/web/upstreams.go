package web

import "github.com/prometheus/client_golang/prometheus"

// Upstreams tells how upstreams are: which of them are not asked because they
// have failed again and again. It has to be cheap.
type Upstreams func() (broken []string)

// A brokenCollector asks when it is asked. Each configured upstream has a
// value, so that a breaker that opens is a change and not something new.
type brokenCollector struct {
	m      *Metrics
	broken Upstreams
}

var breakerOpen = prometheus.NewDesc("entrepot_upstream_breaker_open",
	"1 for an upstream that is not asked because it failed again and again, but for one request from time to time.", []string{"upstream"}, nil)

// Describe is a part of prometheus.Collector.
func (c brokenCollector) Describe(ch chan<- *prometheus.Desc) { ch <- breakerOpen }

// Collect is a part of prometheus.Collector.
func (c brokenCollector) Collect(ch chan<- prometheus.Metric) {
	open := map[string]float64{} // :: upstream → 1 where it is broken
	for name := range c.m.exact {
		if name != "" {
			open[name] = 0
		}
	}
	for _, suffix := range c.m.suffixes {
		open["*"+suffix] = 0
	}
	for _, name := range c.broken() {
		open[c.m.upstream(name)] = 1
	}
	for name, value := range open {
		ch <- prometheus.MustNewConstMetric(breakerOpen, prometheus.GaugeValue, value, name)
	}
}

// Remaining notes how many requests an upstream has said that it still allows.
func (m *Metrics) Remaining(upstream string, n int64) {
	m.remaining.WithLabelValues(m.upstream(upstream)).Set(float64(n))
}

func (m *Metrics) registerUpstreams(r prometheus.Registerer, broken Upstreams) {
	m.remaining = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "entrepot_upstream_ratelimit_remaining", Help: "Requests that an upstream still allows, as it said last (RateLimit-Remaining).",
	}, []string{"upstream"})
	r.MustRegister(m.remaining)
	if broken != nil {
		r.MustRegister(brokenCollector{m, broken})
	}
}
