package relocate

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
)

// blobs knows where at the target each blob is. The repository that needs a
// blob first becomes its home; all others mount it from there, and wait until
// they can. The zero value knows nothing.
type blobs struct {
	ways ways // what the target's registries do with what is there

	mu sync.Mutex           // guards what follows
	m  map[oci.Digest]*blob // :: digest → where it is
}

type blob struct {
	size   int64
	home   ref.Name                  // the first repository that had it; no path: none yet
	leader chan struct{}             // closed when the upload to the first repository is over; nil where there is none
	in     map[ref.Name]*flight[how] // :: repository → what is under way, or done
	base   bool                      // the source does not have it
	fed    map[ref.Name]bool         // :: repository → it was pushed there together with another one
}

// How a blob got to where it is.
type how int

const (
	wasThere how = iota
	mounted
	pushed
	noted // it will be read later
)

// place puts a blob into a repository by means of put, which is told the home
// of the blob, or nothing where it is to be the home itself. Somebody else's
// work counts as wasThere.
func (b *blobs) place(ctx context.Context, n ref.Name, d oci.Descriptor, put func(home ref.Name) (how, error)) (how, error) {
	b.mu.Lock()
	one := b.get(d)
	if f, ok := one.in[n]; ok {
		b.mu.Unlock()
		select {
		case <-f.done:
			return wasThere, f.err
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
	}
	f := &flight[how]{done: make(chan struct{})}
	one.in[n] = f
	f.value, f.err = b.fly(ctx, one, put)
	if f.err == nil && one.home.Path == "" {
		one.home = n
	}
	if f.err != nil {
		delete(one.in, n)
	}
	b.mu.Unlock()
	close(f.done)
	return f.value, f.err
}

// fly waits for a home, or makes one. The caller holds the mutex, and holds it
// again afterwards.
func (b *blobs) fly(ctx context.Context, one *blob, put func(home ref.Name) (how, error)) (how, error) {
	for b.homeOf(one).Path == "" && one.leader != nil {
		leader := one.leader
		b.mu.Unlock()
		var err error
		select {
		case <-leader:
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
		b.mu.Lock()
		if err != nil {
			return 0, err
		}
	}
	home := b.homeOf(one)
	if home.Path == "" {
		leader := make(chan struct{})
		one.leader = leader
		// Whoever waits looks only once the mutex is free again, and then sees
		// the home.
		defer func() { one.leader = nil; close(leader) }()
	}
	b.mu.Unlock()
	defer b.mu.Lock()
	return put(home)
}

func (b *blobs) get(d oci.Descriptor) *blob {
	if b.m == nil {
		b.m = make(map[oci.Digest]*blob)
	}
	one := b.m[d.Digest]
	if one == nil {
		one = &blob{size: d.Size, in: make(map[ref.Name]*flight[how])}
		b.m[d.Digest] = one
	}
	return one
}

// forget notes that a repository has lost a blob.
func (b *blobs) forget(n ref.Name, d oci.Digest) {
	b.mu.Lock()
	defer b.mu.Unlock()
	one := b.m[d]
	if one == nil {
		return
	}
	delete(one.in, n)
	delete(one.fed, n)
	if one.home == n {
		one.home = ref.Name{}
	}
}

// homeOf returns where a blob is mounted or read from: nowhere, where its home
// would not help. The caller holds the mutex.
func (b *blobs) homeOf(one *blob) ref.Name {
	if one.home.Path != "" && !one.base && b.ways.of(one.home.Host).useless() {
		return ref.Name{}
	}
	return one.home
}

// feed notes that a repository was fed together with another one.
func (b *blobs) feed(n ref.Name, d oci.Descriptor) {
	b.mu.Lock()
	defer b.mu.Unlock()
	one := b.get(d)
	if one.fed == nil {
		one.fed = make(map[ref.Name]bool)
	}
	one.fed[n] = true
}

// wasFed reports whether a repository was.
func (b *blobs) wasFed(n ref.Name, d oci.Digest) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	one := b.m[d]
	return one != nil && one.fed[n]
}

// unique returns the size of all blobs together.
func (b *blobs) unique() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	var n int64
	for _, one := range b.m {
		n += one.size
	}
	return n
}

// isForeign reports whether a layer is not for registries to distribute: it
// stays where its URLs say.
func isForeign(d oci.Descriptor) bool {
	return strings.Contains(d.MediaType, ".nondistributable.") || strings.Contains(d.MediaType, ".foreign.")
}

