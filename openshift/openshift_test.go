package openshift

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/entrepot/entrepot/ref"
	"github.com/entrepot/entrepot/relocate"
)

const (
	digestA = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	digestB = "sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
	digestC = "sha256:7c4ef7434c97c8aaf6cd310874790b915b3c61fc902eea255f9177058ea9aff3"

	template = `apiVersion: operators.coreos.com/v1alpha1
kind: CatalogSource
metadata:
  name: totalRubbish
  namespace: openshift-marketplace
spec:
  image: totalRubbish
  sourceType: grpc
  updateStrategy:
    registryPoll:
      interval: 30m0s
`
)

// set returns images at their targets: each is "SOURCE", or "SOURCE=TARGET",
// with its role after a blank. All have digestB where they have no other.
func set(t *testing.T, scheme string, images ...string) relocate.Set {
	t.Helper()
	n, err := relocate.NewNaming(relocate.NamingConfig{Scheme: scheme, Prefix: ref.Name{Host: "myregistry.io", Path: "mynamespace"}})
	if err != nil {
		t.Fatal(err)
	}
	var mentions []relocate.Mention
	for _, i := range images {
		names, role, _ := strings.Cut(i, " ")
		source, target, _ := strings.Cut(names, "=")
		mentions = append(mentions, relocate.Mention{Written: source, Target: target, Role: relocate.Role(role)})
	}
	pairs, err := relocate.Pairs(mentions, n)
	if err != nil {
		t.Fatal(err)
	}
	s := relocate.Set{Naming: n}
	for _, p := range pairs {
		d := p.Source.Digest
		if d == "" {
			d = digestB
		}
		s.Images = append(s.Images, relocate.Placed{Pair: p, Digest: d})
	}
	return s
}

// written returns the files of a set, by name.
func written(t *testing.T, s relocate.Set) map[string]string {
	t.Helper()
	files, _, err := Files(s)
	if err != nil {
		t.Fatal(err)
	}
	m := make(map[string]string)
	for i, f := range files {
		if i > 0 && files[i-1].Name >= f.Name {
			t.Errorf("%s comes after %s", f.Name, files[i-1].Name)
		}
		m[f.Name] = string(f.Data)
	}
	return m
}

// mixed is the list of oc-mirror's own test of the mirror sets.
var mixed = []string{
	"gcr.io/kubebuilder/kube-rbac-proxy:v0.5.0 related",
	"quay.io/cockroachdb/cockroach-helm-operator:6.0.0 related",
	"quay.io/helmoperators/cockroachdb:v5.0.3 related",
	"quay.io/helmoperators/cockroachdb:v5.0.4 related",
	"quay.io/openshift-community-operators/cockroachdb@" + digestA + " operator-bundle",
	"quay.io/openshift-community-operators/cockroachdb@" + digestB + " operator-bundle",
	"quay.io/openshift/openshift-community-operators@" + digestA + " catalog",
	"registry.redhat.io/ubi8-minimal@" + digestA + " related",
	"registry.redhat.io/ubi8/ubi:latest additional",
	"localhost:55000/openshift/graph-image:latest=openshift/graph-image:latest graph",
	"quay.io/openshift-release-dev/ocp-v4.0-art-dev@" + digestA + " release",
	"quay.io/openshift-release-dev/ocp-v4.0-art-dev@" + digestB + " release-content",
}

