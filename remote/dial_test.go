package remote

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entrepot/entrepot/internal/regtest"
	"github.com/entrepot/entrepot/oci"
)

// A network is names and addresses for a dialer: what connects, and what does
// not say a word.
type network struct {
	mu     sync.Mutex
	names  map[string][]string      // :: host → addresses; none is NXDOMAIN
	slow   time.Duration            // of a lookup
	dead   map[string]time.Duration // :: address → how long it takes to refuse; 0 is for ever
	dialed []string                 // in order
	open   int                      // connections that nobody has closed
}

func (n *network) lookup(ctx context.Context, host string) ([]netip.Addr, error) {
	n.mu.Lock()
	all, slow := n.names[host], n.slow
	n.mu.Unlock()
	if !sleep(ctx, slow) {
		return nil, ctx.Err()
	}
	if len(all) == 0 {
		return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}
	var addrs []netip.Addr
	for _, a := range all {
		addrs = append(addrs, netip.MustParseAddr(a))
	}
	return addrs, nil
}

func (n *network) connect(ctx context.Context, _, address string) (net.Conn, error) {
	host, _, _ := net.SplitHostPort(address)
	n.mu.Lock()
	n.dialed = append(n.dialed, host)
	wait, dead := n.dead[host]
	n.mu.Unlock()
	if dead && wait == 0 {
		<-ctx.Done()
		return nil, &net.OpError{Op: "dial", Err: ctx.Err()}
	}
	if dead {
		sleep(ctx, wait)
		return nil, &net.OpError{Op: "dial", Err: errors.New("connection refused")}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.open++
	return &countedConn{n: n}, nil
}

type countedConn struct {
	net.Conn
	n *network
}

func (c *countedConn) Close() error {
	c.n.mu.Lock()
	defer c.n.mu.Unlock()
	c.n.open--
	return nil
}

// dialing runs a test with a dialer in a network. The function that it is given
// dials, and returns how long that took and which addresses were tried.
func dialing(t *testing.T, n *network, test func(t *testing.T, dial func() (time.Duration, string, error))) {
	synctest.Test(t, func(t *testing.T) {
		d := &dialer{book: new(addressBook), now: time.Now, timeout: defaultDialTimeout, lookup: n.lookup, connect: n.connect}
		test(t, func() (time.Duration, string, error) {
			n.mu.Lock()
			n.dialed = nil
			n.mu.Unlock()
			start := time.Now()
			c, err := d.DialContext(t.Context(), "tcp", "registry.test:443")
			took := time.Since(start)
			if err == nil {
				c.Close()
			}
			synctest.Wait()
			n.mu.Lock()
			defer n.mu.Unlock()
			if n.open != 0 {
				t.Errorf("%d connections are left open", n.open)
			}
			return took, strings.Join(n.dialed, " "), err
		})
	})
}

// TestFault38BlackHoles: an address that does not say a word, the first of
// several or all of a family, costs less than a second once, and then nothing.
func TestFault38BlackHoles(t *testing.T) {
	for name, tt := range map[string]struct {
		all  []string
		dead []string
	}{
		"IPv6":             {[]string{"2001:db8::1", "2001:db8::2", "192.0.2.1"}, []string{"2001:db8::1", "2001:db8::2"}},
		"the first of two": {[]string{"192.0.2.1", "192.0.2.2"}, []string{"192.0.2.1"}},
		"all but the last": {[]string{"192.0.2.1", "2001:db8::1", "192.0.2.2", "2001:db8::2"}, []string{"192.0.2.1", "2001:db8::1", "192.0.2.2"}},
	} {
		t.Run(name, func(t *testing.T) {
			n := &network{names: map[string][]string{"registry.test": tt.all}, dead: map[string]time.Duration{}}
			for _, a := range tt.dead {
				n.dead[a] = 0
			}
			dialing(t, n, func(t *testing.T, dial func() (time.Duration, string, error)) {
				if took, tried, err := dial(); err != nil || took > time.Second {
					t.Errorf("the first time: %v after %v, tried %s", err, took, tried)
				}
				for range 3 {
					time.Sleep(time.Minute)
					if took, tried, err := dial(); err != nil || took > 0 || strings.Contains(tried, " ") {
						t.Errorf("later: %v after %v, tried %s; want the one that worked alone", err, took, tried)
					}
				}
			})
		})
	}
}

// TestFault38NameFlaps: a name that cannot be resolved any more, or not soon, is
// where it was; one that never was is an error.
func TestFault38NameFlaps(t *testing.T) {
	n := &network{names: map[string][]string{"registry.test": {"192.0.2.1"}}}
	set := func(slow time.Duration, all ...string) {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.slow, n.names["registry.test"] = slow, all
	}
	dialing(t, n, func(t *testing.T, dial func() (time.Duration, string, error)) {
		if _, _, err := dial(); err != nil {
			t.Fatal(err)
		}
		set(0) // NXDOMAIN
		if took, _, err := dial(); err != nil || took > 0 {
			t.Errorf("the name is gone: %v after %v", err, took)
		}
		set(time.Hour, "192.0.2.1")
		if took, _, err := dial(); err != nil || took > time.Second {
			t.Errorf("the resolver does not answer: %v after %v", err, took)
		}
		set(0, "192.0.2.9") // it has moved
		if _, tried, err := dial(); err != nil || tried != "192.0.2.9" {
			t.Errorf("another address: %v, tried %s", err, tried)
		}
		set(0)
		time.Sleep(keepNames + time.Second)
		_, _, err := dial()
		if dns, ok := errors.AsType[*net.DNSError](err); !ok || !dns.IsNotFound {
			t.Errorf("an hour later: %v, want that there is no such host", err)
		}
	})
}

// TestDialFails: what is told of a name with no address that works.
func TestDialFails(t *testing.T) {
	n := &network{names: map[string][]string{"registry.test": {"192.0.2.1", "192.0.2.2"}}, dead: map[string]time.Duration{"192.0.2.1": time.Millisecond, "192.0.2.2": time.Millisecond}}
	dialing(t, n, func(t *testing.T, dial func() (time.Duration, string, error)) {
		took, tried, err := dial()
		if class, _ := classOf(nil, fmt.Errorf("x: %w", err)); class != ClassDial || took > 10*time.Millisecond || tried != "192.0.2.1 192.0.2.2" {
			t.Errorf("refused: %v (%s) after %v, tried %s", err, class, took, tried)
		}
		n.dead = map[string]time.Duration{"192.0.2.1": 0, "192.0.2.2": 0}
		took, _, err = dial()
		if class, _ := classOf(nil, fmt.Errorf("x: %w", err)); class != ClassDial || took != defaultDialTimeout || !timedOut(err) {
			t.Errorf("silent: %v (%s) after %v, want a dial that took too long", err, class, took)
		}
	})
	n = &network{slow: time.Hour}
	dialing(t, n, func(t *testing.T, dial func() (time.Duration, string, error)) {
		took, _, err := dial()
		if class, _ := classOf(nil, fmt.Errorf("x: %w", err)); class != ClassDNS || took != defaultDialTimeout || !timedOut(err) {
			t.Errorf("no resolver: %v (%s) after %v", err, class, took)
		}
	})
}

// TestSilentAddressesAreAvoided: an address that connects, but over which
// nothing came in time twice, comes last for a while.
func TestSilentAddressesAreAvoided(t *testing.T) {
	var b addressBook
	now := time.Unix(1_800_000_000, 0)
	six, four := netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("192.0.2.1")
	all := []netip.Addr{six, four}
	first := func() netip.Addr { return b.order("registry.test", all, now)[0] }
	b.worked("registry.test", all, six, now)
	for _, class := range []Class{ClassTimeout, ClassNone, ClassStall, ClassBroken, ClassTimeout} {
		if b.heard("[2001:db8::1]:443", class, now); first() != six {
			t.Errorf("it is avoided after %q", class)
		}
	}
	if b.heard("[2001:db8::1]:443", ClassStall, now); first() != four {
		t.Error("it is not avoided after two silences in a row")
	}
	if now = now.Add(avoidFor); first() != six {
		t.Error("it is avoided for ever")
	}
	for i := range 3 * maxNames {
		a := netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})
		b.heard(netip.AddrPortFrom(a, 443).String(), ClassStall, now)
		b.shun(a, now)
		b.worked(fmt.Sprint("host", i), all, a, now)
	}
	if len(b.names) > maxNames || len(b.avoid) > maxNames || len(b.silence) > maxNames {
		t.Errorf("%d names, %d and %d addresses are remembered", len(b.names), len(b.avoid), len(b.silence))
	}
}

