package relocate

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/entrepot/entrepot/oci"
	ispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// A Platform chooses images of an index. Its zero fields choose any.
type Platform struct {
	OS           string
	Architecture string
	Variant      string
}

// ParsePlatform reads "linux/amd64" or "linux/arm/v7".
func ParsePlatform(s string) (Platform, error) {
	parts := strings.Split(s, "/")
	if len(parts) < 2 || len(parts) > 3 || slices.Contains(parts, "") {
		return Platform{}, fmt.Errorf("platform %q is not of the form os/architecture[/variant]", s)
	}
	p := Platform{OS: parts[0], Architecture: parts[1]}
	if len(parts) == 3 {
		p.Variant = parts[2]
	}
	return p, nil
}

// String returns the form that [ParsePlatform] reads.
func (p Platform) String() string {
	s := p.OS + "/" + p.Architecture
	if p.Variant != "" {
		s += "/" + p.Variant
	}
	return s
}

func (p Platform) matches(q *ispec.Platform) bool {
	return q != nil && p.OS == q.OS && p.Architecture == q.Architecture && (p.Variant == "" || p.Variant == q.Variant)
}

// The annotations by which BuildKit's attestations name their image in the
// same index.
const (
	attestationOf   = "vnd.docker.reference.digest"
	attestationType = "vnd.docker.reference.type"
)

// platforms returns those that are wanted of an image; none means all.
func (c Config) platforms(p Pair) []Platform {
	if len(p.Platforms) > 0 {
		return p.Platforms
	}
	return c.Platforms
}

// chosen returns the images of an index that are wanted, with the attestations
// that go with them.
func chosen(wanted []Platform, all []oci.Descriptor) []oci.Descriptor {
	var some []oci.Descriptor
	taken := map[string]bool{}
	for _, d := range all {
		if slices.ContainsFunc(wanted, func(p Platform) bool { return p.matches(d.Platform) }) {
			some = append(some, d)
			taken[string(d.Digest)] = true
		}
	}
	for _, d := range all {
		if d.Annotations[attestationType] != "" && taken[d.Annotations[attestationOf]] {
			some = append(some, d)
		}
	}
	return some
}

// images returns those of an index that are copied: of the chosen ones those that
// the source has.
func (c Config) images(p Pair, all []oci.Descriptor) []oci.Descriptor {
	if wanted := c.platforms(p); len(wanted) > 0 {
		all = chosen(wanted, all)
	}
	if c.Lacks == nil {
		return all
	}
	return slices.DeleteFunc(slices.Clone(all), func(d oci.Descriptor) bool { return c.Lacks(p.Source.Name, d.Digest) })
}

// scope says what of an index is copied, "" for all. What was finished for one
// scope is not finished for another.
func (c Config) scope(p Pair) string {
	wanted := c.platforms(p)
	if len(wanted) == 0 {
		return ""
	}
	var names []string
	for _, p := range wanted {
		names = append(names, p.String())
	}
	slices.Sort(names)
	s := strings.Join(slices.Compact(names), ",")
	if c.TrimIndex {
		s += " trimmed"
	}
	return s
}

// prepare applies the choice of platforms to the image.
func (g *graph) prepare(context.Context) error {
	wanted := g.cfg.platforms(g.img.pair)
	if len(wanted) == 0 && g.cfg.Lacks == nil || !oci.IsIndex(g.img.root.MediaType) {
		return nil
	}
	links, err := g.img.root.Links()
	if err != nil || len(links.Manifests) == 0 {
		return err
	}
	some := g.cfg.images(g.img.pair, links.Manifests)
	if len(some) == 0 {
		return g.noPlatform(links.Manifests)
	}
	g.img.partial = len(wanted) == 0 && len(some) < len(links.Manifests) || len(wanted) > 0 && len(some) < len(chosen(wanted, links.Manifests))
	if len(some) == len(links.Manifests) {
		return nil
	}
	if len(wanted) == 0 || !g.cfg.TrimIndex {
		g.sparse = true
		return nil
	}
	g.img.root, err = trim(g.img.root, some)
	return err
}

// noPlatform says that nothing of an index is to be copied.
func (g *graph) noPlatform(all []oci.Descriptor) error {
	has := Config{Lacks: g.cfg.Lacks}.images(Pair{Source: g.img.pair.Source}, all)
	if len(g.cfg.platforms(g.img.pair)) == 0 || len(has) == 0 {
		return oci.Errorf(oci.ErrNotFound, oci.CodeManifestUnknown, "the source has none of the %d images of the index", len(all))
	}
	return oci.Errorf(oci.ErrNotFound, oci.CodeManifestUnknown, "the image has no platform of %s; it has %s", g.cfg.scope(g.img.pair), platformsOf(has))
}

func platformsOf(all []oci.Descriptor) string {
	var names []string
	for _, d := range all {
		if d.Platform != nil && d.Platform.OS != "unknown" {
			names = append(names, Platform{d.Platform.OS, d.Platform.Architecture, d.Platform.Variant}.String())
		}
	}
	return strings.Join(names, ", ")
}

// trim returns the index with some of its manifests alone. The bytes of their
// descriptors, and of all else in the index, stay as they are.
func trim(m oci.Manifest, some []oci.Descriptor) (oci.Manifest, error) {
	var doc map[string]json.RawMessage
	if err := json.Unmarshal(m.Raw, &doc); err != nil {
		return oci.Manifest{}, oci.Errorf(oci.ErrInvalid, oci.CodeManifestInvalid, "read index: %w", err)
	}
	var items []json.RawMessage
	if err := json.Unmarshal(doc["manifests"], &items); err != nil {
		return oci.Manifest{}, oci.Errorf(oci.ErrInvalid, oci.CodeManifestInvalid, "read index: %w", err)
	}
	var kept []json.RawMessage
	for _, item := range items {
		var d oci.Descriptor
		if err := json.Unmarshal(item, &d); err != nil {
			return oci.Manifest{}, oci.Errorf(oci.ErrInvalid, oci.CodeManifestInvalid, "read index: %w", err)
		}
		if slices.ContainsFunc(some, func(s oci.Descriptor) bool { return s.Digest == d.Digest }) {
			kept = append(kept, item)
		}
	}
	list, err := json.Marshal(kept)
	if err != nil {
		return oci.Manifest{}, err
	}
	doc["manifests"] = list
	raw, err := json.Marshal(doc)
	if err != nil {
		return oci.Manifest{}, err
	}
	return oci.Manifest{MediaType: m.MediaType, Digest: oci.FromBytes(raw, m.Digest), Raw: raw}, nil
}