// TestMirrorSets holds the scopes of oc-mirror's goldens for repository scope,
// for the same images: one UBI image does not redirect its whole registry.
func TestMirrorSets(t *testing.T) {
	got := written(t, set(t, "path", mixed...))
	wantDigests := `---
apiVersion: config.openshift.io/v1
kind: ImageDigestMirrorSet
metadata:
  annotations:
    createdBy: entrepot
  name: idms-release-0
spec:
  imageDigestMirrors:
  - mirrors:
    - myregistry.io/mynamespace/openshift-release-dev/ocp-v4.0-art-dev
    source: quay.io/openshift-release-dev/ocp-v4.0-art-dev
---
apiVersion: config.openshift.io/v1
kind: ImageDigestMirrorSet
metadata:
  annotations:
    createdBy: entrepot
  name: idms-operator-0
spec:
  imageDigestMirrors:
  - mirrors:
    - myregistry.io/mynamespace/openshift-community-operators/cockroachdb
    source: quay.io/openshift-community-operators/cockroachdb
  - mirrors:
    - myregistry.io/mynamespace/ubi8-minimal
    source: registry.redhat.io/ubi8-minimal
`
	if diff := cmp.Diff(wantDigests, got["idms-oc-mirror.yaml"]); diff != "" {
		t.Errorf("idms-oc-mirror.yaml (-want +got):\n%s", diff)
	}
	wantTags := `---
apiVersion: config.openshift.io/v1
kind: ImageTagMirrorSet
metadata:
  annotations:
    createdBy: entrepot
  name: itms-operator-0
spec:
  imageTagMirrors:
  - mirrors:
    - myregistry.io/mynamespace/kubebuilder/kube-rbac-proxy
    source: gcr.io/kubebuilder/kube-rbac-proxy
  - mirrors:
    - myregistry.io/mynamespace/cockroachdb/cockroach-helm-operator
    source: quay.io/cockroachdb/cockroach-helm-operator
  - mirrors:
    - myregistry.io/mynamespace/helmoperators/cockroachdb
    source: quay.io/helmoperators/cockroachdb
---
apiVersion: config.openshift.io/v1
kind: ImageTagMirrorSet
metadata:
  annotations:
    createdBy: entrepot
  name: itms-generic-0
spec:
  imageTagMirrors:
  - mirrors:
    - myregistry.io/mynamespace/ubi8/ubi
    source: registry.redhat.io/ubi8/ubi
`
	if diff := cmp.Diff(wantTags, got["itms-oc-mirror.yaml"]); diff != "" {
		t.Errorf("itms-oc-mirror.yaml (-want +got):\n%s", diff)
	}
}

// sources returns the sources of a file of mirror sets, with the mirrors.
func sources(file string) map[string]string {
	m := make(map[string]string)
	var to []string
	for line := range strings.Lines(file) {
		if s, ok := strings.CutPrefix(line, "    - "); ok {
			to = append(to, strings.TrimSpace(s))
		}
		if s, ok := strings.CutPrefix(line, "    source: "); ok {
			m[strings.TrimSpace(s)] = strings.Join(to, " ")
			to = nil
		}
	}
	return m
}

// TestScopes: every naming gives one entry for one repository.
func TestScopes(t *testing.T) {
	images := []string{
		"alpine:3", "quay.io/a/b:1@" + digestA, "quay.io/a/b/c@" + digestA, "quay.io/a:2", "quay.io/release:4 release",
		"registry.io/z:1=elsewhere.io/x/z:1 additional,related", "registry.io/index:v4 catalog", "registry.io/both:v4 additional,catalog",
	}
	for _, scheme := range []string{"", "flat-sha256", "host-path", "components:2", "template:{{.Host}}/{{.Path}}"} {
		s := set(t, scheme, images...)
		files := written(t, s)
		byTag, byDigest := sources(files["itms-oc-mirror.yaml"]), sources(files["idms-oc-mirror.yaml"])
		wantTags, wantDigests := map[string]string{}, map[string]string{}
		for _, p := range s.Images {
			n := p.Name()
			if n.Path == "index" {
				continue
			}
			if n.Tag != "" {
				wantTags[n.Name.String()] = p.Target.Name.String()
			}
			if n.Digest != "" || n.Path == "release" {
				wantDigests[n.Name.String()] = p.Target.Name.String()
			}
		}
		if diff := cmp.Diff(wantTags, byTag); diff != "" {
			t.Errorf("%s: tags (-want +got):\n%s", scheme, diff)
		}
		if diff := cmp.Diff(wantDigests, byDigest); diff != "" {
			t.Errorf("%s: digests (-want +got):\n%s", scheme, diff)
		}
	}
}

// A file of mirror sets begins as oc-mirror's do, also with one of them.
func TestOneMirrorSet(t *testing.T) {
	got := written(t, set(t, "", "alpine:3"))
	if text := got["itms-oc-mirror.yaml"]; len(got) != 1 || !strings.HasPrefix(text, "---\napiVersion: ") || strings.Count(text, "---\n") != 1 {
		t.Errorf("got %s", got)
	}
}

// An image that is several things is in the sets of all of them.
func TestCategories(t *testing.T) {
	got := written(t, set(t, "", "registry.io/z:1 additional,related"))["itms-oc-mirror.yaml"]
	for _, want := range []string{"name: itms-operator-0\n", "name: itms-generic-0\n"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %sin\n%s", want, got)
		}
	}
}

func TestRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		images []string
		want   string
	}{
		"another tag": {[]string{"a:1=x:2", "b:1=y:1"}, "docker.io/library/a:1 gets another tag, 2"},
		"IPv6":        {[]string{"[::1]:5000/a:1"}, "there are no IPv6 addresses"},
		"one tag in two places": {[]string{"quay.io/x:1=one/x:1", "quay.io/x:2=two/x:2", "quay.io/y:2=one/x:2"},
			"quay.io/x:2 would be looked for as myregistry.io/mynamespace/one/x:2 first, which is quay.io/y:2"},
		"two graphs":       {[]string{"g.io/a:1 graph", "g.io/b:1 graph", "r.io/r:4 release"}, "2 update graphs"},
		"releases asunder": {[]string{"g.io/a:1 graph", "r.io/r:4 release", "r.io/s:4 release"}, "the releases go to"},
	} {
		_, _, err := Files(set(t, "", c.images...))
		e, ok := errors.AsType[*relocate.InexpressibleError](err)
		if !ok || !strings.Contains(e.Error(), c.want) || e.Hint == "" {
			t.Errorf("%s: got %v, want …%s…", name, err, c.want)
		}
	}
}

// TestTwoRepositories: a cluster that asks one after the other finds both.
func TestTwoRepositories(t *testing.T) {
	files, warnings, err := Files(set(t, "", "quay.io/x:1=two/x:1", "quay.io/x:2=one/x:2", "quay.io/x@"+digestA+"=three/x"))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"quay.io/x": "myregistry.io/mynamespace/one/x myregistry.io/mynamespace/two/x"}
	if diff := cmp.Diff(want, sources(string(files[1].Data))); diff != "" {
		t.Errorf("%s (-want +got):\n%s", files[1].Name, diff)
	}
	if len(warnings) != 1 || !strings.Contains(warnings[0].Text, "in 2 repositories") {
		t.Errorf("warnings: %v", warnings)
	}
}

// TestCheck gives the check mirror sets that are wrong.
func TestCheck(t *testing.T) {
	s := set(t, "", "alpine:3", "quay.io/a/b@"+digestA, "quay.io/release:4 release")
	files, _, err := Files(s)
	if err != nil {
		t.Fatal(err)
	}
	for old, by := range map[string]string{
		"mynamespace/a-b-":          "mynamespace/b-a-",
		"source: quay.io/a/b":       "source: quay.io/a/c",
		"source: docker.io/library": "source: docker.io/other",
		"kind: ImageTagMirrorSet":   "kind: SomethingElse",
		"imageDigestMirrors:":       "imageDigestMirrors: []\n  other:",
	} {
		var wrong []relocate.File
		for _, f := range files {
			wrong = append(wrong, relocate.File{Name: f.Name, Data: []byte(strings.ReplaceAll(string(f.Data), old, by))})
		}
		if _, ok := errors.AsType[*relocate.MissedError](Check(s, wrong)); !ok {
			t.Errorf("%s for %s is not noticed: %v", by, old, Check(s, wrong))
		}
	}
	if err := Check(s, files); err != nil {
		t.Error(err)
	}
}

// What is copied as something else is not found by its old digest.
func TestRemade(t *testing.T) {
	s := set(t, "", "quay.io/a/b@"+digestA)
	s.Images[0].Digest = digestB
	_, warnings, err := Files(s)
	if err != nil || len(warnings) != 1 || !strings.Contains(warnings[0].Text, "has another digest there") {
		t.Errorf("got %v, %v", warnings, err)
	}
}

func TestReach(t *testing.T) {
	for want, r := range map[string]relocate.Reach{
		"registrySources.insecureRegistries": {PlainHTTP: true},
		"additionalTrustedCA":                {CA: []string{"ca.pem"}},
	} {
		s := set(t, "", "alpine:3")
		s.Reach = r
		_, warnings, err := Files(s)
		if err != nil || len(warnings) != 1 || !strings.Contains(warnings[0].Hint, want) || !strings.Contains(warnings[0].Text, "myregistry.io") {
			t.Errorf("got %v, %v, want …%s…", warnings, err, want)
		}
	}
}

func TestPartial(t *testing.T) {
	s := set(t, "", "alpine:3", "registry.io/index:v4 catalog")
	s.Missing = 2
	for name, data := range written(t, s) {
		if !strings.HasPrefix(data, "# partial: 2 of 4 images are missing\n") {
			t.Errorf("%s does not say that it is partial:\n%s", name, data)
		}
	}
}

// TestDeterministic writes a set twice, the images in another order.
func TestDeterministic(t *testing.T) {
	s := set(t, "", mixed...)
	s.Extras = []relocate.File{{Name: SignatureFile(digestA, 1), Data: []byte("x")}, {Name: SignatureFile(digestB, 1), Data: []byte("y")}}
	want := written(t, s)
	for range s.Images {
		s.Images = append(s.Images[1:len(s.Images):len(s.Images)], s.Images[0])
		if diff := cmp.Diff(want, written(t, s)); diff != "" {
			t.Fatalf("(-want +got):\n%s", diff)
		}
	}
}
