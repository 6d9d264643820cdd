package conf

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/entrepot/entrepot/rules"
)

// maxDepth is how deep tables and lists may be nested in each other. No format
// needs more than eight.
const maxDepth = 64

// A pos is a place in a file. The zero value is the file as a whole.
type pos struct {
	line   int // from 1
	column int // in bytes, from 1
}

// A kind is the type of a node.
type kind uint8

const (
	isNull kind = iota
	isString
	isBool
	isNumber
	isTime
	isList
	isTable
)

var kindNames = [...]string{"nothing", "a string", "a boolean", "a number", "a time", "a list", "a table"}

func (k kind) String() string { return kindNames[k] }

// A node is a value of a TOML, YAML or JSON file, with its position.
type node struct {
	kind kind
	at   pos
	// text is a string's value, and any other scalar as it is written.
	text  string
	truth bool
	items []*node  // of a list
	keys  []member // of a table, in the order of the file
	how   how      // TOML only
	// index finds keys in a table that has many.
	//
	//	:: key → its place in keys
	index map[string]int
	// asked are the keys that readers look for in a table.
	asked []string
	// headers are the [table] headers of a TOML file in their order, in its
	// root.
	headers [][]part
}

// A member is a key of a table, and its value.
type member struct {
	name  string
	at    pos
	value *node
	used  bool // a reader asked for it
}

// how is how a TOML file writes a table.
type how uint8

const (
	implied  how = iota // by a longer header, or it is no table
	asHeader            // [table] or [[table]]
	asDotted            // a.b = c
	asInline            // {…}
)

// A syntaxError is why a text is no tree.
type syntaxError struct {
	at   pos
	text string
}

func (e *syntaxError) Error() string { return fmt.Sprintf("%d:%d: %s", e.at.line, e.at.column, e.text) }

// manyKeys is the size of a table from which on it has an index.
const manyKeys = 32

// add appends a member to a table. The table must not have it yet.
func (n *node) add(m member) *member {
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
	return &n.keys[len(n.keys)-1]
}

