package cli

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/entrepot/entrepot/internal/regtest"
	"github.com/entrepot/entrepot/relocate"
)

// A move is two registries, a directory and what one run of relocate did.
type move struct {
	t        *testing.T
	src, dst *regtest.Registry
	dir      string
	stdin    string

	code        int
	out, errors string
}

func newMove(t *testing.T) *move {
	return &move{t: t, src: regtest.New(t, regtest.Config{}), dst: regtest.New(t, regtest.Config{}), dir: t.TempDir()}
}

// run runs the command; paths of outputs are those that path gives.
func (m *move) run(args ...string) {
	m.t.Helper()
	var out, errs bytes.Buffer
	m.code = Main(m.t.Context(), Env{
		Args: append([]string{"relocate", "--rules", "none", "--retry", "1"}, args...), Stdin: strings.NewReader(m.stdin), Stdout: &out, Stderr: &errs,
		Getenv: func(string) string { return "" },
	})
	m.out, m.errors = out.String(), errs.String()
}

// exits checks the exit code of the last run.
func (m *move) exits(want int) {
	m.t.Helper()
	if m.code != want {
		m.t.Fatalf("exit code %d, want %d\n%s%s", m.code, want, m.out, m.errors)
	}
}

func (m *move) path(name string) string { return filepath.Join(m.dir, name) }

// file writes an input and returns its path. SRC stands for the source.
func (m *move) file(name, text string) string {
	m.t.Helper()
	if err := os.WriteFile(m.path(name), []byte(strings.ReplaceAll(text, "SRC", m.src.Host())), 0o644); err != nil {
		m.t.Fatal(err)
	}
	return m.path(name)
}

func (m *move) read(name string) string {
	m.t.Helper()
	data, err := os.ReadFile(m.path(name))
	if err != nil {
		m.t.Fatal(err)
	}
	return string(data)
}

// absent checks that files were not written.
func (m *move) absent(names ...string) {
	m.t.Helper()
	for _, name := range names {
		if _, err := os.Stat(m.path(name)); err == nil {
			m.t.Errorf("%s was written", name)
		}
	}
}

// written returns the requests to the target that are no reading. Of an upload
// that was begun and cancelled nothing is left.
func (m *move) written() int {
	n := 0
	for _, e := range m.dst.Log() {
		if e.Method != "GET" && e.Method != "HEAD" {
			n++
		}
	}
	return n - m.dst.Count("DELETE", regtest.Upload)*2
}

const pods = `# two of them
apiVersion: v1
kind: Pod
spec:
  containers:
  - image: SRC/team/app:1 # ours
  - image: "SRC/team/app:1"
  initContainers:
  - {image: 'SRC/base/setup@DIGEST'}
`

// standard fills the source with what pods names.
func (m *move) standard() (input string) {
	m.src.AddImage("team/app", regtest.Image{Layers: []int64{100, 2000}, Seed: 1}, "1")
	setup := m.src.AddImage("base/setup", regtest.Image{Layers: []int64{100, 300}, Seed: 1}, "x")
	return m.file("pods.yaml", strings.ReplaceAll(pods, "DIGEST", string(setup.Digest)))
}

