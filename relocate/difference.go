package relocate

import (
	"cmp"
	"encoding/json"
	"errors"
	"slices"
	"strings"

	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
)

// A Side is one of two things that are compared: what a set names, what an
// archive or a destination holds, what a plan would do. Drafts, receipts and
// forecasts have a method that makes one.
type Side struct {
	// Originals are the images by their original names, Targets by those that
	// they have at a destination; nil where a side does not know them. A plan
	// knows both.
	Originals, Targets map[string]oci.Digest
	// Manifests and Blobs are by their digests, with their sizes; nil where a
	// side does not know them.
	Manifests, Blobs map[oci.Digest]int64
	// Elsewhere are blobs that an archive has left out because the other end has
	// them: they are missed nowhere.
	Elsewhere map[oci.Digest]bool
}

// A Difference is what two sides do not have in common. Its lists are sorted, and
// never nil.
type Difference struct {
	Images    ImageDifference   `json:"images"`
	Manifests ContentDifference `json:"manifests"`
	Blobs     ContentDifference `json:"blobs"`
}

// An ImageDifference is about what images are called, and what they are.
type ImageDifference struct {
	OnlyA   []NamedImage   `json:"only_a"`
	OnlyB   []NamedImage   `json:"only_b"`
	Changed []ChangedImage `json:"changed"`
}

// A NamedImage is an image that one side has.
type NamedImage struct {
	Name   string     `json:"name"`
	Digest oci.Digest `json:"digest"` // "" where it is not known
}

// A ChangedImage is a name that is two images.
type ChangedImage struct {
	Name string     `json:"name"`
	A    oci.Digest `json:"a"`
	B    oci.Digest `json:"b"`
}

// A ContentDifference is about manifests, or blobs. It is empty where one of the
// sides does not know them.
type ContentDifference struct {
	Compared   bool     `json:"compared"`
	OnlyA      []Stored `json:"only_a"`
	OnlyB      []Stored `json:"only_b"`
	OnlyABytes int64    `json:"only_a_bytes"`
	OnlyBBytes int64    `json:"only_b_bytes"`
}

// Equal reports whether there is no difference.
func (d Difference) Equal() bool {
	i := d.Images
	return len(i.OnlyA)+len(i.OnlyB)+len(i.Changed)+len(d.Manifests.OnlyA)+len(d.Manifests.OnlyB)+len(d.Blobs.OnlyA)+len(d.Blobs.OnlyB) == 0
}

// Diff compares two sides. Images are compared by the names that both know. Where
// one side knows original names alone and the other those at a destination, an
// image is on the other side when its manifest is, under whatever name.
func Diff(a, b Side) Difference {
	d := Difference{
		Manifests: contentDiff(a.Manifests, b.Manifests, nil, nil),
		Blobs:     contentDiff(a.Blobs, b.Blobs, a.Elsewhere, b.Elsewhere),
	}
	switch {
	case a.Originals != nil && b.Originals != nil:
		d.Images = imageDiff(a, b, a.Originals, b.Originals)
	case a.Targets != nil && b.Targets != nil:
		d.Images = imageDiff(a, b, a.Targets, b.Targets)
	default: // no name means the same on both sides
		d.Images = imageDiff(a, b, a.names(), nil)
		d.Images.OnlyB = imageDiff(b, a, b.names(), nil).OnlyA
	}
	return d
}

// names returns the names that a side has.
func (s Side) names() map[string]oci.Digest {
	if s.Originals != nil {
		return s.Originals
	}
	return s.Targets
}

// has returns the manifests that a side has, as far as it knows.
func (s Side) has() map[oci.Digest]bool {
	has := map[oci.Digest]bool{}
	for digest := range s.Manifests {
		has[digest] = true
	}
	for _, names := range []map[string]oci.Digest{s.Originals, s.Targets} {
		for _, digest := range names {
			has[digest] = true
		}
	}
	delete(has, "")
	return has
}

// imageDiff compares names of two sides. What has no name that both know, as an
// image by its digest alone, is there where its manifest is.
func imageDiff(a, b Side, inA, inB map[string]oci.Digest) ImageDifference {
	d := ImageDifference{OnlyA: onlyNamed(inA, inB, b), OnlyB: onlyNamed(inB, inA, a), Changed: []ChangedImage{}}
	for name, digest := range inA {
		if other, ok := inB[name]; ok && other != digest {
			d.Changed = append(d.Changed, ChangedImage{name, digest, other})
		}
	}
	slices.SortFunc(d.Changed, func(a, b ChangedImage) int { return cmp.Compare(a.Name, b.Name) })
	return d
}

