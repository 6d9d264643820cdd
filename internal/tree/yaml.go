package tree

import (
	"bytes"
	"io"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
)

// YAML reads the documents of a YAML text. Documents that hold nothing are left
// out. With Lax, lost has an *Error for each key that is there twice. The error
// is an *Error.
//
// The library gives the line and the column, in runes, of where a node starts,
// at its anchor or tag where it has one. Where it ends, what is doubled, and
// what is a template is found here.
func YAML(data []byte, o Options) (docs []*Node, lost []*Error, err error) {
	b := yamlBuilder{reader: reader{data: data, lines: NewLines(data), opts: o}}
	docs, err = b.documents()
	return docs, b.lost, err
}

func (b *yamlBuilder) documents() (docs []*Node, err error) {
	if err := b.check(); err != nil {
		return nil, err
	}
	// The byte order mark shifts offsets and no columns.
	text := bytes.TrimPrefix(b.data, []byte(BOM))
	b.shift = len(b.data) - len(text)
	dec := yaml.NewDecoder(bytes.NewReader(text))
	for {
		var n yaml.Node
		if err := dec.Decode(&n); err == io.EOF {
			return docs, nil
		} else if err != nil {
			return nil, b.yamlError(err)
		}
		if n.Kind != yaml.DocumentNode || len(n.Content) == 0 {
			continue
		}
		b.made = map[*yaml.Node]*Node{}
		doc, err := b.node(n.Content[0], 0)
		if err != nil {
			return nil, err
		}
		if doc.Kind != Null {
			docs = append(docs, doc)
		}
	}
}

// A yamlBuilder turns the library's nodes into ours.
type yamlBuilder struct {
	reader
	shift int // bytes of the byte order mark
	// made are the nodes that are there; nil while one is being made.
	//
	//	:: the library's → ours
	made map[*yaml.Node]*Node
	// last is the place that was looked up last, from where the next one in its
	// line is found.
	last struct{ line, column, offset int }
}

// sizeSlack is how many nodes more than its text has bytes a tree may have:
// without aliases it has fewer.
const sizeSlack = 10_000

// check refuses what YAML does not allow anywhere, because the library does not
// say where it is, and line breaks that nobody but YAML counts.
func (b *yamlBuilder) check() error {
	if !utf8.Valid(b.data) {
		return invalid(InvalidUTF8(b.data), "the text is not UTF-8")
	}
	depth := 0
	for i, c := range string(b.data) {
		switch {
		case c == '[', c == '{':
			if depth++; depth > maxBrackets*b.opts.MaxDepth {
				return invalid(i, "too many brackets inside each other")
			}
		case c == ']', c == '}':
			depth = max(depth-1, 0)
		case c == '\r' && bytes.HasPrefix(b.data[i+1:], []byte("\n")):
		case c == 0x2028, c == 0x2029:
			return invalid(i, "the line break %U is not allowed", c)
		case c == '\t', c == '\n', c >= ' ' && c < 0x7f, c >= 0xa0 && c != 0xfffe && c != 0xffff:
		default:
			return invalid(i, "the character %U is not allowed", c)
		}
	}
	return nil
}

var yamlLine = regexp.MustCompile(`line (\d+)(?:, column (\d+))?:? *`)

// yamlError takes the position out of the text of an error of the library.
func (b *yamlBuilder) yamlError(err error) error {
	text := err.Error()
	m := yamlLine.FindStringSubmatchIndex(text)
	if m == nil {
		return invalid(0, "%s", strings.TrimPrefix(text, "yaml: "))
	}
	line, _ := strconv.Atoi(text[m[2]:m[3]]) // digits
	column := 1
	if m[4] >= 0 {
		column, _ = strconv.Atoi(text[m[4]:m[5]])
	}
	return invalid(b.offset(max(line, 1), max(column, 1)), "%s", text[m[1]:])
}

