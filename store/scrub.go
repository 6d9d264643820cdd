package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/entrepot/entrepot/oci"
)

// A Verification says how [Store.Verify] works. The zero value reads everything
// as fast as it can.
type Verification struct {
	Rate   int64         // bytes that are read each second; 0: no limit
	DryRun bool          // damaged blobs of the cache stay
	After  string        // key after which to begin, "" for the first
	Each   func(Checked) // told of each blob in the order of the keys, by one goroutine; nil means nobody listens
}

// Checked is a blob that was read, or should have been.
type Checked struct {
	Key     Key
	Pool    string // "cache" or "pushed"
	Digest  oci.Digest
	Bytes   int64 // that it has
	Problem error // why it is not what its digest says, or cannot be read; nil for a good one
	Dropped bool  // it left the cache
	Missing bool  // a manifest was acknowledged with it, and it is not there
}

// Verified is what a run of [Store.Verify] has found.
type Verified struct {
	Blobs, Bytes  int64 // that are well
	Dropped       int64 // damaged blobs of the cache; they are fetched again when somebody asks
	Damaged       int64 // blobs of pushed images that are damaged: nothing was done to them
	Missing       int64 // blobs that pushed manifests need and that are not there
	DamagedCached int64 // damaged blobs of the cache that stayed, in a dry run
}

// Verify reads all blobs and holds them against their digests. A damaged one in
// the cache is dropped, so that it is fetched again; a damaged one of what was
// pushed may be all that is left, so it is never touched: it is told, logged as
// an error and counted. So is what a pushed manifest needs and that is gone. A
// server may run beside it.
func (s *Store) Verify(ctx context.Context, v Verification) (Verified, error) {
	r := verifyRun{Verification: v, s: s, ctx: ctx, buf: make([]byte, 256<<10)}
	for _, prefix := range []string{"c/b/", "v/b/"} {
		for e, err := range s.bucket.List(ctx, prefix, v.After, true) {
			if err == nil {
				err = r.blob(Key(e.Key))
			}
			if err != nil {
				return r.sum, fmt.Errorf("verify: %w", err)
			}
		}
	}
	if err := r.pins(); err != nil {
		return r.sum, fmt.Errorf("verify: %w", err)
	}
	return r.sum, nil
}

// A verifyRun is one run of Verify.
type verifyRun struct {
	Verification
	s   *Store
	ctx context.Context // of the one call that this is
	buf []byte
	sum Verified
}

// blob reads one. The error is that of the run, not that of the blob.
func (r *verifyRun) blob(k Key) error {
	c := Checked{Key: k, Pool: "cache"}
	d, ok := blobOf(string(k))
	if strings.HasPrefix(string(k), "v/") {
		c.Pool = "pushed"
		d, ok = incarnationOf(string(k))
	}
	if !ok {
		return nil // nobody reads it
	}
	c.Digest = d
	c.Bytes, c.Problem = r.hash(k, d)
	if r.ctx.Err() != nil {
		return r.ctx.Err()
	}
	if errors.Is(c.Problem, oci.ErrNotFound) {
		return nil // it has left meanwhile
	}
	if c.Problem != nil {
		return r.damaged(c)
	}
	r.sum.Blobs++
	r.sum.Bytes += c.Bytes
	r.s.observe(Event{Kind: EventScrubbed, Pool: c.Pool, Digest: d, Bytes: c.Bytes})
	r.tell(c)
	return nil
}

func (r *verifyRun) tell(c Checked) {
	if r.Each != nil {
		r.Each(c)
	}
}

// incarnationOf reads the key of a blob of the vault.
func incarnationOf(key string) (oci.Digest, bool) {
	name, i, ok := strings.Cut(key, ".")
	if !ok || !validInc(i) {
		return "", false
	}
	return blobOf("c" + strings.TrimPrefix(name, "v"))
}

