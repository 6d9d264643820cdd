package store

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"iter"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
)

var stormFor = flag.Duration("storm", 0, "how long the storm of pushes and collections lasts; 0: some rounds")

// A storm is pushes, mounts, pulls and deletes in one directory, while collectors
// of other processes are at work there. Time in it is counted in calls of the bucket.
type storm struct {
	s     *Store
	until time.Time

	mu    sync.Mutex // guards all below
	cond  *sync.Cond
	moves int64 // calls of everybody
	over  bool
}

func newStorm(t *testing.T, dir string) *storm {
	s := &storm{until: time.Now().Add(*stormFor)}
	s.cond = sync.NewCond(&s.mu)
	s.s = open(t, dir, Config{before: quick, wrap: s.wrap})
	return s
}

func (s *storm) wrap(d *Disk) Bucket { return &stalling{d, s} }

// end lets everybody go on to the end.
func (s *storm) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over = true
	s.cond.Broadcast()
}

func (s *storm) isOver() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.over
}

// after waits until others have made some calls.
func (s *storm) after(moves int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for until := s.moves + moves; s.moves < until && !s.over; {
		s.cond.Wait()
	}
}

// step counts a call, and at times stops who makes it until others have made
// some, as SIGSTOP would. It does not wait for ever, since they may need a lock
// that he has.
func (s *storm) step() {
	s.mu.Lock()
	s.moves++
	now := s.moves
	s.cond.Broadcast()
	s.mu.Unlock()
	if rand.IntN(50) > 0 {
		return
	}
	until := now + rand.Int64N(400)
	for range 2000 {
		if s.reached(until) {
			return
		}
		runtime.Gosched()
	}
}

func (s *storm) reached(moves int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.moves >= moves
}

// A stalling bucket is that of a process that is stopped at times.
type stalling struct {
	*Disk
	s *storm
}

func (b *stalling) Open(ctx context.Context, k Key) (Object, error) {
	b.s.step()
	return b.Disk.Open(ctx, k)
}

func (b *stalling) Put(ctx context.Context, k Key, data []byte) error {
	b.s.step()
	return b.Disk.Put(ctx, k, data)
}

func (b *stalling) Stat(ctx context.Context, k Key) (Info, error) {
	b.s.step()
	return b.Disk.Stat(ctx, k)
}

func (b *stalling) Delete(ctx context.Context, k Key) error {
	b.s.step()
	return b.Disk.Delete(ctx, k)
}

func (b *stalling) List(ctx context.Context, prefix, after string, deep bool) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		for e, err := range b.Disk.List(ctx, prefix, after, deep) {
			if b.s.step(); !yield(e, err) {
				return
			}
		}
	}
}

func (b *stalling) Move(ctx context.Context, from, to Key) error {
	b.s.step()
	return b.Disk.Move(ctx, from, to)
}

func (b *stalling) Copy(ctx context.Context, from, to Key) error {
	b.s.step()
	return b.Disk.Copy(ctx, from, to)
}

// put gives a repository a blob: mounted from another one where it is there.
func (s *storm) put(ctx context.Context, n ref.Name, content string) (oci.Descriptor, error) {
	v := s.s.Vault()
	d := oci.Descriptor{MediaType: blobType, Digest: digestOf(content), Size: int64(len(content))}
	if rand.IntN(2) == 0 && v.Mount(ctx, n, ref.Name{Path: fmt.Sprint("client/", rand.IntN(2))}, d.Digest) == nil {
		return d, nil
	}
	return d, v.PutBlob(ctx, n, d, source([]byte(content)))
}

// push is a client: what it is told is missing it uploads again. A registry
// whose collectors let nothing grow old is no place to push to, so that it may
// have to be patient.
func (s *storm) push(ctx context.Context, n ref.Name, contents []string, tags ...string) (oci.Manifest, error) {
	for tries := 1; ; tries++ {
		var blobs []oci.Descriptor
		var errs error
		for _, content := range contents {
			d, err := s.put(ctx, n, content)
			blobs, errs = append(blobs, d), errors.Join(errs, err)
		}
		m := imageOf("", blobs...)
		if errs == nil {
			errs = s.s.Vault().PutManifest(ctx, n, m, tags...)
		}
		if errs == nil || tries == 1000 || !errors.Is(errs, oci.ErrInvalid) && !errors.Is(errs, oci.ErrUnavailable) {
			return m, errs
		}
	}
}

