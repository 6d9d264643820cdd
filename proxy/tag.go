package proxy

import (
	"context"
	"fmt"
	"time"

	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/store"
)

const (
	// sparing is how many times longer a tag is answered unchecked while the
	// upstream has few requests left for us.
	sparing = 10
	// brokenWait is how long a stored tag waits for the check that finds out
	// whether a broken upstream is back (spec/reliability.md, 5, row 7: 50 ms).
	brokenWait = 40 * time.Millisecond
)

// checked is the result of a check of a tag.
type checked struct {
	rec    store.TagRecord
	result oci.Result
	from   string
}

// trouble is what the upstream has lately said about a tag that is stored.
type trouble struct {
	missing time.Time // when it was first gone; zero where it was not
	refused time.Time // when access was first refused
}

// tag returns what a tag points at. A stored tag that is fresh costs nothing;
// otherwise one check runs for all who ask. Where the upstream cannot be asked
// and the tag is stored, that is the answer, with a warning.
func (p *Proxy) tag(ctx context.Context, o *oci.Outcome, pol *Policy, k tagKey) (store.TagRecord, error) {
	rec, stored := p.storedTag(k)
	now := p.cfg.now()
	if stored && pol.fresh(k.tag, rec.ValidatedAt, now) {
		o.Result, o.Age = oci.Hit, age(rec, now)
		return rec, nil
	}
	if err := p.refusedTag(k, stored); err != nil {
		o.Result = oci.Negative
		return p.fallback(o, pol, k, rec, stored, err)
	}
	if stored && p.first(ctx, o, pol, k, rec) {
		return rec, nil
	}
	f, how, err := p.startCheck(ctx, pol, k)
	if err != nil {
		return p.fallback(o, pol, k, rec, stored, err)
	}
	got, err := p.waitCheck(ctx, f, k, stored)
	if err != nil {
		o.Result = how
		if ctx.Err() != nil {
			return rec, err
		}
		return p.fallback(o, pol, k, rec, stored, err)
	}
	o.Result, o.From, o.Age = got.result, got.from, age(got.rec, p.cfg.now())
	if how != oci.Miss {
		o.Result = how
	}
	return got.rec, nil
}

// startCheck returns the check of a tag that runs, or starts one.
func (p *Proxy) startCheck(ctx context.Context, pol *Policy, k tagKey) (*flight[checked], oci.Result, error) {
	own := *pol // the caller does not wait for it to end
	return p.tags.join(ctx, p, k, func(ctx context.Context) (checked, error) {
		got, err := p.check(ctx, &own, k)
		if err == nil {
			p.keepTag(k, got.rec)
		}
		return got, err
	}, nil)
}

// first answers with a stored tag that is no longer fresh, and has it checked
// meanwhile: where the policy has it so, and where the upstream has few requests
// left for us (spec/serve.md, B4 and F5). It reports whether it did.
func (p *Proxy) first(ctx context.Context, o *oci.Outcome, pol *Policy, k tagKey, rec store.TagRecord) bool {
	since, ttl := p.cfg.now().Sub(rec.ValidatedAt), pol.ttl(k.tag)
	switch {
	case since < 0 || pol.MaxStale > 0 && since > pol.MaxStale:
		return false
	case p.scarce(k.name.Host):
		o.Warning = fmt.Sprintf("stale: upstream %s leaves us few requests, cached %s ago", k.name.Host, short(since))
		if since >= sparing*ttl {
			p.startCheck(ctx, pol, k) // what comes of it is for the next
		}
	case pol.StaleWhileRevalidate && since < 2*ttl:
		p.startCheck(ctx, pol, k)
	default:
		return false
	}
	o.Result, o.Age = oci.Stale, since
	return true
}

// waitCheck waits for a check: where the tag is stored only for a moment,
// counted from when the check began, so that a slow upstream costs one wait
// and not one for each request.
func (p *Proxy) waitCheck(ctx context.Context, f *flight[checked], k tagKey, stored bool) (checked, error) {
	limit := p.cfg.headerTimeout()
	switch {
	case stored && p.health.isOpen(k.lane(false)):
		limit = brokenWait
	case stored:
		limit = max(p.cfg.staleWait()-p.cfg.now().Sub(f.start), 0)
	}
	got, err := f.wait(ctx, limit)
	if err == errLate {
		err = late(k.name)
		if stored {
			p.health.slow(k.lane(false), err, p.cfg.now())
		}
	}
	return got, err
}

// refusedTag returns why the upstream need not be asked about a tag. Who has
// it stored also leaves alone an upstream that has just failed.
func (p *Proxy) refusedTag(k tagKey, stored bool) error {
	now := p.cfg.now()
	if err := p.negative.get(k.negative(), now); err != nil {
		return err
	}
	if stored {
		return p.health.down(k.lane(false), now)
	}
	return p.health.paused(k.lane(false), now)
}

