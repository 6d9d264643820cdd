package cli

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/entrepot/entrepot/internal/regtest"
	"github.com/entrepot/entrepot/layout"
	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
	"github.com/entrepot/entrepot/relocate"
)

// save runs the command.
func (m *move) save(args ...string) {
	m.t.Helper()
	m.command(append([]string{"save", "--rules", "none", "--retry", "1"}, args...)...)
}

// command runs a command of entrepot.
func (m *move) command(args ...string) {
	m.t.Helper()
	var out, errs bytes.Buffer
	m.code = Main(m.t.Context(), Env{
		Args: args, Stdin: strings.NewReader(m.stdin), Stdout: &out, Stderr: &errs,
		Getenv: func(string) string { return "" },
	})
	m.out, m.errors = out.String(), errs.String()
}

// opened opens an archive.
func (m *move) opened(names ...string) *layout.Archive {
	m.t.Helper()
	var paths []string
	for _, name := range names {
		paths = append(paths, m.path(name))
	}
	a, err := layout.OpenArchive(paths...)
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() { a.Close() })
	return a
}

// blobsOf returns the size of the blobs that an archive has.
func blobsOf(a *layout.Archive) (n int64) {
	for _, b := range a.Set().Blobs {
		n += b.Size
	}
	return n
}

// inArchive checks that an archive has an image under its name at the source,
// with all of its bytes.
func (m *move) inArchive(a *layout.Archive, name string, img regtest.Built) {
	m.t.Helper()
	r, err := ref.Parse(m.src.Host() + "/" + name)
	if err != nil {
		m.t.Fatal(err)
	}
	got, err := a.Manifest(m.t.Context(), r)
	if err != nil || !bytes.Equal(got.Raw, img.Raw) {
		m.t.Errorf("%s: %v, or it is another image", name, err)
	}
	if err := a.Verify(m.t.Context(), true); err != nil {
		m.t.Error(err)
	}
}

// TestSave writes an archive of what a document names, once more to the same
// bytes, and reports it.
func TestSave(t *testing.T) {
	m := newMove(t)
	input := m.standard()
	app := m.src.AddImage("team/app", regtest.Image{Layers: []int64{100, 2000}, Seed: 1}, "1") // as it is there already
	sbom := m.src.AddReferrer("team/app", app.Descriptor(), "application/sbom", 9)
	m.save(input, "--output", m.path("a.tar"), "--report", m.path("report.json"))
	m.exits(exitDone)
	a := m.opened("a.tar")
	var names []string
	for _, i := range a.Set().Images {
		names = append(names, strings.TrimPrefix(i.Name, m.src.Host()))
	}
	if len(names) != 2 || !strings.HasPrefix(names[0], "/base/setup@sha256:") || names[1] != "/team/app:1" {
		t.Errorf("the images are %q", names)
	}
	if err := a.Verify(t.Context(), true); err != nil {
		t.Error(err)
	}
	found, err := a.Referrers(t.Context(), ref.Name{Host: m.src.Host(), Path: "team/app"}, app.Digest, "")
	if err != nil || len(found) != 1 || found[0].Digest != sbom.Digest {
		t.Errorf("what refers to the image: %v, %v", found, err)
	}
	var rep relocate.Report
	if err := json.Unmarshal([]byte(m.read("report.json")), &rep); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(rep.Outputs, []string{m.path("a.tar")}) || rep.Totals.SourceBytes != rep.Totals.UniqueBytes || rep.Totals.PushedBytes != blobsOf(a) {
		t.Errorf("the report is %+v", rep)
	}
	if got, want := rep.Images[1].Target, "oci-archive:"+m.path("a.tar")+":"+m.src.Host()+"/team/app:1"; got != want || rep.Images[1].Result != relocate.Copied {
		t.Errorf("the image is %+v", rep.Images[1])
	}
	m.save(input, "--output", m.path("b.tar"), "--jobs", "1")
	m.exits(exitDone)
	if m.read("a.tar") != m.read("b.tar") {
		t.Error("two archives of the same images differ")
	}
	if left, _ := filepath.Glob(m.path("*.partial*")); len(left) > 0 {
		t.Errorf("%q are left", left)
	}
}

