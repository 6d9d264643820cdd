package relocate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
	ispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// cosignSuffixes are those of the tags under which cosign keeps what belongs
// to a manifest: "sha256-<hex>.sig" for "sha256:<hex>".
var cosignSuffixes = []string{".sig", ".att", ".sbom"}

// cosignTag returns the tag of cosign's for a manifest.
func cosignTag(d oci.Digest, suffix string) string {
	return strings.Replace(string(d), ":", "-", 1) + suffix
}

// referrers copies what refers to the manifests of an image, what refers to
// that, and so on.
func (g *graph) referrers(ctx context.Context) error {
	tags, err := g.tagsOf(ctx, g.from)
	if err != nil {
		return err
	}
	g.sparse = false
	for done := 0; ; {
		g.img.mu.Lock()
		some := slices.Clone(g.img.closure[done:])
		g.img.mu.Unlock()
		if len(some) == 0 {
			return nil
		}
		done += len(some)
		err := together(len(some), func(i int) error { return g.refersTo(ctx, some[i], tags) })
		if err != nil {
			return err
		}
	}
}

// refersTo copies what refers to one manifest. What it finds becomes part of
// the image's closure.
func (g *graph) refersTo(ctx context.Context, m oci.Manifest, tags *tagList) error {
	found, err := g.subjects(ctx, m.Digest, tags)
	if err != nil {
		return fmt.Errorf("list what refers to %s: %w", m.Digest, err)
	}
	if m.Digest == g.img.root.Digest {
		g.img.mu.Lock()
		g.img.subjects = found
		g.img.mu.Unlock()
	}
	err = together(len(found), func(i int) error {
		one, err := g.child(ctx, found[i])
		if err != nil {
			return err
		}
		return g.place(ctx, one, false)
	})
	if err != nil {
		return err
	}
	if err := g.listAtTarget(ctx, m.Digest, found); err != nil {
		return err
	}
	n := len(found)
	for _, suffix := range cosignSuffixes {
		got, err := g.cosign(ctx, cosignTag(m.Digest, suffix), tags)
		if err != nil {
			return err
		}
		n += got
	}
	g.img.mu.Lock()
	g.img.referrers += n
	g.img.mu.Unlock()
	return nil
}

// cosign copies what stands under one of cosign's tags, and returns how much
// there was: one or nothing.
func (g *graph) cosign(ctx context.Context, tag string, tags *tagList) (int, error) {
	if !tags.may(tag) {
		return 0, nil
	}
	at := g.from.WithTag(tag)
	m, _, err := g.read.do(ctx, at, func() (oci.Manifest, error) { return g.cfg.Source.Manifest(ctx, at) })
	if errors.Is(err, oci.ErrNotFound) && !tags.all {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read %s: %w", at, err)
	}
	if err := g.place(ctx, m, false); err != nil {
		return 0, err
	}
	g.img.saw(tag, m.Digest)
	there, err := g.existing(ctx, g.to.WithTag(tag))
	if err == nil && there != m.Digest {
		g.img.later(tagged{g.to, tag, m})
	}
	return 1, err
}

// subjects returns what refers to a manifest of the source: what the referrers
// API says, or where there is none the list under the fallback tag.
func (g *graph) subjects(ctx context.Context, d oci.Digest, tags *tagList) ([]oci.Descriptor, error) {
	if l, ok := g.cfg.Source.(oci.SubjectLister); ok {
		found, err := l.Subjects(ctx, g.from, d)
		if !errors.Is(err, oci.ErrUnsupported) {
			return found, err
		}
		tag := oci.FallbackTag(d)
		if !tags.may(tag) {
			return nil, nil
		}
		found, is, err := fallback(ctx, g.cfg.Source, g.from.WithTag(tag))
		if is != "" {
			g.img.saw(tag, is)
		}
		return found, err
	}
	if l, ok := g.cfg.Source.(oci.ReferrersLister); ok {
		return l.Referrers(ctx, g.from, d, "")
	}
	return nil, nil
}

