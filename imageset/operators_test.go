package imageset_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/entrepot/entrepot/catalog"
	"github.com/entrepot/entrepot/internal/regtest"
	"github.com/entrepot/entrepot/oci"
)

// etcd and its two versions, the second with another operator, and tool, which
// has one.
const operators = `configs/all.json=
{"schema":"olm.package","name":"etcd","defaultChannel":"stable"}
{"schema":"olm.channel","package":"etcd","name":"stable","entries":[{"name":"etcd.v1.0.0"},{"name":"etcd.v1.1.0","replaces":"etcd.v1.0.0"}]}
{"schema":"olm.bundle","name":"etcd.v1.0.0","package":"etcd","image":"quay.io/etcd/bundle:1.0.0","properties":[{"type":"olm.package","value":{"packageName":"etcd","version":"1.0.0"}}],"relatedImages":[{"name":"op","image":"quay.io/etcd/operator:1"}]}
{"schema":"olm.bundle","name":"etcd.v1.1.0","package":"etcd","image":"quay.io/etcd/bundle:1.1.0","properties":[{"type":"olm.package","value":{"packageName":"etcd","version":"1.1.0"}}],"relatedImages":[{"name":"op","image":"quay.io/etcd/operator:2"}]}
{"schema":"olm.package","name":"tool","defaultChannel":"fast"}
{"schema":"olm.channel","package":"tool","name":"fast","entries":[{"name":"tool.v2.0.0"}]}
{"schema":"olm.bundle","name":"tool.v2.0.0","package":"tool","image":"quay.io/tool/bundle:2.0.0","properties":[{"type":"olm.package","value":{"packageName":"tool","version":"2.0.0"}}],"relatedImages":[{"name":"op","image":"quay.io/tool/operator:2"}]}
`

const configsLabel = `{"operators.operatorframework.io.index.configs.v1":"/configs"}`

func (b *bench) index(tag string) regtest.Built {
	return b.labelled("redhat/index", gzipped, "amd64", configsLabel, tag, []string{"bin/opm=x"}, []string{operators})
}

// TestWholeCatalog holds that a catalog of which everything is wanted stays what
// it is.
func TestWholeCatalog(t *testing.T) {
	b := newBench(t)
	b.index("v4.15")
	set := b.expand("  operators:\n  - catalog: registry.io/redhat/index:v4.15\n    full: true\n    platforms: [{os: linux, architecture: arm64}]\n")
	const at = " linux/arm64 mirror.operators[0].catalog"
	b.has(set,
		"registry.io/redhat/index:v4.15 catalog"+at,
		"quay.io/etcd/bundle:1.0.0 operator-bundle"+at,
		"quay.io/etcd/bundle:1.1.0 operator-bundle"+at,
		"quay.io/etcd/operator:1 related"+at,
		"quay.io/etcd/operator:2 related"+at,
		"quay.io/tool/bundle:2.0.0 operator-bundle"+at,
		"quay.io/tool/operator:2 related"+at,
	)
	if len(set.Local) > 0 || len(set.Notes) > 0 {
		t.Errorf("a new image was made: %v, %v", set.Local, notes(set))
	}
}

// TestPartOfACatalog holds that a part is a new image by the old name.
func TestPartOfACatalog(t *testing.T) {
	b := newBench(t)
	old := b.index("v4.15")
	set := b.expand("  operators:\n  - catalog: registry.io/redhat/index:v4.15\n    targetCatalog: mirror/ops\n    targetTag: v1\n    packages:\n    - name: etcd\n")
	b.has(set,
		"registry.io/redhat/index:v4.15 > /mirror/ops:v1 catalog mirror.operators[0].catalog",
		"quay.io/etcd/bundle:1.1.0 operator-bundle mirror.operators[0].packages[0]",
		"quay.io/etcd/operator:2 related mirror.operators[0].packages[0]",
	)
	from := set.Over(b.env.Source)
	r := reference(t, "registry.io/redhat/index:v4.15")
	c, image, err := catalog.FromImage(t.Context(), from, r)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"etcd"}, c.Packages()); diff != "" {
		t.Errorf("packages (-want +got):\n%s", diff)
	}
	if image.Digest == old.Digest {
		t.Error("the part has the digest of the whole")
	}
	b.complete(from, r.Name.WithDigest(image.Digest).String())
	if _, err := from.Manifest(t.Context(), r.Name.WithDigest(old.Digest)); err != nil {
		t.Errorf("the old one: %v", err)
	}
	want := []string{"isc.yaml:5: mirror.operators[0].catalog: a part of the catalog is taken: registry.io/redhat/index:v4.15 is a new image, " + string(image.Digest)}
	if diff := cmp.Diff(want, notes(set)); diff != "" {
		t.Errorf("notes (-want +got):\n%s", diff)
	}
}

