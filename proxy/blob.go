package proxy

import (
	"context"
	"io"
	"os"

	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
)

// maxLooks is how often a request looks for a blob that vanishes, or whose
// fill ends, just when it looks.
const maxLooks = 5

// Blob opens a blob of the repository. One that is stored and linked is an
// *os.File. One that is being fetched, or now starts to be, is read while it
// grows: Body is an io.ReadSeekCloser where its size is known, reading waits
// for bytes to come, and the end of the content is only given once its digest
// is right; reading fails with ErrMismatch where it is not, and with
// ErrUnavailable where the upstream gives up in the middle. The context
// governs the reading; leaving does not end the fetching.
func (p *Proxy) Blob(ctx context.Context, n ref.Name, d oci.Digest, off int64) (oci.Blob, error) {
	b, err := p.blob(ctx, n, d, off)
	p.answered(ctx, OpBlob, n, err)
	return b, err
}

func (p *Proxy) blob(ctx context.Context, n ref.Name, d oci.Digest, off int64) (oci.Blob, error) {
	pol, in := p.policy(ctx, n)
	k := blobKey{in, d}
	o := oci.OutcomeOf(ctx)
	again := off != 0 || o.Result != "" // the request got something already, and could not read on
	if err := p.enter(ctx, o, &pol, k.negative()); err != nil {
		return oci.Blob{}, err
	}
	proved := false
	for look := range maxLooks {
		mine := proved || p.linked(&pol, k)
		if mine {
			if b, ok := p.openStored(k, off, again); ok {
				if look == 0 {
					o.Result = oci.Hit
				}
				return b, nil
			}
		}
		f := p.fill(d)
		if !mine && (f != nil && f.key.repo != in || f == nil && p.isStored(d)) {
			if _, err := p.prove(ctx, o, &pol, k, p.askByte); err != nil {
				return oci.Blob{}, err
			}
			proved = true
			continue
		}
		b, err := p.follow(ctx, o, &pol, k, off, mine)
		if err == errFull || err == errBroken {
			return p.around(ctx, o, k, off, err)
		}
		if err != errAgain {
			return b, err
		}
	}
	// It is evicted as fast as it is fetched: then the store is left out.
	return p.around(ctx, o, k, off, errFull)
}

// openStored opens a blob that is stored, positioned at off. With doubt it sees
// that it can be read there.
func (p *Proxy) openStored(k blobKey, off int64, doubt bool) (oci.Blob, bool) {
	f, size, err := p.cache.Open(k.digest)
	if err != nil {
		if !notFound(err) {
			p.storeError("open blob", k.name, err)
		}
		return oci.Blob{}, false
	}
	if doubt {
		if err := standAt(f, off, size); err != nil {
			f.Close()
			p.storeError("read blob", k.name, err)
			if err := p.cache.Quarantine(k.digest); err != nil {
				p.storeError("quarantine blob", k.name, err)
			}
			return oci.Blob{}, false
		}
	}
	return oci.Blob{Descriptor: oci.Descriptor{Digest: k.digest, Size: size}, Body: f, Offset: off, From: "store"}, true
}

// standAt positions a file, and sees that it can be read there: whoever asks for
// a blob in its middle, or once more, may have got that far, and no further, from
// a disk that is failing.
func standAt(f *os.File, off, size int64) error {
	if off < size {
		if _, err := f.ReadAt(make([]byte, 1), off); err != nil {
			return err
		}
	}
	_, err := f.Seek(off, io.SeekStart)
	return err
}

// follow joins the fill of a blob, or starts it, and returns its body as soon as
// the upstream has answered. Mine says that the repository has the right to read
// it; otherwise the answer to this repository's own fill has to give it. The
// error is errAgain where the blob has to be looked for again.
func (p *Proxy) follow(ctx context.Context, o *oci.Outcome, pol *Policy, k blobKey, off int64, mine bool) (oci.Blob, error) {
	f, joined := p.fill(k.digest), true
	if f == nil {
		err := p.refusedBlob(k)
		if err != nil {
			o.Result = oci.Negative
			return oci.Blob{}, err
		}
		if f, joined, err = p.startFill(pol, k, false); err != nil {
			return oci.Blob{}, err
		}
	}
	if !mine && f.key.repo != k.repo {
		return oci.Blob{}, errAgain // another repository was faster
	}
	o.Result = f.how(joined)
	if err := p.waitFill(ctx, f); err != nil {
		return oci.Blob{}, err
	}
	r, err := f.reader(ctx, k, p.claimed(k), off)
	if err != nil {
		return oci.Blob{}, err
	}
	o.From = r.from
	return oci.Blob{Descriptor: oci.Descriptor{Digest: k.digest, Size: r.size}, Body: r.body(), Offset: off, From: r.from}, nil
}

