package store

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
)

var modelStates = flag.Int("model-states", 0, "how many states each model check visits; 0: only what is quick, -1: all")

// modelManifest is what all writers push: it needs nothing but its own bytes.
var modelManifest = indexOf()

func pushesIndex(n ref.Name) stepWork {
	return func(ctx context.Context, v *Vault) error { return v.PutManifest(ctx, n, modelManifest, "latest") }
}

func collects(ctx context.Context, v *Vault) error {
	_, err := v.Collect(ctx, Collection{Force: true, Jobs: 1})
	return err
}

// A modelRun is one way to begin: a blob that nothing needs, and processes.
type modelRun struct {
	writers, collectors int
	cut                 string // a shortcut that all of them take, "" for none
	trusting            bool   // writers rely on each other's pins
	apart               bool   // each writer has its own repository
	ahead               bool   // all have read as far as there is to read, before the first write
	switches            int    // how often somebody is interrupted who could go on; 0: as often as can be
}

// explorer returns one that is about to begin.
func (m modelRun) explorer() *explorer {
	var acked []string
	for i := range m.writers {
		prefix, _ := vaultPrefixOf("m", m.repo(i), modelManifest.Digest)
		acked = append(acked, prefix)
	}
	k, _ := vaultBlobKey(modelManifest.Digest, oldInc)
	e := newExplorer(map[Key]string{k: string(modelManifest.Raw)}, acked)
	e.ahead = m.ahead
	if m.switches > 0 {
		e.switches = m.switches
	}
	for i := range m.writers {
		e.add(string("wx"[i]), m.cut, m.writes(i))
	}
	for i := range m.collectors {
		e.add(string("cd"[i]), m.cut, collects)
	}
	return e
}

func (m modelRun) writes(i int) stepWork {
	push := pushesIndex(m.repo(i))
	if !m.trusting {
		return push
	}
	return func(ctx context.Context, v *Vault) error {
		for _, of := range []string{"w", "x"} {
			for n := range 4 {
				k, _ := vaultPinKey(m.repo(i), modelManifest.Digest, stepName(of, n))
				v.sure.put(k, struct{}{})
			}
		}
		return push(ctx, v)
	}
}

func (m modelRun) repo(i int) ref.Name {
	if m.apart {
		return ref.Name{Path: fmt.Sprint("r", i)}
	}
	return ref.Name{Path: "r"}
}

func (m modelRun) String() string {
	return fmt.Sprintf("%d writers, %d collectors, apart %v, ahead %v, interruptions %d", m.writers, m.collectors, m.apart, m.ahead, m.switches)
}

func logStates(t *testing.T, e *explorer) {
	t.Helper()
	var nodes []int
	for _, a := range e.procs {
		nodes = append(nodes, len(a.nodes))
	}
	t.Logf("%d states of %d contents; nodes of the processes: %v", e.seen.n, len(e.bucket.nodes), nodes)
}

// TestCollectModel tries every way in which the steps of writers and collectors
// can follow each other, over the code that serves: no manifest that was
// acknowledged ever lacks a blob, whoever stalls or dies wherever
// (distribution#3045, harbor#12975, moby#53321).
//
// With -model-states -1 these were visited whole: one writer and one collector
// (722 states), two writers and one collector (1,587,862; 123,901 where each writer has its own
// repository), one writer and two collectors (4,829,607). Two of each have an
// estimated ten thousand million states; of those the ones were visited in which
// processes are interrupted at most three times while they could go on (1,084,027,
// in one repository). To stall for ever, or to die, is one interruption.
//
// Where all are ahead, both writers have chosen and both collectors have read
// everything before anybody writes, and then all orders are tried.
func TestCollectModel(t *testing.T) {
	for _, m := range []modelRun{
		{writers: 1, collectors: 1},
		{writers: 2, collectors: 1},
		{writers: 2, collectors: 1, apart: true},
		{writers: 1, collectors: 2},
		{writers: 2, collectors: 2, switches: 2},
		{writers: 2, collectors: 2, switches: 3},
		{writers: 2, collectors: 2, switches: 3, apart: true},
		{writers: 2, collectors: 2, ahead: true},
		{writers: 2, collectors: 2, ahead: true, apart: true},
	} {
		t.Run(m.String(), func(t *testing.T) {
			e := m.explorer()
			e.limit = max(0, cmp.Or(*modelStates, 10000))
			e.explore()
			if e.bad != "" {
				t.Error(e.bad)
			}
			logStates(t, e)
		})
	}
}

