package web

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// keeping counts what a store does on its own.
type keeping struct {
	evicted      prometheus.Counter
	evictedBytes prometheus.Counter
	evictedAge   prometheus.Histogram
	abandoned    prometheus.Counter
	lostBytes    prometheus.Counter
	damaged      family[string]
	scrubbed     family[string]
}

func (k *keeping) register(r prometheus.Registerer) {
	k.evicted = prometheus.NewCounter(prometheus.CounterOpts{Name: "entrepot_evicted_blobs_total", Help: "Blobs that left the cache to keep its limits."})
	k.evictedBytes = prometheus.NewCounter(prometheus.CounterOpts{Name: "entrepot_evicted_bytes_total", Help: "Bytes of the blobs that left the cache to keep its limits."})
	const hour, day = 3600, 24 * 3600
	k.evictedAge = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "entrepot_evicted_age_seconds", Help: "How long blobs that left the cache had not been used. Where it is short the cache is too small.",
		Buckets: []float64{hour, 6 * hour, day, 3 * day, 7 * day, 30 * day, 90 * day},
	})
	k.abandoned = prometheus.NewCounter(prometheus.CounterOpts{Name: "entrepot_abandoned_uploads_total", Help: "Uploads that were removed since nobody went on with them for a day."})
	k.lostBytes = prometheus.NewCounter(prometheus.CounterOpts{Name: "entrepot_abandoned_upload_bytes_total", Help: "Bytes that they had."})
	r.MustRegister(k.evicted, k.evictedBytes, k.evictedAge, k.abandoned, k.lostBytes)
	k.damaged.init(byPool(counters(r, "entrepot_damaged_blobs_total", "Stored blobs that were found to be something else than their digest says.", "pool")))
	k.scrubbed.init(byPool(counters(r, "entrepot_scrubbed_bytes_total", "Bytes of stored blobs that were read again and found to be well.", "pool")))
	for _, pool := range []string{"cache", "pushed"} { // there from the start, so that the first one is a change
		k.damaged.of(pool)
		k.scrubbed.of(pool)
	}
}

func byPool(v *prometheus.CounterVec) func(string) prometheus.Counter {
	return func(pool string) prometheus.Counter { return v.WithLabelValues(pool) }
}

// Evicted counts a blob that left the cache, and how long ago it was used.
func (m *Metrics) Evicted(bytes int64, age time.Duration) {
	m.keeping.evicted.Inc()
	m.keeping.evictedBytes.Add(float64(bytes))
	m.keeping.evictedAge.Observe(age.Seconds())
}

// Abandoned counts an upload that was removed since nobody went on with it.
func (m *Metrics) Abandoned(bytes int64) {
	m.keeping.abandoned.Inc()
	m.keeping.lostBytes.Add(float64(bytes))
}

// Damaged counts a stored blob that is not what its digest says; pool is "cache"
// or "pushed".
func (m *Metrics) Damaged(pool string) { m.keeping.damaged.of(pool).Inc() }

// Scrubbed counts bytes of a stored blob that was read again and is well.
func (m *Metrics) Scrubbed(pool string, bytes int64) { m.keeping.scrubbed.of(pool).Add(float64(bytes)) }
