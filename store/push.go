package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
)

// PutManifest stores a manifest, and points the tags at it. What it refers to
// must be in the repository: its blobs, but for layers that are not to be
// distributed, and an index's manifests; otherwise, unless the store is sparse,
// it is ErrInvalid with MANIFEST_BLOB_UNKNOWN. Its subject need not be there. An
// image of more than oci.MaxDescriptors parts, or oci.MaxDepth levels of indexes,
// is ErrInvalid with MANIFEST_INVALID.
// When it returns nil all of this is durable.
func (v *Vault) PutManifest(ctx context.Context, n ref.Name, m oci.Manifest, tags ...string) error {
	n.Host = ""
	if got := oci.FromBytes(m.Raw, m.Digest); got != m.Digest {
		return oci.Errorf(oci.ErrMismatch, oci.CodeDigestInvalid, "the manifest is %s, not %s", got, m.Digest)
	}
	var registers []Key
	for _, tag := range tags {
		k, err := vaultTagKey(n, tag)
		if err != nil {
			return err
		}
		registers = append(registers, k)
	}
	links, err := m.Links()
	if err != nil {
		return err
	}
	if err := v.checkDepth(ctx, n, links); err != nil {
		return err
	}
	mu := v.repo(n)
	mu.RLock()
	defer mu.RUnlock()
	if err := v.putPinned(ctx, n, m, links); err != nil {
		return err
	}
	v.bytes.put(m.Digest, hold(m.Raw))
	for i, k := range registers { // W4
		if err := v.putTag(ctx, k, n, tags[i], m.Digest); err != nil {
			return fmt.Errorf("point tag %s: %w", tags[i], err)
		}
	}
	return nil
}

// maxChoices is how often a push chooses again because a collector took what
// it had chosen. Once is rare, and a second time needs another collector.
const maxChoices = 8

// putPinned stores the bytes, the referrers' entry and the pin of a manifest.
func (v *Vault) putPinned(ctx context.Context, n ref.Name, m oci.Manifest, links oci.Links) error {
	for range maxChoices {
		needs, err := v.needs(ctx, n, links)
		if err != nil {
			return err
		}
		self, err := v.putBytes(ctx, m)
		if err != nil {
			return fmt.Errorf("store manifest %s: %w", m.Digest, err)
		}
		p := pin{MediaType: m.MediaType, Size: int64(len(m.Raw)), Pins: slices.Concat([]pinned{self}, needs)}
		if links.Subject != nil {
			p.Subject = links.Subject.Digest
			// Before the pin: an entry without a manifest is not listed, a
			// manifest without its entry would stay unlisted.
			if err := v.putReferrer(ctx, n, p.Subject, m.Digest); err != nil {
				return err
			}
		}
		done, err := v.putPin(ctx, n, m.Digest, p)
		if done || err != nil {
			return err
		}
	}
	return oci.Errorf(oci.ErrUnavailable, "", "what the manifest needs is being removed; push it again")
}

// putPin writes p, and reports whether all that it names is still alive. A pin
// that was acknowledged already does as well. One that somebody else has only
// just written does not, although all that it names is alive:
//
//	A: writes a pin
//	B:               finds it, all is alive, answers
//	a collector:                                       condemns something
//	A:                                                                     sees that, drops its pin
func (v *Vault) putPin(ctx context.Context, n ref.Name, d oci.Digest, p pin) (bool, error) {
	keys, err := v.pinKeys(ctx, n, d)
	if err != nil {
		return false, err
	}
	var replaced []Key
	for _, k := range keys {
		old, err := v.readPin(ctx, k)
		if err == nil && p.covers(old.Pins) {
			replaced = append(replaced, k)
		}
		if _, sure := v.sure.get(k); sure && err == nil && old.MediaType == p.MediaType && old.covers(p.Pins) {
			if ok, err := v.stillAlive(ctx, old.Pins); ok || err != nil {
				return ok, err
			}
		}
	}
	_, ok, err := v.writePin(ctx, n, d, p)
	if ok {
		v.dropPins(ctx, replaced)
		v.pins.forget(digestID{name: n, d: d})
	}
	return ok, err
}

