package relocate

import (
	"cmp"
	"context"
	"errors"
	"iter"
	"slices"
	"sync"

	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
)

// Ways is what a run has found out about the registries of its target: whether
// a blob that is there gets from one repository to another without the source.
// The zero value knows nothing.
type ways struct {
	mu      sync.Mutex      // guards what follows
	m       map[string]*way // :: host → what is known of it
	several bool            // the target has several repositories
	// small are blobs that were read for one repository, for the next ones;
	// none any more once a host has shown that it mounts.
	small map[oci.Digest][]byte
	bytes int // of them
}

// A way is one registry.
type way struct {
	mounts  bool // a blob was mounted
	refuses bool // a mount was refused of what is there
	unread  bool // what was pushed there could not be read
	doubt   bool // a question for a blob was refused: the repository may be new, or the account one that pushes alone
}

// alone reports whether blobs do not get from one repository to another: they
// are then fed to all that need them at once. One that was mounted proves more
// than one that was not.
func (w way) alone() bool { return !w.mounts && (w.refuses || w.unread || w.doubt) }

// useless reports whether what is there is of no use for other repositories.
func (w way) useless() bool { return !w.mounts && w.unread }

// maxSmall bounds the bytes of small blobs that are kept.
const maxSmall = 8 << 20

// of returns what is known of a host.
func (s *ways) of(host string) way {
	s.mu.Lock()
	defer s.mu.Unlock()
	if w := s.m[host]; w != nil {
		return *w
	}
	return way{}
}

// note changes what is known of a host.
func (s *ways) note(host string, change func(*way)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.m == nil {
		s.m = make(map[string]*way)
	}
	w := s.m[host]
	if w == nil {
		w = &way{}
		s.m[host] = w
	}
	change(w)
	if w.mounts {
		s.small, s.bytes = nil, 0
	}
}

// isRefusal reports whether an error is for want of a right.
func isRefusal(err error) bool {
	return errors.Is(err, oci.ErrDenied) || errors.Is(err, oci.ErrUnauthorized)
}

// blind reports whether a question for a tag of the target was refused and needs
// no answer, as where an account may push and nothing else.
func (r *run) blind(err error) bool {
	return isRefusal(err) && cmp.Or(r.cfg.OnExisting, Overwrite) == Overwrite
}

// keep keeps a small blob for other repositories of a host that may not mount
// it.
func (s *ways) keep(host string, d oci.Digest, raw []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if w := s.m[host]; !s.several || w != nil && w.mounts || s.bytes+len(raw) > maxSmall {
		return
	}
	if s.small == nil {
		s.small = make(map[oci.Digest][]byte)
	}
	if s.small[d] == nil {
		s.small[d] = raw
		s.bytes += len(raw)
	}
}

// kept returns a small blob that was read before, nil where it was not kept.
func (s *ways) kept(d oci.Digest) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.small[d]
}

// A survey is which repositories of the target need which blobs.
type survey struct {
	once  sync.Once
	wants map[oci.Digest][]ref.Name // :: digest → repositories, each once
}

// needers returns the repositories that need a blob that is not small. The
// first call reads the manifests of the whole set, by relocating it to nowhere;
// one that cannot be read is told of when its image is copied.
func (r *run) needers(ctx context.Context, d oci.Digest) []ref.Name {
	r.survey.once.Do(func() {
		var mu sync.Mutex // guards wants
		wants := make(map[oci.Digest][]ref.Name)
		var pairs []Pair
		for _, img := range r.images {
			pairs = append(pairs, img.pair)
		}
		dry := Config{
			Source: reading{r.cfg.Source, r}, Target: nowhere{}, Jobs: r.cfg.Jobs,
			NoReferrers: r.cfg.NoReferrers, Platforms: r.cfg.Platforms, TrimIndex: r.cfg.TrimIndex, Lacks: r.cfg.Lacks,
			Observe: func(e Event) {
				if e.Kind != BlobDone || e.Bytes <= smallBlob {
					return
				}
				mu.Lock()
				defer mu.Unlock()
				if n := pairs[e.Image].Target.Name; !slices.Contains(wants[e.Digest], n) {
					wants[e.Digest] = append(wants[e.Digest], n)
				}
			},
		}
		_, _ = Run(ctx, dry, pairs)
		r.survey.wants = wants
	})
	return r.survey.wants[d]
}

// A reading shares the manifests that it reads with a run.
type reading struct {
	oci.Reader
	run *run
}

var (
	_ oci.Lister        = reading{}
	_ oci.SubjectLister = reading{}
)

// Manifest implements [oci.Reader].
func (s reading) Manifest(ctx context.Context, r ref.Ref) (oci.Manifest, error) {
	m, first, err := s.run.read.do(ctx, r, func() (oci.Manifest, error) { return s.Reader.Manifest(ctx, r) })
	if n := int64(len(m.Raw)); first && s.run.kept.Add(n) > maxRead {
		s.run.kept.Add(-n)
		s.run.read.forget(r)
	}
	return m, err
}

// Tags implements [oci.Lister].
func (s reading) Tags(ctx context.Context, n ref.Name, after string) iter.Seq2[string, error] {
	if l, ok := s.Reader.(oci.Lister); ok {
		return l.Tags(ctx, n, after)
	}
	return func(yield func(string, error) bool) { yield("", oci.ErrUnsupported) }
}

// Subjects implements [oci.SubjectLister].
func (s reading) Subjects(ctx context.Context, n ref.Name, d oci.Digest) ([]oci.Descriptor, error) {
	if l, ok := s.Reader.(oci.SubjectLister); ok {
		return l.Subjects(ctx, n, d)
	}
	return nil, oci.ErrUnsupported
}