// check asks the upstream what a tag points at: the flight of a tag.
func (p *Proxy) check(ctx context.Context, pol *Policy, k tagKey) (checked, error) {
	rec, stored := p.storedTag(k)
	if stored && pol.fresh(k.tag, rec.ValidatedAt, p.cfg.now()) {
		return checked{rec, oci.Revalidated, ""}, nil // by a check that ended since the client looked
	}
	if err := p.refusedTag(k, stored); err != nil {
		return checked{}, err
	}
	d, from, err := p.askHead(ctx, k.repo, k.name.WithTag(k.tag))
	p.learn(pol, k, rec, stored, err)
	if err != nil {
		return checked{}, err
	}
	now := p.cfg.now()
	if stored && rec.Digest == d.Digest {
		rec.ValidatedAt = now
		return checked{rec, oci.Revalidated, from}, nil
	}
	if stored && p.hasManifest(k.repo, rec.Digest) {
		// The old image is complete as far as we know. It is given up only
		// for a manifest that is here, not for one that may never come.
		m, err := p.bring(ctx, k, d.Digest)
		if err != nil {
			return checked{}, err
		}
		d = m.Descriptor()
	}
	return checked{record(d, now), oci.Miss, from}, nil
}

// bring fetches the manifest that a tag was just said to point at. Where it is
// gone by now, the tag has moved again, or the registry knows it by tag only.
func (p *Proxy) bring(ctx context.Context, k tagKey, d oci.Digest) (oci.Manifest, error) {
	m, err := p.byDigest(ctx, new(oci.Outcome), k.repo, d)
	if !notFound(err) {
		return m, err
	}
	m, _, err = p.askManifest(ctx, k.repo, k.name.WithTag(k.tag))
	if err != nil {
		return m, err
	}
	p.keepManifest(k.repo, m)
	return m, nil
}

// byTag returns the manifest that a tag points at.
func (p *Proxy) byTag(ctx context.Context, o *oci.Outcome, pol *Policy, k tagKey) (oci.Manifest, error) {
	if p.isFirst(k) {
		return p.fetchTag(ctx, o, k, "")
	}
	rec, err := p.tag(ctx, o, pol, k)
	if err != nil {
		return oci.Manifest{}, err
	}
	// A flight that has brought the manifest may still be storing it: the tag
	// is known by then, and what it points at not yet.
	if f := p.moves.find(k); f != nil && f.how() == oci.Hit && f.err == nil && f.value.manifest.Digest == rec.Digest {
		return f.value.manifest, nil
	}
	var second oci.Outcome
	m, err := p.byDigest(ctx, &second, k.repo, rec.Digest)
	if notFound(err) && o.Result != oci.Stale {
		m, err = p.fetchTag(ctx, &second, k, rec.Digest)
	}
	if second.Result != oci.Hit && o.Result != oci.Stale {
		o.Result, o.From = second.Result, second.From
	}
	return m, err
}

// isFirst reports whether a tag is the first that is asked for in its
// repository. Then its manifest cannot be stored, so that a HEAD before the GET
// would be a round trip for nothing; otherwise it spares a GET, which counts as
// a pull, where another tag has brought the manifest already.
func (p *Proxy) isFirst(k tagKey) bool {
	if _, stored := p.storedTag(k); stored || p.tags.find(k) != nil || p.refusedTag(k, false) != nil {
		return false
	}
	known, err := p.cache.Tags(k.scope, k.name)
	return err == nil && len(known) == 0
}

// fetchTag fetches a manifest by tag: the first of a repository, or what could
// not be fetched by the digest that the tag had a moment ago, as it may have
// moved in between. Gone is that digest, "" for a first one.
func (p *Proxy) fetchTag(ctx context.Context, o *oci.Outcome, k tagKey, gone oci.Digest) (oci.Manifest, error) {
	f, how, err := p.moves.join(ctx, p, k, func(ctx context.Context) (fetched, error) {
		got, err := p.askTag(ctx, k, gone)
		if err == nil {
			p.arriving.add(manifestKey{k.repo, got.manifest.Digest}, got.manifest)
		}
		return got, err
	}, func(got fetched) {
		defer p.arriving.done(manifestKey{k.repo, got.manifest.Digest})
		rec := record(got.manifest.Descriptor(), p.cfg.now())
		if gone == "" {
			p.keepTag(k, rec) // at once: there is no older image that a crash could lose
		}
		p.keepManifest(k.repo, got.manifest)
		if gone != "" {
			p.keepTag(k, rec)
		}
	})
	if err != nil {
		return oci.Manifest{}, err
	}
	o.Result = how
	got, err := f.wait(ctx, p.cfg.headerTimeout())
	if err != nil && how == oci.Hit {
		o.Result = oci.Negative // the flight had its "no" already
	}
	o.From = got.from
	return got.manifest, waited(k.repo, err)
}

