package openshift

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v4"

	"github.com/entrepot/entrepot/relocate"
)

// TestCatalog holds the objects of oc-mirror's goldens.
func TestCatalog(t *testing.T) {
	want := map[string]string{
		"cs-redhat-operator-index-v4-15.yaml": `apiVersion: operators.coreos.com/v1alpha1
kind: CatalogSource
metadata:
  annotations:
    createdBy: entrepot
  name: cs-redhat-operator-index-v4-15
  namespace: openshift-marketplace
spec:
  image: myregistry.io/mynamespace/redhat/redhat-operator-index:v4.15
  sourceType: grpc
`,
		"cc-redhat-operator-index-v4-15.yaml": `apiVersion: olm.operatorframework.io/v1
kind: ClusterCatalog
metadata:
  annotations:
    createdBy: entrepot
  name: cc-redhat-operator-index-v4-15
spec:
  priority: 0
  source:
    image:
      ref: myregistry.io/mynamespace/redhat/redhat-operator-index:v4.15
    type: Image
`,
	}
	got := written(t, set(t, "path", "registry.redhat.io/redhat/redhat-operator-index:v4.15 catalog"))
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestCatalogNames(t *testing.T) {
	long := strings.Repeat("very-", 12) + "long"
	for _, c := range []struct {
		scheme string
		images []string
		want   []string // after cs-, and the image
	}{
		{"path", []string{"registry.redhat.io/redhat/redhat-operator-index@" + digestC}, []string{"redhat-operator-index-7c4ef7434c97 redhat/redhat-operator-index@" + digestC}},
		// What the naming does to a name is no part of the catalog's.
		{"host-path", []string{"r.io/redhat/index:v4.15"}, []string{"index-v4-15 r.io/redhat/index:v4.15"}},
		{"", []string{"r.io/redhat/index:v4.15"}, []string{"index-v4-15 redhat-index-8054299e90a3d3dbe11d6e40e38a348c:v4.15"}},
		// A target that an input names is.
		{"", []string{"r.io/redhat/index:v4.15=mine/our_index:v1"}, []string{"our-index-v1 mine/our_index:v1"}},
		{"", []string{"r.io/redhat/index@" + digestC + "=mine/index:v1"}, []string{"index-v1 mine/index@" + digestC}},
		{"path", []string{"r.io/a.b/in.dex:Release_1.2.3.4"}, []string{"in-dex-release-1-2 a.b/in.dex:Release_1.2.3.4"}},
		{"path", []string{"r.io/index:___"}, []string{"index-0 index:___"}},
		{"path", []string{"r.io/index"}, []string{"index-latest index:latest"}},
		// Neither a name that is too long nor one that is taken.
		{"path", []string{"r.io/" + long + ":v1"}, []string{"very-very-very-very-very-very-very-very-very-ver-5b474f7e-v1 " + long + ":v1"}},
		{"path", []string{"r.io/a/x:v4.15.0-longer-1", "r.io/b/x:v4.15.0-longer-2"}, []string{"x-375c3829-v4-15-0-long b/x:v4.15.0-longer-2", "x-619a6886-v4-15-0-long a/x:v4.15.0-longer-1"}},
	} {
		for i := range c.images {
			c.images[i] += " catalog"
		}
		var want, got []string
		for _, w := range c.want {
			name, image, _ := strings.Cut(w, " ")
			want = append(want, "cs-"+name+" myregistry.io/mynamespace/"+image)
		}
		files := written(t, set(t, c.scheme, c.images...))
		for _, name := range slices.Sorted(maps.Keys(files)) {
			if !strings.HasPrefix(name, "cs-") {
				continue
			}
			var o struct {
				Metadata struct{ Name string }
				Spec     struct{ Image string }
			}
			if err := yaml.Unmarshal([]byte(files[name]), &o); err != nil {
				t.Fatal(err)
			}
			if o.Metadata.Name+".yaml" != name || len(o.Metadata.Name) > maxLabel {
				t.Errorf("%s holds %s", name, o.Metadata.Name)
			}
			if strings.Replace(files["cc-"+name[3:]], "cc-", "cs-", 1) == "" {
				t.Errorf("there is no ClusterCatalog beside %s", name)
			}
			got = append(got, o.Metadata.Name+" "+o.Spec.Image)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s %s (-want +got):\n%s", c.scheme, c.images, diff)
		}
	}
}

const index = "registry.redhat.io/redhat/redhat-operator-index:v4.15"

// withTemplate is the CatalogSource of a catalog that has a template.
func withTemplate(t *testing.T, template string) (string, error) {
	t.Helper()
	s := set(t, "path", index+" catalog")
	s.Extras = []relocate.File{{Name: TemplateFile(s.Images[0].Name()), Data: []byte(template)}, {Name: "somebody/else's", Data: []byte("x")}}
	files, _, err := Files(s)
	if err != nil {
		return "", err
	}
	return string(files[1].Data), nil
}

func TestTemplate(t *testing.T) {
	got, err := withTemplate(t, `# ours
kind: CatalogSource
apiVersion: operators.coreos.com/v1alpha1
metadata:
  name: &name totalRubbish
  creationTimestamp: "2024-01-01T00:00:00Z"
  uid: 1
  labels: {team: *name}
  annotations:
    ours: "yes"
spec:
  priority: -100 # last
  image: totalRubbish
  secrets: [pull]
  updateStrategy:
    registryPoll:
      interval: 30m0s
status: {}
`)
	if err != nil {
		t.Fatal(err)
	}
	want := `# ours
kind: CatalogSource
apiVersion: operators.coreos.com/v1alpha1
metadata:
  name: cs-redhat-operator-index-v4-15
  labels: {team: totalRubbish}
  annotations:
    ours: "yes"
    createdBy: entrepot
  namespace: openshift-marketplace
spec:
  priority: -100 # last
  image: myregistry.io/mynamespace/redhat/redhat-operator-index:v4.15
  secrets: [pull]
  updateStrategy:
    registryPoll:
      interval: 30m0s
  sourceType: grpc
`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got, err := withTemplate(t, template); err != nil || !strings.Contains(got, "interval: 30m0s") || strings.Contains(got, "Rubbish") {
		t.Errorf("got %s, %v", got, err)
	}
}

// TestTemplateRefuses: what oc-mirror would go on without is an error.
func TestTemplateRefuses(t *testing.T) {
	for name, c := range map[string]struct{ old, by, want string }{
		"another kind":     {"kind: CatalogSource", "kind: ImageDigestMirrorSet", `its kind is "ImageDigestMirrorSet"`},
		"another version":  {"v1alpha1", "v1", "its apiVersion is"},
		"another source":   {"grpc", "internal", "its sourceType is"},
		"a ConfigMap":      {"sourceType: grpc", "configMap: x", "it has a configMap"},
		"another key":      {"spec:", "extra: 1\nspec:", `line 6: a CatalogSource has no "extra"`},
		"a key twice":      {"  image:", "  image: x\n  image:", "already"},
		"spec is a list":   {template[strings.Index(template, "spec:"):], "spec: [a]\n", "spec has to be a mapping"},
		"annotations":      {"metadata:", "metadata:\n  annotations: x", "annotations have to be a mapping"},
		"two documents":    {"spec:", "---\nspec:", "several documents"},
		"nothing":          {template, "", "it is empty"},
		"a list":           {template, "- a", "cannot"},
		"no YAML":          {"spec:", "spec", "line"},
		"an alias to none": {"totalRubbish", "*x", "unknown anchor"},
	} {
		if _, err := withTemplate(t, strings.Replace(template, c.old, c.by, 1)); err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), index) {
			t.Errorf("%s: got %v, want …%s…", name, err, c.want)
		}
	}
}

