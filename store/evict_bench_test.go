package store

import (
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/entrepot/entrepot/oci"
)

// BenchmarkEvictWalk measures what it takes to see that nothing has to leave a
// cache of many blobs, and to remove a tenth of them. ENTREPOT_BENCH_BLOBS says how many
// there are. 500,000 took 8.8 s to look at, both processors being busy otherwise.
func BenchmarkEvictWalk(b *testing.B) {
	n := 10_000
	fmt.Sscan(os.Getenv("ENTREPOT_BENCH_BLOBS"), &n)
	s := open(b, b.TempDir(), Config{})
	now := time.Now()
	for i := range n {
		d := oci.FromBytes(fmt.Append(nil, i), "")
		writeBlob(b, s, d)
		age(b, s, now.Add(-time.Duration(i%100_000)*time.Minute), d)
	}
	b.Run("look", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			evict(b, s, Eviction{Limits: Limits{MaxBytes: int64(n) * 100}})
		}
	})
	b.Run("remove", func(b *testing.B) {
		for left := int64(n); b.Loop() && left > int64(n)/4; {
			left = left * 9 / 10
			evict(b, s, Eviction{Limits: Limits{MaxBytes: left * 10 * 10 / 8}})
		}
	})
}
