package conf

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"

	"github.com/entrepot/entrepot/internal/tree"
)

// parseTOML reads a TOML text into a tree. The error is a *syntaxError.
func parseTOML(data []byte) (*node, error) {
	b := tomlBuilder{root: &node{kind: isTable, at: pos{1, 1}}, lines: newLineIndex(data)}
	if !utf8.Valid(data) {
		return nil, &syntaxError{at: b.lines.at(tree.InvalidUTF8(data)), text: "the text is not UTF-8"}
	}
	if err := tomlDepth(data); err != nil {
		return nil, err
	}
	b.here = b.root
	b.parser.Reset(data)
	for b.parser.NextExpression() {
		if err := b.expression(b.parser.Expression()); err != nil {
			return nil, err
		}
	}
	if err := b.parser.Error(); err != nil {
		var pe *unstable.ParserError
		if errors.As(err, &pe) {
			return nil, &syntaxError{at: b.at(b.parser.Range(pe.Highlight)), text: pe.Message}
		}
		return nil, &syntaxError{text: err.Error()}
	}
	return b.root, nil
}

// A tomlBuilder puts expressions together into a tree. The library's decoder
// would do, if it took less than the square of the number of keys.
type tomlBuilder struct {
	parser unstable.Parser
	lines  lineIndex
	root   *node
	here   *node // the table that keys go into
}

func (b *tomlBuilder) at(r unstable.Range) pos {
	if r.Length == 0 && r.Offset == 0 {
		return pos{}
	}
	return b.lines.at(int(r.Offset))
}

func (b *tomlBuilder) expression(e *unstable.Node) error {
	switch e.Kind {
	case unstable.Table:
		return b.header(e, false)
	case unstable.ArrayTable:
		return b.header(e, true)
	case unstable.KeyValue:
		return b.keyValue(b.here, e)
	}
	return nil
}

// A part is one part of a dotted key.
type part struct {
	name string
	at   pos
}

func (b *tomlBuilder) key(e *unstable.Node) []part {
	var parts []part
	for it := e.Key(); it.Next(); {
		n := it.Node()
		parts = append(parts, part{string(n.Data), b.at(n.Raw)})
	}
	return parts
}

// header opens the table of [key], or of [[key]].
func (b *tomlBuilder) header(e *unstable.Node, list bool) error {
	parts := b.key(e)
	last := parts[len(parts)-1]
	t, err := b.descend(b.root, parts[:len(parts)-1], implied)
	if err != nil {
		return err
	}
	table := &node{kind: isTable, at: parts[0].at, how: asHeader}
	m := t.exact(last.name)
	switch {
	case m == nil && list:
		t.add(member{name: last.name, at: last.at, value: &node{kind: isList, at: parts[0].at, how: asHeader, items: []*node{table}}})
	case m == nil:
		t.add(member{name: last.name, at: last.at, value: table})
	case list && m.value.kind == isList && m.value.how == asHeader:
		m.value.items = append(m.value.items, table)
	case !list && m.value.kind == isTable && m.value.how == implied:
		table = m.value
		table.how, table.at = asHeader, parts[0].at
	default:
		return duplicate(last, m)
	}
	b.here = table
	if !list {
		b.root.headers = append(b.root.headers, parts)
	}
	return nil
}

func duplicate(p part, first *member) error {
	return &syntaxError{at: p.at, text: fmt.Sprintf("key %q is here twice, first in line %d", p.name, first.at.line)}
}

// descend walks down tables, and makes those that are missing. Dotted keys may
// only add to tables that dotted keys made.
func (b *tomlBuilder) descend(t *node, parts []part, made how) (*node, error) {
	for _, p := range parts {
		m := t.exact(p.name)
		if m == nil {
			m = t.add(member{name: p.name, at: p.at, value: &node{kind: isTable, at: p.at, how: made}})
		}
		next := m.value
		if next.kind == isList && next.how == asHeader {
			next = next.items[len(next.items)-1]
		}
		if next.kind != isTable || next.how == asInline || made == asDotted && next.how != asDotted {
			return nil, duplicate(p, m)
		}
		t = next
	}
	return t, nil
}

