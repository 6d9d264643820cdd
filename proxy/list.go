package proxy

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
)

// referrersTTL is how long a list of referrers is answered without asking.
const referrersTTL = time.Minute

// Tags passes on the upstream's tags. Where it cannot be asked, the tags that
// are stored are yielded, with a warning in the Outcome.
func (p *Proxy) Tags(ctx context.Context, n ref.Name, after string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		err := p.eachTag(ctx, n, after, func(tag string) bool { return yield(tag, nil) })
		p.answered(ctx, OpTags, n, err)
		if err != nil {
			yield("", err)
		}
	}
}

// eachTag calls yield for each tag until it says stop.
func (p *Proxy) eachTag(ctx context.Context, n ref.Name, after string, yield func(string) bool) error {
	pol, in := p.policy(ctx, n)
	o := oci.OutcomeOf(ctx)
	o.Result = oci.Miss
	lister, ok := p.up.(oci.Lister)
	if !ok {
		return oci.Errorf(oci.ErrUnsupported, oci.CodeUnsupported, "upstream %s cannot list tags", n.Host)
	}
	passed := 0
	err := p.ask(ctx, in.lane(false), n, oci.CodeNameUnknown, func() error {
		for tag, err := range lister.Tags(oci.WithOutcome(ctx, new(oci.Outcome)), n, after) {
			if err != nil {
				return err
			}
			passed++
			if !yield(tag) {
				break
			}
		}
		return nil
	})
	if passed > 0 || ctx.Err() != nil || !errors.Is(err, oci.ErrUnavailable) || !p.entries.mayStill(in, &pol, p.cfg.now()) {
		return err
	}
	return p.storedTags(o, in, after, yield, err)
}

// storedTags calls yield for the tags that are stored. Without any it returns
// the upstream's error.
func (p *Proxy) storedTags(o *oci.Outcome, in repo, after string, yield func(string) bool, why error) error {
	tags, err := p.cache.Tags(in.scope, in.name)
	if err != nil && !notFound(err) {
		p.storeError("list tags", in.name, err)
	}
	if len(tags) == 0 {
		return why
	}
	o.Result = oci.Stale
	o.Warning = fmt.Sprintf("stale: upstream %s %s, these are the tags that were seen here", in.name.Host, reason(why))
	first, found := slices.BinarySearch(tags, after)
	if found {
		first++
	}
	for _, tag := range tags[first:] {
		if !yield(tag) {
			break
		}
	}
	return nil
}

// referrers is a list that the upstream gave.
type referrers struct {
	list []oci.Descriptor
	at   time.Time
}

// maxKeptReferrers is how many descriptors of one list are remembered. A longer
// list is asked for each time.
const maxKeptReferrers = 1000

// Referrers returns what refers to a manifest, as the upstream said within the
// last minute. Where it cannot be asked, the answer is the last list, or none,
// with a warning.
func (p *Proxy) Referrers(ctx context.Context, n ref.Name, d oci.Digest, artifactType string) ([]oci.Descriptor, error) {
	list, err := p.referrers(ctx, n, d)
	p.answered(ctx, OpReferrers, n, err)
	if artifactType == "" || err != nil {
		return list, err
	}
	var some []oci.Descriptor
	for _, r := range list {
		if r.ArtifactType == artifactType {
			some = append(some, r)
		}
	}
	return some, nil
}

func (p *Proxy) referrers(ctx context.Context, n ref.Name, d oci.Digest) ([]oci.Descriptor, error) {
	lister, ok := p.up.(oci.ReferrersLister)
	if !ok {
		return nil, nil // an upstream that knows of none
	}
	pol, in := p.policy(ctx, n)
	k := manifestKey{in, d}
	o := oci.OutcomeOf(ctx)
	kept, stored := p.listed.get(k)
	now := p.cfg.now()
	if since := now.Sub(kept.at); stored && since >= 0 && since < referrersTTL {
		o.Result, o.Age = oci.Hit, since
		return kept.list, nil
	}
	f, how, err := p.lists.join(ctx, p, k, func(ctx context.Context) ([]oci.Descriptor, error) {
		return p.askReferrers(ctx, lister, k)
	}, nil)
	var list []oci.Descriptor
	if err == nil {
		o.Result = how
		list, err = f.wait(ctx, p.cfg.headerTimeout())
		err = waited(in, err)
	}
	if ctx.Err() != nil || !errors.Is(err, oci.ErrUnavailable) || !p.entries.mayStill(in, &pol, now) {
		return list, err
	}
	o.Result = oci.Stale
	if !stored {
		o.Warning = fmt.Sprintf("stale: upstream %s %s, its referrers are not known", n.Host, reason(err))
		return nil, nil
	}
	o.Age = max(now.Sub(kept.at), 0)
	o.Warning = fmt.Sprintf("stale: upstream %s %s, cached %s ago", n.Host, reason(err), short(o.Age))
	return kept.list, nil
}

// askReferrers is the flight of a list. It asks for all types, so that one list
// answers for each of them.
func (p *Proxy) askReferrers(ctx context.Context, lister oci.ReferrersLister, k manifestKey) (list []oci.Descriptor, err error) {
	request, _, cancel := detached(ctx)
	defer cancel()
	err = p.ask(ctx, k.lane(false), k.name, oci.CodeManifestUnknown, func() (err error) {
		list, err = lister.Referrers(request, k.name, k.digest, "")
		return err
	})
	if notFound(err) {
		list, err = nil, nil // "none" is no error
	}
	if err == nil && len(list) <= maxKeptReferrers {
		p.listed.put(k, referrers{list, p.cfg.now()})
	}
	return list, err
}
