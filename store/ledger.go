package store

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"strings"

	"github.com/entrepot/entrepot/oci"
)

// A place is a repository of the cache as one scope sees it, as its keys have it.
type place struct {
	scope string // escaped
	host  string // the upstream
	repo  string
}

// A cachedManifest is a record of a manifest in the cache.
type cachedManifest struct {
	place
	digest oci.Digest
	key    Key
}

// parseCached reads the key of a manifest's record; ok is false for other keys.
func parseCached(key string) (m cachedManifest, ok bool) {
	rest, ok := strings.CutPrefix(key, "c/i/")
	if !ok {
		return m, false
	}
	where, name, ok := strings.Cut(rest, "/_m/")
	if !ok {
		return m, false
	}
	at, ok := parsePlace(where)
	d, err := unflat(name)
	return cachedManifest{at, d, Key(key)}, ok && err == nil
}

// parsePlace reads what scoped writes.
func parsePlace(where string) (place, bool) {
	scope, repo, ok := strings.Cut(where, "/")
	host, _, _ := strings.Cut(scope, "!02f") // between them
	return place{scope, strings.ReplaceAll(host, "+", ":"), repo}, ok
}

// tagKey returns the key of a tag's record.
func (p place) tagKey(tag string) (Key, error) {
	name, err := escapeTag(tag)
	return Key("c/t/" + p.scope + "/" + p.repo + "/_t/" + name), err
}

// eachManifest calls f for all records of manifests in the cache.
func (c *Cache) eachManifest(ctx context.Context, f func(cachedManifest) error) error {
	for e, err := range c.store.bucket.List(ctx, "c/i/", "", true) {
		if err != nil {
			return err
		}
		if m, ok := parseCached(e.Key); ok {
			if err := f(m); err != nil {
				return err
			}
		}
	}
	return nil
}

// A brief is a digest in 8 bytes. Two digests that share one are treated alike,
// which costs nothing but a little accuracy.
type brief [8]byte

func briefOf(d oci.Digest) (b brief) {
	_, hexed, _ := strings.Cut(string(d), ":")
	hex.Decode(b[:], []byte(hexed[:min(len(hexed), 16)])) // a digest that was parsed
	return b
}

// A ledger says what of the cache is protected and to which quotas it belongs.
// It has 9 bytes and a map's overhead for each blob that a manifest names, and
// is made only where there are pins or quotas.
type ledger struct {
	kept   map[brief]struct{}
	owners map[brief]uint8 // :: blob → number of its quota from 1, or without, or several
}

const (
	without   uint8 = 0 // an upstream that has no quota
	several   uint8 = 255
	MaxQuotas       = 250
)

// newLedger reads the manifests of the cache as far as that is needed.
func (c *Cache) newLedger(ctx context.Context, quotas []Quota) (*ledger, error) {
	l := &ledger{map[brief]struct{}{}, map[brief]uint8{}}
	keeps, err := c.Keeps(ctx)
	if err != nil || len(keeps) == 0 && len(quotas) == 0 {
		return l, err
	}
	return l, c.eachManifest(ctx, func(m cachedManifest) error {
		kept := c.isKept(ctx, keeps, m)
		if !kept && len(quotas) == 0 {
			return nil
		}
		owner := owner(quotas, m.host)
		c.graph(ctx, m.digest, c.mediaTypeOf(ctx, m), func(d oci.Digest) {
			l.note(briefOf(d), kept, owner)
		})
		return ctx.Err()
	})
}

// note enters a blob that a manifest of an owner leads to.
func (l *ledger) note(b brief, kept bool, owner uint8) {
	if kept {
		l.kept[b] = struct{}{}
	}
	if was, ok := l.owners[b]; ok && was != owner {
		owner = several
	}
	l.owners[b] = owner
}

func owner(quotas []Quota, host string) uint8 {
	for i, q := range quotas[:min(len(quotas), MaxQuotas)] {
		if q.covers(host) {
			return uint8(i + 1)
		}
	}
	return without
}

func (c *Cache) isKept(ctx context.Context, keeps []Keep, m cachedManifest) bool {
	for i := range keeps {
		tagged := func(tag string) oci.Digest {
			k, err := m.tagKey(tag)
			if err != nil {
				return ""
			}
			r, err := c.readTag(k)
			if err != nil {
				return ""
			}
			return r.Digest
		}
		if keeps[i].matches(m.place, m.digest, tagged) {
			return true
		}
	}
	return false
}

// mediaTypeOf returns the media type of a manifest's record, "" where it cannot
// be read.
func (c *Cache) mediaTypeOf(ctx context.Context, m cachedManifest) string {
	b, err := c.store.readRecord(ctx, m.key)
	if err != nil {
		return ""
	}
	var r manifestRecord
	if json.Unmarshal(b, &r) != nil {
		return ""
	}
	return r.MediaType
}
