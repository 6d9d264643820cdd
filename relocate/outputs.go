package relocate

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
	"github.com/entrepot/entrepot/rules"
	"github.com/entrepot/entrepot/rules/conf"
)

// A Placed is an image at its target.
type Placed struct {
	Pair
	Digest oci.Digest // at the target; "" where it is not known
}

// A Set is what was relocated, or will be, for the files that lead there. Its
// files are the same for the same set.
type Set struct {
	Images []Placed
	Naming *Naming
	// Missing is how many images of the set are not there. The files say so.
	Missing int
	// Reach is how clients speak to the target.
	Reach Reach
	// Extras are small files that belong to the set and are no images: release
	// signatures, templates of catalog sources. What they are is in their names;
	// see the room openshift.
	Extras []File
}

// A Reach is how clients speak to a registry. The zero value is HTTPS, with the
// system's roots.
type Reach struct {
	PlainHTTP  bool
	SkipVerify bool
	CA         []string // files of authorities, on the clients' machines
}

// A File is a file to be written.
type File struct {
	Name string // a path with slashes, below where the format goes
	Data []byte
}

// Formats of [Emit], beside those that rules/conf writes.
const (
	FormatMapping     = "relocation-mapping.json" // CNAB's relocation mapping
	FormatMappingText = "mapping.txt"             // SRC=DST, a line each
	FormatKustomize   = "kustomize"               // a component that replaces the images
	FormatImagesLock  = "images-lock"             // imgpkg's ImagesLock of the targets
	FormatBundleLock  = "bundle-lock"             // imgpkg's BundleLock of the one target
)

// EmitFormats returns the names of the formats that [Emit] knows. What OpenShift
// reads is more than mirror configuration, and has a room of its own.
func EmitFormats() []string {
	return append([]string{FormatMapping, FormatMappingText, FormatKustomize, FormatImagesLock, FormatBundleLock},
		slices.DeleteFunc(conf.Writers(), func(format string) bool { return format == "openshift" })...)
}

// An InexpressibleError says what a format cannot say about a set.
type InexpressibleError struct {
	Format  string
	Reasons []string // at least one
	Hint    string   // what to do about it; may be empty
}

// Error gives the reasons, one a line.
func (e *InexpressibleError) Error() string {
	if len(e.Reasons) == 1 {
		return e.Format + " cannot express this: " + e.Reasons[0]
	}
	return fmt.Sprintf("%s cannot express this, for %d reasons:\n  %s", e.Format, len(e.Reasons), strings.Join(e.Reasons, "\n  "))
}

// Emit returns the files of one format, and what is worth a warning. What the
// format cannot say is an [InexpressibleError]. Mirror configuration is read
// back and followed for every image before it is returned; see [Set.Check].
func Emit(s Set, format string) ([]File, []rules.Problem, error) {
	var data []byte
	var err error
	name := format
	switch format {
	case FormatMapping:
		data, err = s.mapping()
	case FormatMappingText:
		data = s.mappingText()
	case FormatKustomize:
		name = "kustomization.yaml"
		data, err = s.kustomize()
	case FormatImagesLock:
		name = "images.yml"
		data, err = s.imagesLock()
	case FormatBundleLock:
		name = "bundle.lock.yml"
		data, err = s.bundleLock()
	default:
		return s.mirrors(format)
	}
	if err != nil {
		return nil, nil, err
	}
	return []File{{Name: name, Data: data}}, nil, nil
}

// partialName is in a mapping that is not whole: JSON has no comments, and a
// mapping no other fields. The domain exists nowhere (RFC 2606).
const partialName = "partial.entrepot.invalid/images-missing"

// Mapping returns the relocation mapping: every spelling of every image, and its
// normalised form, with what takes its place (CNAB runtime specification,
// section 103).
func (s Set) Mapping() (map[string]string, error) {
	m := make(map[string]string)
	for _, p := range s.Images {
		for _, spelling := range append([]string{p.Name().String()}, p.Spellings...) {
			to := p.Rewrite(spelling)
			if was, ok := m[spelling]; ok && was != to {
				return nil, &InexpressibleError{Format: "a mapping", Reasons: []string{spelling + " goes to two places, " + was + " and " + to}}
			}
			m[spelling] = to
		}
	}
	if s.Missing > 0 {
		mark := fmt.Sprintf("%s:%d-of-%d", partialName, s.Missing, s.Missing+len(s.Images))
		m[mark] = mark
	}
	return m, nil
}

func (s Set) mapping() ([]byte, error) {
	m, err := s.Mapping()
	if err != nil {
		return nil, err
	}
	return marshal(m)
}

// marshal writes a value as indented JSON, keys sorted.
func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	err := enc.Encode(v)
	return b.Bytes(), err
}

// Comment is the first line of a file that leads to a set with missing images,
// with its line end; "" where the set is whole.
func (s Set) Comment() string {
	if s.Missing == 0 {
		return ""
	}
	return fmt.Sprintf("# partial: %d of %d images are missing\n", s.Missing, s.Missing+len(s.Images))
}

