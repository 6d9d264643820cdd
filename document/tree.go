package document

import (
	"fmt"
	"slices"
	"unicode/utf8"
)

// maxDepth is how deep tables and lists may be nested in each other.
const maxDepth = 200

var utf8BOM = []byte("\ufeff")

// A kind is the type of a node.
type kind uint8

const (
	isNull kind = iota
	isString
	isBool
	isNumber
	isOther // a time, or a type of the document's own
	isList
	isTable
)

var kindNames = [...]string{"nothing", "a string", "a boolean", "a number", "no string", "a list", "a table"}

func (k kind) String() string { return kindNames[k] }

// A style is how a scalar is written.
type style uint8

const (
	plain  style = iota
	single       // 'in single quotes'
	double       // "in double quotes"
	literal
	folded
	jsonString // "in double quotes", without what only YAML allows
	bare       // text that is no YAML: a word of a line
)

// A node is a value of a YAML or JSON text. What an alias stands for is the same
// node as what has the anchor.
type node struct {
	kind  kind
	style style // of a scalar
	flow  bool  // inside brackets or braces, or one itself
	// text is a string's value, and any other scalar as it is written.
	text string
	// start is the first byte: of a scalar its quote, of a collection its bracket
	// or first key or dash.
	start int
	// end is the byte after a scalar, with its quotes. It is 0 where a scalar is
	// written in several lines, so that nothing else can be put there.
	end int
	// head is where the header of a block scalar is.
	head  int
	items []*node  // of a list
	keys  []member // of a table, in the order of the file, merged ones last
	// size is the number of nodes in it, with aliases expanded, and depth how
	// many are inside each other.
	size, depth int
	// shared says that an alias stands for it.
	shared bool
	// index finds keys in a table that has many.
	//
	//	:: key → its place in keys
	index map[string]int
}

// A member is a key of a table, and its value.
type member struct {
	name   string
	at     int // the first byte of the key
	end    int // the byte after the key; 0 where that is not known
	value  *node
	merged bool // it came by a merge key
}

// manyKeys is the size of a table from which on it has an index.
const manyKeys = 32

// put appends a member to a table. The table must not have it yet.
func (n *node) put(m member) {
	n.keys = append(n.keys, m)
	switch {
	case n.index != nil:
		n.index[m.name] = len(n.keys) - 1
	case len(n.keys) == manyKeys:
		n.index = make(map[string]int, 2*manyKeys)
		for i := range n.keys {
			n.index[n.keys[i].name] = i
		}
	}
}

// find returns the member of that name; nil where there is none, or n is no
// table.
func (n *node) find(name string) *member {
	if n == nil || n.kind != isTable {
		return nil
	}
	if n.index != nil {
		if i, ok := n.index[name]; ok {
			return &n.keys[i]
		}
		return nil
	}
	for i := range n.keys {
		if n.keys[i].name == name {
			return &n.keys[i]
		}
	}
	return nil
}

// str returns the string at a key; "" where there is none.
func (n *node) str(key string) string {
	if m := n.find(key); m != nil && m.value.kind == isString {
		return m.value.text
	}
	return ""
}

// has reports whether a table has a key, with any value but null.
func (n *node) has(key string) bool {
	m := n.find(key)
	return m != nil && m.value.kind != isNull
}

// A lineIndex finds the line and column of a byte.
type lineIndex []int // :: line, from 0 → where it starts

func newLineIndex(data []byte) lineIndex {
	x := lineIndex{0}
	for i, c := range data {
		if c == '\n' {
			x = append(x, i+1)
		}
	}
	return x
}

// at returns the line and the column, in bytes, of an offset; both from 1.
func (x lineIndex) at(offset int) (line, column int) {
	i, found := slices.BinarySearch(x, offset)
	if !found {
		i--
	}
	return i + 1, offset - x[i] + 1
}

// A syntaxError is why a text is no tree.
type syntaxError struct {
	offset   int
	text     string
	template bool // it looks like a template
}

func (e *syntaxError) Error() string { return fmt.Sprintf("byte %d: %s", e.offset, e.text) }

func invalid(offset int, format string, args ...any) *syntaxError {
	return &syntaxError{offset: offset, text: fmt.Sprintf(format, args...)}
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
