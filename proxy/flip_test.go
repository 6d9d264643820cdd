package proxy

import (
	"bytes"
	"flag"
	"io"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/entrepot/entrepot/internal/regtest"
	"github.com/entrepot/entrepot/oci"
)

var flips = flag.Int("flips", 300, "how many blobs come with a wrong bit")

// TestFault04Random: blobs of any size come with one bit wrong, anywhere, and are
// read by several clients at once, from any place on. Nobody gets the end of one,
// nothing is kept, and the upstream is asked once for each.
func TestFault04Random(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("%d blobs, seed %d", *flips, seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	r := newRig(t, Config{})
	buf := make([]byte, 5*holdBack)
	for range *flips {
		good := buf[:1+rng.IntN(len(buf))]
		if rng.IntN(4) == 0 {
			good = buf[:1+rng.IntN(1000)] // as configs are
		}
		fillRandom(good, rng)
		d := oci.FromBytes(good, "")
		bad := bytes.Clone(good)
		at := rng.IntN(len(bad))
		bad[at] ^= 1 << rng.IntN(8)
		r.up.AddBlobAs(alpine.Path, d, regtest.Bytes(bad))
		var clients sync.WaitGroup
		for i := range 3 {
			from := 0
			if i > 0 {
				from = rng.IntN(len(bad))
			}
			clients.Go(func() {
				if got, whole := r.readFrom(d, int64(from)); whole {
					t.Errorf("a blob of %d bytes, of which byte %d is wrong, came whole from %d: %d bytes", len(bad), at, from, got)
				}
			})
		}
		clients.Wait()
		if r.isStored(d) {
			t.Errorf("a blob of %d bytes, of which byte %d is wrong, is stored", len(bad), at)
		}
		if n := r.up.BlobBytes(d); n > int64(len(bad)) {
			t.Errorf("the upstream sent %d bytes of %d", n, len(bad))
		}
		r.up.Delete(alpine.Path, string(d))
		r.up.ResetLog()
	}
	if n := r.count(EventMismatch); n != *flips {
		t.Errorf("%d wrong blobs are counted, want %d", n, *flips)
	}
}

func fillRandom(b []byte, rng *rand.Rand) {
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
}

// readFrom reads a blob from an offset to its end, as a range is read, and reports
// whether it ended well.
func (r *rig) readFrom(d oci.Digest, off int64) (n int64, whole bool) {
	b, err := r.Blob(r.t.Context(), alpine, d, off)
	if err != nil {
		return 0, false
	}
	defer b.Body.Close()
	n, err = io.Copy(io.Discard, b.Body)
	return n, err == nil && off+n == b.Size
}