// mappingText writes a line for each image, as `oc image mirror -f` and our own
// lists take it.
func (s Set) mappingText() []byte {
	var b bytes.Buffer
	b.WriteString(s.Comment())
	for _, p := range s.Images {
		t := p.Target
		t.Digest = ""
		fmt.Fprintf(&b, "%s=%s\n", p.Name(), t)
	}
	return b.Bytes()
}

// kustomize writes a component with an entry for each name as the inputs spell
// it: kustomize compares text. It keeps tags and digests itself.
func (s Set) kustomize() ([]byte, error) {
	type entry struct{ name, to, tag string }
	var entries []entry
	seen := make(map[string]entry)
	for _, p := range s.Images {
		for _, spelling := range p.Spellings {
			e := entry{name: withoutIdentifier(spelling), to: p.Target.Name.String()}
			if n := p.Name(); n.Tag != "" && n.Tag != p.Target.Tag {
				e.tag = p.Target.Tag
			}
			was, ok := seen[e.name]
			if ok && was != e {
				return nil, &InexpressibleError{Format: FormatKustomize, Reasons: []string{
					fmt.Sprintf("it has one target for all tags of %s, which go to %s and %s", e.name, join(was.to, was.tag), join(e.to, e.tag)),
				}}
			}
			if !ok {
				seen[e.name] = e
				entries = append(entries, e)
			}
		}
	}
	slices.SortFunc(entries, func(a, b entry) int { return cmp.Compare(a.name, b.name) })
	var b bytes.Buffer
	b.WriteString(s.Comment() + "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\nimages:\n")
	for _, e := range entries {
		fmt.Fprintf(&b, "- name: %s\n  newName: %s\n", quote(e.name), quote(e.to))
		if e.tag != "" {
			fmt.Fprintf(&b, "  newTag: %s\n", quote(e.tag))
		}
	}
	return b.Bytes(), nil
}

func join(name, tag string) string {
	if tag == "" {
		return name
	}
	return name + ":" + tag
}

// withoutIdentifier drops tag and digest of a spelling.
func withoutIdentifier(s string) string {
	s, _, _ = strings.Cut(s, "@")
	if i := strings.LastIndexByte(s, ':'); i > strings.LastIndexByte(s, '/') {
		s = s[:i]
	}
	return s
}

// quote writes a string as YAML's and JSON's double quotes have it. What is
// written here are names.
func quote(s string) string { return `"` + s + `"` }

// imagesLock writes the targets by their digests, with the original names as
// kbld notes them.
func (s Set) imagesLock() ([]byte, error) {
	var b bytes.Buffer
	b.WriteString(s.Comment() + "apiVersion: imgpkg.carvel.dev/v1alpha1\nkind: ImagesLock\nimages:\n")
	for _, p := range s.Images {
		if p.Digest == "" {
			return nil, errNoDigest(FormatImagesLock, p)
		}
		fmt.Fprintf(&b, "- image: %s\n  annotations:\n    kbld.carvel.dev/id: %s\n",
			quote(p.Target.Name.WithDigest(p.Digest).String()), quote(p.Name().String()))
	}
	return b.Bytes(), nil
}

func (s Set) bundleLock() ([]byte, error) {
	if len(s.Images) != 1 {
		return nil, &InexpressibleError{Format: FormatBundleLock, Reasons: []string{fmt.Sprintf("it is for one image, and these are %d", len(s.Images))}}
	}
	p := s.Images[0]
	if p.Digest == "" {
		return nil, errNoDigest(FormatBundleLock, p)
	}
	return fmt.Appendf(nil, "%sapiVersion: imgpkg.carvel.dev/v1alpha1\nkind: BundleLock\nbundle:\n  image: %s\n  tag: %s\n",
		s.Comment(), quote(p.Target.Name.WithDigest(p.Digest).String()), quote(p.Target.Tag)), nil
}

// errUnknownDigest says that a lock is asked for before the digests are known.
var errUnknownDigest = errors.New("its digest is not known")

func errNoDigest(format string, p Placed) error {
	return fmt.Errorf("%s: %s: %w", format, p.Target, errUnknownDigest)
}

// NeedsDigests reports whether a format can be written only when the digests of
// all images are known.
func NeedsDigests(format string) bool {
	return format == FormatImagesLock || format == FormatBundleLock
}

// keeps reports whether a pair's tag at the target is the source's: mirror
// configuration can lead to another repository, and not to another tag.
func (p Pair) keeps() bool { return p.Name().Tag == "" || p.Name().Tag == p.Target.Tag }

// byRepository returns where the images of each repository go; the names in
// order. Repositories that go to two places are reasons.
func (s Set) byRepository() (names []ref.Name, to map[ref.Name]ref.Name, reasons []string) {
	to = make(map[ref.Name]ref.Name)
	for _, p := range s.Images {
		from := p.Name().Name
		was, ok := to[from]
		switch {
		case !p.keeps():
			reasons = append(reasons, fmt.Sprintf("%s gets another tag, %s", p.Name(), p.Target.Tag))
		case ok && was != p.Target.Name:
			reasons = append(reasons, fmt.Sprintf("%s goes to two places, %s and %s", from, was, p.Target.Name))
		case !ok:
			names = append(names, from)
			to[from] = p.Target.Name
		}
	}
	return names, to, reasons
}