// TestCollectModelFinds: each way to shorten the protocol is found out.
func TestCollectModelFinds(t *testing.T) {
	for _, m := range []modelRun{
		{writers: 1, collectors: 1, cut: "no second look by collectors"},
		{writers: 1, collectors: 1, cut: "no marks"},
		{writers: 1, collectors: 1, cut: "no second look by writers"},
		{writers: 1, collectors: 1, cut: "the mark goes before the blob"},
		{writers: 1, collectors: 1, cut: "the blob is looked for before the mark"},
		{writers: 1, collectors: 2, cut: "names are used again"},
		{writers: 2, collectors: 1, trusting: true, switches: 3},
	} {
		t.Run(fmt.Sprintf("%s, trusting %v", m.cut, m.trusting), func(t *testing.T) {
			e := m.explorer()
			e.limit = 2000000
			e.explore()
			if e.bad == "" {
				t.Error("nothing was found")
			}
			logStates(t, e)
			t.Log(e.bad)
		})
	}
}

// pushesImage uploads a blob and pushes an image of it, as a client does: what
// it is told is missing it uploads again.
func pushesImage(ctx context.Context, v *Vault) error {
	const content = "layer"
	n, d := ref.Name{Path: "r"}, oci.Descriptor{MediaType: blobType, Digest: digestOf(content), Size: int64(len(content))}
	var err error
	for range 4 {
		fresh := pinned{d.Digest, v.newInc(), d.Size}
		err = v.admit(ctx, n, fresh, func(ctx context.Context) error {
			k, err := vaultBlobKey(fresh.Digest, fresh.Inc)
			if err != nil {
				return err
			}
			return v.store.bucket.Put(ctx, k, []byte(content))
		})
		if err == nil {
			err = v.PutManifest(ctx, n, imageOf("", d), "latest")
		}
		if !errors.Is(err, oci.ErrInvalid) {
			break
		}
	}
	return err
}

// TestCollectModelImages takes random ways through what has too many: two
// clients upload and push an image, and two collectors collect twice.
func TestCollectModelImages(t *testing.T) {
	runs := 500
	if *modelStates != 0 {
		runs = 300000
	}
	m := imageOf("", oci.Descriptor{MediaType: blobType, Digest: digestOf("layer"), Size: 5})
	prefix, _ := vaultPrefixOf("m", ref.Name{Path: "r"}, m.Digest)
	pins := map[string]pin{}
	acknowledged := 0
	for seed := range uint64(runs) {
		rng := rand.New(rand.NewPCG(seed, 1))
		w := &stepWorld{objects: map[Key]string{}, pins: pins, every: true}
		for _, of := range []string{"w", "x"} {
			w.start(of, "", pushesImage)
		}
		for _, of := range []string{"c", "d"} {
			w.start(of, "", func(ctx context.Context, v *Vault) error { return errors.Join(collects(ctx, v), collects(ctx, v)) })
		}
		runRandomly(rng, w, func() {
			for i, p := range w.procs[:2] {
				if whole, _ := w.whole(prefix); whole == "" && p.done && p.result == nil {
					t.Fatalf("seed %d: writer %d was told that its image is stored, and it is not", seed, i)
				}
			}
		})
		for i, p := range w.procs {
			if p.result == nil && i < 2 {
				acknowledged++
			}
			if p.result != nil && !errors.Is(p.result, oci.ErrUnavailable) && !errors.Is(p.result, oci.ErrInvalid) {
				t.Fatalf("seed %d: process %d: %v", seed, i, p.result)
			}
		}
		if _, dangling := w.whole("v/m/"); dangling != "" {
			t.Fatalf("seed %d: %s names what is not there", seed, strings.TrimPrefix(string(dangling), prefix))
		}
	}
	if acknowledged < runs {
		t.Errorf("%d of %d pushes were acknowledged", acknowledged, 2*runs)
	}
}

// runRandomly lets the processes make their steps, some in long runs, so that
// the others stall.
func runRandomly(rng *rand.Rand, w *stepWorld, after func()) {
	for {
		var open []*stepProc
		for _, p := range w.procs {
			if !p.done {
				open = append(open, p)
			}
		}
		if len(open) == 0 {
			return
		}
		p := open[rng.IntN(len(open))]
		for range 1 + rng.IntN(1+rng.IntN(20)) {
			p.next()
			after()
			if p.done {
				break
			}
		}
	}
}