func TestUpdateService(t *testing.T) {
	got := written(t, set(t, "path",
		"quay.io/openshift-release-dev/ocp-release:4.13.10-x86_64 release", "quay.io/openshift-release-dev/ocp-release:4.13.11-x86_64 release",
		"localhost:5000/openshift/graph-image:latest graph",
	))["updateService.yaml"]
	want := `apiVersion: updateservice.operator.openshift.io/v1
kind: UpdateService
metadata:
  annotations:
    createdBy: entrepot
  name: update-service-oc-mirror
  namespace: openshift-update-service
spec:
  graphDataImage: myregistry.io/mynamespace/openshift/graph-image:latest
  releases: myregistry.io/mynamespace/openshift-release-dev/ocp-release
  replicas: 2
`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	files, warnings, err := Files(set(t, "", "g.io/graph:1 graph"))
	if err != nil || len(files) != 0 || len(warnings) != 1 {
		t.Errorf("without a release: got %v, %v, %v", files, warnings, err)
	}
}

func TestSignatures(t *testing.T) {
	s := set(t, "path", "quay.io/openshift-release-dev/ocp-release@"+digestA+" release")
	first, second := strings.Repeat("\x00signature", 90), "another"
	s.Extras = []relocate.File{{Name: SignatureFile(digestA, 2), Data: []byte(second)}, {Name: SignatureFile(digestA, 1), Data: []byte(first)}}
	got := written(t, s)
	want := fmt.Sprintf(`apiVersion: v1
binaryData:
  sha256-%[1]s-1: %[2]s
  sha256-%[1]s-2: %[3]s
kind: ConfigMap
metadata:
  annotations:
    createdBy: entrepot
  labels:
    release.openshift.io/verification-signatures: ""
  name: mirrored-release-signatures
  namespace: openshift-config-managed
`, digestA[len("sha256:"):], base64.StdEncoding.EncodeToString([]byte(first)), base64.StdEncoding.EncodeToString([]byte(second)))
	if diff := cmp.Diff(want, got["signature-configmap.yaml"]); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	var fromYAML, fromJSON map[string]any
	if err := yaml.Unmarshal([]byte(got["signature-configmap.yaml"]), &fromYAML); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(got["signature-configmap.json"]), &fromJSON); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(fromYAML, fromJSON); diff != "" {
		t.Errorf("as YAML and as JSON:\n%s", diff)
	}
}

func TestSignaturesRefused(t *testing.T) {
	for name, f := range map[string]relocate.File{
		"no digest":  {Name: signatureDir + "sha256-1234-1", Data: []byte("x")},
		"no number":  {Name: signatureDir + "sha256-" + digestA[7:], Data: []byte("x")},
		"number 0":   {Name: SignatureFile(digestA, 0), Data: []byte("x")},
		"below that": {Name: signatureDir + "x/" + strings.TrimPrefix(SignatureFile(digestA, 1), signatureDir), Data: []byte("x")},
		"empty":      {Name: SignatureFile(digestA, 1)},
		"too large":  {Name: SignatureFile(digestA, 1), Data: make([]byte, maxConfigMap)},
	} {
		s := set(t, "", "quay.io/release:4 release")
		s.Extras = []relocate.File{f}
		if files, _, err := Files(s); err == nil || len(files) > 0 {
			t.Errorf("%s: got %v", name, err)
		}
	}
}