// TestSaveStream writes the same bytes to standard output as to a file.
func TestSaveStream(t *testing.T) {
	m := newMove(t)
	input := m.standard()
	m.save(input, "--output", m.path("a.tar"))
	m.exits(exitDone)
	m.save(input, "--output", "-")
	m.exits(exitDone)
	if m.out != m.read("a.tar") {
		t.Error("the stream is another archive than the file")
	}
}

// TestSaveVolumes cuts an archive into files of a size.
func TestSaveVolumes(t *testing.T) {
	m := newMove(t)
	img := m.src.AddImage("a", regtest.Image{Layers: []int64{100_000, 300_000}, Seed: 1}, "1")
	m.stdin = m.src.Host() + "/a:1\n"
	m.save("-", "--output", m.path("a.tar"), "--volume-size", "128KiB", "--json")
	m.exits(exitDone)
	var rep relocate.Report
	if err := json.Unmarshal([]byte(m.out), &rep); err != nil || len(rep.Outputs) < 4 {
		t.Fatalf("%v; the files are %q", err, rep.Outputs)
	}
	var files []string
	for _, path := range rep.Outputs {
		files = append(files, filepath.Base(path))
		if info, err := os.Stat(path); err != nil || info.Size() > 128<<10 {
			t.Errorf("%s: %v, or it is too large", path, err)
		}
	}
	m.inArchive(m.opened(files...), "a:1", img)
}

// TestSaveFailures: an image that is not there, and a blob that is not there. There
// is no archive, the failures are listed, and what was read is not read again.
func TestSaveFailures(t *testing.T) {
	m := newMove(t)
	img := m.src.AddImage("a", regtest.Image{Layers: []int64{1000, 2000}, Seed: 1}, "1")
	other := m.src.AddImage("b", regtest.Image{Layers: []int64{3000}, Seed: 2}, "1")
	input := m.file("list.txt", "SRC/a:1\nSRC/b:1\n")
	rule := m.src.On(regtest.Match{Kind: regtest.Blob, Ref: string(img.Layers[1].Digest)}, regtest.Status(404))
	args := []string{input, "--output", m.path("a.tar"), "--report", m.path("report.json")}
	m.save(args...)
	m.exits(exitSome)
	m.absent("a.tar")
	if !strings.Contains(m.errors, "/a:1: read blob "+string(img.Layers[1].Digest)) || strings.Contains(m.errors, "/b:1: read") || !strings.Contains(m.errors, "a.tar.partial") {
		t.Errorf("the failure is told as %s", m.errors)
	}
	if !strings.Contains(m.read("report.json"), `"result": "failed"`) {
		t.Errorf("the report is %s", m.read("report.json"))
	}
	if _, err := os.Stat(m.path("a.tar.partial")); err != nil {
		t.Error(err)
	}
	rule.Remove()
	m.save(args...)
	m.exits(exitDone)
	for _, d := range []oci.Descriptor{img.Layers[0], img.Config, other.Layers[0]} {
		if n := m.src.BlobBytes(d.Digest); n != d.Size {
			t.Errorf("of %s %d bytes were read, want %d", d.Digest, n, d.Size)
		}
	}
	m.inArchive(m.opened("a.tar"), "a:1", img)

	m.save(m.file("list.txt", "SRC/a:1\nSRC/gone:1\n"), "--output", m.path("b.tar"))
	m.exits(exitSome)
	m.absent("b.tar")
	if _, err := os.Stat(m.path("b.tar.partial")); err != nil || m.out != "" {
		t.Errorf("%v; it prints %s", err, m.out)
	}
	if !strings.Contains(m.errors, "/gone:1: read ") || !strings.Contains(m.errors, "1 of 2 images could not be read; there is no archive") {
		t.Errorf("the failure is told as %s", m.errors)
	}
	before := m.src.BlobBytes(img.Layers[1].Digest)
	m.src.AddImage("gone", regtest.Image{Layers: []int64{4000}, Seed: 3}, "1")
	m.save(m.path("list.txt"), "--output", m.path("b.tar"))
	m.exits(exitDone)
	if after := m.src.BlobBytes(img.Layers[1].Digest); after != before {
		t.Errorf("%d bytes were read again of an image that was there", after-before)
	}
	m.inArchive(m.opened("b.tar"), "a:1", img)
}

