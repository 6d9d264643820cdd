package e2e

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/entrepot/entrepot/internal/regtest"
	"github.com/entrepot/entrepot/oci"
)

// atHome runs the program with a home of its own, and returns its exit code and
// what it said.
func atHome(t *testing.T, home string, args ...string) (int, string) {
	t.Helper()
	bin, err := kit.binary()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(bin, args...)
	cmd.Env = append(os.Environ(), "HOME="+home, "XDG_CACHE_HOME="+home)
	dieWithParent(cmd)
	out, err := cmd.CombinedOutput()
	if err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), string(out)
}

// done runs the program, which has to succeed.
func done(t *testing.T, home string, args ...string) {
	t.Helper()
	if code, said := atHome(t, home, args...); code != 0 {
		t.Fatalf("entrepot %s ends with %d:\n%s", strings.Join(args, " "), code, said)
	}
}

// TestLoadKilled kills a load with SIGKILL in the middle of many small blobs, of a
// large one, and of the tags. The run after the last kill ends well and
// everything is there, although the registry that the images come from is gone.
func TestLoadKilled(t *testing.T) {
	src, dst := regtest.New(t, regtest.Config{}), regtest.New(t, regtest.Config{})
	dst.CheckManifests()
	images := map[string]regtest.Built{}
	var lines strings.Builder
	for i := range 24 {
		layers := []int64{20_000 + int64(i), 300_000 + int64(i/2)}
		if i == 0 {
			layers = append(layers, maxChunk+(20<<20))
		}
		repo := fmt.Sprintf("app/r%d", i)
		images[repo] = src.AddImage(repo, regtest.Image{Layers: layers, Seed: uint64(i / 3)}, "v1")
		fmt.Fprintf(&lines, "%s/%s:v1\n", src.Host(), repo)
	}
	dir, home := t.TempDir(), t.TempDir()
	list := writeFile(t, "images.txt", lines.String())
	set := filepath.Join(dir, "set.tar")
	done(t, home, "save", list, "--rules", "none", "--output", set, "--volume-size", "40MiB")
	src.Down()

	args := []string{"load", set, "--to", dst.Host() + "/all", "--naming", "path", "--journal", filepath.Join(dir, "journal")}
	for i, m := range []regtest.Match{
		{Kind: regtest.Upload, Method: "PUT", After: 5},
		{Kind: regtest.Upload, Method: "PATCH", After: 1},
		{Kind: regtest.Manifest, Method: "PUT", Ref: "v1", After: 5},
	} {
		rule := dst.On(m, regtest.Held())
		p := startEntrepot(t, home, args...)
		select {
		case <-rule.Reached():
		case <-p.done:
			t.Fatalf("kill %d came too late", i)
		}
		p.kill()
		rule.Remove()
		rule.Release()
	}
	done(t, home, args...)
	for repo, img := range images {
		wholeImage(t, dst, "all/"+repo, img)
	}
}

// startEntrepot starts the program with a home of its own.
func startEntrepot(t *testing.T, home string, args ...string) *process {
	t.Helper()
	bin, err := kit.binary()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(bin, args...)
	cmd.Env = []string{"HOME=" + home}
	return startProcess(t, "entrepot "+args[0], cmd)
}

// TestLoadInto loads archives into a distribution v3 that is there only after the
// registry of the images is gone: first a whole one, and then one that lacks what
// a receipt says is there. Loaded elsewhere, that one is refused before anything
// is written, and what is missing is named.
func TestLoadInto(t *testing.T) {
	near, home := startOrigin(t), t.TempDir()
	images := clientImages(t, "team/app", "load")
	for _, im := range images {
		push(t, near.direct, im)
	}
	common := commonImage(t)
	push(t, near.direct, common)
	rules := "registries.conf=" + writeFile(t, "near.conf", fmt.Sprintf("[[registry]]\nprefix = %q\nlocation = %q\ninsecure = true\n",
		sourceName, strings.TrimPrefix(near.direct, "http://")))
	name := func(im *image) string { return sourceName + "/" + im.repo + ":" + im.tag }
	dir := t.TempDir()
	first, second := filepath.Join(dir, "first.tar"), filepath.Join(dir, "second.tar")
	done(t, home, "save", writeFile(t, "first.txt", name(images[0])+"\n"+name(images[1])+"\n"), "--rules", rules, "--output", first, "--volume-size", "8MiB")

	far, other := startGuarded(t), startGuarded(t)
	to := []string{"--to", far.address + "/m", "--authfile", far.auth}
	done(t, home, append([]string{"load", first, "--map", filepath.Join(dir, "map.json")}, to...)...)
	receipt := filepath.Join(dir, "receipt.json")
	done(t, home, "receipt", far.address+"/m", "--map", filepath.Join(dir, "map.json"), "--authfile", far.auth, "--output", receipt)
	all := writeFile(t, "second.txt", name(images[0])+"\n"+name(images[1])+"\n"+name(images[2])+"\n"+name(common)+"\n")
	done(t, home, "save", all, "--rules", rules, "--have", receipt, "--output", second)
	near.stop(t)

	code, said := atHome(t, home, "load", second, "--to", other.address+"/m", "--authfile", other.auth)
	missing := leftOut(t, second)
	if code != 1 || len(missing) == 0 {
		t.Fatalf("load without the base ends with %d, %d blobs are left out:\n%s", code, len(missing), said)
	}
	for _, d := range missing {
		if !strings.Contains(said, string(d)) {
			t.Errorf("%s is missing, and not named", d)
		}
	}
	done(t, home, append([]string{"load", second, "--map", filepath.Join(dir, "map.json")}, to...)...)
	done(t, home, "verify", far.address+"/m", "--map", filepath.Join(dir, "map.json"), "--authfile", far.auth, "--deep")
	done(t, home, "load", second, filepath.Join(dir, "first-0001.tar"), "--to", other.address+"/m", "--authfile", other.auth)

	var mapping map[string]string
	if err := json.Unmarshal(readFile(t, filepath.Join(dir, "map.json")), &mapping); err != nil {
		t.Fatal(err)
	}
	for _, im := range append(slices.Clone(images), common) {
		if mapping[name(im)] == "" {
			t.Errorf("the mapping lacks %s: %v", name(im), slices.Collect(maps.Keys(mapping)))
		}
	}
}

// leftOut returns the blobs that an archive says are not in it.
func leftOut(t *testing.T, archive string) []oci.Digest {
	t.Helper()
	code, said := atHome(t, t.TempDir(), "verify", archive, "--json")
	var found struct {
		LeftOut int `json:"left_out"`
	}
	if err := json.Unmarshal([]byte(said), &found); code != 0 || err != nil {
		t.Fatalf("verify ends with %d: %s", code, said)
	}
	raw := run(t, exec.Command(kit.tool(t, "tar"), "-xOf", archive, "entrepot/set.json"))
	var set struct {
		Base []struct {
			Digest oci.Digest `json:"digest"`
		} `json:"base"`
	}
	if err := json.Unmarshal([]byte(raw), &set); err != nil || len(set.Base) != found.LeftOut {
		t.Fatalf("the archive leaves out %d blobs, verify says %d: %v", len(set.Base), found.LeftOut, err)
	}
	var all []oci.Digest
	for _, b := range set.Base {
		all = append(all, b.Digest)
	}
	return all
}