func TestRelocate(t *testing.T) {
	m := newMove(t)
	input := m.standard()
	m.run(input, "--to", m.dst.Host()+"/m", "--naming", "host-path", "--output", m.path("out.yaml"), "--map", m.path("map.json"),
		"--emit", "registries.conf="+m.path("mirror.conf"), "--emit", "hosts.toml="+m.path("certs.d"), "--emit", "images-lock="+m.path("lock.yml"),
		"--report", m.path("report.json"))
	m.exits(exitDone)

	place := m.dst.Host() + "/m/" + strings.ReplaceAll(m.src.Host(), ":", "_")
	want := strings.ReplaceAll(m.read("pods.yaml"), m.src.Host(), place)
	if diff := cmp.Diff(want, m.read("out.yaml")); diff != "" {
		t.Errorf("the document (-want +got):\n%s", diff)
	}
	var mapping map[string]string
	if err := json.Unmarshal([]byte(m.read("map.json")), &mapping); err != nil || mapping[m.src.Host()+"/team/app:1"] != place+"/team/app:1" || len(mapping) != 2 {
		t.Errorf("the mapping is %v, %v", mapping, err)
	}
	if got := m.read("mirror.conf"); !strings.Contains(got, `location = "`+place+`"`) || !strings.Contains(got, "insecure = true") {
		t.Errorf("the mirror configuration is\n%s", got)
	}
	certs := "certs.d/" + strings.ReplaceAll(m.src.Host(), ":", "_") + "_/hosts.toml"
	if got := m.read(certs); !strings.Contains(got, `[host."http://`+m.dst.Host()+"/v2/m/") {
		t.Errorf("%s is\n%s", certs, got)
	}
	var rep relocate.Report
	if err := json.Unmarshal([]byte(m.read("report.json")), &rep); err != nil {
		t.Fatal(err)
	}
	wantOutputs := []string{m.path("out.yaml"), m.path("map.json"), m.path("mirror.conf"), m.path(certs), m.path("lock.yml")}
	if diff := cmp.Diff(wantOutputs, rep.Outputs); diff != "" {
		t.Errorf("outputs (-want +got):\n%s", diff)
	}
	if rep.Totals.Images != 2 || rep.Totals.Failed != 0 || rep.Totals.Mounted != 2 {
		t.Errorf("the totals are %+v", rep.Totals)
	}
	for _, line := range strings.Split(strings.TrimSpace(m.out), "\n") {
		if !strings.HasPrefix(line, "copied\t"+place) || strings.Count(line, "@sha256:") != 1 {
			t.Errorf("a line of the list is %q", line)
		}
	}
	for _, img := range rep.Images {
		if img.Result != relocate.Copied || !strings.Contains(m.read("lock.yml"), string(img.Digest)) {
			t.Errorf("%s: %s, and the lock is\n%s", img.Source, img.Result, m.read("lock.yml"))
		}
	}
}

// TestRelocateFailure: one image is missing; no tag moves and no file is
// written, unless --partial.
func TestRelocateFailure(t *testing.T) {
	m := newMove(t)
	m.src.AddImage("a", regtest.Image{Layers: []int64{100}, Seed: 1}, "1")
	input := m.file("list.txt", "SRC/a:1\nSRC/gone:1\n")
	args := []string{input, "--to", m.dst.Host(), "--naming", "path", "--map", m.path("map.json"), "--output", m.path("out.txt"), "--report", m.path("report.json")}
	m.run(args...)
	m.exits(exitSome)
	m.absent("map.json", "out.txt")
	for _, e := range m.dst.Log() {
		if e.Method == "PUT" && e.Ref == "1" {
			t.Error("a tag was set")
		}
	}
	if !strings.Contains(m.errors, "/gone:1: ") || !strings.Contains(m.read("report.json"), `"result": "failed"`) {
		t.Errorf("the failure is not told: %s", m.errors)
	}
	m.run(append(args, "--partial")...)
	m.exits(exitSome)
	if got := m.read("map.json"); !strings.Contains(got, "images-missing:1-of-2") || !strings.Contains(got, m.dst.Host()+"/a:1") || strings.Contains(got, "/gone") {
		t.Errorf("the partial mapping is %s", got)
	}
	if got, want := m.read("out.txt"), strings.Replace(m.read("list.txt"), m.src.Host()+"/a", m.dst.Host()+"/a", 1); got != want {
		t.Errorf("the partial list is %q, want %q", got, want)
	}
}

