package relocate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
)

// A Shelves is a place that a prune removes from. Where it is an
// [oci.SubjectLister] too, what refers to manifests is found by it.
type Shelves interface {
	oci.Reader
	oci.Lister
	oci.Deleter
}

// A PruneConfig says what is pruned.
type PruneConfig struct {
	Target       Shelves
	Repositories []ref.Name // what is looked at; nothing else is touched
	Set          PruneSet
	Jobs         int // repositories, and manifests of each, that are read at once; 0 chooses
}

// A Pruning is a plan that can be carried out. It is not safe for concurrent
// use.
type Pruning struct {
	cfg     PruneConfig
	Plan    PrunePlan
	digests map[ref.Name][]oci.Digest // :: repository → manifests that the set names by digest
	read    flights[placed, Stocked]  // manifests never change
	deletes map[string]error          // :: host → nil where it deletes, or why not
	clumsy  map[string]bool           // :: host → true where a tag takes its manifest along
}

// Look reads what repositories hold and plans what goes. Nothing is changed. An
// error of ErrPruneAll comes with the plan. A repository that is not there holds
// nothing.
func Look(ctx context.Context, cfg PruneConfig) (*Pruning, error) {
	p := &Pruning{cfg: cfg, digests: make(map[ref.Name][]oci.Digest), deletes: make(map[string]error), clumsy: make(map[string]bool)}
	for _, w := range append(cfg.Set.Keep[:len(cfg.Set.Keep):len(cfg.Set.Keep)], cfg.Set.Remove...) {
		if w.Target.Digest != "" {
			p.digests[w.Target.Name] = append(p.digests[w.Target.Name], w.Target.Digest)
		}
	}
	stocks := make([]Stock, len(cfg.Repositories))
	err := p.each(ctx, len(stocks), func(ctx context.Context, i int) (err error) {
		stocks[i], err = p.stock(ctx, cfg.Repositories[i])
		return err
	})
	if err != nil {
		return nil, err
	}
	p.Plan, err = PlanPrune(stocks, cfg.Set)
	return p, err
}

// pruneJobs is how much is read at once where nothing else is said.
const pruneJobs = 16

// each does something for all of n, until one fails.
func (p *Pruning) each(ctx context.Context, n int, do func(ctx context.Context, i int) error) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(pruneJobs)
	if p.cfg.Jobs > 0 {
		g.SetLimit(p.cfg.Jobs)
	}
	for i := range n {
		g.Go(func() error { return do(ctx, i) })
	}
	return g.Wait()
}

// maxStock bounds the manifests of one repository.
const maxStock = 200_000

// stock reads what a repository holds now. It is all, or an error: on a part of
// it nothing could be decided.
func (p *Pruning) stock(ctx context.Context, n ref.Name) (Stock, error) {
	s := Stock{Repository: n, Tags: make(map[string]oci.Digest), Manifests: make(map[oci.Digest]Stocked)}
	tags, err := p.tags(ctx, n)
	if err != nil {
		return s, err
	}
	found, err := p.resolve(ctx, n, tags)
	if err != nil {
		return s, err
	}
	next := p.digests[n]
	for tag, d := range found {
		s.Tags[tag] = d
		next = append(next[:len(next):len(next)], d)
	}
	seen := make(map[oci.Digest]bool)
	for len(next) > 0 {
		if next, err = p.layer(ctx, s, seen, next); err != nil {
			return s, err
		}
		if len(s.Manifests) > maxStock {
			return s, oci.Errorf(oci.ErrTooLarge, "", "%s has more than %d manifests", n, maxStock)
		}
	}
	return s, p.settle(ctx, s)
}

// settle looks again at tags whose manifests could not be read. Those that went
// meanwhile are dropped; on one that is still there nothing could be decided.
func (p *Pruning) settle(ctx context.Context, s Stock) error {
	for tag, d := range s.Tags {
		if _, ok := s.Manifests[d]; ok {
			continue
		}
		at := s.Repository.WithTag(tag)
		if _, err := p.cfg.Target.Resolve(ctx, at); !errors.Is(err, oci.ErrNotFound) {
			return oci.Errorf(oci.ErrUnavailable, "", "%s is there, and its manifest %s cannot be read", at, d)
		}
		delete(s.Tags, tag)
	}
	return nil
}

// tags lists a repository.
func (p *Pruning) tags(ctx context.Context, n ref.Name) (all []string, err error) {
	for tag, err := range p.cfg.Target.Tags(ctx, n, "") {
		if errors.Is(err, oci.ErrNotFound) {
			return nil, nil
		}
		if err != nil {
			return nil, fmt.Errorf("list the tags of %s: %w", n, err)
		}
		all = append(all, tag)
	}
	return all, nil
}