// waitFill waits for the upstream's answer, and for what else is better known
// before headers are sent.
func (p *Proxy) waitFill(ctx context.Context, f *fill) error {
	limit, cancel := context.WithTimeoutCause(ctx, p.cfg.headerTimeout(), errLate)
	defer cancel()
	select {
	case <-f.opened:
	case <-limit.Done():
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return late(f.key.name)
	}
	if err := f.settle(limit); err != nil && err != errLate {
		return err
	}
	return nil // late: what was heard so far is better than nothing
}

// refusedBlob returns why the upstream need not be asked for a blob.
func (p *Proxy) refusedBlob(k blobKey) error {
	now := p.cfg.now()
	if err := p.negative.get(k.bad(), now); err != nil {
		return err
	}
	if err := p.negative.get(k.negative(), now); err != nil {
		return err
	}
	return p.health.paused(k.lane(true), now)
}

// Stat returns the size of a blob of the repository: from the store, or from a
// manifest, where the repository is known to have it, and otherwise from the
// upstream.
func (p *Proxy) Stat(ctx context.Context, n ref.Name, d oci.Digest) (oci.Descriptor, error) {
	desc, err := p.stat(ctx, n, d)
	p.answered(ctx, OpStat, n, err)
	return desc, err
}

func (p *Proxy) stat(ctx context.Context, n ref.Name, d oci.Digest) (oci.Descriptor, error) {
	pol, in := p.policy(ctx, n)
	k := blobKey{in, d}
	o := oci.OutcomeOf(ctx)
	if err := p.enter(ctx, o, &pol, k.negative()); err != nil {
		return oci.Descriptor{}, err
	}
	mine := p.linked(&pol, k)
	if mine {
		size, err := p.cache.Stat(d)
		if err != nil {
			size = p.claimed(k)
		}
		if size >= 0 {
			o.Result = oci.Hit
			return oci.Descriptor{Digest: d, Size: size}, nil
		}
	}
	if f := p.fill(d); f != nil && (mine || f.key.repo == in) {
		if size := f.sizeNow(); size >= 0 {
			o.Result = oci.Coalesced
			return oci.Descriptor{Digest: d, Size: size}, nil
		}
	}
	desc, err := p.prove(ctx, o, &pol, k, p.askStat)
	if err == nil && desc.Size < 0 {
		desc.Size = p.claimed(k)
	}
	return desc, err
}

// prove asks the upstream whether the repository has a blob, and links it where
// it has. It is how bytes that are here for another repository are earned. It is
// asked in as many requests as if they were not here: how long a refusal takes
// tells nobody (spec/reliability.md, 2).
func (p *Proxy) prove(ctx context.Context, o *oci.Outcome, pol *Policy, k blobKey, ask asker) (oci.Descriptor, error) {
	if err := p.refusedBlob(k); err != nil {
		o.Result = oci.Negative
		return oci.Descriptor{}, err
	}
	f, how, err := p.proofs.join(ctx, p, k, func(ctx context.Context) (oci.Descriptor, error) {
		return p.proof(ctx, pol, k, ask)
	}, nil)
	if err != nil {
		return oci.Descriptor{}, err
	}
	o.Result = how
	d, err := f.wait(ctx, p.cfg.headerTimeout())
	return d, waited(k.repo, err)
}

// proof is the flight of prove.
func (p *Proxy) proof(ctx context.Context, pol *Policy, k blobKey, ask asker) (oci.Descriptor, error) {
	stored, err := p.cache.Stat(k.digest)
	if err != nil {
		stored = -1
	}
	if stored >= 0 && p.linked(pol, k) {
		return oci.Descriptor{Digest: k.digest, Size: stored}, nil // by a flight that ended since the client looked
	}
	if err := p.refusedBlob(k); err != nil {
		return oci.Descriptor{}, err
	}
	d, err := ask(ctx, k.repo, k.digest)
	if err == nil && stored >= 0 && d.Size >= 0 && d.Size != stored {
		err = fault(k.name, "", oci.ErrMismatch) // an answer about something else proves nothing
	}
	p.negative.note(k.negative(), err, missingBlob, p.cfg.now())
	if err != nil {
		return oci.Descriptor{}, err
	}
	if err := p.link(k, pol.Anonymous); err != nil {
		p.storeError("link blob", k.name, err)
	}
	d.Digest = k.digest
	return d, nil
}
