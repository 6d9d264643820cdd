package openshift

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"

	"go.yaml.in/yaml/v4"
)

// A Template is a CatalogSource that its owner wrote: its labels, its update
// strategy and whatever else is in it are kept. It does not change.
type Template struct {
	data []byte // readTemplate takes it
}

// ParseTemplate reads the template of a CatalogSource, the
// targetCatalogSourceTemplate of an ImageSetConfiguration. It is refused where
// oc-mirror goes on without it: where it is no CatalogSource, is of another
// source type than grpc, or has a ConfigMap. Name is what errors call it.
func ParseTemplate(name string, data []byte) (*Template, error) {
	if _, err := readTemplate(data); err != nil {
		return nil, fmt.Errorf("template of a CatalogSource: %s: %w", name, err)
	}
	return &Template{bytes.Clone(data)}, nil
}

// maxTemplate is larger than any object that a cluster takes (etcd's default
// limit of a request is 1.5 MiB).
const maxTemplate = 1 << 20

// readTemplate returns the mapping of the one document.
func readTemplate(data []byte) (*yaml.Node, error) {
	if len(data) > maxTemplate {
		return nil, fmt.Errorf("it has %d bytes, and %d are allowed", len(data), maxTemplate)
	}
	var doc, second yaml.Node
	dec := yaml.NewDecoder(bytes.NewReader(data))
	if err := dec.Decode(&doc); err == io.EOF {
		return nil, errors.New("it is empty")
	} else if err != nil {
		return nil, err
	}
	if err := dec.Decode(&second); err != io.EOF {
		return nil, cmp.Or(err, errors.New("it has several documents, and one is wanted"))
	}
	var all map[string]any
	if err := doc.Decode(&all); err != nil { // keys that are there twice, and aliases that multiply
		return nil, err
	}
	if doc.Kind != yaml.DocumentNode || len(doc.Content) != 1 || doc.Content[0].Kind != yaml.MappingNode {
		return nil, errors.New("it is no object")
	}
	root := withoutAliases(doc.Content[0])
	return root, checkTemplate(root)
}

// withoutAliases returns a tree with what its aliases stand for in their places:
// one may be set without the other.
func withoutAliases(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	c := *n
	c.Anchor, c.Content = "", nil
	for _, child := range n.Content {
		c.Content = append(c.Content, withoutAliases(child))
	}
	return &c
}

// checkTemplate holds what oc-mirror holds of a template.
func checkTemplate(root *yaml.Node) error {
	for _, want := range []struct{ key, value string }{{"apiVersion", catalogSourceAPI}, {"kind", catalogSourceKind}} {
		if got := text(root, want.key); got != want.value {
			return fmt.Errorf("its %s is %q and should be %s", want.key, got, want.value)
		}
	}
	for i := 0; i < len(root.Content); i += 2 {
		if k := root.Content[i]; !slices.Contains([]string{"apiVersion", "kind", "metadata", "spec", "status"}, k.Value) {
			return fmt.Errorf("line %d: a %s has no %q", k.Line, catalogSourceKind, k.Value)
		}
	}
	for _, key := range []string{"metadata", "spec"} {
		if n := find(root, key); n != nil && n.Kind != yaml.MappingNode && n.Tag != "!!null" {
			return fmt.Errorf("line %d: %s has to be a mapping", n.Line, key)
		}
	}
	spec, meta := find(root, "spec"), find(root, "metadata")
	if n := find(meta, "annotations"); n != nil && n.Kind != yaml.MappingNode && n.Tag != "!!null" {
		return fmt.Errorf("line %d: annotations have to be a mapping", n.Line)
	}
	if got := text(spec, "sourceType"); got != "" && got != "grpc" {
		return fmt.Errorf("its sourceType is %q and should be grpc", got)
	}
	if text(spec, "configMap") != "" {
		return errors.New("it has a configMap, which is for another source type than grpc")
	}
	return nil
}

// catalogSource returns the object of the template for a catalog.
func (t *Template) catalogSource(name, image string) *yaml.Node {
	root, err := readTemplate(t.data)
	if err != nil {
		panic(err) // ParseTemplate has read it
	}
	drop(root, "status")
	meta, spec := mapping(root, "metadata"), mapping(root, "spec")
	for _, key := range []string{"creationTimestamp", "generation", "managedFields", "resourceVersion", "selfLink", "uid"} {
		drop(meta, key) // of an object that was taken out of a cluster
	}
	put(meta, "name", name)
	put(meta, "namespace", marketplace)
	put(mapping(meta, "annotations"), "createdBy", createdBy)
	put(spec, "sourceType", "grpc")
	put(spec, "image", image)
	return root
}

// find returns the value of a key, nil where there is none.
func find(m *yaml.Node, key string) *yaml.Node {
	if m == nil || m.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(m.Content); i += 2 {
		if m.Content[i].Value == key {
			return m.Content[i+1]
		}
	}
	return nil
}

// text returns the value of a key that is a scalar; "" for none.
func text(m *yaml.Node, key string) string {
	n := find(m, key)
	if n == nil || n.Tag == "!!null" {
		return ""
	}
	return n.Value
}

// put sets a key to text.
func put(m *yaml.Node, key, value string) {
	assign(m, key, &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: value})
}

// assign sets a key to a value.
func assign(m *yaml.Node, key string, value *yaml.Node) {
	if n := find(m, key); n != nil {
		*n = *value
		return
	}
	m.Content = append(m.Content, &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: key}, value)
}

// mapping returns the mapping of a key, a new one where there is none.
func mapping(m *yaml.Node, key string) *yaml.Node {
	n := find(m, key)
	if n == nil || n.Kind != yaml.MappingNode {
		assign(m, key, &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"})
		n = find(m, key)
	}
	return n
}

// drop removes a key.
func drop(m *yaml.Node, key string) {
	for i := 0; i+1 < len(m.Content); i += 2 {
		if m.Content[i].Value == key {
			m.Content = slices.Delete(m.Content, i, i+2)
			return
		}
	}
}
