package relocate

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
)

// ErrPruneIncomplete says that some removals failed; they say which and why.
var ErrPruneIncomplete = errors.New("some could not be removed")

// A DeletesError says that a registry does not delete. Nothing was deleted there.
type DeletesError struct {
	Host string
	Err  error
}

// Error names the registry.
func (e *DeletesError) Error() string {
	return fmt.Sprintf("%s does not delete: %v", e.Host, e.Err)
}

// Unwrap returns what the registry said.
func (e *DeletesError) Unwrap() error { return e.Err }

// Run carries out the plan, and notes in its removals what became of each. Each
// repository is read and decided about again right before: what it has got since,
// and what that needs, stays. What is gone already is no failure.
//
// A registry that does not delete is a [*DeletesError], and nothing was deleted;
// ErrPruneIncomplete means that the removals have errors.
func (p *Pruning) Run(ctx context.Context) error {
	all := p.Plan.Removals
	for i := range all {
		if err := p.canDelete(ctx, all[i].name); err != nil {
			return err
		}
	}
	failed := false
	for start := 0; start < len(all); {
		end := start
		for end < len(all) && all[end].name == all[start].name {
			end++
		}
		if err := p.repository(ctx, all[start:end]); err != nil {
			return err
		}
		failed = failed || slices.ContainsFunc(all[start:end], func(r Removal) bool { return r.Result == Failed })
		start = end
	}
	if failed {
		return ErrPruneIncomplete
	}
	return nil
}

// canDelete finds out once for a registry whether it deletes at all: it is asked
// to delete what nobody has.
func (p *Pruning) canDelete(ctx context.Context, n ref.Name) error {
	err, known := p.deletes[n.Host]
	if known {
		return err
	}
	nobodys := oci.FromBytes([]byte(rand.Text()), "")
	err = p.cfg.Target.DeleteManifest(ctx, n, nobodys)
	switch {
	case errors.Is(err, oci.ErrNotFound):
		err = nil
	case errors.Is(err, oci.ErrUnsupported):
		err = &DeletesError{n.Host, err}
	case err != nil:
		err = fmt.Errorf("delete from %s: %w", n, err)
	}
	p.deletes[n.Host] = err
	return err
}

// repository carries out the removals of one repository.
func (p *Pruning) repository(ctx context.Context, some []Removal) error {
	n := some[0].name
	now, err := p.stock(ctx, n)
	if err != nil {
		for i := range some {
			some[i].fail(err)
		}
		return context.Cause(ctx)
	}
	f := p.cfg.Set.shelf(now)
	p.confirm(f, some)
	for i := range some {
		if some[i].Result != Planned {
			continue
		}
		if some[i].Manifest {
			p.removeManifest(ctx, &some[i])
		} else {
			p.removeTag(ctx, &some[i], now)
		}
		if err := context.Cause(ctx); err != nil {
			return err
		}
		if r := some[i].Result; some[i].Manifest && (r == Failed || r == Stays) {
			spare(f, some[i+1:], some[i].Digest)
		}
	}
	return nil
}

// confirm has stay what is not decided as it was: something came since, or went.
func (p *Pruning) confirm(f *shelf, some []Removal) {
	now := make(map[removalKey]Removal)
	for _, r := range f.removals() {
		now[r.key()] = r
	}
	stays := maps.Clone(f.Manifests)
	for i := range some {
		r := &some[i]
		fresh, goes := now[r.key()]
		_, there := f.Manifests[r.Digest]
		switch {
		case !there:
			r.Result = Gone
		case !goes, r.Manifest && slices.ContainsFunc(fresh.Tags, func(tag string) bool { return !slices.Contains(r.Tags, tag) }):
			r.stay("it is not what it was when this was planned: plan again")
		case r.Manifest:
			delete(stays, r.Digest)
		}
	}
	spare(f, some, slices.Collect(maps.Keys(stays))...)
}

