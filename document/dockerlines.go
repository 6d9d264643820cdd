package document

import (
	"bytes"
	"slices"
	"strings"

	"github.com/entrepot/entrepot/internal/tree"
)

// An instruction is a line of a Dockerfile, with those that continue it.
type instruction struct {
	name  string // in upper case
	start int
	words []word
}

// A word is what stands between spaces.
type word struct {
	text  string
	start int
	whole bool // its bytes stand together, without a line break
}

// node returns the word as a scalar.
func (w word) node() *tree.Node { return w.sub(0) }

// sub returns the word from a byte on, as a scalar.
func (w word) sub(from int) *tree.Node {
	n := &tree.Node{Kind: tree.String, Style: tree.Bare, Text: w.text[from:], Start: w.start + from}
	if w.whole {
		n.End = w.start + len(w.text)
	}
	return n
}

// cut returns the beginning of a bare scalar.
func cut(n *tree.Node, size int) *tree.Node {
	short := *n
	short.Text = n.Text[:size]
	if n.End > 0 {
		short.End = n.Start + size
	}
	return &short
}

// dockerText is a Dockerfile, split into instructions.
type dockerText struct {
	escape byte
	syntax *tree.Node // the image of the directive; nil for none
	list   []instruction
}

// dockerLines splits a Dockerfile into its instructions. It takes any text.
func dockerLines(f *file) dockerText {
	t := dockerText{escape: '\\'}
	at := 0
	if bytes.HasPrefix(f.data, []byte(tree.BOM)) {
		at = len(tree.BOM)
	}
	at = t.directives(f, at)
	for at < len(f.data) {
		var line logical
		at = line.read(f.data, at, t.escape)
		words := line.words()
		if len(words) == 0 {
			continue
		}
		i := instruction{name: strings.ToUpper(words[0].text), start: words[0].start, words: words[1:]}
		t.list = append(t.list, i)
		for _, end := range i.heredocs() {
			at = skipHeredoc(f.data, at, end)
		}
	}
	return t
}

// directives reads the comments at the top that are directives, and returns
// where they end.
func (t *dockerText) directives(f *file, at int) int {
	for at < len(f.data) {
		end := lineEnd(f.data, at)
		text, ok := strings.CutPrefix(strings.TrimSpace(string(f.data[at:end])), "#")
		key, value, isDirective := strings.Cut(text, "=")
		key, value = strings.ToLower(strings.TrimSpace(key)), strings.TrimSpace(value)
		if !ok || !isDirective || key != "syntax" && key != "escape" && key != "check" {
			return at
		}
		switch {
		case key == "escape" && (value == "`" || value == `\`):
			t.escape = value[0]
		case key == "syntax" && value != "" && t.syntax == nil:
			start := at + bytes.LastIndex(f.data[at:end], []byte(value))
			t.syntax = &tree.Node{Kind: tree.String, Style: tree.Bare, Text: value, Start: start, End: start + len(value)}
		}
		at = min(end+1, len(f.data))
	}
	return at
}

// lineEnd returns where the line break of a line is.
func lineEnd(data []byte, at int) int {
	if i := bytes.IndexByte(data[at:], '\n'); i >= 0 {
		return at + i
	}
	return len(data)
}

// A logical line is a line with those that continue it.
type logical struct {
	text []byte
	at   []int // :: byte of text → where it is in the file
}

// read reads a line and what continues it, and returns where the next begins.
func (l *logical) read(data []byte, at int, escape byte) int {
	for at < len(data) {
		end := lineEnd(data, at)
		line := bytes.TrimRight(data[at:end], " \t\r")
		next := min(end+1, len(data))
		trimmed := bytes.TrimLeft(line, " \t")
		begun := len(l.text) > 0
		if len(trimmed) == 0 || trimmed[0] == '#' { // also between the lines of an instruction
			at = next
			if begun {
				continue
			}
			return at
		}
		more := line[len(line)-1] == escape
		if more {
			line = line[:len(line)-1]
		}
		for i, c := range line {
			l.text, l.at = append(l.text, c), append(l.at, at+i)
		}
		at = next
		if !more {
			return at
		}
	}
	return at
}

// words splits a line at its spaces, but for those in quotes.
func (l *logical) words() []word {
	var out []word
	for i := 0; i < len(l.text); {
		if l.text[i] == ' ' || l.text[i] == '\t' {
			i++
			continue
		}
		start, quote := i, byte(0)
		for ; i < len(l.text) && (quote != 0 || l.text[i] != ' ' && l.text[i] != '\t'); i++ {
			switch c := l.text[i]; {
			case quote == 0 && (c == '"' || c == '\''):
				quote = c
			case c == quote:
				quote = 0
			}
		}
		out = append(out, word{string(l.text[start:i]), l.at[start], l.at[i-1]-l.at[start] == i-1-start})
	}
	return out
}

// heredocs returns the lines that end the here-documents of an instruction, in
// their order; those whose lines may be indented with a tab before them.
func (i instruction) heredocs() []string {
	if !slices.Contains([]string{"RUN", "COPY", "ADD"}, i.name) {
		return nil
	}
	var out []string
	for _, w := range i.words {
		text := strings.TrimLeft(w.text, "0123456789")
		text, ok := strings.CutPrefix(text, "<<")
		if !ok || strings.HasPrefix(text, "<") {
			continue
		}
		tabs := ""
		if rest, ok := strings.CutPrefix(text, "-"); ok {
			tabs, text = "\t", rest
		}
		if end := strings.Trim(text, `"'`); end != "" {
			out = append(out, tabs+end)
		}
	}
	return out
}

// skipHeredoc returns where the lines after a here-document begin.
func skipHeredoc(data []byte, at int, end string) int {
	for at < len(data) {
		stop := lineEnd(data, at)
		line := strings.TrimSuffix(string(data[at:stop]), "\r")
		if want, ok := strings.CutPrefix(end, "\t"); ok {
			line = strings.TrimLeft(line, "\t")
			if line == want {
				return min(stop+1, len(data))
			}
		} else if line == end {
			return min(stop+1, len(data))
		}
		at = min(stop+1, len(data))
	}
	return at
}