// exact returns the member of exactly that name; nil where there is none.
func (n *node) exact(name string) *member {
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

// find returns the member of that name; nil where there is none, or n is no
// table. With fold, keys that differ in case are the same, and the last counts,
// as in Go's decoders.
func (n *node) find(name string, fold bool) *member {
	if n == nil || n.kind != isTable {
		return nil
	}
	if !fold {
		return n.exact(name)
	}
	for i := len(n.keys) - 1; i >= 0; i-- {
		if strings.EqualFold(n.keys[i].name, name) {
			return &n.keys[i]
		}
	}
	return nil
}

// value returns what a table has at a key, and marks the key as known. Null is
// like nothing.
func (r *reading) value(n *node, key string) *node {
	if n != nil {
		n.asked = append(n.asked, key)
	}
	m := n.find(key, r.fold)
	if m == nil {
		return nil
	}
	m.used = true
	if m.value.kind == isNull {
		return nil
	}
	return m.value
}

// typed is value for one type; any other is noted as wrong.
func (r *reading) typed(f *file, n *node, key string, k kind) *node {
	v := r.value(n, key)
	if v == nil {
		return nil
	}
	if r.fold {
		for i := range n.keys { // Go's decoders refuse those that lose, too
			if m := &n.keys[i]; m.value != v && m.value.kind != k && m.value.kind != isNull && strings.EqualFold(m.name, key) {
				r.typeError(f, m.value, m.name, k.String())
			}
		}
	}
	if v.kind == k {
		return v
	}
	r.typeError(f, v, key, k.String())
	return nil
}

// str returns the string at a key, "" where there is none.
func (r *reading) str(f *file, n *node, key string) string {
	if v := r.typed(f, n, key, isString); v != nil {
		return v.text
	}
	return ""
}

// flag returns the boolean at a key, false where there is none.
func (r *reading) flag(f *file, n *node, key string) bool {
	v := r.typed(f, n, key, isBool)
	return v != nil && v.truth
}

// list returns the items of the list at a key.
func (r *reading) list(f *file, n *node, key string) []*node {
	if v := r.typed(f, n, key, isList); v != nil {
		return v.items
	}
	return nil
}

// strs returns the strings of the list at a key, as nodes; items of another
// type are noted as wrong and left out.
func (r *reading) strs(f *file, n *node, key string) []*node {
	var out []*node
	for _, item := range r.list(f, n, key) {
		if item.kind == isString {
			out = append(out, item)
		} else {
			r.typeError(f, item, "an item of "+key, isString.String())
		}
	}
	return out
}

// tables returns the tables of the list at a key; items of another type are
// noted as wrong and left out.
func (r *reading) tables(f *file, n *node, key string) []*node {
	var out []*node
	for _, item := range r.list(f, n, key) {
		if item.kind == isTable {
			out = append(out, item)
		} else {
			r.typeError(f, item, "an item of "+key, isTable.String())
		}
	}
	return out
}

// table returns the table at a key; nil where there is none. Tables whose keys
// differ in case alone are one, as they are for Go's decoders.
func (r *reading) table(f *file, n *node, key string) *node {
	t := r.typed(f, n, key, isTable)
	if t == nil || !r.fold {
		return t
	}
	var all *node
	for i := range n.keys {
		m := &n.keys[i]
		if m.value.kind != isTable || !strings.EqualFold(m.name, key) {
			continue
		}
		m.used = true
		if all != nil {
			r.warn(f, m.at, "write the key in one way", "%s is written in two ways that differ in case, and is one table", m.name)
		}
		all = union(all, m.value)
	}
	return all
}

// union returns a table with what two have, in the order of the file; of
// values that are no tables the last counts. Either may be nil.
func union(a, b *node) *node {
	if a == nil {
		return b
	}
	members := slices.Concat(a.keys, b.keys)
	slices.SortStableFunc(members, func(x, y member) int {
		return cmp.Or(cmp.Compare(y.at.line, x.at.line), cmp.Compare(y.at.column, x.at.column))
	})
	last := &node{} // the last of each name, backwards
	for _, m := range members {
		if later := last.exact(m.name); later == nil {
			last.add(m)
		} else if later.value.kind == isTable && m.value.kind == isTable {
			later.value = union(m.value, later.value)
		}
	}
	both := &node{kind: isTable, at: a.at, how: a.how, headers: a.headers}
	for _, m := range slices.Backward(last.keys) {
		both.add(m)
	}
	return both
}

// unknown notes the keys of a table that no reader has asked for. home says
// where a key belongs that was swallowed by this table; it may be nil.
//
//	:: key → where it belongs
func (r *reading) unknown(f *file, n *node, where string, home map[string]string) {
	if n == nil || n.kind != isTable {
		return
	}
	for i := range n.keys {
		m := &n.keys[i]
		if m.used {
			continue
		}
		if place, ok := home[m.name]; ok {
			r.silent(f, m.at, "move it to "+place, "key %q is swallowed by %s and has no effect there", m.name, where)
			continue
		}
		p := r.problem(f, m.at, n.suggest(m.name), "unknown key %q in %s: the client ignores it", m.name, where)
		p.Level = rules.Warning
		r.note(p)
	}
}

// suggest returns a hint for an unknown key: the known one that looks like it,
// or all of them.
func (n *node) suggest(key string) string {
	known := slices.Compact(slices.Sorted(slices.Values(n.asked)))
	for _, k := range known {
		a, b := plainKey(key), plainKey(k)
		if a == b || strings.Contains(a, b) || strings.Contains(b, a) || oneEdit(a, b) {
			return fmt.Sprintf("perhaps %q is meant", k)
		}
	}
	return "known here: " + strings.Join(known, ", ")
}

// plainKey drops what keys are often confused by: case, dashes and underscores.
func plainKey(s string) string {
	return strings.ToLower(strings.NewReplacer("-", "", "_", "").Replace(s))
}

// oneEdit reports whether a and b differ in one letter, or by one too many.
func oneEdit(a, b string) bool {
	if len(a) > len(b) {
		a, b = b, a
	}
	if len(b)-len(a) > 1 {
		return false
	}
	i := 0
	for i < len(a) && a[i] == b[i] {
		i++
	}
	if len(a) == len(b) {
		return i < len(a) && a[i+1:] == b[i+1:]
	}
	return a[i:] == b[i+1:]
}
