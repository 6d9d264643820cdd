package proxy

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
	"github.com/entrepot/entrepot/store"
)

const (
	// holdBack is how many bytes at the end of a blob nobody gets before the
	// digest is right.
	holdBack = 64 << 10
	// fillBuffer is what one read from the upstream may bring.
	fillBuffer = 256 << 10
	// fillLeast is what is written at once, where there is so much. A distant
	// upstream gives a few KiB at a time, and the kernel keeps a file in memory
	// in pieces as it was written: in pieces of 4 KiB it is served at half the
	// speed of pieces of 64 KiB (measured in bench/).
	fillLeast = 64 << 10
	// fillPatience is how long bytes may wait for others to be written with. A
	// fast upstream never needs it; a slow one must not look silent to readers.
	fillPatience = 100 * time.Millisecond
)

// fills are the fills that run.
type fills struct {
	mu      sync.Mutex // guards all below
	running map[oci.Digest]*fill
	loading int               // how many of them have not got all bytes yet
	slots   map[string]*slots // :: scope → the slots of its fills, while there are any
	buffers sync.Pool         // of *[fillBuffer]byte
}

// slots are the places of one scope's fills.
type slots struct {
	tokens chan struct{} // one for each fill that loads
	users  int           // fills that load, or wait to; guarded by the mutex of the fills
}

// A fill is the one download of a blob. It belongs to no client: its readers
// follow the spool file that it writes. Its life:
//
//	started   the upstream is being asked; nobody has got anything
//	opened    the upstream has answered; readers get what is written, but
//	          for the last 64 KiB
//	verified  the digest is right; readers get everything
//	over      stored and linked, or failed: whoever asks now looks into the
//	          store, and starts another fill where it is not there
type fill struct {
	p      *Proxy
	key    blobKey    // its repository asks the upstream; the answer proves that one's right alone
	login  oci.Secret // of the caller whose request began it, with the upstream; empty where logins are not his
	cause  *oci.Cause // the request that began it; nil for none
	via    string     // through whom that came
	public bool       // the scope is anonymous: the answer proves everybody's right
	ahead  bool       // a prefetch started it
	most   int        // connections that may fetch it at once
	claim  int64      // bytes, as a manifest of the repository says; -1 where none does

	opened chan struct{} // closed at opened, or when it is over before that
	loaded sync.Once
	read   int64 // bytes from the upstream; run's alone

	mu       sync.Mutex // guards all below
	isOpen   bool
	from     string
	spool    *store.Spool // of this try, held by the fill; nil before opened and after done
	try      int          // counts the tries; the first is 1
	same     agreement    // of this try with the one before
	crew     *crew        // those who fetch parts for this try; nil for nobody
	size     int64        // in bytes; -1 where the upstream did not say, until verified
	ready    int64        // how many bytes readers may have
	wreck    *wreck       // what is left of a fill whose disk failed; nil for none
	verified bool
	err      error // why it failed, once it has
	over     bool  // there will be no change any more
	readers  int
	wake     chan struct{} // closed at the next change; nil while nobody waits for one
}

// An agreement says how far the bytes of a second try are those of the first,
// which some readers have got.
type agreement struct {
	bytes   int64 // from the start
	settled bool  // it will not get more
}

var (
	// errStored says that a fill found its blob in the store.
	errStored = errors.New("the blob is stored already")
	// errAgain says that the blob is to be looked for once more, from the start.
	errAgain = errors.New("look again")
)

// fill returns the fill of a digest that runs, nil for none.
func (p *Proxy) fill(d oci.Digest) *fill {
	p.fills.mu.Lock()
	defer p.fills.mu.Unlock()
	return p.fills.running[d]
}

// startFill returns the fill of a digest and whether it was running already.
func (p *Proxy) startFill(pol *Policy, k blobKey, ahead bool) (f *fill, joined bool, err error) {
	p.fills.mu.Lock()
	defer p.fills.mu.Unlock()
	if f := p.fills.running[k.digest]; f != nil {
		return f, true, nil
	}
	k = k.clone()
	f = &fill{p: p, key: k, login: pol.login, cause: pol.cause, via: pol.via, public: pol.Anonymous, ahead: ahead, claim: p.claimed(k), size: -1,
		most:   orDefault(pol.FillParallelism, defaultParallelism),
		opened: make(chan struct{})}
	if !p.spawn(f.run) {
		return nil, false, errClosed()
	}
	if p.fills.running == nil {
		p.fills.running = make(map[oci.Digest]*fill)
	}
	p.fills.running[k.digest] = f
	p.fills.loading++
	return f, false, nil
}

