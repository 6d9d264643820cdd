package cli

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"

	"github.com/entrepot/entrepot/layout"
	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
	"github.com/entrepot/entrepot/relocate"
)

// Archives are the images of one or several archives as one place: each with the
// one that it was made against. Its methods are safe for concurrent use. Whoever
// opened them closes them.
type archives struct {
	all   []*archive
	names map[ref.Ref]oci.Digest // :: name → manifest
}

var (
	_ oci.Reader        = (*archives)(nil)
	_ oci.Ranger        = (*archives)(nil)
	_ oci.Lister        = (*archives)(nil)
	_ oci.SubjectLister = (*archives)(nil)
)

// openArchives opens the archives that files, and layouts in directories, are
// the volumes of. Several may have an image of the same name: that of the archive
// that was made against the other one is meant.
func openArchives(args []string) (*archives, error) {
	groups, err := volumes(args)
	if err != nil {
		return nil, err
	}
	a := &archives{}
	for _, paths := range groups {
		one, err := openArchive(paths)
		if err != nil {
			return nil, errors.Join(failure(err, ""), a.Close())
		}
		a.all = append(a.all, one)
	}
	if a.names, err = a.choose(); err != nil {
		return nil, errors.Join(err, a.Close())
	}
	return a, nil
}

// Close closes all files.
func (a *archives) Close() error {
	var errs []error
	for _, one := range a.all {
		errs = append(errs, one.Close())
	}
	return errors.Join(errs...)
}

// choose returns what each name stands for.
func (a *archives) choose() (map[ref.Ref]oci.Digest, error) {
	holders := make(map[ref.Ref][]holder)
	for i, one := range a.all {
		for name, d := range one.names() {
			holders[name] = append(holders[name], holder{i, d})
		}
	}
	newer := make(map[[2]int]bool) // :: two archives → the first was made against the second
	for i, one := range a.all {
		for j, other := range a.all {
			newer[[2]int{i, j}] = i != j && one.madeAgainst(other)
		}
	}
	names := make(map[ref.Ref]oci.Digest, len(holders))
	var wrong []string
	for name, all := range holders {
		best, ok := newest(all, newer)
		if !ok {
			wrong = append(wrong, fmt.Sprintf("%s is %s in %s and %s in %s", name, all[0].digest, a.all[all[0].in].path, best.digest, a.all[best.in].path))
		}
		names[name] = best.digest
	}
	if len(wrong) > 0 {
		slices.Sort(wrong)
		return nil, &fault{exitConflict, errors.New("the archives have different images of one name:\n  " + strings.Join(wrong, "\n  ")), "nothing was written; load them one after the other, the newest last"}
	}
	return names, nil
}

// A holder is an archive that has an image of some name.
type holder struct {
	in     int // the archive
	digest oci.Digest
}

// newest returns the holder whose archive was made against those of all others
// that have another image. Where there is none it returns one of those that
// disagree with the first.
func newest(all []holder, newer map[[2]int]bool) (holder, bool) {
	odd := all[0]
	for _, one := range all {
		wins := true
		for _, other := range all {
			if other.digest != one.digest && (!newer[[2]int{one.in, other.in}] || newer[[2]int{other.in, one.in}]) {
				wins = false
			}
		}
		if wins {
			return one, true
		}
		if one.digest != odd.digest {
			odd = one
		}
	}
	return odd, false
}

// base returns what the archives leave out and none of them has, and where it
// should be at the target: in the repositories that a receipt has seen there, or
// in those of an earlier archive, by their names at the target.
func (a *archives) base(ctx context.Context, n *relocate.Naming) relocate.Base {
	base := make(relocate.Base)
	for _, one := range a.all {
		for _, b := range one.set.Base {
			if _, err := a.Stat(ctx, ref.Name{}, b.Digest); err == nil {
				continue
			}
			known := base[b.Digest]
			known.Size = b.Size
			known.Homes = append(known.Homes, homes(b.Repositories, n)...)
			base[b.Digest] = known
		}
	}
	return base
}

