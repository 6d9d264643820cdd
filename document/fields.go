package document

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/entrepot/entrepot/internal/tree"
)

// A FieldRule says where references are that a kind does not know by itself: in
// custom resources, and in the values of a chart. The zero value matches
// nothing; [ParseFields] makes rules.
type FieldRule struct {
	apiVersion string // "" for any; "group/*" for any version
	kind       string // "" for any
	path       []step
	parts      []partRule // none where the value is a whole reference
}

// A partRule says under which key of a table a part of a reference is.
type partRule struct {
	role role
	keys []string // from the table that the rule's path leads to
}

// A step is a piece of a rule's path.
type step struct {
	key  string // a key, or "*" for any
	list bool   // an item of a list
	item int    // -1 for any
	deep bool   // any number of keys and items, none as well
}

// partNames are the keys of a rule that name parts, in the order in which a
// reference is joined.
var partNames = []struct {
	name string
	role role
}{
	{"registry", registry}, {"repository", repository}, {"image", imageName}, {"tag", tag}, {"version", tag}, {"digest", digestPart}, {"sha", hexPart},
}

// ParseFields reads a file of field rules, in YAML or JSON:
//
//	fields:
//	- path: spec.source.image                 # the value is a reference
//	- key: image                              # at any depth
//	- kind: ClusterPolicy
//	  apiVersion: nvidia.com/*
//	  path: spec.*                            # a table, which has it in parts:
//	  repository: repository
//	  image: image
//	  tag: version
//
// In a path "*" is any key, "[*]" any item of a list, "**" anything at any
// depth; a key with a dot is written ["like.this"]. name is what the file is
// called in errors; see [Errors].
func ParseFields(name string, data []byte) ([]FieldRule, error) {
	r := &reading{in: Input{Name: name, Data: data}, doc: &Document{}}
	f := newFile(name, "", data)
	docs, err := parse(f)
	if err != nil {
		return nil, r.refuse(f, err)
	}
	if len(docs) != 1 || docs[0].Kind != tree.Table || !docs[0].Has("fields") {
		return nil, &Error{At: Position{File: name}, Text: "a file of field rules has one list, at the key fields"}
	}
	root := r.root(f, docs[0])
	root.only("fields")
	var rules []FieldRule
	for _, s := range root.member("fields").items() {
		rules = append(rules, s.fieldRule())
	}
	return rules, errors.Join(r.errs...)
}

// fieldRule reads one rule.
func (s spot) fieldRule() FieldRule {
	known := []string{"kind", "apiVersion", "path", "key"}
	for _, p := range partNames {
		known = append(known, p.name)
	}
	for _, m := range s.members() {
		if m.n.Kind != tree.String || m.n.Text == "" {
			m.fail("", "this is %v and should be a string", m.n.Kind)
		}
	}
	s.only(known...)
	rule := FieldRule{apiVersion: s.str("apiVersion"), kind: s.str("kind")}
	path, key := s.str("path"), s.str("key")
	switch {
	case (path == "") == (key == ""):
		s.fail("", "a rule has either a path or a key")
	case key != "":
		rule.path = []step{{deep: true}, {key: key}}
	default:
		steps, err := parsePath(path)
		if err != nil {
			s.member("path").fail("", "%v", err)
		}
		rule.path = steps
	}
	for _, p := range partNames {
		if keys := s.str(p.name); keys != "" {
			rule.parts = append(rule.parts, partRule{p.role, strings.Split(keys, ".")})
		}
	}
	if len(rule.parts) > 0 && !rule.names() {
		s.fail("", "a reference in parts needs a repository or an image")
	}
	return rule
}

// names reports whether a rule's parts have a name among them.
func (rule FieldRule) names() bool {
	for _, p := range rule.parts {
		if p.role == repository || p.role == imageName {
			return true
		}
	}
	return false
}

// parsePath reads a path: keys with dots between them, and brackets.
func parsePath(path string) ([]step, error) {
	var steps []step
	for rest := path; rest != ""; {
		if strings.HasPrefix(rest, "[") {
			s, n, err := parseBracket(rest)
			if err != nil {
				return nil, fmt.Errorf("path %q: %w", path, err)
			}
			steps, rest = append(steps, s), rest[n:]
		} else {
			n := strings.IndexAny(rest, ".[")
			if n < 0 {
				n = len(rest)
			}
			if n == 0 {
				return nil, fmt.Errorf("path %q: a key is missing", path)
			}
			steps, rest = append(steps, step{key: rest[:n], deep: rest[:n] == "**"}), rest[n:]
		}
		if after, ok := strings.CutPrefix(rest, "."); ok {
			if rest = after; rest == "" {
				return nil, fmt.Errorf("path %q: it ends with a dot", path)
			}
		}
	}
	return steps, nil
}