// TestSaveHave leaves out what a receipt of the far side has: the archive holds
// the new blobs and no others.
func TestSaveHave(t *testing.T) {
	m := newMove(t)
	old := regtest.Image{Layers: []int64{50_000, 1000}, Seed: 1}
	m.src.AddImage("a", old, "1")
	far := m.dst.AddImage("m/a", old, "1")
	img := m.src.AddImage("a", regtest.Image{Layers: []int64{50_000, 2000}, Seed: 1}, "2")
	receipt := relocate.Receipt{Prefix: m.dst.Host() + "/m", Repositories: []relocate.ReceiptRepository{{Name: m.dst.Host() + "/m/a", Blobs: []relocate.Stored{{Digest: far.Layers[0].Digest, Size: 50_000}, {Digest: far.Layers[1].Digest, Size: 1000}}}}}
	raw, err := receipt.Encode()
	if err != nil {
		t.Fatal(err)
	}
	input := m.file("list.txt", "SRC/a:2\n")
	m.save(input, "--output", m.path("a.tar"), "--have", m.file("receipt.json", string(raw)))
	m.exits(exitDone)
	set := m.opened("a.tar").Set()
	if got, want := blobsOf(m.opened("a.tar")), img.Config.Size+2000; got != want {
		t.Errorf("the archive has %d bytes of blobs, want %d", got, want)
	}
	want := layout.BaseBlob{Digest: img.Layers[0].Digest, Size: 50_000, Repositories: []string{m.dst.Host() + "/m/a"}}
	if len(set.Base) != 1 || set.Base[0].Digest != want.Digest || !slices.Equal(set.Base[0].Repositories, want.Repositories) {
		t.Errorf("the base is %+v, want %+v", set.Base, want)
	}
	if n := m.src.BlobBytes(img.Layers[0].Digest); n != 0 {
		t.Errorf("%d bytes were read of what is left out", n)
	}
	if !strings.Contains(m.errors, "left out 48.8 KiB") {
		t.Errorf("it says %s", m.errors)
	}
}

// TestSaveSince leaves out what an archive has, and what that one leaves out.
func TestSaveSince(t *testing.T) {
	m := newMove(t)
	var shared regtest.Built // images of one seed share their config
	for i, tag := range []string{"1", "2", "3"} {
		shared = m.src.AddImage("a", regtest.Image{Layers: []int64{50_000, int64(1000 + i)}, Seed: 1}, tag)
	}
	m.save(m.file("list.txt", "SRC/a:1\n"), "--output", m.path("1.tar"))
	m.exits(exitDone)
	m.save(m.file("list.txt", "SRC/a:1\nSRC/a:2\n"), "--output", m.path("2.tar"), "--since", m.path("1.tar"))
	m.exits(exitDone)
	if got, want := blobsOf(m.opened("2.tar")), int64(1001); got != want {
		t.Errorf("the second has %d bytes of blobs, want %d", got, want)
	}
	m.save(m.file("list.txt", "SRC/a:1\nSRC/a:2\nSRC/a:3\n"), "--output", m.path("3.tar"), "--since", m.path("2.tar"))
	m.exits(exitDone)
	a := m.opened("3.tar")
	if got, want := blobsOf(a), int64(1002); got != want {
		t.Errorf("the third has %d bytes of blobs, want %d", got, want)
	}
	for _, b := range a.Set().Base {
		if !slices.Equal(b.Repositories, []string{m.src.Host() + "/a"}) {
			t.Errorf("what is left out is in %q", b.Repositories)
		}
	}
	if n := m.src.BlobBytes(shared.Layers[0].Digest); n != 50_000 {
		t.Errorf("of the shared layer %d bytes were read, want it once", n)
	}
	m.save(m.path("list.txt"), "--output", m.path("4.tar"), "--since", m.path("1.tar"), "--since", m.path("2.tar"), "--since", m.path("3.tar"))
	m.exits(exitDone)
	if a := m.opened("4.tar"); blobsOf(a) != 0 || len(a.Set().Images) != 3 {
		t.Errorf("where all is there the archive has %d bytes of blobs of %d images", blobsOf(a), len(a.Set().Images))
	}
	m.save(m.path("list.txt"), "--output", m.path("3.tar"), "--since", m.path("3.tar"))
	if m.code != exitUsage || !strings.Contains(m.errors, "would be replaced") {
		t.Errorf("onto itself: exit code %d, %s", m.code, m.errors)
	}
	m.save(m.path("list.txt"), "--output", m.path("4.tar"), "--since", m.path("none.tar"))
	if m.code == exitDone || !strings.Contains(m.errors, "none.tar") {
		t.Errorf("of none: exit code %d, %s", m.code, m.errors)
	}
}