// fallback reads a list of referrers under its tag, and returns its digest. None
// is no error.
func fallback(ctx context.Context, from oci.Reader, at ref.Ref) ([]oci.Descriptor, oci.Digest, error) {
	m, err := from.Manifest(ctx, at)
	if errors.Is(err, oci.ErrNotFound) {
		return nil, "", nil
	}
	if err != nil {
		return nil, "", err
	}
	links, err := m.Links()
	return links.Manifests, m.Digest, err
}

// listAtTarget makes the referrers findable at a target that has no referrers
// API: the index under the fallback tag gets those that it lacks
// (distribution-spec 1.1, "Pushing Manifests with Subject").
func (g *graph) listAtTarget(ctx context.Context, subject oci.Digest, found []oci.Descriptor) error {
	var missing []oci.Descriptor
	for _, d := range found {
		if _, ok := g.listed.Load(placed{g.to, d.Digest}); !ok {
			missing = append(missing, d)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	if l, ok := g.cfg.Target.(oci.SubjectLister); ok {
		there, err := l.Subjects(ctx, g.to, subject)
		if err == nil && lists(there, missing) {
			return nil // they were there before, and nothing was pushed that could have said so
		}
		if err != nil && !errors.Is(err, oci.ErrUnsupported) {
			return fmt.Errorf("list what refers to %s: %w", subject, err)
		}
	} else if _, ok := g.cfg.Target.(oci.Pusher); !ok {
		return nil // a place of ours, which finds them by itself
	}
	at := g.to.WithTag(oci.FallbackTag(subject))
	all, _, err := fallback(ctx, g.cfg.Target, at)
	if err != nil {
		return fmt.Errorf("read %s: %w", at, err)
	}
	if lists(all, missing) {
		return nil
	}
	for _, d := range missing {
		if !lists(all, []oci.Descriptor{d}) {
			all = append(all, d)
		}
	}
	m, err := indexOf(all)
	if err != nil {
		return err
	}
	g.img.later(tagged{g.to, at.Tag, m})
	return nil
}

// lists reports whether all of some are in a list.
func lists(all, some []oci.Descriptor) bool {
	for _, d := range some {
		if !slices.ContainsFunc(all, func(a oci.Descriptor) bool { return a.Digest == d.Digest }) {
			return false
		}
	}
	return true
}

func indexOf(all []oci.Descriptor) (oci.Manifest, error) {
	index := ispec.Index{MediaType: oci.TypeImageIndex, Manifests: all}
	index.SchemaVersion = 2
	raw, err := json.Marshal(index)
	return oci.Manifest{MediaType: oci.TypeImageIndex, Digest: oci.FromBytes(raw, ""), Raw: raw}, err
}

// A tagList is the tags of a repository of the source that may be about its
// manifests.
type tagList struct {
	all  bool // tags are all that there are; otherwise each is asked for
	tags map[string]bool
}

func (t *tagList) may(tag string) bool { return !t.all || t.tags[tag] }

// tagsOf lists once what a repository of the source has.
func (r *run) tagsOf(ctx context.Context, n ref.Name) (*tagList, error) {
	one, _, err := r.tags.do(ctx, n, func() (*tagList, error) {
		l, ok := r.cfg.Source.(oci.Lister)
		if !ok {
			return &tagList{}, nil
		}
		found := &tagList{all: true, tags: map[string]bool{}}
		for tag, err := range l.Tags(ctx, n, "") {
			switch {
			case err != nil && (ctx.Err() != nil || errors.Is(err, oci.ErrUnavailable)):
				return nil, fmt.Errorf("list the tags of %s: %w", n, err)
			case err != nil:
				return &tagList{}, nil // it may not be listed
			}
			if strings.HasPrefix(tag, "sha256-") || strings.HasPrefix(tag, "sha512-") {
				found.tags[tag] = true
			}
		}
		return found, nil
	})
	return one, err
}
