package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/entrepot/entrepot/internal/regtest"
	"github.com/entrepot/entrepot/layout"
	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
	"github.com/entrepot/entrepot/relocate"
)

// A cargo is what goes into an archive.
type cargo struct {
	t        *testing.T
	shelf    *regtest.Shelf
	contents layout.Contents
}

func newCargo(t *testing.T) *cargo { return &cargo{t: t, shelf: regtest.NewShelf()} }

// add puts an image under a whole name, and content with it.
func (c *cargo) add(name string, img regtest.Image) regtest.Built {
	c.t.Helper()
	b := c.shelf.AddImage("x", img)
	c.take(b)
	c.name(name, b)
	return b
}

func (c *cargo) name(name string, b regtest.Built) {
	c.t.Helper()
	r, err := ref.Parse(name)
	if err != nil {
		c.t.Fatal(err)
	}
	c.contents.Names = append(c.contents.Names, layout.Entry{Ref: r, Descriptor: b.Descriptor()})
}

// take adds what has no name.
func (c *cargo) take(b regtest.Built) {
	c.contents.Manifests = append(c.contents.Manifests, b.Manifest)
	for _, d := range append(slices.Clone(b.Layers), b.Config) {
		if d.Digest == "" {
			continue
		}
		open := func(_ context.Context, off int64) (io.ReadCloser, error) {
			content, _ := c.shelf.Content("x", d.Digest)
			return io.NopCloser(io.NewSectionReader(content, off, d.Size-off)), nil
		}
		c.contents.Blobs = append(c.contents.Blobs, layout.SourceBlob{Descriptor: d, Open: open})
	}
}

// without leaves blobs out, which the far side has in repositories.
func (c *cargo) without(repository string, blobs ...oci.Descriptor) {
	for _, d := range blobs {
		c.contents.Blobs = slices.DeleteFunc(c.contents.Blobs, func(b layout.SourceBlob) bool { return b.Descriptor.Digest == d.Digest })
		c.contents.Base = append(c.contents.Base, layout.BaseBlob{Digest: d.Digest, Size: d.Size, Repositories: []string{repository}})
	}
}

// write writes the archive, and returns its volumes.
func (c *cargo) write(path string, volume int64) []string {
	c.t.Helper()
	w, err := layout.WriteArchive(c.t.Context(), layout.ArchiveConfig{Path: path, VolumeSize: volume}, c.contents)
	if err != nil {
		c.t.Fatal(err)
	}
	return w.Paths
}

// does runs a command.
func (m *move) does(args ...string) {
	m.t.Helper()
	var out, errs bytes.Buffer
	home := m.path("home")
	m.code = Main(m.t.Context(), Env{
		Args: args, Stdin: strings.NewReader(m.stdin), Stdout: &out, Stderr: &errs,
		Getenv: func(name string) string { return map[string]string{"HOME": home}[name] },
	})
	m.out, m.errors = out.String(), errs.String()
}

// load runs load to the target's repositories below m.
func (m *move) load(args ...string) {
	m.t.Helper()
	m.does(append([]string{"load", "--to", m.dst.Host() + "/m", "--naming", "host-path", "--retry", "1"}, args...)...)
}

// holds checks that the target has an image under a repository below m.
func (m *move) holds(repo, tag string, b regtest.Built) {
	m.t.Helper()
	repo = "m/" + repo
	if got := m.manifest(repo, tag); got != string(b.Raw) {
		m.t.Errorf("%s:%s is %q", repo, tag, got)
	}
	for _, d := range append(slices.Clone(b.Layers), b.Config) {
		if c, ok := m.dst.Content(repo, d.Digest); d.Digest != "" && (!ok || regtest.DigestOf(c) != d.Digest) {
			m.t.Errorf("%s lacks %s", repo, d.Digest)
		}
	}
}

// manifest returns what the target has under a tag, "" for nothing.
func (m *move) manifest(repo, reference string) string {
	m.t.Helper()
	req, err := http.NewRequestWithContext(m.t.Context(), http.MethodGet, m.dst.URL()+"/v2/"+repo+"/manifests/"+reference, nil)
	if err != nil {
		m.t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		m.t.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		return ""
	}
	return string(raw)
}

