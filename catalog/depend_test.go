package catalog_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/entrepot/entrepot/catalog"
)

// requiring is a catalog in which shop has a property, and tea and pot are there to
// meet it.
func requiring(t *testing.T, property string) *catalog.Catalog {
	t.Helper()
	var b strings.Builder
	bundle := func(pkg, version, properties string) {
		fmt.Fprintf(&b, `{"schema":"olm.bundle","name":"%s.v%s","package":"%[1]s","properties":[{"type":"olm.package","value":{"packageName":"%[1]s","version":"%[2]s"}}%s]}`, pkg, version, properties)
	}
	b.WriteString(`{"schema":"olm.package","name":"shop","defaultChannel":"c"}{"schema":"olm.channel","package":"shop","name":"c","entries":[{"name":"shop.v1.0.0"}]}`)
	bundle("shop", "1.0.0", ","+property)
	b.WriteString(`{"schema":"olm.package","name":"tea","defaultChannel":"stable"}
		{"schema":"olm.channel","package":"tea","name":"fast","entries":[{"name":"tea.v2.1.0","replaces":"tea.v2.0.0-rc.1"},{"name":"tea.v2.0.0-rc.1","replaces":"tea.v1.0.0"},{"name":"tea.v1.0.0"}]}
		{"schema":"olm.channel","package":"tea","name":"stable","entries":[{"name":"tea.v1.0.0"}]}`)
	gvk := `,{"type":"olm.gvk","value":{"group":"tea.io","version":"v1","kind":"Leaf"}}`
	bundle("tea", "1.0.0", gvk)
	bundle("tea", "2.0.0-rc.1", gvk)
	bundle("tea", "2.1.0", gvk)
	b.WriteString(`{"schema":"olm.package","name":"zeta","defaultChannel":"c"}{"schema":"olm.channel","package":"zeta","name":"c","entries":[{"name":"zeta.v9.0.0"}]}`)
	bundle("zeta", "9.0.0", gvk)
	return read(t, fstest.MapFS{"c.json": {Data: []byte(b.String())}})
}

func TestDependencies(t *testing.T) {
	for _, test := range []struct {
		name, property string
		also           []pf
		want           []string // beside shop
		told           string
	}{
		{"any version", `{"type":"olm.package.required","value":{"packageName":"tea"}}`, nil, []string{"tea/stable*: tea.v1.0.0"}, "added because"},
		{"a version of no default channel", `{"type":"olm.package.required","value":{"packageName":"tea","versionRange":">=2.1.0"}}`, nil, []string{"tea/fast*: tea.v2.1.0"}, "it becomes the default channel in the place of stable"},
		{"a version before a release", `{"type":"olm.package.required","value":{"packageName":"tea","versionRange":">1.0.0 <2.1.0"}}`, nil, []string{"tea/fast*: tea.v2.0.0-rc.1"}, "added because"},
		{"an API, of the first package", `{"type":"olm.gvk.required","value":{"group":"tea.io","version":"v1","kind":"Leaf"}}`, nil, []string{"tea/stable*: tea.v1.0.0"}, "Leaf of tea.io/v1"},
		{"an API that is there anyhow", `{"type":"olm.gvk.required","value":{"group":"tea.io","version":"v1","kind":"Leaf"}}`, []pf{{Name: "zeta"}}, []string{"zeta/c*: zeta.v9.0.0"}, ""},
		{"a channel that is kept is filled up", `{"type":"olm.package.required","value":{"packageName":"tea","versionRange":"<2.0.0-rc.1"}}`,
			[]pf{{Name: "tea", DefaultChannel: "fast", Channels: []cf{{Name: "fast"}}}}, []string{"tea/fast*: tea.v2.1.0 tea.v2.0.0-rc.1 tea.v1.0.0"}, "added because"},
		{"all of several", `{"type":"olm.constraint","value":{"failureMessage":"x","all":{"constraints":[{"package":{"packageName":"zeta"}},{"gvk":{"group":"tea.io","version":"v1","kind":"Leaf"}}]}}}`,
			nil, []string{"zeta/c*: zeta.v9.0.0"}, "added because"},
		{"a constraint that is not understood", `{"type":"olm.constraint","value":{"any":{"constraints":[]}}}`, nil, nil, "is not understood"},
		{"a range that is none", `{"type":"olm.package.required","value":{"packageName":"tea","versionRange":"new"}}`, nil, nil, "is not understood"},
		{"what nobody has", `{"type":"olm.gvk.required","value":{"group":"tea.io","version":"v2","kind":"Leaf"}}`, nil, nil, "it requires Leaf of tea.io/v2, which the catalog does not have"},
	} {
		t.Run(test.name, func(t *testing.T) {
			kept, problems, err := requiring(t, test.property).Filter(catalog.Filter{Packages: append([]pf{{Name: "shop"}}, test.also...)})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(append([]string{"shop/c*: shop.v1.0.0"}, test.want...), inside(t, kept)); diff != "" {
				t.Error(diff)
			}
			if said := fmt.Sprint(problems); !strings.Contains(said, test.told) || (test.told == "") != (len(problems) == 0) {
				t.Errorf("it says %s", said)
			}
		})
	}
}

func TestBrokenChannels(t *testing.T) {
	for entries, want := range map[string]string{
		`[]`:                            "it has no entries",
		`[{"name":"a"},{"name":"b"}]`:   "it has several heads: a, b",
		`[{"name":"a","replaces":"a"}]`: "form a cycle",
		`[{"name":"a","replaces":"b"},{"name":"b","replaces":"c"},{"name":"c","replaces":"b"}]`: "form a cycle",
		`[{"name":"a"},{"name":"a"}]`: `the entry "a" is there twice`,
	} {
		c := read(t, fstest.MapFS{"c": {Data: []byte(`{"schema":"olm.package","name":"p"}{"schema":"olm.channel","package":"p","name":"ch","entries":` + entries + `}`)}})
		_, _, err := c.Filter(catalog.Filter{})
		if err == nil || !strings.HasPrefix(err.Error(), `package "p": channel "ch": `) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", entries, err, want)
		}
	}
}

// TestVersionsAreNeeded: a bundle without a version matters where versions do.
func TestVersionsAreNeeded(t *testing.T) {
	for properties, want := range map[string]string{
		`[]`: "has no property olm.package",
		`[{"type":"olm.package","value":{"version":"1.0"}}]`: `version "1.0"`,
	} {
		c := read(t, fstest.MapFS{"c": {Data: []byte(`{"schema":"olm.package","name":"p"}{"schema":"olm.channel","package":"p","name":"ch","entries":[{"name":"b"}]}{"schema":"olm.bundle","package":"p","name":"b","properties":` + properties + `}`)}})
		if _, _, err := c.Filter(catalog.Filter{}); err != nil {
			t.Errorf("heads alone: %v", err)
		}
		_, _, err := c.Filter(catalog.Filter{Packages: []pf{{Name: "p", Min: "1.0.0"}}})
		if err == nil || !strings.Contains(err.Error(), `bundle "b"`) || !strings.Contains(err.Error(), want) {
			t.Errorf("a range: got %v, want %q", err, want)
		}
	}
}
