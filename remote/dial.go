package remote

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"
)

const (
	// apart is how long an address may take to connect before the next one is
	// tried beside it (RFC 8305, 5: "Connection Attempt Delay").
	apart = 250 * time.Millisecond
	// lookupPatience is how long a lookup may take where the addresses of before
	// are known.
	lookupPatience = 300 * time.Millisecond
	// keepNames is how long the addresses of a name are good for, while it cannot
	// be resolved.
	keepNames = time.Hour
	// avoidFor is how long an address comes last that did not connect, or over
	// which nothing came in time twice (spec/reliability.md, 1, "DNS/IPv6").
	avoidFor = 5 * time.Minute

	maxNames     = 1024
	maxAddresses = 16 // of one name that are tried
)

// An address book is what a client knows of names and addresses, so that a dead
// address or a resolver that fails costs its time once and not each time. It
// lets nothing pass: what is dialled is checked when it is dialled.
type addressBook struct {
	mu      sync.Mutex // guards what follows
	names   map[string]nameEntry
	avoid   map[netip.Addr]time.Time // :: address → until when
	silence map[netip.Addr]int       // :: address → how often nothing came in time, in a row
}

// A nameEntry is what a name was.
type nameEntry struct {
	all  []netip.Addr
	good netip.Addr // that connected last
	at   time.Time  // when it did
}

// A dialer connects to names: to one address after the other, a little apart or
// as soon as one fails, and to that first which worked before.
type dialer struct {
	book    *addressBook
	now     func() time.Time
	timeout time.Duration // of all of it, the lookup too
	lookup  func(ctx context.Context, host string) ([]netip.Addr, error)
	connect func(ctx context.Context, network, address string) (net.Conn, error) // to an address; holds the guard
}

// DialContext is as that of net.Dialer.
func (d *dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	own, cancel := context.WithTimeout(ctx, d.timeout)
	defer cancel()
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: network, Err: err}
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return d.connect(own, network, address)
	}
	all, err := d.resolve(own, host)
	if err != nil {
		return nil, err
	}
	c, at, err := d.race(own, network, port, d.book.order(host, all, d.now()))
	if err != nil && own.Err() != nil && ctx.Err() == nil {
		return nil, &net.OpError{Op: "dial", Net: network, Err: context.DeadlineExceeded}
	}
	if err == nil {
		d.book.worked(host, all, at, d.now())
	}
	return c, err
}

// resolve returns the addresses of a name; those of before where it cannot be
// resolved, or not soon.
func (d *dialer) resolve(ctx context.Context, host string) ([]netip.Addr, error) {
	before := d.book.before(host, d.now())
	type answer struct {
		all []netip.Addr
		err error
	}
	done := make(chan answer, 1)
	go func() { // ends with ctx
		all, err := d.lookup(ctx, host)
		done <- answer{all, err}
	}()
	var patience <-chan time.Time
	if before != nil {
		t := time.NewTimer(lookupPatience)
		defer t.Stop()
		patience = t.C
	}
	select {
	case got := <-done:
		if (got.err != nil || len(got.all) == 0) && before != nil {
			return before, nil
		}
		if got.err == nil && len(got.all) == 0 {
			got.err = &net.DNSError{Err: "no addresses", Name: host, IsNotFound: true}
		}
		return got.all, got.err
	case <-patience:
		return before, nil
	case <-ctx.Done():
		return nil, &net.DNSError{Err: "no answer in time", Name: host, IsTimeout: true}
	}
}

// An end is what became of an address.
type end struct {
	conn net.Conn
	at   netip.Addr
	err  error
}

