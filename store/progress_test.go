package store

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/entrepot/entrepot/oci"
	digest "github.com/opencontainers/go-digest"
)

// TestGrowingHashesWhatIsWritten holds that the digest is that of the file,
// whatever the sizes of the writes are, and also after one that failed.
func TestGrowingHashesWhatIsWritten(t *testing.T) {
	content := bytes.Repeat([]byte("0123456789abcdef"), 64<<10) // 1 MiB
	for _, alg := range []digest.Algorithm{digest.SHA256, digest.SHA512} {
		for _, size := range []int{1000, hashBeside - 1, hashBeside, 256 << 10} {
			t.Run(fmt.Sprintf("%s by %d", alg, size), func(t *testing.T) {
				path := filepath.Join(t.TempDir(), "file")
				f, err := os.Create(path)
				if err != nil {
					t.Fatal(err)
				}
				defer f.Close()
				full := false
				g := &growing{f: f, hash: alg.Hash(), alg: alg, files: files{before: func(step) (bool, error) {
					if full = !full; full { // every other write fails
						return false, syscall.ENOSPC
					}
					return false, nil
				}}}
				for rest := content; len(rest) > 0; {
					p := rest[:min(size, len(rest))]
					n, err := g.write(p)
					if n != 0 && n != len(p) || (n == 0) != errors.Is(err, syscall.ENOSPC) {
						t.Fatalf("got %d of %d bytes, %v", n, len(p), err)
					}
					rest = rest[n:]
				}
				if got, want := g.digest(), alg.FromBytes(content); got != oci.Digest(want) {
					t.Errorf("got %s, want %s", got, want)
				}
				if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, content) || g.n.Load() != int64(len(got)) {
					t.Errorf("the file has %d bytes, counted as %d, %v", len(got), g.n.Load(), err)
				}
			})
		}
	}
}
