package store

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
)

// A Cache is the pool of what can be fetched again. Whatever is not there, or
// is found damaged, is ErrNotFound: a miss. A scope is the upstream and the
// identity that we have there ("docker.io" for nobody in particular); nothing
// that one scope stored is found by another, but for blobs, which are opened
// by digest alone once the caller knows that the repository has a link. The
// methods are safe for concurrent use.
type Cache struct {
	store     *Store
	tags      *memory[tagID, TagRecord]
	manifests *memory[digestID, manifestRecord]
	links     *memory[digestID, struct{}]
	bytes     *memory[oci.Digest, *held]
	writing   [64]sync.Mutex // one writer for a tag at a time, chosen by hash
	seed      maphash.Seed
	opens     atomic.Uint32 // of blobs
}

// A TagRecord is what an upstream said about a tag.
type TagRecord struct {
	Digest      oci.Digest `json:"digest,omitempty"`
	MediaType   string     `json:"mediaType,omitempty"`
	Size        int64      `json:"size,omitempty"`       // of the manifest, in bytes
	FetchedAt   time.Time  `json:"fetchedAt,omitzero"`   // when this digest was first seen
	ValidatedAt time.Time  `json:"validatedAt,omitzero"` // when the upstream last confirmed it
	ETag        string     `json:"etag,omitempty"`       // as the upstream sent it, "" for none
	Negative    bool       `json:"-"`                    // the upstream said at ValidatedAt that there is no such tag; kept in RAM only
}

// A manifestRecord says that a repository has a manifest.
type manifestRecord struct {
	MediaType string `json:"mediaType"`
	Size      int64  `json:"size"`
}

// A tagID names a tag, a digestID a digest in a repository.
type tagID struct {
	scope string
	name  ref.Name
	tag   string
}

type digestID struct {
	scope string
	name  ref.Name
	d     oci.Digest
}

// clone returns a copy that shares no memory with a request.
func (id tagID) clone() tagID {
	return tagID{strings.Clone(id.scope), cloneName(id.name), strings.Clone(id.tag)}
}

func (id digestID) clone() digestID {
	return digestID{strings.Clone(id.scope), cloneName(id.name), oci.Digest(strings.Clone(string(id.d)))}
}

func cloneName(n ref.Name) ref.Name {
	return ref.Name{Host: strings.Clone(n.Host), Path: strings.Clone(n.Path)}
}

// held is a manifest in RAM. Its digest was checked.
type held struct {
	raw     []byte
	touched atomic.Int64 // when its file's time was last set, in Unix seconds
}

// hold keeps raw, as a copy where it stands in a much larger buffer.
func hold(raw []byte) *held {
	if cap(raw) > len(raw)+len(raw)/4+perHeld {
		raw = bytes.Clone(raw)
	}
	return &held{raw: raw}
}

// perHeld is what a manifest costs in RAM beside its bytes.
const perHeld = 512

func newCache(s *Store) *Cache {
	n := s.cfg.records()
	return &Cache{
		store:     s,
		tags:      newMemory[tagID, TagRecord](n, nil),
		manifests: newMemory[digestID, manifestRecord](n, nil),
		links:     newMemory[digestID, struct{}](n, nil),
		bytes:     newManifestMemory(s.cfg),
		seed:      maphash.MakeSeed(),
	}
}

func newManifestMemory(cfg Config) *memory[oci.Digest, *held] {
	return newMemory[oci.Digest, *held](cfg.manifestBytes(), func(h *held) int64 { return int64(len(h.raw)) + perHeld })
}

// errMiss answers what is not in the cache.
var errMiss error = &oci.Error{Kind: oci.ErrNotFound}

// miss turns a damaged record into a miss, and says so in the log.
func (c *Cache) miss(k Key, err error) error {
	c.store.log.Warn("ignoring a damaged record", "key", string(k), "err", err)
	return errMiss
}

// Tag returns the record of a tag. It is the caller who judges its age.
// ErrNotFound means that there is none.
func (c *Cache) Tag(scope string, n ref.Name, tag string) (TagRecord, error) {
	id := tagID{scope, n, tag}
	if r, ok := c.tags.get(id); ok {
		return r, nil
	}
	k, err := cacheTagKey(scope, n, tag)
	if err != nil {
		return TagRecord{}, err
	}
	epoch := c.tags.now()
	r, err := c.readTag(k)
	if err != nil {
		return TagRecord{}, err
	}
	c.tags.add(id.clone(), r, epoch)
	return r, nil
}

func (c *Cache) readTag(k Key) (TagRecord, error) {
	b, err := c.store.readRecord(context.Background(), k) // a local read of a few bytes
	if err != nil {
		return TagRecord{}, err
	}
	var r TagRecord
	if err := json.Unmarshal(b, &r); err != nil {
		return TagRecord{}, c.miss(k, err)
	}
	if _, err := ref.ParseDigest(string(r.Digest)); err != nil {
		return TagRecord{}, c.miss(k, err)
	}
	return r, nil
}

