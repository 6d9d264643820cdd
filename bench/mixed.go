package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// The phases of mixed load: what goes on in the server beside its clients.
const (
	phaseIdle    = "idle"
	phaseCollect = "gc"
	phaseEvict   = "evict"
)

// mixedCases are hits, pushes and deletions at once, beside the server's own work.
func mixedCases() []testCase {
	return []testCase{{
		name: "mixed/collect-evict",
		what: fmt.Sprintf("Hits of manifests (%d a second) and blobs of 300 KiB (%d), pushes and deletions of images (%d each), due at fixed times, on the store "+
			"of start/million: with nothing else to do, while garbage is collected again and again (entrepot store gc), and while the server evicts a tenth of its cache. "+
			"A hit's time counts from when it was due. No peer here collects or evicts while it takes pushes.", manifestRate, blobRate, pushRate),
		servers: []string{entrepot},
		metrics: []metric{
			{key: "idle p50", head: "idle p50 ms", format: "%.2f"},
			{key: "idle p99", head: "idle p99 ms", format: "%.2f"},
			{key: "gc p99", head: "gc p99 ms", format: "%.2f"},
			{key: "gc ratio", head: "gc p99 ÷ idle", format: "%.2f"},
			{key: "evict p99", head: "evict p99 ms", format: "%.2f"},
			{key: "evict ratio", head: "evict p99 ÷ idle", format: "%.2f"},
			{key: "collections", head: "collections ended", format: "%.0f"},
			{key: "evicted", head: "evicted blobs", format: "%.0f"},
			peakMetric,
		},
		targets: []target{{key: "gc ratio", bound: 1.5}, {key: "evict ratio", bound: 1.5}},
		measure: func(ctx context.Context, b *bench, server string, _ int) (sample, error) {
			return b.measureMixed(ctx, server)
		},
	}}
}

// How many there are a second.
const (
	manifestRate = 300
	blobRate     = 60
	pushRate     = 4
)

// measureMixed measures the three phases, each with a server of its own.
func (b *bench) measureMixed(ctx context.Context, server string) (sample, error) {
	w, err := b.warehouse(ctx)
	if err != nil {
		return nil, err
	}
	s := sample{}
	for _, phase := range []string{phaseIdle, phaseCollect, phaseEvict} {
		if err := b.measurePhase(ctx, server, w, phase, s); err != nil {
			return nil, fmt.Errorf("%s: %w", phase, err)
		}
	}
	s["gc ratio"], s["evict ratio"] = s["gc p99"]/s["idle p99"], s["evict p99"]/s["idle p99"]
	return s, nil
}

func (b *bench) measurePhase(ctx context.Context, server string, w *warehouse, phase string, s sample) (err error) {
	storage := neverScrub
	if phase == phaseEvict { // the cache is a little over nine tenths of this, so that a tenth of it goes
		storage += fmt.Sprintf("max_bytes = \"%d\"\n", w.cached.Load()*hole/9*10-hole*20)
	}
	p, err := b.startEntrepotWith(ctx, server, w.dir, b.origin.addr,
		serving{storage: storage, more: "\n[hosted]\nrepositories = [\"mixed/**\"]\n"})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.stop()) }()
	// An eviction begins as soon as all are counted, and lets the number fall.
	if err := p.waitMetric(ctx, "entrepot_store_blobs", float64(int(w.cached.Load())+w.blobs)*0.93); err != nil {
		return err
	}
	working, stop := context.WithCancel(ctx)
	collected := make(chan error, 1)
	go func() {
		if phase != phaseCollect {
			collected <- nil
			return
		}
		collected <- b.collect(working, server, w, s)
	}()
	hits, err := b.mixedLoad(ctx, p, phase)
	stop()
	if err := errors.Join(err, <-collected); err != nil {
		return err
	}
	s[phase+" p50"], s[phase+" p99"] = hits.at(50), hits.at(99)
	return p.worked(ctx, phase, w, s)
}

// collect runs one collection after the other beside a server until ctx ends.
func (b *bench) collect(ctx context.Context, server string, w *warehouse, s sample) error {
	for {
		out, err := exec.CommandContext(ctx, b.bin[server], "store", "gc", "--storage", w.dir, "--quiet").CombinedOutput()
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return fmt.Errorf("store gc: %w\n%s", err, tail(out))
		}
		s["collections"]++
	}
}

