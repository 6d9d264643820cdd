package conf

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"unicode/utf8"
)

// parseJSON reads a JSON text into a tree. It is strict: no comments, no comma
// too many, no key twice. An empty text is null. The error is a *syntaxError.
func parseJSON(data []byte) (*node, error) {
	p := jsonParser{data: data, lines: newLineIndex(data)}
	return p.text()
}

// parseLaxJSON is parseJSON for clients that take a key twice, as encoding/json
// does: the last one counts, and tables of the top are put together. It returns
// an error for each.
func parseLaxJSON(data []byte) (root *node, twice []*syntaxError, err error) {
	p := jsonParser{data: data, lines: newLineIndex(data), lax: true}
	root, err = p.text()
	return root, p.twice, err
}

// text reads the whole text.
func (p *jsonParser) text() (*node, error) {
	data := p.data
	if !utf8.Valid(data) {
		return nil, p.fail(invalidUTF8(data), "the text is not UTF-8")
	}
	p.space()
	if p.i == len(data) {
		return &node{kind: isNull, at: pos{1, 1}}, nil
	}
	n, err := p.value(0)
	if err != nil {
		return nil, err
	}
	if p.space(); p.i < len(data) {
		return nil, p.fail(p.i, "something follows the value")
	}
	return n, nil
}

// invalidUTF8 returns the offset of the first byte that is no UTF-8.
func invalidUTF8(data []byte) int {
	for i := 0; i < len(data); {
		r, size := utf8.DecodeRune(data[i:])
		if r == utf8.RuneError && size <= 1 {
			return i
		}
		i += size
	}
	return len(data)
}

type jsonParser struct {
	data  []byte
	lines lineIndex
	i     int  // the next byte
	lax   bool // take a key twice
	twice []*syntaxError
}

func (p *jsonParser) fail(at int, text string, args ...any) error {
	return &syntaxError{at: p.lines.at(at), text: fmt.Sprintf(text, args...)}
}

func (p *jsonParser) space() {
	for p.i < len(p.data) && bytes.IndexByte([]byte(" \t\r\n"), p.data[p.i]) >= 0 {
		p.i++
	}
}

// peek returns the next byte after space, 0 at the end.
func (p *jsonParser) peek() byte {
	p.space()
	if p.i < len(p.data) {
		return p.data[p.i]
	}
	return 0
}

func (p *jsonParser) value(depth int) (*node, error) {
	c := p.peek()
	n := &node{at: p.lines.at(p.i)}
	switch {
	case depth > maxDepth:
		return nil, p.fail(p.i, "more than %d lists and objects inside each other", maxDepth)
	case c == '{':
		n.kind = isTable
		return n, p.object(n, depth)
	case c == '[':
		n.kind = isList
		return n, p.array(n, depth)
	case c == '"':
		n.kind = isString
		var err error
		n.text, err = p.str()
		return n, err
	case c == 0:
		return nil, p.fail(p.i, "the text ends where a value should be")
	}
	return n, p.word(n)
}

// word reads a number, true, false or null.
func (p *jsonParser) word(n *node) error {
	start := p.i
	for p.i < len(p.data) && bytes.IndexByte([]byte(" \t\r\n,:]}[{\""), p.data[p.i]) < 0 {
		p.i++
	}
	n.text = string(p.data[start:p.i])
	switch n.text {
	case "true", "false":
		n.kind, n.truth = isBool, n.text == "true"
	case "null":
		n.kind = isNull
	default:
		if n.text == "" || !json.Valid([]byte(n.text)) {
			return p.fail(start, "unexpected %s", strconv.Quote(string(p.data[start:max(p.i, start+1)])))
		}
		n.kind = isNumber
	}
	return nil
}

func (p *jsonParser) str() (string, error) {
	start := p.i
	for p.i++; p.i < len(p.data); p.i++ {
		switch p.data[p.i] {
		case '\\':
			p.i++
		case '\n':
			return "", p.fail(start, "the string is not closed in its line")
		case '"':
			p.i++
			var s string
			if err := json.Unmarshal(p.data[start:p.i], &s); err != nil {
				return "", p.fail(start, "%v", err)
			}
			return s, nil
		}
	}
	return "", p.fail(start, "the string is not closed")
}

func (p *jsonParser) array(n *node, depth int) error {
	p.i++
	if p.peek() == ']' {
		p.i++
		return nil
	}
	for {
		item, err := p.value(depth + 1)
		if err != nil {
			return err
		}
		n.items = append(n.items, item)
		switch p.peek() {
		case ',':
			p.i++
		case ']':
			p.i++
			return nil
		default:
			return p.fail(p.i, "a comma or ']' should be here")
		}
	}
}

func (p *jsonParser) object(n *node, depth int) error {
	p.i++
	if p.peek() == '}' {
		p.i++
		return nil
	}
	for {
		if err := p.member(n, depth); err != nil {
			return err
		}
		switch p.peek() {
		case ',':
			p.i++
		case '}':
			p.i++
			return nil
		default:
			return p.fail(p.i, "a comma or '}' should be here")
		}
	}
}

func (p *jsonParser) member(n *node, depth int) error {
	if p.peek() != '"' {
		return p.fail(p.i, "a key in quotes should be here")
	}
	at := p.i
	name, err := p.str()
	if err != nil {
		return err
	}
	first := n.exact(name)
	if first != nil {
		twice := &syntaxError{at: p.lines.at(at), text: fmt.Sprintf("key %q is here twice, first in line %d", name, first.at.line)}
		if !p.lax {
			return twice
		}
		p.twice = append(p.twice, twice)
	}
	if p.peek() != ':' {
		return p.fail(p.i, "a colon should be here")
	}
	p.i++
	v, err := p.value(depth + 1)
	if err != nil {
		return err
	}
	switch {
	case first == nil:
		n.add(member{name: name, at: p.lines.at(at), value: v})
	case depth == 0 && first.value.kind == isTable && v.kind == isTable:
		for _, m := range v.keys {
			if old := first.value.exact(m.name); old != nil {
				old.at, old.value = m.at, m.value
				continue
			}
			first.value.add(m)
		}
	default:
		first.at, first.value = p.lines.at(at), v
	}
	return nil
}
