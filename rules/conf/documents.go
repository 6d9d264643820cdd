package conf

import (
	"path"
	"slices"
)

// A document is one YAML document, with the file that it is in.
type document struct {
	file *file
	root *node
}

// documents reads every YAML or JSON document of the source: of the file or the
// text that it is, or of the first of names that a directory has, or else of
// all its manifests in the order of their names. A text that is no document
// makes the client refuse the configuration.
func (r *reading) documents(names ...string) ([]document, error) {
	files, err := r.manifests(names)
	if err != nil {
		return nil, err
	}
	var docs []document
	for _, f := range files {
		roots, err := parseManifest(f)
		if err != nil {
			r.refuse(r.syntax(f, err))
			continue
		}
		for _, root := range roots {
			docs = append(docs, document{f, root})
		}
	}
	return docs, nil
}

func (r *reading) manifests(names []string) ([]*file, error) {
	f, err := r.single(names...)
	if f != nil || err != nil || !r.src.isDir() {
		return compact(f), err
	}
	var files []*file
	for _, name := range r.names(r.src.Path) {
		if !slices.Contains(manifestExts, path.Ext(name)) {
			continue
		}
		f, err := r.load(path.Join(r.src.Path, name))
		if err != nil {
			return nil, err
		}
		files = append(files, compact(f)...)
	}
	return files, nil
}

var manifestExts = []string{".yaml", ".yml", ".json"}

func parseManifest(f *file) ([]*node, error) {
	if path.Ext(f.path) != ".json" {
		return parseYAML(f.data)
	}
	root, err := parseJSON(f.data)
	if err != nil {
		return nil, err
	}
	return []*node{root}, nil
}

// yes returns the boolean at a key as the YAML libraries of Go read one into a
// bool: "yes" and "on" are true, as in YAML 1.1, though elsewhere they are
// strings.
func (r *reading) yes(f *file, n *node, key string) bool {
	v := r.value(n, key)
	if v == nil {
		return false
	}
	if v.kind == isString {
		switch v.text {
		case "y", "Y", "yes", "Yes", "YES", "on", "On", "ON":
			return true
		case "n", "N", "no", "No", "NO", "off", "Off", "OFF":
			return false
		}
	}
	return r.flag(f, n, key)
}