// race connects to the first address that takes it.
func (d *dialer) race(ctx context.Context, network, port string, all []netip.Addr) (net.Conn, netip.Addr, error) {
	own, cancel := context.WithCancel(ctx)
	ends := make(chan end, len(all))
	begun, over := 0, 0
	defer func() {
		cancel()
		for range begun - over {
			if e := <-ends; e.err == nil { // at once, as their context has ended
				e.conn.Close()
			}
		}
	}()
	next := time.NewTimer(0)
	defer next.Stop()
	var failed error
	for over < len(all) {
		select {
		case <-next.C:
			if begun < len(all) {
				at := all[begun]
				begun++
				go func() {
					c, err := d.connect(own, network, net.JoinHostPort(at.String(), port))
					ends <- end{c, at, err}
				}()
				next.Reset(apart)
			}
		case e := <-ends:
			over++
			if e.err == nil {
				d.book.passed(all[:begun], e.at, d.now())
				return e.conn, e.at, nil
			}
			failed = clearer(failed, e.err)
			d.book.shun(e.at, d.now())
			next.Reset(0)
		}
	}
	return nil, netip.Addr{}, failed
}

// clearer returns the error that says more: of addresses that were refused by
// the guard and others that failed, one that failed.
func clearer(a, b error) error {
	if _, guarded := errors.AsType[*GuardError](a); a == nil || guarded {
		return b
	}
	return a
}

// before returns the addresses that a name had, nil where none is known to have
// worked lately.
func (b *addressBook) before(host string, now time.Time) []netip.Addr {
	b.mu.Lock()
	defer b.mu.Unlock()
	e, ok := b.names[host]
	if since := now.Sub(e.at); !ok || since < 0 || since > keepNames {
		return nil
	}
	return e.all
}

// order returns addresses in the order in which they are tried: that which
// worked last first, those to be avoided last, and the others with their
// families in turn.
func (b *addressBook) order(host string, all []netip.Addr, now time.Time) []netip.Addr {
	b.mu.Lock()
	defer b.mu.Unlock()
	good := b.names[host].good
	rank := func(a netip.Addr) int {
		switch {
		case now.Before(b.avoid[a]):
			return 2
		case a == good:
			return 0
		}
		return 1
	}
	sorted := alternate(all)
	slices.SortStableFunc(sorted, func(x, y netip.Addr) int { return rank(x) - rank(y) })
	return sorted[:min(len(sorted), maxAddresses)]
}

// alternate returns addresses with their families in turn, beginning with that
// of the first (RFC 8305, 4).
func alternate(all []netip.Addr) []netip.Addr {
	var first, second, out []netip.Addr
	for _, a := range all {
		if a = a.Unmap(); a.Is4() == all[0].Unmap().Is4() {
			first = append(first, a)
		} else {
			second = append(second, a)
		}
	}
	for i := range max(len(first), len(second)) {
		out = append(out, first[min(i, len(first)):min(i+1, len(first))]...)
		out = append(out, second[min(i, len(second)):min(i+1, len(second))]...)
	}
	return out
}

// worked notes that a name could be reached, and where.
func (b *addressBook) worked(host string, all []netip.Addr, at netip.Addr, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.names == nil {
		b.names = make(map[string]nameEntry)
	}
	if len(b.names) >= maxNames {
		clear(b.names) // what is in use shows itself again
	}
	b.names[host] = nameEntry{all, at, now}
	delete(b.avoid, at)
}

// passed notes that others than at were tried as well, and did not connect.
func (b *addressBook) passed(tried []netip.Addr, at netip.Addr, now time.Time) {
	for _, a := range tried {
		if a != at {
			b.shun(a, now)
		}
	}
}

// shun has an address come last for a while.
func (b *addressBook) shun(a netip.Addr, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.avoid == nil {
		b.avoid = make(map[netip.Addr]time.Time)
	}
	if len(b.avoid) >= maxNames {
		clear(b.avoid)
	}
	b.avoid[a] = now.Add(avoidFor)
}

// heard notes how a request over a connection to an address went: an address
// over which nothing came in time twice in a row connects, but lets nothing
// larger pass, as behind a path whose packets are smaller than is said.
func (b *addressBook) heard(address string, class Class, now time.Time) {
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return
	}
	a := to.Addr().Unmap()
	b.mu.Lock()
	silent := class == ClassTimeout || class == ClassStall
	switch {
	case !silent:
		delete(b.silence, a)
	case b.silence == nil || len(b.silence) >= maxNames:
		b.silence = map[netip.Addr]int{a: 1}
	default:
		b.silence[a]++
	}
	again := b.silence[a] >= 2
	b.mu.Unlock()
	if again && silent {
		b.shun(a, now)
	}
}