// resolve asks what tags lead to. One that leads nowhere is left out.
func (p *Pruning) resolve(ctx context.Context, n ref.Name, tags []string) (map[string]oci.Digest, error) {
	var mu sync.Mutex // guards found
	found := make(map[string]oci.Digest)
	err := p.each(ctx, len(tags), func(ctx context.Context, i int) error {
		d, err := p.cfg.Target.Resolve(ctx, n.WithTag(tags[i]))
		if errors.Is(err, oci.ErrNotFound) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("ask for %s: %w", n.WithTag(tags[i]), err)
		}
		mu.Lock()
		defer mu.Unlock()
		found[tags[i]] = d.Digest
		return nil
	})
	return found, err
}

// layer reads some manifests, and returns those that they lead to and that refer
// to them.
func (p *Pruning) layer(ctx context.Context, s Stock, seen map[oci.Digest]bool, some []oci.Digest) ([]oci.Digest, error) {
	var fresh []oci.Digest
	for _, d := range some {
		if !seen[d] {
			seen[d] = true
			fresh = append(fresh, d)
		}
	}
	var mu sync.Mutex // guards s.Manifests and next
	var next []oci.Digest
	err := p.each(ctx, len(fresh), func(ctx context.Context, i int) error {
		d := fresh[i]
		m, err := p.manifest(ctx, s.Repository, d)
		if errors.Is(err, oci.ErrNotFound) {
			return nil // a sparse index, or a subject that was never there
		}
		if err != nil {
			return fmt.Errorf("read %s: %w", s.Repository.WithDigest(d), err)
		}
		refers, err := p.refers(ctx, s.Repository, d)
		if err != nil {
			return fmt.Errorf("list what refers to %s: %w", s.Repository.WithDigest(d), err)
		}
		mu.Lock()
		defer mu.Unlock()
		s.Manifests[d] = m
		next = append(append(next, m.Parts...), refers...)
		if m.Subject != "" {
			next = append(next, m.Subject)
		}
		return nil
	})
	return next, err
}

// manifest reads a manifest once.
func (p *Pruning) manifest(ctx context.Context, n ref.Name, d oci.Digest) (Stocked, error) {
	s, _, err := p.read.do(ctx, placed{n, d}, func() (Stocked, error) {
		m, err := p.cfg.Target.Manifest(ctx, n.WithDigest(d))
		if err != nil {
			return Stocked{}, err
		}
		return stocked(m), nil
	})
	return s, err
}

// refers asks what refers to a manifest, where there is an API for it. Where
// there is none the list is under a tag, which is found with the tags.
func (p *Pruning) refers(ctx context.Context, n ref.Name, d oci.Digest) ([]oci.Digest, error) {
	l, ok := p.cfg.Target.(oci.SubjectLister)
	if !ok {
		return nil, nil
	}
	all, err := l.Subjects(ctx, n, d)
	if errors.Is(err, oci.ErrUnsupported) || errors.Is(err, oci.ErrNotFound) {
		return nil, nil
	}
	var digests []oci.Digest
	for _, one := range all {
		digests = append(digests, one.Digest)
	}
	return digests, err
}

// stocked reads what a manifest says of others. One of a kind that is not known
// here is read for the fields that such manifests have: too much is kept rather
// than too little.
func stocked(m oci.Manifest) Stocked {
	s := Stocked{MediaType: m.MediaType, Size: int64(len(m.Raw))}
	links, err := m.Links()
	if err != nil {
		var doc struct {
			Manifests []oci.Descriptor `json:"manifests"`
			Blobs     []oci.Descriptor `json:"blobs"`
			Subject   *oci.Descriptor  `json:"subject"`
		}
		if json.Unmarshal(m.Raw, &doc) != nil {
			return s
		}
		links = oci.Links{Manifests: doc.Manifests, Layers: doc.Blobs, Subject: doc.Subject}
	}
	for _, d := range links.Blobs() {
		if !isForeign(d) {
			s.Blobs = append(s.Blobs, d)
		}
	}
	for _, d := range links.Manifests {
		if _, err := ref.ParseDigest(string(d.Digest)); err != nil {
			continue
		}
		s.Parts = append(s.Parts, d.Digest)
		if !oci.IsManifest(d.MediaType) {
			s.Blobs = append(s.Blobs, d) // as BuildKit's caches have them
		}
	}
	if links.Subject != nil {
		if d, err := ref.ParseDigest(string(links.Subject.Digest)); err == nil {
			s.Subject = d
		}
	}
	return s
}