// TestRelocateRefuses: what is wrong with the plan is told before the target is
// asked anything.
func TestRelocateRefuses(t *testing.T) {
	m := newMove(t)
	input := m.standard()
	list := m.file("list.txt", "SRC/x/y:1=z:1\nSRC/x/z:1=z:1\n")
	to := []string{"--to", m.dst.Host() + "/m"}
	for name, c := range map[string]struct {
		args   []string
		code   int
		stderr string
	}{
		"meeting":         {[]string{list}, exitConflict, "one tag would stand for two images"},
		"flat hosts.toml": {[]string{input, "--emit", "hosts.toml=" + m.path("certs.d")}, exitLossy, "use --naming host-path"},
		"no such format":  {[]string{input, "--emit", "host.toml=x"}, exitUsage, "did you mean 'hosts.toml'?"},
		"no path":         {[]string{input, "--emit", "hosts.toml"}, exitUsage, "is not FORMAT=PATH"},
		"one file":        {[]string{input, "--map", m.path("x"), "--emit", "mapping.txt=" + m.path("x")}, exitUsage, "two outputs would be"},
		"no input":        {[]string{m.path("none")}, exitFailed, "no such file"},
		"a directory":     {[]string{input, "--output", m.file("f", "") + "/x"}, exitUsage, "is no directory"},
		"nothing in it":   {[]string{m.file("empty.yaml", "apiVersion: v1\nkind: Pod\n")}, exitFailed, "name no image"},
	} {
		m.run(append(c.args, to...)...)
		if m.code != c.code || !strings.Contains(m.errors, c.stderr) {
			t.Errorf("%s: exit code %d, want %d; %s", name, m.code, c.code, m.errors)
		}
	}
	if n := len(m.dst.Log()); n > 0 {
		t.Errorf("the target was asked %d times", n)
	}
}

// TestRelocateSelects expands the conditions of a list at its registry.
func TestRelocateSelects(t *testing.T) {
	m := newMove(t)
	for i, tag := range []string{"1.0.0", "1.1.0", "2.0.0"} {
		m.src.AddImage("a", regtest.Image{Layers: []int64{100}, Seed: uint64(i)}, tag)
	}
	m.stdin = strings.ReplaceAll("SRC:\n  images-by-semver: {a: '<2'}\n  tls-verify: false\n", "SRC", m.src.Host())
	m.run("-", "--to", m.dst.Host(), "--naming", "path", "--quiet")
	m.exits(exitDone)
	if strings.Count(m.out, "copied\t") != 2 || strings.Contains(m.out, "2.0.0") {
		t.Errorf("got %s", m.out)
	}
	m.stdin = strings.ReplaceAll("SRC:\n  images-by-semver: {a: '>3'}\n", "SRC", m.src.Host())
	m.run("-", "--to", m.dst.Host())
	m.exits(exitFailed)
	if !strings.Contains(m.errors, "no tag meets the conditions") {
		t.Errorf("got %s", m.errors)
	}
}

// TestRelocateThrough reads images where an earlier relocation put them.
func TestRelocateThrough(t *testing.T) {
	m := newMove(t)
	m.src.AddImage("moved", regtest.Image{Layers: []int64{100}, Seed: 1}, "1")
	earlier := m.file("earlier.json", `{"istio/proxyv2:1": "SRC/moved:1"}`)
	m.stdin = "istio/proxyv2:1\n"
	m.run("-", "--to", m.dst.Host(), "--through", earlier, "--map", m.path("map.json"))
	m.exits(exitDone)
	want := m.dst.Host() + "/istio-proxyv2-f93a2cacc6cafa0474a2d6990a4dd1a0:1"
	if got := m.read("map.json"); !strings.Contains(got, `"istio/proxyv2:1": "`+want+`"`) {
		t.Errorf("the mapping is %s, want %s in it", got, want)
	}
}

func TestRelocatePlan(t *testing.T) {
	m := newMove(t)
	args := []string{m.standard(), "--to", m.dst.Host() + "/m", "--map", m.path("map.json")}
	m.run(append(args, "--plan", "--json")...)
	m.exits(exitDone)
	var f relocate.Forecast
	if err := json.Unmarshal([]byte(m.out), &f); err != nil {
		t.Fatal(err)
	}
	if len(f.Images) != 2 || len(f.Sources) != 1 || len(f.Targets) != 1 || f.Targets[0].Push != f.UniqueBytes || f.Targets[0].Mount != 146 || f.ListedBytes-f.UniqueBytes != 146 {
		t.Errorf("the plan is %+v", f)
	}
	if m.written() > 0 {
		t.Error("the target was written to")
	}
	if n := m.dst.Count("POST", regtest.Upload); n != 1 {
		t.Errorf("%d uploads were begun, want one for all new repositories", n)
	}
	m.absent("map.json")
	m.run(args...)
	m.exits(exitDone)
	m.dst.ResetLog()
	m.run(append(args, "--plan")...)
	m.exits(exitDone)
	if n := m.dst.Count("POST", regtest.Upload); n != 0 {
		t.Errorf("%d uploads were begun although there is nothing to push", n)
	}
	if strings.Count(m.out, "present") != 2 || !strings.Contains(m.out, "push 0 B, mount 0 B") {
		t.Errorf("the plan of what is done is\n%s", m.out)
	}
	m.src.Delete("team/app", "1")
	m.run(append(args, "--plan")...)
	m.exits(exitSome)
	m.dst.SetAuth(regtest.Auth{Scheme: "Basic", Username: "u", Password: "p"})
	m.standard()
	m.run(append(args, "--plan")...)
	m.exits(exitAuth)
}

