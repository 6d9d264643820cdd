package proxy

import (
	"regexp"
	"slices"
	"time"

	"github.com/entrepot/entrepot/oci"
)

// A Policy says how the content of an upstream, or a part of it, is cached.
type Policy struct {
	// Scope names the upstream and the credential that is used there; content
	// of one scope never answers for another. "" means the upstream's name.
	Scope string
	// Anonymous says that this scope has no credential: what can be fetched
	// through it is public, and a blob that was fetched for one of its
	// repositories may be read through all of them.
	Anonymous bool
	// Passthrough says that the callers log in to the upstream themselves, by
	// the oci.LoginOf their requests. Nothing is answered to a caller from the
	// store unless the upstream has lately let him into that repository.
	Passthrough bool
	// TagTTL is how long a tag is answered without asking the upstream.
	// 0 means always ask, a negative value never ask again once it was seen.
	TagTTL time.Duration
	// TagTTLs are exceptions from TagTTL: the first that matches a tag counts.
	TagTTLs []TagTTL
	// StaleWhileRevalidate answers a tag that is no longer fresh, but not older
	// than twice its TTL, at once, and checks it afterwards.
	StaleWhileRevalidate bool
	// Immutable tags are never asked for again once they were seen.
	Immutable []*regexp.Regexp
	// MaxStale limits how long after its last check a tag is answered while
	// the upstream cannot be asked. 0 means no limit.
	MaxStale time.Duration
	// AuthGrace is how long a stored tag is answered although the upstream refuses
	// our credentials, which may be a mistake there. 0 means 1 h, a negative value
	// not at all.
	AuthGrace time.Duration
	// ConfirmMissing is how far apart two checks are that must both find a tag gone
	// before it is forgotten. 0 means 1 min; a negative value believes the first.
	ConfirmMissing time.Duration
	// OfflineProofTTL is how long ago a caller may have been let in by an upstream
	// that cannot be asked now; with Passthrough. 0, or less than 15 min, means
	// 15 min, as long as any proof lasts.
	OfflineProofTTL time.Duration
	// FillParallelism is how many connections may fetch one blob at once, where
	// clients want ranges of it that lie far apart, or one connection is slow.
	// 0 means 4; 1 has every blob fetched in order.
	FillParallelism int
	// ServeStaleOn404 answers a tag that the upstream has no more.
	ServeStaleOn404 bool

	login oci.Secret // of the caller; with Passthrough
	cause *oci.Cause // of the request; nil for none
	via   string     // through whom the request came; "" for a client's own
}

// A TagTTL is how long some tags are answered without asking the upstream.
type TagTTL struct {
	Match *regexp.Regexp // anywhere in the tag
	TTL   time.Duration  // as Policy.TagTTL
}

const (
	defaultAuthGrace      = time.Hour
	defaultConfirmMissing = time.Minute
)

func (pol *Policy) authGrace() time.Duration { return orDefault(pol.AuthGrace, defaultAuthGrace) }
func (pol *Policy) confirmMissing() time.Duration {
	return orDefault(pol.ConfirmMissing, defaultConfirmMissing)
}

// ttl returns how long a tag is fresh.
func (pol *Policy) ttl(tag string) time.Duration {
	for _, x := range pol.TagTTLs {
		if x.Match.MatchString(tag) {
			return x.TTL
		}
	}
	return pol.TagTTL
}

// fresh reports whether a tag that was checked then need not be checked now. A
// check in the future says that the clock was moved back, and nothing else.
func (pol *Policy) fresh(tag string, checked, now time.Time) bool {
	ttl := pol.ttl(tag)
	if ttl < 0 {
		return true
	}
	if d := now.Sub(checked); d >= 0 && d < ttl {
		return true
	}
	return slices.ContainsFunc(pol.Immutable, func(re *regexp.Regexp) bool { return re.MatchString(tag) })
}
