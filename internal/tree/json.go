package tree

import (
	"bytes"
	"encoding/json"
	"strconv"
	"unicode/utf8"
)

// JSON reads a text of one or several JSON values, one after the other. It is
// strict: no comments, no comma too many, and unless Lax no key twice. Where Lax
// finds one, tables at the top of the text are put together, as encoding/json
// does; lost has an *Error for each. The error is an *Error.
func JSON(data []byte, o Options) (docs []*Node, lost []*Error, err error) {
	if !utf8.Valid(data) {
		return nil, nil, invalid(InvalidUTF8(data), "the text is not UTF-8")
	}
	p := jsonParser{reader: reader{data: data, lines: NewLines(data), opts: o}}
	if bytes.HasPrefix(data, []byte(BOM)) {
		p.i = len(BOM)
	}
	for p.space(); p.i < len(data); p.space() {
		n, err := p.value(0)
		if err != nil {
			return nil, nil, err
		}
		docs = append(docs, n)
		if o.Single {
			break
		}
	}
	if p.space(); p.i < len(data) {
		return nil, nil, invalid(p.i, "something follows the value")
	}
	return docs, p.lost, nil
}

type jsonParser struct {
	reader
	i int // the next byte
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

func (p *jsonParser) value(depth int) (*Node, error) {
	c := p.peek()
	n := &Node{Start: p.i, Style: JSONString, Flow: true, Size: 1}
	var err error
	switch {
	case depth > p.opts.MaxDepth:
		return nil, invalid(p.i, "more than %d lists and objects inside each other", p.opts.MaxDepth)
	case c == '{':
		n.Kind = Table
		err = p.object(n, depth)
	case c == '[':
		n.Kind = List
		err = p.array(n, depth)
	case c == '"':
		n.Kind = String
		n.Text, err = p.str()
	case c == 0:
		return nil, invalid(p.i, "the text ends where a value should be")
	default:
		err = p.word(n)
	}
	n.End = p.i
	return n, err
}

// word reads a number, true, false or null.
func (p *jsonParser) word(n *Node) error {
	start := p.i
	for p.i < len(p.data) && bytes.IndexByte([]byte(" \t\r\n,:]}[{\""), p.data[p.i]) < 0 {
		p.i++
	}
	n.Text = string(p.data[start:p.i])
	switch n.Text {
	case "true", "false":
		n.Kind, n.Truth = Bool, n.Text == "true"
	case "null":
		n.Kind = Null
	default:
		if n.Text == "" || !json.Valid([]byte(n.Text)) {
			return invalid(start, "unexpected %s", strconv.Quote(string(p.data[start:max(p.i, start+1)])))
		}
		n.Kind = Number
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

func (p *jsonParser) array(n *Node, depth int) error {
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
		n.Items = append(n.Items, item)
		n.Size += item.Size
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

func (p *jsonParser) object(n *Node, depth int) error {
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

func (p *jsonParser) member(n *Node, depth int) error {
	if p.peek() != '"' {
		return invalid(p.i, "a key in quotes should be here")
	}
	at := p.i
	name, err := p.str()
	if err != nil {
		return err
	}
	end := p.i
	first := n.Find(name)
	if first != nil {
		if err := p.twice(at, name, first); err != nil {
			return err
		}
	}
	if p.peek() != ':' {
		return invalid(p.i, "a colon should be here")
	}
	p.i++
	v, err := p.value(depth + 1)
	if err != nil {
		return err
	}
	n.Size += v.Size
	m := Member{Name: name, At: at, End: end, Value: v}
	switch {
	case first == nil:
		n.Put(m)
	case depth == 0 && first.Value.Kind == Table && v.Kind == Table:
		first.Value.join(v)
	default:
		*first = m
	}
	return nil
}

// join puts the members of another table into one; the other's count.
func (n *Node) join(other *Node) {
	for _, m := range other.Keys {
		if old := n.Find(m.Name); old != nil {
			*old = m
			continue
		}
		n.Put(m)
	}
}