// TestLoad loads an archive of several volumes, which are named in any order, by
// one of them and by the name without the number, and writes what leads there.
func TestLoad(t *testing.T) {
	c := newCargo(t)
	app := c.add("quay.io/team/app:1", regtest.Image{Layers: []int64{100, 60_000}, Seed: 1})
	base := c.add("alpine:3.20", regtest.Image{Layers: []int64{100, 70_000}, Seed: 2})
	index := c.shelf.AddIndex("x", []regtest.Built{app, base})
	c.take(index)
	c.name("quay.io/team/multi:1", index)
	sig := c.shelf.AddReferrer("x", index.Descriptor(), "application/sig", 7)
	c.take(sig)
	dir := t.TempDir()
	paths := c.write(filepath.Join(dir, "set.tar"), 64<<10)
	if len(paths) < 3 {
		t.Fatalf("the archive has %d volumes, want 3 at least", len(paths))
	}
	reversed := slices.Clone(paths)
	slices.Reverse(reversed)
	for name, args := range map[string][]string{
		"any order":      reversed,
		"one of them":    paths[1:2],
		"their name":     {filepath.Join(dir, "set.tar")},
		"one of them 2x": {paths[0], filepath.Join(dir, ".", filepath.Base(paths[0]))},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMove(t)
			m.load(append(args, "--map", m.path("map.json"), "--emit", "registries.conf="+m.path("mirror.conf"), "--report", m.path("report.json"))...)
			m.exits(exitDone)
			m.holds("quay.io/team/app", "1", app)
			m.holds("docker.io/library/alpine", "3.20", base)
			m.holds("quay.io/team/multi", "1", index)
			m.holds("quay.io/team/multi", string(sig.Digest), sig)
			var mapping map[string]string
			if err := json.Unmarshal([]byte(m.read("map.json")), &mapping); err != nil || mapping["quay.io/team/app:1"] != m.dst.Host()+"/m/quay.io/team/app:1" {
				t.Errorf("the mapping is %v, %v", mapping, err)
			}
			if got := m.read("mirror.conf"); !strings.Contains(got, `location = "`+m.dst.Host()+`/m/quay.io"`) {
				t.Errorf("the mirror configuration is\n%s", got)
			}
			var rep relocate.Report
			if err := json.Unmarshal([]byte(m.read("report.json")), &rep); err != nil || rep.Totals.Images != 3 || len(rep.Outputs) != 2 || rep.Totals.SourceRequests != 0 {
				t.Errorf("the report is %s, %v", m.read("report.json"), err)
			}
		})
	}
}

// TestLoadRequests holds that a blob costs two requests, that tags are set after
// everything else, and that a second load asks for each tag and nothing else.
func TestLoadRequests(t *testing.T) {
	m, c := newMove(t), newCargo(t)
	blobs := map[oci.Digest]bool{}
	for i := range 4 {
		b := c.add(fmt.Sprintf("quay.io/team/app%d:1", i), regtest.Image{Layers: []int64{1000, 2000 + int64(i)}, Seed: uint64(i)})
		for _, d := range append(b.Layers, b.Config) {
			blobs[d.Digest] = true
		}
	}
	path := m.path("set.tar")
	c.write(path, 0)
	m.load(path)
	m.exits(exitDone)
	uploads, tagged := 0, false
	for _, e := range m.dst.Log() {
		switch {
		case e.Kind == regtest.Manifest && e.Method == "PUT" && e.Ref == "1":
			tagged = true
		case tagged:
			t.Errorf("%s %s follows a tag", e.Method, e.Path)
		case e.Kind == regtest.Blob:
			t.Errorf("%s %s: a repository that is new was asked for a blob", e.Method, e.Path)
		case e.Kind == regtest.Upload:
			uploads++
		}
	}
	if uploads > 2*len(blobs) {
		t.Errorf("%d requests for %d blobs, want 2 for each at most", uploads, len(blobs))
	}
	m.dst.ResetLog()
	m.load(path, "--no-referrers")
	m.load(path)
	m.exits(exitDone)
	m.dst.ResetLog()
	m.load(path)
	if got := m.dst.Log(); len(got) != 4 || m.dst.Count("HEAD", regtest.Manifest) != 4 {
		t.Errorf("the second load makes %d requests, want 4 HEADs of tags", len(got))
	}
	if !strings.Contains(m.out, "present\t") {
		t.Errorf("got %s", m.out)
	}
}

