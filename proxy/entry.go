package proxy

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
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
	known *recent[repo, time.Time] // :: repository and caller → when the proof ends
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
// proof that would last too long says that the clock was moved back.
func (e *entries) has(in repo, now time.Time) bool {
	if in.who == "" {
		return true
	}
	until, ok := e.known.get(in)
	left := until.Sub(now)
	return ok && left > 0 && left <= entryTTL
}

// admit learns from an answer about content of a repository, which an upstream
// gives to those who may read it.
func (p *Proxy) admit(in repo, err error) {
	switch {
	case in.who == "":
	case err == nil:
		p.entries.known.put(in, p.cfg.now().Add(entryTTL))
	case refused(err):
		p.entries.known.delete(in)
		p.negative.note(in.entry(), err, 0, p.cfg.now())
	}
}

// enter lets a caller into a repository: at once where logins are not his
// affair, or where he has lately been let in; otherwise the upstream is asked
// for what he wants, whether it is stored or not, so that neither the answer
// nor what it takes to find it tells which.
func (p *Proxy) enter(ctx context.Context, o *oci.Outcome, k negativeKey) error {
	if k.who == "" || p.entries.has(k.repo, p.cfg.now()) {
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
	_, err = f.wait(ctx, p.cfg.headerTimeout())
	return waited(k.repo, err)
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
