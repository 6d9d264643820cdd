package cli

import (
	"fmt"
	"strings"
	"testing"

	"github.com/entrepot/entrepot/internal/regtest"
)

// TestSaveImageSet takes a set of each kind of content across in an archive: what
// it is called over there, and what it is for, is what the set says.
func TestSaveImageSet(t *testing.T) {
	s := newSite(t)
	args := s.full()
	s.set("isc.yaml", strings.ReplaceAll(everything, "    targetTag: one\n", "")) // a mirror has the same tags
	s.command(append([]string{"save", "--rules", "none", "--quiet", "--output", s.path("set.tar")}, args...)...)
	s.exits(exitDone)
	s.command("load", s.path("set.tar"), "--to", s.dst.Host()+"/m", "--quiet", "--retry", "1", "--emit", "openshift="+s.path("cluster"))
	s.exits(exitDone)
	for _, want := range []string{"/m/mirror/ops:v4.15@", "/m/my.org/app:1@", ":4.15.3-x86_64@"} {
		if !strings.Contains(s.out, want) {
			t.Errorf("there is no %s:\n%s", want, s.out)
		}
	}
	if got := s.read("cluster/cs-ops-v4-15.yaml"); !strings.Contains(got, "image: "+s.dst.Host()+"/m/mirror/ops:v4.15") {
		t.Errorf("the catalog source is\n%s", got)
	}
	if got := s.read("cluster/idms-oc-mirror.yaml"); !strings.Contains(got, s.src.Host()+"/ocp/release") {
		t.Errorf("the mirror set is\n%s", got)
	}
}

// TestArchiveSize holds that the volumes of an archive are as large as the set
// says, unless --volume-size says it.
func TestArchiveSize(t *testing.T) {
	s := newSite(t)
	isc := s.file("isc.yaml", setHead+"archiveSize: 3\nmirror: {additionalImages: [{name: 'SRC/team/app:1'}]}\n")
	for flag, want := range map[string]int64{"": 3 << 30, "5MiB": 5 << 20} {
		opts := saveOptions{output: s.path("x.tar"), volumeSize: flag, transferFlags: *readOnly(sourceFlags{rules: []string{"none"}}, networkFlags{})}
		one, err := opts.open(t.Context(), Env{Stderr: &strings.Builder{}, Getenv: func(string) string { return "" }}, []string{isc})
		if err != nil {
			t.Fatal(err)
		}
		one.x.close()
		if one.to.VolumeSize != want {
			t.Errorf("--volume-size %q: volumes have %d bytes, want %d", flag, one.to.VolumeSize, want)
		}
	}
}

// TestPlatformsOfImageSet copies the platforms that an entry wants, and all of
// another image.
func TestPlatformsOfImageSet(t *testing.T) {
	s := newSite(t)
	index := map[string]regtest.Built{}
	for i, path := range []string{"team/some", "team/all"} {
		var children []regtest.Built
		for j, arch := range []string{"amd64", "arm64"} {
			children = append(children, s.src.AddImage(path, regtest.Image{Layers: []int64{100}, Seed: uint64(10*i + j), Platform: arch}))
		}
		index[path] = s.src.AddIndex(path, children, "1")
	}
	s.run(s.set("isc.yaml", setHead+`mirror:
  additionalImages:
  - {name: 'SRC/team/some:1', targetRepo: some, platforms: [{os: linux, architecture: arm64}]}
  - {name: 'SRC/team/all:1', targetRepo: all}
`), "--to", s.dst.Host()+"/m")
	s.exits(exitDone)
	for path, want := range map[string][]bool{"team/some": {false, true}, "team/all": {true, true}} {
		for i, child := range index[path].Children {
			_, there := s.dst.Content("m/"+strings.TrimPrefix(path, "team/"), child.Layers[0].Digest)
			if there != want[i] {
				t.Errorf("%s: the platform %d is there: %v", path, i, there)
			}
		}
	}
}

// TestPruneImageSet removes what a deletion names, and keeps what a set names.
func TestPruneImageSet(t *testing.T) {
	s := newSite(t)
	s.images("team/app:1", "team/old:1")
	keep := s.set("isc.yaml", setHead+"mirror:\n  additionalImages: [{name: 'SRC/team/app:1', targetRepo: app}]\n")
	all := s.set("all.yaml", setHead+"mirror:\n  additionalImages: [{name: 'SRC/team/app:1', targetRepo: app}, {name: 'SRC/team/old:1', targetRepo: old}]\n")
	remove := s.file("delete.yaml", "apiVersion: mirror.openshift.io/v2alpha1\nkind: DeleteImageSetConfiguration\ndelete:\n  additionalImages: [{name: 'SRC/team/old:1', targetRepo: old}]\n")
	s.run(all, "--to", s.dst.Host()+"/m")
	s.exits(exitDone)
	s.command("prune", s.dst.Host()+"/m", "--rules", "none", "--keep", keep, "--remove", remove, "--yes", "--json")
	s.exits(exitDone)
	s.command("inspect", "--rules", "none", keep) // they are read from the source
	s.exits(exitDone)
	for repo, want := range map[string]string{"app": "200", "old": "404"} {
		if got := s.status("m/"+repo, "1"); got != want {
			t.Errorf("%s answers %s, want %s", repo, got, want)
		}
	}
	s.command("prune", s.dst.Host()+"/m", "--rules", "none", "--keep", remove)
	if s.code != exitFailed || !strings.Contains(s.errors, "it says which images are removed") {
		t.Errorf("a deletion is kept: %d, %s", s.code, s.errors)
	}
}

// status is how the target answers for a tag.
func (s *site) status(repo, tag string) string {
	s.t.Helper()
	resp, err := s.web.Client().Head(fmt.Sprintf("%s/v2/%s/manifests/%s", s.dst.URL(), repo, tag))
	if err != nil {
		s.t.Fatal(err)
	}
	resp.Body.Close()
	return fmt.Sprint(resp.StatusCode)
}