// offset returns where a line and column of the library are.
func (b *yamlBuilder) offset(line, column int) int {
	if line < 1 || line > len(b.lines) {
		return len(b.data)
	}
	from, at := 1, b.lines[line-1]
	if line == 1 {
		at += b.shift
	}
	if b.last.line == line && b.last.column <= column {
		from, at = b.last.column, b.last.offset
	}
	for ; from < column && at < len(b.data) && b.data[at] != '\n'; from++ {
		_, size := utf8.DecodeRune(b.data[at:])
		at += size
	}
	b.last.line, b.last.column, b.last.offset = line, from, at
	return at
}

// start returns the first byte of a node, after its anchor and its tag.
func (b *yamlBuilder) start(n *yaml.Node) int {
	at := b.offset(n.Line, n.Column)
	if n.Kind == yaml.AliasNode || n.Anchor == "" && n.Style&yaml.TaggedStyle == 0 {
		return at
	}
	for at < len(b.data) {
		switch b.data[at] {
		case '&', '!':
			for at < len(b.data) && bytes.IndexByte([]byte(" \t\r\n"), b.data[at]) < 0 {
				at++
			}
		case ' ', '\t', '\r', '\n':
			at++
		case '#':
			for at < len(b.data) && b.data[at] != '\n' {
				at++
			}
		default:
			return at
		}
	}
	return at
}

func (b *yamlBuilder) node(n *yaml.Node, depth int) (*Node, error) {
	if depth > b.opts.MaxDepth {
		return nil, invalid(b.start(n), "more than %d levels", b.opts.MaxDepth)
	}
	if n.Kind == yaml.AliasNode {
		out := b.made[n.Alias]
		if out == nil {
			return nil, invalid(b.start(n), "the alias %q is inside what it stands for", n.Value)
		}
		if depth+out.Depth > b.opts.MaxDepth {
			return nil, invalid(b.start(n), "more than %d levels", b.opts.MaxDepth)
		}
		out.Shared = true
		return out, nil
	}
	out := &Node{Flow: n.Style&yaml.FlowStyle != 0, Start: b.start(n), Size: 1}
	var err error
	switch n.Kind {
	case yaml.SequenceNode:
		out.Kind = List
		err = b.sequence(n, out, depth)
	case yaml.MappingNode:
		out.Kind = Table
		err = b.mapping(n, out, depth)
	case yaml.ScalarNode:
		b.scalar(n, out)
	default:
		err = invalid(out.Start, "this is no value")
	}
	b.made[n] = out
	return out, err
}

// grow counts a child of a node. Aliases multiply, so what they expand to is
// limited.
func (b *yamlBuilder) grow(n, child *Node) error {
	n.Size += child.Size
	n.Depth = max(n.Depth, child.Depth+1)
	if n.Size > len(b.data)+sizeSlack {
		return invalid(n.Start, "the aliases expand to too much")
	}
	return nil
}

func (b *yamlBuilder) sequence(n *yaml.Node, out *Node, depth int) error {
	for _, item := range n.Content {
		v, err := b.child(item, out, depth)
		if err != nil {
			return err
		}
		out.Items = append(out.Items, v)
	}
	return nil
}

func (b *yamlBuilder) child(n *yaml.Node, parent *Node, depth int) (*Node, error) {
	v, err := b.node(n, depth+1)
	if err != nil {
		return nil, err
	}
	if parent.Flow && v.Kind < List {
		v.Flow = true
	}
	return v, b.grow(parent, v)
}

func (b *yamlBuilder) mapping(n *yaml.Node, out *Node, depth int) error {
	var merges []*Node
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		if key.Kind == yaml.AliasNode {
			key = key.Alias
		}
		at := b.start(n.Content[i])
		if key.Kind != yaml.ScalarNode {
			return b.badKey(at)
		}
		name := &Node{}
		b.scalar(key, name)
		if n.Content[i] == key {
			b.made[key] = name
		}
		v, err := b.child(n.Content[i+1], out, depth)
		if err != nil {
			return err
		}
		if key.ShortTag() == "!!merge" {
			merges = append(merges, v)
			continue
		}
		m := Member{Name: key.Value, At: at, End: name.End, Value: v}
		if n.Content[i] != key {
			m.End = 0
		}
		first := out.Find(key.Value)
		if first == nil {
			out.Put(m)
			continue
		}
		if err := b.twice(at, key.Value, first); err != nil {
			return err
		}
		*first = m
	}
	return b.merge(out, merges)
}

