package document

import (
	"fmt"
	"regexp"
	"slices"

	"github.com/Masterminds/semver/v3"

	"github.com/entrepot/entrepot/internal/tree"
	"github.com/entrepot/entrepot/ref"
)

// A Selector names images of a repository by conditions on their tags: which
// ones these are only the registry knows.
type Selector struct {
	// Repository is the repository, as the input writes it; joined where the
	// input has it in several fields.
	Repository string
	// Target is the repository that the input itself sends the images to; mostly
	// "".
	Target string
	At     Position
	Field  string
	Kind   Kind

	sets []tagSet // a tag is selected by any of them; none means every tag
}

// A tagSet is one set of conditions; a tag has to meet all that are there.
type tagSet struct {
	versions []*semver.Constraints // any of them
	allow    []*regexp.Regexp      // any of them
	deny     []*regexp.Regexp      // none of them
}

// attached matches the tags of what belongs to another image: its referrers
// (distribution-spec 1.1, "Referrers Tag Schema") and cosign's. They come along
// with that image.
var attached = regexp.MustCompile(`^sha(256|512)-[0-9a-f]{64}`)

// Images returns the images that the selector names, given all tags of its
// repository, in their order.
func (s *Selector) Images(tags []string) []Image {
	var out []Image
	for _, tag := range tags {
		if attached.MatchString(tag) || len(s.sets) > 0 && !slices.ContainsFunc(s.sets, func(set tagSet) bool { return set.has(tag) }) {
			continue
		}
		i := Image{Ref: s.Repository + ":" + tag, At: s.At, Field: s.Field, Kind: s.Kind}
		if s.Target != "" {
			i.Target = s.Target + ":" + tag
		}
		out = append(out, i)
	}
	return out
}

func (t tagSet) has(tag string) bool {
	matches := func(e *regexp.Regexp) bool { return e.MatchString(tag) }
	if len(t.versions) > 0 {
		v, err := semver.NewVersion(tag)
		if err != nil || !slices.ContainsFunc(t.versions, func(c *semver.Constraints) bool { return c.Check(v) }) {
			return false
		}
	}
	return (len(t.allow) == 0 || slices.ContainsFunc(t.allow, matches)) && !slices.ContainsFunc(t.deny, matches)
}

// Selectors returns the selectors of the document, in the order of the input.
// The images that they name are not among [Document.Images].
func (d *Document) Selectors() []*Selector { return d.selectors }

// selector adds a selector. The repository has to be a name without tag and
// digest.
func (s spot) selector(repository, target string, sets ...tagSet) {
	if _, err := ref.ParseName(repository); err != nil {
		s.wrong("this is no repository", err)
		return
	}
	if _, err := ref.ParseName(target); err != nil && target != "" {
		s.wrong("the target is no repository", err)
		return
	}
	s.r.doc.selectors = append(s.r.doc.selectors, &Selector{
		Repository: repository, Target: target, At: s.f.at(s.n.Start), Field: s.path, Kind: s.r.doc.Kind, sets: sets,
	})
}

// wrong notes an error with a cause.
func (s spot) wrong(text string, cause error) {
	s.r.errs = append(s.r.errs, &Error{At: s.f.at(s.n.Start), Field: s.path, Text: text, Err: cause})
}

// pattern compiles the regular expression at a spot; full puts it between ^ and
// $. It is nil where there is none, which is noted.
func (s spot) pattern(text string, full bool) *regexp.Regexp {
	if full {
		text = "^(?:" + text + ")$"
	}
	e, err := regexp.Compile(text)
	if err != nil {
		s.fail("", "this is no regular expression: %v", err)
		return nil
	}
	return e
}

// versions reads a range of versions; nil where it is none, which is noted.
func (s spot) versions(text string) *semver.Constraints {
	c, err := semver.NewConstraint(text)
	if err != nil {
		s.fail("write it as in \">=1.2.0 <2.0.0\"", "this is no range of versions: %v", err)
		return nil
	}
	return c
}

// text returns the scalar at a spot as text; "" and false where it is none,
// which is noted.
func (s spot) text() (string, bool) {
	switch {
	case s.n == nil:
		return "", false
	case s.n.Kind != tree.String && s.n.Kind != tree.Number:
		s.fail("", "this is %v and should be a string", s.n.Kind)
		return "", false
	}
	return s.n.Text, true
}

// unsupported refuses the fields of a table that other tools know, and that
// would have to be acted on.
func (s spot) unsupported(hint string, keys ...string) {
	for _, key := range keys {
		if m := s.member(key); m.n != nil && !(m.n.Kind == tree.Bool && m.n.Text == "false") {
			m.fail(hint, "this is not supported")
		}
	}
}

// unused notes fields that do nothing here.
func (s spot) unused(why string, keys ...string) {
	for _, key := range keys {
		if m := s.member(key); m.n != nil {
			s.r.note(s.f, m.n.Start, m.path, "", "this is not used: %s", why)
		}
	}
}

// listed adds an image of a list that is not rewritten.
func (s spot) listed(text, target string) {
	if _, err := ref.Parse(text); err != nil {
		s.wrong("this is no image", err)
		return
	}
	site := s.r.add(text, s.path, part{role: wholeRef, f: s.f, n: s.n})
	site.Target = target
	site.pinned = fmt.Sprintf("a file of kind %s says what is copied; it is not rewritten", s.r.doc.Kind)
}