// parseBracket reads [*], [3] or ["a key"], and returns its length.
func parseBracket(text string) (step, int, error) {
	if strings.HasPrefix(text, `["`) {
		quoted, err := strconv.QuotedPrefix(text[1:])
		if err != nil || !strings.HasPrefix(text[1+len(quoted):], "]") {
			return step{}, 0, errors.New(`a bracket is not closed by "]`)
		}
		key, err := strconv.Unquote(quoted)
		return step{key: key}, len(quoted) + 2, err
	}
	end := strings.IndexByte(text, ']')
	if end < 0 {
		return step{}, 0, errors.New("a bracket is not closed")
	}
	if text[1:end] == "*" {
		return step{list: true, item: -1}, end + 1, nil
	}
	n, err := strconv.Atoi(text[1:end])
	if err != nil || n < 0 {
		return step{}, 0, fmt.Errorf("%q is neither * nor the number of an item", text[1:end])
	}
	return step{list: true, item: n}, end + 1, nil
}

// follow calls visit with every spot below s that steps lead to.
func (s spot) follow(steps []step, visit func(spot)) {
	if s.n == nil {
		return
	}
	if len(steps) == 0 {
		visit(s)
		return
	}
	first, rest := steps[0], steps[1:]
	if first.deep {
		s.follow(rest, visit)
	}
	switch {
	case s.n.Kind == tree.Table && (first.deep || !first.list):
		for _, m := range s.members() {
			switch {
			case first.deep:
				m.follow(steps, visit)
			case first.key == "*" || m.path == join(s.path, first.key):
				m.follow(rest, visit)
			}
		}
	case s.n.Kind == tree.List && (first.deep || first.list):
		for i, item := range s.items() {
			switch {
			case first.deep:
				item.follow(steps, visit)
			case first.item < 0 || first.item == i:
				item.follow(rest, visit)
			}
		}
	}
}

// rules applies the user's rules to an object, or to the values of a chart.
func (r *reading) rules(s spot, apiVersion, kind string) {
	for _, rule := range r.opts.Fields {
		if rule.kind != "" && rule.kind != kind || !rule.version(apiVersion) {
			continue
		}
		s.follow(rule.path, func(at spot) {
			switch {
			case len(rule.parts) > 0:
				at.joined(rule.parts)
			case r.seen[mention{at.n, at.path}]:
			case at.n.Kind < tree.List && at.n.Kind != tree.Null:
				at.image()
			}
		})
	}
}

func (rule FieldRule) version(apiVersion string) bool {
	group, ok := strings.CutSuffix(rule.apiVersion, "/*")
	return rule.apiVersion == "" || rule.apiVersion == apiVersion || ok && strings.HasPrefix(apiVersion, group+"/")
}

// joined adds the image whose parts are in a table, nothing where the table has
// no name of one.
func (s spot) joined(rules []partRule) *site {
	if s.n.Kind != tree.Table {
		return nil
	}
	var parts []part
	var name []string
	suffix, named := "", false
	for _, p := range rules {
		at := s.down(p.keys...)
		if at.n == nil || at.n.Kind == tree.Table || at.n.Kind == tree.List {
			continue
		}
		text, ok := at.word()
		if !ok {
			return nil
		}
		parts = append(parts, part{role: p.role, f: at.f, n: at.n})
		if text == "" {
			continue
		}
		switch p.role {
		case repository, imageName:
			named = true
			fallthrough
		case registry:
			name = append(name, text)
		default:
			suffix += joint(p.role, text) + text
		}
	}
	if !named {
		return nil
	}
	return s.addJoined(strings.Join(name, "/")+suffix, parts)
}

// joint returns what stands before a part that follows the name.
func joint(r role, text string) string {
	switch {
	case r == hexPart:
		return "@sha256:"
	case r == digestPart || isDigest(text):
		return "@"
	}
	return ":"
}

// word returns the text of a scalar that is part of a reference. A number is
// one where everybody writes it as the document does.
func (s spot) word() (string, bool) {
	switch {
	case strings.Contains(s.n.Text, "{{"):
		s.fail(renderFirst, "%q is a template", s.n.Text)
		return "", false
	case s.n.Kind == tree.String:
		return strings.TrimRight(s.n.Text, "\n"), true
	case s.n.Kind == tree.Number:
		if n, err := strconv.ParseFloat(s.n.Text, 64); err == nil && fmt.Sprint(n) == s.n.Text {
			return s.n.Text, true
		}
	}
	s.fail("put quotes around it", "%s is %v, which is not always written in the same way", s.n.Text, s.n.Kind)
	return "", false
}

// addJoined adds the image that parts make up.
func (s spot) addJoined(text string, parts []part) *site {
	field := s.path
	if field == "" {
		field = "repository"
	}
	if s.r.seen[mention{parts[0].n, field}] {
		return nil
	}
	if err := checkRef(text); err != nil {
		s.r.errs = append(s.r.errs, &Error{At: parts[0].f.at(parts[0].start()), Field: field, Text: "the parts make no image", Err: err})
		return nil
	}
	return s.r.add(text, field, parts...)
}
