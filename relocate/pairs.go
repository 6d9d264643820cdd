package relocate

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/entrepot/entrepot/ref"
)

// A Mention is one way in which an input names an image.
type Mention struct {
	// Written is the reference as the input writes it.
	Written string
	// From is where the image is now, where an earlier relocation moved it; ""
	// means that it is still where Written says.
	From string
	// Digest is what the input promises the image to have, beside a digest in
	// Written; "" for nothing. Where the image is something else, it is not
	// found.
	Digest ref.Digest
	// Differs says in the words of the input that the image has another digest
	// than it promises. Nil where it promises none, or has no words for it.
	Differs func(got ref.Digest) error
	// Target is where the input itself says that the image goes, "" where it
	// leaves that to the naming: a reference, or a path below the naming's
	// prefix. Without a tag it gets the source's. What begins with a slash is
	// such a path in any case, and with a colon a tag in the repository that the
	// naming gives.
	Target string
	// Platforms are the images of an index that are wanted; none means those of
	// the run. Of an image that is mentioned several times all are copied that
	// one of the mentions wants.
	Platforms []Platform
	// Role says what the image is for; "" for nothing in particular.
	Role Role
	// At is where it stands, for errors: "images.txt:3"; may be empty.
	At string
}

// A Pair is one image and where it goes.
type Pair struct {
	// Source is normalised. It has a tag, a digest or both; "latest" is filled
	// in where the input has neither.
	Source ref.Ref
	// Original is what the inputs call the image, normalised as Source is, where
	// that is not Source: an earlier relocation moved it, or the input promises a
	// digest beside the name. Otherwise it is the zero value.
	Original ref.Ref
	// Target has the repository and the tag at the target: the source's tag, or
	// one to keep it by where the source has a digest alone. Its digest is the
	// source's where that has one.
	Target ref.Ref
	// Spellings are the ways in which the inputs write the image, sorted, each one
	// once.
	Spellings []string
	// Role says what the image is for: the roles of all that name it.
	Role Role
	// Platforms are the images of an index that are copied; none means those of
	// [Config].
	Platforms []Platform

	// named says that the input named the target; several sources may then
	// share a repository.
	named bool
	// differs is that of the mention, where the digest of Source is what the
	// input promises beside the name.
	differs func(got ref.Digest) error
}

// Name returns what the inputs call the image, normalised: the original name.
func (p Pair) Name() ref.Ref {
	if p.Original.Path == "" {
		return p.Source
	}
	return p.Original
}

// Rewrite returns what takes the place of a spelling: the target, with a tag
// and a digest where the spelling has them. A tag that only keeps the image is
// left out, and so is one that the spelling leaves out too.
func (p Pair) Rewrite(spelling string) string {
	t := p.Target
	if r, err := ref.Parse(spelling); err == nil {
		if r.Tag == "" && (r.Digest != "" || t.Tag == "latest") {
			t.Tag = ""
		}
		t.Digest = r.Digest
	}
	return t.String()
}

// Pairs names the targets of all images and proves that nothing meets there:
// no two repositories become one, no tag stands for two images, also where a
// registry takes no notice of case. The same image under several spellings is
// one pair. The pairs are sorted by their names.
//
// Where the set is not one-to-one, or a name does not fit the target, the error
// is a [ConflictError] that lists all of it. Text that is no reference is
// another error.
func Pairs(mentions []Mention, n *Naming) ([]Pair, error) {
	m := &matcher{naming: n, byName: make(map[ref.Ref][]*Pair)}
	var wrong []error
	for _, named := range []bool{true, false} { // a target that is named somewhere holds everywhere
		for _, mention := range mentions {
			if (mention.Target != "") != named {
				continue
			}
			if err := m.add(mention); err != nil {
				wrong = append(wrong, at(mention.At, err))
			}
		}
	}
	if len(wrong) > 0 {
		return nil, errors.Join(wrong...)
	}
	pairs := m.pairs()
	return pairs, conflictError(append(m.unfit, Check(pairs)...))
}

// Originals returns the images of a set under their own names, as an archive has
// them: each target is the repository of the original name. Targets that the
// inputs name are not looked at. The pairs are sorted by their names. Text that
// is no reference is an error.
func Originals(mentions []Mention) ([]Pair, error) {
	m := &matcher{byName: make(map[ref.Ref][]*Pair)}
	var wrong []error
	for _, mention := range mentions {
		mention.Target = ""
		if err := m.add(mention); err != nil {
			wrong = append(wrong, at(mention.At, err))
		}
	}
	return m.pairs(), errors.Join(wrong...)
}

func at(place string, err error) error {
	if place == "" {
		return err
	}
	return fmt.Errorf("%s: %w", place, err)
}

// A matcher collects pairs.
type matcher struct {
	naming *Naming             // nil: every image keeps its name
	byName map[ref.Ref][]*Pair // :: normalised name → where it goes
	unfit  []Conflict
}

