package oci

import (
	"context"
	"iter"

	"github.com/entrepot/entrepot/ref"
)

// A Split reads some repositories from places of their own, and all others from
// the rest. It lists tags and referrers as far as these do. At is not changed while
// the Split is in use; then its methods are as safe as those of the places.
type Split struct {
	At   map[ref.Name]Reader // :: repository → where its images are
	Rest Reader              // nil: what is not in At is not found
}

var (
	_ Reader        = (*Split)(nil)
	_ Lister        = (*Split)(nil)
	_ SubjectLister = (*Split)(nil)
)

func (s *Split) of(n ref.Name) (Reader, error) {
	if r := s.At[n]; r != nil {
		return r, nil
	}
	if s.Rest == nil {
		return nil, Errorf(ErrNotFound, CodeNameUnknown, "there are no images of %s", n)
	}
	return s.Rest, nil
}

// Resolve asks the place of the repository.
func (s *Split) Resolve(ctx context.Context, r ref.Ref) (Descriptor, error) {
	from, err := s.of(r.Name)
	if err != nil {
		return Descriptor{}, err
	}
	return from.Resolve(ctx, r)
}

// Manifest reads from the place of the repository.
func (s *Split) Manifest(ctx context.Context, r ref.Ref) (Manifest, error) {
	from, err := s.of(r.Name)
	if err != nil {
		return Manifest{}, err
	}
	return from.Manifest(ctx, r)
}

// Stat asks the place of the repository.
func (s *Split) Stat(ctx context.Context, n ref.Name, d Digest) (Descriptor, error) {
	from, err := s.of(n)
	if err != nil {
		return Descriptor{}, err
	}
	return from.Stat(ctx, n, d)
}

// Blob reads from the place of the repository.
func (s *Split) Blob(ctx context.Context, n ref.Name, d Digest, off int64) (Blob, error) {
	from, err := s.of(n)
	if err != nil {
		return Blob{}, err
	}
	return from.Blob(ctx, n, d, off)
}

// Tags lists those of the repository's place; ErrUnsupported where that lists
// none.
func (s *Split) Tags(ctx context.Context, n ref.Name, after string) iter.Seq2[string, error] {
	from, err := s.of(n)
	if l, ok := from.(Lister); ok {
		return l.Tags(ctx, n, after)
	}
	if err == nil {
		err = ErrUnsupported
	}
	return func(yield func(string, error) bool) { yield("", err) }
}

// Subjects asks the place of the repository; ErrUnsupported where that knows of no
// referrers.
func (s *Split) Subjects(ctx context.Context, n ref.Name, d Digest) ([]Descriptor, error) {
	from, err := s.of(n)
	if err != nil {
		return nil, err
	}
	if l, ok := from.(SubjectLister); ok {
		return l.Subjects(ctx, n, d)
	}
	return nil, ErrUnsupported
}