// TestLoadBase loads an archive that lacks what the target has, by a receipt of
// the target, by the names of an earlier archive, and with that archive.
func TestLoadBase(t *testing.T) {
	for name, c := range map[string]struct {
		saw    string // the repository that the archive says has it
		refuse func(*regtest.Registry)
		with   bool // the earlier archive is given too, and the target has nothing
	}{
		"receipt":            {saw: "DST/m/old/app"},
		"another host's":     {saw: "registry.corp/m/old/app"},
		"names of before":    {saw: "old/app"}, // docker.io/old/app
		"mounts are refused": {saw: "DST/m/old/app", refuse: (*regtest.Registry).DropMounts},
		"with what it needs": {saw: "gone/app", with: true},
	} {
		t.Run(name, func(t *testing.T) {
			m, before, now := newMove(t), newCargo(t), newCargo(t)
			old := before.add("old/app:1", regtest.Image{Layers: []int64{5000, 6000}, Seed: 1})
			img := now.add("quay.io/team/app:2", regtest.Image{Layers: []int64{5000, 6000, 7000}, Seed: 1})
			if img.Layers[0].Digest != old.Layers[0].Digest {
				t.Fatal("the images share nothing")
			}
			now.without(strings.ReplaceAll(c.saw, "DST", m.dst.Host()), old.Layers...)
			args := now.write(m.path("now.tar"), 0)
			if c.with {
				args = append(args, before.write(m.path("before.tar"), 0)...)
			} else {
				repo := map[bool]string{true: "m/docker.io/old/app", false: "m/old/app"}[c.saw == "old/app"]
				for _, d := range old.Layers {
					content, _ := before.shelf.Content("x", d.Digest)
					m.dst.AddBlob(repo, content)
				}
			}
			if c.refuse != nil {
				c.refuse(m.dst)
			}
			m.load(args...)
			m.exits(exitDone)
			m.holds("quay.io/team/app", "2", img)
			if c.with {
				m.holds("docker.io/old/app", "1", old)
			}
		})
	}
}

// TestLoadBaseMissing names what is missing, and what needs it, before anything
// is written; a plan says the same.
func TestLoadBaseMissing(t *testing.T) {
	m, now := newMove(t), newCargo(t)
	img := now.add("quay.io/team/app:2", regtest.Image{Layers: []int64{5000, 6000}, Seed: 1})
	now.without(m.dst.Host()+"/m/old/app", img.Layers...)
	content, _ := now.shelf.Content("x", img.Layers[0].Digest)
	m.dst.AddBlob("m/old/app", content)
	path := now.write(m.path("now.tar"), 0)[0]
	for _, more := range [][]string{{"--map", m.path("map.json")}, {"--plan"}, {"--partial", "--map", m.path("map.json")}} {
		m.load(append(more, path)...)
		m.exits(exitFailed)
		for _, want := range []string{"lacks 1 blob of 2", string(img.Layers[1].Digest), "6000 bytes", "quay.io/team/app:2", "nothing was written", "hint: load the archive first"} {
			if !strings.Contains(m.errors, want) {
				t.Errorf("%v: %q is not said:\n%s", more, want, m.errors)
			}
		}
		if strings.Contains(m.errors, string(img.Layers[0].Digest)) || strings.Contains(m.out, "present") {
			t.Errorf("%v: got\n%s%s", more, m.out, m.errors)
		}
	}
	m.absent("map.json")
	if n := m.written(); n != 0 {
		t.Errorf("the target was written to %d times", n)
	}
	m.dst.On(regtest.Match{Kind: regtest.Blob}, regtest.Status(http.StatusForbidden))
	m.load(path)
	m.exits(exitAuth)
}

// TestLoadNewer takes of two archives the image of the one that was made against
// the other, in whichever order they come, and refuses to choose between others.
func TestLoadNewer(t *testing.T) {
	m, before, now, other := newMove(t), newCargo(t), newCargo(t), newCargo(t)
	old := before.add("quay.io/team/app:1", regtest.Image{Layers: []int64{5000}, Seed: 1})
	img := now.add("quay.io/team/app:1", regtest.Image{Layers: []int64{5000, 6000}, Seed: 1})
	now.without("quay.io/team/app", old.Layers...)
	other.add("quay.io/team/app:1", regtest.Image{Layers: []int64{9}, Seed: 5})
	a, b := before.write(m.path("a.tar"), 0)[0], now.write(m.path("b.tar"), 0)[0]
	for _, args := range [][]string{{a, b}, {b, a}} {
		m := newMove(t)
		m.load(args...)
		m.exits(exitDone)
		m.holds("quay.io/team/app", "1", img)
	}
	m.load(a, other.write(m.path("c.tar"), 0)[0])
	m.exits(exitConflict)
	if !strings.Contains(m.errors, "quay.io/team/app:1 is "+string(old.Digest)+" in "+a) || m.written() > 0 {
		t.Errorf("got %s", m.errors)
	}
}