// askTag is the flight of fetchTag.
func (p *Proxy) askTag(ctx context.Context, k tagKey, gone oci.Digest) (fetched, error) {
	if rec, ok := p.storedTag(k); ok && rec.Digest != gone {
		if m, err := p.cache.Manifest(k.scope, k.name, rec.Digest); err == nil {
			return fetched{manifest: m}, nil // by a flight that ended since the client looked
		}
	}
	m, from, err := p.askManifest(ctx, k.repo, k.name.WithTag(k.tag))
	p.negative.note(k.negative(), err, missingTag, p.cfg.now())
	return fetched{m, from}, err
}

// learn remembers what the upstream said about a tag, and forgets a tag that is
// gone for good.
func (p *Proxy) learn(pol *Policy, k tagKey, rec store.TagRecord, stored bool, err error) {
	now := p.cfg.now()
	p.negative.note(k.negative(), err, missingTag, now)
	if !stored {
		return
	}
	t, _ := p.troubles.get(k)
	switch {
	case notFound(err) && t.missing.IsZero() && pol.confirmMissing() > 0:
		p.troubles.put(k, trouble{missing: now})
	case notFound(err) && now.Sub(t.missing) >= pol.confirmMissing() && !pol.ServeStaleOn404:
		if err := p.cache.DeleteTag(k.scope, k.name, k.tag); err != nil {
			p.storeError("delete tag", k.name, err)
		}
		p.troubles.delete(k)
		p.log.Info("a tag is gone at the upstream", "ref", k.name.WithTag(k.tag).String(), "digest", rec.Digest)
	case notFound(err):
	case refused(err) && t.refused.IsZero():
		p.troubles.put(k, trouble{refused: now})
		p.log.Warn("the upstream refuses our access", "ref", k.name.WithTag(k.tag).String(), "err", err)
	case err == nil:
		p.troubles.delete(k)
	}
}

// fallback answers a tag that could not be checked: with what is stored, where
// policy and the reason allow it.
func (p *Proxy) fallback(o *oci.Outcome, pol *Policy, k tagKey, rec store.TagRecord, stored bool, why error) (store.TagRecord, error) {
	now := p.cfg.now()
	if !stored || !p.mayServe(pol, k, rec, why, now) {
		return store.TagRecord{}, why
	}
	o.Result, o.Age = oci.Stale, age(rec, now)
	o.Warning = fmt.Sprintf("stale: upstream %s %s, cached %s ago", k.name.Host, reason(why), short(o.Age))
	return rec, nil
}

func (p *Proxy) mayServe(pol *Policy, k tagKey, rec store.TagRecord, why error, now time.Time) bool {
	if pol.MaxStale > 0 && now.Sub(rec.ValidatedAt) > pol.MaxStale {
		return false
	}
	switch {
	case notFound(why):
		return pol.ServeStaleOn404
	case refused(why) && k.who != "":
		return false // he may have lost the right
	case refused(why):
		t, _ := p.troubles.get(k)
		return now.Sub(t.refused) < pol.authGrace()
	default:
		return true
	}
}

// storedTag returns what is stored about a tag. A store that cannot be read has
// nothing stored.
func (p *Proxy) storedTag(k tagKey) (store.TagRecord, bool) {
	rec, err := p.cache.Tag(k.scope, k.name, k.tag)
	if err != nil && !notFound(err) {
		p.storeError("read tag", k.name, err)
	}
	return rec, err == nil
}

func (p *Proxy) keepTag(k tagKey, rec store.TagRecord) {
	if err := p.cache.PutTag(k.scope, k.name, k.tag, rec); err != nil {
		p.storeError("store tag", k.name, err)
	}
}

func (p *Proxy) hasManifest(in repo, d oci.Digest) bool {
	_, err := p.cache.Manifest(in.scope, in.name, d)
	return err == nil
}

// record is the record of a tag that points at d, as was found out now.
func record(d oci.Descriptor, now time.Time) store.TagRecord {
	return store.TagRecord{Digest: d.Digest, MediaType: d.MediaType, Size: d.Size, FetchedAt: now, ValidatedAt: now}
}

// age is the time since a tag was last known to be current.
func age(rec store.TagRecord, now time.Time) time.Duration {
	return max(now.Sub(rec.ValidatedAt), 0)
}

// reason says in a few words why an upstream could not be asked.
func reason(err error) string {
	switch {
	case limited(err):
		return "limits requests"
	case notFound(err):
		return "has it no more"
	case refused(err):
		return "refuses access"
	case timedOut(err):
		return "does not answer in time"
	case mismatched(err):
		return "does not answer as a registry"
	default:
		return "unreachable"
	}
}

// short writes a duration in its largest unit: 45s, 12m, 3h, 9d.
func short(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	default:
		return fmt.Sprintf("%dd", int(d.Hours()/24))
	}
}