// TestFault38RealSockets: the same with sockets: the first address of a name
// takes no connection and refuses none, and the guard holds for each of them.
// What is refused by the guard is not dialled, and the next address is.
func TestFault38RealSockets(t *testing.T) {
	hole := regtest.Unreachable(t)
	_, port, _ := net.SplitHostPort(hole)
	l, err := net.Listen("tcp", "127.0.0.3:"+port)
	if err != nil {
		t.Skip("no second address on loopback:", err)
	}
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { serveManifest(w, oci.TypeImageManifest, manifestJSON) }))
	srv.Listener.Close()
	srv.Listener = l
	srv.Start()
	defer srv.Close()
	var mu sync.Mutex
	lookups := 0
	resolver := fakeDNS(t, func(string) [][4]byte {
		mu.Lock()
		defer mu.Unlock()
		if lookups++; lookups > 4 {
			return nil // NXDOMAIN, once it is known
		}
		return [][4]byte{{169, 254, 169, 254}, {127, 0, 0, 1}, {127, 0, 0, 3}}
	})
	c := client(t, ClientConfig{Resolver: resolver})
	e, err := c.Endpoint(EndpointConfig{URL: "http://registry.test:" + port, AllowPrivate: true})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		resolve1(t, e)
		c.shared.local.closeIdle() // the next one dials again
	}
	strict, _ := c.Endpoint(EndpointConfig{URL: "http://registry.test:" + port})
	_, err = strict.Manifest(t.Context(), repo.WithTag("v1"))
	if _, ok := errors.AsType[*GuardError](err); !ok {
		t.Errorf("what is known of a name passes the guard: %v", err)
	}
}
