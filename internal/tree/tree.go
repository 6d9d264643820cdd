// Package tree reads YAML and JSON texts into trees whose nodes know which
// bytes of the text they are: for those who point at a line, and for those who
// put something else in its place.
//
// It keeps what decoding into a struct would lose (places, order, how a scalar
// is written, keys that nobody asked for), and bounds what a hostile text can
// cost: depth, brackets, and what aliases expand to.
package tree

import (
	"fmt"
	"slices"
	"unicode/utf8"
)

// BOM is the byte order mark in UTF-8. Both parsers skip one at the start.
const BOM = "\ufeff"

// Options are how a text is read.
type Options struct {
	// MaxDepth is how deep tables and lists may be nested in each other.
	MaxDepth int
	// Lax takes a key that is there twice, as many clients do: the last one
	// counts, with the place of the last.
	Lax bool
	// Single refuses a JSON text that goes on after its first value.
	Single bool
}

// maxBrackets is how many brackets may be open at once, for each level of
// MaxDepth; the YAML library's own limit is higher, and its time then grows with
// the square. It counts brackets in strings as well.
const maxBrackets = 20

// A Kind is the type of a node.
type Kind uint8

// The kinds. Those before List are scalars.
const (
	Null Kind = iota
	String
	Bool
	Number // as it is written: YAML has many ways
	Time
	Other // a type of the document's own
	List
	Table
)

var kindNames = [...]string{"nothing", "a string", "a boolean", "a number", "a time", "of a type of its own", "a list", "a table"}

// String says what a value of that kind is, to be put after "is".
func (k Kind) String() string { return kindNames[k] }

// A Style is how a scalar is written.
type Style uint8

// The styles.
const (
	Plain      Style = iota
	Single           // 'in single quotes'
	Double           // "in double quotes"
	Literal          // a block that keeps its lines
	Folded           // a block whose lines are joined
	JSONString       // "in double quotes", without what only YAML allows
	Bare             // text that is neither: a word of a line
)

// A Node is a value of a text. What an alias stands for is the same node as what
// has the anchor.
type Node struct {
	Kind  Kind
	Style Style // of a scalar
	Flow  bool  // inside brackets or braces, or one itself
	// Text is a string's value, and any other scalar as it is written.
	Text  string
	Truth bool // of a Bool
	// Start is the first byte: of a scalar its quote, of a collection its bracket
	// or first key or dash.
	Start int
	// End is the byte after a scalar, with its quotes. It is 0 where a scalar is
	// written in several lines, so that nothing else can be put there.
	End int
	// Head is where the header of a block scalar is.
	Head  int
	Items []*Node  // of a list
	Keys  []Member // of a table, in the order of the file, merged ones last
	// Size is the number of nodes in it, with aliases expanded, and Depth how
	// many are inside each other.
	Size, Depth int
	// Shared says that an alias stands for it.
	Shared bool
	// index finds keys in a table that has many.
	//
	//	:: key → its place in Keys
	index map[string]int
}

// A Member is a key of a table, and its value.
type Member struct {
	Name   string
	At     int // the first byte of the key
	End    int // the byte after the key; 0 where that is not known
	Value  *Node
	Merged bool // it came by a merge key
}

// manyKeys is the size of a table from which on it has an index.
const manyKeys = 32

// Put appends a member to a table. The table must not have it yet.
func (n *Node) Put(m Member) {
	n.Keys = append(n.Keys, m)
	switch {
	case n.index != nil:
		n.index[m.Name] = len(n.Keys) - 1
	case len(n.Keys) == manyKeys:
		n.index = make(map[string]int, 2*manyKeys)
		for i := range n.Keys {
			n.index[n.Keys[i].Name] = i
		}
	}
}

// Find returns the member of that name; nil where there is none, or n is nil or
// no table.
func (n *Node) Find(name string) *Member {
	if n == nil || n.Kind != Table {
		return nil
	}
	if n.index != nil {
		if i, ok := n.index[name]; ok {
			return &n.Keys[i]
		}
		return nil
	}
	for i := range n.Keys {
		if n.Keys[i].Name == name {
			return &n.Keys[i]
		}
	}
	return nil
}

// Str returns the string at a key; "" where there is none.
func (n *Node) Str(key string) string {
	if m := n.Find(key); m != nil && m.Value.Kind == String {
		return m.Value.Text
	}
	return ""
}

// Has reports whether a table has a key, with any value but null.
func (n *Node) Has(key string) bool {
	m := n.Find(key)
	return m != nil && m.Value.Kind != Null
}

// Lines finds the line and column of a byte. Make it with NewLines.
type Lines []int // :: line, from 0 → where it starts

// NewLines indexes a text.
func NewLines(data []byte) Lines {
	x := Lines{0}
	for i, c := range data {
		if c == '\n' {
			x = append(x, i+1)
		}
	}
	return x
}

// At returns the line and the column, in bytes, of an offset; both from 1.
func (x Lines) At(offset int) (line, column int) {
	i, found := slices.BinarySearch(x, offset)
	if !found {
		i--
	}
	return i + 1, offset - x[i] + 1
}

// An Error is why a text is no tree, or, of a key that is there twice, what of
// it has no effect.
type Error struct {
	Offset   int // a byte of the text, or its length
	Text     string
	Template bool // it looks like a template
}

func (e *Error) Error() string { return fmt.Sprintf("byte %d: %s", e.Offset, e.Text) }

func invalid(offset int, format string, args ...any) *Error {
	return &Error{Offset: offset, Text: fmt.Sprintf(format, args...)}
}

// InvalidUTF8 returns the offset of the first byte that is no UTF-8; the length
// of the text where all is.
func InvalidUTF8(data []byte) int {
	for i := 0; i < len(data); {
		r, size := utf8.DecodeRune(data[i:])
		if r == utf8.RuneError && size <= 1 {
			return i
		}
		i += size
	}
	return len(data)
}

// reader is what the parsers have in common.
type reader struct {
	data  []byte
	lines Lines
	opts  Options
	lost  []*Error // keys without effect
}

// twice notes a key that is there twice, or refuses it.
func (r *reader) twice(at int, name string, first *Member) error {
	line, _ := r.lines.At(first.At)
	e := invalid(at, "key %q is here twice, first in line %d", name, line)
	if !r.opts.Lax {
		return e
	}
	r.lost = append(r.lost, e)
	return nil
}
