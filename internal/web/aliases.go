package web

import "github.com/prometheus/client_golang/prometheus"

// aliases are counters by the names that distribution v3 has for them as a
// pull-through cache (registry/proxy/proxymetrics.go), so that dashboards which
// were made for it go on working. They count what it counts: blobs and manifests
// that clients were given, whether they were here, and their bytes on both sides.
type aliases struct {
	manifest, blob alias
}

// An alias counts one type of content.
type alias struct {
	requests, hits, misses, pulledBytes, pushedBytes prometheus.Counter
}

func (a *aliases) register(r prometheus.Registerer) {
	name := func(name, help string) *prometheus.CounterVec {
		return counters(r, "registry_proxy_"+name+"_total", help+", as distribution counts it.", "type")
	}
	requests := name("requests", "Blobs and manifests of upstreams that clients were given")
	hits := name("hits", "Blobs and manifests of upstreams that were here")
	misses := name("misses", "Blobs and manifests of upstreams that were not here")
	pulled := name("pulled_bytes", "Bytes of blobs and manifests that upstreams sent")
	pushed := name("pushed_bytes", "Bytes of blobs and manifests of upstreams that clients were sent")
	of := func(kind string) alias {
		return alias{requests.WithLabelValues(kind), hits.WithLabelValues(kind), misses.WithLabelValues(kind),
			pulled.WithLabelValues(kind), pushed.WithLabelValues(kind)}
	}
	a.manifest, a.blob = of("manifest"), of("blob")
}

// of returns the counters of a type, nil where distribution has none.
func (a *aliases) of(kind string) *alias {
	switch kind {
	case "manifest":
		return &a.manifest
	case "blob":
		return &a.blob
	}
	return nil
}

// request counts what a client was given.
func (a *aliases) request(r *Request) {
	c := a.of(r.Op)
	if c == nil || r.Code/100 != 2 || r.Result == "" {
		return
	}
	c.requests.Inc()
	c.pushedBytes.Add(float64(r.Bytes))
	switch r.Result {
	case "hit", "revalidated", "stale":
		c.hits.Inc()
	default:
		c.misses.Inc()
	}
}

func (a *aliases) pulled(kind string, bytes int64) {
	if c := a.of(kind); c != nil {
		c.pulledBytes.Add(float64(bytes))
	}
}

// saved reports whether an answer's bytes came from nobody but us.
func saved(result string) bool {
	switch result {
	case "hit", "revalidated", "stale", "coalesced":
		return true
	}
	return false
}
