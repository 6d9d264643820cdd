package cli

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/entrepot/entrepot/internal/edge"
	"github.com/entrepot/entrepot/internal/web"
	"github.com/entrepot/entrepot/registry"
	"github.com/entrepot/entrepot/store"
	"golang.org/x/sync/errgroup"
)

// A server is the rooms put together: requests go through the registry to the
// proxy or the vault, misses through the mirror to the remote endpoints.
type server struct {
	cfg      config
	log      *slog.Logger
	access   *accessLog // nil for none
	metrics  *web.Metrics
	store    *store.Store
	archives *shelves
	pull     *pull
	registry *http.Server
	admin    *http.Server
	cert     *edge.Certificate // nil for plain HTTP
	ledger   *ledger           // of accounts' files
	lodge    lodge
	clients  clientTLS
	gate     *edge.Gate
	draining atomic.Bool
	probes   atomic.Int64 // how often somebody has asked whether we are ready

	canary     canary
	notify     notifier       // of the service manager
	background sync.WaitGroup // work on the store that ends with run's context

	url string // that clients use; set before run
}

// Limits of the registry's listener. There is no time limit for a body in
// either direction: a slow client is served as long as it reads, see edge.Limits.
const (
	readHeaderTimeout = 10 * time.Second
	idleTimeout       = 120 * time.Second
	maxHeaderBytes    = 32 << 10
	maxStreams        = 100 // of a connection of HTTP/2
)

// ballastSize is memory that is allocated and never touched, so that it is never
// resident: it lets that much more garbage gather before the collector runs. The
// live heap of a mirror is a few MiB, which under load it would go through
// dozens of times a second (measured in bench/: an eighth of the processor time
// of a warm manifest).
const ballastSize = 16 << 20

// newServer opens the store and puts the rooms together. Nothing is asked of
// any upstream. The server is closed by run. Requests may be nil: then the log
// has a line for what fails here, and at Debug for all else.
func newServer(cfg config, log *slog.Logger, requests *accessLog) (*server, error) {
	s := &server{cfg: cfg, log: log, access: requests, ledger: newLedger(cfg.upstreams), gate: edge.NewGate(cfg.conns)}
	tlsConfig, err := s.loadTLS()
	if err != nil {
		return nil, err
	}
	cfg.steering.warn(log)
	if s.archives, err = openShelves(cfg.archives); err != nil {
		return nil, err
	}
	s.metrics = web.NewMetrics(web.MetricsConfig{
		Upstreams: s.names(), Pools: s.pools, Broken: s.broken, Connections: s.connections, Filling: s.filling, Version: readVersion().Version,
	})
	s.store, err = store.Open(cfg.storage, store.Config{Log: log, Sparse: cfg.sparse, Limits: cfg.limits, Scrub: cfg.scrub, Fresh: cfg.fresh, Observe: observer{metrics: s.metrics}.store})
	if err != nil {
		return nil, errors.Join(storeError(err, cfg.storage), s.archives.close())
	}
	handler, err := s.assemble()
	if err != nil {
		return nil, errors.Join(err, s.store.Close(), s.archives.close())
	}
	s.canary = canary{check: s.readStore, limit: canaryLimit}
	s.registry = s.bounded(edge.Streams(cfg.conns.Stall, s.metrics.InFlight(s.lettingGo(handler))))
	s.registry.TLSConfig, s.registry.ConnState = tlsConfig, s.gate.States
	s.admin = s.bounded(web.Handler(web.Config{Metrics: s.metrics, Ready: s.ready, Page: s.page}))
	return s, nil
}

// bounded returns a server for a handler within our limits.
func (s *server) bounded(h http.Handler) *http.Server {
	return &http.Server{
		Handler:           h,
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: maxStreams},
		ReadHeaderTimeout: readHeaderTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
}

