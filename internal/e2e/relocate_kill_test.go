package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/entrepot/entrepot/internal/regtest"
	"github.com/entrepot/entrepot/oci"
)

// relocated are the images of TestRelocateKilled, and chunked the size of the
// blob that is pushed in chunks, in bytes.
const (
	relocated = 500
	chunked   = 100 << 20
	maxChunk  = 64 << 20 // decisions, 18
)

// TestRelocateKilled kills a relocation with SIGKILL five times, over links and
// registries that fail now and then (reliability 5, row 36). The run after the
// last kill ends well, everything is there, and little was moved twice.
func TestRelocateKilled(t *testing.T) {
	src, dst := regtest.New(t, regtest.Config{}), regtest.New(t, regtest.Config{})
	dst.CheckManifests()
	images, sizes := relocationSet(src)
	list := filepath.Join(t.TempDir(), "images.txt")
	var lines strings.Builder
	for repo := range images {
		fmt.Fprintf(&lines, "%s/%s:v1\n", src.Host(), repo)
	}
	if err := os.WriteFile(list, []byte(lines.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	for i, reg := range []*regtest.Registry{src, dst} {
		var mu sync.Mutex
		n := i
		every := func(k int) func(regtest.Entry) bool {
			return func(regtest.Entry) bool {
				mu.Lock()
				defer mu.Unlock()
				n++
				return n%k == 0
			}
		}
		reg.On(regtest.Match{If: every(100)}, regtest.Fault{End: regtest.EndReset, At: -1})
		reg.On(regtest.Match{If: every(200)}, regtest.Status(503))
	}
	journal, home := filepath.Join(t.TempDir(), "journal"), t.TempDir()
	begin := func() *process {
		return startRelocate(t, home, list, "--to", dst.Host()+"/all", "--naming", "path", "--rules", "none", "--journal", journal)
	}
	for kill := range 5 {
		// In the middle of the chunks of the large blob, or of the small ones.
		m := regtest.Match{Kind: regtest.Upload, Method: "PUT", After: 10}
		if kill < 2 {
			m = regtest.Match{Kind: regtest.Upload, Method: "PATCH", After: kill}
		}
		rule := dst.On(m, regtest.Held())
		p := begin()
		select {
		case <-rule.Reached():
		case <-p.done:
			t.Fatalf("kill %d came too late", kill)
		}
		p.kill()
		rule.Remove()
		rule.Release()
	}
	p := begin()
	<-p.done
	if code := p.cmd.ProcessState.ExitCode(); code != 0 {
		t.Fatalf("the last run ended with %d", code)
	}
	dst.Clear()
	for repo, img := range images {
		wholeImage(t, dst, "all/"+repo, img)
	}
	checkWaste(t, src, sizes)
}

// relocationSet fills a registry with images that share layers, one of which
// has a large one, and returns them by repository, and the sizes of all blobs.
func relocationSet(reg *regtest.Registry) (map[string]regtest.Built, map[oci.Digest]int64) {
	images, sizes := map[string]regtest.Built{}, map[oci.Digest]int64{}
	for i := range relocated {
		layers := []int64{20_000 + int64(i), 300_000 + int64(i)}
		if i == 0 {
			layers = append(layers, chunked)
		}
		repo := fmt.Sprintf("app/r%d", i)
		img := reg.AddImage(repo, regtest.Image{Layers: layers, Seed: uint64(i / 3)}, "v1")
		images[repo] = img
		for _, d := range append(img.Layers, img.Config) {
			sizes[d.Digest] = d.Size
		}
	}
	return images, sizes
}

// startRelocate starts the command with a home of its own.
func startRelocate(t *testing.T, home string, args ...string) *process {
	t.Helper()
	bin, err := kit.binary()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(bin, append([]string{"relocate"}, args...)...)
	cmd.Env = []string{"HOME=" + home}
	return startProcess(t, "entrepot relocate", cmd)
}

// wholeImage checks that a repository has an image with the right bytes.
func wholeImage(t *testing.T, reg *regtest.Registry, repo string, img regtest.Built) {
	t.Helper()
	got := get(t, "GET", reg.URL()+"/v2/"+repo+"/manifests/v1")
	if string(got.body) != string(img.Raw) {
		t.Errorf("%s is not the image: status %d", repo, got.StatusCode)
	}
	for _, d := range append(img.Layers, img.Config) {
		if c, ok := reg.Content(repo, d.Digest); !ok || regtest.DigestOf(c) != d.Digest {
			t.Errorf("%s lacks %s", repo, d.Digest)
		}
	}
}

// checkWaste holds that no more than 2 % was sent twice by the source, apart
// from what a kill cut: of each blob that was under way one chunk, or all of it
// where it goes in one request.
func checkWaste(t *testing.T, src *regtest.Registry, sizes map[oci.Digest]int64) {
	t.Helper()
	src.Idle()
	var all, sent, cut int64
	for d, size := range sizes {
		n := src.BlobBytes(d)
		all += size
		sent += n
		if over := n - size; over > 0 {
			cut += over
			if over > 5*min(size, maxChunk) {
				t.Errorf("%s of %d bytes: %d were sent", d, size, n)
			}
		}
	}
	if bound := all / 50; sent-cut > all+bound {
		t.Errorf("%d bytes were sent for %d, besides what was cut", sent-cut, all)
	}
	t.Logf("%d bytes in all, %d sent, %d of them again", all, sent, cut)
}
