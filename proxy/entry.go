package proxy

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"io"
	"time"

	"github.com/entrepot/entrepot/oci"
)

// entryTTL is how long an upstream's answer to a caller proves that he may read
// a repository there (spec/serve.md, D3). Each further answer begins it anew.
const entryTTL = 15 * time.Minute

// maxEntries is how many entries are remembered; one that is pushed out costs
// a HEAD.
const maxEntries = 16384

// Entries are what callers who log in to upstreams themselves have proved: that
// the upstream lets them into a repository. Logins are known by a hash whose
// key is this process's alone, so that nothing that is remembered, or told by
// mistake, says what they were.
type entries struct {
	key   [32]byte
	known *recent[repo, time.Time] // :: repository and caller → when he was let in
	asked group[negativeKey, struct{}]
}

func newEntries() *entries {
	e := &entries{known: newRecent[repo, time.Time](maxEntries)}
	rand.Read(e.key[:]) // never fails
	return e
}

// who names the sender of a login, "" never: whoever sends none is somebody as
// well.
func (e *entries) who(login oci.Secret) string {
	mac := hmac.New(sha256.New, e.key[:])
	io.WriteString(mac, login.Reveal()) // never fails
	return string(mac.Sum(nil))
}

// has reports whether the caller may have what is stored of the repository. A
// proof of the future says that the clock was moved back.
func (e *entries) has(in repo, now time.Time) bool {
	if in.who == "" {
		return true
	}
	return e.hasHad(in, now, entryTTL)
}

// mayStill is has while the upstream cannot be asked.
func (e *entries) mayStill(in repo, pol *Policy, now time.Time) bool {
	return e.has(in, now) || e.hasHad(in, now, pol.OfflineProofTTL)
}

// hasHad is has for a proof of another age.
func (e *entries) hasHad(in repo, now time.Time, limit time.Duration) bool {
	at, ok := e.known.get(in)
	since := now.Sub(at)
	return ok && since >= 0 && since < limit
}

// admit learns from an answer about content of a repository, which an upstream
// gives to those who may read it.
func (p *Proxy) admit(in repo, err error) {
	switch {
	case in.who == "":
	case err == nil:
		p.entries.known.put(in, p.cfg.now())
	case refused(err):
		p.entries.known.delete(in)
		p.negative.note(in.entry(), err, 0, p.cfg.now())
	}
}

// enter lets a caller into a repository: at once where logins are not his
// affair, or where he has lately been let in; otherwise the upstream is asked
// for what he wants, whether it is stored or not, so that neither the answer
// nor what it takes to find it tells which. Where it cannot be asked, a proof
// that is older may do.
func (p *Proxy) enter(ctx context.Context, o *oci.Outcome, pol *Policy, k negativeKey) error {
	if k.who == "" {
		return nil
	}
	how, err := oci.Hit, error(nil)
	if now := p.cfg.now(); !p.entries.has(k.repo, now) {
		err = p.seekEntry(ctx, o, pol, k, now)
		how = o.Result
	}
	p.observe(Event{Kind: EventEntry, Upstream: k.name.Host, Result: how, Err: err})
	return err
}

// seekEntry is enter where the caller was not let in lately.
func (p *Proxy) seekEntry(ctx context.Context, o *oci.Outcome, pol *Policy, k negativeKey, now time.Time) error {
	older := p.entries.hasHad(k.repo, now, pol.OfflineProofTTL)
	if older && p.health.down(k.lane(k.kind == noBlob), now) != nil {
		return nil
	}
	if err := p.barred(k); err != nil {
		o.Result = oci.Negative
		return err
	}
	f, how, err := p.entries.asked.join(ctx, p, k, func(ctx context.Context) (struct{}, error) {
		if err := p.barred(k); err != nil {
			return struct{}{}, err
		}
		return struct{}{}, p.askEntry(ctx, k)
	}, nil)
	if err != nil {
		return err
	}
	o.Result = how
	limit := p.cfg.headerTimeout()
	if older {
		limit = p.cfg.staleWait()
	}
	_, err = f.wait(ctx, limit)
	if err = waited(k.repo, err); older && ctx.Err() == nil && cannotBeAsked(err) {
		return nil
	}
	return err
}

// cannotBeAsked reports whether an error says nothing about what was asked.
func cannotBeAsked(err error) bool {
	return errors.Is(err, oci.ErrUnavailable) || errors.Is(err, oci.ErrMismatch)
}

// barred returns why the upstream need not be asked.
func (p *Proxy) barred(k negativeKey) error {
	now := p.cfg.now()
	if err := p.negative.get(k.entry(), now); err != nil {
		return err
	}
	if err := p.negative.get(k, now); err != nil {
		return err
	}
	return p.health.paused(k.lane(k.kind == noBlob), now)
}

// askEntry asks for what the caller wants, by a HEAD.
func (p *Proxy) askEntry(ctx context.Context, k negativeKey) (err error) {
	missing := missingTag
	switch k.kind {
	case noTag:
		_, _, err = p.askHead(ctx, k.repo, k.name.WithTag(k.id))
	case noManifest:
		missing = missingManifest
		_, _, err = p.askHead(ctx, k.repo, k.name.WithDigest(oci.Digest(k.id)))
	default:
		missing = missingBlob
		_, err = p.askStat(ctx, k.repo, oci.Digest(k.id))
	}
	p.negative.note(k, err, missing, p.cfg.now())
	return err
}