// complete checks that all of an image is there.
func (b *bench) complete(from oci.Reader, name string) {
	b.t.Helper()
	r := reference(b.t, name)
	m, err := from.Manifest(b.t.Context(), r)
	if err != nil {
		b.t.Fatal(err)
	}
	links, err := m.Links()
	if err != nil {
		b.t.Fatal(err)
	}
	for _, d := range links.Blobs() {
		if got, err := from.Stat(b.t.Context(), r.Name, d.Digest); err != nil || got.Size != d.Size {
			b.t.Errorf("blob %s: %v, %v", d.Digest, got.Size, err)
		}
	}
}

// TestPartsOfOneCatalog takes two parts of a catalog, and one of a catalog that is
// named by its digest.
func TestPartsOfOneCatalog(t *testing.T) {
	b := newBench(t)
	old := b.index("v4.15")
	set := b.expand(`
  operators:
  - catalog: registry.io/redhat/index:v4.15
    packages: [{name: etcd}]
  - catalog: registry.io/redhat/index:v4.15
    targetCatalog: tools
    packages: [{name: tool}]
  - catalog: registry.io/redhat/index@` + string(old.Digest) + `
    packages: [{name: etcd}]
`)
	var got []string
	for _, i := range set.Images {
		if i.Role != "catalog" {
			continue
		}
		c, built, err := catalog.FromImage(t.Context(), set.Over(b.env.Source), reference(t, i.Written))
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, strings.ReplaceAll(i.Written, built.Digest.Encoded()[:12], "SELF")+" "+strings.Join(c.Packages(), " "))
	}
	want := []string{
		"registry.io/redhat/index:v4.15 etcd", "registry.io/redhat/index:v4.15-SELF tool",
		"registry.io/redhat/index:" + old.Digest.Encoded()[:12] + " etcd",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("catalogs (-want +got):\n%s", diff)
	}
}

// TestTargetName holds what v1alpha2 calls the last part of a target.
func TestTargetName(t *testing.T) {
	b := newBench(t)
	b.index("v4.15")
	set := b.expand("apiVersion: mirror.openshift.io/v1alpha2\nkind: ImageSetConfiguration\nmirror:\n  operators:\n  - {catalog: 'registry.io/redhat/index:v4.15', targetName: ours, targetTag: v2, full: true}\n")
	if got := set.Images[0].Target; got != "/redhat/ours:v2" {
		t.Errorf("the target is %s", got)
	}
}

func TestTemplate(t *testing.T) {
	b := newBench(t)
	b.index("v4.15")
	const config = "  operators:\n  - catalog: registry.io/redhat/index:v4.15\n    full: true\n    targetCatalogSourceTemplate: cs.yaml\n"
	const text = "apiVersion: operators.coreos.com/v1alpha1\nkind: CatalogSource\nspec: {updateStrategy: {registryPoll: {interval: 30m}}}\n"
	b.env.ReadFile = func(string) ([]byte, error) { return []byte(text), nil }
	set := b.expand(config)
	if len(set.Files) != 1 || string(set.Files[0].Data) != text || !strings.HasSuffix(set.Files[0].Name, "/registry.io/redhat/index:v4.15") {
		t.Errorf("files: %v", set.Files)
	}
	b.env.ReadFile = func(string) ([]byte, error) { return []byte("kind: Pod\n"), nil }
	_, err := b.parse(config).Expand(t.Context(), b.env)
	if err == nil || !strings.HasPrefix(err.Error(), "isc.yaml:7: mirror.operators[0].targetCatalogSourceTemplate: the template: ") {
		t.Errorf("a template of something else: %v", err)
	}
	b.env.ReadFile = nil
	b.fails(config, "isc.yaml:7: mirror.operators[0].targetCatalogSourceTemplate: the template: no file can be read from here")
}

func TestOperatorErrors(t *testing.T) {
	b := newBench(t)
	b.index("v4.15")
	b.reg.AddImage("redhat/app", regtest.Image{Layers: []int64{10}}, "v1")
	for config, want := range map[string]string{
		"{catalog: 'registry.io/redhat/index:v9'}":                            "registry.io/redhat/index:v9: manifest unknown",
		"{catalog: 'registry.io/redhat/app:v1'}":                              "registry.io/redhat/app:v1: ",
		"{catalog: 'registry.io/redhat/index:v4.15', packages: [{name: no}]}": "registry.io/redhat/index:v4.15: ",
		"{catalog: 'oci:///not/there'}":                                       "oci:///not/there: there is no OCI layout",
	} {
		_, err := b.parse("  operators:\n  - "+config+"\n").Expand(t.Context(), b.env)
		if prefix := "isc.yaml:5: mirror.operators[0].catalog: " + want; err == nil || !strings.HasPrefix(err.Error(), prefix) {
			t.Errorf("%s gave %v, want %s", config, err, prefix)
		}
	}
}