// hash reads a blob, no faster than the rate.
func (r *verifyRun) hash(k Key, d oci.Digest) (int64, error) {
	o, err := r.s.bucket.Open(r.ctx, k)
	if err != nil {
		return 0, err
	}
	defer o.Body.Close()
	h := d.Algorithm().Hash()
	total := int64(0)
	for {
		n, err := o.Body.Read(r.buf)
		h.Write(r.buf[:n]) // never fails
		total += int64(n)
		if err == io.EOF {
			break
		}
		if err != nil {
			return total, fmt.Errorf("read: %w", err)
		}
		if err := r.pause(n); err != nil {
			return total, err
		}
	}
	if got := oci.FromHash(d, h); got != d {
		return total, oci.Errorf(oci.ErrMismatch, oci.CodeDigestInvalid, "the content is %s", got)
	}
	return total, nil
}

// pause waits for as long as n bytes may take.
func (r *verifyRun) pause(n int) error {
	if r.Rate <= 0 {
		return r.ctx.Err()
	}
	t := time.NewTimer(time.Duration(float64(n) / float64(r.Rate) * float64(time.Second)))
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-r.ctx.Done():
		return r.ctx.Err()
	}
}

func (r *verifyRun) damaged(c Checked) error {
	log := r.s.log.With("digest", c.Digest, "key", string(c.Key), "err", c.Problem)
	r.s.observe(Event{Kind: EventDamaged, Pool: c.Pool, Digest: c.Digest, Bytes: c.Bytes})
	switch {
	case c.Pool == "pushed":
		r.sum.Damaged++
		log.Error("a pushed blob is damaged: push it again")
	case r.DryRun:
		r.sum.DamagedCached++
	default:
		log.Warn("a cached blob is damaged: dropped, to be fetched again")
		if err := r.s.cache.dropDamaged(r.ctx, c.Key, c.Digest); err != nil {
			return err
		}
		r.sum.Dropped++
		c.Dropped = true
	}
	r.tell(c)
	return nil
}

// dropDamaged removes a blob of the cache that is not what its digest says.
func (c *Cache) dropDamaged(ctx context.Context, k Key, d oci.Digest) error {
	info, err := c.store.bucket.Stat(ctx, k)
	if err == nil {
		err = c.store.drop(ctx, k)
	}
	c.bytes.forget(d)
	switch {
	case errors.Is(err, oci.ErrNotFound):
		return nil
	case err != nil:
		return err
	}
	c.store.usage.remove(k, info.Size)
	return nil
}

// Check holds a blob of the cache against its digest, and drops it where it is
// damaged. It reports whether it is there and well.
func (c *Cache) Check(ctx context.Context, d oci.Digest) bool {
	k, err := cacheBlobKey(d)
	if err != nil {
		return false
	}
	r := verifyRun{s: c.store, ctx: ctx, buf: make([]byte, 256<<10)}
	return r.blob(k) == nil && r.sum.Blobs == 1
}

// pins looks whether everything is there that pushed manifests need.
func (r *verifyRun) pins() error {
	for e, err := range r.s.bucket.List(r.ctx, "v/m/", "", true) {
		if err != nil {
			return err
		}
		p, err := r.s.vault.readPin(r.ctx, Key(e.Key))
		if err != nil {
			continue // deleted meanwhile; one that is damaged alarms whoever asks for it, and the collector
		}
		for _, x := range p.Pins {
			if err := r.pinned(Key(e.Key), x); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *verifyRun) pinned(pin Key, x pinned) error {
	k, err := vaultBlobKey(x.Digest, x.Inc)
	if err != nil {
		return err
	}
	if _, err := r.s.bucket.Stat(r.ctx, k); !errors.Is(err, oci.ErrNotFound) {
		return err
	}
	if _, err := r.s.bucket.Stat(r.ctx, pin); err != nil {
		return nil // the manifest was deleted meanwhile, and its blobs collected
	}
	if _, err := r.s.vault.choose(r.ctx, x.Digest, ""); err == nil {
		return nil // readers take another incarnation
	}
	r.sum.Missing++
	r.s.observe(Event{Kind: EventDamaged, Pool: "pushed", Digest: x.Digest, Bytes: x.Size})
	r.s.log.Error("a blob that a pushed manifest needs is missing: push it again", "digest", x.Digest, "pin", string(pin))
	r.tell(Checked{Key: k, Pool: "pushed", Digest: x.Digest, Bytes: x.Size, Missing: true, Problem: &oci.Error{Kind: oci.ErrNotFound, Message: "a manifest needs it"}})
	return nil
}
