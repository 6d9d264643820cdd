package access

import (
	"errors"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// maxWaiting is how many comparisons of passwords may wait for their turn.
const maxWaiting = 64

var errBusy = errors.New("too many passwords are being checked")

// A gate lets so many comparisons run at once that half of the processors stay
// free for requests that need none.
type gate struct {
	slots   chan struct{}
	present atomic.Int64 // waiting and running
}

func newGate() *gate {
	return &gate{slots: make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2))}
}

// enter waits for a turn; it fails at once where too many wait. Who got in
// has to leave.
func (g *gate) enter() error {
	if g.present.Add(1) > int64(cap(g.slots)+maxWaiting) {
		g.present.Add(-1)
		return errBusy
	}
	g.slots <- struct{}{}
	return nil
}

func (g *gate) leave() {
	<-g.slots
	g.present.Add(-1)
}

const (
	// failBurst is how many wrong credentials a network may send in a row.
	failBurst = 20
	// failEvery is how long it takes until it may send one more.
	failEvery = 3 * time.Second
	// maxFailing limits the networks that are remembered.
	maxFailing = 10_000
)

// Failures remembers which networks send wrong credentials: an IPv4 address, or
// an IPv6 network of /64, since that is what one customer has. Whoever sent too
// many is not listened to for a while, unless the credentials are remembered as
// right.
type failures struct {
	mu sync.Mutex // guards what follows
	// :: network → when all that it did is forgiven
	until map[netip.Prefix]time.Time
}

// wait returns how long a network has to wait before its credentials are
// looked at, 0 for not at all.
func (f *failures) wait(from netip.Prefix) time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	until, ok := f.until[from]
	if !ok {
		return 0
	}
	return max(0, time.Until(until)-(failBurst-1)*failEvery)
}

// add notes wrong credentials.
func (f *failures) add(from netip.Prefix) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	until, ok := f.until[from]
	if !ok && len(f.until) >= maxFailing {
		f.forget(now)
	}
	if until.Before(now) {
		until = now
	}
	f.until[from] = until.Add(failEvery)
}

// forget makes room: those that are forgiven go, and any one where none is.
func (f *failures) forget(now time.Time) {
	for k, until := range f.until {
		if until.Before(now) {
			delete(f.until, k)
		}
	}
	for k := range f.until {
		if len(f.until) < maxFailing {
			return
		}
		delete(f.until, k)
	}
}

// network is where a request comes from, as far as it can be told apart from
// others. Addr is that of the connection; headers are not believed.
func network(addr netip.Addr) netip.Prefix {
	bits := 32
	if addr.Is6() {
		bits = 64
	}
	p, err := addr.Prefix(bits)
	if err != nil { // no address at all, as in a test
		return netip.Prefix{}
	}
	return p
}
