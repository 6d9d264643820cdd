package remote

import (
	"cmp"
	"context"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Connections that are kept for one host. A pull asks for all layers of an
// image at once, and images of more than 64 layers are rare.
const (
	idlePerHost = 64
	idleInAll   = 512
	idleFor     = 60 * time.Second
	readBuffer  = 16 << 10  // bytes; whoever reads more at once reads past it
	writeBuffer = 64 << 10  // bytes, of blobs
	maxHeaders  = 256 << 10 // bytes
)

// wires are the two transports. There is a pair with the dial guard and a pair
// without: were there one, a connection that was dialled for an endpoint that
// may be private would be reused for one that may not.
type wires struct {
	allowPrivate bool
	book         *addressBook
	// api carries manifests and tokens, over HTTP/2 where the server has it.
	api *http.Transport
	// blob carries blobs, over HTTP/1.1: HTTP/2 puts all streams on one
	// connection and one window (golang/go#47840).
	blob *http.Transport

	proxies sync.Map // :: host:port → struct{}; the proxies in use, which may be anywhere

	active  atomic.Int64 // requests under way, with their bodies
	retired atomic.Bool  // nothing new is meant to come: idle connections are of no use
}

func newWires(cfg ClientConfig, book *addressBook, allowPrivate bool) *wires {
	w := &wires{allowPrivate: allowPrivate, book: book}
	w.api, w.blob = w.transport(cfg, readBuffer), w.transport(cfg, writeBuffer)
	w.api.Protocols = new(http.Protocols)
	w.api.Protocols.SetHTTP1(true)
	w.api.Protocols.SetHTTP2(true)
	// A connection that went dead is found by a ping, before the requests on
	// it time out one by one.
	w.api.HTTP2 = &http.HTTP2Config{SendPingTimeout: 15 * time.Second, PingTimeout: 10 * time.Second}
	w.blob.Protocols = new(http.Protocols)
	w.blob.Protocols.SetHTTP1(true)
	return w
}

func (w *wires) transport(cfg ClientConfig, writes int) *http.Transport {
	t := &http.Transport{
		Proxy:                  w.proxy(cfg.Proxy),
		DialContext:            w.dial(cfg),
		TLSHandshakeTimeout:    cmp.Or(cfg.TLSTimeout, defaultTLSTimeout),
		DisableCompression:     true, // content is hashed as it comes (decisions, 6)
		MaxIdleConns:           idleInAll,
		MaxIdleConnsPerHost:    idlePerHost,
		IdleConnTimeout:        idleFor,
		MaxResponseHeaderBytes: maxHeaders,
		ReadBufferSize:         readBuffer,
		WriteBufferSize:        writes,
	}
	if cfg.TLS != nil {
		t.TLSClientConfig = cfg.TLS.Clone()
	}
	return t
}

// proxy wraps the choice of a proxy: it remembers the proxies, for the guard
// at the dialer to let them pass, and refuses literal targets that the dialer
// will not see.
func (w *wires) proxy(choose func(*http.Request) (*url.URL, error)) func(*http.Request) (*url.URL, error) {
	if choose == nil {
		choose = http.ProxyFromEnvironment
	}
	return func(req *http.Request) (*url.URL, error) {
		p, err := choose(req)
		if p == nil || err != nil {
			return p, err
		}
		if err := guard(hostPort(req.URL), w.allowPrivate); err != nil {
			return nil, err
		}
		w.proxies.Store(hostPort(p), struct{}{})
		return p, nil
	}
}

func (w *wires) dial(cfg ClientConfig) func(ctx context.Context, network, address string) (net.Conn, error) {
	var plain net.Dialer
	guarded := net.Dialer{Control: func(_, address string, _ syscall.RawConn) error {
		return guard(address, w.allowPrivate)
	}}
	resolver := cmp.Or(cfg.Resolver, net.DefaultResolver)
	to := dialer{book: w.book, now: cfg.Now, timeout: cmp.Or(cfg.DialTimeout, defaultDialTimeout),
		lookup: func(ctx context.Context, host string) ([]netip.Addr, error) {
			return resolver.LookupNetIP(ctx, "ip", host)
		}}
	toProxy, toGuarded := to, to
	toProxy.connect, toGuarded.connect = plain.DialContext, guarded.DialContext
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		_, isProxy := w.proxies.Load(strings.ToLower(address))
		if cfg.Dial != nil {
			if err := guard(address, w.allowPrivate || isProxy); err != nil {
				return nil, err
			}
			return cfg.Dial(ctx, network, address)
		}
		if isProxy {
			return toProxy.DialContext(ctx, network, address)
		}
		return toGuarded.DialContext(ctx, network, address)
	}
}

// of returns the transport for a kind of request.
func (w *wires) of(k Kind) *http.Transport {
	if k == KindBlob || k == KindUpload {
		return w.blob
	}
	return w.api
}

// begin notes that a request is under way, until end.
func (w *wires) begin() { w.active.Add(1) }

// end notes that a request is over, and its connection idle or closed. Whoever
// of end and retire comes second sees the other: no idle connection is left.
func (w *wires) end() {
	if w.active.Add(-1) == 0 && w.retired.Load() {
		w.closeIdle()
	}
}

// retire closes idle connections, now and whenever no request is under way.
func (w *wires) retire() {
	w.retired.Store(true)
	w.closeIdle()
}

func (w *wires) closeIdle() {
	w.api.CloseIdleConnections()
	w.blob.CloseIdleConnections()
}

// hostPort returns host and port of u, the port of the scheme where u names
// none, in lower case.
func hostPort(u *url.URL) string {
	port := u.Port()
	if port == "" {
		switch u.Scheme {
		case "https":
			port = "443"
		case "socks5", "socks5h":
			port = "1080"
		default:
			port = "80"
		}
	}
	return net.JoinHostPort(strings.ToLower(u.Hostname()), port)
}
