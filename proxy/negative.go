package proxy

import "time"

// How long a "no" is believed. A failure that is no answer (5xx, unreachable)
// is never remembered here.
const (
	missingTag      = 10 * time.Second
	missingManifest = 60 * time.Second // by digest
	missingBlob     = 10 * time.Second
	refusedAccess   = 30 * time.Second
	quarantine      = 60 * time.Second // after content that was not what its digest names
)

type negative struct {
	err   error
	until time.Time
}

// negatives remembers what upstreams refused, for a short while and in memory
// only. It is bounded: a flood of random digests pushes out other entries,
// which costs a request each.
type negatives struct {
	known *recent[negativeKey, negative]
}

func newNegatives(max int) *negatives {
	return &negatives{newRecent[negativeKey, negative](max)}
}

// get returns the error that is remembered, nil for none.
func (g *negatives) get(k negativeKey, now time.Time) error {
	e, ok := g.known.get(k)
	if !ok || !now.Before(e.until) {
		return nil
	}
	return e.err
}

// note remembers an answer of the upstream: a refusal for as long as its kind
// is believed; anything else, nil too, for not at all.
func (g *negatives) note(k negativeKey, err error, missing time.Duration, now time.Time) {
	switch {
	case err == nil:
		g.known.delete(k)
	case notFound(err):
		g.known.put(k, negative{err, now.Add(missing)})
	case refused(err):
		g.known.put(k, negative{err, now.Add(refusedAccess)})
	}
}

// quarantine remembers that the scope's upstream sends wrong content for a
// blob.
func (g *negatives) quarantine(k blobKey, err error, now time.Time) {
	g.known.put(k.bad(), negative{err, now.Add(quarantine)})
}
