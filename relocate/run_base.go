package relocate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
)

// A Base is what the target should have of a set's blobs by itself, so that the
// source need not have them: an archive that was made for a destination leaves
// them out.
//
//	:: digest → what is known of the blob
type Base map[oci.Digest]BaseBlob

// A BaseBlob is a blob that the target should have.
type BaseBlob struct {
	Size int64 // bytes
	// Homes are repositories of the target that should have it, the likeliest
	// first. Those that need it are asked too; none means that they alone are.
	Homes []ref.Name
}

// A BaseError says which blobs the target lacks although the source leaves them
// out. Nothing was written.
type BaseError struct {
	Missing []MissingBlob // sorted by their digests
	Of      int           // blobs that the source leaves out and the images need
}

// A MissingBlob is one that neither side has.
type MissingBlob struct {
	Digest oci.Digest
	Size   int64      // bytes
	Images []ref.Ref  // that need it, by their original names, sorted
	Asked  []ref.Name // repositories that do not have it
}

// Error names them all.
func (e *BaseError) Error() string {
	blobs := "blobs"
	if len(e.Missing) == 1 {
		blobs = "blob"
	}
	s := fmt.Sprintf("the target lacks %d %s of %d that are left out because it should have them; nothing was written:", len(e.Missing), blobs, e.Of)
	for _, m := range e.Missing {
		var images []string
		for _, r := range m.Images {
			images = append(images, r.String())
		}
		s += fmt.Sprintf("\n  %s (%d bytes), of %s", m.Digest, m.Size, strings.Join(images, ", "))
	}
	return s
}

// findBase makes sure that the target has what the source leaves out of some
// images, and returns where. It writes nothing; the error is a [*BaseError]
// where something is missing.
func (c *Config) findBase(ctx context.Context, pairs []Pair) (map[oci.Digest]ref.Name, error) {
	if len(c.Base) == 0 || len(pairs) == 0 {
		return nil, nil
	}
	needs, err := c.needs(ctx, pairs)
	if err != nil {
		return nil, err
	}
	found := make([]ref.Name, len(needs))
	limit := make(chan struct{}, cmp.Or(c.Jobs, baseJobs))
	err = together(len(needs), func(i int) error {
		limit <- struct{}{}
		defer func() { <-limit }()
		var err error
		found[i], err = c.homeOf(ctx, &needs[i])
		return err
	})
	if err != nil {
		return nil, err
	}
	homes := make(map[oci.Digest]ref.Name, len(needs))
	lacks := &BaseError{Of: len(needs)}
	for i, n := range needs {
		if found[i].Path == "" {
			lacks.Missing = append(lacks.Missing, n)
		}
		homes[n.Digest] = found[i]
	}
	if len(lacks.Missing) > 0 {
		return nil, lacks
	}
	return homes, nil
}

// baseJobs is how many blobs are asked for at once.
const baseJobs = 32

