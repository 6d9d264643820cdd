// Package proxy is the pull-through cache: an [oci.Reader] over another one,
// the upstream, with a [store.Cache] below.
//
// A manifest or blob that is stored is answered without asking anybody. A tag
// is answered from the store while it is fresh, and compared with the upstream
// (one HEAD, however many ask) once it is not; where the upstream cannot be
// asked, what is stored is answered with a warning. A blob that is not stored
// is fetched by a fill: one download for each digest, that belongs to no
// client. It writes a spool file, and every client reads that file while it
// grows, so that a slow client slows nobody and a departing one ends nothing.
// The last 64 KiB are held back until the digest is right.
//
// Bytes are stored once, but the right to read them is a link from a
// repository, as the credential in use sees it (a scope): content of one
// scope never answers for another.
//
//	p := proxy.New(upstream, st.Cache(), proxy.Config{})
//	defer p.Close(ctx)
//	m, err := p.Manifest(ctx, r)
package proxy

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
	"github.com/entrepot/entrepot/store"
)

var (
	_ oci.Reader          = (*Proxy)(nil)
	_ oci.Lister          = (*Proxy)(nil)
	_ oci.ReferrersLister = (*Proxy)(nil)
)

// Config configures a Proxy. The zero value works.
type Config struct {
	// Policy returns the policy for a repository, whose Host is the upstream's
	// name. It is called for each request, with its context, from several
	// goroutines. Nil means a TagTTL of 60 s for all.
	Policy func(context.Context, ref.Name) Policy
	// Log gets what an operator would act on; nil discards it.
	Log *slog.Logger
	// Now tells the time; nil means time.Now.
	Now func() time.Time
	// Observe is told of every request and fill, for metrics. It is called
	// from several goroutines and must not block. Nil means nobody listens.
	Observe func(Event)
	// Scarce reports whether an upstream has few requests left for us. Those are
	// for clients that ask for what is not here: nothing is then fetched ahead of
	// them, and a stored tag is answered as it is, to be checked afterwards and
	// ten times less often. It is called from several goroutines. Nil means that
	// none ever has.
	Scarce func(upstream string) bool
	// PrefetchFills is how many fills may run at once before no further one is
	// started ahead of the clients. 0 means 6, a negative value means that
	// blobs are fetched only when a client asks.
	PrefetchFills int
	// PrefetchBytes limits the sum of the sizes of the blobs that are being
	// fetched ahead of the clients. 0 means 4 GiB.
	PrefetchBytes int64
	// HeaderTimeout is how long a client waits for the upstream's first
	// answer. 0 means 25 s: containerd gives up at 30.
	HeaderTimeout time.Duration
	// StaleWait is how long a client waits for the upstream where a stored tag
	// could be answered instead. 0 means 1 s.
	StaleWait time.Duration
	// UpstreamFills is how many fills may run at once for each scope; further
	// ones wait. 0 means 64. Each has a buffer of 256 KiB.
	UpstreamFills int

	far, part, probe, huge int64 // for tests, instead of far, partSize, probeSize and hugeRest; 0 means those
}

func (c *Config) now() time.Time {
	if c.Now == nil {
		return time.Now()
	}
	return c.Now()
}

func (c *Config) log() *slog.Logger {
	if c.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return c.Log
}

func (c *Config) headerTimeout() time.Duration { return orDefault(c.HeaderTimeout, 25*time.Second) }
func (c *Config) staleWait() time.Duration     { return orDefault(c.StaleWait, time.Second) }
func (c *Config) prefetchFills() int           { return orDefault(c.PrefetchFills, 6) }
func (c *Config) prefetchBytes() int64         { return orDefault(c.PrefetchBytes, 4<<30) }
func (c *Config) upstreamFills() int           { return orDefault(c.UpstreamFills, 64) }

func orDefault[T comparable](v, otherwise T) T {
	var zero T
	if v == zero {
		return otherwise
	}
	return v
}

