package store

import (
	"context"
	"errors"
	"iter"
	"slices"
	"strings"

	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
)

// Tags yields the tags of a repository after the given one, in ASCII order. A
// repository that has neither tags nor manifests nor blobs is ErrNotFound with
// NAME_UNKNOWN.
func (v *Vault) Tags(ctx context.Context, n ref.Name, after string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		n.Host = ""
		tags, err := v.listTags(ctx, n)
		if err == nil && len(tags) == 0 {
			err = v.known(ctx, n)
		}
		if err != nil {
			yield("", err)
			return
		}
		for _, tag := range tags {
			if tag > after && !yield(tag, nil) {
				return
			}
		}
	}
}

// listTags returns all tags in ASCII order, which escaping does not keep.
func (v *Vault) listTags(ctx context.Context, n ref.Name) ([]string, error) {
	prefix, err := vaultPrefix("t", n)
	if err != nil {
		return nil, err
	}
	var tags []string
	for e, err := range v.store.bucket.List(ctx, prefix, "", false) {
		if err != nil {
			return nil, err
		}
		if tag, ok := unescapeTag(strings.TrimPrefix(e.Key, prefix)); ok {
			tags = append(tags, tag)
		}
	}
	slices.Sort(tags)
	return tags, nil
}

// known returns nil where there is anything in the repository.
func (v *Vault) known(ctx context.Context, n ref.Name) error {
	for _, kind := range []string{"m", "l"} {
		prefix, err := vaultPrefix(kind, n)
		if err != nil {
			return err
		}
		for _, err := range v.store.bucket.List(ctx, prefix, "", false) {
			return err
		}
	}
	return oci.Errorf(oci.ErrNotFound, oci.CodeNameUnknown, "there is no repository %s", n.Path)
}

// Repositories yields the repositories that have a manifest, in ASCII order.
func (v *Vault) Repositories(ctx context.Context, after string) iter.Seq2[string, error] {
	return v.store.repositories(ctx, "m", after)
}

// repositories yields the repositories of the vault that have records of a
// kind.
func (s *Store) repositories(ctx context.Context, kind, after string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		w := repoWalk{s: s, ctx: ctx, kind: kind, after: after, yield: yield}
		w.below("")
	}
}

// A repoWalk is one run of repositories.
type repoWalk struct {
	s           *Store
	ctx         context.Context // of the one call that the walk is
	kind, after string
	yield       func(string, error) bool
}

// below visits the repositories below dir, "" or ending in '/', and reports
// whether to go on.
//
// The order is that of the paths' bytes: a, a-b, a/c. So a component is met
// twice: as a repository at its name, and as a directory at its name and '/'.
func (w *repoWalk) below(dir string) bool {
	prefix := "v/" + w.kind + "/" + dir
	var at []string
	for e, err := range w.s.bucket.List(w.ctx, prefix, "", false) {
		if err != nil {
			w.yield("", err)
			return false
		}
		name, isDir := strings.CutSuffix(strings.TrimPrefix(e.Key, prefix), "/")
		if isDir && !strings.HasPrefix(name, "_") {
			at = append(at, dir+name, dir+name+"/")
		}
	}
	slices.Sort(at)
	for _, path := range at {
		if !w.visit(path) {
			return false
		}
	}
	return true
}

func (w *repoWalk) visit(path string) bool {
	if strings.HasSuffix(path, "/") {
		if path < w.after && !strings.HasPrefix(w.after, path) {
			return true // all below comes before
		}
		return w.below(path)
	}
	if path <= w.after {
		return true
	}
	for _, err := range w.s.bucket.List(w.ctx, "v/"+w.kind+"/"+path+"/_"+w.kind+"/", "", false) {
		return w.yield(path, err) && err == nil
	}
	return true
}

// Referrers returns the descriptors of the manifests whose subject is d, in
// the order of their digests.
func (v *Vault) Referrers(ctx context.Context, n ref.Name, d oci.Digest, artifactType string) ([]oci.Descriptor, error) {
	n.Host = ""
	prefix, err := vaultPrefixOf("r", n, d)
	if err != nil {
		return nil, err
	}
	var all []oci.Descriptor
	for e, err := range v.store.bucket.List(ctx, prefix, "", false) {
		if err != nil {
			return nil, err
		}
		from, err := unflat(strings.TrimPrefix(e.Key, prefix))
		if err != nil {
			continue // not ours
		}
		m, err := v.Manifest(ctx, n.WithDigest(from))
		if errors.Is(err, oci.ErrNotFound) {
			continue // an entry whose manifest was not stored, or was deleted
		}
		if err != nil {
			return nil, err
		}
		links, err := m.Links()
		if err != nil {
			return nil, err
		}
		if artifactType != "" && links.ArtifactType != artifactType {
			continue
		}
		desc := m.Descriptor()
		desc.ArtifactType, desc.Annotations = links.ArtifactType, links.Annotations
		all = append(all, desc)
	}
	return all, nil
}
