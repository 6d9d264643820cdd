package conf

import (
	"bytes"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
)

// parseYAML reads the documents of a YAML text into trees. Documents that hold
// nothing are left out. The error is a *syntaxError.
func parseYAML(data []byte) (docs []*node, err error) {
	b := yamlBuilder{data: data, lines: newLineIndex(data)}
	return b.documents()
}

// parseLaxYAML is parseYAML for clients that take a key twice: the last one
// counts. It returns an error for each that has no effect.
func parseLaxYAML(data []byte) (docs []*node, lost []*syntaxError, err error) {
	b := yamlBuilder{data: data, lines: newLineIndex(data), lax: true}
	docs, err = b.documents()
	return docs, b.lost, err
}

func (b *yamlBuilder) documents() (docs []*node, err error) {
	data := b.data
	if !utf8.Valid(data) {
		return nil, &syntaxError{at: b.lines.at(invalidUTF8(data)), text: "the text is not UTF-8"}
	}
	if err := b.characters(); err != nil {
		return nil, err
	}
	if err := b.nesting(); err != nil {
		return nil, err
	}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	for {
		var n yaml.Node
		if err := dec.Decode(&n); err == io.EOF {
			return docs, nil
		} else if err != nil {
			return nil, yamlError(err)
		}
		if n.Kind != yaml.DocumentNode || len(n.Content) == 0 {
			continue
		}
		b.active = map[*yaml.Node]bool{}
		doc, err := b.node(n.Content[0], 0)
		if err != nil {
			return nil, err
		}
		if doc.kind != isNull {
			docs = append(docs, doc)
		}
	}
}

var yamlLine = regexp.MustCompile(`line (\d+)(?:, column (\d+))?:? *`)

// yamlError takes the position out of the text of an error of the library.
func yamlError(err error) error {
	text := err.Error()
	m := yamlLine.FindStringSubmatchIndex(text)
	if m == nil {
		return &syntaxError{at: pos{1, 1}, text: strings.TrimPrefix(text, "yaml: ")}
	}
	at := pos{column: 1}
	at.line, _ = strconv.Atoi(text[m[2]:m[3]])
	at.line = max(at.line, 1)
	if m[4] >= 0 {
		at.column, _ = strconv.Atoi(text[m[4]:m[5]])
	}
	return &syntaxError{at: at, text: text[m[1]:]}
}

// A yamlBuilder turns the library's nodes into ours.
type yamlBuilder struct {
	data   []byte
	lines  lineIndex
	active map[*yaml.Node]bool // anchors being expanded, against cycles
	lax    bool                // take a key twice
	lost   []*syntaxError      // keys without effect, where lax
	size   int                 // nodes made, against aliases that multiply
}

// yamlSlack is how many nodes more than its text has bytes a tree may have:
// without aliases it has fewer.
const yamlSlack = 10_000

// characters refuses what YAML does not allow anywhere, because the library
// does not say where it is, and line breaks that nobody but YAML counts.
func (b *yamlBuilder) characters() error {
	for i, c := range string(b.data) {
		switch {
		case c == '\r' && bytes.HasPrefix(b.data[i+1:], []byte("\n")):
		case c == 0x2028, c == 0x2029:
			return &syntaxError{at: b.lines.at(i), text: fmt.Sprintf("the line break %U is not allowed", c)}
		case c == '\t', c == '\n', c >= ' ' && c < 0x7f, c >= 0xa0 && c != 0xfffe && c != 0xffff:
		default:
			return &syntaxError{at: b.lines.at(i), text: fmt.Sprintf("the character %U is not allowed", c)}
		}
	}
	return nil
}

// nesting refuses flow collections that are nested too deep, before the
// library recurses into them. It counts brackets wherever they stand in a
// line, so text full of brackets is refused as well.
func (b *yamlBuilder) nesting() error {
	depth := 0
	for i, c := range b.data {
		switch c {
		case '[', '{':
			if depth++; depth > 16*maxDepth {
				return &syntaxError{at: b.lines.at(i), text: "too many brackets inside each other"}
			}
		case ']', '}':
			depth = max(depth-1, 0)
		}
	}
	return nil
}