// TestSaveTargets keeps where a list wants its images to go, and two images whose
// names differ in the digest alone.
func TestSaveTargets(t *testing.T) {
	m := newMove(t)
	one := m.src.AddImage("a", regtest.Image{Layers: []int64{100}, Seed: 1}, "1")
	two := m.src.AddImage("a", regtest.Image{Layers: []int64{200}, Seed: 1})
	m.save(m.file("list.txt", "SRC/a:1=team/x:v1\nSRC/a:1=team/y:v1\nSRC/a:1@"+string(two.Digest)+"\n"), "--output", m.path("a.tar"), "--kind", "images")
	m.exits(exitDone)
	a := m.opened("a.tar")
	var got []string
	for _, i := range a.Set().Images {
		got = append(got, strings.TrimPrefix(i.Name, m.src.Host())+" "+i.Target)
	}
	slices.Sort(got)
	if want := []string{"/a:1 team/x:v1", "/a:1 team/y:v1", "/a:1@" + string(two.Digest) + " "}; !slices.Equal(got, want) {
		t.Errorf("the images are %q, want %q", got, want)
	}
	m.inArchive(a, "a:1", one)
	m.inArchive(a, "a@"+string(two.Digest), two)
	m.inArchive(a, "a:1@"+string(two.Digest), two)
}

// TestSaveRefuses: what cannot be is told before anything is asked.
func TestSaveRefuses(t *testing.T) {
	m := newMove(t)
	input := m.standard()
	tar := m.file("old.tar", "x")
	out := []string{"--output", m.path("a.tar")}
	for name, c := range map[string]struct {
		args   []string
		code   int
		stderr string
	}{
		"no output":     {nil, exitUsage, "--output is missing"},
		"a directory":   {[]string{"--output", m.dir}, exitUsage, "is a directory"},
		"no directory":  {[]string{"--output", m.path("none/a.tar")}, exitUsage, "there is no directory"},
		"partial":       {append(out, "--partial"), exitUsage, "whole, or it is none"},
		"keep":          {append(out, "--on-existing", "keep"), exitUsage, "use overwrite or fail"},
		"there":         {[]string{"--output", tar, "--on-existing", "fail"}, exitConflict, "is there already"},
		"a size":        {append(out, "--volume-size", "4 parsecs"), exitUsage, `"4 parsecs" is no size`},
		"nothing":       {append(out, "--volume-size", "0"), exitUsage, "a byte at least"},
		"json":          {[]string{"--output", "-", "--json"}, exitUsage, "use --report FILE"},
		"volumes":       {[]string{"--output", "-", "--volume-size", "1GiB"}, exitUsage, "a stream is one volume"},
		"no receipt":    {append(out, "--have", m.path("none.json")), exitUsage, "make one on the far side"},
		"another file":  {append(out, "--have", input), exitUsage, "it is no receipt"},
		"small volumes": {append(out, "--volume-size", "1KiB"), exitFailed, "too small"},
	} {
		m.save(append([]string{input}, c.args...)...)
		if m.code != c.code || !strings.Contains(m.errors, c.stderr) {
			t.Errorf("%s: exit code %d, want %d; %s", name, m.code, c.code, m.errors)
		}
	}
	m.absent("a.tar")
}