func (b *tomlBuilder) keyValue(t *node, e *unstable.Node) error {
	parts := b.key(e)
	last := parts[len(parts)-1]
	t, err := b.descend(t, parts[:len(parts)-1], asDotted)
	if err != nil {
		return err
	}
	if m := t.exact(last.name); m != nil {
		return duplicate(last, m)
	}
	v, err := b.value(e.Value(), last.at)
	if err != nil {
		return err
	}
	t.add(member{name: last.name, at: last.at, value: v})
	return nil
}

// value turns a value into a node. near is its position where it has none of
// its own.
func (b *tomlBuilder) value(e *unstable.Node, near pos) (*node, error) {
	n := &node{at: b.at(e.Raw), text: string(e.Data)}
	if n.at == (pos{}) {
		n.at = near
	}
	switch e.Kind {
	case unstable.String:
		n.kind = isString
	case unstable.Bool:
		n.kind, n.truth = isBool, n.text == "true"
	case unstable.Integer, unstable.Float:
		n.kind = isNumber
	case unstable.Array:
		n.kind, n.text = isList, ""
		for it := e.Children(); it.Next(); {
			item, err := b.value(it.Node(), n.at)
			if err != nil {
				return nil, err
			}
			n.items = append(n.items, item)
		}
	case unstable.InlineTable:
		n.kind, n.text = isTable, ""
		for it := e.Children(); it.Next(); {
			if err := b.keyValue(n, it.Node()); err != nil {
				return nil, err
			}
		}
		n.how = asInline
	default:
		n.kind = isTime
	}
	if n.kind == isNumber || n.kind == isTime {
		return n, b.scalar(e, n)
	}
	return n, nil
}

// scalar has the library's decoder check a number or a time, of which the
// parser has only found the end.
func (b *tomlBuilder) scalar(e *unstable.Node, n *node) error {
	var one map[string]any
	if err := toml.Unmarshal(append([]byte("x = "), e.Data...), &one); err != nil {
		return &syntaxError{at: n.at, text: strings.TrimPrefix(err.Error(), "toml: ")}
	}
	return nil
}

// tomlDepth refuses text whose brackets are nested so deep that the parser's
// recursion would not end well. It knows strings and comments, and takes
// everything else for what it is.
func tomlDepth(data []byte) error {
	depth, line, start := 0, 1, 0
	for i := 0; i < len(data); i++ {
		switch c := data[i]; c {
		case '\n':
			line, start = line+1, i+1
		case '#':
			for i+1 < len(data) && data[i+1] != '\n' {
				i++
			}
		case '"', '\'':
			end := tomlString(data[i:], c)
			for j := i; j < i+end; j++ {
				if data[j] == '\n' {
					line, start = line+1, j+1
				}
			}
			i += end - 1
		case '[', '{':
			if depth++; depth > maxDepth {
				return &syntaxError{at: pos{line, i - start + 1}, text: fmt.Sprintf("more than %d brackets inside each other", maxDepth)}
			}
		case ']', '}':
			if depth > 0 {
				depth--
			}
		}
	}
	return nil
}

// tomlString returns the length of the string that data starts with; one that
// is not closed ends with its line, or with the text.
func tomlString(data []byte, quote byte) int {
	long := len(data) >= 3 && data[1] == quote && data[2] == quote
	i := 1
	if long {
		i = 3
	}
	for ; i < len(data); i++ {
		switch {
		case data[i] == '\\' && quote == '"':
			i++
		case data[i] == '\n' && !long:
			return i
		case data[i] == quote && !long:
			return i + 1
		case data[i] == quote && i+2 < len(data) && data[i+1] == quote && data[i+2] == quote:
			return i + 3
		}
	}
	return len(data)
}
