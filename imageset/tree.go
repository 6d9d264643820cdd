package imageset

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/entrepot/entrepot/document"
)

// renderFirst is said of templates.
const renderFirst = "templates are rendered first, and then read"

// maxNodes is how much of a configuration is looked at, each thing that an alias
// repeats counted again: aliases of aliases grow without end.
const maxNodes = 200_000

// A reading is a configuration while it is read.
type reading struct {
	name    string
	version Version
	cfg     *Config
	errs    []error
	nodes   int
}

// A spot is a value of the configuration, and where it is.
type spot struct {
	r    *reading
	n    *yaml.Node
	path string
	key  *yaml.Node // of a member of a table; nil for other values
}

func (s spot) place() Place {
	n := s.n
	if s.key != nil && n.Kind != yaml.ScalarNode {
		n = s.key // a list begins with its first item, often lines below
	}
	return Place{At: document.Position{File: s.r.name, Line: n.Line, Column: n.Column}, Field: s.path}
}

// fail notes an error about the value.
func (s spot) fail(hint, format string, args ...any) {
	s.r.errs = append(s.r.errs, s.place().err(nil, hint, fmt.Sprintf(format, args...)))
}

// note notes what is no error.
func (s spot) note(hint, format string, args ...any) {
	s.r.cfg.notes = append(s.r.cfg.notes, s.place().err(nil, hint, fmt.Sprintf(format, args...)))
}

// at returns a spot of a node, with what an alias stands for.
func (s spot) at(n *yaml.Node, path string) spot {
	for n.Kind == yaml.AliasNode && n.Alias != nil {
		n = n.Alias
	}
	s.r.nodes++
	return spot{r: s.r, n: n, path: path}
}

// enough reports whether no more is read; it says so once.
func (s spot) enough() bool {
	if s.r.nodes == maxNodes {
		s.r.nodes++
		s.fail("", "the aliases expand to too much")
	}
	return s.r.nodes > maxNodes
}

// A field is a member that a table may have.
type field struct {
	name string
	in   []Version // the versions that have it; none means all
	read func(spot)
}

// table reads a table by its fields. What it has beside them is an error.
func (s spot) table(fields ...field) {
	if s.isNull() {
		return
	}
	if s.n.Kind != yaml.MappingNode {
		s.wrong("a table")
		return
	}
	s.members(fields, map[string]bool{}, false)
}

// members reads the members of a table that are not seen yet; those that a merge
// key brings come after the table's own.
func (s spot) members(fields []field, seen map[string]bool, merged bool) {
	own := map[string]bool{}
	var merges []spot
	for i := 0; i+1 < len(s.n.Content) && !s.enough(); i += 2 {
		key := s.at(s.n.Content[i], s.path)
		if key.n.Kind != yaml.ScalarNode {
			key.wrong("the name of a field")
			continue
		}
		name := key.n.Value
		if key.n.ShortTag() == "!!merge" {
			merges = append(merges, s.at(s.n.Content[i+1], s.path))
			continue
		}
		if own[name] {
			s.at(s.n.Content[i], s.join(name)).fail("", "the field is here twice")
			continue
		}
		own[name] = true
		if seen[name] && merged {
			continue
		}
		seen[name] = true
		s.member(fields, key, s.at(s.n.Content[i+1], s.join(name)))
	}
	for _, m := range merges {
		m.merge(fields, seen)
	}
}

// merge reads what a merge key brings: a table, or several.
func (s spot) merge(fields []field, seen map[string]bool) {
	switch s.n.Kind {
	case yaml.MappingNode:
		s.members(fields, seen, true)
	case yaml.SequenceNode:
		for _, n := range s.n.Content {
			if s.enough() {
				return
			}
			s.at(n, s.path).merge(fields, seen)
		}
	default:
		s.wrong("a table")
	}
}

// member reads one member.
func (s spot) member(fields []field, key, value spot) {
	name := key.n.Value
	key.path, value.key = value.path, key.n
	i := slices.IndexFunc(fields, func(f field) bool { return f.name == name })
	if i >= 0 && (len(fields[i].in) == 0 || slices.Contains(fields[i].in, s.r.version)) {
		fields[i].read(value)
		return
	}
	if i >= 0 {
		key.fail("", "%s does not have this field, %s does", s.r.version, fields[i].in[0])
		return
	}
	var names []string
	hint := ""
	for _, f := range fields {
		if len(f.in) > 0 && !slices.Contains(f.in, s.r.version) {
			continue
		}
		names = append(names, f.name)
		if strings.EqualFold(f.name, name) || strings.EqualFold(f.name, name+"s") || strings.EqualFold(f.name+"s", name) {
			hint = "it is called " + f.name
		}
	}
	if hint == "" {
		hint = "known here: " + strings.Join(names, ", ")
	}
	key.fail(hint, "unknown field")
}

