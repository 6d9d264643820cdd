package document

import (
	"fmt"

	"github.com/entrepot/entrepot/internal/tree"
	"github.com/entrepot/entrepot/ref"
)

// A Mapping is a relocation mapping: what references became. It is the content
// of a relocation-mapping.json (CNAB runtime specification, section 103).
//
//	:: reference as written → where the image is now
type Mapping map[string]string

// ParseMapping reads a relocation-mapping.json: an object of strings, each
// value a reference. name is what the file is called in errors.
func ParseMapping(name string, data []byte) (Mapping, error) {
	f := newFile(name, "", data)
	r := &reading{in: Input{Name: name}, doc: &Document{}}
	docs, err := parseJSON(data)
	if err != nil {
		return nil, r.refuse(f, err)
	}
	if len(docs) != 1 || docs[0].Kind != tree.Table {
		return nil, &Error{At: Position{File: name}, Text: "a relocation mapping is one JSON object of strings"}
	}
	m := make(Mapping, len(docs[0].Keys))
	for _, k := range docs[0].Keys {
		if k.Value.Kind != tree.String {
			return nil, &Error{At: f.at(k.Value.Start), Field: k.Name, Text: fmt.Sprintf("this is %v and should be a reference", k.Value.Kind)}
		}
		for _, s := range []string{k.Name, k.Value.Text} {
			if _, err := ref.Parse(s); err != nil {
				return nil, &Error{At: f.at(k.At), Text: "this is no relocation mapping", Err: err}
			}
		}
		m[k.Name] = k.Value.Text
	}
	return m, nil
}

// Lookup returns what a reference became: by its own spelling, else by one that
// means the same image.
func (m Mapping) Lookup(written string) (string, bool) {
	if to, ok := m[written]; ok {
		return to, true
	}
	want, err := ref.Parse(written)
	if err != nil {
		return "", false
	}
	want = want.WithDefaultTag()
	found := ""
	for k, to := range m {
		if r, err := ref.Parse(k); err == nil && r.WithDefaultTag() == want && (found == "" || to < found) {
			found = to
		}
	}
	return found, found != ""
}

// Through follows a reference through earlier relocations, in their order, and
// returns where the image is now: the reference itself where no mapping names
// it. Each mapping is asked for the name that the one before gave, then for the
// original one, because a mapping that was made through others has the
// original names.
func Through(written string, maps ...Mapping) string {
	now := written
	for _, m := range maps {
		if to, ok := m.Lookup(now); ok {
			now = to
		} else if to, ok := m.Lookup(written); ok {
			now = to
		}
	}
	return now
}
