package remote

import (
	"cmp"
	"crypto/tls"
	"time"
)

// A TransportConfig says how hosts are spoken to, where that differs from what
// the [ClientConfig] says. The zero value is like the client.
type TransportConfig struct {
	TLS         *tls.Config   // nil means the client's; cloned
	DialTimeout time.Duration // until a connection stands; 0 means the client's
}

// A Transport holds connections of its own, for endpoints that need other
// certificates than the rest of a client's, or that are there for a shorter
// time. Its methods are safe for concurrent use. Make one with
// [Client.Transport].
type Transport struct {
	client *Client
	strict *wires // with the dial guard
	local  *wires // for what may be private
}

// Transport returns a Transport without connections. Whoever made it closes
// it; [Client.Close] closes those that are left.
func (c *Client) Transport(cfg TransportConfig) *Transport {
	own := c.cfg
	own.Now = c.now
	if cfg.TLS != nil {
		own.TLS = cfg.TLS
	}
	own.DialTimeout = cmp.Or(cfg.DialTimeout, own.DialTimeout)
	t := &Transport{client: c, strict: newWires(own, &c.book, false), local: newWires(own, &c.book, true)}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		t.retire()
		return t
	}
	if c.transports == nil {
		c.transports = make(map[*Transport]struct{})
	}
	c.transports[t] = struct{}{}
	return t
}

// Close closes idle connections. Requests that are under way go on, and so do
// endpoints that still use the Transport; a connection is then closed as soon
// as nothing is under way. It always returns nil.
func (t *Transport) Close() error {
	t.client.mu.Lock()
	delete(t.client.transports, t)
	t.client.mu.Unlock()
	t.retire()
	return nil
}

func (t *Transport) retire() {
	t.strict.retire()
	t.local.retire()
}

// wires returns the connections to what may be private, or to what may not.
func (t *Transport) wires(private bool) *wires {
	if private {
		return t.local
	}
	return t.strict
}
