package store

import (
	"context"
	"errors"
	"io"
	"os"
	"strings"

	"github.com/entrepot/entrepot/oci"
)

// maxRecord bounds the size of a record that is read, in bytes. Pins are the
// largest: an index may pin ten thousand blobs.
const maxRecord = 16 << 20

// readRecord reads a small object.
func (s *Store) readRecord(ctx context.Context, k Key) ([]byte, error) {
	o, err := s.bucket.Open(ctx, k)
	if err != nil {
		return nil, err
	}
	defer o.Body.Close()
	if o.Size > maxRecord {
		return nil, oci.Errorf(oci.ErrMismatch, "", "the record has %d bytes", o.Size)
	}
	b := make([]byte, o.Size)
	if _, err := io.ReadFull(o.Body, b); err != nil {
		return nil, diskError(err)
	}
	return b, nil
}

// readVerified reads an object of which digest and size are known, and
// returns ErrMismatch where it is another.
func (s *Store) readVerified(ctx context.Context, k Key, d oci.Digest, size int64) ([]byte, error) {
	o, err := s.bucket.Open(ctx, k)
	if err != nil {
		return nil, err
	}
	defer o.Body.Close()
	if o.Size != size || size > maxRecord {
		return nil, oci.Errorf(oci.ErrMismatch, oci.CodeSizeInvalid, "%s has %d bytes, %d were expected", d, o.Size, size)
	}
	b := make([]byte, size)
	if _, err := io.ReadFull(o.Body, b); err != nil {
		return nil, oci.Errorf(oci.ErrMismatch, "", "read %s: %w", d, err)
	}
	if got := oci.FromBytes(b, d); got != d {
		return nil, oci.Errorf(oci.ErrMismatch, oci.CodeDigestInvalid, "the content is %s, %s was expected", got, d)
	}
	return b, nil
}

// putLoose stores a record whose loss in a power cut costs time only.
func (s *Store) putLoose(k Key, data []byte) error {
	ctx := context.Background() // the record outlives the request that brought it
	if l, ok := s.bucket.(Loose); ok {
		return l.PutLoose(ctx, k, data)
	}
	return s.bucket.Put(ctx, k, data)
}

// openBlob opens an object as a file.
func (s *Store) openBlob(ctx context.Context, k Key) (*os.File, Info, error) {
	o, err := s.bucket.Open(ctx, k)
	if err != nil {
		return nil, Info{}, err
	}
	f, ok := o.Body.(*os.File)
	if !ok {
		o.Body.Close()
		return nil, Info{}, oci.Errorf(oci.ErrUnsupported, "", "this bucket has no files")
	}
	return f, o.Info, nil
}

// quarantine takes a damaged object out of its pool, for somebody to look at.
func (s *Store) quarantine(ctx context.Context, k Key, why error) {
	info, err := s.bucket.Stat(ctx, k)
	if err == nil {
		if m, ok := s.bucket.(Mover); ok {
			err = m.Move(ctx, k, quarantineKey(k))
		} else {
			err = s.bucket.Delete(ctx, k)
		}
	}
	switch {
	case errors.Is(err, oci.ErrNotFound):
	case err != nil:
		s.log.Error("cannot take a damaged object away", "key", string(k), "err", err)
	default:
		s.usage.remove(k, info.Size)
		s.observe(Event{Kind: EventDamaged, Pool: poolOf(k), Digest: digestIn(k), Bytes: info.Size})
		s.log.Error("damaged object moved to quarantine", "key", string(k), "why", why)
	}
}

func poolOf(k Key) string {
	if strings.HasPrefix(string(k), "v/") {
		return "pushed"
	}
	return "cache"
}

// digestIn returns the digest of a blob's key, "" for other keys.
func digestIn(k Key) oci.Digest {
	if d, ok := incarnationOf(string(k)); ok {
		return d
	}
	d, _ := blobOf(string(k))
	return d
}

// emptyDigest returns the digest of nothing, of the algorithm of like.
func emptyDigest(like oci.Digest) oci.Digest { return oci.FromBytes(nil, like) }
