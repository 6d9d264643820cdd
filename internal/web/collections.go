package web

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// A Collection is a collection of garbage that has ended.
type Collection struct {
	Result   string // done, failed, or refused by a breaker
	Blobs    int64  // removed
	Bytes    int64  // removed
	Duration time.Duration
}

// collections counts them.
type collections struct {
	runs         family[string]
	blobs, bytes prometheus.Counter
	seconds      prometheus.Gauge
	last         prometheus.Gauge
}

func (c *collections) register(r prometheus.Registerer) {
	runs := counters(r, "entrepot_gc_runs_total", "Collections of pushed garbage that ended, by how.", "result")
	c.runs.init(func(result string) prometheus.Counter { return runs.WithLabelValues(result) })
	for _, result := range []string{"done", "failed", "refused"} {
		c.runs.of(result) // there from the start, so that the first failure is a change
	}
	c.blobs = prometheus.NewCounter(prometheus.CounterOpts{Name: "entrepot_gc_removed_blobs_total", Help: "Pushed blobs that nothing needed and that were removed."})
	c.bytes = prometheus.NewCounter(prometheus.CounterOpts{Name: "entrepot_gc_removed_bytes_total", Help: "Bytes of them."})
	c.seconds = prometheus.NewGauge(prometheus.GaugeOpts{Name: "entrepot_gc_last_duration_seconds", Help: "How long the last collection took."})
	c.last = prometheus.NewGauge(prometheus.GaugeOpts{Name: "entrepot_gc_last_success_timestamp_seconds", Help: "When the last collection ended that was neither refused nor failed; 0 for none since the start."})
	r.MustRegister(c.blobs, c.bytes, c.seconds, c.last)
}

// Collection counts a collection that has ended.
func (m *Metrics) Collection(c Collection) {
	m.collections.runs.of(c.Result).Inc()
	m.collections.blobs.Add(float64(c.Blobs))
	m.collections.bytes.Add(float64(c.Bytes))
	m.collections.seconds.Set(c.Duration.Seconds())
	if c.Result == "done" {
		m.collections.last.SetToCurrentTime()
	}
}
