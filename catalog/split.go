package catalog

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"go.yaml.in/yaml/v4"
)

// A File is a file of a catalog.
type File struct {
	Path string // with slashes, relative to the catalog's directory
	Data []byte
}

// bom is the byte order mark that some editors put before a text.
var bom = []byte("\xef\xbb\xbf")

// split returns the objects of a file: JSON where it starts with a brace, YAML
// otherwise, as the decoder that opm uses tells them apart. YAML may start with a
// brace too.
func split(f File) ([]*object, error) {
	data := bytes.TrimPrefix(f.Data, bom)
	if !bytes.HasPrefix(bytes.TrimLeft(data, " \t\r\n"), []byte("{")) {
		return splitYAML(f.Path, data)
	}
	all, err := splitJSON(f.Path, data)
	if err != nil && len(all) == 0 {
		if flow, wrong := splitYAML(f.Path, data); wrong == nil {
			return flow, nil
		}
	}
	return all, err
}

// splitJSON returns the objects of a sequence in JSON, each as it stands there.
func splitJSON(name string, data []byte) ([]*object, error) {
	var all []*object
	dec := json.NewDecoder(bytes.NewReader(data))
	line, seen := 1, 0
	for {
		var raw json.RawMessage
		err := dec.Decode(&raw)
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		end := int(dec.InputOffset())
		if err != nil {
			if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
				end = min(int(syntax.Offset), len(data))
			}
			return all, fmt.Errorf("%s:%d: %w", name, line+bytes.Count(data[seen:max(seen, end)], []byte("\n")), err)
		}
		start := end - len(raw)
		line += bytes.Count(data[seen:start], []byte("\n"))
		at := fmt.Sprintf("%s:%d", name, line)
		line, seen = line+bytes.Count(raw, []byte("\n")), end
		if raw[0] != '{' {
			return all, fmt.Errorf("%s: not an object", at)
		}
		text := data[start:end:end]
		all = append(all, &object{raw: text, json: text, at: at})
	}
}

// splitYAML returns the objects of a file of YAML documents. A line that starts with
// three dashes starts a document wherever it stands: within one, not even a block
// scalar may have it (YAML 1.2.2, 9.1.4 "Explicit Documents").
func splitYAML(name string, data []byte) ([]*object, error) {
	var all []*object
	var errs []error
	line := 1
	for len(data) > 0 {
		doc, rest := cutDocument(data)
		at := fmt.Sprintf("%s:%d", name, line+leadingLines(doc))
		line += bytes.Count(doc, []byte("\n"))
		data = rest
		o, err := yamlObject(doc, at)
		if err != nil {
			errs = append(errs, err)
		} else if o != nil {
			all = append(all, o)
		}
	}
	return all, errors.Join(errs...)
}

// cutDocument returns the text up to the next line that starts a document.
func cutDocument(data []byte) (doc, rest []byte) {
	for i := 0; ; {
		n := bytes.Index(data[i:], []byte("\n---"))
		if n < 0 {
			return data, nil
		}
		i += n + 1
		if end := i + 3; end == len(data) || bytes.IndexByte([]byte(" \t\r\n"), data[end]) >= 0 {
			return data[:i:i], data[i:]
		}
	}
}

// leadingLines counts the lines before a document's first text.
func leadingLines(doc []byte) int {
	text := bytes.TrimLeft(bytes.TrimPrefix(doc, []byte("---")), " \t\r\n")
	return bytes.Count(doc[:len(doc)-len(text)], []byte("\n"))
}

// yamlObject reads a YAML document, nil where there is nothing in it.
func yamlObject(doc []byte, at string) (*object, error) {
	var v any
	if err := yaml.Unmarshal(doc, &v); err != nil {
		return nil, fmt.Errorf("%s: %w", at, err)
	}
	if v == nil {
		return nil, nil
	}
	if _, ok := v.(map[string]any); !ok {
		return nil, fmt.Errorf("%s: not an object", at)
	}
	text, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", at, err)
	}
	return &object{raw: doc, yaml: true, json: text, at: at}, nil
}

// decode reads the fields of an object that into has.
func decode(o *object, into any) error {
	err := json.Unmarshal(o.json, into)
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return fmt.Errorf("%s: %s %q: %s is a %s and should be a %s", o.at, o.Schema, o.Name, strings.TrimPrefix(wrong.Field, "object."), wrong.Value, wrong.Type)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", o.at, err)
	}
	return nil
}