// TestLoadRefuses: archives that are not whole, and command lines that are wrong,
// before the target is asked anything.
func TestLoadRefuses(t *testing.T) {
	m, c, bare := newMove(t), newCargo(t), newCargo(t)
	c.add("quay.io/team/app:1", regtest.Image{Layers: []int64{100, 60_000}, Seed: 1})
	c.add("quay.io/other/app:1", regtest.Image{Layers: []int64{100, 70_000}, Seed: 2})
	paths := c.write(m.path("set.tar"), 64<<10)
	img := bare.shelf.AddImage("x", regtest.Image{Layers: []int64{10}})
	bare.take(img)
	bare.contents.Names = []layout.Entry{{Ref: ref.Ref{Tag: "v1"}, Descriptor: img.Descriptor()}}
	nameless := bare.write(m.path("bare.tar"), 0)[0]
	elsewhere := t.TempDir()
	lone := filepath.Join(elsewhere, "lone.tar")
	raw, err := os.ReadFile(paths[0])
	if err == nil {
		err = os.WriteFile(lone, raw, 0o600)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(elsewhere, "cut.tar"), raw[:len(raw)/2], 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		args   []string
		code   int
		stderr string
	}{
		"a volume is missing": {[]string{lone}, exitFailed, "are missing; " + lone + " is volume 1"},
		"another's volume":    {[]string{lone, nameless}, exitFailed, "are missing; " + lone + " is volume 1"},
		"a volume is twice":   {[]string{lone, paths[0]}, exitFailed, "are both volume 1"},
		"cut off":             {[]string{filepath.Join(elsewhere, "cut.tar")}, exitFailed, "cut off"},
		"no file":             {[]string{m.path("none.tar")}, exitFailed, "no such file"},
		"no archive":          {[]string{m.file("a.txt", "alpine:3.20\n")}, exitFailed, "read archive "},
		"no name":             {[]string{nameless}, exitFailed, `hint: say yourself where it goes: entrepot copy oci-archive:` + nameless + ":v1 "},
		"standard input":      {[]string{"-"}, exitUsage, "not from standard input"},
		"documents":           {[]string{paths[0], "--output", m.path("out")}, exitUsage, "no documents"},
		"no archive named":    {nil, exitUsage, "requires at least 1 arg"},
		"meeting":             {[]string{paths[0], "--naming", "template:x"}, exitConflict, "both become"},
	} {
		m.load(c.args...)
		if m.code != c.code || !strings.Contains(m.errors, c.stderr) {
			t.Errorf("%s: exit code %d, want %d with %q; %s", name, m.code, c.code, c.stderr, m.errors)
		}
	}
	if n := len(m.dst.Log()); n > 0 {
		t.Errorf("the target was asked %d times", n)
	}
}

// TestLoadDocuments loads an archive with the documents that it was saved for: they
// are written with the new names, their spellings become keys, and whatever the
// archive lacks is named before the target is asked.
func TestLoadDocuments(t *testing.T) {
	m, c := newMove(t), newCargo(t)
	app := c.add("docker.io/team/app:1", regtest.Image{Layers: []int64{1000}, Seed: 1})
	tarball := c.write(m.path("set.tar"), 0)[0]
	pod := "# kept\napiVersion: v1\nkind: Pod\nspec: {containers: [{image: '%s'}]}\n"
	doc := m.file("pod.yaml", fmt.Sprintf(pod, "team/app:1"))

	for name, c := range map[string]struct {
		args   []string
		stderr string
	}{
		"not in the archive": {[]string{m.file("other.yaml", fmt.Sprintf(pod, "team/other:1"))}, "other.yaml:4: team/other:1 is not in the archives"},
		"another tag":        {[]string{m.file("tag.yaml", fmt.Sprintf(pod, "team/app:2"))}, "tag.yaml:4: team/app:2 is not in the archives"},
		"an image set":       {[]string{m.file("set.yaml", "kind: ImageSetConfiguration\napiVersion: mirror.openshift.io/v2alpha1\nmirror: {}\n")}, "has no names to rewrite"},
		"a reference":        {[]string{"quay.io/team/app:1"}, "no such file"},
	} {
		m.load(append(c.args, tarball, "--output", m.path("no"))...)
		if m.code == exitDone || !strings.Contains(m.errors, c.stderr) {
			t.Errorf("%s: exit code %d, want another one with %q; %s", name, m.code, c.stderr, m.errors)
		}
	}
	if n := len(m.dst.Log()); n > 0 {
		t.Errorf("the target was asked %d times", n)
	}

	m.load(tarball, doc, "--output", m.path("out"), "--map", m.path("map.json"))
	m.exits(exitDone)
	m.holds("docker.io/team/app", "1", app)
	to := m.dst.Host() + "/m/docker.io/team/app:1"
	if got, want := m.read("out/pod.yaml"), fmt.Sprintf(pod, to); got != want {
		t.Errorf("the document is %q, want %q", got, want)
	}
	if got := m.read("map.json"); !strings.Contains(got, `"team/app:1": "`+to+`"`) || !strings.Contains(got, `"docker.io/team/app:1": "`+to+`"`) {
		t.Errorf("the mapping lacks a spelling: %s", got)
	}
}

