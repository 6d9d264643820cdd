package e2e

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/entrepot/entrepot/internal/regtest"
	"github.com/entrepot/entrepot/oci"
)

// A crasher does rounds of work on one store, each of which ends with a crash.
// Its clients work while the server may die under them at any moment, so that an
// error is no failure, but what was acknowledged counts.
type crasher struct {
	*stack
	rng      *rand.Rand
	crash    func()             // ends the server in the middle of its work
	recover  func(t *testing.T) // what has to happen before it is started again; nil for nothing
	images   []regtest.Built    // of the upstream, the last ones not pulled yet
	steps    chan struct{}      // a value for each answer that a client got in this round
	crashing atomic.Bool
	evicted  float64         // bytes, as far as servers told before they died
	started  []time.Duration // how long each start took, until the server was ready

	mu      sync.Mutex           // guards what follows
	pushes  []ack                // that were not deleted
	acked   int                  // pushes, in all rounds
	deleted int                  // of them
	tags    map[string]*tagState // :: repository → its tag "latest"
	alive   int                  // blobs that were pulled whole, in all rounds
	swept   int                  // collections that came to their end
}

// An ack is an acknowledged push of an image of one layer.
type ack struct {
	repo, tag string
	manifest  oci.Manifest
	config    oci.Digest
	layer     oci.Digest
	content   []byte
}

// A tagState is what a moving tag may point at: what was acknowledged last, or
// anything that was sent since.
type tagState struct {
	acked oci.Digest
	sent  map[oci.Digest]bool
}

// newCrasher starts a server whose cache holds what two rounds pull: what they
// leave is evicted all the time.
func newCrasher(t *testing.T, s serving) *crasher {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	s.storage, s.more = `max_bytes = "12MiB"`, hostsApps
	return &crasher{stack: newStackOf(t, s, ""), rng: rand.New(rand.NewPCG(seed, 0)), tags: make(map[string]*tagState)}
}

// run does the rounds, and looks at everything at the end. How much is done
// between two crashes is chance, and the machine's affair: it goes on until there
// is enough to look at.
func (c *crasher) run(t *testing.T, rounds int) {
	few := func() bool { return c.acked < rounds || c.alive < rounds || c.deleted < rounds/8 || c.swept < rounds/4 }
	for round := 0; round < rounds || few() && round < 4*rounds; round++ {
		c.round(t, round)
		if t.Failed() {
			t.Fatalf("in round %d", round)
		}
	}
	c.start(t)
	c.verify(t, c.pushes)
	c.verifyTags(t)
	c.verifyPulls(t, c.images[max(0, len(c.images)-200):])
	for repo := range c.tags {
		c.verifyVisible(t, repo)
	}
	slices.Sort(c.started)
	t.Logf("%d crashes; between them %d pushes were acknowledged (%d deleted), %d blobs pulled whole, %.0f MiB seen evicted, %d collections ended well; ready after %v (median), %v (longest)",
		len(c.started), c.acked, c.deleted, c.alive, c.evicted/(1<<20), c.swept, c.started[len(c.started)/2], c.started[len(c.started)-1])
	if few() {
		t.Error("that is too little to show anything")
	}
}

// start starts the server after a crash, and fails the test where it is not
// ready at the first asking.
func (c *crasher) start(t *testing.T) {
	t.Helper()
	if c.recover != nil {
		c.recover(t)
	}
	begun := time.Now()
	c.restart(t)
	c.ready(t)
	c.started = append(c.started, time.Since(begun))
}

func (c *crasher) round(t *testing.T, round int) {
	if round > 0 {
		c.start(t)
		c.verify(t, c.sample(12))
		c.verifyTags(t)
		c.verifyPulls(t, c.images[len(c.images)-2:])
		c.evicted += c.metric(t, "entrepot_evicted_bytes_total")
	}
	for i := range 2 {
		c.images = append(c.images, c.up.AddImage(fmt.Sprintf("cold/r%d", round),
			regtest.Image{Layers: []int64{3 << 20, 1 << 19, 100}, Seed: uint64(1000 + 2*round + i)}, fmt.Sprint("v", i)))
	}
	var work sync.WaitGroup
	c.crashing.Store(false)
	c.steps = make(chan struct{}, 30)
	for i := range 2 {
		work.Go(func() { c.pull(t, c.images[len(c.images)-2+i], fmt.Sprintf("cold/r%d", round)) })
		seed := c.rng.Uint64()
		work.Go(func() { c.push(t, fmt.Sprintf("apps/p%d", i), seed) })
	}
	sweeper := c.sweep(t, &work)
	for range c.rng.IntN(30) {
		select {
		case <-c.steps:
		case <-time.After(patience):
			t.Fatal("neither a pull nor a push goes on")
		}
	}
	<-time.After(time.Duration(c.rng.IntN(40)) * time.Millisecond) // into the middle of what comes next
	c.crashing.Store(true)
	c.crash()
	sweeper()
	work.Wait()
}

// step tells that a client got an answer, so that the crash comes while things
// go on, however fast the machine is.
func (c *crasher) step() {
	select {
	case c.steps <- struct{}{}:
	default: // the round has seen enough
	}
}

// sample returns some acknowledged pushes, the last ones among them.
func (c *crasher) sample(n int) []ack {
	if len(c.pushes) <= n {
		return c.pushes
	}
	some := append([]ack(nil), c.pushes[len(c.pushes)-n/2:]...)
	for range n / 2 {
		some = append(some, c.pushes[c.rng.IntN(len(c.pushes))])
	}
	return some
}

// repoOf is the repository of an image: two are made in each round.
func (c *crasher) repoOf(im regtest.Built) string {
	for i, have := range c.images {
		if have.Digest == im.Digest {
			return fmt.Sprintf("cold/r%d", i/2)
		}
	}
	return ""
}

// pull pulls an image as often as it can until the server is gone.
func (c *crasher) pull(t *testing.T, im regtest.Built, repo string) {
	for first := true; ; first = false {
		for _, l := range im.Layers {
			a, err := tryGet(t, http.MethodGet, c.url+"/v2/docker.io/"+repo+"/blobs/"+string(l.Digest))
			if err != nil || a.err != nil || a.StatusCode != http.StatusOK {
				return
			}
			if oci.FromBytes(a.body, "") != l.Digest {
				t.Errorf("a whole body of %d bytes is not %s", len(a.body), l.Digest)
			}
			c.mu.Lock()
			c.alive++
			c.mu.Unlock()
			if first { // hits are so fast that the crash would come before any push is through
				c.step()
			}
		}
	}
}