// add takes in one mention.
func (m *matcher) add(mention Mention) error {
	r, err := ref.Parse(mention.Written)
	if err != nil {
		return err
	}
	name := r.WithDefaultTag()
	known := m.byName[name]
	if mention.Target == "" && len(known) > 0 {
		for _, p := range known {
			p.mentioned(mention)
		}
		return nil
	}
	p := &Pair{Source: name, named: mention.Target != ""}
	p.mentioned(mention)
	if err := p.movedTo(mention.From); err != nil {
		return err
	}
	if err := p.promise(mention); err != nil {
		return err
	}
	if err := m.place(p, name, mention.Target); err != nil {
		return err
	}
	for _, k := range known {
		if k.Target == p.Target {
			k.mentioned(mention)
			return nil
		}
	}
	m.byName[name] = append(known, p)
	return nil
}

// mentioned notes that the image is named once more.
func (p *Pair) mentioned(m Mention) {
	if first := len(p.Spellings) == 0; first || len(m.Platforms) == 0 {
		p.Platforms = slices.Clone(m.Platforms)
	} else if len(p.Platforms) > 0 {
		p.Platforms = append(p.Platforms, m.Platforms...)
	}
	p.Spellings = append(p.Spellings, m.Written)
	p.Role = p.Role.And(m.Role)
}

// place says where an image goes.
func (m *matcher) place(p *Pair, name ref.Ref, target string) (err error) {
	switch {
	case m.naming == nil:
		p.Target.Name = name.Name
	case p.named:
		p.Target, err = m.naming.explicit(name, target)
	default:
		var unfit error
		if p.Target, unfit = m.naming.Target(name); unfit != nil {
			m.unfit = append(m.unfit, Conflict{Sources: []string{name.String()}, Why: unfit.Error()})
		}
	}
	p.Target.Digest = p.Source.Digest
	return err
}

// movedTo notes where an earlier relocation moved the image.
func (p *Pair) movedTo(from string) error {
	if from == "" {
		return nil
	}
	now, err := ref.Parse(from)
	if err != nil {
		return fmt.Errorf("%s was relocated: %w", p.Source, err)
	}
	name := p.Source
	switch {
	case name.Digest != "" && now.Digest == "":
		now.Digest = name.Digest
	case name.Digest != "" && now.Digest != name.Digest:
		return fmt.Errorf("%s was relocated to %s, which has another digest", name, now)
	}
	if now = now.WithDefaultTag(); now != name {
		p.Source, p.Original = now, name
	}
	return nil
}

// promise has the image read by the digest that it should have.
func (p *Pair) promise(mention Mention) error {
	d := mention.Digest
	if d == "" || d == p.Source.Digest {
		return nil
	}
	if p.Source.Digest != "" {
		return fmt.Errorf("%s has another digest than the input promises, %s", p.Source, d)
	}
	if p.Original.Path == "" {
		p.Original = p.Source
	}
	p.Source.Digest, p.differs = d, mention.Differs
	return nil
}

// pairs returns what was collected, sorted.
func (m *matcher) pairs() []Pair {
	var pairs []Pair
	for _, all := range m.byName {
		for _, p := range all {
			slices.Sort(p.Spellings)
			p.Spellings = slices.Compact(p.Spellings)
			slices.SortFunc(p.Platforms, func(a, b Platform) int { return cmp.Compare(a.String(), b.String()) })
			p.Platforms = slices.Compact(p.Platforms)
			if p.Target.Path != "" { // otherwise it is among the conflicts
				pairs = append(pairs, *p)
			}
		}
	}
	slices.SortFunc(pairs, func(a, b Pair) int {
		return cmp.Or(cmp.Compare(a.Name().String(), b.Name().String()), cmp.Compare(a.Target.String(), b.Target.String()))
	})
	slices.SortFunc(m.unfit, func(a, b Conflict) int { return slices.Compare(a.Sources, b.Sources) })
	return pairs
}

// explicit returns the target that an input names. A name without a registry
// is a path below the prefix.
func (n *Naming) explicit(source ref.Ref, target string) (ref.Ref, error) {
	full := target
	switch host, _, ok := strings.Cut(target, "/"); {
	case strings.HasPrefix(target, ":"):
		own, err := n.Target(source)
		if err != nil {
			return ref.Ref{}, err
		}
		full = own.Name.String() + target
	case !ok || !looksLikeHost(host):
		full = n.below(strings.TrimPrefix(target, "/")).String()
	}
	t, err := ref.Parse(full)
	if err != nil {
		return ref.Ref{}, fmt.Errorf("target of %s: %w", source, err)
	}
	if t.Digest != "" && source.Digest != "" && t.Digest != source.Digest {
		return ref.Ref{}, fmt.Errorf("target of %s: its digest is another one, %s", source, t.Digest)
	}
	if t.Digest != "" && source.Digest == "" {
		return ref.Ref{}, fmt.Errorf("target of %s: %s has a digest, which the source does not have", source, target)
	}
	if err := n.fits(t.Name); err != nil {
		return ref.Ref{}, fmt.Errorf("target of %s: %w", source, err)
	}
	t.Digest = source.Digest
	if t.Tag == "" {
		t.Tag = source.Tag
	}
	if t.Tag == "" {
		t.Tag, err = n.keep.tag(source.Digest)
	}
	return t, err
}

// looksLikeHost reports whether the first component of a name is a registry, by
// the rule of [ref.Parse].
func looksLikeHost(s string) bool {
	return s == "localhost" || strings.ContainsAny(s, ".:") || strings.ToLower(s) != s
}
