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

// marshal writes documents as YAML, in the layout of oc-mirror; more than one,
// each after a line "---".
func marshal(documents []any) ([]byte, error) {
	var b bytes.Buffer
	for _, d := range documents {
		data, err := yaml.Dump(d, yaml.WithIndent(2), yaml.WithCompactSeqIndent(true), yaml.WithLineWidth(-1), yaml.WithQuotePreference(yaml.QuoteLegacy))
		if err != nil {
			return nil, err
		}
		if len(documents) > 1 {
			b.WriteString("---\n")
		}
		b.Write(data)
	}
	return b.Bytes(), nil
}

// marshalJSON writes one as JSON.
func marshalJSON(o object) ([]byte, error) {
	data, err := json.MarshalIndent(o, "", "  ")
	return append(data, '\n'), err
}
