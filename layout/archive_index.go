package layout

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"

	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
	ispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// annotationImage is where containerd and BuildKit write the whole name of an
// image, beside the tag alone in ref.name.
const annotationImage = "io.containerd.image.name"

// readIndex reads the names of the images.
func (a *Archive) readIndex(v *volume) error {
	raw, err := v.read(layoutFile)
	if errors.Is(err, fs.ErrNotExist) {
		return oci.Errorf(oci.ErrInvalid, "", "it is no OCI layout: it has an index.json and no %s", layoutFile)
	}
	if err != nil {
		return err
	}
	if err := checkLayout(raw); err != nil {
		return err
	}
	var index ispec.Index
	if err := v.decode(indexFile, &index); err != nil {
		return err
	}
	for _, d := range index.Manifests {
		if _, err := ref.ParseDigest(string(d.Digest)); err != nil {
			return oci.Errorf(oci.ErrInvalid, "", "read %s: %w", indexFile, err)
		}
		if d.MediaType != "" {
			a.types[d.Digest] = d.MediaType
		}
		text := d.Annotations[ispec.AnnotationRefName]
		a.name(named{Entry{originalName(text, d.Annotations[annotationImage]), d}, text})
	}
	return nil
}

// name adds an entry of index.json.
func (a *Archive) name(n named) {
	a.named = append(a.named, n)
	add := func(m map[string][]oci.Descriptor, key string) {
		if key != "" && !slices.ContainsFunc(m[key], func(d oci.Descriptor) bool { return d.Digest == n.Descriptor.Digest }) {
			m[key] = append(m[key], n.Descriptor)
		}
	}
	add(a.texts, n.text)
	add(a.tags, n.Ref.Tag)
	if n.Ref.Name != (ref.Name{}) && n.Ref.Tag != "" {
		add(a.names, n.Ref.WithTag(n.Ref.Tag).String())
	}
}

// originalName returns the image that annotations name: whole where one of them
// is a whole name, otherwise a tag by itself. What is neither has no name.
func originalName(text, image string) ref.Ref {
	for _, s := range []string{image, text} {
		if !strings.ContainsAny(s, ":/@") {
			continue
		}
		if r, err := ref.Parse(s); err == nil {
			return r
		}
	}
	if ref.ValidTag(text) {
		return ref.Ref{Tag: text}
	}
	return ref.Ref{}
}

// find returns the descriptor of what r names.
func (a *Archive) find(r ref.Ref) (oci.Descriptor, error) {
	if r.Digest != "" {
		if _, err := pathOf(r.Digest); err != nil {
			return oci.Descriptor{}, err
		}
		return oci.Descriptor{MediaType: a.types[r.Digest], Digest: r.Digest}, nil
	}
	var found []oci.Descriptor
	if r.Name == (ref.Name{}) {
		found = a.bare(r.Tag)
	} else {
		found = a.names[r.String()]
	}
	switch {
	case len(found) == 1:
		return found[0], nil
	case len(found) > 1:
		return oci.Descriptor{}, oci.Errorf(oci.ErrInvalid, "", "several images of the archive are called %q: %s", nameOf(r.Name, r.Tag), a.list())
	case r == (ref.Ref{}):
		return oci.Descriptor{}, oci.Errorf(oci.ErrNotFound, oci.CodeManifestUnknown, "the archive names no image")
	}
	return oci.Descriptor{}, oci.Errorf(oci.ErrNotFound, oci.CodeManifestUnknown, "the archive has no %q: %s", nameOf(r.Name, r.Tag), a.list())
}

// bare returns what a tag without a name can mean: an annotation that is just
// that, or else the tag of whatever repository. No tag means the only image.
func (a *Archive) bare(tag string) []oci.Descriptor {
	if tag == "" {
		var all []oci.Descriptor
		for _, e := range a.Entries() {
			if !slices.ContainsFunc(all, func(d oci.Descriptor) bool { return d.Digest == e.Descriptor.Digest }) {
				all = append(all, e.Descriptor)
			}
		}
		return all
	}
	if found := a.texts[tag]; len(found) > 0 {
		return found[:1] // the first of them, as others do
	}
	return a.tags[tag]
}

// list names the images for an error, at most ten of them.
func (a *Archive) list() string {
	all := a.Entries()
	var names []string
	for _, e := range all[:min(len(all), 10)] {
		names = append(names, cmp.Or(e.Ref.String(), e.Ref.Tag, string(e.Descriptor.Digest)))
	}
	s := "it has " + strings.Join(names, ", ")
	if len(all) > len(names) {
		s += fmt.Sprintf(" and %d more", len(all)-len(names))
	}
	return s
}

// rawManifest returns the bytes of a manifest, its digest verified.
func (a *Archive) rawManifest(d oci.Digest) ([]byte, error) {
	if raw, ok := a.made[d]; ok {
		return raw, nil
	}
	x, ok := a.content[d]
	if !ok {
		return nil, oci.Errorf(oci.ErrNotFound, oci.CodeManifestUnknown, "the archive has no %s", d)
	}
	size := x.size()
	if size > oci.MaxManifest {
		return nil, oci.Errorf(oci.ErrTooLarge, "", "%s is no manifest: it has %d bytes", d, size)
	}
	return io.ReadAll(oci.VerifyReader(io.NewSectionReader(x, 0, size), d, size))
}

// checkLayout reads the file that makes something a layout.
func checkLayout(raw []byte) error {
	var doc ispec.ImageLayout
	if err := json.Unmarshal(raw, &doc); err != nil {
		return oci.Errorf(oci.ErrInvalid, "", "read %s: %w", ispec.ImageLayoutFile, err)
	}
	if doc.Version != ispec.ImageLayoutVersion {
		return oci.Errorf(oci.ErrUnsupported, "", "the layout's version is %q, only %s is known", doc.Version, ispec.ImageLayoutVersion)
	}
	return nil
}
