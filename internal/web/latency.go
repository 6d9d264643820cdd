package web

import (
	"maps"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// latency counts how long clients waited for the header of an answer.
type latency struct {
	seconds *prometheus.HistogramVec
	mu      sync.Mutex // guards the replacing of all
	all     atomic.Pointer[map[latencyKey]prometheus.Observer]
}

type latencyKey struct{ op, result string }

func (l *latency) register(r prometheus.Registerer) {
	l.seconds = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "entrepot_first_byte_seconds", Help: "How long answers took to begin, of requests that were answered well.",
		Buckets: []float64{.0005, .002, .01, .05, .2, 1, 5, 20},
	}, []string{"op", "result"})
	l.all.Store(&map[latencyKey]prometheus.Observer{})
	r.MustRegister(l.seconds)
}

// observe notes a request. As with a family, sets of labels are few, so that
// finding one costs no lock.
func (l *latency) observe(r *Request) {
	if r.Code/100 != 2 || r.First <= 0 {
		return
	}
	k := latencyKey{r.Op, r.Result}
	o, ok := (*l.all.Load())[k]
	if !ok {
		o = l.add(k)
	}
	o.Observe(r.First.Seconds())
}

func (l *latency) add(k latencyKey) prometheus.Observer {
	l.mu.Lock()
	defer l.mu.Unlock()
	next := maps.Clone(*l.all.Load())
	next[k] = l.seconds.WithLabelValues(k.op, k.result)
	l.all.Store(&next)
	return next[k]
}