// homes returns where repositories are at the target: by the name itself, by
// what the naming makes of it, or by its path where the target had another host's
// name.
func homes(repositories []string, n *relocate.Naming) []ref.Name {
	host := n.Prefix().Host
	var first, all []ref.Name
	for _, s := range repositories {
		name, err := ref.ParseName(s)
		if err != nil {
			continue // then nobody can be asked for it
		}
		if name.Host == host {
			first = append(first, name)
			continue
		}
		if t, err := n.Target(name.WithTag("latest")); err == nil {
			all = append(all, t.Name)
		}
		all = append(all, ref.Name{Host: host, Path: name.Path})
	}
	return append(first, all...)
}

// find gives a name the digest that it stands for.
func (a *archives) find(r ref.Ref) (ref.Ref, error) {
	if r.Digest != "" {
		return r, nil
	}
	d, ok := a.names[r.WithDefaultTag()]
	if !ok {
		return r, oci.Errorf(oci.ErrNotFound, oci.CodeManifestUnknown, "%s has no %s", a, r)
	}
	return r.Name.WithDigest(d), nil
}

// has reports whether one of the archives has a manifest or a blob.
func (a *archives) has(d oci.Digest) bool {
	ctx := context.Background() // a file is asked
	_, err := a.Stat(ctx, ref.Name{}, d)
	if err != nil {
		_, err = a.Resolve(ctx, ref.Ref{Digest: d})
	}
	return !errors.Is(err, oci.ErrNotFound)
}

// String names the archives.
func (a *archives) String() string {
	var paths []string
	for _, one := range a.all {
		paths = append(paths, one.path)
	}
	return strings.Join(paths, ", ")
}

// Resolve is Manifest without the bytes.
func (a *archives) Resolve(ctx context.Context, r ref.Ref) (oci.Descriptor, error) {
	m, err := a.Manifest(ctx, r)
	if err != nil {
		return oci.Descriptor{}, err
	}
	return m.Descriptor(), nil
}

func (a *archives) Manifest(ctx context.Context, r ref.Ref) (oci.Manifest, error) {
	at, err := a.find(r)
	if err != nil {
		return oci.Manifest{}, err
	}
	return ask(a, func(one *archive) (oci.Manifest, error) { return one.Manifest(ctx, at) })
}

func (a *archives) Stat(ctx context.Context, n ref.Name, d oci.Digest) (oci.Descriptor, error) {
	return ask(a, func(one *archive) (oci.Descriptor, error) { return one.Stat(ctx, n, d) })
}

func (a *archives) Blob(ctx context.Context, n ref.Name, d oci.Digest, off int64) (oci.Blob, error) {
	return ask(a, func(one *archive) (oci.Blob, error) { return one.Blob(ctx, n, d, off) })
}

func (a *archives) BlobRange(ctx context.Context, n ref.Name, d oci.Digest, off, end int64) (oci.Blob, error) {
	return ask(a, func(one *archive) (oci.Blob, error) {
		if r, ok := one.stored.(oci.Ranger); ok {
			return r.BlobRange(ctx, n, d, off, end)
		}
		return one.Blob(ctx, n, d, off)
	})
}

// ask asks the archives one after the other for something that any of them may
// have. Their error is that of the last one.
func ask[T any](a *archives, f func(*archive) (T, error)) (got T, err error) {
	for _, one := range a.all {
		if got, err = f(one); err == nil || !errors.Is(err, oci.ErrNotFound) {
			return got, err
		}
	}
	return got, err
}

// Tags lists the tags that the archives know of a repository.
func (a *archives) Tags(_ context.Context, n ref.Name, after string) iter.Seq2[string, error] {
	tags, known := map[string]bool{}, false
	for r := range a.names {
		if r.Name == n {
			known = true
			tags[r.Tag] = r.Tag > after
		}
	}
	return func(yield func(string, error) bool) {
		if !known {
			yield("", oci.Errorf(oci.ErrNotFound, oci.CodeNameUnknown, "%s has no repository %s", a, n))
			return
		}
		for _, tag := range slices.Sorted(maps.Keys(tags)) {
			if tags[tag] && !yield(tag, nil) {
				return
			}
		}
	}
}