// TestRelocatePlanRights tells missing rights before anything is written: to push
// at all, or to one repository that is there.
func TestRelocatePlanRights(t *testing.T) {
	m := newMove(t)
	args := []string{m.standard(), "--to", m.dst.Host() + "/m", "--naming", "host-path", "--plan"}
	refused := m.dst.On(regtest.Match{Kind: regtest.Upload}, regtest.Status(http.StatusForbidden))
	m.run(args...)
	m.exits(exitAuth)
	if !strings.Contains(m.errors, "push to "+m.dst.Host()+"/m/") || !strings.Contains(m.errors, "2 of 2 images may not be read or written") {
		t.Errorf("got %s", m.errors)
	}
	refused.Remove()
	place := "m/" + strings.ReplaceAll(m.src.Host(), ":", "_")
	m.dst.AddImage(place+"/team/app", regtest.Image{Layers: []int64{7}}, "old")
	m.dst.On(regtest.Match{Kind: regtest.Upload, Method: "POST", Repo: place + "/team/app"}, regtest.Status(http.StatusForbidden))
	m.run(args...)
	m.exits(exitAuth)
	if !strings.Contains(m.errors, "1 of 2 images") || !strings.Contains(m.out, "copy  ") || !strings.Contains(m.out, "fail  ") {
		t.Errorf("got %s%s", m.out, m.errors)
	}
	// An account that pushes and nothing else lacks no right.
	m.dst.Clear()
	m.dst.On(regtest.Match{If: func(e regtest.Entry) bool { return e.Kind != regtest.Upload && e.Kind != regtest.Ping }}, regtest.Status(http.StatusForbidden))
	m.run(args...)
	m.exits(exitDone)
}

// TestRelocatePlanReferrers counts what refers to the images.
func TestRelocatePlanReferrers(t *testing.T) {
	m := newMove(t)
	img := m.src.AddImage("a", regtest.Image{Layers: []int64{100}}, "1")
	sig := m.src.AddReferrer("a", img.Descriptor(), "application/sig", 9)
	m.src.AddReferrer("a", sig.Descriptor(), "application/sig-of-sig", 10)
	m.src.AddImage("a", regtest.Image{Layers: []int64{300}, Seed: 3}, strings.Replace(string(img.Digest), ":", "-", 1)+".sig")
	args := []string{m.file("list.txt", "SRC/a:1\n"), "--to", m.dst.Host(), "--json"}
	var with, without relocate.Forecast
	for f, more := range map[*relocate.Forecast]string{&with: "--plan", &without: "--no-referrers"} {
		m.run(append(args, "--plan", more)...)
		m.exits(exitDone)
		if err := json.Unmarshal([]byte(m.out), f); err != nil {
			t.Fatal(err)
		}
	}
	if with.Referrers != 3 || with.Images[0].Referrers != 3 || with.ReferrerBytes < 300 || with.UniqueBytes != without.UniqueBytes+with.ReferrerBytes || without.Referrers != 0 {
		t.Errorf("with %+v, without %+v", with, without)
	}
	m.run(args...)
	m.exits(exitDone)
	var rep relocate.Report
	if err := json.Unmarshal([]byte(m.out), &rep); err != nil || rep.Images[0].Referrers != with.Referrers || rep.Totals.PushedBytes != with.Targets[0].Push {
		t.Errorf("the run was %+v, %v, the plan %+v", rep, err, with)
	}
}

