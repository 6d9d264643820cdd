package store

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"hash/maphash"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
)

// A Vault is the pool of what was pushed. It is a registry of its own: names
// are used without their host. Whatever it acknowledges is on disk, durably,
// and stays until it is deleted. The methods are safe for concurrent use.
//
// Its writers follow a protocol that lets a collector, in this process or in
// another, remove what nobody needs at the same time:
//
//	W1 for each blob choose an incarnation that is not condemned
//	W2 write the pin that names them all
//	W3 for each, see that it is not condemned, then that it is there;
//	   otherwise choose again, write a new pin, and look again
//	W4 point the tags at the manifest, and answer
//
// A collector condemns what no pin names, looks at the pins once more, and
// only then deletes, the blob before the mark. No name is ever used again, so
// whoever passed W3 can lose nothing.
type Vault struct {
	store *Store
	tags  *memory[tagID, oci.Digest]
	pins  *memory[digestID, pin]
	links *memory[digestID, inc]
	sure  *memory[Key, struct{}] // pins that this process acknowledged
	bytes *memory[oci.Digest, *held]

	repos [64]sync.RWMutex // by hash of the repository: pushes of manifests share it, deletes have it alone
	seed  maphash.Seed

	born    time.Time // of this process
	mu      sync.Mutex
	uploads map[string]*Upload // :: id → session that was used since the start
}

var (
	_ oci.Reader          = (*Vault)(nil)
	_ oci.Writer          = (*Vault)(nil)
	_ oci.Lister          = (*Vault)(nil)
	_ oci.Catalog         = (*Vault)(nil)
	_ oci.ReferrersLister = (*Vault)(nil)
	_ oci.Mounter         = (*Vault)(nil)
	_ oci.Deleter         = (*Vault)(nil)
	_ oci.Uploader        = (*Vault)(nil)
)

// pinsPerRecord is how many pinned blobs count as one record in RAM: an image
// has some ten, an index some hundred.
const pinsPerRecord = 4

func newVault(s *Store) *Vault {
	n := s.cfg.records()
	return &Vault{
		store:   s,
		tags:    newMemory[tagID, oci.Digest](n, nil),
		pins:    newMemory[digestID](n*pinsPerRecord, func(p pin) int64 { return int64(len(p.Pins)) }),
		links:   newMemory[digestID, inc](n, nil),
		sure:    newMemory[Key, struct{}](n, nil),
		bytes:   newManifestMemory(s.cfg),
		seed:    maphash.MakeSeed(),
		born:    time.Now(),
		uploads: map[string]*Upload{},
	}
}

func (v *Vault) newInc() inc { return inc(v.store.cfg.random()) }

// repo returns the lock of a repository.
func (v *Vault) repo(n ref.Name) *sync.RWMutex {
	return &v.repos[maphash.String(v.seed, n.Path)%uint64(len(v.repos))]
}

// A register is what a tag's object holds.
type register struct {
	Digest   oci.Digest `json:"digest"`
	Rand     string     `json:"rand"` // so that two pushes of one digest differ
	PushedAt time.Time  `json:"pushedAt"`
}

func errManifestUnknown(r ref.Ref) error {
	return oci.Errorf(oci.ErrNotFound, oci.CodeManifestUnknown, "%s has no manifest %s", r.Path, r.Identifier())
}

func errBlobUnknown(n ref.Name, d oci.Digest) error {
	return oci.Errorf(oci.ErrNotFound, oci.CodeBlobUnknown, "%s has no blob %s", n.Path, d)
}

// Resolve returns the descriptor of a manifest.
func (v *Vault) Resolve(ctx context.Context, r ref.Ref) (oci.Descriptor, error) {
	d, p, err := v.resolve(ctx, r)
	if err != nil {
		return oci.Descriptor{}, err
	}
	return oci.Descriptor{MediaType: p.MediaType, Digest: d, Size: p.Size}, nil
}

func (v *Vault) resolve(ctx context.Context, r ref.Ref) (oci.Digest, pin, error) {
	r.Host = ""
	d := r.Digest
	if d == "" {
		var err error
		if d, err = v.tag(ctx, r.Name, r.Tag); err != nil {
			return "", pin{}, unknown(err, errManifestUnknown(r))
		}
	}
	p, err := v.pin(ctx, r.Name, d)
	if err != nil {
		return "", pin{}, unknown(err, errManifestUnknown(r))
	}
	return d, p, nil
}

// unknown gives what was not found its code.
func unknown(err, as error) error {
	if errors.Is(err, oci.ErrNotFound) {
		return as
	}
	return err
}