// at returns the position of a node; the library counts columns in runes.
func (b *yamlBuilder) at(n *yaml.Node) pos {
	if n.Line < 1 || n.Line > len(b.lines) {
		return pos{len(b.lines), 1} // the library counts lone carriage returns, too
	}
	offset := b.lines[n.Line-1]
	for range n.Column - 1 {
		if offset >= len(b.data) || b.data[offset] == '\n' {
			break
		}
		_, size := utf8.DecodeRune(b.data[offset:])
		offset += size
	}
	return b.lines.at(min(offset, len(b.data)))
}

func (b *yamlBuilder) node(n *yaml.Node, depth int) (*node, error) {
	at := b.at(n)
	if b.size++; b.size > len(b.data)+yamlSlack {
		return nil, &syntaxError{at: at, text: "the aliases expand to too much"}
	}
	if depth > maxDepth {
		return nil, &syntaxError{at: at, text: fmt.Sprintf("more than %d levels", maxDepth)}
	}
	switch n.Kind {
	case yaml.AliasNode:
		if b.active[n.Alias] {
			return nil, &syntaxError{at: at, text: fmt.Sprintf("the alias %q is inside what it stands for", n.Value)}
		}
		b.active[n.Alias] = true
		defer delete(b.active, n.Alias)
		return b.node(n.Alias, depth+1)
	case yaml.SequenceNode:
		out := &node{kind: isList, at: at}
		for _, item := range n.Content {
			v, err := b.node(item, depth+1)
			if err != nil {
				return nil, err
			}
			out.items = append(out.items, v)
		}
		return out, nil
	case yaml.MappingNode:
		return b.mapping(n, at, depth)
	case yaml.ScalarNode:
		return yamlScalar(n, at), nil
	}
	return nil, &syntaxError{at: at, text: "this is no value"}
}

func yamlScalar(n *yaml.Node, at pos) *node {
	out := &node{kind: isString, at: at, text: n.Value}
	switch n.ShortTag() {
	case "!!null":
		out.kind = isNull
	case "!!bool":
		out.kind = isBool
		if err := n.Decode(&out.truth); err != nil {
			out.kind = isString
		}
	case "!!int", "!!float":
		out.kind = isNumber
	case "!!timestamp":
		out.kind = isTime
	}
	return out
}

func (b *yamlBuilder) mapping(n *yaml.Node, at pos, depth int) (*node, error) {
	out := &node{kind: isTable, at: at}
	var merges []*node
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		v, err := b.node(n.Content[i+1], depth+1)
		if err != nil {
			return nil, err
		}
		if key.Kind == yaml.AliasNode {
			key = key.Alias
		}
		switch {
		case key.ShortTag() == "!!merge":
			merges = append(merges, v)
			continue
		case key.Kind != yaml.ScalarNode:
			return nil, &syntaxError{at: b.at(n.Content[i]), text: "a key should be a string here"}
		}
		if first := out.exact(key.Value); first != nil {
			twice := &syntaxError{at: b.at(n.Content[i]), text: fmt.Sprintf("key %q is here twice, first in line %d", key.Value, first.at.line)}
			if !b.lax {
				return nil, twice
			}
			b.lost = append(b.lost, twice)
			first.at, first.value = twice.at, v
			continue
		}
		out.add(member{name: key.Value, at: b.at(n.Content[i]), value: v})
	}
	for _, m := range merges {
		if err := out.merge(m); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// merge adds what a merge key ("<<") brings: keys that are not here yet.
func (n *node) merge(from *node) error {
	switch from.kind {
	case isTable:
		for _, m := range from.keys {
			if n.exact(m.name) == nil {
				n.add(m)
			}
		}
		return nil
	case isList:
		for _, item := range from.items {
			if item.kind != isTable {
				return &syntaxError{at: item.at, text: "only a mapping can be merged"}
			}
			if err := n.merge(item); err != nil {
				return err
			}
		}
		return nil
	}
	return &syntaxError{at: from.at, text: "only a mapping can be merged"}
}
