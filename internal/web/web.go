// Package web serves the admin address: health, readiness, metrics, and a page
// that says what runs here.
//
//	m := web.NewMetrics(web.MetricsConfig{Upstreams: []string{"docker.io"}})
//	http.Serve(l, web.Handler(web.Config{Metrics: m, Ready: ready}))
package web

import (
	"bytes"
	_ "embed"
	"html/template"
	"io"
	"net/http"
)

// A Config says what the admin address shows.
type Config struct {
	Metrics *Metrics     // needed
	Ready   func() error // why requests cannot be served; nil, or a nil error, means that they can
	Page    func() Page  // what the page at / shows; nil means an empty one
}

// A Page is what the page at / shows.
type Page struct {
	Version   string
	Registry  string // the URL that clients use
	Storage   string
	Upstreams []Upstream
	Hosted    []string // patterns
	Pools     []Pool
}

// An Upstream is a line of the page.
type Upstream struct {
	Name    string
	URL     string // "" for a wildcard
	Default bool
}

// A Pool is a part of the store.
type Pool struct {
	Name  string // "cache", "pushed"
	Bytes int64
	Blobs int64
}

//go:embed page.html
var pageSource string

// Handler returns the admin address's handler. It is safe for concurrent use.
// The paths are /healthz (the process lives), /readyz (the store can be
// served; the state of upstreams has no part in it), /metrics and /.
func Handler(cfg Config) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "ok\n") })
	mux.HandleFunc("GET /readyz", cfg.readyz)
	mux.Handle("GET /metrics", cfg.Metrics.handler())
	mux.HandleFunc("GET /{$}", cfg.page(template.Must(template.New("page").Parse(pageSource))))
	return mux
}

func (cfg Config) readyz(w http.ResponseWriter, _ *http.Request) {
	if cfg.Ready != nil {
		if err := cfg.Ready(); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
	}
	io.WriteString(w, "ok\n")
}

func (cfg Config) page(t *template.Template) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		var p Page
		if cfg.Page != nil {
			p = cfg.Page()
		}
		var b bytes.Buffer
		if err := t.Execute(&b, p); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
		w.Write(b.Bytes())
	}
}
