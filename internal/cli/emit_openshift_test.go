package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/entrepot/entrepot/internal/regtest"
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
