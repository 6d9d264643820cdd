package document

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/entrepot/entrepot/internal/tree"
)

// An edit replaces bytes of a file.
type edit struct {
	start, end int // from the first byte to before the last; equal for an insertion
	text       string
	field      string // for messages
}

// splice makes edits in a text. One edit may be there several times, as where
// an anchor is shared; edits that differ and meet are an *Error.
func splice(f *file, edits []edit) ([]byte, error) {
	if len(edits) == 0 {
		return f.data, nil
	}
	slices.SortStableFunc(edits, func(a, b edit) int {
		return cmp.Or(cmp.Compare(a.start, b.start), cmp.Compare(a.end, b.end))
	})
	var out bytes.Buffer
	done := 0
	var last edit
	for i, e := range edits {
		if i > 0 && e.start == last.start && e.end == last.end {
			if e.text == last.text {
				continue
			}
			return nil, conflict(f, last, e)
		}
		if e.start < done {
			return nil, conflict(f, last, e)
		}
		out.Write(f.data[done:e.start])
		out.WriteString(e.text)
		done, last = e.end, e
	}
	out.Write(f.data[done:])
	return out.Bytes(), nil
}

func conflict(f *file, a, b edit) error {
	return &Error{
		At: f.at(b.start), Field: b.field,
		Text: fmt.Sprintf("the same text is also %s, which becomes something else (%s and %s)", a.field, strings.TrimSpace(b.text), strings.TrimSpace(a.text)),
		Hint: "give each of them a text of its own, without the anchor that they share",
	}
}

// scalarText returns how a scalar is written so that it has a value, in the
// style that it has.
func scalarText(n *tree.Node, value string) (string, error) {
	switch n.Style {
	case tree.Bare:
		return value, nil
	case tree.Single:
		return "'" + strings.ReplaceAll(value, "'", "''") + "'", nil
	case tree.Double, tree.JSONString:
		return quote(value), nil
	case tree.Literal, tree.Folded:
		if strings.ContainsAny(value, "\r\n") || value == "" || value != strings.TrimSpace(value) {
			return "", fmt.Errorf("%q cannot stand in a block scalar", value)
		}
		return value, nil
	}
	if plainSafe(value, n.Flow) {
		return value, nil
	}
	return quote(value), nil
}

// quote writes a string in double quotes, as JSON and YAML both read it.
func quote(s string) string {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(s); err != nil {
		panic(err) // a string always encodes
	}
	return strings.TrimSuffix(out.String(), "\n")
}

// notString matches what some reader of YAML, 1.1 or 1.2, takes for a boolean,
// nothing, a number, a time or a count of minutes.
var notString = regexp.MustCompile(`(?i)^(y|n|yes|no|on|off|true|false|null|~|=|<<|[-+]?\.(inf|nan)|[-+]?[0-9.][0-9a-fox_,.:+\-]*|[0-9-]+[Tt ].*)$`)

// plainSafe reports whether a string can stand without quotes and still be that
// string, to every reader of YAML.
func plainSafe(s string, flow bool) bool {
	if s == "" || notString.MatchString(s) && !strings.Contains(s, "/") {
		return false
	}
	text := s
	if flow {
		text = "[" + s + "]"
	}
	var n yaml.Node
	if err := yaml.Unmarshal([]byte(text), &n); err != nil || len(n.Content) != 1 {
		return false
	}
	v := n.Content[0]
	if flow {
		if v.Kind != yaml.SequenceNode || len(v.Content) != 1 {
			return false
		}
		v = v.Content[0]
	}
	return v.Kind == yaml.ScalarNode && v.Style == 0 && v.Anchor == "" && v.ShortTag() == "!!str" && v.Value == s &&
		!strings.HasPrefix(s, "---") && !strings.HasPrefix(s, "...")
}

// Rewrite returns the document's files with other references in the places of
// those that it names. The function is given each reference as [Image.Ref] has
// it, and returns what is written instead; false leaves it as it is.
//
// All files of the document are returned, also those without a change. Where
// something cannot be written, nothing is returned; see [Errors] for what the
// error is made of. The result is read again before it is returned: it names
// what the function said, or there is an error.
func (d *Document) Rewrite(to func(written string) (string, bool)) ([]File, error) {
	edits := map[*file][]edit{}
	var wrong []error
	want := make([]string, len(d.sites))
	changed := make([]bool, len(d.sites))
	for i, s := range d.sites {
		want[i] = s.Ref
		target, ok := to(s.Ref)
		if !ok || target == s.Ref || d.verbatim {
			continue
		}
		want[i], changed[i] = target, true
		if err := s.rewrite(target, edits); err != nil {
			wrong = append(wrong, err)
		}
	}
	if d.opts.Annotate {
		wrong = append(wrong, d.annotate(changed, edits)...)
	}
	if len(wrong) > 0 {
		return nil, errors.Join(wrong...)
	}
	files, err := d.spliced(edits)
	if err != nil {
		return nil, err
	}
	if slices.Contains(changed, true) {
		if err := d.verify(files, want); err != nil {
			return nil, err
		}
	}
	if d.repack != nil {
		return d.repack(files)
	}
	for i := range files {
		files[i].Path = path.Join(d.in.Path, files[i].Path)
	}
	return files, nil
}

// spliced returns the document's files with the edits made. An archive in which
// a file has changed is packed again.
func (d *Document) spliced(edits map[*file][]edit) ([]File, error) {
	var wrong []error
	var files []File
	changed := map[*packed]map[string][]byte{}   // :: archive → path in it → content
	for _, f := range slices.Backward(d.files) { // what is in an archive comes after it
		data, err := splice(f, edits[f])
		if err == nil && len(changed[f.holds]) > 0 {
			data, err = f.holds.repack(changed[f.holds])
		}
		switch {
		case err != nil:
			wrong = append(wrong, err)
		case f.in == nil:
			files = append(files, File{Path: f.path, Data: data})
		case !bytes.Equal(data, f.data):
			if changed[f.in] == nil {
				changed[f.in] = map[string][]byte{}
			}
			changed[f.in][f.path] = data
		}
	}
	slices.Reverse(files)
	slices.Reverse(wrong)
	return files, errors.Join(wrong...)
}
