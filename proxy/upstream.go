package proxy

import (
	"context"
	"fmt"
	"time"

	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
)

// maxAsk ends a request for a manifest, a descriptor or a list that its reader
// would let run for ever, so that no flight blocks its key. It is no budget of
// clients: those leave earlier.
const maxAsk = 2 * time.Minute

// ask runs one request to the upstream: not while the upstream has asked for
// silence, and with its error made fit for clients and remembered, unless the
// request was cut because ctx ended. Code is for content that is not there.
func (p *Proxy) ask(ctx context.Context, l lane, n ref.Name, code string, do func() error) error {
	if err := p.health.enter(l, p.cfg.now()); err != nil {
		return err
	}
	err := do()
	switch {
	case err != nil && p.asking.Err() != nil:
		return errClosed()
	case err != nil && ctx.Err() != nil:
		return context.Cause(ctx)
	}
	err = fault(n, code, err)
	p.health.note(l, err, p.cfg.now())
	return err
}

// askHead asks for a manifest's descriptor.
func (p *Proxy) askHead(ctx context.Context, r repo, asked ref.Ref) (d oci.Descriptor, from string, err error) {
	request, o, cancel := detached(ctx)
	defer cancel()
	err = p.ask(ctx, r.lane(false), r.name, oci.CodeManifestUnknown, func() (err error) {
		if d, err = p.up.Resolve(request, asked); err == nil && d.Digest.Validate() != nil {
			err = oci.Errorf(oci.ErrMismatch, "", "the upstream names no digest for %s", asked)
		}
		return err
	})
	p.admit(r, err)
	return d, o.From, outdated(r, d.MediaType, err)
}

// askManifest asks for a manifest and verifies it.
func (p *Proxy) askManifest(ctx context.Context, r repo, asked ref.Ref) (m oci.Manifest, from string, err error) {
	request, o, cancel := detached(ctx)
	defer cancel()
	err = p.ask(ctx, r.lane(false), r.name, oci.CodeManifestUnknown, func() (err error) {
		if m, err = p.up.Manifest(request, asked); err != nil {
			return err
		}
		want := asked.Digest
		if want == "" {
			want = m.Digest
		}
		if got := oci.FromBytes(m.Raw, want); got != want {
			p.observe(Event{Kind: EventMismatch, Upstream: r.name.Host, Op: OpManifest})
			return fmt.Errorf("%w: manifest %s has the content of %s", oci.ErrMismatch, want, got)
		}
		m.Digest = want
		return nil
	})
	p.admit(r, err)
	return m, o.From, outdated(r, m.MediaType, err)
}

// outdated refuses a manifest of schema 1, whose digest is not that of its
// bytes, so that nothing else here would hold for it.
func outdated(r repo, mediaType string, err error) error {
	if err != nil || mediaType != oci.TypeDockerSchema1 && mediaType != oci.TypeDockerSchema1JWS {
		return err
	}
	return oci.Errorf(oci.ErrNotFound, oci.CodeManifestUnknown,
		"upstream %s has %s only as a schema 1 manifest, which is not supported", r.name.Host, r.name.Path)
}

// An asker asks for a blob's size.
type asker func(ctx context.Context, r repo, d oci.Digest) (oci.Descriptor, error)

// askByte asks as whoever wants the blob does, by one GET, but for its first
// byte alone.
func (p *Proxy) askByte(ctx context.Context, r repo, d oci.Digest) (desc oci.Descriptor, err error) {
	parts, ok := p.up.(oci.Ranger)
	if !ok {
		return p.askStat(ctx, r, d)
	}
	request, _, cancel := detached(ctx)
	defer cancel()
	err = p.ask(ctx, r.lane(true), r.name, oci.CodeBlobUnknown, func() error {
		b, err := parts.BlobRange(request, r.name, d, 0, 1)
		if err != nil {
			return err
		}
		desc = b.Descriptor
		return b.Body.Close()
	})
	p.admit(r, err)
	return desc, err
}

// askStat asks for a blob's size, by a HEAD.
func (p *Proxy) askStat(ctx context.Context, r repo, d oci.Digest) (desc oci.Descriptor, err error) {
	request, _, cancel := detached(ctx)
	defer cancel()
	err = p.ask(ctx, r.lane(true), r.name, oci.CodeBlobUnknown, func() (err error) {
		desc, err = p.up.Stat(request, r.name, d)
		return err
	})
	p.admit(r, err)
	return desc, err
}

// detached returns the context of a request to the upstream, with an Outcome of
// its own: that of a client belongs to the client.
func detached(ctx context.Context) (context.Context, *oci.Outcome, context.CancelFunc) {
	o := new(oci.Outcome)
	ctx, cancel := context.WithTimeout(ctx, maxAsk)
	return oci.WithOutcome(ctx, o), o, cancel
}