// assemble puts the rooms together.
func (s *server) assemble() (http.Handler, error) {
	instance := rand.Text() // so that a request of ours that comes back to us is refused
	o := observer{s.metrics, newAllowance(time.Now, budgets(s.cfg.upstreams)), s.access}
	door, err := s.openDoor(s.cfg, nil)
	if err != nil {
		return nil, err
	}
	if s.pull, err = newPull(s.cfg, s.store.Cache(), o, instance, s.log); err != nil {
		return nil, err
	}
	h, err := registry.New(registry.Config{
		Routes:      s.routes(),
		Hosted:      s.store.Vault(),
		Proxied:     s.pull.proxy,
		Archived:    s.archives,
		Access:      s.cfg.policy,
		Door:        door,
		Passthrough: passthrough(s.cfg.upstreams),
		InstanceID:  instance,
		Stall:       s.cfg.conns.Stall,
		Log:         s.requestLog(),
		Observe:     o.registry,
	})
	if err != nil {
		return nil, err
	}
	s.lodge.open(h, s.cfg.policy, door)
	return &s.lodge, nil
}

func (s *server) routes() registry.Routes {
	r := registry.Routes{
		// Never nil: nil would stand for the registry's own default.
		Hosted:   append([]string{}, s.cfg.hosted...),
		External: s.cfg.externalHosts,
		Archived: s.archives.names(),
	}
	for _, u := range s.cfg.upstreams {
		r.Upstreams = append(r.Upstreams, registry.Upstream{Name: u.name, Aliases: u.aliases, Default: u.isDefault, PlainHTTP: u.plainHTTP()})
	}
	return r
}

func (s *server) names() []string {
	var names []string
	for _, u := range s.cfg.upstreams {
		names = append(names, u.name)
	}
	for _, n := range s.archives.names() {
		names = append(names, n.Host)
	}
	return names
}

func (s *server) pools() []web.Pool {
	u := s.store.Usage()
	return []web.Pool{
		{Name: "cache", Bytes: u.Cache.Bytes, Blobs: u.Cache.Blobs},
		{Name: "pushed", Bytes: u.Vault.Bytes, Blobs: u.Vault.Blobs},
	}
}

// filling tells how many downloads run, and who reads along.
func (s *server) filling() (fills, readers int) { return s.pull.proxy.Filling() }

// broken names the upstreams that are not asked.
func (s *server) broken() []string { return s.pull.proxy.Broken() }

func (s *server) connections() web.Connections {
	c := s.gate.Counts()
	return web.Connections{Open: c.Open, Shed: c.Shed, Refused: c.Refused}
}

// run serves until ctx ends, then drains and closes everything. Before that it
// calls release, which gives signals their usual effect back: a second one ends
// the process at once. Until then it reloads as r says.
func (s *server) run(ctx context.Context, release func(), l listeners, r reloader) error {
	ballast := make([]byte, ballastSize)
	defer runtime.KeepAlive(ballast)
	signal := ctx
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.serveRegistry(l.registry) })
	g.Go(func() error { return ignoreClosed(s.admin.Serve(l.admin)) })
	g.Go(func() error { s.followSignals(ctx, r); return nil })
	s.background.Go(func() { s.collectAlways(ctx) })
	s.background.Go(func() { s.keepWarm(ctx) })
	s.background.Go(func() { s.followCredentials(ctx) })
	g.Go(func() error { s.followCertificate(ctx); return nil })
	s.background.Go(func() { s.notify.keepAlive(ctx, s.canary.ask) })
	s.notify.ready()
	g.Go(func() error {
		<-ctx.Done() // a signal, or a listener that broke
		release()
		return s.shutdown(signal.Err() != nil)
	})
	if err := g.Wait(); err != nil {
		return failure(err, "")
	}
	return nil
}

func (s *server) serveRegistry(l net.Listener) error {
	if tcp, ok := l.(*net.TCPListener); ok {
		l = s.gate.Listener(tcp)
	}
	if s.registry.TLSConfig != nil {
		return ignoreClosed(s.registry.ServeTLS(l, "", ""))
	}
	return ignoreClosed(s.registry.Serve(l))
}

func ignoreClosed(err error) error {
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}
