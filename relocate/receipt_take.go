package relocate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
)

// A ReceiptConfig says of what a receipt is taken. Reader is required.
type ReceiptConfig struct {
	// Reader has the images. Where it is an [oci.Lister] all tags of the
	// repositories are looked at, where it is an [oci.SubjectLister] what refers
	// to the manifests too.
	Reader oci.Reader
	Prefix string // of the receipt
	Jobs   int    // questions at once; 0 chooses
}

// TakeReceipt looks what repositories hold, and believes nothing but that: every
// manifest is read, and every blob is asked for. refs are images that should be
// there beside those that tags lead to, as those without a tag; the ones that
// are not there are returned. A repository that is not there is left out. The
// error is that of a question without an answer: a receipt that guesses is of
// no use.
func TakeReceipt(ctx context.Context, cfg ReceiptConfig, repos []ref.Name, refs []ref.Ref) (Receipt, []ref.Ref, error) {
	t := &taker{cfg: cfg, free: make(chan struct{}, cmp.Or(max(cfg.Jobs, 0), forecastJobs))}
	named := map[ref.Name][]ref.Ref{}
	for _, n := range repos {
		named[n] = nil
	}
	for _, r := range refs {
		named[r.Name] = append(named[r.Name], r)
	}
	g, ctx := errgroup.WithContext(ctx)
	var mu sync.Mutex // guards what follows
	all := Receipt{Version: ReceiptVersion, Prefix: cfg.Prefix, Repositories: []ReceiptRepository{}}
	var lost []ref.Ref
	for n, refs := range named {
		g.Go(func() error {
			one := &taking{taker: t, name: n, manifests: map[oci.Digest]Stored{}, tags: map[string]oci.Digest{}}
			missing, err := one.take(ctx, refs)
			if err != nil {
				return fmt.Errorf("%s: %w", n, err)
			}
			mu.Lock()
			defer mu.Unlock()
			lost = append(lost, missing...)
			if len(one.manifests) > 0 {
				all.Repositories = append(all.Repositories, one.repository())
			}
			return nil
		})
	}
	err := g.Wait()
	slices.SortFunc(all.Repositories, func(a, b ReceiptRepository) int { return cmp.Compare(a.Name, b.Name) })
	slices.SortFunc(lost, func(a, b ref.Ref) int { return cmp.Compare(a.String(), b.String()) })
	return all, lost, err
}

// A taker takes one receipt.
type taker struct {
	cfg  ReceiptConfig
	free chan struct{} // holds a value for each question that is under way
}

// ask waits for a turn to ask.
func (t *taker) ask(ctx context.Context, question func() error) error {
	select {
	case t.free <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	defer func() { <-t.free }()
	return question()
}

// A taking is one repository of a receipt.
type taking struct {
	*taker
	name ref.Name

	mu        sync.Mutex // guards what follows
	manifests map[oci.Digest]Stored
	tags      map[string]oci.Digest
	blobs     flights[oci.Digest, bool] // :: blob → it is there
	held      []Stored
	missing   []Stored
}

// take looks at everything that tags and references lead to, and returns which
// of the references are not there.
func (t *taking) take(ctx context.Context, refs []ref.Ref) (lost []ref.Ref, err error) {
	tags, err := t.list(ctx)
	if err != nil {
		return nil, err
	}
	asked := len(tags)
	for _, r := range refs {
		if r.Digest != "" {
			tags = append(tags, t.name.WithDigest(r.Digest)) // what its tag is by now is said by the tag
		}
		if r.Tag != "" && !slices.Contains(tags[:asked], t.name.WithTag(r.Tag)) {
			tags = append(tags, t.name.WithTag(r.Tag))
		}
	}
	there := make([]bool, len(tags))
	err = together(len(tags), func(i int) (err error) {
		there[i], err = t.root(ctx, tags[i])
		return err
	})
	for i := asked; i < len(tags); i++ {
		if !there[i] && !slices.Contains(lost, tags[i]) {
			lost = append(lost, tags[i])
		}
	}
	return lost, err
}

// list returns the tags of the repository. One that is not there has none.
func (t *taking) list(ctx context.Context) (tags []ref.Ref, err error) {
	l, ok := t.cfg.Reader.(oci.Lister)
	if !ok {
		return nil, nil
	}
	err = t.ask(ctx, func() error {
		for tag, err := range l.Tags(ctx, t.name, "") {
			if errors.Is(err, oci.ErrNotFound) {
				return nil
			}
			if err != nil {
				return fmt.Errorf("list its tags: %w", err)
			}
			tags = append(tags, t.name.WithTag(tag))
		}
		return nil
	})
	return tags, err
}

// root looks at what a reference leads to, and reports whether it is there.
func (t *taking) root(ctx context.Context, at ref.Ref) (bool, error) {
	m, ok, err := t.manifest(ctx, at)
	if ok && at.Tag != "" {
		t.mu.Lock()
		t.tags[at.Tag] = m
		t.mu.Unlock()
	}
	return ok, err
}

// manifest reads a manifest, and looks at what it names and what refers to it.
func (t *taking) manifest(ctx context.Context, at ref.Ref) (oci.Digest, bool, error) {
	if at.Digest != "" && t.seen(at.Digest) {
		return at.Digest, true, nil
	}
	var m oci.Manifest
	err := t.ask(ctx, func() (err error) { m, err = t.cfg.Reader.Manifest(ctx, at); return err })
	if errors.Is(err, oci.ErrNotFound) {
		return "", false, nil
	}
	if err != nil {
		return "", false, err
	}
	if !t.add(m) {
		return m.Digest, true, nil
	}
	links, err := m.Links()
	if err != nil {
		return m.Digest, true, nil // of a kind that names nothing that we know of
	}
	return m.Digest, true, t.below(ctx, m.Digest, links)
}

func (t *taking) seen(d oci.Digest) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, ok := t.manifests[d]
	return ok
}

