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

var modelStates = flag.Int("model-states", 0, "how many states of two writers and two collectors the model check visits; 0: only what is quick, -1: all")

// modelManifest is what all writers push: it needs nothing but its own bytes.
var modelManifest = indexOf()

func pushesIndex(n ref.Name) func(context.Context, *Vault) error {
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
	pins                map[string]pin
}

func (m *modelRun) begin() *stepWorld {
	w := &stepWorld{objects: map[Key]string{}, pins: m.pins}
	k, _ := vaultBlobKey(modelManifest.Digest, oldInc)
	w.put(k, string(modelManifest.Raw))
	var cut *shortcut
	if m.cut != "" {
		cut = &shortcut{kind: m.cut}
	}
	for i := range m.writers {
		work := pushesIndex(m.repo(i))
		if m.trusting {
			push := work
			work = func(ctx context.Context, v *Vault) error {
				for _, of := range []string{"w", "x"} {
					for names := range 4 {
						k, _ := vaultPinKey(m.repo(i), modelManifest.Digest, (&stepProc{names: names}).name(of))
						v.sure.put(k, struct{}{})
					}
				}
				return push(ctx, v)
			}
		}
		w.start(string("wx"[i]), cut, work)
	}
	for i := range m.collectors {
		w.start(string("cd"[i]), cut, collects)
	}
	return w
}

func (m *modelRun) repo(i int) ref.Name {
	if m.apart {
		return ref.Name{Path: fmt.Sprint("r", i)}
	}
	return ref.Name{Path: "r"}
}

// violation says what is wrong with a state, "" for nothing. Finished is a
// state in which every process has ended.
func (m *modelRun) violation(w *stepWorld, finished bool) string {
	for i := range m.writers {
		if p := w.procs[i]; p.done && p.result == nil {
			prefix, _ := vaultPrefixOf("m", m.repo(i), modelManifest.Digest)
			if whole, _ := w.whole(Key(prefix)); whole == "" {
				return fmt.Sprintf("writer %d was told that its manifest is stored, and it is not", i)
			}
		}
	}
	if !finished {
		return ""
	}
	if _, dangling := w.whole("v/m/"); dangling != "" {
		return fmt.Sprintf("%s names what is not there", dangling)
	}
	for i, p := range w.procs {
		if p.result != nil && !errors.Is(p.result, oci.ErrUnavailable) {
			return fmt.Sprintf("process %d ended with %v", i, p.result)
		}
	}
	return ""
}

// explore visits every state that can be reached, or limit of them, and returns
// how many there were and what is wrong with the first bad one. A state that was
// reached in two ways is visited once. A process cannot be copied, so that it is
// brought to a state by making its steps again.
func (m *modelRun) explore(limit int) (states int, bad string) {
	m.pins = map[string]pin{}
	seen := map[uint64]struct{}{}
	stack := [][]byte{nil}
	for len(stack) > 0 {
		path := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		w := m.begin()
		for _, p := range path {
			w.procs[p].next()
		}
		for bad == "" {
			var open []byte
			for i, p := range w.procs {
				if !p.done {
					open = append(open, byte(i))
				}
			}
			if bad = m.violation(w, len(open) == 0); bad != "" {
				bad = fmt.Sprintf("%s, after the steps of %v", bad, path)
			}
			if _, ok := seen[w.state()]; ok || len(open) == 0 {
				break
			}
			seen[w.state()] = struct{}{}
			for _, p := range open[1:] {
				stack = append(stack, append(path[:len(path):len(path)], p))
			}
			path = append(path[:len(path):len(path)], open[0])
			w.procs[open[0]].next()
		}
		for _, p := range w.procs {
			p.stop()
		}
		if bad != "" || limit > 0 && len(seen) >= limit {
			return len(seen), bad
		}
	}
	return len(seen), ""
}

// TestCollectModel tries every way in which the steps of writers and collectors
// can follow each other, over the code that serves: no manifest that was
// acknowledged ever lacks a blob, whoever stalls or dies wherever.
func TestCollectModel(t *testing.T) {
	for _, m := range []modelRun{
		{writers: 1, collectors: 1},
		{writers: 2, collectors: 1},
		{writers: 2, collectors: 1, apart: true},
		{writers: 1, collectors: 2},
		{writers: 2, collectors: 2},
		{writers: 2, collectors: 2, apart: true},
	} {
		t.Run(fmt.Sprintf("%d writers, %d collectors, apart %v", m.writers, m.collectors, m.apart), func(t *testing.T) {
			limit := *modelStates
			if limit == 0 {
				limit = 800
			}
			states, bad := m.explore(limit)
			if bad != "" {
				t.Error(bad)
			}
			t.Logf("%d states", states)
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
	} {
		t.Run(m.cut, func(t *testing.T) {
			states, bad := m.explore(5000)
			if bad == "" {
				t.Errorf("nothing was found in %d states", states)
			}
			t.Logf("%d states: %s", states, bad)
		})
	}
}

// TestCollectModelFindsMore: names that are used again, and a writer that relies
// on a pin that another one has only just written, are found out too. That takes
// many steps, so it is looked for at random.
func TestCollectModelFindsMore(t *testing.T) {
	for _, m := range []modelRun{
		{writers: 1, collectors: 2, cut: "names are used again", pins: map[string]pin{}},
		{writers: 2, collectors: 1, trusting: true, pins: map[string]pin{}},
	} {
		bad := ""
		for seed := uint64(0); seed < 20000 && bad == ""; seed++ {
			w := m.begin()
			runRandomly(rand.New(rand.NewPCG(seed, 1)), w, func() { bad = cmp.Or(bad, m.violation(w, false)) })
			if bad != "" {
				t.Logf("seed %d: %s", seed, bad)
			}
		}
		if bad == "" {
			t.Errorf("nothing was found: %+v", m)
		}
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
			w.start(of, nil, pushesImage)
		}
		for _, of := range []string{"c", "d"} {
			w.start(of, nil, func(ctx context.Context, v *Vault) error { return errors.Join(collects(ctx, v), collects(ctx, v)) })
		}
		runRandomly(rng, w, func() {
			for i, p := range w.procs[:2] {
				if whole, _ := w.whole(Key(prefix)); whole == "" && p.done && p.result == nil {
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
