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
	errAway    = oci.Errorf(oci.ErrUnavailable, "", "it has just not answered")
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
	return m.referrers(ctx, n.WithDigest(d), func(ctx context.Context, p Place) ([]oci.Descriptor, error) {
		l, ok := p.Reader.(oci.ReferrersLister)
		if !ok {
			return nil, errNoLists
		}
		return l.Referrers(ctx, p.Name, d, artifactType)
	})
}

// Subjects asks the places that may answer tags what their referrers API says,
// as Referrers does. ErrUnsupported means that the original has none.
func (m *Mirror) Subjects(ctx context.Context, n ref.Name, d oci.Digest) ([]oci.Descriptor, error) {
	return m.referrers(ctx, n.WithDigest(d), func(ctx context.Context, p Place) ([]oci.Descriptor, error) {
		l, ok := p.Reader.(oci.SubjectLister)
		if !ok {
			return nil, errNoLists
		}
		return l.Subjects(ctx, p.Name, d)
	})
}

func (m *Mirror) referrers(ctx context.Context, r ref.Ref, list func(context.Context, Place) ([]oci.Descriptor, error)) ([]oci.Descriptor, error) {
	var found []oci.Descriptor
	var said error // by a place that answered: there are none, or it does not know
	err := m.ask(ctx, OpReferrers, r, true, func(ctx context.Context, p Place) error {
		if m.cfg.Alone && said != nil && m.health.has(p.Label) {
			return errAway // it did not answer for another image a moment ago
		}
		got, err := list(ctx, p)
		if err == nil && len(got) == 0 {
			err = errNone
		}
		if errors.Is(err, errNone) || said == nil && errors.Is(err, oci.ErrUnsupported) {
			said = err
		}
		found = got
		return err
	})
	if m.cfg.Alone && said != nil && errors.Is(err, oci.ErrUnavailable) {
		if _, told := m.alone.LoadOrStore(r.Host, true); !told {
			m.log.Warn("signatures and the like are looked for at the mirrors alone: the original does not answer", "host", r.Host, "err", err)
		}
		err = said
	}
	if errors.Is(err, errNone) {
		return nil, nil // whoever has to know said so
	}
	return found, err
}