// writePin is W2 and W3: it writes a new pin, and reports whether all that it
// names is alive after that. Otherwise the pin is taken back.
func (v *Vault) writePin(ctx context.Context, n ref.Name, d oci.Digest, p pin) (Key, bool, error) {
	k, err := vaultPinKey(n, d, v.store.cfg.random())
	if err != nil {
		return "", false, err
	}
	b, err := json.Marshal(p)
	if err != nil {
		return "", false, err
	}
	defer v.pins.forget(digestID{name: n, d: d})
	if err := v.store.bucket.Put(ctx, k, b); err != nil { // W2
		return "", false, fmt.Errorf("store manifest %s: %w", d, err)
	}
	ok, err := v.stillAlive(ctx, p.Pins) // W3
	if !ok {
		v.dropPins(ctx, []Key{k}) // nobody was told of it
		return "", false, err
	}
	v.sure.put(k, struct{}{})
	return k, true, nil
}

// dropPins deletes pins that another one has replaced, or that were never
// acknowledged. One that stays holds content a little longer, no more.
func (v *Vault) dropPins(ctx context.Context, keys []Key) {
	for _, k := range keys {
		if err := v.store.bucket.Delete(ctx, k); err != nil && !errors.Is(err, oci.ErrNotFound) {
			v.store.log.Warn("cannot delete a pin that is not needed", "key", string(k), "err", err)
		}
	}
}

// putBytes stores a manifest's bytes, unless a live incarnation has them.
func (v *Vault) putBytes(ctx context.Context, m oci.Manifest) (pinned, error) {
	size := int64(len(m.Raw))
	p, err := v.choose(ctx, m.Digest, "")
	if err == nil {
		k, err := vaultBlobKey(m.Digest, p.Inc)
		if err != nil {
			return pinned{}, err
		}
		if _, err = v.store.readVerified(ctx, k, m.Digest, size); err == nil {
			v.renew(ctx, k)
			return p, nil
		}
		v.store.quarantine(ctx, k, err)
	} else if !errors.Is(err, oci.ErrNotFound) {
		return pinned{}, err
	}
	p = pinned{m.Digest, v.newInc(), size}
	k, err := vaultBlobKey(p.Digest, p.Inc)
	if err != nil {
		return pinned{}, err
	}
	if err := v.store.bucket.Put(ctx, k, m.Raw); err != nil {
		return pinned{}, err
	}
	v.store.usage.add(k, size)
	return p, nil
}

// renew makes an incarnation that is used again young, so that a collector
// leaves it alone until the manifest comes. It is best effort: W3 is what
// counts.
func (v *Vault) renew(ctx context.Context, k Key) {
	if t, ok := v.store.bucket.(Toucher); ok {
		if err := t.Touch(ctx, k, v.store.cfg.now()); err != nil {
			v.store.log.Debug("cannot touch", "key", string(k), "err", err)
		}
	}
}

func (v *Vault) putReferrer(ctx context.Context, n ref.Name, subject, d oci.Digest) error {
	k, err := vaultReferrerKey(n, subject, d)
	if err != nil {
		return err
	}
	if err := v.store.bucket.Put(ctx, k, nil); err != nil {
		return fmt.Errorf("store referrer of %s: %w", subject, err)
	}
	return nil
}

func (v *Vault) putTag(ctx context.Context, k Key, n ref.Name, tag string, d oci.Digest) error {
	b, err := json.Marshal(register{Digest: d, Rand: v.store.cfg.random(), PushedAt: v.store.cfg.now().UTC().Truncate(time.Second)})
	if err != nil {
		return err
	}
	defer v.tags.forget(tagID{name: n, tag: tag})
	return v.store.bucket.Put(ctx, k, b)
}

// maxRestarts is how often PutBlob opens its source again without having got
// a single byte more.
const maxRestarts = 3

// PutBlob stores a blob, and links it to the repository. It reads from open,
// and again from where it stopped when that breaks.
func (v *Vault) PutBlob(ctx context.Context, n ref.Name, d oci.Descriptor, open oci.Source) error {
	n.Host = ""
	if _, err := v.Stat(ctx, n, d.Digest); err == nil {
		return nil
	} else if !errors.Is(err, oci.ErrNotFound) {
		return err
	}
	i := v.newInc()
	k, err := vaultBlobKey(d.Digest, i)
	if err != nil {
		return err
	}
	sp, err := v.store.spool(d.Digest, d.Size, k, false)
	if err != nil {
		return err
	}
	defer sp.Release()
	if err := pull(ctx, sp, open); err != nil {
		return fmt.Errorf("store blob %s: %w", d.Digest, err)
	}
	if err := sp.Verify(); err != nil {
		return err
	}
	return v.admit(ctx, n, pinned{d.Digest, i, sp.Size()}, sp.Commit)
}

// pull fills a spool from a source, going on where it broke.
func pull(ctx context.Context, sp *Spool, open oci.Source) error {
	for failures := 0; ; {
		before := sp.Size()
		err := pullOnce(ctx, sp, open)
		if err == nil || ctx.Err() != nil || errors.Is(err, errWrite) {
			return err
		}
		if sp.Size() > before {
			failures = 0
		}
		if failures++; failures >= maxRestarts {
			return err
		}
	}
}