// worked makes sure that what should have gone on beside the clients did.
func (p *process) worked(ctx context.Context, phase string, w *warehouse, s sample) error {
	peak, err := p.peak()
	if err != nil {
		return err
	}
	s["peak"] = max(s["peak"], peak)
	if phase != phaseEvict {
		return nil
	}
	// Its walks were beside the clients, but on a busy machine nothing may have left yet.
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if err := p.waitMetric(ctx, "entrepot_evicted_blobs_total", 1); err != nil {
		return fmt.Errorf("nothing was evicted: %w", err)
	}
	evicted, err := p.metric("entrepot_evicted_blobs_total")
	w.cached.Add(-int64(evicted))
	s["evicted"] += evicted
	return err
}

// millis are times of requests, sorted.
type millis []float64

func (m millis) at(percent int) float64 { return m[(len(m)-1)*percent/100] }

// mixedLoad runs the clients for four windows and returns how long hits took. The
// first half second does not count: what is hit comes into the cache in it.
func (b *bench) mixedLoad(ctx context.Context, p *process, phase string) (millis, error) {
	const warm = time.Second / 2
	l := load{p: p, b: b, phase: phase, began: time.Now().Add(warm)}
	l.end = l.began.Add(4 * b.options.window)
	g, ctx := errgroup.WithContext(ctx)
	const atOnce = 8 // connections of each kind, so that one that is late delays no other
	image, layer := b.content.repo(smallRepo).manifests[0], b.content.repo(imageRepo).blobs[5]
	for i := range atOnce {
		g.Go(func() error {
			return l.hits(ctx, manifestRate, atOnce, i, func(c *conn) error { _, err := c.getManifest(smallRepo, image.Digest); return err })
		})
		g.Go(func() error {
			return l.hits(ctx, blobRate, atOnce, i, func(c *conn) error { return c.getBlob(imageRepo, layer, new(atomic.Int64), false) })
		})
	}
	g.Go(func() error { return l.pushes(ctx) })
	if err := g.Wait(); err != nil {
		return nil, err
	}
	slices.Sort(l.took)
	return l.took, nil
}

// A load is the clients of one phase.
type load struct {
	p          *process
	b          *bench
	phase      string
	began, end time.Time

	mu   sync.Mutex // guards took
	took millis
}

// hits makes its share of requests, each when it is due, over one connection.
func (l *load) hits(ctx context.Context, rate, shares, share int, hit func(*conn) error) error {
	c, err := l.p.dial(ctx)
	if err != nil {
		return err
	}
	defer c.close()
	each := time.Second * time.Duration(shares) / time.Duration(rate)
	due := time.Now().Add(each * time.Duration(share) / time.Duration(shares))
	for ; due.Before(l.end); due = due.Add(each) {
		if !sleepUntil(ctx, due) {
			return ctx.Err()
		}
		if err := hit(c); err != nil {
			return err
		}
		if due.After(l.began) {
			l.mu.Lock()
			l.took = append(l.took, time.Since(due).Seconds()*1e3)
			l.mu.Unlock()
		}
	}
	return nil
}

// pushes pushes images of one layer, and deletes each when the next but one is
// there.
func (l *load) pushes(ctx context.Context) error {
	var pushed []string
	repo := "mixed/" + l.phase + strconv.FormatUint(rand.Uint64(), 36)
	for i := 0; time.Now().Before(l.end); i++ {
		if !sleepUntil(ctx, time.Now().Add(time.Second/pushRate)) {
			return ctx.Err()
		}
		m, err := l.push(repo, byte(i))
		if err != nil {
			return fmt.Errorf("push: %w", err)
		}
		if pushed = append(pushed, m.Digest); len(pushed) > 2 {
			if _, err := send("DELETE", l.url(repo, pushed[0]), "", nil, 0); err != nil {
				return fmt.Errorf("delete: %w", err)
			}
			pushed = pushed[1:]
		}
	}
	return nil
}

func (l *load) url(repo, name string) string {
	return fmt.Sprintf("http://%s/v2/%s/manifests/%s", l.p.addr, repo, name)
}

// push pushes an image whose layer nobody has.
func (l *load) push(repo string, seed byte) (manifest, error) {
	layer, err := l.b.content.blob(typeLayer, 64<<10+rand.Int64N(64<<10), seed)
	if err != nil {
		return manifest{}, err
	}
	m, err := newManifest(document{SchemaVersion: 2, MediaType: typeManifest, Config: &layer, Layers: []descriptor{layer}})
	if err != nil {
		return m, err
	}
	if err := l.b.content.pushBlob(l.p.addr, repo, layer); err != nil {
		return m, err
	}
	_, err = send("PUT", l.url(repo, m.Digest), m.MediaType, bytes.NewReader(m.raw), m.Size)
	return m, err
}
