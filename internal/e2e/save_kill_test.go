package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/entrepot/entrepot/internal/regtest"
	"github.com/entrepot/entrepot/layout"
	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
)

// saved are the images of TestSaveKilled, and savedAtOnce the blobs that are under
// way at once.
const (
	saved       = 100
	savedAtOnce = 24
)

// TestSaveKilled kills a save with SIGKILL in the middle of blobs. There is no
// archive until the run after the last kill, which has everything; and of what was
// finished nothing is read again.
func TestSaveKilled(t *testing.T) {
	src := regtest.New(t, regtest.Config{})
	images, sizes := map[string]regtest.Built{}, map[oci.Digest]int64{}
	var lines strings.Builder
	for i := range saved {
		repo := fmt.Sprintf("app/r%d", i)
		img := src.AddImage(repo, regtest.Image{Layers: []int64{50_000 + int64(i), 300_000 + int64(i)}, Seed: uint64(i)}, "v1")
		images[repo] = img
		for _, d := range append(img.Layers, img.Config) {
			sizes[d.Digest] = d.Size
		}
		fmt.Fprintf(&lines, "%s/%s:v1\n", src.Host(), repo)
	}
	dir := t.TempDir()
	list, archive := filepath.Join(dir, "images.txt"), filepath.Join(dir, "images.tar")
	if err := os.WriteFile(list, []byte(lines.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	const kills = 3
	for kill := range kills {
		rule := src.On(regtest.Match{Kind: regtest.Blob, After: 40}, regtest.StallAt(20_000))
		p := startSave(t, dir, list, archive)
		select {
		case <-rule.Reached():
		case <-p.done:
			t.Fatalf("kill %d came too late", kill)
		}
		p.kill()
		rule.Remove()
		rule.Release()
		if _, err := os.Stat(archive); err == nil {
			t.Fatalf("after kill %d there is an archive", kill)
		}
		if _, err := os.Stat(archive + ".partial"); err != nil {
			t.Fatal(err)
		}
	}
	p := startSave(t, dir, list, archive)
	<-p.done
	if code := p.cmd.ProcessState.ExitCode(); code != 0 {
		t.Fatalf("the last run ended with %d", code)
	}
	wholeArchive(t, archive, src.Host(), images)
	src.Idle()
	again := 0
	for d, size := range sizes {
		if src.BlobBytes(d) > size {
			again++
		}
	}
	if again > kills*savedAtOnce {
		t.Errorf("%d of %d blobs were read again, and at most %d were under way when it was killed", again, len(sizes), kills*savedAtOnce)
	}
}

// startSave starts the command.
func startSave(t *testing.T, home, list, archive string) *process {
	t.Helper()
	bin, err := kit.binary()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(bin, "save", list, "--output", archive, "--rules", "none")
	cmd.Env = []string{"HOME=" + home}
	return startProcess(t, "entrepot save", cmd)
}

// wholeArchive checks that an archive has images, byte for byte, and nothing is
// left beside it.
func wholeArchive(t *testing.T, path, host string, images map[string]regtest.Built) {
	t.Helper()
	a, err := layout.OpenArchive(path)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	if err := a.Verify(t.Context(), true); err != nil {
		t.Error(err)
	}
	for repo, img := range images {
		m, err := a.Manifest(t.Context(), ref.Name{Host: host, Path: repo}.WithTag("v1"))
		if err != nil || string(m.Raw) != string(img.Raw) {
			t.Errorf("%s: %v, or it is another image", repo, err)
		}
	}
	if left, err := filepath.Glob(path + ".*"); err != nil || len(left) > 0 {
		t.Errorf("beside the archive there are %q, %v", left, err)
	}
}
