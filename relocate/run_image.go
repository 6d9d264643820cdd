package relocate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
)

// An image is one pair on its way.
type image struct {
	pair  Pair
	index int
	err   error // why it failed; set when its work is over

	source   oci.Descriptor // what the source's reference names
	root     oci.Manifest   // as it goes to the target
	existing oci.Digest     // what the target's tag pointed at before; "" for nothing, or nothing known
	kept     bool           // the target's tag stays as it is
	partial  bool           // of what is wanted of its index the source lacks some
	sparse   bool           // of its index the chosen platforms alone are copied
	asked    bool           // both sides were, whether it is what it was
	had      bool           // it was finished in an earlier run, and is at the target still
	record   finished       // what is remembered of it when its tag is set
	was      *finished      // what is known of that run

	mu       sync.Mutex // guards what follows
	closure  []oci.Manifest
	subjects []oci.Descriptor      // what refers to the root itself
	seen     map[string]oci.Digest // :: tag of the source that is about the image → digest
	tags     []tagged              // to be set when the set is in place; the image's own is the last
	foreign  int                   // layers that stay where their URLs say

	referrers      int
	pushed         atomic.Int64 // blobs
	mounted        atomic.Int64 // blobs
	present        atomic.Int64 // blobs
	readBytes      atomic.Int64
	pushedBytes    atomic.Int64
	wroteManifests atomic.Int64
	wroteTags      atomic.Int64
}

// A tagged is a tag that is to point at a manifest.
type tagged struct {
	name     ref.Name
	tag      string
	manifest oci.Manifest
}

func (img *image) finish(err error) {
	if err != nil && img.err == nil {
		img.err = err
	}
}

// found notes a manifest that is in place, or on its way there, and returns how
// many there are.
func (img *image) found(m oci.Manifest) int {
	img.mu.Lock()
	defer img.mu.Unlock()
	if !slices.ContainsFunc(img.closure, func(o oci.Manifest) bool { return o.Digest == m.Digest }) {
		img.closure = append(img.closure, m)
	}
	return len(img.closure)
}

// saw notes a tag of the source that is about the image.
func (img *image) saw(tag string, d oci.Digest) {
	img.mu.Lock()
	defer img.mu.Unlock()
	if img.seen == nil {
		img.seen = map[string]oci.Digest{}
	}
	img.seen[tag] = d
}

// later notes a tag that is to be set when the set is in place.
func (img *image) later(t tagged) {
	img.mu.Lock()
	defer img.mu.Unlock()
	img.tags = append(img.tags, t)
}

// image puts everything of an image in place but its tags.
func (r *run) image(ctx context.Context, img *image) error {
	if err := r.resolve(ctx, img); err != nil || img.kept {
		return err
	}
	if img.had {
		return r.finished(ctx, img)
	}
	return r.copy(ctx, img)
}

// copy puts in place what the target lacks of an image.
func (r *run) copy(ctx context.Context, img *image) error {
	target := img.pair.Target
	g := &graph{run: r, img: img, from: img.pair.Source.Name, to: target.Name}
	if err := g.prepare(ctx); err != nil {
		return err
	}
	img.sparse = g.sparse
	if err := g.place(ctx, img.root, g.sparse); err != nil {
		return err
	}
	if !r.cfg.NoReferrers {
		if err := g.referrers(ctx); err != nil {
			return fmt.Errorf("copy what refers to it: %w", err)
		}
	}
	if target.Tag != "" && img.existing != img.root.Digest {
		img.later(tagged{target.Name, target.Tag, img.root})
	}
	return r.settle(img)
}

// maxRead bounds the source's manifests that are kept for other images, in
// bytes.
const maxRead = 16 << 20

// settle keeps of an image that is in place what is needed until the set is:
// manifests are small, but a set may have a hundred thousand.
func (r *run) settle(img *image) error {
	record, err := r.recordOf(img)
	if err != nil {
		return err
	}
	img.mu.Lock()
	defer img.mu.Unlock()
	img.record = record
	for _, m := range img.closure {
		if m.Digest != img.source.Digest && r.kept.Add(int64(len(m.Raw))) > maxRead {
			r.kept.Add(-int64(len(m.Raw)))
			r.read.forget(img.pair.Source.Name.WithDigest(m.Digest))
		}
	}
	img.closure = nil
	return nil
}

// resolve finds out what the image is, and what the target's tag is. A target
// that had the image in an earlier run is asked first, with a HEAD on each
// side: most likely nothing has changed. Otherwise the manifest is read at
// once.
func (r *run) resolve(ctx context.Context, img *image) error {
	src, dst := img.pair.Source, img.pair.Target
	if done, err := r.unchanged(ctx, img); done || err != nil {
		return err
	}
	m, _, err := r.read.do(ctx, src, func() (oci.Manifest, error) { return r.cfg.Source.Manifest(ctx, src) })
	if err != nil {
		return fmt.Errorf("read %s: %w", src, r.cfg.unkept(ctx, img.pair, err))
	}
	img.root, img.source = m, m.Descriptor()
	if img.existing == "" && dst.Tag != "" {
		if img.existing, err = r.existing(ctx, dst); err != nil {
			return err
		}
	}
	img.kept = r.cfg.OnExisting == Keep && img.existing != "" && img.existing != m.Digest
	return nil
}

