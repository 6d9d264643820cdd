package openshift

import (
	"bytes"
	"encoding/json"

	"go.yaml.in/yaml/v4"
)

// An object is a Kubernetes object, or a part of one. The encoders write its
// keys in order.
type object map[string]any

// metadata returns the metadata of an object, with our annotation.
func metadata(name string) object {
	return object{"name": name, "annotations": object{"createdBy": createdBy}}
}

// marshalAll writes documents as YAML, each after a line "---".
func marshalAll(documents []any) ([]byte, error) {
	var b bytes.Buffer
	for _, d := range documents {
		data, err := marshal(d)
		if err != nil {
			return nil, err
		}
		b.WriteString("---\n")
		b.Write(data)
	}
	return b.Bytes(), nil
}

// marshal writes a document as YAML, in the layout of oc-mirror.
func marshal(document any) ([]byte, error) {
	return yaml.Dump(document, yaml.WithIndent(2), yaml.WithCompactSeqIndent(true), yaml.WithLineWidth(-1), yaml.WithQuotePreference(yaml.QuoteLegacy))
}

// marshalJSON writes one as JSON.
func marshalJSON(o object) ([]byte, error) {
	data, err := json.MarshalIndent(o, "", "  ")
	return append(data, '\n'), err
}
