package layout

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
	"golang.org/x/sync/errgroup"
)

// maxProblems is how many problems one look at an archive tells of.
const maxProblems = 100

// Verify looks whether an archive is whole: whether everything that its names
// lead to is there, with its size, and every manifest is what its digest says.
// With deep it reads everything and holds it against its digest. What the set
// says was left out, layers that stay where their URLs say, and platforms that
// were not copied are not missed. The error joins all problems, up to a
// hundred, each of one of the kinds of package oci.
func (a *Archive) Verify(ctx context.Context, deep bool) error {
	var p problems
	a.walk(&p)
	if !deep {
		return p.join()
	}
	if a.set.Version == 0 {
		return errors.Join(p.join(), a.hash(ctx, slices.Sorted(maps.Keys(a.content))))
	}
	for _, v := range a.volumes {
		p.add(v.verify(ctx))
	}
	var cut []oci.Digest
	for _, c := range a.set.Blobs {
		if len(c.Parts) > 0 {
			cut = append(cut, c.Digest)
		}
	}
	return errors.Join(p.join(), a.hash(ctx, cut))
}

// VerifyVolume reads one volume of an archive and holds everything in it
// against its digest. It needs none of the others; that they belong together
// is what [OpenArchive] finds out.
func VerifyVolume(ctx context.Context, path string) error {
	v, err := openVolume(path)
	if err != nil {
		return err
	}
	defer v.file.Close() // it was only read
	if err := v.identify(); err != nil {
		return err
	}
	return v.verify(ctx)
}

// problems are what is wrong, in the order in which it was found.
type problems struct {
	mu   sync.Mutex
	errs []error
}

func (p *problems) add(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil && len(p.errs) < maxProblems {
		p.errs = append(p.errs, err)
	}
}

func (p *problems) join() error { return errors.Join(p.errs...) }

// walk follows everything from its names. What is still to be looked at stands
// in a list: an archive could nest indexes deeper than a stack.
func (a *Archive) walk(p *problems) {
	var todo []oci.Descriptor
	for _, n := range a.named {
		todo = append(todo, n.Descriptor)
	}
	for _, c := range a.set.Manifests {
		todo = append(todo, oci.Descriptor{Digest: c.Digest, Size: c.Size, MediaType: c.MediaType})
	}
	seen := make(map[oci.Digest]bool)
	for len(todo) > 0 {
		d := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if seen[d.Digest] {
			continue
		}
		seen[d.Digest] = true
		more, err := a.visit(d, p)
		p.add(err)
		todo = append(todo, more...)
	}
	for _, i := range a.set.Images {
		if !seen[i.Digest] {
			p.add(oci.Errorf(oci.ErrNotFound, oci.CodeManifestUnknown, "%s: the archive has no %s", i.Name, i.Digest))
		}
	}
}

// visit looks at a manifest and its blobs, and returns the manifests that it
// leads to.
func (a *Archive) visit(d oci.Descriptor, p *problems) ([]oci.Descriptor, error) {
	m, err := a.Manifest(context.Background(), ref.Ref{Digest: d.Digest})
	if err != nil {
		return nil, err
	}
	if d.Size > 0 && d.Size != int64(len(m.Raw)) {
		return nil, oci.Errorf(oci.ErrMismatch, oci.CodeSizeInvalid, "%s has %d bytes, and is listed with %d", d.Digest, len(m.Raw), d.Size)
	}
	links, err := m.Links()
	if errors.Is(err, oci.ErrUnsupported) {
		return nil, nil // nobody knows what it refers to
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", d.Digest, err)
	}
	for _, b := range links.Blobs() {
		p.add(a.present(d.Digest, b))
	}
	return a.children(d.Digest, links.Manifests)
}

// present looks whether a blob of a manifest is there.
func (a *Archive) present(of oci.Digest, d oci.Descriptor) error {
	x, ok := a.content[d.Digest]
	_, left := a.base[d.Digest]
	switch {
	case ok && x.size() != d.Size:
		return oci.Errorf(oci.ErrMismatch, oci.CodeSizeInvalid, "%s of %s has %d bytes, and is listed with %d", d.Digest, of, x.size(), d.Size)
	case ok, left, len(d.URLs) > 0, strings.Contains(d.MediaType, ".nondistributable."), strings.Contains(d.MediaType, ".foreign."):
		return nil
	}
	return oci.Errorf(oci.ErrNotFound, oci.CodeBlobUnknown, "%s of %s is missing", d.Digest, of)
}

// children returns the images of an index that are there. Platforms that nobody
// copied are not; an index without any is of no use.
func (a *Archive) children(of oci.Digest, list []oci.Descriptor) ([]oci.Descriptor, error) {
	here := slices.DeleteFunc(slices.Clone(list), func(d oci.Descriptor) bool { return a.content[d.Digest] == nil && a.made[d.Digest] == nil })
	if len(list) > 0 && len(here) == 0 {
		return nil, oci.Errorf(oci.ErrNotFound, oci.CodeManifestUnknown, "the archive has none of the %d images of %s", len(list), of)
	}
	return here, nil
}

// hash reads content, several at once.
func (a *Archive) hash(ctx context.Context, all []oci.Digest) error {
	var p problems
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(runtime.GOMAXPROCS(0))
	for _, d := range all {
		group.Go(func() error {
			p.add(hashAt(ctx, a.content[d], d))
			return ctx.Err()
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return p.join()
}

// hashAt holds content against a digest.
func hashAt(ctx context.Context, x extents, d oci.Digest) error {
	r := live{ctx, oci.VerifyReader(io.NewSectionReader(x, 0, x.size()), d, x.size())}
	_, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, r, make([]byte, 1<<20))
	return err
}

// verify holds what is in a volume against its sums.
func (v *volume) verify(ctx context.Context) error {
	var sums volumeSums
	if err := v.decode(sumsFile, &sums); err != nil {
		return fmt.Errorf("%s: %w", v.path, err)
	}
	var p problems
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(runtime.GOMAXPROCS(0))
	for _, s := range sums.Entries {
		group.Go(func() error {
			if err := v.verifyEntry(ctx, s); err != nil {
				p.add(fmt.Errorf("%s: %s: %w", v.path, s.Name, err))
			}
			return ctx.Err()
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	slices.SortFunc(p.errs, func(x, y error) int { return strings.Compare(x.Error(), y.Error()) })
	return p.join()
}

func (v *volume) verifyEntry(ctx context.Context, s volumeSum) error {
	at, err := v.find(s.Name)
	if err != nil {
		return err
	}
	if at.Size != s.Size {
		return oci.Errorf(oci.ErrMismatch, oci.CodeSizeInvalid, "it has %d bytes, not %d", at.Size, s.Size)
	}
	if _, err := ref.ParseDigest(string(s.Digest)); err != nil {
		return oci.Errorf(oci.ErrInvalid, oci.CodeDigestInvalid, "%w", err)
	}
	return hashAt(ctx, extents{{v.file, at.Offset, at.Size}}, s.Digest)
}
