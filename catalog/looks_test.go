package catalog_test

import (
	"testing"
	"testing/fstest"

	"github.com/entrepot/entrepot/catalog"
)

func TestLooksDir(t *testing.T) {
	const (
		own   = "defaultChannel: a\nname: a\nschema: olm.package\n"
		other = "schema: example.com/x\n"
		pod   = "apiVersion: v1\nkind: Pod\n"
	)
	for _, test := range []struct {
		name  string
		files map[string]string
		want  bool
	}{
		{"a catalog", map[string]string{"a/catalog.yaml": own, "README": "x", "b.json": `{"name":"c","schema" : "olm.channel"}`}, true},
		{"with objects of others", map[string]string{"a.yaml": other, "b.yaml": own, "empty.yaml": "\n"}, true},
		{"others alone", map[string]string{"a.yaml": other}, false},
		{"manifests", map[string]string{"a.yaml": pod}, false},
		{"manifests beside a catalog", map[string]string{"a.yaml": pod, "b.yaml": own}, false},
		{"manifests that are ignored", map[string]string{"a.yaml": pod, "b.yaml": own, ".indexignore": "a.yaml"}, true},
		{"a template", map[string]string{"a.yaml": "schema: olm.semver\n"}, false},
		{"a catalog in a ConfigMap", map[string]string{"a.yaml": pod + "data:\n  x: |\n    schema: olm.package\n"}, false},
		{"nothing", map[string]string{"README": own}, false},
	} {
		dir := fstest.MapFS{}
		for name, data := range test.files {
			dir[name] = &fstest.MapFile{Data: []byte(data)}
		}
		if got := catalog.LooksDir(dir); got != test.want {
			t.Errorf("%s: %v, want %v", test.name, got, test.want)
		}
	}
}