// refreshEach is how often a tag's record is written where nothing but
// ValidatedAt has changed. A crash then costs one more question upstream.
const refreshEach = 5 * time.Minute

// PutTag stores the record of a tag, visible at once. A new digest is on disk
// when it returns, though a power cut may bring the old one back; a mere
// confirmation is written now and then; a negative record is never written,
// so that what is stored can be served again when the upstream is down.
func (c *Cache) PutTag(scope string, n ref.Name, tag string, r TagRecord) error {
	k, err := cacheTagKey(scope, n, tag)
	if err != nil {
		return err
	}
	id := tagID{scope, n, tag}.clone()
	mu := &c.writing[maphash.Comparable(c.seed, id)%uint64(len(c.writing))]
	mu.Lock()
	defer mu.Unlock()
	defer c.tags.put(id, r) // again: meanwhile it may have been evicted, and the old one read from disk
	c.tags.put(id, r)
	if r.Negative {
		return nil
	}
	if old, err := c.readTag(k); err == nil && old.Digest == r.Digest && old.MediaType == r.MediaType &&
		old.ETag == r.ETag && r.ValidatedAt.Sub(old.ValidatedAt).Abs() < refreshEach {
		return nil
	}
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return c.store.putLoose(k, b)
}

// DeleteTag forgets a tag. One that is not there is no error.
func (c *Cache) DeleteTag(scope string, n ref.Name, tag string) error {
	k, err := cacheTagKey(scope, n, tag)
	if err != nil {
		return err
	}
	id := tagID{scope, n, tag}
	mu := &c.writing[maphash.Comparable(c.seed, id)%uint64(len(c.writing))]
	mu.Lock()
	defer mu.Unlock()
	defer c.tags.forget(id)
	if err := c.store.bucket.Delete(context.Background(), k); err != nil && !errors.Is(err, oci.ErrNotFound) {
		return err
	}
	return nil
}

// Tags returns the tags of a repository that are stored, in ASCII order.
func (c *Cache) Tags(scope string, n ref.Name) ([]string, error) {
	prefix, err := cacheTagsPrefix(scope, n)
	if err != nil {
		return nil, err
	}
	var tags []string
	for e, err := range c.store.bucket.List(context.Background(), prefix, "", false) {
		if err != nil {
			return nil, err
		}
		if tag, ok := unescapeTag(strings.TrimPrefix(e.Key, prefix)); ok {
			tags = append(tags, tag)
		}
	}
	slices.Sort(tags)
	return tags, nil
}

// Manifest returns a manifest of the repository, where this scope has stored
// it. Its digest is verified whenever it is read from disk.
func (c *Cache) Manifest(scope string, n ref.Name, d oci.Digest) (oci.Manifest, error) {
	r, err := c.manifestRecord(digestID{scope, n, d})
	if err != nil {
		return oci.Manifest{}, err
	}
	h, ok := c.bytes.get(d)
	if !ok {
		if h, err = c.readManifest(d, r.Size); err != nil {
			return oci.Manifest{}, err
		}
	}
	c.use(d, r.MediaType, h)
	return oci.Manifest{MediaType: r.MediaType, Digest: d, Raw: h.raw}, nil
}

func (c *Cache) manifestRecord(id digestID) (manifestRecord, error) {
	if r, ok := c.manifests.get(id); ok {
		return r, nil
	}
	k, err := cacheManifestKey(id.scope, id.name, id.d)
	if err != nil {
		return manifestRecord{}, err
	}
	epoch := c.manifests.now()
	b, err := c.store.readRecord(context.Background(), k)
	if err != nil {
		return manifestRecord{}, err
	}
	var r manifestRecord
	if err := json.Unmarshal(b, &r); err != nil {
		return manifestRecord{}, c.miss(k, err)
	}
	c.manifests.add(id.clone(), r, epoch)
	return r, nil
}

// readManifest reads a manifest's bytes from disk and checks them. Damaged
// ones go to quarantine.
func (c *Cache) readManifest(d oci.Digest, size int64) (*held, error) {
	k, err := cacheBlobKey(d)
	if err != nil {
		return nil, err
	}
	epoch := c.bytes.now()
	raw, err := c.store.readVerified(context.Background(), k, d, size)
	if errors.Is(err, oci.ErrMismatch) {
		c.quarantine(k, err)
		return nil, errMiss
	}
	if err != nil {
		return nil, err
	}
	h := &held{raw: raw}
	c.bytes.add(oci.Digest(strings.Clone(string(d))), h, epoch)
	return h, nil
}