func (f *fill) run() {
	err := f.fetch(f.p.filling)
	f.unload()
	// First out of the way, then over: whoever is told to look again must not
	// find this fill once more.
	f.p.fills.mu.Lock()
	delete(f.p.fills.running, f.key.digest)
	f.p.fills.mu.Unlock()
	f.finish(err)
}

// fetch brings the blob into the store. Readers have no use for an error that
// comes after the blob was verified.
func (f *fill) fetch(ctx context.Context) error {
	if f.p.isStored(f.key.digest) {
		return errStored // by a fill that ended since the client looked
	}
	if err := f.p.refusedBlob(f.key); err != nil {
		return err // as such a fill has found out
	}
	leave, err := f.enter()
	if err != nil {
		return err
	}
	spool, err := f.load(ctx)
	leave()
	f.unload() // what is left needs neither buffer nor upstream
	if err != nil {
		return err
	}
	return f.keep(spool)
}

// enter waits until the scope may have one more fill. Scopes do not share
// their slots, so that an upstream that stalls does not hold up another one.
func (f *fill) enter() (leave func(), err error) {
	s := f.p.fills.join(f.key.scope, f.p.cfg.upstreamFills())
	select {
	case s.tokens <- struct{}{}:
		return func() {
			<-s.tokens
			f.p.fills.part(f.key.scope, s)
		}, nil
	case <-f.p.asking.Done():
		f.p.fills.part(f.key.scope, s)
		return nil, errClosed()
	}
}

func (a *fills) join(scope string, size int) *slots {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := a.slots[scope]
	if s == nil {
		s = &slots{tokens: make(chan struct{}, size)}
		if a.slots == nil {
			a.slots = make(map[string]*slots)
		}
		a.slots[scope] = s
	}
	s.users++
	return s
}

func (a *fills) part(scope string, s *slots) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if s.users--; s.users == 0 {
		delete(a.slots, scope)
	}
}

// unload says that the fill needs the upstream no more.
func (f *fill) unload() {
	f.loaded.Do(func() {
		f.p.fills.mu.Lock()
		f.p.fills.loading--
		f.p.fills.mu.Unlock()
		f.p.ahead.unloaded(f)
	})
}

// keep stores what was verified, and links it. Readers have all of it already,
// so an error costs them nothing; the next one fetches it again.
func (f *fill) keep(spool *store.Spool) error {
	n := f.key.name
	// What was verified is stored even while the Proxy is being closed.
	if err := spool.Commit(context.WithoutCancel(f.p.filling)); err != nil {
		f.p.storeError("store blob", n, err)
		return broken(err)
	}
	if err := f.p.link(f.key, f.public); err != nil {
		f.p.storeError("link blob", n, err)
	}
	return nil
}

// Filling returns how many fills run, and how many readers follow them: who has
// asked for a blob that is not stored yet.
func (p *Proxy) Filling() (fills, readers int) {
	p.fills.mu.Lock()
	running := slices.Collect(maps.Values(p.fills.running))
	p.fills.mu.Unlock()
	for _, f := range running {
		f.mu.Lock()
		readers += f.readers
		f.mu.Unlock()
	}
	return len(running), readers
}

// isStored reports whether the bytes of d are here. That gives nobody a right
// to them.
func (p *Proxy) isStored(d oci.Digest) bool {
	_, err := p.cache.Stat(d)
	return err == nil
}

// linked reports whether the repository has the right to read a blob.
func (p *Proxy) linked(pol *Policy, k blobKey) bool {
	if pol.Anonymous {
		scope, n := public(k.repo)
		if p.cache.Linked(scope, n, k.digest) {
			return true
		}
	}
	return p.cache.Linked(k.scope, k.name, k.digest)
}

// link gives the repository, or everybody who has nothing but this scope, the
// right to read a blob.
func (p *Proxy) link(k blobKey, everybody bool) error {
	scope, n := k.scope, k.name
	if everybody {
		scope, n = public(k.repo)
	}
	return p.cache.Link(scope, n, k.digest)
}

// public is the place of the links that hold for all repositories of a scope.
// No upstream's scope ends like this, since the names of hosts have no '|'.
func public(in repo) (scope string, n ref.Name) {
	return in.scope + "|public", ref.Name{Host: in.name.Host, Path: "all"}
}

// claimed returns the size that a manifest of the repository gives a blob, -1
// where none is known.
func (p *Proxy) claimed(k blobKey) int64 {
	if size, ok := p.sizes.get(k); ok {
		return size
	}
	return -1
}
