package cli

import (
	"fmt"
	"time"

	"github.com/entrepot/entrepot/proxy"
)

// ways reads what a table says about answers of which the upstream is not sure,
// or not asked.
func (c *checker) ways(at string, t fileUpstream, u *upstream) {
	u.tags = c.tags(at, t.Tag)
	u.revalidate = t.Revalidate
	u.authGrace = c.period(at+"auth_grace", t.AuthGrace)
	u.confirm404 = c.period(at+"404_confirm", t.Confirm404)
	u.offlineProof = c.offlineProof(at+"offline_proof_ttl", t)
	switch t.On404 {
	case "", "not_found":
	case "serve_stale":
		u.serveStaleOn404 = true
	default:
		c.add(at+"on_404", "", "%q is neither not_found nor serve_stale", t.On404)
	}
}

// tags reads the [[upstream.tag]] tables, in their order: the first that matches
// a tag counts.
func (c *checker) tags(at string, tables []fileTag) []proxy.TagTTL {
	var all []proxy.TagTTL
	for i, t := range tables {
		in := fmt.Sprintf("%stag[%d].", at, i)
		if len(t.Match) == 0 {
			c.add(in+"match", `for example match = ['^nightly$']`, "tags need expressions that choose them")
		}
		if !t.TagTTL.set {
			c.add(in+"tag_ttl", `for example tag_ttl = "1h"`, "nothing is said about these tags")
		}
		ttl := c.tagTTL(in+"tag_ttl", t.TagTTL)
		for _, re := range c.expressions(in+"match", t.Match) {
			all = append(all, proxy.TagTTL{Match: re, TTL: ttl})
		}
	}
	return all
}

// period reads a time for which 0 means none: a negative value, as 0 is the
// default of a proxy.Policy.
func (c *checker) period(key string, s scalar) time.Duration {
	if d := c.duration(key, s, 0); d > 0 || !s.set {
		return d
	}
	return -1
}

// offlineProof reads how long a caller's proof does while the upstream cannot
// be asked.
func (c *checker) offlineProof(key string, t fileUpstream) time.Duration {
	if t.OfflineProof.set && t.Auth != "passthrough" {
		c.add(key, `it is for auth = "passthrough"`, "callers of this upstream prove nothing")
	}
	return c.duration(key, t.OfflineProof, 0)
}

// budget reads how many requests have to be left for everything to go on.
func (c *checker) budget(key string, s scalar) budget {
	if !s.set {
		return defaultBudget
	}
	b, err := parseBudget(s.text)
	if err != nil {
		c.add(key, `write it as "10%", or as a number of requests, for example "20"; "0" spares none`, "%v", err)
	}
	return b
}
