package e2e

import (
	"bytes"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/entrepot/entrepot/internal/regtest"
	"github.com/entrepot/entrepot/oci"
)

// TestFault20Vanish deletes random files of the store under a running server.
// What was cached is fetched again; what was pushed is answered whole or with
// an error, never with less than it is.
func TestFault20Vanish(t *testing.T) {
	s := newStack(t, "", hostsApps)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	var images []regtest.Built
	for i := range 8 {
		images = append(images, s.up.AddImage("library/ubuntu",
			regtest.Image{Layers: []int64{1 << 20, 300, 1 << 16}, Seed: uint64(100 + i)}, fmt.Sprint("v", i)))
	}
	content := contentOf(t, regtest.Random(9, 1<<20))
	own := oci.FromBytes(content, "")
	for round := range 6 {
		s.pullAll(t, images)
		if status := pushBlob(t, s.url, "apps/x", own, content); status != http.StatusCreated {
			t.Errorf("round %d: push: status %d", round, status)
		}
		if n := deleteSome(t, s.store, rng); n == 0 {
			t.Fatal("no file of the store was deleted")
		}
		s.pullAll(t, images)
		a := s.ask(t, "GET", "apps/x/blobs/"+string(own))
		if a.StatusCode == http.StatusOK && (a.err != nil || !bytes.Equal(a.body, content)) {
			t.Errorf("round %d: a deleted blob is answered with 200 and %d of %d bytes", round, len(a.body), len(content))
		}
	}
}

func (s *stack) pullAll(t *testing.T, images []regtest.Built) {
	t.Helper()
	for i, im := range images {
		s.ask(t, "GET", fmt.Sprintf("library/ubuntu/manifests/v%d?ns=docker.io", i)).is(t, im.Raw)
		s.ask(t, "GET", "library/ubuntu/manifests/"+string(im.Digest)+"?ns=docker.io").is(t, im.Raw)
		for _, d := range append([]oci.Descriptor{im.Config}, im.Layers...) {
			a := s.ask(t, "GET", blobPath(d.Digest))
			a.status(t, http.StatusOK, "")
			if oci.FromBytes(a.body, "") != d.Digest {
				t.Errorf("%s is answered with %d bytes that are not its %d", d.Digest, len(a.body), d.Size)
			}
		}
	}
}

// deleteSome deletes about a third of the files of both pools.
func deleteSome(t *testing.T, dir string, rng *rand.Rand) int {
	t.Helper()
	n := 0
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() || filepath.Dir(path) == dir || rng.IntN(3) > 0 {
			return err // what lies at the top is the lock and the format
		}
		n++
		return os.Remove(path)
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}