// badKey says what is wrong with a key that is no scalar. In "{{ x }}" the inner
// braces are one.
func (b *yamlBuilder) badKey(at int) error {
	if at > 0 && b.data[at] == '{' && b.data[at-1] == '{' {
		return &Error{Offset: at - 1, Text: "this is a template", Template: true}
	}
	return invalid(at, "a key should be a name here")
}

// merge adds what merge keys ("<<") bring: keys that are not there yet.
func (b *yamlBuilder) merge(out *Node, from []*Node) error {
	for _, m := range from {
		switch m.Kind {
		case Table:
			for _, k := range m.Keys {
				if out.Find(k.Name) == nil {
					k.Merged = true
					out.Put(k)
				}
			}
		case List:
			for _, item := range m.Items {
				if item.Kind != Table {
					return invalid(item.Start, "only a table can be merged")
				}
			}
			if err := b.merge(out, m.Items); err != nil {
				return err
			}
		default:
			return invalid(m.Start, "only a table can be merged")
		}
	}
	return nil
}

// scalar fills in a scalar: what it is, and where it ends.
func (b *yamlBuilder) scalar(n *yaml.Node, out *Node) {
	out.Kind, out.Text, out.Start, out.Size = scalarKind(n.ShortTag()), n.Value, b.start(n), 1
	if out.Kind == Bool && n.Decode(&out.Truth) != nil {
		out.Kind = Other // tagged as what it is not
	}
	rest := b.data[min(out.Start, len(b.data)):]
	switch {
	case n.Style&yaml.DoubleQuotedStyle != 0:
		out.Style = Double
		out.End = out.Start + quotedLen(rest, '"')
	case n.Style&yaml.SingleQuotedStyle != 0:
		out.Style = Single
		out.End = out.Start + quotedLen(rest, '\'')
	case n.Style&yaml.LiteralStyle != 0:
		out.Style = Literal
		b.block(out)
	case n.Style&yaml.FoldedStyle != 0:
		out.Style = Folded
		b.block(out)
	case bytes.HasPrefix(rest, []byte(n.Value)):
		// A plain scalar of one line is written as what it is.
		out.End = out.Start + len(n.Value)
	}
	if out.End == out.Start && n.Value != "" {
		out.End = 0
	}
}

func scalarKind(tag string) Kind {
	switch tag {
	case "!!str", "!!merge":
		return String
	case "!!null":
		return Null
	case "!!bool":
		return Bool
	case "!!int", "!!float":
		return Number
	case "!!timestamp":
		return Time
	}
	return Other
}

// quotedLen returns the length of the quoted scalar that a text starts with, 0
// where it does not start with one.
func quotedLen(text []byte, quote byte) int {
	if len(text) == 0 || text[0] != quote {
		return 0
	}
	for i := 1; i < len(text); i++ {
		switch {
		case text[i] == '\\' && quote == '"':
			i++
		case text[i] == quote && quote == '\'' && i+1 < len(text) && text[i+1] == quote:
			i++
		case text[i] == quote:
			return i + 1
		}
	}
	return 0
}

// block finds the text of a block scalar of one line: the first line below its
// header that is not empty.
func (b *yamlBuilder) block(out *Node) {
	header := out.Start
	out.Head = header
	at := bytes.IndexByte(b.data[min(header, len(b.data)):], '\n')
	if at < 0 {
		return
	}
	at += header + 1
	for at < len(b.data) && bytes.IndexByte([]byte(" \r\n"), b.data[at]) >= 0 {
		at++
	}
	end := at
	for end < len(b.data) && b.data[end] != '\n' && b.data[end] != '\r' {
		end++
	}
	if want := strings.TrimRight(out.Text, "\n"); want != "" && string(b.data[at:end]) == want {
		out.Start, out.End = at, end
	}
}
