package cli

import (
	"fmt"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

// Lines says on which line of a TOML file each key and each element stands, by
// its path: "server.listen", "upstream[1].mirrors[0]", "hosted".
//
//	:: path → line, from 1
type lines map[string]int

// at returns the line of a path, or of the nearest thing around it that was
// written: the table for a key that was left out, 1 for a file that is empty.
func (l lines) at(path string) int {
	for {
		if n, ok := l[path]; ok {
			return n
		}
		i := strings.LastIndexAny(path, ".[")
		if i < 0 {
			return 1
		}
		path = path[:i]
	}
}

// A lineFinder walks a file's syntax. It does not judge it: what is wrong with
// a file is said by the decoder, which reads it first.
type lineFinder struct {
	parser unstable.Parser
	data   []byte
	lines  lines
	counts map[string]int // :: path of an array of tables → tables so far
	table  string         // the path of the table that is being read

	// Lines are counted from the last key on, not from the start of the file:
	// keys come in order, and a file may be large.
	offset, line int
}

// findLines returns the lines of all keys of a file that decodes.
func findLines(data []byte) lines {
	f := &lineFinder{data: data, lines: lines{}, counts: map[string]int{}, line: 1}
	f.parser.Reset(data)
	for f.parser.NextExpression() {
		e := f.parser.Expression()
		switch e.Kind {
		case unstable.KeyValue:
			f.keyValue(f.table, e)
		case unstable.Table:
			f.table = f.header(e, false)
		case unstable.ArrayTable:
			f.table = f.header(e, true)
		}
	}
	return f.lines
}

// header notes a table's header and returns its path.
func (f *lineFinder) header(e *unstable.Node, array bool) string {
	path := ""
	for it := e.Key(); it.Next(); {
		path = join(path, string(it.Node().Data))
		f.note(path, it.Node())
		switch {
		case array && it.IsLast():
			f.counts[path]++
			fallthrough
		case f.counts[path] > 0: // a table inside the last element of an array
			path = fmt.Sprintf("%s[%d]", path, f.counts[path]-1)
			f.note(path, it.Node())
		}
	}
	return path
}

func (f *lineFinder) keyValue(table string, e *unstable.Node) {
	path := table
	for it := e.Key(); it.Next(); {
		path = join(path, string(it.Node().Data))
		f.note(path, it.Node())
	}
	f.value(path, e.Value())
}

func (f *lineFinder) value(path string, v *unstable.Node) {
	switch v.Kind {
	case unstable.Array:
		i := 0
		for it := v.Children(); it.Next(); i++ {
			element := fmt.Sprintf("%s[%d]", path, i)
			f.note(element, it.Node())
			f.value(element, it.Node())
		}
	case unstable.InlineTable:
		for it := v.Children(); it.Next(); {
			f.keyValue(path, it.Node())
		}
	}
}

// note remembers the first line on which a path appears. A node without a
// range of its own (an inline table) is found through what is around it.
func (f *lineFinder) note(path string, n *unstable.Node) {
	if _, ok := f.lines[path]; ok || n.Raw.Length == 0 {
		return
	}
	to := int(n.Raw.Offset)
	if to < f.offset {
		f.offset, f.line = 0, 1
	}
	for _, c := range f.data[f.offset:to] {
		if c == '\n' {
			f.line++
		}
	}
	f.offset = to
	f.lines[path] = f.line
}

func join(table, key string) string {
	if table == "" {
		return key
	}
	return table + "." + key
}
