package layout

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"regexp"
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
	add := func(m map[string][]Entry, key string) {
		if key != "" {
			m[key] = appendNew(m[key], n.Entry)
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

// appendNew adds an entry of a digest that is not in the list yet.
func appendNew(list []Entry, e Entry) []Entry {
	if slices.ContainsFunc(list, func(o Entry) bool { return o.Descriptor.Digest == e.Descriptor.Digest }) {
		return list
	}
	return append(list, e)
}

// Lookup returns the entry that r means, with its original name. A reference
// with neither name, tag nor digest means the only image that there is; a tag
// without a name is an annotation as it stands in the archive, or the tag of one
// image only. What has a digest need not be named: it may be a part of an index.
// The error is ErrNotFound where nothing is called that, and ErrInvalid where
// several are; it lists what there is.
func (a *Archive) Lookup(r ref.Ref) (Entry, error) {
	if r.Digest != "" {
		return a.byDigest(r)
	}
	found := a.names[r.String()]
	if r.Name == (ref.Name{}) {
		found = a.bare(r.Tag)
	}
	switch {
	case len(found) == 1:
		return found[0], nil
	case len(found) > 1 && r == (ref.Ref{}):
		return Entry{}, oci.Errorf(oci.ErrInvalid, "", "the archive has several images, and one has to be named: %s", a.list())
	case len(found) > 1:
		return Entry{}, oci.Errorf(oci.ErrInvalid, "", "several images of the archive have the tag %q: %s", r.Tag, a.list())
	case len(a.named) == 0:
		return Entry{}, oci.Errorf(oci.ErrNotFound, oci.CodeManifestUnknown, "the archive names no image")
	}
	return Entry{}, oci.Errorf(oci.ErrNotFound, oci.CodeManifestUnknown, "the archive has no %q: %s", nameOf(r.Name, r.Tag), a.list())
}

// byDigest returns what has a digest, by the name that it has in the archive if
// none is asked for.
func (a *Archive) byDigest(r ref.Ref) (Entry, error) {
	if _, err := pathOf(r.Digest); err != nil {
		return Entry{}, err
	}
	e := Entry{r, oci.Descriptor{MediaType: a.types[r.Digest], Digest: r.Digest}}
	if r.Name == (ref.Name{}) {
		i := slices.IndexFunc(a.named, func(n named) bool { return n.Descriptor.Digest == r.Digest })
		if i >= 0 {
			e.Ref.Name = a.named[i].Ref.Name
		}
	}
	return e, nil
}

// signatureTag matches the tags under which referrers and cosign's signatures are
// found. They are not what somebody means who names nothing.
var signatureTag = regexp.MustCompile(`^sha(256-[0-9a-f]{64}|512-[0-9a-f]{64,128})(\.(sig|att|sbom))?$`)

// bare returns what a tag without a name can mean. No tag means the only image.
func (a *Archive) bare(tag string) []Entry {
	if tag == "" {
		var all []Entry
		for _, e := range a.Entries() {
			if !signatureTag.MatchString(e.Ref.Tag) {
				all = appendNew(all, e)
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
