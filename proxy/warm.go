package proxy

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
)

const (
	// warmAtOnce is how many images are brought up to date at once.
	warmAtOnce = 3
	// maxWarmTags is how many tags one pattern may choose; the others are left
	// alone, and the log says so.
	maxWarmTags = 1000
	// maxWarmDepth is how deep indexes of indexes are followed.
	maxWarmDepth = oci.MaxDepth
)

// A Warm names images that are kept in the cache before anybody asks for them.
type Warm struct {
	// Ref is an image, by tag or digest, or where it has neither a repository.
	Ref ref.Ref
	// Match chooses among the tags of a repository; nil chooses none.
	Match func(tag string) bool
}

// KeepWarm fetches images with all that belongs to them, soon after the call and
// then again each time that interval is over, a little earlier or later so that
// not all mirrors ask at once. An image that has not changed costs what a
// client's request for its tag would: at most a HEAD. What fails is logged and
// observed, and tried again the next time. It returns when ctx has ended, and
// what it runs has.
func (p *Proxy) KeepWarm(ctx context.Context, interval time.Duration, all []Warm) {
	wait := rand.N(min(interval/10, 2*time.Second) + 1)
	for {
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
		p.warmAll(ctx, all)
		wait = interval - interval/20 + rand.N(interval/10+1)
	}
}

// warmAll is one round.
func (p *Proxy) warmAll(ctx context.Context, all []Warm) {
	var work sync.WaitGroup
	defer work.Wait()
	places := make(chan struct{}, warmAtOnce)
	seen := map[ref.Ref]bool{}
	for _, w := range all {
		for _, r := range p.choose(ctx, w) {
			if seen[r] {
				continue
			}
			seen[r] = true
			select {
			case places <- struct{}{}:
			case <-ctx.Done():
				return
			}
			work.Go(func() {
				defer func() { <-places }()
				p.warm(ctx, r)
			})
		}
	}
}

// choose returns the images that w names.
func (p *Proxy) choose(ctx context.Context, w Warm) []ref.Ref {
	if w.Ref.Tag != "" || w.Ref.Digest != "" {
		return []ref.Ref{w.Ref}
	}
	if p.scarce(w.Ref.Host) {
		p.warmed(w.Ref, "", errScarce)
		return nil
	}
	ctx, cancel := context.WithTimeout(oci.WithOutcome(ctx, new(oci.Outcome)), maxAsk)
	defer cancel()
	var chosen []ref.Ref
	err := p.eachTag(ctx, w.Ref.Name, "", func(tag string) bool {
		if w.Match == nil || !w.Match(tag) {
			return true
		}
		if len(chosen) == maxWarmTags {
			p.log.Warn("a pattern of prefetch chooses too many tags", "repository", w.Ref.Name.String(), "kept", maxWarmTags)
			return false
		}
		chosen = append(chosen, w.Ref.Name.WithTag(tag))
		return true
	})
	if err != nil {
		p.warmed(w.Ref, "", fmt.Errorf("list tags: %w", err))
	}
	return chosen
}

var (
	errScarce = errors.New("the upstream lets us have few more requests, which are left to clients")
	errStale  = errors.New("the upstream cannot be asked")
)

// scarce reports whether an upstream's requests are better left to clients.
func (p *Proxy) scarce(upstream string) bool {
	return p.cfg.Scarce != nil && p.cfg.Scarce(upstream)
}

// warm brings one image up to date.
func (p *Proxy) warm(ctx context.Context, r ref.Ref) {
	if p.scarce(r.Host) {
		p.warmed(r, "", errScarce)
		return
	}
	var o oci.Outcome
	m, err := p.manifest(oci.WithOutcome(ctx, &o), r)
	if err == nil && o.Result == oci.Stale && o.Warning != "" { // without, it is checked afterwards
		err = errStale
	}
	if err == nil {
		var fetched bool
		fetched, err = p.warmGraph(ctx, r.Name, m, 0)
		if fetched {
			o.Result = oci.Miss
		}
	}
	if ctx.Err() == nil {
		p.warmed(r, o.Result, err)
	}
}

// warmed tells how it went.
func (p *Proxy) warmed(r ref.Ref, result oci.Result, err error) {
	p.observe(Event{Kind: EventWarm, Upstream: r.Host, Op: OpManifest, Result: result, Scarce: err == errScarce, Err: err})
	if err != nil {
		p.log.Warn("an image is not kept up to date", "ref", r.String(), "err", err)
	}
}

// warmGraph fetches what a manifest refers to and reports whether any of it had
// to be. One thing that fails does not keep the others.
func (p *Proxy) warmGraph(ctx context.Context, n ref.Name, m oci.Manifest, depth int) (fetched bool, err error) {
	links, err := m.Links()
	if err != nil {
		return false, err
	}
	if len(links.Manifests) > 0 && depth == maxWarmDepth {
		return false, errors.New("indexes are nested too deeply")
	}
	var errs []error
	for _, d := range links.Manifests {
		var o oci.Outcome
		child, err := p.manifest(oci.WithOutcome(ctx, &o), n.WithDigest(d.Digest))
		got := false
		if err == nil {
			got, err = p.warmGraph(ctx, n, child, depth+1)
		}
		fetched = fetched || got || o.Result == oci.Miss
		errs = append(errs, err)
	}
	for _, d := range links.Blobs() {
		if foreign(d) {
			continue
		}
		got, err := p.warmBlob(ctx, n, d.Digest)
		fetched = fetched || got
		errs = append(errs, err)
	}
	return fetched, errors.Join(errs...)
}

// warmBlob sees to it that a blob is stored and linked, and reports whether it
// had to be fetched. It waits for the fill.
func (p *Proxy) warmBlob(ctx context.Context, n ref.Name, d oci.Digest) (fetched bool, err error) {
	pol, in := p.policy(ctx, n)
	k := blobKey{in, d}
	for range maxLooks {
		if p.isStored(d) {
			if p.linked(&pol, k) {
				return fetched, nil
			}
			_, err := p.prove(ctx, new(oci.Outcome), &pol, k, p.askStat)
			return fetched, err
		}
		if err := p.refusedBlob(k); err != nil {
			return fetched, err
		}
		f, _, err := p.startFill(&pol, k, true)
		if err != nil {
			return fetched, err
		}
		fetched = true
		if err := f.wait(ctx); err != nil && err != errStored {
			return fetched, err
		}
	}
	return fetched, errors.New("the blob vanishes again and again")
}

// wait waits until the fill is over, and returns why it failed.
func (f *fill) wait(ctx context.Context) error {
	for {
		f.mu.Lock()
		over, err, change := f.over, f.err, f.change()
		f.mu.Unlock()
		if over {
			return err
		}
		select {
		case <-change:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