// needs returns the blobs of the base that images need, by relocating the set to
// nowhere: what needs a blob is then what will ask for it. An image that cannot
// be read is told of when it is copied.
func (c *Config) needs(ctx context.Context, pairs []Pair) ([]MissingBlob, error) {
	var mu sync.Mutex // guards what follows
	wants := make(map[oci.Digest]map[int]bool)
	dry := Config{
		Source: c.Source, Target: nowhere{}, Jobs: c.Jobs, Partial: true,
		NoReferrers: c.NoReferrers, Platforms: c.Platforms, TrimIndex: c.TrimIndex, Lacks: c.Lacks,
		Observe: func(e Event) {
			if _, ok := c.Base[e.Digest]; !ok || e.Kind != BlobDone {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			if wants[e.Digest] == nil {
				wants[e.Digest] = make(map[int]bool)
			}
			wants[e.Digest][e.Image] = true
		},
	}
	if _, err := Run(ctx, dry, pairs); err != nil && !errors.Is(err, ErrIncomplete) {
		return nil, err
	}
	var needs []MissingBlob
	for d, images := range wants {
		one := MissingBlob{Digest: d, Size: c.Base[d].Size, Asked: slices.Clone(c.Base[d].Homes)}
		if _, ok := known(oci.Descriptor{Digest: d, Size: one.Size}); ok {
			continue // it comes from nowhere
		}
		var at []ref.Name
		for i := range images {
			one.Images = append(one.Images, pairs[i].Name())
			at = append(at, pairs[i].Target.Name)
		}
		one.Asked = likeliest(one.Asked, at)
		sortBy(one.Images, ref.Ref.String)
		needs = append(needs, one)
	}
	slices.SortFunc(needs, func(a, b MissingBlob) int { return cmp.Compare(a.Digest, b.Digest) })
	return needs, nil
}

// likeliest orders the repositories that are asked for a blob: those that need
// it and should have it, so that nothing is to be mounted, then others that
// should have it, then others that need it.
func likeliest(homes, need []ref.Name) []ref.Name {
	sortBy(need, ref.Name.String)
	var both, some, rest []ref.Name
	for _, n := range homes {
		if slices.Contains(need, n) {
			both = append(both, n)
		} else {
			some = append(some, n)
		}
	}
	for _, n := range need {
		if !slices.Contains(both, n) {
			rest = append(rest, n)
		}
	}
	var all []ref.Name
	for _, n := range slices.Concat(both, some, slices.Compact(rest)) {
		if !slices.Contains(all, n) {
			all = append(all, n)
		}
	}
	return all
}

func sortBy[T any](all []T, text func(T) string) {
	slices.SortFunc(all, func(a, b T) int { return cmp.Compare(text(a), text(b)) })
}

// maxHomes is how many repositories are asked for one blob: what so many have
// lost, a thousand do not have, and a set may lack a thousand blobs.
const maxHomes = 16

// homeOf returns a repository of the target that has a blob, the zero value
// where none does. Some are guesses, and may be nobody's business: only where
// none may be asked, that is the error.
func (c *Config) homeOf(ctx context.Context, b *MissingBlob) (ref.Name, error) {
	var refused error
	asked := 0
	b.Asked = b.Asked[:min(len(b.Asked), maxHomes)]
	for _, n := range b.Asked {
		_, err := c.Target.Stat(ctx, n, b.Digest)
		switch {
		case err == nil:
			return n, nil
		case errors.Is(err, oci.ErrNotFound):
			asked++
		case errors.Is(err, oci.ErrUnauthorized), errors.Is(err, oci.ErrDenied):
			refused = fmt.Errorf("ask %s for blob %s: %w", n, b.Digest, err)
		default:
			return ref.Name{}, fmt.Errorf("ask %s for blob %s: %w", n, b.Digest, err)
		}
	}
	if asked > 0 {
		return ref.Name{}, nil
	}
	return ref.Name{}, refused
}

// base looks before anything is written whether the target has what the source
// leaves out. From then on those repositories are the homes of these blobs, and
// the source is never asked for them.
func (r *run) base(ctx context.Context) error {
	if len(r.cfg.Base) == 0 {
		return nil
	}
	news := make([]bool, len(r.images))
	err := together(len(r.images), func(i int) error {
		free, err := r.sched.images.enter(ctx, 0)
		if err != nil {
			return err
		}
		defer free()
		// Of what was loaded before, and is there still, nothing is needed. What
		// cannot be read is told of when it is copied.
		same, err := r.unchanged(ctx, r.images[i])
		if same && !r.cfg.NoReferrers {
			same, err = r.sameReferrers(ctx, r.images[i])
		}
		news[i] = !same || err != nil
		return nil
	})
	if err != nil {
		return err
	}
	var pairs []Pair
	for i, img := range r.images {
		if news[i] {
			pairs = append(pairs, img.pair)
		}
	}
	homes, err := r.cfg.findBase(ctx, pairs)
	for d, n := range homes {
		r.blobs.settle(oci.Descriptor{Digest: d, Size: r.cfg.Base[d].Size}, n)
	}
	return err
}

// settle notes that a repository has a blob.
func (b *blobs) settle(d oci.Descriptor, home ref.Name) {
	b.mu.Lock()
	defer b.mu.Unlock()
	one := b.get(d)
	f := &flight[how]{done: make(chan struct{}), value: wasThere}
	close(f.done)
	one.home, one.in[home], one.base = home, f, true
}

// nowhere is a target that has nothing, takes everything and keeps nothing of
// it. No blob is read for it.
type nowhere struct{}

func (nowhere) Resolve(context.Context, ref.Ref) (oci.Descriptor, error) {
	return oci.Descriptor{}, oci.ErrNotFound
}

func (nowhere) Manifest(context.Context, ref.Ref) (oci.Manifest, error) {
	return oci.Manifest{}, oci.ErrNotFound
}

func (nowhere) Stat(context.Context, ref.Name, oci.Digest) (oci.Descriptor, error) {
	return oci.Descriptor{}, oci.ErrNotFound
}

func (nowhere) Blob(context.Context, ref.Name, oci.Digest, int64) (oci.Blob, error) {
	return oci.Blob{}, oci.ErrNotFound
}

func (nowhere) PutBlob(context.Context, ref.Name, oci.Descriptor, oci.Source) error { return nil }

func (nowhere) PutManifest(context.Context, ref.Name, oci.Manifest, ...string) error { return nil }