// Subjects returns what refers to a manifest in any of the archives.
func (a *archives) Subjects(ctx context.Context, n ref.Name, d oci.Digest) ([]oci.Descriptor, error) {
	var found []oci.Descriptor
	for _, one := range a.all {
		some, err := one.Subjects(ctx, n, d)
		if err != nil {
			return nil, err
		}
		for _, s := range some {
			if !slices.ContainsFunc(found, func(o oci.Descriptor) bool { return o.Digest == s.Digest }) {
				found = append(found, s)
			}
		}
	}
	return found, nil
}

// An archive is one of several, or the only one.
type archive struct {
	stored
	path    string // as errors call it
	set     layout.SetManifest
	entries []layout.Entry
	said    map[string][]layout.SetImage // :: name → what the set says of it
}

// stored is what an archive, and a layout in a directory, can be asked.
type stored interface {
	oci.Reader
	oci.SubjectLister
	Close() error
}

// names returns the names that an archive has, with the digests they stand for:
// those of images, and the tags by which signatures are found.
func (a *archive) names() map[ref.Ref]oci.Digest {
	names := make(map[ref.Ref]oci.Digest)
	for _, e := range a.entries {
		if e.Ref.Path != "" {
			names[e.Ref.WithDefaultTag()] = e.Descriptor.Digest
		}
	}
	for _, i := range a.set.Images {
		if r, err := ref.Parse(i.Name); err == nil && isWhole(i.Name) {
			names[r.WithDefaultTag()] = i.Digest
		}
	}
	return names
}

// isWhole reports whether a name is that of an image, and not a tag alone.
func isWhole(name string) bool { return strings.ContainsAny(name, "/:@") }

// images returns the names of the images that an archive is there for. One that
// has none is an error, as nobody knows where it goes.
func (a *archive) images() ([]string, error) {
	if a.set.Version != 0 {
		names := []string{}
		for _, i := range a.set.Images {
			if !isWhole(i.Name) {
				return nil, a.nameless(i.Name, i.Digest)
			}
			names = append(names, i.Name)
		}
		return names, nil
	}
	names, known := []string{}, make(map[oci.Digest]bool)
	for _, e := range a.entries {
		if e.Ref.Path != "" && !isReferrersTag(e.Ref.Tag) {
			names = append(names, e.Ref.String())
			known[e.Descriptor.Digest] = true
		}
	}
	for _, e := range a.entries {
		if e.Ref.Path == "" && !isReferrersTag(e.Ref.Tag) && !known[e.Descriptor.Digest] {
			return nil, a.nameless(e.Ref.Tag, e.Descriptor.Digest)
		}
	}
	if len(names) == 0 {
		return nil, failure(fmt.Errorf("%s has no image", a.path), "")
	}
	return names, nil
}

// nameless explains how an image that has a tag at most is moved.
func (a *archive) nameless(tag string, d oci.Digest) error {
	at, what := "@"+string(d), "an image without a name"
	if tag != "" {
		at, what = ":"+tag, fmt.Sprintf("an image that is called %q and has no name", tag)
	}
	kind := "oci-archive:"
	if isDir(a.path) {
		kind = "oci:"
	}
	return failure(fmt.Errorf("%s has %s, %s", a.path, what, d),
		"say yourself where it goes: entrepot copy "+kind+a.path+at+" REGISTRY/NAME:TAG; or save it again with its whole name")
}

// madeAgainst reports whether something that a leaves out is in another one.
func (a *archive) madeAgainst(other *archive) bool {
	for _, b := range a.set.Base {
		if _, err := other.Stat(context.Background(), ref.Name{}, b.Digest); err == nil {
			return true
		}
	}
	return false
}
