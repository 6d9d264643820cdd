package relocate_test

import (
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/entrepot/entrepot/internal/regtest"
	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/relocate"
)

// A hasty clock goes on with each request to a registry, so that a run of seconds
// takes many lives of tokens.
type hasty struct {
	ahead atomic.Int64
	real  bool // it goes on with time as well, for what waits
}

func (h *hasty) now() time.Time {
	start := time.Unix(1e9, 0)
	if h.real {
		start = time.Now()
	}
	return start.Add(time.Duration(h.ahead.Load()))
}

// follow lets the clock go with the requests to a registry. Those that are under
// way at once must take less than the 1.5 s between the renewal of a token and
// its end.
func (h *hasty) follow(reg *regtest.Registry) {
	reg.On(regtest.Match{If: func(regtest.Entry) bool { h.ahead.Add(int64(10 * time.Millisecond)); return false }}, regtest.Fault{})
}

// shortLived makes tokens that live 5 s.
func (b *bench) shortLived() {
	for _, reg := range []*regtest.Registry{b.src, b.dst} {
		reg.SetAuth(regtest.Auth{Scheme: "Bearer", Life: 5 * time.Second})
	}
}

// oneRepository fills one repository with n images, so that all need the same
// token.
func (b *bench) oneRepository(n int) (pairs []relocate.Pair) {
	for i := range n {
		tag := fmt.Sprintf("v%d", i)
		b.src.AddImage("app/a", regtest.Image{Layers: []int64{1000 + int64(i), 2000}, Seed: uint64(i)}, tag)
		pairs = append(pairs, b.pair("app/a:"+tag, "x/a:"+tag))
	}
	return pairs
}

// TestShortTokens relocates with tokens that live 5 s: they are renewed before
// they end, so that no request is sent in vain.
func TestShortTokens(t *testing.T) {
	var clock hasty
	b := newBenchAt(t, clock.now)
	b.shortLived()
	clock.follow(b.src)
	clock.follow(b.dst)
	pairs := b.oneRepository(200)
	cfg := b.config()
	cfg.Jobs = 4
	b.run(cfg, pairs...)
	took := time.Duration(clock.ahead.Load())
	if took < 20*time.Second {
		t.Fatalf("the run took %v of the clock: no token has ended", took)
	}
	for side, reg := range map[string]*regtest.Registry{"source": b.src, "target": b.dst} {
		refused := 0
		for _, e := range reg.Log() {
			if e.Status == http.StatusUnauthorized && e.Authorization() != "" {
				refused++
			}
		}
		if refused > 0 {
			t.Errorf("%d requests with a token that had ended at the %s", refused, side)
		}
	}
	// One each 3.5 s, for one or two scopes, and no more.
	least, most := int(took/(5*time.Second)), 2*int(took/(3500*time.Millisecond))+4
	if n := b.dst.Count("", regtest.Token); n < least || n > most {
		t.Errorf("%d tokens of the target in %v, want %d to %d", n, took, least, most)
	}
	b.dst.SetAuth(regtest.Auth{})
	b.connect(quick)
	for i := range pairs {
		b.whole("x/a", fmt.Sprintf("v%d", i))
	}
}

// TestRevokedTokens relocates while registries forget tokens that they granted.
func TestRevokedTokens(t *testing.T) {
	b := newBench(t)
	b.shortLived()
	pairs, _ := b.shared(20)
	for _, reg := range []*regtest.Registry{b.src, b.dst} {
		n := 0
		reg.On(regtest.Match{If: func(regtest.Entry) bool { n++; return n%150 == 0 }}, regtest.Fault{After: reg.RevokeTokens})
	}
	b.run(b.config(), pairs...)
	b.dst.SetAuth(regtest.Auth{})
	b.connect(quick)
	for i := range pairs {
		b.whole(fmt.Sprintf("x/r%d", i), "v1")
	}
}

// A forgetter is a registry that now and then loses a blob right after it said
// that it has it.
type forgetter struct {
	reg *regtest.Registry

	mu    sync.Mutex // guards what follows
	count int
	lost  []oci.Digest // to be lost, in order
	repos []string
	bytes int64 // that were lost
}

// forget loses each nth blob that is pushed.
func forget(reg *regtest.Registry, nth int) *forgetter {
	f := &forgetter{reg: reg}
	reg.On(regtest.Match{Kind: regtest.Upload, Method: http.MethodPut, If: func(e regtest.Entry) bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.count++; f.count%nth != 0 {
			return false
		}
		q, _ := url.ParseQuery(e.Query)
		f.lost, f.repos = append(f.lost, oci.Digest(q.Get("digest"))), append(f.repos, e.Repo)
		return true
	}}, regtest.Fault{After: f.lose})
	return f
}

func (f *forgetter) lose() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, d := range f.lost {
		if c, ok := f.reg.Content(f.repos[i], d); ok {
			f.bytes += c.Size()
			f.reg.Delete(f.repos[i], string(d))
		}
	}
}

// TestAllFaults relocates with everything against it at once: resets, answers of
// 503 and of 429 with Retry-After, tokens that live 5 s, a target that mounts
// nothing and forgets blobs after it took them.
func TestAllFaults(t *testing.T) {
	clock := hasty{real: true}
	b := newBenchAt(t, clock.now)
	b.shortLived()
	b.dst.CheckManifests()
	b.dst.DropMounts()
	pairs, unique := b.shared(60)
	lost := forget(b.dst, 40)
	for i, reg := range []*regtest.Registry{b.src, b.dst} {
		clock.follow(reg)
		seed := uint64(i + 1)
		reg.On(regtest.Match{If: some(0.01, seed)}, regtest.Fault{End: regtest.EndReset, At: -1})
		reg.On(regtest.Match{If: some(0.005, seed+10)}, regtest.Status(503))
		reg.On(regtest.Match{Kind: regtest.Blob, Method: "GET", If: some(0.01, seed+20)}, regtest.ResetAt(10_000))
		reg.On(regtest.Match{After: 100, Times: 2}, regtest.Busy("1"))
	}
	cfg := b.config()
	cfg.Jobs = 16 // see follow
	b.run(cfg, pairs...)
	b.dst.SetAuth(regtest.Auth{})
	b.dst.Clear()
	b.connect(quick)
	for i := range pairs {
		b.whole(fmt.Sprintf("x/r%d", i), "v1")
	}
	lost.mu.Lock()
	defer lost.mu.Unlock()
	if len(lost.lost) == 0 || lost.bytes == 0 {
		t.Error("nothing was forgotten")
	}
	if n := clock.ahead.Load(); time.Duration(n) < 5*time.Second {
		t.Errorf("the run took %v of the clock: no token has ended", time.Duration(n))
	}
	var sent int64
	for _, e := range b.src.Log() {
		if e.Kind == regtest.Blob {
			sent += e.Sent
		}
	}
	if most := 1.02*float64(unique) + float64(lost.bytes); float64(sent) > most {
		t.Errorf("the source sent %d bytes for %d, and %d that were lost", sent, unique, lost.bytes)
	}
}