// tag returns the digest that a tag points at.
func (v *Vault) tag(ctx context.Context, n ref.Name, tag string) (oci.Digest, error) {
	id := tagID{name: n, tag: tag}
	if d, ok := v.tags.get(id); ok {
		return d, nil
	}
	k, err := vaultTagKey(n, tag)
	if err != nil {
		return "", err
	}
	epoch := v.tags.now()
	d, err := v.readTag(ctx, k)
	if err != nil {
		return "", err
	}
	v.tags.add(id.clone(), d, epoch)
	return d, nil
}

func (v *Vault) readTag(ctx context.Context, k Key) (oci.Digest, error) {
	b, err := v.store.readRecord(ctx, k)
	if err != nil {
		return "", err
	}
	var r register
	err = json.Unmarshal(b, &r)
	if err == nil {
		_, err = ref.ParseDigest(string(r.Digest))
	}
	if err != nil {
		v.store.log.Error("a tag's record is damaged", "key", string(k), "err", err)
		return "", &oci.Error{Kind: oci.ErrUnavailable, Message: "the tag's record is damaged", Err: err}
	}
	return r.Digest, nil
}

// Manifest returns a manifest, its digest verified whenever it comes from
// disk.
func (v *Vault) Manifest(ctx context.Context, r ref.Ref) (oci.Manifest, error) {
	d, p, err := v.resolve(ctx, r)
	if err != nil {
		return oci.Manifest{}, err
	}
	h, ok := v.bytes.get(d)
	if !ok {
		if h, err = v.readManifest(ctx, d, p); err != nil {
			return oci.Manifest{}, unknown(err, errManifestUnknown(r))
		}
	}
	return oci.Manifest{MediaType: p.MediaType, Digest: d, Raw: h.raw}, nil
}

// readManifest reads a manifest's bytes from the incarnation that its pin
// names, or else from any other. A damaged one goes to quarantine.
func (v *Vault) readManifest(ctx context.Context, d oci.Digest, p pin) (*held, error) {
	epoch := v.bytes.now()
	var tried []inc
	for i := p.inc(d); i != ""; i = v.another(ctx, d, tried) {
		tried = append(tried, i)
		k, err := vaultBlobKey(d, i)
		if err != nil {
			return nil, err
		}
		raw, err := v.store.readVerified(ctx, k, d, p.Size)
		switch {
		case err == nil:
			h := &held{raw: raw}
			v.bytes.add(oci.Digest(strings.Clone(string(d))), h, epoch)
			return h, nil
		case errors.Is(err, oci.ErrMismatch):
			v.store.quarantine(ctx, k, err)
		case !errors.Is(err, oci.ErrNotFound):
			return nil, err
		}
	}
	v.store.log.Error("a pushed manifest has no bytes", "digest", d)
	return nil, errMiss
}

// another returns an incarnation of d that was not tried, "" for none.
func (v *Vault) another(ctx context.Context, d oci.Digest, tried []inc) inc {
	for i, err := range v.incarnations(ctx, d) {
		if err == nil && !slices.Contains(tried, i) {
			return i
		}
	}
	return ""
}

// Stat returns the size of a blob that the repository has a link to. Whoever
// is told that a blob is here need not push it, and may push a manifest that
// needs it: so an old one, which a collector may be about to take, is made
// young first, and one that is condemned is not here.
func (v *Vault) Stat(ctx context.Context, n ref.Name, d oci.Digest) (oci.Descriptor, error) {
	f, i, info, err := v.open(ctx, n, d, -1)
	if err != nil {
		return oci.Descriptor{}, err
	}
	if err := f.Close(); err != nil {
		return oci.Descriptor{}, diskError(err)
	}
	if err := v.promise(ctx, d, i, info.ModTime); err != nil {
		return oci.Descriptor{}, unknown(err, errBlobUnknown(n, d))
	}
	return oci.Descriptor{MediaType: blobType, Digest: d, Size: info.Size}, nil
}

// promise sees that an incarnation of d is alive, and makes it young unless it is
// the preferred one, of the time then, and that is not long ago.
func (v *Vault) promise(ctx context.Context, d oci.Digest, prefer inc, then time.Time) error {
	p, err := v.choose(ctx, d, prefer)
	if err != nil || p.Inc == prefer && v.store.cfg.now().Sub(then).Abs() <= collectGrace/2 {
		return err
	}
	k, err := vaultBlobKey(d, p.Inc)
	if err != nil {
		return err
	}
	v.renew(ctx, k)
	if _, ok, err := v.alive(ctx, d, p.Inc); err != nil || ok {
		return err
	}
	return errMiss
}