// plain matches the names of fields that need no quotes in a path.
var plain = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)

// join returns the path of a member.
func (s spot) join(name string) string {
	switch {
	case !plain.MatchString(name):
		return s.path + "[" + strconv.Quote(name) + "]"
	case s.path == "":
		return name
	}
	return s.path + "." + name
}

// list reads the items of a list.
func (s spot) list(read func(spot)) {
	if s.isNull() {
		return
	}
	if s.n.Kind != yaml.SequenceNode {
		s.wrong("a list")
		return
	}
	for i, n := range s.n.Content {
		if s.enough() {
			return
		}
		item := s.at(n, fmt.Sprintf("%s[%d]", s.path, i))
		if item.isNull() {
			item.fail("", "there is nothing")
			continue
		}
		read(item)
	}
}

func (s spot) isNull() bool { return s.n.Kind == yaml.ScalarNode && s.n.ShortTag() == "!!null" }

// text returns a string; "" where it is none, or nothing.
func (s spot) text() string {
	switch {
	case s.isNull():
		return ""
	case s.n.Kind != yaml.ScalarNode || s.n.ShortTag() != "!!str":
		s.wrong("a text")
		return ""
	case strings.Contains(s.n.Value, "{{"):
		s.fail(renderFirst, "%q is a template", s.n.Value)
		return ""
	}
	return s.n.Value
}

// boolean returns a truth value.
func (s spot) boolean() bool {
	var v bool
	if s.isNull() {
		return false
	}
	if s.n.Kind != yaml.ScalarNode || s.n.ShortTag() != "!!bool" || s.n.Decode(&v) != nil {
		s.wrong("true or false")
	}
	return v
}

// number returns a whole number.
func (s spot) number() int64 {
	var v int64
	if s.isNull() {
		return 0
	}
	if s.n.Kind != yaml.ScalarNode || s.n.ShortTag() != "!!int" || s.n.Decode(&v) != nil {
		s.wrong("a whole number")
	}
	return v
}

// wrong says that the value is of another kind than it should be.
func (s spot) wrong(want string) {
	if s.template() {
		s.fail(renderFirst, "this is a template")
		return
	}
	got, hint := "", ""
	switch s.n.Kind {
	case yaml.MappingNode:
		got = "a table"
	case yaml.SequenceNode:
		got = "a list"
	default:
		got = map[string]string{"!!str": "a text", "!!int": "a number", "!!float": "a number", "!!bool": "a truth value", "!!null": "nothing"}[s.n.ShortTag()]
		if got == "" {
			got = "of another type"
		}
		if want == "a text" && s.n.Kind == yaml.ScalarNode {
			hint = fmt.Sprintf("write it in quotes: %q", s.n.Value)
		}
	}
	s.fail(hint, "this is %s and should be %s", got, want)
}

// template reports whether the value is "{{ x }}" without quotes: a table, whose
// key is a table.
func (s spot) template() bool {
	return s.n.Kind == yaml.MappingNode && len(s.n.Content) > 0 && s.n.Content[0].Kind == yaml.MappingNode
}

var yamlLine = regexp.MustCompile(`line (\d+)(?:, column (\d+))?:? *`)

// parseYAML returns the one document of a text.
func parseYAML(name string, data []byte) (*yaml.Node, error) {
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var root *yaml.Node
	for {
		var n yaml.Node
		err := dec.Decode(&n)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, syntaxError(name, data, err)
		}
		if n.Kind != yaml.DocumentNode || len(n.Content) == 0 || n.Content[0].ShortTag() == "!!null" {
			continue
		}
		if root != nil {
			return nil, &document.Error{At: document.Position{File: name, Line: n.Content[0].Line}, Text: "an image set is a document by itself, and here is a second one", Hint: "write it to another file"}
		}
		root = n.Content[0]
	}
	if root == nil {
		return nil, &document.Error{At: document.Position{File: name}, Text: "there is nothing in it"}
	}
	return root, nil
}

// syntaxError takes the line out of the text of an error of the library.
func syntaxError(name string, data []byte, err error) error {
	e := &document.Error{At: document.Position{File: name}, Text: strings.TrimPrefix(err.Error(), "yaml: ")}
	if m := yamlLine.FindStringSubmatchIndex(e.Text); m != nil {
		e.At.Line, _ = strconv.Atoi(e.Text[m[2]:m[3]]) // digits
		e.Text = e.Text[m[1]:]
	}
	if bytes.Contains(data, []byte("{{")) {
		e.Hint = renderFirst
	}
	return e
}
