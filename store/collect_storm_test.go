package store

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
)

var stormFor = flag.Duration("storm", 0, "how long the storm of pushes and collections lasts; 0: some rounds")

// A storm is pushes, pulls and deletes in one directory, while collectors of
// other processes are at work there.
type storm struct {
	s     *Store
	until time.Time
	moves atomic.Int64 // of everybody; a collector that stalls waits for some
	over  atomic.Bool

	mu   sync.Mutex
	cond *sync.Cond
}

func (s *storm) move() {
	s.moves.Add(1)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cond.Broadcast()
}

// stall stops whoever calls it until others have made some moves.
func (s *storm) stall(moves int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for until := s.moves.Load() + moves; s.moves.Load() < until && !s.over.Load(); {
		s.cond.Wait()
	}
}

// A stalling bucket is that of a process that is stopped at times.
type stalling struct {
	*Disk
	s *storm
}

func (b *stalling) pause() {
	if rand.IntN(10) == 0 {
		b.s.stall(rand.Int64N(3))
	}
}

func (b *stalling) Put(ctx context.Context, k Key, data []byte) error {
	b.pause()
	return b.Disk.Put(ctx, k, data)
}

func (b *stalling) Move(ctx context.Context, from, to Key) error {
	b.pause()
	return b.Disk.Move(ctx, from, to)
}

func (b *stalling) Delete(ctx context.Context, k Key) error {
	b.pause()
	return b.Disk.Delete(ctx, k)
}

// push is a client: what it is told is missing it uploads again. A registry
// whose collectors let nothing grow old is no place to push to, so that it may
// have to be patient.
func (s *storm) push(ctx context.Context, n ref.Name, contents []string, tag string) (oci.Manifest, error) {
	v := s.s.Vault()
	for tries := 1; ; tries++ {
		var blobs []oci.Descriptor
		var err error
		for _, content := range contents {
			d := oci.Descriptor{MediaType: blobType, Digest: digestOf(content), Size: int64(len(content))}
			err = errors.Join(err, v.PutBlob(ctx, n, d, source([]byte(content))))
			blobs = append(blobs, d)
		}
		m := imageOf("", blobs...)
		if err == nil {
			err = v.PutManifest(ctx, n, m, tag)
		}
		if err == nil || tries == 1000 || !errors.Is(err, oci.ErrInvalid) && !errors.Is(err, oci.ErrUnavailable) {
			return m, err
		}
	}
}

// client pushes images that share blobs with those of others, pulls them, and
// deletes them.
func (s *storm) client(ctx context.Context, id, rounds int) error {
	n := ref.Name{Path: fmt.Sprint("client/", id%2)}
	var have []oci.Manifest
	for i := 0; i < rounds || time.Now().Before(s.until); i++ {
		tag := fmt.Sprintf("c%d-%d", id, i)
		contents := []string{fmt.Sprintf("config %d %d", id, i), fmt.Sprint("layer ", rand.IntN(5)), fmt.Sprint("layer ", 5+rand.IntN(5))}
		m, err := s.push(ctx, n, contents, tag)
		if err != nil {
			return fmt.Errorf("push %s: %w", tag, err)
		}
		s.move()
		have = append(have, m)
		for j, m := range have {
			v := s.s.Vault()
			if rand.IntN(2) == 0 {
				v = newVault(s.s)
			}
			if err := whole(ctx, v, n.WithTag(fmt.Sprintf("c%d-%d", id, i-len(have)+1+j))); err != nil {
				return fmt.Errorf("pull %s: %w", m.Digest, err)
			}
		}
		if len(have) > 3 {
			if err := s.s.Vault().DeleteManifest(ctx, n, have[0].Digest); err != nil {
				return fmt.Errorf("delete: %w", err)
			}
			have = have[1:]
		}
		s.move()
	}
	return nil
}

// collector collects until the storm is over, in a process of its own as far
// as the store can tell. Some collections end in the middle.
func (s *storm) collector(dir string) (cycles int, err error) {
	for !s.over.Load() {
		beside, err := Attach(dir, Config{before: quick, wrap: func(d *Disk) Bucket { return &stalling{d, s} }})
		if err != nil {
			return cycles, err
		}
		ctx, kill := context.WithCancel(context.Background())
		if rand.IntN(4) == 0 {
			go func() { s.stall(1); kill() }()
		}
		_, err = beside.Vault().Collect(ctx, Collection{Grace: time.Duration(rand.IntN(20)+1) * time.Millisecond, Force: true})
		killed := ctx.Err() != nil
		kill()
		if err := beside.Close(); err != nil {
			return cycles, err
		}
		if err != nil && !killed {
			return cycles, err
		}
		cycles++
	}
	return cycles, nil
}

// TestCollectStorm: four clients push, pull and delete while four collectors
// collect, stall and die. No pull of a tagged image fails, no pin dangles, and
// two collections later all garbage is gone.
func TestCollectStorm(t *testing.T) {
	dir := quickDir(t)
	s := &storm{s: open(t, dir, Config{before: quick}), until: time.Now().Add(*stormFor)}
	s.cond = sync.NewCond(&s.mu)
	var clients, collectors sync.WaitGroup
	for range 4 {
		collectors.Go(func() {
			cycles, err := s.collector(dir)
			if err != nil {
				t.Errorf("a collector: %v", err)
			}
			t.Logf("%d collections", cycles)
		})
	}
	for id := range 4 {
		clients.Go(func() {
			if err := s.client(t.Context(), id, 25); err != nil {
				t.Errorf("client %d: %v", id, err)
			}
		})
	}
	clients.Wait()
	s.over.Store(true)
	s.move()
	collectors.Wait()
	for range 2 {
		collect(t, s.s.Vault(), Collection{Grace: 1, Force: true})
	}
	got := collect(t, s.s.Vault(), Collection{Grace: 1, DryRun: true})
	if got.Garbage.Blobs > 0 || got.Damaged > 0 || got.Pins == 0 {
		t.Errorf("after two collections: %+v", got)
	}
	later, err := Attach(dir, Config{before: quick, Now: func() time.Time { return time.Now().Add(48 * time.Hour) }})
	if err != nil {
		t.Fatal(err)
	}
	defer later.Close()
	collect(t, later.Vault(), Collection{})
	if err := check(dir); err != nil {
		t.Error(err)
	}
	if left := filesBelow(t, dir, "v/c", "trash"); len(left) > 0 {
		t.Errorf("left: %s", strings.Join(left, " "))
	}
}

// collectTwice collects one of two images, and renews the pin of the other one,
// because its blobs are marked.
func collectTwice(w *world) error {
	gone, err := w.image(app, "one")
	if err != nil {
		return err
	}
	kept, err := w.image(app, "two", "kept")
	if err != nil {
		return err
	}
	for _, fact := range []string{"blob config of one", "blob layer of one", app.WithDigest(gone.Digest).String()} {
		delete(w.facts, fact)
	}
	v := w.s.Vault()
	if err := v.DeleteManifest(w.ctx, app, gone.Digest); err != nil {
		return err
	}
	p, err := v.pin(w.ctx, app, kept.Digest)
	if err != nil {
		return err
	}
	for _, x := range p.Pins {
		k, err := vaultMarkerKey(x.Digest, x.Inc)
		if err == nil {
			err = w.s.bucket.Put(w.ctx, k, nil)
		}
		if err != nil {
			return err
		}
	}
	for range 2 {
		if _, err := v.Collect(w.ctx, Collection{Grace: 1, Force: true, Jobs: 1}); err != nil {
			return err
		}
	}
	return nil
}
