package relocate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
)

// A Target is a place that images are relocated to. Where it is also an
// [oci.Pusher], blobs are mounted, uploads resumed and the tags of the set set
// last; where it is an [oci.Lister], a repository that is new costs no question
// for what it holds.
type Target interface {
	oci.Reader
	oci.Writer
}

// A Config configures a run. Source and Target are required.
type Config struct {
	// Source has the images, by the whole names of the pairs. What else it can
	// do is found by assertion: [oci.Lister], [oci.SubjectLister],
	// [oci.ReferrersLister], [oci.Ranger].
	Source oci.Reader
	Target Target

	// Jobs is how many images are worked on, and how many blobs are under way,
	// at once; 0 chooses. How much of that a registry gets is the affair of
	// Source and Target, which know its answers.
	Jobs int

	OnExisting  OnExisting // what happens to a tag of the target that is something else
	Partial     bool       // tags move although some images failed
	NoReferrers bool       // signatures, attestations and the like stay behind
	Platforms   []Platform // the images of an index that are copied; none means all
	TrimIndex   bool       // with Platforms: the index names those alone, and gets another digest

	// Lacks says of an image of an index that the source leaves it out on purpose,
	// as an archive of some platforms does: it is then left behind, as with
	// Platforms. Nil means that what is missing is a fault.
	Lacks func(ref.Name, oci.Digest) bool

	// Base is what the target should have by itself and the source does not give.
	// It is looked for before anything is written; where some of it is missing the
	// error is a [*BaseError]. What is there is mounted from where it is, or read
	// there. Nil or empty means that the source has everything.
	Base Base

	Journal *Journal // of this run, to resume it; nil keeps none
	Have    *Have    // what was finished in earlier runs; nil knows nothing

	Log     *slog.Logger     // nil discards
	Now     func() time.Time // nil is time.Now
	Observe func(Event)      // nil, or told of what happens; called from many goroutines, must return fast

	// Requests, if not nil, returns how many requests source and target have
	// had, for the report.
	Requests func() (source, target int64)

	huge, probe, fast int64 // for tests, instead of hugeBlob, probeSize and fastStream; 0 means those
}

// OnExisting says what happens where a tag is at the target already and points
// elsewhere.
type OnExisting string

// The ways to treat an existing tag.
const (
	Overwrite OnExisting = "overwrite" // it is moved; so is ""
	Keep      OnExisting = "keep"      // it stays, and its image is not copied
	Fail      OnExisting = "fail"      // nothing of the set is written
	Backup    OnExisting = "backup"    // it is moved, and what it was gets a tag of its own
)

// ErrIncomplete says that some images were not relocated; the report says
// which and why.
var ErrIncomplete = errors.New("some images were not relocated")

// Run relocates a set of images: of each its blobs, its manifests, what refers
// to them, and when all images of the set are there, their tags. One image's
// failure does not stop the others; the error is then ErrIncomplete, and
// without Config.Partial no tag has moved. An [*ExistsError] or a [*BaseError]
// says that nothing was written. The report is right in every case.
func Run(ctx context.Context, cfg Config, pairs []Pair) (Report, error) {
	r := newRun(cfg, pairs)
	err := r.run(ctx)
	return r.report(), err
}

// errNotTried is the error of images where the set as a whole is refused.
var errNotTried = errors.New("it was not tried: nothing of the set was written")

// refuse ends a run before anything is written.
func (r *run) refuse(err error) error {
	for _, img := range r.images {
		img.finish(errNotTried)
	}
	return err
}

// A run is one set on its way.
type run struct {
	cfg     Config
	log     *slog.Logger
	started time.Time

	images    []*image
	blobs     blobs
	manifests flights[placed, struct{}]      // manifests on their way to a repository
	read      flights[ref.Ref, oci.Manifest] // manifests of the source
	repos     flights[ref.Name, *repo]       // repositories of the target
	tags      flights[ref.Name, *tagList]    // tags of the source's repositories
	set       flights[ref.Ref, struct{}]     // tags of the target, with the digests that they get
	sched     *scheduler
	survey    survey
	feeds     *gate    // who may feed several repositories at once: one
	listed    sync.Map // :: referrer at the target → struct{}; the target lists it by itself

	kept   atomic.Int64 // bytes of manifests that are kept for other images
	source atomic.Int64 // bytes of blobs that were read from the source
}

// A placed is a manifest in a repository of the target.
type placed struct {
	repo   ref.Name
	digest oci.Digest
}

func newRun(cfg Config, pairs []Pair) *run {
	r := &run{cfg: cfg, log: cfg.Log, sched: newScheduler(cfg.Jobs), feeds: newGate(1)}
	if r.log == nil {
		r.log = slog.New(slog.DiscardHandler)
	}
	if r.cfg.Now == nil {
		r.cfg.Now = time.Now
	}
	r.started = r.cfg.Now()
	for i, p := range pairs {
		r.images = append(r.images, &image{pair: p, index: i})
		r.blobs.ways.several = r.blobs.ways.several || p.Target.Name != pairs[0].Target.Name
	}
	return r
}

func (r *run) run(ctx context.Context) error {
	if err := r.base(ctx); err != nil {
		return r.refuse(err)
	}
	if r.cfg.OnExisting == Fail {
		if err := r.checkExisting(ctx); err != nil {
			return r.refuse(err)
		}
	}
	together(len(r.images), func(i int) error {
		img := r.images[i]
		free, err := r.sched.images.enter(ctx, 0)
		if err == nil {
			defer free()
			r.observe(Event{Kind: ImageStarted, Image: i})
			err = r.image(ctx, img)
		}
		img.finish(err)
		r.observe(Event{Kind: ImageCopied, Image: i, Err: err})
		return nil
	})
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if r.failed() == 0 || r.cfg.Partial {
		r.setTags(ctx)
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if n := r.failed(); n > 0 {
		return fmt.Errorf("%w: %d of %d", ErrIncomplete, n, len(r.images))
	}
	return nil
}

func (r *run) failed() int {
	n := 0
	for _, img := range r.images {
		if img.err != nil {
			n++
		}
	}
	return n
}

func (r *run) observe(e Event) {
	if r.cfg.Observe != nil {
		r.cfg.Observe(e)
	}
}

// together runs f for 0 to n-1 at once and waits for all. The error is the
// first, in their order: one failure does not end what the others do, which
// may be of use to other images.
func together(n int, f func(int) error) error {
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { errs[i] = f(i) })
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// flights does each thing once, and lets whoever comes later have the result.
// What failed is done again for the next one that asks. The zero value is
// ready.
type flights[K comparable, V any] struct {
	mu sync.Mutex       // guards m
	m  map[K]*flight[V] // :: key → what is under way, or done
}

type flight[V any] struct {
	done  chan struct{}
	value V
	err   error
}

// do returns what f returned for the key. First says that this call ran it.
func (s *flights[K, V]) do(ctx context.Context, k K, f func() (V, error)) (v V, first bool, err error) {
	s.mu.Lock()
	if s.m == nil {
		s.m = make(map[K]*flight[V])
	}
	one, ok := s.m[k]
	if !ok {
		one = &flight[V]{done: make(chan struct{})}
		s.m[k] = one
	}
	s.mu.Unlock()
	if !ok {
		one.value, one.err = f()
		if one.err != nil {
			s.forget(k)
		}
		close(one.done)
		return one.value, true, one.err
	}
	select {
	case <-one.done:
		return one.value, false, one.err
	case <-ctx.Done():
		return v, false, context.Cause(ctx)
	}
}

// forget lets the next one do it again.
func (s *flights[K, V]) forget(k K) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.m, k)
}
