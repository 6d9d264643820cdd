package relocate

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
)

// A Draft is a set of images before a byte of their blobs is read: all of their
// manifests, and for each blob how large it is and where it can be read.
// [Discover] makes one. Its methods are safe for concurrent use.
//
//	draft, err := relocate.Discover(ctx, relocate.Config{Source: source}, pairs, nil)
//	for _, b := range draft.Blobs() {
//		body, err := b.Open(ctx, 0)
//		…
//	}
//	report := draft.Report()
type Draft struct {
	run     *run
	base    map[oci.Digest]Held // what need not be read
	observe func(Event)         // nil tells nobody

	mu        sync.Mutex // guards what follows
	manifests map[oci.Digest]oci.Manifest
	tags      map[ref.Ref]oci.Digest // :: name with a tag → manifest
	blobs     map[oci.Digest]*draftBlob
	pending   map[*image]int // :: image → blobs that it was the first to need and that are not written
}

// A draftBlob is one blob of a draft.
type draftBlob struct {
	d     oci.Descriptor
	from  []ref.Name // repositories of the source that have it
	image *image     // that needed it first
	based bool       // it need not be read
	read  bool       // to its end
	wrote int64      // bytes of it that are where they should be
	err   error      // why it could not be read when that was last tried
}

// A DraftBlob is a blob that a set of images needs.
type DraftBlob struct {
	Digest oci.Digest
	Size   int64 // bytes
	// Base says that the blob is where the set goes already, in the
	// Repositories, by what was given to [Discover].
	Base         bool
	Repositories []string
	// Open opens the blob at the source. It waits for its turn, as
	// Config.Jobs has it; what it returned has to be closed. The bytes are not
	// verified; the body is an [oci.Rejecter].
	Open oci.Source
}

// Discover reads the manifests of a set of images and of what refers to them,
// just as [Run] would, and no blob. The target of a pair is what the image is
// called in the set. base are the blobs that need not be read; nil means none.
//
// One image's failure does not stop the others. The error is then
// [ErrIncomplete], and the report of the draft, which is never nil, says which
// and why. Config.Target, OnExisting, Partial, Journal and Have are not used.
func Discover(ctx context.Context, cfg Config, pairs []Pair, base map[oci.Digest]Held) (*Draft, error) {
	d := &Draft{
		base: base, observe: cfg.Observe, manifests: map[oci.Digest]oci.Manifest{},
		tags: map[ref.Ref]oci.Digest{}, blobs: map[oci.Digest]*draftBlob{},
	}
	cfg.Target, cfg.OnExisting, cfg.Journal, cfg.Have = drafting{d}, Overwrite, nil, nil
	cfg.Partial = true // the tags of what was found are noted, whatever failed
	cfg.Observe = discovering(cfg.Observe)
	d.run = newRun(cfg, pairs)
	err := d.run.run(ctx)
	for _, b := range d.blobs {
		slices.SortFunc(b.from, func(a, b ref.Name) int { return cmp.Compare(a.String(), b.String()) })
	}
	d.await()
	return d, err
}

// Report returns what became of the images. A blob that could not be read makes
// all images fail that need it, with the last error. Blobs that were not opened
// count as present where nothing failed: they were read by an earlier run.
func (d *Draft) Report() Report {
	d.mu.Lock()
	defer d.mu.Unlock()
	rep := d.run.report()
	for _, b := range d.blobs {
		one := &rep.Images[b.image.index].Blobs
		switch {
		case b.read:
			one.Pushed++
			one.PushedBytes += b.d.Size
			rep.Totals.PushedBytes += b.d.Size
		case b.based:
			rep.Totals.LeftBytes += b.d.Size
		case b.err == nil:
			one.Present++
		}
	}
	failed := d.failed()
	for i, img := range d.run.images {
		if err := failed[img.root.Digest]; err != nil && img.err == nil {
			rep.Images[i].Result, rep.Images[i].Error = Failed, err.Error()
			rep.Images[i].Class, rep.Images[i].Hint = Class(err), hintOf(err)
			rep.Totals.Failed++
		}
	}
	return rep
}

// failed returns why manifests are not whole.
func (d *Draft) failed() map[oci.Digest]error {
	failed := map[oci.Digest]error{}
	var up map[oci.Digest][]oci.Digest
	for digest, b := range d.blobs {
		if b.err == nil {
			continue
		}
		if up == nil {
			up = d.needed()
		}
		err := fmt.Errorf("read blob %s: %w", digest, b.err)
		for _, m := range above(up, digest) {
			failed[m] = err
		}
	}
	return failed
}

// Manifests returns all manifests of the set, by their digests in order.
func (d *Draft) Manifests() []oci.Manifest {
	d.mu.Lock()
	defer d.mu.Unlock()
	var all []oci.Manifest
	for _, m := range d.manifests {
		all = append(all, m)
	}
	slices.SortFunc(all, func(a, b oci.Manifest) int { return cmp.Compare(a.Digest, b.Digest) })
	return all
}

// A Named is a manifest and what it is called.
type Named struct {
	Name   ref.Ref
	Digest oci.Digest
}

