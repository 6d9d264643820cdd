package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/entrepot/entrepot/oci"
)

// Eviction removes blobs alone. What records said about them stays: which
// repositories may read them, that a repository has a manifest, what a tag points
// at. Each is small, but a cache through which enough flows would drown in them, so
// those that are about nothing any more go as well, some time later. Without a
// link or a manifest's record the upstream is asked, as for what was never here:
// that gives nobody a right, and changes no answer but for what was not here anyway.

const (
	forgetEach   = time.Hour           // how often a server looks, while it evicts
	forgetRecord = time.Hour           // how old a record is at least: what it is about may be on its way in
	forgetTag    = 30 * 24 * time.Hour // how long a tag without its manifest is remembered after it was last confirmed
)

// Forgotten says how many records of the cache were removed.
type Forgotten struct {
	Links     int64 // rights of repositories to read a blob that is not here
	Manifests int64 // of repositories, where the bytes are not here
	Tags      int64 // whose manifest is not here, and which nobody has confirmed for a month
}

// Forget removes the records of the cache that are about what was evicted. It
// walks the names of blobs and of records, and keeps no more than 8 MiB of them in
// memory, however many there are: where that does not suffice it walks the records
// several times. A server may run beside it. A tag stays for as long as Config.Fresh
// says that it answers without its upstream.
func (s *Store) Forget(ctx context.Context) (Forgotten, error) {
	f := forgetter{s: s, ctx: ctx, now: s.cfg.now(), limit: maxPresent}
	err := f.run()
	if err != nil {
		err = fmt.Errorf("remove records of what was evicted: %w", err)
	}
	return f.out, err
}

// maxPresent is how many blobs are kept in memory at once, in 8 bytes each.
const maxPresent = 1 << 20

// A forgetter is one run of Forget.
type forgetter struct {
	s       *Store
	ctx     context.Context // of the one call that this is
	now     time.Time
	limit   int     // of present
	present []brief // of the shards from first to last that have a blob, sorted
	first   byte
	last    byte
	out     Forgotten
}

func (f *forgetter) run() error {
	for next := 0; next < 256; next = int(f.last) + 1 {
		if err := f.gather(byte(next)); err != nil {
			return err
		}
		if err := f.links(); err != nil {
			return err
		}
		if err := f.manifests(); err != nil {
			return err
		}
	}
	return f.tags()
}

// gather notes the blobs of some shards.
func (f *forgetter) gather(from byte) error {
	f.present, f.first = f.present[:0], from
	for hh := int(from); hh < 256; hh++ {
		before := len(f.present)
		for _, alg := range []string{"sha256", "sha512"} {
			for e, err := range f.s.bucket.List(f.ctx, fmt.Sprintf("c/b/%s/%02x/", alg, hh), "", true) {
				if err != nil {
					return err
				}
				if d, ok := blobOf(e.Key); ok {
					f.present = append(f.present, briefOf(d))
				}
			}
		}
		f.last = byte(hh)
		if shard := len(f.present) - before; len(f.present)+2*shard > f.limit {
			break // the next one is about as large
		}
	}
	slices.SortFunc(f.present, compareBriefs)
	return nil
}

func compareBriefs(a, b brief) int { return strings.Compare(string(a[:]), string(b[:])) }

// missing reports whether a blob of the shards is not here.
func (f *forgetter) missing(b brief) bool {
	if b[0] < f.first || b[0] > f.last {
		return false
	}
	_, ok := slices.BinarySearchFunc(f.present, b, compareBriefs)
	return !ok
}

// linked reads the key of a link: of which blob it is. One that an older program
// wrote does not say that, and is nobody's.
func linked(key string) (b brief, ours bool) {
	_, name, _ := strings.Cut(strings.TrimPrefix(key, "c/m/"), "/")
	_, of, _ := strings.Cut(name, ".")
	n, err := strconv.ParseUint(of, 16, 64)
	if err != nil || len(of) != 2*len(b) {
		return b, false
	}
	for i := range b {
		b[i] = byte(n >> (8 * (len(b) - 1 - i)))
	}
	return b, true
}

func (f *forgetter) links() error {
	for e, err := range f.s.bucket.List(f.ctx, "c/m/", "", true) {
		if err != nil {
			return err
		}
		if b, ours := linked(e.Key); ours && f.missing(b) {
			if err := f.drop(e, forgetRecord, &f.out.Links); err != nil {
				return err
			}
		}
	}
	return nil
}

func (f *forgetter) manifests() error {
	for e, err := range f.s.bucket.List(f.ctx, "c/i/", "", true) {
		if err != nil {
			return err
		}
		m, ok := parseCached(e.Key)
		if !ok || !f.missing(briefOf(m.digest)) || f.here(m.digest) {
			continue
		}
		if err := f.drop(e, forgetRecord, &f.out.Manifests); err != nil {
			return err
		}
	}
	return nil
}

// here reports whether the bytes of d are here, or may be.
func (f *forgetter) here(d oci.Digest) bool {
	k, err := cacheBlobKey(d)
	if err == nil {
		_, err = f.s.bucket.Stat(f.ctx, k)
	}
	return !errors.Is(err, oci.ErrNotFound)
}

// tags removes the records of tags whose manifests are not here. Where nobody can
// say which of them are asked for again, all stay.
func (f *forgetter) tags() error {
	if f.s.cfg.Fresh == nil {
		return nil
	}
	for e, err := range f.s.bucket.List(f.ctx, "c/t/", "", true) {
		if err != nil {
			return err
		}
		if !f.tagDone(e) {
			continue
		}
		if err := f.drop(e, forgetTag, &f.out.Tags); err != nil {
			return err
		}
	}
	return nil
}

// tagDone reports whether a tag's record can go.
func (f *forgetter) tagDone(e Entry) bool {
	where, name, ok := strings.Cut(strings.TrimPrefix(e.Key, "c/t/"), "/_t/")
	at, ok2 := parsePlace(where)
	tag, ok3 := unescapeTag(name)
	if !ok || !ok2 || !ok3 || !f.old(e, forgetTag) {
		return false
	}
	r, err := f.s.cache.readTag(Key(e.Key))
	if err != nil || f.now.Sub(r.ValidatedAt).Abs() < forgetTag {
		return false
	}
	return !f.here(r.Digest) && !f.s.cfg.Fresh(at.host, tag, r.ValidatedAt)
}

// old reports whether a record was written so long ago. A time that lies ahead is
// from a clock that was wrong.
func (f *forgetter) old(e Entry, age time.Duration) bool {
	info, err := e.Info()
	return err == nil && f.now.Sub(info.ModTime).Abs() >= age
}

// drop removes a record that is old, and counts it. A power cut may bring it back.
func (f *forgetter) drop(e Entry, age time.Duration, n *int64) error {
	if !f.old(e, age) {
		return nil
	}
	err := f.s.drop(f.ctx, Key(e.Key))
	if err == nil {
		*n++
	}
	if errors.Is(err, oci.ErrNotFound) {
		err = nil
	}
	return err
}
