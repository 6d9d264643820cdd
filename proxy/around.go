package proxy

import (
	"context"
	"errors"
	"fmt"
	"hash"
	"io"
	"syscall"

	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/store"
)

// These tell clients why what they get is slower than it could be.
const (
	warnFull   = "the cache is full: served from the upstream and not stored"
	warnBroken = "the cache does not work: served from the upstream and not stored"
)

// full reports whether the disk has no room.
func full(err error) bool { return errors.Is(err, syscall.ENOSPC) }

// These end a fill for whose blob there is no room, or no disk that takes it.
// Whoever waits for it goes around the cache.
var (
	errFull   error = &oci.Error{Kind: oci.ErrUnavailable, RetryAfter: retryLater, Message: "the cache is full"}
	errBroken error = &oci.Error{Kind: oci.ErrUnavailable, RetryAfter: retryLater, Message: "the cache cannot store the content"}
)

// unstored returns errFull or errBroken.
func unstored(err error) error {
	if full(err) {
		return errFull
	}
	return errBroken
}

// spool makes a spool. Where the disk is full, room is made for it first: what
// was used longest ago leaves the cache. The error is errFull where that is not
// enough, and errBroken where the disk does not work.
func (p *Proxy) spool(ctx context.Context, k blobKey, size int64) (*store.Spool, error) {
	s, err := p.cache.Spool(k.digest, size)
	if err == nil {
		return s, nil
	}
	if full(err) && p.cache.MakeRoom(ctx, max(size, 0)+roomToSpare) == nil {
		s, err = p.cache.Spool(k.digest, size)
	}
	if err == nil {
		return s, nil
	}
	p.storeError("make room for blob", k.name, err)
	return nil, unstored(err)
}

// roomToSpare is for the records that come with a blob, in bytes.
const roomToSpare = 1 << 20

// around opens a blob for one client that cannot be stored, because of why. Read
// from its start it is verified: the last 64 KiB are held back until the digest is
// right.
func (p *Proxy) around(ctx context.Context, o *oci.Outcome, k blobKey, off int64, why error) (oci.Blob, error) {
	got, err := p.aside(ctx, k, off)
	if err != nil {
		return oci.Blob{}, err
	}
	o.Result, o.From, o.Warning = oci.Miss, got.From, warnFull
	if why == errBroken {
		o.Warning = warnBroken
	}
	if off == 0 {
		got.Body = &verifier{body: got.Body, k: k, hash: k.digest.Algorithm().Hash(), size: got.Size}
	}
	return got, nil
}

// aside opens the upstream's blob for one client. The upstream answers for the
// repository that was asked for, so that answer gives the right to read it.
func (p *Proxy) aside(ctx context.Context, k blobKey, off int64) (oci.Blob, error) {
	var got oci.Blob
	err := p.ask(ctx, k.lane(true), k.name, oci.CodeBlobUnknown, func() error {
		b, err := p.up.Blob(oci.WithOutcome(ctx, new(oci.Outcome)), k.name, k.digest, off)
		if err == nil && b.Offset != off {
			b.Body.Close()
			err = fmt.Errorf("%w: the body starts at %d, not %d", oci.ErrMismatch, b.Offset, off)
		}
		got = b
		return err
	})
	if err != nil {
		return oci.Blob{}, err
	}
	size := got.Size
	if size < 0 {
		size = p.claimed(k)
	}
	return oci.Blob{Descriptor: oci.Descriptor{Digest: k.digest, Size: size}, Body: got.Body, Offset: off, From: got.From}, nil
}

// A verifier reads a blob and gives its last bytes only once the digest of all is
// right.
type verifier struct {
	body io.ReadCloser
	k    blobKey
	hash hash.Hash
	size int64  // -1 where it is not known
	read int64  // where in the blob the body stands
	from int64  // what comes before it is in the hash already
	held []byte // read and not given
	end  error  // of the body, verified; nil before
}

func (v *verifier) Read(p []byte) (int, error) {
	for v.end == nil && len(v.held) <= holdBack {
		v.fetch()
	}
	give := len(v.held)
	if v.end != io.EOF {
		give -= holdBack // whatever the end is, nobody gets these
	}
	if give <= 0 {
		return 0, v.end
	}
	n := copy(p, v.held[:give])
	v.held = v.held[n:]
	return n, nil
}

// fetch reads some more, and judges at the end.
func (v *verifier) fetch() {
	if cap(v.held)-len(v.held) < holdBack {
		v.held = append(make([]byte, 0, 4*holdBack), v.held...)
	}
	n, err := v.body.Read(v.held[len(v.held):cap(v.held)])
	if known := max(v.from-v.read, 0); known < int64(n) {
		v.hash.Write(v.held[len(v.held)+int(known) : len(v.held)+n])
	}
	v.held = v.held[:len(v.held)+n]
	v.read += int64(n)
	switch {
	case v.size >= 0 && v.read > v.size, err == io.EOF && v.size >= 0 && v.read != v.size:
		v.end = fault(v.k.name, oci.CodeBlobUnknown, fmt.Errorf("%w: %d bytes came, %d were said", oci.ErrMismatch, v.read, v.size))
	case err == io.EOF && oci.FromHash(v.k.digest, v.hash) != v.k.digest:
		v.end = errWrong
	case err == io.EOF:
		v.end = io.EOF
	case err != nil:
		v.end = fault(v.k.name, oci.CodeBlobUnknown, err)
	}
}

func (v *verifier) Close() error { return v.body.Close() }
