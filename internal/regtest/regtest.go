// Package regtest is a registry that misbehaves on request and keeps a log of
// the wire. It is the test kit of the whole product: every bug that a registry
// had becomes a knob here and a test elsewhere.
//
// A [Shelf] holds content, a [Registry] serves a shelf over HTTP on loopback,
// and a [Memory] serves one as an oci.Reader without any socket, for tests of
// time in a testing/synctest bubble. Both are told what to do wrong, and when,
// by rules, and both write what they were asked into a [Wire].
//
//	reg := regtest.New(t, regtest.Config{})
//	img := reg.AddImage("library/alpine", regtest.Image{Layers: []int64{1 << 20}}, "3.20")
//	reg.On(regtest.Match{Kind: regtest.Blob, Times: 1}, regtest.CutAt(1000))
//	… pull from reg.URL() …
//	reg.BlobBytes(img.Layers[0].Digest) // 1 << 20: resumed, nothing sent twice
package regtest

import (
	"crypto/x509"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"
	"time"
)

// Config says what a [Registry] is. The zero value is an empty registry over
// plain HTTP.
type Config struct {
	Shelf *Shelf           // its content, which may be shared with others; nil means an empty one
	TLS   bool             // HTTPS, with a certificate that RootCAs verifies
	HTTP2 bool             // with TLS: HTTP/2 too; a cut is then a reset stream
	Page  int              // entries in a page of tags, repositories and referrers; 0 means all in one
	Now   func() time.Time // decides when tokens and signatures expire; nil means time.Now
}

// A Registry is a registry on loopback, and beside it a second server, on
// another port, that plays the CDN and the token server. Its methods are safe
// for concurrent use. It stops with its test.
type Registry struct {
	*Shelf
	*Wire

	t       testing.TB
	cfg     Config
	faults  rules[Fault]
	main    *server
	side    *server
	stopped chan struct{} // closed when the test ends

	mu          sync.Mutex // guards what follows
	auth        Auth
	tokens      map[string]token  // :: token → what it is good for
	cdn         CDN               // the zero value: blobs are served here
	links       int               // generation of signed links; older ones have expired
	uploads     map[string][]byte // :: session → bytes received so far
	serial      int               // of tokens and sessions
	noReferrers bool              // the referrers API is not there
	noMounts    bool              // nothing is mounted
	checks      bool              // manifests are refused whose parts are not there
}

// New starts a registry.
func New(t testing.TB, cfg Config) *Registry {
	t.Helper()
	if cfg.Shelf == nil {
		cfg.Shelf = NewShelf()
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	r := &Registry{Shelf: cfg.Shelf, Wire: new(Wire), t: t, cfg: cfg, stopped: make(chan struct{}),
		tokens: map[string]token{}, uploads: map[string][]byte{}}
	r.main = &server{t: t, cfg: cfg, handler: http.HandlerFunc(r.serve), stopped: r.stopped}
	r.side = &server{t: t, cfg: cfg, handler: http.HandlerFunc(r.serveSide), stopped: r.stopped}
	r.main.open()
	r.side.open()
	t.Cleanup(func() {
		close(r.stopped)
		r.main.close()
		r.side.close()
	})
	return r
}

// URL returns scheme, host and port of the registry, without a slash.
func (r *Registry) URL() string { return r.main.url() }

// Host returns host and port of the registry.
func (r *Registry) Host() string { return hostOf(r.main.url()) }

// SideURL returns scheme, host and port of the second server.
func (r *Registry) SideURL() string { return r.side.url() }

// SideHost returns host and port of the second server.
func (r *Registry) SideHost() string { return hostOf(r.side.url()) }

// RootCAs verifies the certificate of both servers. Without TLS it is empty.
func (r *Registry) RootCAs() *x509.CertPool {
	pool := x509.NewCertPool()
	if cert := r.main.certificate(); cert != nil {
		pool.AddCert(cert)
	}
	return pool
}

// On adds a rule: requests that match get the fault. Of several rules the
// first that matches counts, in the order in which they were added. A request
// that fails authentication is challenged and meets no rule.
func (r *Registry) On(m Match, f Fault) *Rule { return r.faults.add(m, f) }

// Clear removes every rule and lets go what they hold.
func (r *Registry) Clear() { r.faults.clear() }

// Down closes the listener and every connection: connections are refused, as
// of an upstream that is down at start or goes away (reliability 5, rows 6 to
// 8).
func (r *Registry) Down() { r.main.close() }

// Up listens again, on the same port.
func (r *Registry) Up() { r.main.open() }

// BlackHole accepts connections from now on, and neither reads from them nor
// answers, until Up. Existing connections are closed. See [Unreachable] for a
// host that does not even accept.
func (r *Registry) BlackHole() { r.main.swallow() }

func hostOf(rawURL string) string {
	u, err := url.Parse(rawURL)
	if err != nil {
		panic(err) // we made it
	}
	return u.Host
}

// A server is one listener that can close and come back on its port.
type server struct {
	t       testing.TB
	cfg     Config
	handler http.Handler
	stopped chan struct{}

	mu   sync.Mutex // guards what follows
	addr string     // once chosen, kept
	base string     // URL
	cert *x509.Certificate
	http *httptest.Server // nil: not serving
	hole *hole            // nil: no black hole
}

func (s *server) url() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.base
}

func (s *server) certificate() *x509.Certificate {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cert
}

func (s *server) open() {
	s.close()
	s.mu.Lock()
	defer s.mu.Unlock()
	h := httptest.NewUnstartedServer(s.handler)
	h.Listener.Close()
	h.Listener = s.listen()
	h.EnableHTTP2 = s.cfg.HTTP2
	h.Config.ErrorLog = log.New(io.Discard, "", 0) // broken handshakes are what some tests are about
	if s.cfg.TLS {
		h.StartTLS()
	} else {
		h.Start()
	}
	s.addr, s.base, s.cert, s.http = h.Listener.Addr().String(), h.URL, h.Certificate(), h
}

func (s *server) swallow() {
	s.close()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hole = newHole(s.listen())
}

func (s *server) listen() net.Listener {
	addr := s.addr
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		s.t.Fatalf("regtest: listen: %v", err)
	}
	return l
}

func (s *server) close() {
	s.mu.Lock()
	h, hole := s.http, s.hole
	s.http, s.hole = nil, nil
	s.mu.Unlock()
	if h != nil {
		h.CloseClientConnections()
		h.Close()
	}
	if hole != nil {
		hole.close()
	}
}

// A hole accepts connections and lets them wait.
type hole struct {
	l    net.Listener
	done sync.WaitGroup

	mu    sync.Mutex // guards conns
	conns []net.Conn
}

func newHole(l net.Listener) *hole {
	h := &hole{l: l}
	h.done.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			h.mu.Lock()
			h.conns = append(h.conns, c)
			h.mu.Unlock()
		}
	})
	return h
}

func (h *hole) close() {
	h.l.Close()
	h.done.Wait()
	for _, c := range h.conns {
		c.Close()
	}
}
