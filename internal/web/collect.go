package web

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// A poolCollector asks the store when it is asked.
type poolCollector func() []Pool

var (
	poolBytes = prometheus.NewDesc("entrepot_store_bytes", "Bytes of blobs in the store.", []string{"pool"}, nil)
	poolBlobs = prometheus.NewDesc("entrepot_store_blobs", "Blobs in the store.", []string{"pool"}, nil)
)

// Describe is a part of prometheus.Collector.
func (c poolCollector) Describe(ch chan<- *prometheus.Desc) {
	ch <- poolBytes
	ch <- poolBlobs
}

// Collect is a part of prometheus.Collector.
func (c poolCollector) Collect(ch chan<- prometheus.Metric) {
	for _, p := range c() {
		ch <- prometheus.MustNewConstMetric(poolBytes, prometheus.GaugeValue, float64(p.Bytes), p.Name)
		ch <- prometheus.MustNewConstMetric(poolBlobs, prometheus.GaugeValue, float64(p.Blobs), p.Name)
	}
}

// Size is the pool's size for people.
func (p Pool) Size() string {
	const units = "KMGTP"
	n, i := float64(p.Bytes), -1
	for n >= 1024 && i < len(units)-1 {
		n /= 1024
		i++
	}
	if i < 0 {
		return fmt.Sprintf("%d bytes", p.Bytes)
	}
	return fmt.Sprintf("%.1f %ciB", n, units[i])
}

// A fillingCollector asks the cache when it is asked.
type fillingCollector func() (fills, readers int)

var (
	fillsRunning = prometheus.NewDesc("entrepot_fills_running", "Downloads into the cache that are under way.", nil, nil)
	fillReaders  = prometheus.NewDesc("entrepot_fill_followers", "Clients that read along with these downloads.", nil, nil)
)

// Describe is a part of prometheus.Collector.
func (c fillingCollector) Describe(ch chan<- *prometheus.Desc) {
	ch <- fillsRunning
	ch <- fillReaders
}

// Collect is a part of prometheus.Collector.
func (c fillingCollector) Collect(ch chan<- prometheus.Metric) {
	fills, readers := c()
	ch <- prometheus.MustNewConstMetric(fillsRunning, prometheus.GaugeValue, float64(fills))
	ch <- prometheus.MustNewConstMetric(fillReaders, prometheus.GaugeValue, float64(readers))
}

// A connectionCollector asks the listener when it is asked.
type connectionCollector func() Connections

var (
	connectionsOpen   = prometheus.NewDesc("entrepot_connections", "Connections of clients that are open.", nil, nil)
	connectionsClosed = prometheus.NewDesc("entrepot_connections_closed_total", "Connections of clients that we closed to stay within limits: shed while they waited, or refused since their address had too many.", []string{"reason"}, nil)
)

// Describe is a part of prometheus.Collector.
func (c connectionCollector) Describe(ch chan<- *prometheus.Desc) {
	ch <- connectionsOpen
	ch <- connectionsClosed
}

// Collect is a part of prometheus.Collector.
func (c connectionCollector) Collect(ch chan<- prometheus.Metric) {
	n := c()
	ch <- prometheus.MustNewConstMetric(connectionsOpen, prometheus.GaugeValue, float64(n.Open))
	ch <- prometheus.MustNewConstMetric(connectionsClosed, prometheus.CounterValue, float64(n.Shed), "shed")
	ch <- prometheus.MustNewConstMetric(connectionsClosed, prometheus.CounterValue, float64(n.Refused), "refused")
}
