package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// entrepotRun runs a command of the binary, which has to succeed, and returns what
// it printed.
func entrepotRun(t *testing.T, args ...string) string {
	t.Helper()
	bin, err := kit.binary()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(bin, args...)
	cmd.Env = append(os.Environ(), "HOME="+t.TempDir(), "XDG_CACHE_HOME="+t.TempDir())
	return run(t, cmd)
}

// TestServeArchive saves images into volumes, serves these when their registry is
// gone, and pulls by the original names with every client of this machine. Nothing
// resolves the names, and no upstream has them.
func TestServeArchive(t *testing.T) {
	o := startOrigin(t)
	var list strings.Builder
	images := map[string][]*image{}
	for _, c := range clients {
		for _, im := range clientImages(t, "real/"+c.name, "archive "+c.name) {
			push(t, o.direct, im)
			images[c.name] = append(images[c.name], im)
			fmt.Fprintf(&list, "%s/%s:%s\n", firstUpstream, im.repo, im.tag)
		}
	}
	rules := writeFile(t, "source.conf", fmt.Sprintf("[[registry]]\nprefix = %q\nlocation = %q\ninsecure = true\n",
		firstUpstream, strings.TrimPrefix(o.direct, "http://")))
	dir := t.TempDir()
	entrepotRun(t, "save", writeFile(t, "images.txt", list.String()), "--output", filepath.Join(dir, "set.tar"),
		"--volume-size", "20000000", "--rules", "registries.conf="+rules, "--quiet")
	o.stop(t)
	volumes, err := filepath.Glob(filepath.Join(dir, "set-*.tar"))
	if err != nil || len(volumes) < 2 {
		t.Fatalf("the archive has the volumes %v, %v", volumes, err)
	}
	e := serve(t, serving{more: fmt.Sprintf("[[archive]]\npaths = [\"%s\"]\n", strings.Join(volumes, `", "`))})
	front := newWire(t, e.url)
	for _, c := range clients {
		if c.name == "dockerd" || c.name == "plain" {
			continue // these name no registry, and an archive's is no default upstream
		}
		t.Run(c.name, func(t *testing.T) {
			for _, tool := range c.tools {
				kit.tool(t, tool)
			}
			r := clientRun{client: c, front: front}
			for _, im := range images[c.name] {
				r.pull(t, mirrorAt{front.address(), firstUpstream}, im, im.tag)
			}
			r.pull(t, mirrorAt{front.address(), firstUpstream}, images[c.name][0], string(images[c.name][0].root().Digest))
		})
	}
}

// TestPruneOrigin relocates images into a distribution registry and removes what a
// newer set does not name.
func TestPruneOrigin(t *testing.T) {
	from, to := startOrigin(t), startOrigin(t)
	images := clientImages(t, "team/app", "prune")
	for _, im := range images {
		push(t, from.direct, im)
	}
	name := func(im *image) string {
		return strings.TrimPrefix(from.direct, "http://") + "/team/app:" + im.tag + "\n"
	}
	all := writeFile(t, "all.txt", name(images[0])+name(images[1])+name(images[2]))
	keep := writeFile(t, "keep.txt", name(images[0]))
	target := strings.TrimPrefix(to.direct, "http://") + "/m"
	entrepotRun(t, "relocate", all, "--to", target, "--naming", "path", "--rules", "none", "--quiet")
	entrepotRun(t, "prune", target, "--keep", keep, "--naming", "path", "--rules", "none", "--yes")
	for i, im := range images {
		for _, m := range im.manifests {
			a := get(t, "GET", to.direct+"/v2/m/team/app/manifests/"+string(m.Digest), "Accept: "+m.MediaType)
			if there := a.StatusCode == 200; there != (i == 0) {
				t.Errorf("%s of %s: status %d", m.Digest, im.tag, a.StatusCode)
			}
		}
	}
	if got := entrepotRun(t, "verify", target, "--map", mapOf(t, images[0], name(images[0]), target), "--deep"); !strings.Contains(got, "whole") {
		t.Errorf("verify says %s", got)
	}
}

// mapOf writes a relocation mapping of one image.
func mapOf(t *testing.T, im *image, name, target string) string {
	return writeFile(t, "map.json", fmt.Sprintf("{%q: %q}", strings.TrimSpace(name), target+"/team/app:"+im.tag))
}