// TestSaveRoles: what an image is for is in the archive, for the objects that a
// cluster gets when it is loaded.
func TestSaveRoles(t *testing.T) {
	m := newMove(t)
	m.src.AddImage("team/app", regtest.Image{Layers: []int64{100}, Seed: 1}, "1")
	m.src.AddImage("plain", regtest.Image{Layers: []int64{100}, Seed: 2}, "1")
	set := m.file("set.yaml", "apiVersion: mirror.openshift.io/v2alpha1\nkind: ImageSetConfiguration\nmirror:\n  additionalImages:\n  - name: SRC/team/app:1\n")
	m.save(set, m.file("list.txt", "SRC/plain:1\n"), "--output", m.path("set.tar"))
	m.exits(exitDone)
	got := map[string]string{}
	for _, i := range m.opened("set.tar").Set().Images {
		got[i.Name] = i.Role
	}
	want := map[string]string{m.src.Host() + "/team/app:1": string(relocate.Additional), m.src.Host() + "/plain:1": ""}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("roles (-want +got):\n%s", diff)
	}
}

// TestSaveNoSpace: a disk that is full ends the save with what to do about it,
// and what was written is not read again when there is room.
func TestSaveNoSpace(t *testing.T) {
	m := newMove(t)
	dir := t.TempDir()
	mount := func(args ...string) {
		if out, err := exec.Command("mount", append(args, dir)...).CombinedOutput(); err != nil {
			t.Skipf("no small file system can be mounted here: %s", out)
		}
	}
	mount("-t", "tmpfs", "-o", "size=1m", "none")
	defer exec.Command("umount", dir).Run() // nothing is left open in it
	img := m.src.AddImage("a", regtest.Image{Layers: []int64{300_000, 300_001, 600_000}, Seed: 1}, "1")
	args := []string{m.file("list.txt", "SRC/a:1\n"), "--output", filepath.Join(dir, "a.tar"), "--jobs", "1"}
	m.save(args...)
	m.exits(exitFailed)
	if !strings.Contains(m.errors, "no room for the archive") || !strings.Contains(m.errors, "hint: make room, and run the same command again") || strings.Contains(m.errors, "could not be read") {
		t.Errorf("it says %s", m.errors)
	}
	if _, err := os.Stat(filepath.Join(dir, "a.tar")); err == nil {
		t.Error("there is an archive")
	}
	mount("-o", "remount,size=4m")
	m.save(args...)
	m.exits(exitDone)
	a, err := layout.OpenArchive(filepath.Join(dir, "a.tar"))
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	m.inArchive(a, "a:1", img)
	again := 0
	for _, d := range img.Layers {
		if m.src.BlobBytes(d.Digest) > d.Size {
			again++
		}
	}
	if again > 1 {
		t.Errorf("%d layers were read again, want at most the one for which there was no room", again)
	}
}

// TestSaveOfArchive saves what an archive has into another one: the same bytes,
// read from the archive alone.
func TestSaveOfArchive(t *testing.T) {
	m := newMove(t)
	m.src.AddImage("a", regtest.Image{Layers: []int64{50_000, 1000}, Seed: 1}, "1")
	img := m.src.AddImage("b", regtest.Image{Layers: []int64{50_000, 2000}, Seed: 2}, "1")
	m.src.AddReferrer("b", img.Descriptor(), "application/x.sig", 1)
	m.save(m.file("list.txt", "SRC/a:1\nSRC/b:1\n"), "--output", m.path("1.tar"))
	m.exits(exitDone)
	m.src.ResetLog()
	m.save(m.path("1.tar"), "--output", m.path("2.tar"))
	m.exits(exitDone)
	if m.read("1.tar") != m.read("2.tar") {
		t.Error("the second archive has other bytes")
	}
	if n := len(m.src.Log()); n > 0 {
		t.Errorf("the source was asked %d times", n)
	}
}