// placeBlob puts a blob into the target's repository.
func (g *graph) placeBlob(ctx context.Context, d oci.Descriptor) error {
	if isForeign(d) {
		g.img.mu.Lock()
		g.img.foreign++
		g.img.mu.Unlock()
		return nil
	}
	var lost *lostError
	place := func() (how, error) {
		return g.blobs.place(ctx, g.to, d, func(home ref.Name) (how, error) { return g.putBlob(ctx, d, home) })
	}
	got, err := place()
	for range healAttempts {
		if !errors.As(err, &lost) {
			break
		}
		if !lost.there {
			g.blobs.forget(lost.home, d.Digest)
		}
		got, err = place()
	}
	if err != nil {
		return fmt.Errorf("copy blob %s: %w", d.Digest, err)
	}
	switch got {
	case wasThere:
		g.img.present.Add(1)
	case mounted:
		g.img.mounted.Add(1)
	case pushed:
		g.img.pushed.Add(1)
		g.img.pushedBytes.Add(d.Size)
	case noted:
		return nil
	}
	g.observe(Event{Kind: BlobDone, Image: g.img.index, Digest: d.Digest, Bytes: d.Size})
	return nil
}

// A lostError says that the home of a blob has it no more, or does not let us
// read it.
type lostError struct {
	home  ref.Name
	err   error
	there bool
}

func (e *lostError) Error() string {
	if e.there {
		return "read it from " + e.home.String() + ": " + e.err.Error()
	}
	return e.home.String() + " has lost it: " + e.err.Error()
}
func (e *lostError) Unwrap() error { return e.err }

// putBlob gets a blob into the repository: from its home at the target where
// it has one, otherwise from the source.
func (g *graph) putBlob(ctx context.Context, d oci.Descriptor, home ref.Name) (how, error) {
	if n, ok := g.cfg.Target.(noter); ok {
		return n.note(d, g.from, g.img)
	}
	if g.cfg.Journal.blob(g.to, d.Digest) {
		return wasThere, nil
	}
	if g.blobs.wasFed(g.to, d.Digest) {
		return pushed, nil
	}
	free, err := g.sched.transfer(ctx, d.Size)
	if err != nil {
		return 0, err
	}
	defer free()
	there, err := g.has(ctx, d)
	if err != nil || there {
		return wasThere, err
	}
	src := g.content(ctx, d, home)
	defer src.close()
	got, err := g.transfer(ctx, d, home, src)
	if err != nil && src.rejected() {
		// Its bytes were wrong, and somebody else may have the right ones.
		got, err = g.transfer(ctx, d, home, src)
	}
	if err != nil && src.ours && errors.Is(err, oci.ErrNotFound) {
		return 0, &lostError{home: home, err: err}
	}
	if _, base := g.cfg.Base[d.Digest]; err != nil && !base && src.refused.Load() {
		return 0, &lostError{home, err, true}
	}
	if err != nil {
		return 0, err
	}
	return got, g.cfg.Journal.blobDone(g.to, d.Digest)
}

// has reports whether the repository has the blob already. One that is new is
// not asked.
func (g *graph) has(ctx context.Context, d oci.Descriptor) (bool, error) {
	known, err := g.repo(ctx, g.to)
	if err != nil || !known.exists {
		return false, err
	}
	_, err = g.cfg.Target.Stat(ctx, g.to, d.Digest)
	switch {
	case err == nil:
		return true, nil
	case errors.Is(err, oci.ErrUnavailable):
		return false, err
	case isRefusal(err):
		g.blobs.ways.note(g.to.Host, func(w *way) { w.doubt = true })
	}
	return false, nil
}

// transfer mounts or pushes the blob.
func (g *graph) transfer(ctx context.Context, d oci.Descriptor, home ref.Name, src *content) (how, error) {
	p, ok := g.cfg.Target.(oci.Pusher)
	if !ok {
		return pushed, g.cfg.Target.PutBlob(ctx, g.to, d, src.open)
	}
	push := g.pushing(g.to, d)
	if push.From = home; home.Path == "" {
		push.From = g.cfg.Have.home(g.to, d.Digest)
	}
	if push.From.Path == "" {
		if others := g.others(ctx, d); len(others) > 0 {
			return pushed, g.feed(ctx, d, p, src, others)
		}
		src.prefetch()
	}
	was, err := p.PushBlob(ctx, g.to, d, src.open, push)
	if was {
		g.blobs.ways.note(g.to.Host, func(w *way) { w.mounts = true })
		return mounted, err
	}
	if home.Path != "" && (err == nil || src.refused.Load()) {
		g.blobs.ways.note(g.to.Host, func(w *way) { w.refuses = true })
	}
	return pushed, err
}

// pushing is what is said of each push of a blob.
func (g *graph) pushing(n ref.Name, d oci.Descriptor) oci.Push {
	push := oci.Push{Verified: true}
	if g.cfg.Journal != nil {
		push.Session = g.cfg.Journal.session(n, d.Digest)
		push.Confirmed = func(session string, size int64) { g.cfg.Journal.confirmed(n, d.Digest, session, size) }
	}
	return push
}
