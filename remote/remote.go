// Package remote speaks to one registry endpoint over HTTP.
//
// A [Client] holds what a process has once: connections, the pauses that hosts
// asked for, the clock. An [Endpoint] is one registry below one URL; it is an
// [oci.Reader] and an [oci.Writer], and has all further powers of package oci
// but upload sessions.
//
//	c := remote.NewClient(remote.ClientConfig{})
//	defer c.Close()
//	hub, err := c.Endpoint(remote.EndpointConfig{URL: "https://registry-1.docker.io"})
//	m, err := hub.Manifest(ctx, r)
//
// An endpoint is not trusted. Every address is checked when it is dialled
// ([GuardError]), credentials go to the endpoint's own origin and to token
// servers that pass the realm rules and nowhere else, and nothing that an
// endpoint says is believed before its digest is verified.
package remote

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"
)

// The defaults of a ClientConfig (decisions, 4).
const (
	defaultDialTimeout   = 5 * time.Second
	defaultTLSTimeout    = 10 * time.Second
	defaultHeaderTimeout = 20 * time.Second
	defaultUploadTimeout = 5 * time.Minute
	defaultIdleTimeout   = 30 * time.Second
	defaultUserAgent     = "entrepot"
)

// A ClientConfig configures a Client. The zero value works.
type ClientConfig struct {
	Log       *slog.Logger     // nil discards
	Now       func() time.Time // nil is time.Now; used for the ages of tokens and the ends of pauses
	UserAgent string           // "" is "entrepot"

	// InstanceID names this process in the Via header of every request, so
	// that it can recognise its own requests when mirrors form a loop. "" sends
	// no Via.
	InstanceID string

	// Timeouts; 0 means the default. No request has a total one.
	DialTimeout   time.Duration // until a connection stands; default 5 s
	TLSTimeout    time.Duration // until the handshake is done; default 10 s
	HeaderTimeout time.Duration // from the end of the request to the headers of the answer; default 20 s
	UploadTimeout time.Duration // the same for requests that carry content, which registries check before they answer; default 5 min
	IdleTimeout   time.Duration // between two bytes of a body, either way; default 30 s

	Retry Retry

	// Jobs bounds the requests that one host has at once, for each kind of
	// request: the number is found out between 1 and Jobs, and goes down where
	// the host answers 429 or 503. 0 means no bounds.
	Jobs int

	// Observe, if not nil, is told of every request on the wire once it is
	// over: that is, when its body is closed. It is called from many
	// goroutines and must return fast.
	Observe func(Event)

	// Proxy says which proxy a request takes; nil is
	// http.ProxyFromEnvironment. Behind a proxy the dial guard sees the
	// proxy's address, which is allowed, and of the target only literal
	// addresses.
	Proxy func(*http.Request) (*url.URL, error)

	TLS      *tls.Config   // nil means the defaults; cloned
	Resolver *net.Resolver // nil is net.DefaultResolver

	// Dial replaces the dialer and its timeout. The guard then sees the
	// address as asked for, before names are resolved. For tests.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// A Client holds what the endpoints of a process share. Its methods are safe
// for concurrent use. Make one with [NewClient].
type Client struct {
	cfg    ClientConfig
	log    *slog.Logger
	now    func() time.Time
	shared *Transport // of endpoints without one of their own
	pauses pauses
	limits limits
	book   addressBook

	// The life of token requests, which outlive the requests that need them.
	ctx  context.Context
	stop context.CancelFunc

	mu         sync.Mutex // guards what follows, and Add against Wait
	closed     bool
	transports map[*Transport]struct{} // that were not closed yet
	work       sync.WaitGroup
}

// NewClient returns a Client. Whoever made it closes it.
func NewClient(cfg ClientConfig) *Client {
	c := &Client{cfg: cfg, log: cfg.Log, now: cfg.Now, limits: limits{most: cfg.Jobs}}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	if c.now == nil {
		c.now = time.Now
	}
	c.ctx, c.stop = context.WithCancel(context.Background())
	c.shared = c.Transport(TransportConfig{})
	return c
}

// Close ends token requests that are under way and closes idle connections,
// those of the client's Transports too. Bodies that are open stay readable. It
// always returns nil.
func (c *Client) Close() error {
	c.mu.Lock()
	c.closed = true
	left := c.transports
	c.transports = nil
	c.mu.Unlock()
	c.stop()
	c.work.Wait()
	for t := range left {
		t.retire()
	}
	return nil
}

var errClosed = errors.New("the client is closed")

// spawn runs f in a goroutine that Close waits for.
func (c *Client) spawn(f func(context.Context)) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return errClosed
	}
	c.work.Go(func() { f(c.ctx) })
	return nil
}

func (c *Client) headerTimeout(upload bool) time.Duration {
	if upload {
		return cmp.Or(c.cfg.UploadTimeout, defaultUploadTimeout)
	}
	return cmp.Or(c.cfg.HeaderTimeout, defaultHeaderTimeout)
}

func (c *Client) idleTimeout() time.Duration { return cmp.Or(c.cfg.IdleTimeout, defaultIdleTimeout) }
