package document

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/entrepot/entrepot/internal/tree"
)

// OriginalImages is the annotation in which [Options.Annotate] has the original
// names kept: a JSON object of fields and what they were.
const OriginalImages = "entrepot.dev/original-images"

// annotate adds the edits that note the original names on the objects of sites
// that change.
func (d *Document) annotate(changed []bool, edits map[*file][]edit) []error {
	type note struct {
		owner *object
		names map[string]string // :: field → as it was
	}
	var notes []*note
	for i, s := range d.sites {
		if !changed[i] || s.owner == nil {
			continue
		}
		if len(notes) == 0 || notes[len(notes)-1].owner != s.owner {
			notes = append(notes, &note{s.owner, map[string]string{}})
		}
		field := strings.TrimPrefix(strings.TrimPrefix(s.Field, s.owner.at.path), ".")
		notes[len(notes)-1].names[field] = s.Ref
	}
	var wrong []error
	for _, n := range notes {
		value, err := json.Marshal(n.names) // with its keys sorted
		if err == nil {
			err = n.owner.annotate(string(value), edits)
		}
		if err != nil {
			wrong = append(wrong, err)
		}
	}
	return wrong
}

// annotate adds the edit that gives an object the annotation. One that it has
// already stays: it has older names.
func (o *object) annotate(value string, edits map[*file][]edit) error {
	meta := o.at.member("metadata")
	notes := meta.member("annotations")
	if notes.n.Has(OriginalImages) {
		return nil
	}
	var at *edit
	switch f := o.at.f; {
	case notes.n != nil:
		at = f.insert(notes.n, pair{OriginalImages, value, nil})
	case meta.n != nil:
		at = f.insertUnder(meta.n, "annotations", pair{OriginalImages, value, nil})
	default:
		at = f.insertUnder(o.at.n, "metadata", pair{"annotations", "", &pair{OriginalImages, value, nil}})
	}
	if at == nil || notes.n != nil && notes.n.Shared || meta.n != nil && meta.n.Shared {
		return &Error{At: o.at.f.at(o.at.n.Start), Field: notes.path, Text: "there is no place for an annotation",
			Hint: "write annotations as a table of keys and values, not shared by an alias"}
	}
	at.field = notes.path
	edits[o.at.f] = append(edits[o.at.f], *at)
	return nil
}

// A pair is a key with a string or another pair.
type pair struct {
	key, value string
	below      *pair
}

// inline writes a pair for braces.
func (p pair) inline() string {
	if p.below != nil {
		return quote(p.key) + ": {" + p.below.inline() + "}"
	}
	return quote(p.key) + ": " + quote(p.value)
}

// lines writes a pair in lines of its own, the first without indentation.
func (p pair) lines(indent, eol string) string {
	if p.below != nil {
		return p.key + ":" + eol + indent + "  " + p.below.lines(indent+"  ", eol)
	}
	return p.key + ": '" + strings.ReplaceAll(p.value, "'", "''") + "'"
}

// insertUnder returns the insertion of a pair below a key of a table, where the
// table has nothing, or null, at that key.
func (f *file) insertUnder(table *tree.Node, key string, p pair) *edit {
	if table.Kind != tree.Table {
		return nil
	}
	m := table.Find(key)
	if m == nil {
		return f.insert(table, pair{key: key, below: &p})
	}
	if m.Value.Kind != tree.Null || m.End == 0 || m.Merged {
		return nil
	}
	if table.Flow || m.Value.Text != "" { // null or ~ is written out, or the braces go around
		if m.Value.Text == "" {
			return nil
		}
		return &edit{start: m.Value.Start, end: m.Value.End, text: "{" + p.inline() + "}"}
	}
	colon := strings.IndexByte(string(f.data[m.End:]), ':')
	if colon < 0 {
		return nil
	}
	at := m.End + colon + 1
	indent := f.indent(m.At) + "  "
	return &edit{start: at, end: at, text: f.eol() + indent + p.lines(indent, f.eol())}
}

// insert returns the insertion of a pair before the first key of a table.
func (f *file) insert(table *tree.Node, p pair) *edit {
	if table.Kind != tree.Table {
		return nil
	}
	if table.Flow {
		return f.insertFlow(table, p)
	}
	if len(table.Keys) == 0 || table.Keys[0].Merged || f.data[table.Keys[0].At] == '?' {
		return nil
	}
	at := table.Keys[0].At
	indent := f.indent(at)
	if strings.HasSuffix(strings.TrimRight(string(f.data[:at]), " "), "?") {
		return nil
	}
	return &edit{start: at, end: at, text: p.lines(indent, f.eol()) + f.eol() + indent}
}

// insertFlow returns the insertion of a pair after the brace of a table, laid out
// as the first key is.
func (f *file) insertFlow(table *tree.Node, p pair) *edit {
	at := table.Start + 1
	text := p.inline()
	if len(table.Keys) == 0 {
		return &edit{start: at, end: at, text: text}
	}
	if table.Keys[0].Merged || table.Keys[0].At < at {
		return nil
	}
	space := string(f.data[at:table.Keys[0].At])
	if strings.TrimSpace(space) != "" || space == "" && table.Style != tree.JSONString {
		space = " " // and no comment twice
	}
	if table.Style == tree.JSONString && !strings.Contains(string(f.data[table.Keys[0].End:table.Keys[0].Value.Start]), " ") {
		text = strings.Replace(text, `": `, `":`, -1)
	}
	return &edit{start: table.Keys[0].At, end: table.Keys[0].At, text: fmt.Sprintf("%s,%s", text, space)}
}

// indent returns as many spaces as there are characters before a byte in its
// line.
func (f *file) indent(at int) string {
	line, _ := f.text.At(at)
	before := string(f.data[f.text[line-1]:at])
	return strings.Repeat(" ", len([]rune(strings.TrimPrefix(before, "\ufeff"))))
}

// eol returns how lines end.
func (f *file) eol() string {
	if len(f.text) > 1 && f.text[1] > 1 && f.data[f.text[1]-2] == '\r' {
		return "\r\n"
	}
	return "\n"
}
