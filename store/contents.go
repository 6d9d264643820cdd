package store

import (
	"context"
	"errors"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
)

// A Listed is a manifest that a store holds.
type Listed struct {
	Pool       string // "cache" or "pushed"
	Repository string // of the cache with its upstream, "docker.io/library/alpine"
	Digest     oci.Digest
	MediaType  string
	Tags       []string  // in ASCII order; nil for none
	Bytes      int64     // of it and of all that it leads to, as far as that is here; shared blobs count for each
	Missing    int       // blobs that it leads to and that are not here
	Used       time.Time // last, of the cache; zero where the manifest itself has been evicted, and for what was pushed
	Pinned     bool      // never evicted
}

// Contents yields the manifests that the store holds, repository by repository,
// the cache first. An upstream that is read with several accounts has a manifest
// once for each. What comes and goes meanwhile may or may not be seen.
func (s *Store) Contents(ctx context.Context) iter.Seq2[Listed, error] {
	return func(yield func(Listed, error) bool) {
		if s.cache.contents(ctx, yield) {
			s.vault.contents(ctx, yield)
		}
	}
}

// contents reports whether to go on.
func (c *Cache) contents(ctx context.Context, yield func(Listed, error) bool) bool {
	keeps, err := c.Keeps(ctx)
	if err != nil {
		yield(Listed{}, err)
		return false
	}
	var at place
	var tags map[oci.Digest][]string
	stop := errors.New("stop")
	err = c.eachManifest(ctx, func(m cachedManifest) error {
		if m.place != at {
			at = m.place
			if tags, err = c.tagsAt(ctx, at); err != nil {
				return err
			}
		}
		if !yield(c.listed(ctx, keeps, m, tags[m.digest]), nil) {
			return stop
		}
		return nil
	})
	if err != nil && err != stop {
		yield(Listed{}, err)
	}
	return err == nil
}

// tagsAt returns the tags of a repository by what they point at.
func (c *Cache) tagsAt(ctx context.Context, at place) (map[oci.Digest][]string, error) {
	prefix := "c/t/" + at.scope + "/" + at.repo + "/_t/"
	tags := map[oci.Digest][]string{}
	for e, err := range c.store.bucket.List(ctx, prefix, "", false) {
		if err != nil {
			return nil, err
		}
		tag, ok := unescapeTag(strings.TrimPrefix(e.Key, prefix))
		if !ok {
			continue
		}
		if r, err := c.readTag(Key(e.Key)); err == nil {
			tags[r.Digest] = append(tags[r.Digest], tag)
		}
	}
	return tags, nil
}

func (c *Cache) listed(ctx context.Context, keeps []Keep, m cachedManifest, tags []string) Listed {
	slices.Sort(tags)
	l := Listed{Pool: "cache", Repository: ref.Name{Host: m.host, Path: m.repo}.String(), Digest: m.digest, Tags: tags,
		MediaType: c.mediaTypeOf(ctx, m), Pinned: c.isKept(ctx, keeps, m)}
	c.graph(ctx, m.digest, l.MediaType, func(d oci.Digest) {
		k, err := cacheBlobKey(d)
		if err != nil {
			return
		}
		info, err := c.store.bucket.Stat(ctx, k)
		if err != nil {
			l.Missing++
			return
		}
		l.Bytes += info.Size
		if d == m.digest {
			l.Used = info.ModTime
		}
	})
	return l
}

func (v *Vault) contents(ctx context.Context, yield func(Listed, error) bool) {
	for path, err := range v.Repositories(ctx, "") {
		if err != nil {
			yield(Listed{}, err)
			return
		}
		all, err := v.listedAt(ctx, ref.Name{Path: path})
		if err != nil {
			yield(Listed{}, err)
			return
		}
		for _, l := range all {
			if !yield(l, nil) {
				return
			}
		}
	}
}

// listedAt returns the manifests of a repository.
func (v *Vault) listedAt(ctx context.Context, n ref.Name) ([]Listed, error) {
	names, err := v.listTags(ctx, n)
	if err != nil {
		return nil, err
	}
	tags := map[oci.Digest][]string{}
	for _, tag := range names {
		if d, err := v.tag(ctx, n, tag); err == nil {
			tags[d] = append(tags[d], tag)
		}
	}
	prefix, err := vaultPrefix("m", n)
	if err != nil {
		return nil, err
	}
	var all []Listed
	for e, err := range v.store.bucket.List(ctx, prefix, "", false) {
		if err != nil {
			return nil, err
		}
		d, err := unflat(strings.TrimSuffix(strings.TrimPrefix(e.Key, prefix), "/"))
		if err != nil {
			continue // not ours
		}
		p, err := v.pin(ctx, n, d)
		if err != nil {
			continue // deleted meanwhile, or damaged, which is logged
		}
		l := Listed{Pool: "pushed", Repository: n.Path, Digest: d, MediaType: p.MediaType, Tags: tags[d], Pinned: true}
		for _, x := range p.Pins {
			if _, err := v.choose(ctx, x.Digest, x.Inc); err != nil {
				l.Missing++
			} else {
				l.Bytes += x.Size
			}
		}
		all = append(all, l)
	}
	return all, nil
}
