package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/entrepot/entrepot/internal/regtest"
	"github.com/entrepot/entrepot/layout"
	"github.com/entrepot/entrepot/openshift"
	"github.com/entrepot/entrepot/ref"
	"github.com/entrepot/entrepot/relocate"
)

func parsed(t *testing.T, s string) ref.Ref {
	t.Helper()
	r, err := ref.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestEmitOpenShift relocates with names that are no paths any more, and asks
// where a cluster with the emitted objects looks for the originals.
func TestEmitOpenShift(t *testing.T) {
	m := newMove(t)
	app := m.src.AddImage("team/app", regtest.Image{Layers: []int64{100}, Seed: 1}, "1")
	m.src.AddImage("team/app/db", regtest.Image{Layers: []int64{100}, Seed: 2}, "2")
	base := m.src.AddImage("base", regtest.Image{Layers: []int64{100}, Seed: 3}, "x")
	input := m.file("list.txt", "SRC/team/app:1@"+string(app.Digest)+"\nSRC/team/app/db:2\nSRC/base@"+string(base.Digest)+"\n")
	m.run(input, "--to", m.dst.Host()+"/m", "--emit", "openshift="+m.path("cluster"), "--map", m.path("map.txt"), "--quiet")
	m.exits(exitDone)
	if !strings.Contains(m.errors, "insecureRegistries") {
		t.Errorf("that the target has no TLS is not said: %s", m.errors)
	}
	files, err := os.ReadDir(m.path("cluster"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range files {
		names = append(names, f.Name())
	}
	if diff := cmp.Diff([]string{"idms-oc-mirror.yaml", "itms-oc-mirror.yaml"}, names); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	naming, err := relocate.NewNaming(relocate.NamingConfig{Prefix: ref.Name{Host: m.dst.Host(), Path: "m"}})
	if err != nil {
		t.Fatal(err)
	}
	for path, identifier := range map[string]string{"team/app": ":1@" + string(app.Digest), "team/app/db": ":2", "base": "@" + string(base.Digest)} {
		source := parsed(t, m.src.Host()+"/"+path+identifier)
		target, err := naming.Target(source)
		if err != nil {
			t.Fatal(err)
		}
		want := target.Name.String() + identifier
		_, lines := runJSON(t, "explain", "--json", "--as", "openshift", "--rules", "openshift="+m.path("cluster"), source.String())
		tries, _ := lines[0]["tries"].([]any)
		if len(tries) != 2 || tries[0].(map[string]any)["reference"] != want {
			t.Errorf("%s: got %v, want %s first", source, lines[0], want)
		}
	}
	_, lines := runJSON(t, "explain", "--json", "--as", "openshift", "--rules", "openshift="+m.path("cluster"), m.src.Host()+"/basement@"+string(base.Digest), m.src.Host()+"/other:1")
	for _, l := range lines {
		if tries, _ := l["tries"].([]any); len(tries) != 1 {
			t.Errorf("another image of the registry is led elsewhere: %v", l)
		}
	}
}

// TestEmitOpenShiftLeftovers: what an earlier run wrote is not removed, and told.
func TestEmitOpenShiftLeftovers(t *testing.T) {
	m := newMove(t)
	m.src.AddImage("a", regtest.Image{Layers: []int64{100}, Seed: 1}, "1")
	dir := m.path("cluster")
	for _, name := range []string{"cs-index-v1.yaml", "itms-oc-mirror.yaml", "notes.yaml"} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte("old"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	m.run(m.file("list.txt", "SRC/a:1\n"), "--to", m.dst.Host(), "--naming", "path", "--emit", "openshift="+dir)
	m.exits(exitDone)
	if got := m.read("cluster/itms-oc-mirror.yaml"); !strings.Contains(got, "source: "+m.src.Host()+"/a\n") {
		t.Errorf("itms-oc-mirror.yaml is\n%s", got)
	}
	if m.read("cluster/cs-index-v1.yaml") != "old" || !strings.Contains(m.errors, "cs-index-v1.yaml is of another set") {
		t.Errorf("what is left over is not told: %s", m.errors)
	}
	if strings.Contains(m.errors, "notes.yaml") || strings.Count(m.errors, "is of another set") != 1 {
		t.Errorf("other files are none of ours: %s", m.errors)
	}
}

// TestEmitOpenShiftRefuses: what mirror sets cannot say is refused before
// anything is copied.
func TestEmitOpenShiftRefuses(t *testing.T) {
	m := newMove(t)
	m.src.AddImage("a", regtest.Image{Layers: []int64{100}, Seed: 1}, "1")
	file := m.file("f", "")
	for _, c := range []struct {
		list, path string
		code       int
		want       string
	}{
		{"SRC/a:1=b:2\n", m.path("cluster"), exitLossy, "gets another tag, 2"},
		{"SRC/a:1\n", file, exitUsage, "is no directory"},
	} {
		m.run(m.file("list.txt", c.list), "--to", m.dst.Host(), "--emit", "openshift="+c.path)
		m.exits(c.code)
		if !strings.Contains(m.errors, c.want) || m.written() > 0 {
			t.Errorf("%s: %d writes, and %s", c.list, m.written(), m.errors)
		}
		m.absent("cluster")
	}
}

// TestEmitExtras: files that came in with the inputs go out in the objects.
func TestEmitExtras(t *testing.T) {
	s := relocate.Set{Images: []relocate.Placed{{Pair: relocate.Pair{Source: parsed(t, "quay.io/release:4"), Target: parsed(t, "r.io/release:4"), Role: relocate.ReleaseImage}}}}
	digest := "sha256:" + strings.Repeat("a", 64)
	extras := []relocate.File{{Name: openshift.SignatureFile(parsed(t, "a@"+digest).Digest, 1), Data: []byte("signed")}}
	o := &results{env: Env{Stderr: &strings.Builder{}}, flags: &outputFlags{}, set: &inputSet{extras: extras}, emits: []emission{{"--emit", openshift.Format, "dir"}}}
	files, err := o.files(s, true)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"dir/idms-oc-mirror.yaml", "dir/itms-oc-mirror.yaml", "dir/signature-configmap.json", "dir/signature-configmap.yaml"}
	if diff := cmp.Diff(want, names(files)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}

// TestLoadOpenShift: what an archive says of its images, and the files that it
// has beside them, become the objects of the cluster on the far side.
func TestLoadOpenShift(t *testing.T) {
	c := newCargo(t)
	release := c.add("quay.io/release:4.15.0", regtest.Image{Layers: []int64{100}, Seed: 1})
	content := c.add("quay.io/content:x", regtest.Image{Layers: []int64{100}, Seed: 2})
	index := c.add("registry.redhat.io/redhat/index:v4.15", regtest.Image{Layers: []int64{100}, Seed: 3})
	other := c.add("registry.redhat.io/other:v1", regtest.Image{Layers: []int64{100}, Seed: 4})
	graph := c.add("graph.example/graph:latest", regtest.Image{Layers: []int64{100}, Seed: 5})
	ubi := c.add("registry.redhat.io/ubi8-minimal:8", regtest.Image{Layers: []int64{100}, Seed: 6})
	c.contents.Names[1].Ref = c.contents.Names[1].Ref.Name.WithDigest(content.Digest)
	c.contents.Images = []layout.SetImage{
		{Name: "quay.io/release:4.15.0", Digest: release.Digest, Role: "release"},
		{Name: "quay.io/content@" + string(content.Digest), Digest: content.Digest, Role: "release-content"},
		{Name: "registry.redhat.io/redhat/index:v4.15", Digest: index.Digest, Target: "mine/our-index:v1", Role: "catalog"},
		{Name: "registry.redhat.io/other:v1", Digest: other.Digest, Role: "catalog"},
		{Name: "graph.example/graph:latest", Digest: graph.Digest, Target: "openshift/graph-image", Role: "graph"},
		{Name: "registry.redhat.io/ubi8-minimal:8", Digest: ubi.Digest, Role: "additional,related"},
	}
	template := "apiVersion: operators.coreos.com/v1alpha1\nkind: CatalogSource\nspec:\n  priority: -7 # ours\n"
	c.contents.Files = []layout.File{
		{Name: openshift.SignatureFile(release.Digest, 1), Data: []byte("signed")},
		{Name: openshift.TemplateFile(parsed(t, "registry.redhat.io/redhat/index:v4.15")), Data: []byte(template)},
	}
	paths := c.write(filepath.Join(t.TempDir(), "set.tar"), 0)
	m := newMove(t)
	m.does(append([]string{"load", "--to", m.dst.Host() + "/m", "--emit", "openshift=" + m.path("cluster")}, paths...)...)
	m.exits(exitDone)

	for name, want := range map[string][]string{
		"idms-oc-mirror.yaml":      {"name: idms-release-0\n", "source: quay.io/content\n", "source: quay.io/release\n"},
		"itms-oc-mirror.yaml":      {"name: itms-release-0\n", "name: itms-operator-0\n", "name: itms-generic-0\n", "source: registry.redhat.io/ubi8-minimal\n"},
		"cs-our-index-v1.yaml":     {"priority: -7 # ours\n", "image: " + m.dst.Host() + "/m/mine/our-index:v1\n"},
		"cc-our-index-v1.yaml":     {"ref: " + m.dst.Host() + "/m/mine/our-index:v1\n"},
		"cs-other-v1.yaml":         {"sourceType: grpc\n"},
		"cc-other-v1.yaml":         {"type: Image\n"},
		"updateService.yaml":       {"graphDataImage: " + m.dst.Host() + "/m/openshift/graph-image:latest\n", "releases: " + m.dst.Host() + "/m/release-"},
		"signature-configmap.yaml": {"sha256-" + release.Digest.Encoded() + "-1: c2lnbmVk\n"},
		"signature-configmap.json": {`-1": "c2lnbmVk"`},
	} {
		got := m.read("cluster/" + name)
		for _, w := range want {
			if !strings.Contains(got, w) {
				t.Errorf("%s: no %q in\n%s", name, w, got)
			}
		}
		if strings.HasPrefix(name, "i") && (strings.Contains(got, "index") || strings.Contains(got, "graph")) {
			t.Errorf("%s leads to a catalog or a graph:\n%s", name, got)
		}
	}
	if files, err := os.ReadDir(m.path("cluster")); err != nil || len(files) != 9 {
		t.Errorf("there are %d files, %v", len(files), err)
	}
	_, lines := runJSON(t, "explain", "--json", "--as", "openshift", "--rules", "openshift="+m.path("cluster"), "quay.io/release:4.15.0", "quay.io/release@"+string(release.Digest))
	for _, l := range lines {
		tries, _ := l["tries"].([]any)
		if first, _ := tries[0].(map[string]any)["reference"].(string); !strings.HasPrefix(first, m.dst.Host()+"/m/release-") {
			t.Errorf("a release is looked for at %s", first)
		}
	}
}

// TestEmitForOtherClusters: sets of archives, with catalogs that have targets of
// their own, are found by other clients as well.
func TestEmitForOtherClusters(t *testing.T) {
	c := newCargo(t)
	app := c.add("quay.io/team/app:1", regtest.Image{Layers: []int64{100}, Seed: 1})
	index := c.add("quay.io/redhat/index:v4.15", regtest.Image{Layers: []int64{100}, Seed: 2})
	c.contents.Images = []layout.SetImage{
		{Name: "quay.io/team/app:1", Digest: app.Digest, Role: "related"},
		{Name: "quay.io/redhat/index:v4.15", Digest: index.Digest, Target: "mine/our-index:v1", Role: "catalog"},
	}
	paths := c.write(filepath.Join(t.TempDir(), "set.tar"), 0)
	m := newMove(t)
	m.load(append(paths, "--emit", "registries.conf="+m.path("mirror.conf"), "--emit", "hosts.toml="+m.path("certs.d"), "--emit", "k3s="+m.path("registries.yaml"))...)
	m.exits(exitDone)
	for _, format := range []string{"registries.conf", "hosts.toml", "k3s"} {
		if want := format + ": quay.io/redhat/index:v4.15 is not found by that name"; !strings.Contains(m.errors, want) {
			t.Errorf("no %q in %s", want, m.errors)
		}
	}
	for client, rule := range map[string]string{"podman": "registries.conf=" + m.path("mirror.conf"), "containerd": "hosts.toml=" + m.path("certs.d"), "k3s": "k3s=" + m.path("registries.yaml")} {
		_, lines := runJSON(t, "explain", "--json", "--as", client, "--rules", rule, "quay.io/team/app:1")
		tries, _ := lines[0]["tries"].([]any)
		if len(tries) == 0 || tries[0].(map[string]any)["reference"] != m.dst.Host()+"/m/quay.io/team/app:1" {
			t.Errorf("%s looks for it at %v", client, tries)
		}
	}
}

// TestOpenShiftBothWays: a cluster gets the same objects, to the byte, whether
// an image set is relocated or saved, carried and loaded.
func TestOpenShiftBothWays(t *testing.T) {
	s := newSite(t)
	args := s.full()
	s.file("catalogsource.yaml", "apiVersion: operators.coreos.com/v1alpha1\nkind: CatalogSource\nspec:\n  priority: -7\n")
	s.set("isc.yaml", strings.NewReplacer("    targetTag: one\n", "", "    targetCatalog:", "    targetCatalogSourceTemplate: catalogsource.yaml\n    targetCatalog:").Replace(everything))
	s.run(append(args, "--to", s.dst.Host()+"/m", "--emit", "openshift="+s.path("relocated"))...)
	s.exits(exitDone)
	s.command(append([]string{"save", "--rules", "none", "--retry", "1", "--output", s.path("set.tar")}, args...)...)
	s.exits(exitDone)
	s.command("load", s.path("set.tar"), "--to", s.dst.Host()+"/m", "--retry", "1", "--emit", "openshift="+s.path("loaded"))
	s.exits(exitDone)
	var want []string
	for _, dir := range []string{"relocated", "loaded"} {
		files, err := os.ReadDir(s.path(dir))
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, f := range files {
			got = append(got, f.Name()+"\n"+s.read(dir+"/"+f.Name()))
		}
		if want == nil {
			want = got
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-relocated +loaded):\n%s", diff)
		}
	}
	all := strings.Join(want, "\n")
	for _, text := range []string{"cs-ops-v4-15.yaml\n", "priority: -7\n", "name: idms-release-0\n", "name: itms-operator-0\n", "name: itms-generic-0\n", "source: " + s.src.Host() + "/charts/engine\n"} {
		if !strings.Contains(all, text) {
			t.Errorf("there is no %q in\n%s", text, all)
		}
	}
	if strings.Contains(all, "source: "+s.src.Host()+"/redhat/index\n") {
		t.Errorf("a catalog is in a mirror set:\n%s", all)
	}
}