// blobType is the media type of content that nobody described.
const blobType = "application/octet-stream"

// Blob opens a blob that the repository has a link to. Its body is an
// *os.File. The bytes were verified when they were stored, not now.
func (v *Vault) Blob(ctx context.Context, n ref.Name, d oci.Digest, off int64) (oci.Blob, error) {
	f, _, info, err := v.open(ctx, n, d, off)
	if err != nil {
		return oci.Blob{}, err
	}
	size := info.Size
	if off < 0 || off > size {
		f.Close()
		return oci.Blob{}, oci.Errorf(oci.ErrInvalid, "", "offset %d is outside of the %d bytes", off, size)
	}
	if off > 0 {
		if _, err := f.Seek(off, io.SeekStart); err != nil {
			f.Close()
			return oci.Blob{}, diskError(err)
		}
	}
	return oci.Blob{
		Descriptor: oci.Descriptor{MediaType: blobType, Digest: d, Size: size},
		Body:       f, Offset: off, From: "store",
	}, nil
}

// open opens an incarnation of a blob that can be read at off; a negative off asks
// for none that can be read.
func (v *Vault) open(ctx context.Context, n ref.Name, d oci.Digest, off int64) (*os.File, inc, Info, error) {
	n.Host = ""
	i, err := v.link(ctx, n, d)
	if err != nil {
		return nil, "", Info{}, unknown(err, errBlobUnknown(n, d))
	}
	var tried []inc
	var unreadable error
	for ; i != ""; i = v.another(ctx, d, tried) {
		tried = append(tried, i)
		k, err := vaultBlobKey(d, i)
		if err != nil {
			return nil, "", Info{}, err
		}
		f, info, err := v.store.openBlob(ctx, k)
		switch {
		case err == nil && (info.Size > 0 || d == emptyDigest(d)):
			bad := readable(f, off, info.Size)
			if bad == nil {
				return f, i, info, nil
			}
			f.Close()
			unreadable = diskError(bad)
			v.alarm(k, d, info.Size, bad)
		case err == nil:
			f.Close()
			v.store.quarantine(ctx, k, errors.New("the file is empty"))
		case !errors.Is(err, oci.ErrNotFound):
			return nil, "", Info{}, err
		}
	}
	if unreadable != nil {
		return nil, "", Info{}, unreadable
	}
	v.store.log.Error("a pushed blob has no bytes", "repository", n.Path, "digest", d)
	return nil, "", Info{}, errBlobUnknown(n, d)
}

// readable returns why the byte of a file at off cannot be read.
func readable(f *os.File, off, size int64) error {
	if off < 0 || off >= size {
		return nil
	}
	buf := buffers.Get().(*[bufferSize]byte)
	defer buffers.Put(buf)
	_, err := f.ReadAt(buf[:1], off)
	return err
}

// alarm tells of a pushed blob that cannot be read. It may be all that is left, so
// it stays where it is.
func (v *Vault) alarm(k Key, d oci.Digest, size int64, why error) {
	v.store.observe(Event{Kind: EventDamaged, Pool: "pushed", Digest: d, Bytes: size})
	v.store.log.Error("a pushed blob cannot be read: push it again", "digest", d, "key", string(k), "err", why)
}

// link returns the incarnation that the repository's link to d names.
func (v *Vault) link(ctx context.Context, n ref.Name, d oci.Digest) (inc, error) {
	id := digestID{name: n, d: d}
	if i, ok := v.links.get(id); ok {
		return i, nil
	}
	prefix, err := vaultPrefixOf("l", n, d)
	if err != nil {
		return "", err
	}
	epoch := v.links.now()
	for e, err := range v.store.bucket.List(ctx, prefix, "", false) {
		if err != nil {
			return "", err
		}
		if i, _, _ := strings.Cut(strings.TrimPrefix(e.Key, prefix), "."); validInc(i) {
			v.links.add(id.clone(), inc(i), epoch)
			return inc(i), nil
		}
	}
	return "", errMiss
}

// incarnations yields the incarnations of d, condemned ones too.
func (v *Vault) incarnations(ctx context.Context, d oci.Digest) func(func(inc, error) bool) {
	return func(yield func(inc, error) bool) {
		prefix, err := vaultBlobPrefix("b", d)
		if err != nil {
			yield("", err)
			return
		}
		for e, err := range v.store.bucket.List(ctx, prefix, "", false) {
			i := strings.TrimPrefix(cmp.Or(e.Key, prefix), prefix)
			if err == nil && !validInc(i) {
				continue
			}
			if !yield(inc(i), err) || err != nil {
				return
			}
		}
	}
}
