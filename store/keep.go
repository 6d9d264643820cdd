package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
)

// A Keep protects cached content from eviction: an image with all that it leads
// to, or the images of all repositories that a pattern matches. What it names
// need not be there yet.
type Keep struct {
	Reference string    `json:"reference"` // "docker.io/library/alpine:3.20", with a digest, or "docker.io/library/**"
	Since     time.Time `json:"since,omitzero"`

	host    string
	pattern ref.Pattern
	tag     string     // "" for all, where there is no digest
	digest  oci.Digest // "" for none
}

// parse reads the reference.
func (k *Keep) parse() error {
	if strings.Contains(k.Reference, "*") {
		host, path, ok := strings.Cut(k.Reference, "/")
		if !ok || !ref.ValidHost(host) {
			return fmt.Errorf("%q does not start with a registry: write for example docker.io/library/**", k.Reference)
		}
		pattern, err := ref.ParsePattern(path)
		k.host, k.pattern = host, pattern
		return err
	}
	r, err := ref.Parse(k.Reference)
	if err != nil {
		return err
	}
	if r.Tag == "" && r.Digest == "" {
		r.Tag = "latest"
	}
	pattern, err := ref.ParsePattern(r.Path)
	k.Reference, k.host, k.pattern, k.tag, k.digest = r.String(), r.Host, pattern, r.Tag, r.Digest
	return err
}

// ParseKeep reads what [Cache.Keep] takes, and writes its reference out. The
// error is ErrInvalid.
func ParseKeep(reference string) (Keep, error) {
	k := Keep{Reference: reference}
	if err := k.parse(); err != nil {
		return Keep{}, oci.Errorf(oci.ErrInvalid, "", "%w", err)
	}
	return k, nil
}

func keepKey(reference string) Key { return Key("c/k/" + escape(reference)) }

// Keep protects what a reference or a pattern names from eviction, and returns
// the protection as it is kept, the reference written out. ErrInvalid is a
// reference that is none.
func (c *Cache) Keep(ctx context.Context, reference string) (Keep, error) {
	k, err := ParseKeep(reference)
	if err != nil {
		return Keep{}, err
	}
	k.Since = c.store.cfg.now().UTC().Truncate(time.Second)
	b, err := json.Marshal(k)
	if err != nil {
		return Keep{}, err
	}
	return k, c.store.bucket.Put(ctx, keepKey(k.Reference), b)
}

// Unkeep ends a protection. ErrNotFound means that there is none.
func (c *Cache) Unkeep(ctx context.Context, reference string) error {
	k, err := ParseKeep(reference)
	if err != nil {
		return err
	}
	return c.store.bucket.Delete(ctx, keepKey(k.Reference))
}

// Keeps returns what is protected, in the order of the references. A record that
// cannot be read is an error: to go on without it would give up what it protects.
func (c *Cache) Keeps(ctx context.Context) ([]Keep, error) {
	var all []Keep
	for e, err := range c.store.bucket.List(ctx, "c/k/", "", true) {
		if err != nil {
			return nil, err
		}
		b, err := c.store.readRecord(ctx, Key(e.Key))
		if errors.Is(err, oci.ErrNotFound) {
			continue
		}
		var k Keep
		if err == nil {
			err = json.Unmarshal(b, &k)
		}
		if err == nil {
			err = k.parse()
		}
		if err != nil {
			return nil, fmt.Errorf("read the pin %s: %w", e.Key, err)
		}
		all = append(all, k)
	}
	return all, nil
}

// matches reports whether a manifest of a repository is protected; tagged tells
// what a tag of the repository points at.
func (k *Keep) matches(at place, d oci.Digest, tagged func(tag string) oci.Digest) bool {
	switch {
	case k.host != at.host || !k.pattern.Match(at.repo):
		return false
	case k.digest != "":
		return k.digest == d
	case k.tag != "":
		return tagged(k.tag) == d
	}
	return true
}