func onlyNamed(names, others map[string]oci.Digest, other Side) []NamedImage {
	some, has := []NamedImage{}, other.has()
	for name, digest := range names {
		_, named := others[name]
		if named || has[digest] && (others == nil || strings.Contains(name, "@")) {
			continue
		}
		some = append(some, NamedImage{name, digest})
	}
	slices.SortFunc(some, func(a, b NamedImage) int { return cmp.Compare(a.Name, b.Name) })
	return some
}

// call notes what an image is called: by its tag where it has one. Tags that lead
// to signatures and referrers are no images.
func call(names map[string]oci.Digest, r ref.Ref, digest oci.Digest) {
	switch {
	case taken.MatchString(r.Tag):
	case r.Tag != "":
		names[r.Name.WithTag(r.Tag).String()] = digest
	default:
		names[r.String()] = digest
	}
}

func contentDiff(a, b map[oci.Digest]int64, elsewhereA, elsewhereB map[oci.Digest]bool) ContentDifference {
	d := ContentDifference{OnlyA: []Stored{}, OnlyB: []Stored{}}
	if a == nil || b == nil {
		return d
	}
	d.Compared = true
	d.OnlyA, d.OnlyABytes = only(a, b, elsewhereB)
	d.OnlyB, d.OnlyBBytes = only(b, a, elsewhereA)
	return d
}

func only(a, b map[oci.Digest]int64, elsewhere map[oci.Digest]bool) (all []Stored, bytes int64) {
	for digest, size := range a {
		if _, ok := b[digest]; !ok && !elsewhere[digest] {
			all = append(all, Stored{digest, size})
			bytes += size
		}
	}
	return ordered(all), bytes
}

// Side returns a set as one side of a difference.
func (d *Draft) Side() Side {
	s := Side{Originals: map[string]oci.Digest{}, Manifests: map[oci.Digest]int64{}, Blobs: map[oci.Digest]int64{}}
	for _, n := range d.Named() {
		call(s.Originals, n.Name, n.Digest)
	}
	for _, m := range d.Manifests() {
		s.Manifests[m.Digest] = int64(len(m.Raw))
	}
	for _, b := range d.Blobs() {
		s.Blobs[b.Digest] = b.Size
	}
	return s
}

// Side returns what a receipt says as one side of a difference. Images without a
// tag are not images to it, but content.
func (r Receipt) Side() Side {
	s := Side{Manifests: map[oci.Digest]int64{}, Blobs: map[oci.Digest]int64{}}
	names := map[string]oci.Digest{}
	if s.Originals = names; r.Prefix != "" {
		s.Originals, s.Targets = nil, names
	}
	for _, repo := range r.Repositories {
		name, err := ref.ParseName(repo.Name)
		if err != nil {
			continue // receipts that were read have none
		}
		for tag, digest := range repo.Tags {
			call(names, name.WithTag(tag), digest)
		}
		for _, m := range repo.Manifests {
			s.Manifests[m.Digest] = m.Size
		}
		for _, b := range repo.Blobs {
			s.Blobs[b.Digest] = b.Size
		}
	}
	return s
}

// ErrNoForecast says that a document is something else than a forecast.
var ErrNoForecast = errors.New("it is no plan")

// ParseForecast reads the JSON form of a forecast. A document of another kind is
// ErrNoForecast.
func ParseForecast(data []byte) (Forecast, error) {
	var probe map[string]json.RawMessage
	if err := json.Unmarshal(data, &probe); err != nil {
		return Forecast{}, ErrNoForecast
	}
	for _, key := range []string{"images", "sources", "targets", "listed_bytes", "unique_bytes"} {
		if probe[key] == nil {
			return Forecast{}, ErrNoForecast
		}
	}
	var f Forecast
	err := json.Unmarshal(data, &f)
	return f, err
}

// Side returns a plan as one side of a difference. It knows images, and not what
// they are made of.
func (f Forecast) Side() Side {
	s := Side{Originals: map[string]oci.Digest{}, Targets: map[string]oci.Digest{}}
	for _, img := range f.Images {
		if r, err := ref.Parse(img.Source); err == nil {
			call(s.Originals, r, img.Digest)
		}
		if r, err := ref.Parse(img.Target); err == nil {
			call(s.Targets, r, img.Digest)
		}
	}
	return s
}
