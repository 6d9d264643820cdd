package conf

import (
	"errors"

	"github.com/entrepot/entrepot/internal/tree"
)

// parseJSON reads a JSON text into a tree. It is strict: no comments, no comma
// too many, no key twice. An empty text is null. The error is a *syntaxError.
func parseJSON(data []byte) (*node, error) {
	root, _, err := jsonText(data, tree.Options{})
	return root, err
}

// parseLaxJSON is parseJSON for clients that take a key twice, as encoding/json
// does: the last one counts, and tables of the top are put together. It returns
// an error for each.
func parseLaxJSON(data []byte) (root *node, twice []*syntaxError, err error) {
	return jsonText(data, tree.Options{Lax: true})
}

func jsonText(data []byte, o tree.Options) (*node, []*syntaxError, error) {
	o.MaxDepth, o.Single = maxDepth, true
	p := planter{newLineIndex(data)}
	docs, lost, err := tree.JSON(data, o)
	if err != nil || len(docs) == 0 {
		return &node{kind: isNull, at: pos{1, 1}}, nil, p.failed(err)
	}
	return p.node(docs[0]), p.errors(lost), nil
}

// parseYAML reads the documents of a YAML text into trees. Documents that hold
// nothing are left out. The error is a *syntaxError.
func parseYAML(data []byte) ([]*node, error) {
	docs, _, err := yamlText(data, tree.Options{})
	return docs, err
}

// parseLaxYAML is parseYAML for clients that take a key twice: the last one
// counts. It returns an error for each that has no effect.
func parseLaxYAML(data []byte) (docs []*node, lost []*syntaxError, err error) {
	return yamlText(data, tree.Options{Lax: true})
}

func yamlText(data []byte, o tree.Options) (docs []*node, lost []*syntaxError, err error) {
	o.MaxDepth = maxDepth
	p := planter{newLineIndex(data)}
	roots, twice, err := tree.YAML(data, o)
	if err != nil {
		return nil, nil, p.failed(err)
	}
	for _, root := range roots {
		docs = append(docs, p.node(root))
	}
	return docs, p.errors(twice), nil
}

// A lineIndex finds the line and column of a byte.
type lineIndex struct{ tree.Lines }

func newLineIndex(data []byte) lineIndex { return lineIndex{tree.NewLines(data)} }

func (x lineIndex) at(offset int) pos {
	line, column := x.At(offset)
	return pos{line, column}
}

// A planter makes our nodes, which readers mark, of the parsers': one for each
// place where an alias stands.
type planter struct{ lineIndex }

// failed gives a parser's error its line; nil stays nil.
func (p planter) failed(err error) error {
	if e, ok := errors.AsType[*tree.Error](err); ok {
		return &syntaxError{at: p.at(e.Offset), text: e.Text}
	}
	return err
}

func (p planter) errors(all []*tree.Error) []*syntaxError {
	var out []*syntaxError
	for _, e := range all {
		out = append(out, &syntaxError{at: p.at(e.Offset), text: e.Text})
	}
	return out
}

// kinds are ours for theirs. What has a type of its own is taken for a string.
var kinds = [...]kind{tree.Null: isNull, tree.String: isString, tree.Bool: isBool, tree.Number: isNumber,
	tree.Time: isTime, tree.Other: isString, tree.List: isList, tree.Table: isTable}

func (p planter) node(n *tree.Node) *node {
	out := &node{kind: kinds[n.Kind], at: p.at(n.Start), text: n.Text, truth: n.Truth}
	for _, item := range n.Items {
		out.items = append(out.items, p.node(item))
	}
	for i := range n.Keys {
		m := &n.Keys[i]
		out.add(member{name: m.Name, at: p.at(m.At), value: p.node(m.Value)})
	}
	return out
}
