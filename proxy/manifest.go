package proxy

import (
	"context"

	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
)

// fetched is a manifest that a flight brought.
type fetched struct {
	manifest oci.Manifest
	from     string
}

// Manifest returns the manifest that r names. By digest it is answered from
// the store without asking anybody; by tag as the tag's age and the upstream
// allow. What is fetched is answered as soon as it is verified, and stored in
// the background. The blobs of an image are then fetched ahead of the client.
func (p *Proxy) Manifest(ctx context.Context, r ref.Ref) (oci.Manifest, error) {
	m, err := p.manifest(ctx, r)
	p.answered(ctx, OpManifest, r.Name, err)
	return m, err
}

func (p *Proxy) manifest(ctx context.Context, r ref.Ref) (m oci.Manifest, err error) {
	pol, in := p.policy(ctx, r.Name)
	o := oci.OutcomeOf(ctx)
	if err := p.enterFor(ctx, o, &pol, in, r); err != nil {
		return m, err
	}
	switch {
	case r.Digest != "":
		m, err = p.byDigest(ctx, o, in, r.Digest)
	case r.Tag != "":
		m, err = p.byTag(ctx, o, &pol, tagKey{in, r.Tag})
	default:
		err = errNoReference
	}
	if err == nil {
		p.noticed(&pol, in, m)
	}
	return m, err
}

var errNoReference = oci.Errorf(oci.ErrInvalid, oci.CodeManifestInvalid, "neither a tag nor a digest is asked for")

// Resolve returns the descriptor of the manifest that r names, at the cost of
// at most a HEAD.
func (p *Proxy) Resolve(ctx context.Context, r ref.Ref) (oci.Descriptor, error) {
	d, err := p.resolve(ctx, r)
	p.answered(ctx, OpResolve, r.Name, err)
	return d, err
}

func (p *Proxy) resolve(ctx context.Context, r ref.Ref) (oci.Descriptor, error) {
	pol, in := p.policy(ctx, r.Name)
	o := oci.OutcomeOf(ctx)
	if r.Digest == "" && r.Tag == "" {
		return oci.Descriptor{}, errNoReference
	}
	if err := p.enterFor(ctx, o, &pol, in, r); err != nil {
		return oci.Descriptor{}, err
	}
	if r.Digest == "" {
		rec, err := p.tag(ctx, o, &pol, tagKey{in, r.Tag})
		if err == nil {
			p.cache.Used(rec.Digest, rec.MediaType)
		}
		return oci.Descriptor{MediaType: rec.MediaType, Digest: rec.Digest, Size: rec.Size}, err
	}
	if m, err := p.cache.Manifest(in.scope, in.name, r.Digest); err == nil {
		o.Result = oci.Hit
		return m.Descriptor(), nil
	}
	if m, ok := p.arriving.get(manifestKey{in, r.Digest}); ok {
		o.Result = oci.Hit
		return m.Descriptor(), nil
	}
	return p.resolveDigest(ctx, o, manifestKey{in, r.Digest})
}

// enterFor is enter for a manifest.
func (p *Proxy) enterFor(ctx context.Context, o *oci.Outcome, pol *Policy, in repo, r ref.Ref) error {
	switch {
	case r.Digest != "":
		return p.enter(ctx, o, pol, manifestKey{in, r.Digest}.negative())
	case r.Tag != "":
		return p.enter(ctx, o, pol, tagKey{in, r.Tag}.negative())
	}
	return errNoReference
}

// resolveDigest asks the upstream for the descriptor of a manifest that is not
// stored.
func (p *Proxy) resolveDigest(ctx context.Context, o *oci.Outcome, k manifestKey) (oci.Descriptor, error) {
	if f := p.manifests.find(k); f != nil {
		o.Result = oci.Coalesced
		got, err := f.wait(ctx, p.cfg.headerTimeout())
		return got.manifest.Descriptor(), waited(k.repo, err)
	}
	if err := p.refusedManifest(k); err != nil {
		o.Result = oci.Negative
		return oci.Descriptor{}, err
	}
	f, how, err := p.resolves.join(ctx, p, k, func(ctx context.Context) (oci.Descriptor, error) {
		if err := p.refusedManifest(k); err != nil {
			return oci.Descriptor{}, err
		}
		d, _, err := p.askHead(ctx, k.repo, k.name.WithDigest(k.digest))
		p.negative.note(k.negative(), err, missingManifest, p.cfg.now())
		d.Digest = k.digest
		return d, err
	}, nil)
	if err != nil {
		return oci.Descriptor{}, err
	}
	o.Result = how
	d, err := f.wait(ctx, p.cfg.headerTimeout())
	return d, waited(k.repo, err)
}

// byDigest returns a manifest of a repository by digest.
func (p *Proxy) byDigest(ctx context.Context, o *oci.Outcome, in repo, d oci.Digest) (oci.Manifest, error) {
	if m, err := p.cache.Manifest(in.scope, in.name, d); err == nil {
		o.Result = oci.Hit
		return m, nil
	} else if !notFound(err) {
		p.storeError("read manifest", in.name, err)
	}
	k := manifestKey{in, d}
	if m, ok := p.arriving.get(k); ok {
		o.Result = oci.Hit
		return m, nil
	}
	if err := p.refusedManifest(k); err != nil {
		o.Result = oci.Negative
		return oci.Manifest{}, err
	}
	f, how, err := p.manifests.join(ctx, p, k,
		func(ctx context.Context) (fetched, error) { return p.fetchManifest(ctx, k) },
		func(got fetched) { p.keepManifest(in, got.manifest) })
	if err != nil {
		return oci.Manifest{}, err
	}
	o.Result = how
	got, err := f.wait(ctx, p.cfg.headerTimeout())
	o.From = got.from
	return got.manifest, waited(in, err)
}

// fetchManifest is the flight of a manifest by digest.
func (p *Proxy) fetchManifest(ctx context.Context, k manifestKey) (fetched, error) {
	if m, err := p.cache.Manifest(k.scope, k.name, k.digest); err == nil {
		return fetched{manifest: m}, nil // stored since the client looked
	}
	if err := p.refusedManifest(k); err != nil {
		return fetched{}, err
	}
	m, from, err := p.askManifest(ctx, k.repo, k.name.WithDigest(k.digest))
	p.negative.note(k.negative(), err, missingManifest, p.cfg.now())
	return fetched{m, from}, err
}

// keepManifest stores a manifest. Clients have it already, so that an error
// costs them nothing but a fetch the next time.
func (p *Proxy) keepManifest(in repo, m oci.Manifest) {
	// What was verified is stored even while the Proxy is being closed.
	if err := p.cache.PutManifest(context.WithoutCancel(p.asking), in.scope, in.name, m); err != nil {
		p.storeError("store manifest", in.name, err)
	}
}

// refusedManifest returns why the upstream need not be asked for a manifest by
// digest: it said no a moment ago, or wants to be left alone.
func (p *Proxy) refusedManifest(k manifestKey) error {
	now := p.cfg.now()
	if err := p.negative.get(k.negative(), now); err != nil {
		return err
	}
	return p.health.paused(k.lane(false), now)
}

// waited names the upstream in the error of a flight that took too long.
func waited(in repo, err error) error {
	if err == errLate {
		return late(in.name)
	}
	return err
}
