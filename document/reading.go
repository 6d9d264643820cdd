package document

import (
	"bytes"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/entrepot/entrepot/internal/tree"
	"github.com/entrepot/entrepot/ref"
)

// A file is one text of an input.
type file struct {
	name string // for messages
	path string // for output
	data []byte
	text tree.Lines
	// in is the archive inside of the input that the file is in, and holds what
	// it is, where it is one itself; nil otherwise.
	in, holds *packed
}

func newFile(name, path string, data []byte) *file {
	return &file{name: name, path: path, data: data, text: tree.NewLines(data)}
}

// at returns the position of a byte.
func (f *file) at(offset int) Position {
	line, column := f.text.At(offset)
	return Position{File: f.name, Line: line, Column: column}
}

// A reading is an input while its kind's reader goes through it.
type reading struct {
	in   Input
	opts Options
	doc  *Document
	errs []error
	// main is the file that was parsed in order to recognise the kind, and docs
	// what it holds; nil where it is neither YAML nor JSON, and syntax is why.
	main   *file
	docs   []*tree.Node
	syntax error
	// archive is what the archive holds, once it was looked into.
	archive *contents
	// owner is the Kubernetes object that sites belong to.
	owner *object
	// seen are the mentions that were added, so that a rule does not add them
	// again.
	seen map[mention]bool
}

// A mention is a scalar and the path by which it was reached.
type mention struct {
	n     *tree.Node
	field string
}

// fail notes an error at a place of a file; the reader goes on.
func (r *reading) fail(f *file, offset int, field, hint, format string, args ...any) {
	r.errs = append(r.errs, &Error{At: f.at(offset), Field: field, Text: fmt.Sprintf(format, args...), Hint: hint})
}

// note notes something that is no error.
func (r *reading) note(f *file, offset int, field, hint, format string, args ...any) {
	r.doc.notes = append(r.doc.notes, &Error{At: f.at(offset), Field: field, Text: fmt.Sprintf(format, args...), Hint: hint})
}

// addFile makes a file one of the document, so that it is part of the output.
func (r *reading) addFile(f *file) *file {
	r.doc.files = append(r.doc.files, f)
	return f
}

// A spot is a value of a tree, and how it is reached. The zero node means that
// there is none.
type spot struct {
	r    *reading
	f    *file
	n    *tree.Node // nil where there is nothing
	path string
}

func (r *reading) root(f *file, n *tree.Node) spot { return spot{r, f, n, ""} }

// fail notes an error at a spot.
func (s spot) fail(hint, format string, args ...any) {
	s.r.fail(s.f, s.n.Start, s.path, hint, format, args...)
}

// member returns what a table has at a key; a spot without a node where it has
// nothing, or null, there.
func (s spot) member(key string) spot {
	out := spot{s.r, s.f, nil, join(s.path, key)}
	if m := s.n.Find(key); m != nil && m.Value.Kind != tree.Null {
		out.n = m.Value
	}
	return out
}

// down follows several keys.
func (s spot) down(keys ...string) spot {
	for _, k := range keys {
		s = s.member(k)
	}
	return s
}

// str returns the string at a key, "" where there is none.
func (s spot) str(key string) string {
	m := s.member(key)
	if m.n == nil || m.n.Kind != tree.String {
		return ""
	}
	return m.n.Text
}

// items returns the items of a list. A value of another kind is an error.
func (s spot) items() []spot {
	if s.n == nil {
		return nil
	}
	if s.n.Kind != tree.List {
		s.fail("", "this is %v and should be a list", s.n.Kind)
		return nil
	}
	out := make([]spot, 0, len(s.n.Items))
	for i, item := range s.n.Items {
		out = append(out, spot{s.r, s.f, item, fmt.Sprintf("%s[%d]", s.path, i)})
	}
	return out
}

// members returns the values of a table, in the order of the file. A value of
// another kind is an error.
func (s spot) members() []spot {
	if s.n == nil {
		return nil
	}
	if s.n.Kind != tree.Table {
		s.fail("", "this is %v and should be a table of keys and values", s.n.Kind)
		return nil
	}
	out := make([]spot, 0, len(s.n.Keys))
	for i := range s.n.Keys {
		m := &s.n.Keys[i]
		out = append(out, spot{s.r, s.f, m.Value, join(s.path, m.Name)})
	}
	return out
}