// add notes a manifest, and reports whether it is a new one.
func (t *taking) add(m oci.Manifest) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, ok := t.manifests[m.Digest]; ok {
		return false
	}
	t.manifests[m.Digest] = Stored{m.Digest, int64(len(m.Raw))}
	return true
}

// below looks at what a manifest names, and at what refers to it.
func (t *taking) below(ctx context.Context, digest oci.Digest, links oci.Links) error {
	blobs := links.Blobs()
	var manifests []oci.Descriptor
	for _, d := range links.Manifests {
		if oci.IsManifest(d.MediaType) {
			manifests = append(manifests, d)
		} else {
			blobs = append(blobs, d)
		}
	}
	refers, err := t.refers(ctx, digest)
	if err != nil {
		return err
	}
	manifests = append(manifests, refers...)
	return together(len(blobs)+len(manifests), func(i int) error {
		if i < len(blobs) {
			_, _, err := t.blobs.do(ctx, blobs[i].Digest, func() (bool, error) { return t.blob(ctx, blobs[i]) })
			return err
		}
		_, _, err := t.manifest(ctx, t.name.WithDigest(manifests[i-len(blobs)].Digest))
		return err
	})
}

// refers returns what refers to a manifest, by the referrers API: lists that are
// kept under tags are found as tags.
func (t *taking) refers(ctx context.Context, digest oci.Digest) (found []oci.Descriptor, err error) {
	l, ok := t.cfg.Reader.(oci.SubjectLister)
	if !ok {
		return nil, nil
	}
	err = t.ask(ctx, func() (err error) { found, err = l.Subjects(ctx, t.name, digest); return err })
	if errors.Is(err, oci.ErrUnsupported) || errors.Is(err, oci.ErrNotFound) {
		return nil, nil
	}
	return found, err
}

// blob asks for a blob. One of another size is not the one that is meant.
func (t *taking) blob(ctx context.Context, d oci.Descriptor) (bool, error) {
	var got oci.Descriptor
	err := t.ask(ctx, func() (err error) { got, err = t.cfg.Reader.Stat(ctx, t.name, d.Digest); return err })
	if err != nil && !errors.Is(err, oci.ErrNotFound) {
		return false, fmt.Errorf("ask for blob %s: %w", d.Digest, err)
	}
	there := err == nil && (got.Size == d.Size || got.Size < 0)
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case there:
		t.held = append(t.held, Stored{d.Digest, d.Size})
	case !isForeign(d) && len(d.URLs) == 0: // others stay where their URLs say
		t.missing = append(t.missing, Stored{d.Digest, d.Size})
	}
	return there, nil
}

// repository returns what was found.
func (t *taking) repository() ReceiptRepository {
	one := ReceiptRepository{Name: t.name.String(), Tags: t.tags, Blobs: ordered(t.held), Missing: ordered(t.missing)}
	for _, m := range t.manifests {
		one.Manifests = append(one.Manifests, m)
	}
	one.Manifests = ordered(one.Manifests)
	if len(one.Missing) == 0 {
		one.Missing = nil
	}
	return one
}