// client pushes images that share blobs with those of others, moves a tag, pulls
// all, and deletes.
func (s *storm) client(ctx context.Context, id, rounds int) error {
	n := ref.Name{Path: fmt.Sprint("client/", id%2)}
	moving := fmt.Sprint("moving-", id)
	var have []oci.Manifest
	for i := 0; i < rounds || time.Now().Before(s.until); i++ {
		tag := fmt.Sprintf("c%d-%d", id, i)
		contents := []string{fmt.Sprintf("config %d %d", id, i), fmt.Sprint("layer ", rand.IntN(5)), fmt.Sprint("layer ", 5+rand.IntN(5))}
		m, err := s.push(ctx, n, contents, tag, moving)
		if err != nil {
			return fmt.Errorf("push %s: %w", tag, err)
		}
		have = append(have, m)
		if err := s.pull(ctx, n, m, have, moving); err != nil {
			return err
		}
		if len(have) > 3 {
			if err := s.s.Vault().DeleteManifest(ctx, n, have[0].Digest); err != nil {
				return fmt.Errorf("delete: %w", err)
			}
			have = have[1:]
		}
	}
	return nil
}

// pull reads all that a client has, by a server that knows it or by one that has
// just started.
func (s *storm) pull(ctx context.Context, n ref.Name, last oci.Manifest, have []oci.Manifest, moving string) error {
	v := s.s.Vault()
	if rand.IntN(2) == 0 {
		v = newVault(s.s)
	}
	if d, err := v.Resolve(ctx, n.WithTag(moving)); err != nil || d.Digest != last.Digest {
		return fmt.Errorf("tag %s: %s, %w, want %s", moving, d.Digest, err, last.Digest)
	}
	for _, m := range have {
		if err := whole(ctx, v, n.WithDigest(m.Digest)); err != nil {
			return fmt.Errorf("pull %s: %w", m.Digest, err)
		}
	}
	return whole(ctx, v, n.WithTag(moving))
}

// collector collects until the storm is over, in a process of its own as far
// as the store can tell. Some collections end in the middle.
func (s *storm) collector(dir string) (cycles int, err error) {
	for !s.isOver() {
		beside, err := Attach(dir, Config{before: quick, wrap: s.wrap})
		if err != nil {
			return cycles, err
		}
		ctx, kill := context.WithCancel(context.Background())
		if rand.IntN(4) == 0 {
			go func() { s.after(rand.Int64N(2000)); kill() }()
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

// leaveGarbage pushes images and deletes them.
func (s *storm) leaveGarbage(t *testing.T, images int) {
	t.Helper()
	n := ref.Name{Path: "client/0"}
	for i := range images {
		m, err := s.push(t.Context(), n, []string{fmt.Sprint("garbage ", i), "layer 1", "layer 5"}, "garbage")
		if err == nil {
			err = s.s.Vault().DeleteManifest(t.Context(), n, m.Digest)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestFault22Storm: four clients push, mount, move tags, pull and delete while four
// collectors collect. Everybody is stopped at times in the middle of a call, and
// some collectors die there. No pull of a tagged image fails, no pin dangles, and
// two collections later all garbage is gone (distribution#3045, harbor#12975,
// moby#53321).
func TestFault22Storm(t *testing.T) {
	dir := quickDir(t)
	s := newStorm(t, dir)
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
			if err := s.client(t.Context(), id, 10); err != nil {
				t.Errorf("client %d: %v", id, err)
			}
		})
	}
	clients.Wait()
	s.end()
	collectors.Wait()
	t.Logf("%d calls", s.moves)
	s.leaveGarbage(t, 200)
	var garbage int64
	for range 2 {
		garbage += collect(t, s.s.Vault(), Collection{Grace: 1, Force: true}).Trashed.Blobs
	}
	got := collect(t, s.s.Vault(), Collection{Grace: 1, DryRun: true})
	t.Logf("%d blobs were garbage at the end; %d are left of it", garbage, got.Garbage.Blobs)
	if garbage < 400 || got.Garbage.Blobs > 0 || got.Damaged > 0 || got.Pins == 0 {
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