// only refuses the keys of a table that are none of those named. It is for
// kinds with a closed schema.
func (s spot) only(known ...string) {
	if s.n == nil || s.n.Kind != tree.Table {
		return
	}
	for i := range s.n.Keys {
		m := &s.n.Keys[i]
		if !slices.Contains(known, m.Name) {
			s.r.fail(s.f, m.At, join(s.path, m.Name), "known here: "+strings.Join(known, ", "), "unknown field")
		}
	}
}

// key returns the last key of a path.
func (s spot) key() string {
	if i := strings.LastIndexByte(s.path, '.'); i >= 0 && !strings.HasSuffix(s.path, `"]`) {
		return s.path[i+1:]
	}
	return s.path
}

// join adds a key to a path. Keys that would not read well are quoted.
func join(path, key string) string {
	if key == "" || strings.ContainsAny(key, ".[]\" \n") {
		return fmt.Sprintf("%s[%q]", path, key)
	}
	if path == "" {
		return key
	}
	return path + "." + key
}

// image adds the image that a scalar names. An empty one is none.
func (s spot) image() *site {
	if s.n == nil {
		return nil
	}
	text, ok := s.reference()
	if !ok || text == "" {
		return nil
	}
	return s.r.add(text, s.path, part{role: wholeRef, f: s.f, n: s.n})
}

// reference returns the text of a scalar that should be a reference; ok is
// false where it cannot be one, which is noted.
func (s spot) reference() (text string, ok bool) {
	if s.n.Kind != tree.String {
		s.fail("put quotes around it where it is a name", "this is %v and should be an image", s.n.Kind)
		return "", false
	}
	text = s.n.Text
	if s.n.Style == tree.Literal || s.n.Style == tree.Folded {
		text = strings.TrimRight(text, "\n")
	}
	if strings.Contains(text, "{{") {
		s.fail(renderFirst, "%q is a template", text)
		return "", false
	}
	if text == "" {
		return "", true
	}
	if _, err := ref.Parse(text); err != nil {
		s.r.errs = append(s.r.errs, &Error{At: s.f.at(s.n.Start), Field: s.path, Text: "this is no image", Err: err})
		return "", false
	}
	return text, true
}

const renderFirst = "templates are rendered first, for example by `helm template`, and then read"

// add adds a mention of an image, by the parts that it is written in.
func (r *reading) add(text, field string, parts ...part) *site {
	first := parts[0]
	if r.seen == nil {
		r.seen = map[mention]bool{}
	}
	r.seen[mention{first.n, field}] = true
	s := &site{
		Image: Image{Ref: text, At: first.f.at(first.start()), Field: field, Kind: r.doc.Kind},
		parts: parts,
		owner: r.owner,
	}
	r.doc.sites = append(r.doc.sites, s)
	return s
}

// parse parses a text as what it looks like: JSON where it starts with a
// bracket and is JSON, YAML otherwise.
func parse(f *file) ([]*tree.Node, error) {
	start := bytes.TrimLeft(bytes.TrimPrefix(f.data, []byte(tree.BOM)), " \t\r\n")
	if len(start) > 0 && (start[0] == '{' || start[0] == '[') {
		docs, err := parseJSON(f.data)
		if err == nil {
			return docs, nil
		}
		if strings.EqualFold(path.Ext(f.name), ".json") {
			return nil, err
		}
		// Flow style, perhaps: but a text with a fault of JSON says so.
		if docs, yamlErr := parseYAML(f.data); yamlErr == nil {
			return docs, nil
		}
		return nil, err
	}
	return parseYAML(f.data)
}

// refuse turns why a text cannot be parsed into an error with its place.
func (r *reading) refuse(f *file, err error) error {
	bad, ok := errors.AsType[*tree.Error](err)
	if !ok {
		return fmt.Errorf("%s: %w", f.name, err)
	}
	e := &Error{At: f.at(bad.Offset), Text: bad.Text}
	if bad.Template || bytes.Contains(f.data, []byte("{{")) {
		e.Hint = renderFirst
	}
	return e
}
