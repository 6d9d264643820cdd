package mirror

import (
	"context"
	"errors"
	"iter"

	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
)

var (
	errNoLists = oci.Errorf(oci.ErrUnsupported, oci.CodeUnsupported, "the upstream cannot list")
	errNone    = oci.Errorf(oci.ErrNotFound, "", "there are no referrers")
)

// Tags lists what the first place that answers has; only places that may
// answer tags are asked. A list that breaks off ends with its error: another
// place may have other tags.
func (m *Mirror) Tags(ctx context.Context, n ref.Name, after string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		places, err := m.plan(OpTags, ref.Ref{Name: n}, true)
		if err != nil {
			yield("", err)
			return
		}
		var next func() (string, error, bool)
		stop := func() {}
		defer func() { stop() }()
		var first string
		var any bool
		q := question{m: m, op: OpTags, ref: ref.Ref{Name: n}, places: places}
		_, cancel, err := q.put(ctx, func(ctx context.Context, p Place) (err error) {
			l, ok := p.Reader.(oci.Lister)
			if !ok {
				return errNoLists
			}
			stop()
			next, stop = iter.Pull2(l.Tags(ctx, p.Name, after))
			first, err, any = next()
			return err
		})
		defer cancel(nil)
		if err != nil {
			yield("", err)
			return
		}
		for tag, err := first, error(nil); any; tag, err, any = next() {
			if !yield(tag, err) || err != nil {
				return
			}
		}
	}
}

// Referrers asks the places that may answer tags, as what refers to a manifest
// changes like a tag. None is no answer as long as another place is left to
// ask: a mirror that carries no signatures must not hide them.
func (m *Mirror) Referrers(ctx context.Context, n ref.Name, d oci.Digest, artifactType string) ([]oci.Descriptor, error) {
	var found []oci.Descriptor
	err := m.ask(ctx, OpReferrers, n.WithDigest(d), true, func(ctx context.Context, p Place) error {
		l, ok := p.Reader.(oci.ReferrersLister)
		if !ok {
			return errNoLists
		}
		got, err := l.Referrers(ctx, p.Name, d, artifactType)
		if err == nil && len(got) == 0 {
			return errNone
		}
		found = got
		return err
	})
	if errors.Is(err, errNone) {
		return nil, nil // the original said so
	}
	return found, err
}

// Subjects asks the places that may answer tags what their referrers API says,
// as Referrers does. ErrUnsupported means that the original has none.
func (m *Mirror) Subjects(ctx context.Context, n ref.Name, d oci.Digest) ([]oci.Descriptor, error) {
	var found []oci.Descriptor
	err := m.ask(ctx, OpReferrers, n.WithDigest(d), true, func(ctx context.Context, p Place) error {
		l, ok := p.Reader.(oci.SubjectLister)
		if !ok {
			return errNoLists
		}
		got, err := l.Subjects(ctx, p.Name, d)
		if err == nil && len(got) == 0 {
			return errNone
		}
		found = got
		return err
	})
	if errors.Is(err, errNone) {
		return nil, nil // the original said so
	}
	return found, err
}
