package document

import (
	"bytes"
	"encoding/json"
	"strconv"
	"unicode/utf8"
)

// parseJSON reads a text of one or several JSON values, one after the other. It
// is strict: no comments, no comma too many, no key twice. The error is a
// *syntaxError.
func parseJSON(data []byte) ([]*node, error) {
	if !utf8.Valid(data) {
		return nil, invalid(invalidUTF8(data), "the text is not UTF-8")
	}
	p := jsonParser{data: data}
	if bytes.HasPrefix(data, utf8BOM) {
		p.i = len(utf8BOM)
	}
	var docs []*node
	for p.space(); p.i < len(data); p.space() {
		n, err := p.value(0)
		if err != nil {
			return nil, err
		}
		docs = append(docs, n)
	}
	return docs, nil
}

type jsonParser struct {
	data []byte
	i    int // the next byte
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
	n := &node{start: p.i, style: jsonString, flow: true, size: 1}
	var err error
	switch {
	case depth > maxDepth:
		return nil, invalid(p.i, "more than %d lists and objects inside each other", maxDepth)
	case c == '{':
		n.kind = isTable
		err = p.object(n, depth)
	case c == '[':
		n.kind = isList
		err = p.array(n, depth)
	case c == '"':
		n.kind = isString
		n.text, err = p.str()
	case c == 0:
		return nil, invalid(p.i, "the text ends where a value should be")
	default:
		err = p.word(n)
	}
	n.end = p.i
	return n, err
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
		n.kind = isBool
	case "null":
		n.kind = isNull
	default:
		if n.text == "" || !json.Valid([]byte(n.text)) {
			return invalid(start, "unexpected %s", strconv.Quote(string(p.data[start:max(p.i, start+1)])))
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
			return "", invalid(start, "the string is not closed in its line")
		case '"':
			p.i++
			var s string
			if err := json.Unmarshal(p.data[start:p.i], &s); err != nil {
				return "", invalid(start, "%v", err)
			}
			return s, nil
		}
	}
	p.i = len(p.data)
	return "", invalid(start, "the string is not closed")
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
		n.size += item.size
		switch p.peek() {
		case ',':
			p.i++
		case ']':
			p.i++
			return nil
		default:
			return invalid(p.i, "a comma or ']' should be here")
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
			return invalid(p.i, "a comma or '}' should be here")
		}
	}
}

func (p *jsonParser) member(n *node, depth int) error {
	if p.peek() != '"' {
		return invalid(p.i, "a key in quotes should be here")
	}
	at := p.i
	name, err := p.str()
	if err != nil {
		return err
	}
	end := p.i
	if n.find(name) != nil {
		return invalid(at, "the key %q is here twice", name)
	}
	if p.peek() != ':' {
		return invalid(p.i, "a colon should be here")
	}
	p.i++
	v, err := p.value(depth + 1)
	if err != nil {
		return err
	}
	n.size += v.size
	n.put(member{name: name, at: at, end: end, value: v})
	return nil
}
