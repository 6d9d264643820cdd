package cli

import (
	"context"
	"errors"
	"iter"
	"sync/atomic"

	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
	"github.com/entrepot/entrepot/remote"
)

// An eitherWay is one registry that is asked by HTTPS and, where nothing
// answers that way, by plain HTTP: what clients call insecure. Once it has
// answered by plain HTTP it is asked like that, until it does not answer.
type eitherWay struct {
	secure, plain *remote.Endpoint
	isPlain       atomic.Bool
}

var (
	_ oci.Reader          = (*eitherWay)(nil)
	_ oci.Lister          = (*eitherWay)(nil)
	_ oci.ReferrersLister = (*eitherWay)(nil)
)

// unanswered reports whether a request came to nothing for want of a
// connection, or of one in TLS. One that took too long is not sent again.
func unanswered(err error) bool {
	lost, ok := errors.AsType[*remote.LostError](err)
	if !ok {
		return false
	}
	switch lost.Class {
	case remote.ClassDial, remote.ClassTLS, remote.ClassBroken, remote.ClassGarbage:
		return true
	}
	return false
}

// over puts a question by HTTPS, or else by plain HTTP.
func over[T any](e *eitherWay, ask func(*remote.Endpoint) (T, error)) (T, error) {
	if !e.isPlain.Load() {
		if got, err := ask(e.secure); !unanswered(err) {
			return got, err
		}
	}
	got, err := ask(e.plain)
	if _, refused := errors.AsType[*remote.StatusError](err); err == nil || refused {
		e.isPlain.Store(true)
	} else if unanswered(err) {
		e.isPlain.Store(false)
	}
	return got, err
}

func (e *eitherWay) Resolve(ctx context.Context, r ref.Ref) (oci.Descriptor, error) {
	return over(e, func(at *remote.Endpoint) (oci.Descriptor, error) { return at.Resolve(ctx, r) })
}

func (e *eitherWay) Manifest(ctx context.Context, r ref.Ref) (oci.Manifest, error) {
	return over(e, func(at *remote.Endpoint) (oci.Manifest, error) { return at.Manifest(ctx, r) })
}

func (e *eitherWay) Stat(ctx context.Context, n ref.Name, d oci.Digest) (oci.Descriptor, error) {
	return over(e, func(at *remote.Endpoint) (oci.Descriptor, error) { return at.Stat(ctx, n, d) })
}

func (e *eitherWay) Blob(ctx context.Context, n ref.Name, d oci.Digest, off int64) (oci.Blob, error) {
	return over(e, func(at *remote.Endpoint) (oci.Blob, error) { return at.Blob(ctx, n, d, off) })
}

func (e *eitherWay) Referrers(ctx context.Context, n ref.Name, d oci.Digest, artifactType string) ([]oci.Descriptor, error) {
	return over(e, func(at *remote.Endpoint) ([]oci.Descriptor, error) { return at.Referrers(ctx, n, d, artifactType) })
}

// Tags lists by plain HTTP where not even the first tag comes by HTTPS.
func (e *eitherWay) Tags(ctx context.Context, n ref.Name, after string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		begun := false
		_, err := over(e, func(at *remote.Endpoint) (struct{}, error) {
			for tag, err := range at.Tags(ctx, n, after) {
				if err != nil && !begun {
					return struct{}{}, err
				}
				begun = true
				if !yield(tag, err) || err != nil {
					break
				}
			}
			return struct{}{}, nil
		})
		if err != nil {
			yield("", err)
		}
	}
}