// errWrite marks an error that is not the source's.
var errWrite = errors.New("write")

func pullOnce(ctx context.Context, sp *Spool, open oci.Source) (err error) {
	r, err := open(ctx, sp.Size())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	buf := buffers.Get().(*[bufferSize]byte)
	defer buffers.Put(buf)
	for {
		n, err := r.Read(buf[:])
		if _, bad := sp.Write(buf[:n]); bad != nil {
			return fmt.Errorf("%w: %w", errWrite, bad)
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// buffers are for reading from connections.
var buffers = sync.Pool{New: func() any { return new([bufferSize]byte) }}

// admit makes verified bytes the repository's blob. Where a live incarnation
// has them already it is used, and the new bytes are left to their owner;
// otherwise commit makes them the incarnation that new names.
func (v *Vault) admit(ctx context.Context, n ref.Name, new pinned, commit func(context.Context) error) error {
	old, err := v.reuse(ctx, new)
	if errors.Is(err, oci.ErrNotFound) {
		old = new
		err = commit(ctx)
	}
	if err != nil {
		return err
	}
	return v.putLink(ctx, n, old)
}

// reuse finds an incarnation with the same content, makes it young, and looks
// once more whether it is alive.
func (v *Vault) reuse(ctx context.Context, want pinned) (pinned, error) {
	p, err := v.choose(ctx, want.Digest, "")
	if err != nil {
		return pinned{}, err
	}
	k, err := vaultBlobKey(p.Digest, p.Inc)
	if err != nil {
		return pinned{}, err
	}
	if p.Size != want.Size {
		v.store.quarantine(ctx, k, fmt.Errorf("it has %d bytes, not %d", p.Size, want.Size))
		return pinned{}, errMiss
	}
	v.renew(ctx, k)
	if _, ok, err := v.alive(ctx, p.Digest, p.Inc); err != nil || ok {
		return p, err
	}
	return pinned{}, errMiss
}

func (v *Vault) putLink(ctx context.Context, n ref.Name, p pinned) error {
	k, err := vaultLinkKey(n, p.Digest, p.Inc, v.store.cfg.random())
	if err != nil {
		return err
	}
	if err := v.store.bucket.Put(ctx, k, nil); err != nil {
		return fmt.Errorf("link %s to %s: %w", p.Digest, n.Path, err)
	}
	v.links.forget(digestID{name: n, d: p.Digest})
	return nil
}

// Mount links a blob of one repository to another. An empty from.Path stands
// for any repository that has a link.
func (v *Vault) Mount(ctx context.Context, to, from ref.Name, d oci.Digest) error {
	to.Host, from.Host = "", ""
	if _, err := repository(to); err != nil {
		return err
	}
	if from.Path == "" {
		var err error
		if from, err = v.holder(ctx, d); err != nil {
			return err
		}
	}
	i, err := v.link(ctx, from, d)
	if err != nil {
		return unknown(err, errBlobUnknown(from, d))
	}
	p, err := v.choose(ctx, d, i)
	if err != nil {
		return unknown(err, errBlobUnknown(from, d))
	}
	k, err := vaultBlobKey(d, p.Inc)
	if err != nil {
		return err
	}
	v.renew(ctx, k)
	if _, ok, err := v.alive(ctx, d, p.Inc); err != nil {
		return err
	} else if !ok {
		return errBlobUnknown(from, d)
	}
	return v.putLink(ctx, to, p)
}

// holder returns a repository that has a link to d. That the bytes are there
// is no link: they stay for a while after the last one was deleted.
func (v *Vault) holder(ctx context.Context, d oci.Digest) (ref.Name, error) {
	unknown := oci.Errorf(oci.ErrNotFound, oci.CodeBlobUnknown, "no repository has the blob %s", d)
	if _, err := v.choose(ctx, d, ""); errors.Is(err, oci.ErrNotFound) {
		return ref.Name{}, unknown // cheap, and the usual answer
	} else if err != nil {
		return ref.Name{}, err
	}
	for path, err := range v.store.repositories(ctx, "l", "") {
		if err != nil {
			return ref.Name{}, err
		}
		n := ref.Name{Path: strings.Clone(path)}
		if _, err := v.link(ctx, n, d); err == nil {
			return n, nil
		} else if !errors.Is(err, oci.ErrNotFound) {
			return ref.Name{}, err
		}
	}
	return ref.Name{}, unknown
}