// A Proxy answers from its cache and, where that does not do, from its
// upstream. A ref.Name.Host is the upstream's name. How a request was answered
// is written to the [oci.Outcome] of its context. All methods are safe for
// concurrent use.
//
// Errors are [oci.Error] values whose message is made here: nothing of what an
// upstream wrote is shown to clients. An upstream that refuses our credentials
// is ErrDenied, never ErrUnauthorized, which would send a client to log in
// with us; one that limits requests is ErrUnavailable with
// [oci.CodeTooManyRequests]; one that is no registry is ErrMismatch.
type Proxy struct {
	cfg   Config
	log   *slog.Logger
	up    oci.Reader
	cache *store.Cache

	manifests group[manifestKey, fetched]        // GETs of a manifest
	resolves  group[manifestKey, oci.Descriptor] // HEADs of a manifest by digest
	tags      group[tagKey, checked]             // checks of a tag
	moves     group[tagKey, fetched]             // GETs of a manifest by tag
	proofs    group[blobKey, oci.Descriptor]     // HEADs of a blob
	lists     group[manifestKey, []oci.Descriptor]

	arriving arriving
	entries  *entries
	negative *negatives
	health   *health
	troubles *recent[tagKey, trouble]
	sizes    *recent[blobKey, int64]         // sizes of blobs, as manifests of the repository claim
	seen     *recent[manifestKey, struct{}]  // manifests whose blobs are noted in sizes
	listed   *recent[manifestKey, referrers] // answers of Referrers
	fills    fills
	ahead    *prefetcher

	// Work that outlives a request lives in one of two contexts: what only
	// asks the upstream ends as soon as the Proxy is being closed, what brings
	// content has until the end of Close.
	asking   context.Context
	stopAsks context.CancelFunc
	filling  context.Context
	cut      context.CancelFunc

	mu     sync.Mutex // guards closed and work.Add
	closed bool
	work   sync.WaitGroup
}

// How much is remembered, in entries. An entry is a few hundred bytes.
const (
	maxNegatives = 8192
	maxTroubles  = 4096
	maxSizes     = 16384
	maxSeen      = 4096
	maxListed    = 1024
)

// New returns a Proxy for an upstream, which may also be an [oci.Lister] and
// an [oci.ReferrersLister]. The caller closes the Proxy, and the store only
// after it.
func New(up oci.Reader, c *store.Cache, cfg Config) *Proxy {
	cfg.far, cfg.part = orDefault(cfg.far, far), orDefault(cfg.part, partSize)
	cfg.probe, cfg.huge = orDefault(cfg.probe, probeSize), orDefault(cfg.huge, hugeRest)
	p := &Proxy{cfg: cfg, log: cfg.log(), up: up, cache: c,
		entries:  newEntries(),
		negative: newNegatives(maxNegatives),
		health:   newHealth(),
		troubles: newRecent[tagKey, trouble](maxTroubles),
		sizes:    newRecent[blobKey, int64](maxSizes),
		seen:     newRecent[manifestKey, struct{}](maxSeen),
		listed:   newRecent[manifestKey, referrers](maxListed),
	}
	p.filling, p.cut = context.WithCancel(context.Background())
	p.asking, p.stopAsks = context.WithCancel(p.filling)
	p.ahead = newPrefetcher(p)
	return p
}

// Forget forgets what upstreams refused, and which of them could not be asked:
// they may be reached elsewhere now. A pause that an upstream asked for holds
// on.
func (p *Proxy) Forget() {
	p.negative.known.clear()
	p.entries.known.clear()
	p.health.forget()
}

// ForgetRefusals forgets what the upstreams that match reports refused us, that
// they could not be asked, and that they asked for a pause: we have other
// credentials there now.
func (p *Proxy) ForgetRefusals(match func(upstream string) bool) {
	p.negative.known.deleteFunc(func(k negativeKey) bool { return match(k.name.Host) })
	p.troubles.deleteFunc(func(k tagKey) bool { return match(k.name.Host) })
	p.health.forgetHosts(match)
}

// Broken returns the upstreams that are not asked at the moment, because they
// have failed again and again. What is stored is answered without them.
func (p *Proxy) Broken() []string { return p.health.broken() }

// Close starts no new work, drops questions to the upstream, and waits for
// fills and for what is being stored. When ctx ends first, fills are cut, keep
// what they have for the next start, and the error is that of ctx. What is
// stored can still be read.
func (p *Proxy) Close(ctx context.Context) error {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.stopAsks()
	defer p.cut()

	idle := make(chan struct{})
	go func() {
		p.work.Wait()
		close(idle)
	}()
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		p.cut()
		<-idle
		return ctx.Err()
	}
}

// spawn runs f in a goroutine that Close waits for. It reports false where the
// Proxy is closed and f will not run.
func (p *Proxy) spawn(f func()) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return false
	}
	p.work.Go(f)
	return true
}

// policy returns the policy for a request about n, and n as its scope sees it.
func (p *Proxy) policy(ctx context.Context, n ref.Name) (Policy, repo) {
	pol := Policy{TagTTL: time.Minute}
	if p.cfg.Policy != nil {
		pol = p.cfg.Policy(ctx, n)
	}
	if pol.Scope == "" {
		pol.Scope = n.Host
	}
	in := repo{scope: pol.Scope, name: n}
	pol.cause, pol.via = oci.CauseOf(ctx), oci.Via(ctx)
	if pol.Passthrough {
		pol.login = oci.LoginOf(ctx)
		in.who = p.entries.who(pol.login)
	}
	return pol, in
}
