package openshift

import (
	"testing"

	"go.yaml.in/yaml/v4"
)

// A template that is accepted gives an object that a cluster reads, for the
// catalog it is asked for, whatever else is in it.
func FuzzTemplate(f *testing.F) {
	for _, s := range []string{
		template, "apiVersion: operators.coreos.com/v1alpha1\nkind: CatalogSource\n",
		`{"apiVersion": "operators.coreos.com/v1alpha1", "kind": "CatalogSource", "spec": {"sourceType": "grpc"}}`,
		"apiVersion: operators.coreos.com/v1alpha1\nkind: CatalogSource\nmetadata: &m\n  name: &n x\n  labels: {a: *n}\nspec:\n  image: *n\n",
		"apiVersion: operators.coreos.com/v1alpha1\nkind: CatalogSource\nspec:\n  <<: &d {priority: -5}\n  secrets: [a, b] # two\n---\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		tmpl, err := ParseTemplate("t", data)
		if err != nil {
			return
		}
		got, err := marshal(tmpl.catalogSource("cs-x-v1", "r.io/x:v1"))
		if err != nil {
			t.Fatal(err)
		}
		var o struct {
			APIVersion string `yaml:"apiVersion"`
			Kind       string
			Metadata   struct{ Name, Namespace string }
			Spec       struct {
				SourceType string `yaml:"sourceType"`
				Image      string
			}
		}
		if err := yaml.Unmarshal(got, &o); err != nil {
			t.Fatalf("%v in\n%s", err, got)
		}
		if o.APIVersion != catalogSourceAPI || o.Kind != catalogSourceKind || o.Metadata.Name != "cs-x-v1" || o.Metadata.Namespace != marketplace ||
			o.Spec.SourceType != "grpc" || o.Spec.Image != "r.io/x:v1" {
			t.Errorf("got\n%s", got)
		}
	})
}