// TestRelocatePushOnly relocates with an account that may push and nothing else:
// the source is read once for all repositories.
func TestRelocatePushOnly(t *testing.T) {
	m := newMove(t)
	list := ""
	for i, repo := range []string{"a", "b", "c"} {
		m.src.AddImage(repo, regtest.Image{Layers: []int64{700_000, 2 << 20, 100 + int64(i)}, Seed: 1}, "1") // the large ones are shared
		list += "SRC/" + repo + ":1\n"
	}
	m.dst.DropMounts()
	m.dst.On(regtest.Match{If: func(e regtest.Entry) bool {
		return e.Kind != regtest.Upload && e.Kind != regtest.Ping && e.Method != "PUT"
	}}, regtest.Status(http.StatusForbidden))
	m.run(m.file("list.txt", list), "--to", m.dst.Host()+"/m", "--json")
	m.exits(exitDone)
	var rep relocate.Report
	if err := json.Unmarshal([]byte(m.out), &rep); err != nil {
		t.Fatal(err)
	}
	if tot := rep.Totals; tot.SourceBytes != tot.UniqueBytes || tot.PushedBytes < 3*(700_000+(2<<20)) {
		t.Errorf("read %d bytes of %d, pushed %d", tot.SourceBytes, tot.UniqueBytes, tot.PushedBytes)
	}
}

// TestRelocatePromised reads an image by the digest that the bundle promises.
func TestRelocatePromised(t *testing.T) {
	m := newMove(t)
	good := m.src.AddImage("a", regtest.Image{Layers: []int64{100}, Seed: 1}, "1")
	m.src.AddImage("a", regtest.Image{Layers: []int64{100}, Seed: 2}, "1") // the tag has moved on
	bundle := `{"schemaVersion":"v1.2.0","name":"b","version":"1.0.0","invocationImages":[{"image":"SRC/a:1","contentDigest":"` + string(good.Digest) + `"}]}`
	m.run(m.file("bundle.json", bundle), "--to", m.dst.Host(), "--naming", "path", "--map", m.path("map.json"), "--output", m.path("out.json"))
	m.exits(exitDone)
	if got := m.read("map.json"); !strings.Contains(got, `"`+m.src.Host()+`/a:1": "`+m.dst.Host()+`/a:1"`) {
		t.Errorf("the mapping is %s", got)
	}
	if !strings.Contains(m.out, string(good.Digest)) {
		t.Errorf("got %s, want %s", m.out, good.Digest)
	}
	if m.read("out.json") != m.read("bundle.json") {
		t.Error("the bundle was changed")
	}
}

// TestRelocateBrokenPromise says what is wrong with an image that is not there by
// the digest that the bundle promises.
func TestRelocateBrokenPromise(t *testing.T) {
	m := newMove(t)
	is := m.src.AddImage("a", regtest.Image{Layers: []int64{100}, Seed: 1}, "1")
	want := "sha256:" + strings.Repeat("a", 64)
	bundle := m.file("bundle.json", `{"schemaVersion":"v1.2.0","name":"b","version":"1.0.0","invocationImages":[{"image":"SRC/a:1","contentDigest":"`+want+`"}]}`)
	words := "content digest mismatch: image " + m.src.Host() + "/a:1 has digest " + string(is.Digest) +
		" but the digest should be " + want + " according to the bundle manifest"
	for _, more := range []string{"--json", "--plan"} {
		m.run(bundle, "--to", m.dst.Host(), more)
		m.exits(exitSome)
		if !strings.Contains(m.errors, words) {
			t.Errorf("%s: got %s, want %s", more, m.errors, words)
		}
	}
	m.src.Delete("a", "1") // there is nothing to compare with
	m.run(bundle, "--to", m.dst.Host())
	m.exits(exitSome)
	if !strings.Contains(m.errors, "/a:1@"+want) || !strings.Contains(m.errors, "the digest is what the input says for that image") {
		t.Errorf("got %s", m.errors)
	}
	if m.written() > 0 {
		t.Error("the target was written to")
	}
}