// TestArchiveInputs: an archive is an input like any other, and its images are
// read from it: nothing is known of the registries that they are called after.
func TestArchiveInputs(t *testing.T) {
	m, c := newMove(t), newCargo(t)
	app := c.add("registry.invalid/team/app:1", regtest.Image{Layers: []int64{1000}, Seed: 1})
	c.name("registry.invalid/team/app@"+string(app.Digest), app)
	tarball := c.write(m.path("set.tar"), 0)[0]
	doc := m.file("pod.yaml", "apiVersion: v1\nkind: Pod\nspec: {containers: [{image: 'registry.invalid/team/app:1'}]}\n")

	m.does("inspect", tarball, "--json")
	m.exits(exitDone)
	if strings.Count(m.out, "\n") != 2 || !strings.Contains(m.out, `"reference":"registry.invalid/team/app:1"`) || !strings.Contains(m.out, `"kind":"archive"`) || !strings.Contains(m.out, `"at":"`+tarball+`"`) {
		t.Errorf("inspect prints\n%s", m.out)
	}
	m.does("map", tarball, "--to", "example.com", "--naming", "path")
	m.exits(exitDone)
	if want := "registry.invalid/team/app:1 example.com/team/app:1\n"; !strings.Contains(m.out, want) {
		t.Errorf("map prints %q, want %q in it", m.out, want)
	}
	m.does("relocate", doc, tarball, "--to", m.dst.Host()+"/m", "--naming", "path", "--output", m.path("out"), "--rules", "none")
	m.exits(exitDone)
	m.holds("team/app", "1", app)
	if got := m.read("out/pod.yaml"); !strings.Contains(got, m.dst.Host()+"/m/team/app:1") {
		t.Errorf("the document is %s", got)
	}
	m.does("rewrite", tarball, "--map", m.file("map.json", `{"registry.invalid/team/app:1":"x.example/app:1"}`), "--output", m.path("again"))
	m.exits(exitFailed)
	if !strings.Contains(m.errors, "it is not rewritten") {
		t.Errorf("rewrite says %s", m.errors)
	}
	m.does("inspect", "--kind", "archive", doc)
	m.exits(exitFailed)
	m.does("inspect", "--kind", "bundle", tarball)
	m.exits(exitFailed)
}

// TestLoadSparse loads an archive that has one platform of an image, and then one
// that has them all.
func TestLoadSparse(t *testing.T) {
	m, some, all := newMove(t), newCargo(t), newCargo(t)
	kids := []regtest.Built{
		all.shelf.AddImage("x", regtest.Image{Layers: []int64{1000}, Seed: 1, Platform: "amd64"}),
		all.shelf.AddImage("x", regtest.Image{Layers: []int64{2000}, Seed: 2, Platform: "arm64"}),
	}
	index := all.shelf.AddIndex("x", kids)
	some.shelf = all.shelf
	some.take(index)
	some.take(kids[0])
	all.take(index)
	all.take(kids[0])
	all.take(kids[1])
	some.name("quay.io/team/multi:1", index)
	all.name("quay.io/team/multi:1", index)
	a, b := some.write(m.path("some.tar"), 0)[0], all.write(m.path("all.tar"), 0)[0]
	for _, more := range [][]string{{"--plan"}, nil, nil} {
		m.load(append(more, a)...)
		m.exits(exitDone)
	}
	m.holds("quay.io/team/multi", "1", index)
	m.holds("quay.io/team/multi", string(kids[0].Digest), kids[0])
	if m.manifest("m/quay.io/team/multi", string(kids[1].Digest)) != "" {
		t.Error("the platform that was left out is there")
	}
	m.load(a, "--platform", "linux/arm64")
	m.exits(exitSome)
	if !strings.Contains(m.errors, "the image has no platform of linux/arm64; it has linux/amd64") {
		t.Errorf("got %s", m.errors)
	}
	m.load(b)
	m.exits(exitDone)
	m.holds("quay.io/team/multi", string(kids[1].Digest), kids[1])
}