// unchanged reports whether both sides say that the image is what it was when
// it was finished. They are asked once, and where an earlier run has copied
// something to the repository.
func (r *run) unchanged(ctx context.Context, img *image) (bool, error) {
	src, dst := img.pair.Source, img.pair.Target
	if img.had || img.asked || !r.cfg.Have.knows(dst.Name) {
		return img.had, nil
	}
	at := dst
	if dst.Tag != "" {
		at = dst.WithTag(dst.Tag)
	}
	// Both at once: a run that has nothing to do is made of these round trips.
	var there, d oci.Descriptor
	unseen := false
	err := together(2, func(i int) (err error) {
		if i == 1 {
			if d, err = r.cfg.Source.Resolve(ctx, src); err != nil {
				return fmt.Errorf("read %s: %w", src, r.cfg.unkept(ctx, img.pair, err))
			}
			return nil
		}
		if there, err = r.cfg.Target.Resolve(ctx, at); r.blind(err) {
			unseen = true
		} else if err != nil && !errors.Is(err, oci.ErrNotFound) {
			return fmt.Errorf("ask for %s: %w", at, err)
		}
		return nil
	})
	if err != nil || unseen {
		return false, err
	}
	img.existing = there.Digest
	img.asked = true
	img.was = r.cfg.Have.find(dst.Name, d.Digest, r.cfg.scope(img.pair))
	if img.existing == "" || img.was == nil || cmp.Or(img.was.Becomes, d.Digest) != img.existing {
		return false, nil
	}
	img.had, img.source = true, d
	img.root = oci.Manifest{MediaType: d.MediaType, Digest: img.existing}
	return true, nil
}

// A repo is what is known of a repository of the target.
type repo struct {
	exists bool
	all    bool            // tags are all that there are
	tags   map[string]bool // :: tag → true
}

// maxListed is how many tags of a repository are listed; of a larger one each
// tag is asked for.
const maxListed = 1000

// repo asks once whether a repository of the target is there.
func (r *run) repo(ctx context.Context, n ref.Name) (*repo, error) {
	one, _, err := r.repos.do(ctx, n, func() (*repo, error) {
		l, ok := r.cfg.Target.(oci.Lister)
		if !ok {
			return &repo{exists: true}, nil
		}
		found := &repo{exists: true, all: true, tags: map[string]bool{}}
		for tag, err := range l.Tags(ctx, n, "") {
			switch {
			case errors.Is(err, oci.ErrNotFound):
				return &repo{all: true}, nil
			case err != nil && ctx.Err() != nil:
				return nil, context.Cause(ctx)
			case err != nil, len(found.tags) == maxListed:
				// It may not be listed, or is too large to: then all is asked for.
				return &repo{exists: true}, nil
			}
			found.tags[tag] = true
		}
		return found, nil
	})
	return one, err
}

// existing returns what a tag of the target points at, "" where it is not
// there.
func (r *run) existing(ctx context.Context, dst ref.Ref) (oci.Digest, error) {
	known, err := r.repo(ctx, dst.Name)
	if err != nil {
		return "", err
	}
	if !known.exists || known.all && !known.tags[dst.Tag] {
		return "", nil
	}
	at := dst.WithTag(dst.Tag)
	d, err := r.cfg.Target.Resolve(ctx, at)
	if errors.Is(err, oci.ErrNotFound) || r.blind(err) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("ask for %s: %w", at, err)
	}
	return d.Digest, nil
}

// An ExistsError says which tags of the target point elsewhere, where none
// may.
type ExistsError struct {
	Tags []ref.Ref // with the digests that they have
}

// Error names them all.
func (e *ExistsError) Error() string {
	s := fmt.Sprintf("%d tags exist and point elsewhere; nothing was written:", len(e.Tags))
	for _, t := range e.Tags {
		s += "\n  " + t.String()
	}
	return s
}

// checkExisting finds the tags that point elsewhere, before anything is
// written.
func (r *run) checkExisting(ctx context.Context) error {
	found := make([]*ref.Ref, len(r.images))
	err := together(len(r.images), func(i int) error {
		src, dst := r.images[i].pair.Source, r.images[i].pair.Target
		free, err := r.sched.images.enter(ctx, 0)
		if err != nil || dst.Tag == "" {
			return err
		}
		defer free()
		there, err := r.existing(ctx, dst)
		if err != nil || there == "" {
			return err
		}
		d, err := r.cfg.Source.Resolve(ctx, src)
		if err == nil && d.Digest != there {
			dst.Digest = there
			found[i] = &dst
		}
		return nil // what cannot be read is told when it is copied
	})
	if err != nil {
		return err
	}
	var e ExistsError
	for _, r := range found {
		if r != nil {
			e.Tags = append(e.Tags, *r)
		}
	}
	if len(e.Tags) > 0 {
		return &e
	}
	return nil
}