// PutManifest stores a manifest in the repository. It can be read as soon as
// the call has begun; when it returns nil it is durable.
func (c *Cache) PutManifest(ctx context.Context, scope string, n ref.Name, m oci.Manifest) error {
	if got := oci.FromBytes(m.Raw, m.Digest); got != m.Digest {
		return oci.Errorf(oci.ErrMismatch, oci.CodeDigestInvalid, "the manifest is %s, %s was expected", got, m.Digest)
	}
	blob, err := cacheBlobKey(m.Digest)
	if err != nil {
		return err
	}
	record, err := cacheManifestKey(scope, n, m.Digest)
	if err != nil {
		return err
	}
	id := digestID{scope, n, m.Digest}.clone()
	r := manifestRecord{MediaType: strings.Clone(m.MediaType), Size: int64(len(m.Raw))}
	h := hold(m.Raw)
	h.touched.Store(c.store.cfg.now().Unix())
	c.bytes.put(id.d, h)
	c.manifests.put(id, r)

	if info, err := c.store.bucket.Stat(ctx, blob); err == nil && info.Size == r.Size {
		// It, and some of what it needs, may be here for another repository and
		// about to be evicted.
		c.store.touchLater(touch{blob, id.d, r.MediaType})
	} else {
		if err := c.store.bucket.Put(ctx, blob, m.Raw); err != nil {
			return fmt.Errorf("store manifest %s: %w", m.Digest, err)
		}
		c.store.usage.add(blob, r.Size)
		c.store.grown(r.Size)
	}
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	if err := c.store.bucket.Put(ctx, record, b); err != nil {
		return fmt.Errorf("store manifest %s: %w", m.Digest, err)
	}
	return nil
}

// Linked reports whether the repository has the right to read a blob. A record
// that cannot be read is none: the right has to be proved upstream again.
func (c *Cache) Linked(scope string, n ref.Name, d oci.Digest) bool {
	id := digestID{scope, n, d}
	if _, ok := c.links.get(id); ok {
		return true
	}
	k, err := cacheLinkKey(scope, n, d)
	if err != nil {
		return false
	}
	epoch := c.links.now()
	if _, err := c.store.bucket.Stat(context.Background(), k); err != nil {
		return false
	}
	c.links.add(id.clone(), struct{}{}, epoch)
	return true
}

// Link gives the repository the right to read a blob. A power cut may take it
// back. A link that is there is made young, so that [Store.Forget] sees that the
// blob was fetched again.
func (c *Cache) Link(scope string, n ref.Name, d oci.Digest) error {
	k, err := cacheLinkKey(scope, n, d)
	if err != nil {
		return err
	}
	id := digestID{scope, n, d}
	c.links.put(id.clone(), struct{}{})
	if t, ok := c.store.bucket.(Toucher); ok && t.Touch(context.Background(), k, c.store.cfg.now()) == nil {
		return nil
	}
	return c.store.putLoose(k, nil)
}

// Open opens a blob by its digest and returns its size in bytes. The caller
// closes the file, and has made sure that the repository has a link.
func (c *Cache) Open(d oci.Digest) (*os.File, int64, error) {
	k, err := cacheBlobKey(d)
	if err != nil {
		return nil, 0, err
	}
	f, info, err := c.store.openBlob(context.Background(), k)
	if err != nil {
		return nil, 0, err
	}
	if info.Size == 0 && d != emptyDigest(d) {
		f.Close()
		c.quarantine(k, errors.New("the file is empty"))
		return nil, 0, errMiss
	}
	if now := c.store.cfg.now(); stale(info.ModTime, now) {
		c.store.touchLater(touch{key: k})
	}
	c.sampled(d)
	return f, info.Size, nil
}

// Stat returns the size of a blob, in bytes.
func (c *Cache) Stat(d oci.Digest) (int64, error) {
	k, err := cacheBlobKey(d)
	if err != nil {
		return 0, err
	}
	info, err := c.store.bucket.Stat(context.Background(), k)
	if err != nil {
		return 0, err
	}
	if info.Size == 0 && d != emptyDigest(d) {
		return 0, errMiss
	}
	return info.Size, nil
}

// Quarantine takes a blob that the caller has found to be damaged out of the
// pool. The next reader misses, and fetches it again.
func (c *Cache) Quarantine(d oci.Digest) error {
	k, err := cacheBlobKey(d)
	if err != nil {
		return err
	}
	c.bytes.forget(d)
	c.quarantine(k, errors.New("a reader found it damaged"))
	return nil
}

func (c *Cache) quarantine(k Key, why error) {
	c.store.quarantine(context.Background(), k, why)
}

// Spool starts to take a blob in. Size is what it is said to have, in bytes,
// -1 where nobody said. Where an earlier fill was kept, its bytes are there
// already: Size is then more than 0. The caller sees to it that there is one
// spool for a digest at a time, and ends and releases it. A disk without room
// for the size, or a blob that is larger than the whole cache may be, is
// ErrUnavailable and syscall.ENOSPC.
func (c *Cache) Spool(d oci.Digest, size int64) (*Spool, error) {
	k, err := cacheBlobKey(d)
	if err != nil {
		return nil, err
	}
	if limit := c.store.cfg.Limits.MaxBytes; limit > 0 && size > limit {
		return nil, errTooBig
	}
	return c.store.spool(d, size, k, true)
}
