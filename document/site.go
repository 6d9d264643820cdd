package document

import (
	"errors"
	"fmt"
	"strings"

	"github.com/entrepot/entrepot/internal/tree"
	"github.com/entrepot/entrepot/ref"
)

// A role is what a part of a reference is.
type role uint8

const (
	wholeRef   role = iota // the reference as a whole
	registry               // the host
	repository             // host and path, or the path, or what comes before the name
	imageName              // the last segment of the path, or several
	tag
	digestPart // "sha256:…"
	hexPart    // the digest without its algorithm
)

// A part is a piece of a text that a reference is written in.
type part struct {
	role role
	f    *file
	n    *tree.Node
	// before and after are what stands around the reference in the scalar, as
	// "--image=" does; they stay.
	before, after string
}

func (p part) start() int { return p.n.Start }

// A site is a mention of an image, and how it is written.
type site struct {
	Image
	parts []part
	owner *object
	// doubtful says that the string counts only where something else names the
	// same image.
	doubtful bool
	// rendered says that the mention is in what a chart renders to.
	rendered bool
	// impliedTag is the tag that Ref has where the field of the tag is empty.
	impliedTag string
	// pinned says why the mention cannot be rewritten; "" where it can.
	pinned string
}

// set adds the edit that gives a part another value.
func (s *site) set(p part, value string, edits map[*file][]edit) error {
	value = p.before + value + p.after
	if value == p.n.Text {
		return nil
	}
	if p.n.End == 0 {
		return s.refuse("the value is written in several lines: write it in one")
	}
	text, err := scalarText(p.n, value)
	if err != nil {
		return s.refuse(err.Error())
	}
	edits[p.f] = append(edits[p.f], edit{start: p.n.Start, end: p.n.End, text: text, field: s.Field})
	return nil
}

func (s *site) refuse(text string) error { return &Error{At: s.At, Field: s.Field, Text: text} }

// rewrite adds the edits that make a site name another image.
func (s *site) rewrite(target string, edits map[*file][]edit) error {
	if s.rendered {
		return nil // it follows from the values
	}
	if s.pinned != "" {
		return s.refuse(s.pinned)
	}
	if s.parts[0].role == wholeRef {
		return s.set(s.parts[0], target, edits)
	}
	values, err := s.split(target)
	if err != nil {
		return s.refuse(fmt.Sprintf("%s cannot be written here: %v", target, err))
	}
	var wrong []error
	for i, p := range s.parts {
		wrong = append(wrong, s.set(p, values[i], edits))
	}
	return errors.Join(wrong...)
}

// part returns the part of a role; nil where there is none.
func (s *site) part(r role) *part {
	for i := range s.parts {
		if s.parts[i].role == r {
			return &s.parts[i]
		}
	}
	return nil
}

// split returns the values that the parts of a site have when they name an
// image, in their order.
func (s *site) split(target string) ([]string, error) {
	to, err := ref.Parse(target)
	if err != nil {
		return nil, err
	}
	values := make([]string, len(s.parts))
	names := s.splitName(to.Name)
	tagged, digested := false, false
	for i, p := range s.parts {
		switch p.role {
		case registry, repository, imageName:
			values[i] = names[p.role]
		case tag:
			switch {
			case isDigest(p.n.Text) && to.Digest != "":
				values[i], digested, tagged = string(to.Digest), true, true
			case to.Tag == s.impliedTag && p.n.Text == "":
				tagged = true
			case to.Tag != "":
				values[i], tagged = to.Tag, true
			}
		case digestPart:
			values[i], digested = string(to.Digest), true
		case hexPart:
			hex, sha256 := strings.CutPrefix(string(to.Digest), "sha256:")
			if to.Digest != "" && !sha256 {
				return nil, errors.New("this field has room for a SHA-256 digest only")
			}
			values[i], digested = hex, true
		}
	}
	return values, s.splitComplete(to, names, tagged, digested)
}

// splitComplete says what of a reference the parts have no room for.
func (s *site) splitComplete(to ref.Ref, names map[role]string, tagged, digested bool) error {
	switch {
	case s.part(imageName) != nil && names[imageName] == "":
		return errors.New("it has no segment for the field of the name")
	case to.Digest != "" && !digested:
		return errors.New("there is no field for the digest")
	case to.Tag != "" && !tagged && !(to.Digest != "" || to.Tag == s.impliedTag || to.Tag == "latest" && s.part(tag) == nil):
		return errors.New("there is no field for the tag")
	case to.Tag == "" && to.Digest == "" && s.part(tag) != nil && s.part(tag).n.Text != "":
		return errors.New("it has no tag, and the field of the tag would be empty")
	}
	return nil
}

// splitName spreads host and path over the parts that there are.
func (s *site) splitName(n ref.Name) map[role]string {
	out := map[role]string{}
	rest := n.String()
	if p := s.part(registry); p != nil && p.n.Text != "" {
		if s.part(repository) == nil && s.part(imageName) != nil || s.part(repository) != nil || strings.Contains(p.n.Text, "/") {
			out[registry], rest = n.Host, n.Path
		}
	}
	dir, name := "", rest
	if i := strings.LastIndexByte(rest, '/'); i >= 0 {
		dir, name = rest[:i], rest[i+1:]
	}
	switch {
	case s.part(repository) != nil && s.part(imageName) != nil:
		out[repository], out[imageName] = dir, name
	case s.part(repository) != nil:
		out[repository] = rest
	default:
		out[imageName] = rest
	}
	return out
}

// checkRef says why a text is no reference.
func checkRef(s string) error {
	_, err := ref.Parse(s)
	return err
}

func isDigest(s string) bool {
	_, err := ref.ParseDigest(s)
	return err == nil
}

// verify reads rewritten files again and compares what they name with what they
// should.
func (d *Document) verify(files []File, want []string) error {
	in := d.in
	in.Kind = d.Kind
	if d.Kind == Chart {
		in.Data, in.Open, in.Files = nil, nil, files
	} else {
		in.Data = files[0].Data
	}
	again, err := read(in, d.opts)
	if err != nil {
		return fmt.Errorf("%s: the rewritten text cannot be read: %w", d.Name, err)
	}
	known := map[ref.Ref]bool{}
	for _, w := range want {
		if r, err := ref.Parse(w); err == nil {
			known[r.WithDefaultTag()] = true
		}
	}
	again.settle(known)
	if len(again.sites) != len(want) {
		return fmt.Errorf("%s: the rewritten text names %d images and should name %d", d.Name, len(again.sites), len(want))
	}
	for i, s := range again.sites {
		if !sameRef(s.Ref, want[i]) {
			return &Error{At: s.At, Field: s.Field, Text: fmt.Sprintf("the rewritten text names %s and should name %s", s.Ref, want[i])}
		}
	}
	return nil
}

// sameRef reports whether two references mean the same image.
func sameRef(a, b string) bool {
	if a == b {
		return true
	}
	x, err1 := ref.Parse(a)
	y, err2 := ref.Parse(b)
	return err1 == nil && err2 == nil && x.WithDefaultTag() == y.WithDefaultTag()
}
