package document

import "github.com/entrepot/entrepot/internal/tree"

// maxDepth is how deep tables and lists may be nested in each other.
const maxDepth = 200

// parseJSON reads a text of one or several JSON values, one after the other.
func parseJSON(data []byte) ([]*tree.Node, error) {
	docs, _, err := tree.JSON(data, tree.Options{MaxDepth: maxDepth})
	return docs, err
}

// parseYAML reads the documents of a YAML text.
func parseYAML(data []byte) ([]*tree.Node, error) {
	docs, _, err := tree.YAML(data, tree.Options{MaxDepth: maxDepth})
	return docs, err
}