// Named returns what the set calls its manifests, in order: the names of the
// images that did not fail, and the tags that lead to what refers to them, as
// cosign's do.
func (d *Draft) Named() []Named {
	d.mu.Lock()
	defer d.mu.Unlock()
	var all []Named
	for at, digest := range d.tags {
		all = append(all, Named{at, digest})
	}
	for _, img := range d.run.images {
		if img.err == nil {
			all = append(all, Named{img.pair.Name(), img.root.Digest})
		}
	}
	slices.SortFunc(all, func(a, b Named) int { return cmp.Compare(a.Name.String(), b.Name.String()) })
	return slices.Compact(all)
}

// Blobs returns all blobs of the set, by their digests in order. What stays where
// its URLs say, as foreign layers do, is not among them.
func (d *Draft) Blobs() []DraftBlob {
	d.mu.Lock()
	defer d.mu.Unlock()
	var all []DraftBlob
	for digest, b := range d.blobs {
		one := DraftBlob{Digest: digest, Size: b.d.Size, Base: b.based}
		if b.based {
			one.Repositories = d.base[digest].Repositories
		}
		one.Open = func(ctx context.Context, off int64) (io.ReadCloser, error) { return d.open(ctx, b, off) }
		all = append(all, one)
	}
	slices.SortFunc(all, func(a, b DraftBlob) int { return cmp.Compare(a.Digest, b.Digest) })
	return all
}

// open opens a blob where it is, in whichever of the repositories.
func (d *Draft) open(ctx context.Context, b *draftBlob, off int64) (io.ReadCloser, error) {
	if raw, ok := known(b.d); ok {
		return &draftBody{ReadCloser: io.NopCloser(bytes.NewReader(raw[off:])), ctx: ctx, d: d, b: b}, nil
	}
	free, err := d.run.sched.transfer(ctx, b.d.Size)
	if err != nil {
		return nil, err
	}
	for _, from := range b.from {
		c := &content{
			g: &graph{run: d.run, img: b.image, from: from}, d: b.d, from: from, read: d.run.cfg.Source,
			hash: frontier{off: -1, end: b.d.Size}, // whoever writes the bytes verifies them
		}
		var rc io.ReadCloser
		if rc, err = c.stream(ctx, off); err == nil {
			return &draftBody{ReadCloser: rc, ctx: ctx, d: d, b: b, free: free}, nil
		}
		if !errors.Is(err, oci.ErrNotFound) && !errors.Is(err, oci.ErrDenied) && !errors.Is(err, oci.ErrUnauthorized) {
			break
		}
	}
	free()
	d.ended(ctx, b, err)
	return nil, err
}

// ended notes how the reading of a blob ended; nil is its end. What ends because
// everything does is not the blob's fault.
func (d *Draft) ended(ctx context.Context, b *draftBlob, err error) {
	if err != nil && ctx.Err() != nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	b.read, b.err = err == nil, err
}

// Wrote says that bytes of a blob are where they should be. The Observe of the
// draft's Config is told, and when an image has all that it was the first to need,
// of that too.
func (d *Draft) Wrote(digest oci.Digest, bytes int64) {
	d.mu.Lock()
	b := d.blobs[digest]
	if b == nil {
		d.mu.Unlock()
		return
	}
	before := b.wrote
	b.wrote += bytes
	done := before < b.d.Size && b.wrote >= b.d.Size
	whole := false
	if done {
		d.pending[b.image]--
		whole = d.pending[b.image] == 0
	}
	d.mu.Unlock()
	d.tell(Event{Kind: BlobProgress, Image: b.image.index, Digest: digest, Bytes: bytes})
	if done {
		d.tell(Event{Kind: BlobDone, Image: b.image.index, Digest: digest, Bytes: b.d.Size})
	}
	if whole {
		d.tell(Event{Kind: ImageCopied, Image: b.image.index})
	}
}

// await counts what each image waits for, and tells of those that wait for
// nothing.
func (d *Draft) await() {
	d.pending = map[*image]int{}
	for _, b := range d.blobs {
		if b.d.Size > 0 && !b.based {
			d.pending[b.image]++
		}
	}
	for _, img := range d.run.images {
		if d.pending[img] == 0 && img.err == nil {
			d.tell(Event{Kind: ImageCopied, Image: img.index})
		}
	}
}

func (d *Draft) tell(e Event) {
	if d.observe != nil {
		d.observe(e)
	}
}

// A draftBody is a blob that is read.
type draftBody struct {
	io.ReadCloser
	ctx  context.Context // of the reading
	d    *Draft
	b    *draftBlob
	free func() // gives up its turn; nil where it has none
}

var _ oci.Rejecter = (*draftBody)(nil)

// Read notes how it ends.
func (r *draftBody) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	switch err {
	case nil:
	case io.EOF:
		r.d.ended(r.ctx, r.b, nil)
	default:
		r.d.ended(r.ctx, r.b, err)
	}
	return n, err
}

// Reject passes on that the bytes were wrong.
func (r *draftBody) Reject() bool {
	r.d.ended(r.ctx, r.b, oci.Errorf(oci.ErrMismatch, oci.CodeDigestInvalid, "its bytes are not those that its digest names"))
	rc := r.ReadCloser
	if c, ok := rc.(*counted); ok {
		rc = c.ReadCloser
	}
	rej, ok := rc.(oci.Rejecter)
	return ok && rej.Reject()
}

// Close gives the turn to the next one.
func (r *draftBody) Close() error {
	if r.free != nil {
		r.free()
		r.free = nil
	}
	return r.ReadCloser.Close()
}