// spare has stay what manifests that stay lead to.
func spare(f *shelf, some []Removal, stays ...oci.Digest) {
	needed := make(map[oci.Digest]string)
	for _, d := range stays {
		f.walk(needed, d, "", func(d oci.Digest, yield func(oci.Digest, string)) {
			for _, to := range f.leadsTo(d) {
				yield(to, "")
			}
		})
	}
	for i := range some {
		r := &some[i]
		if _, ok := needed[r.Digest]; ok && r.Manifest && r.Result == Planned {
			r.stay("something that stays leads to it")
		}
	}
}

// removeManifest deletes a manifest with its tags, if these lead to it still.
func (p *Pruning) removeManifest(ctx context.Context, r *Removal) {
	for _, tag := range r.Tags {
		if moved, err := p.moved(ctx, r, tag); err != nil {
			r.fail(err)
			return
		} else if moved {
			r.stay("its tag " + tag + " is something else by now")
			return
		}
	}
	r.done(p.cfg.Target.DeleteManifest(ctx, r.name, r.Digest))
}

// moved reports whether a tag leads elsewhere by now. One that is gone does not.
func (p *Pruning) moved(ctx context.Context, r *Removal, tag string) (bool, error) {
	now, err := p.cfg.Target.Resolve(ctx, r.name.WithTag(tag))
	if errors.Is(err, oci.ErrNotFound) {
		return false, nil
	}
	return err == nil && now.Digest != r.Digest, err
}

// removeTag deletes a tag by its name; the manifest stays.
func (p *Pruning) removeTag(ctx context.Context, r *Removal, now Stock) {
	if p.clumsy[r.name.Host] {
		r.stay("the registry deletes a manifest with any of its tags")
		return
	}
	m, err := p.cfg.Target.Manifest(ctx, r.name.WithDigest(r.Digest))
	if err != nil {
		r.fail(err)
		return
	}
	if moved, err := p.moved(ctx, r, r.Tags[0]); err != nil {
		r.fail(err)
		return
	} else if moved {
		r.stay("the tag is something else by now")
		return
	}
	err = p.cfg.Target.DeleteTag(ctx, r.name, r.Tags[0])
	if errors.Is(err, oci.ErrUnsupported) {
		r.stay("the registry cannot delete a tag without its manifest, which stays")
		return
	}
	if r.done(err); r.Result == Removed {
		p.checkStill(ctx, r, m, now)
	}
}

// checkStill puts a manifest back that a registry has deleted with one of its
// tags. The specification has that tag go alone, not all registries do.
func (p *Pruning) checkStill(ctx context.Context, r *Removal, m oci.Manifest, now Stock) {
	_, err := p.cfg.Target.Resolve(ctx, r.name.WithDigest(r.Digest))
	if !errors.Is(err, oci.ErrNotFound) {
		return
	}
	p.clumsy[r.name.Host] = true
	w, ok := p.cfg.Target.(oci.Writer)
	if !ok {
		r.fail(errors.New("the registry has deleted the manifest with its tag"))
		return
	}
	var tags []string
	for tag, d := range now.Tags {
		if d == r.Digest && tag != r.Tags[0] {
			tags = append(tags, tag)
		}
	}
	slices.Sort(tags)
	if err := w.PutManifest(ctx, r.name, m, tags...); err != nil {
		r.fail(fmt.Errorf("the registry has deleted the manifest with its tag; put it back: %w", err))
		return
	}
	r.Why = "the registry has deleted the manifest with its tag; it was put back"
}

// done notes how a deletion ended.
func (r *Removal) done(err error) {
	switch {
	case err == nil:
		r.Result = Removed
	case errors.Is(err, oci.ErrNotFound):
		r.Result = Gone
	default:
		r.fail(err)
	}
}

func (r *Removal) fail(err error) {
	r.Result, r.Error, r.Class = Failed, err.Error(), Class(err)
}

func (r *Removal) stay(why string) { r.Result, r.Why = Stays, why }
