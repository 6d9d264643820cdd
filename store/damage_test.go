package store

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entrepot/entrepot/oci"
)

// TestFault19Scrub flips one bit, anywhere, in every second blob of both pools:
// one cycle finds all of them and nothing else. Those of the cache leave, those
// that were pushed alarm and stay.
func TestFault19Scrub(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	told := map[string]int{}
	s := open(t, t.TempDir(), Config{Observe: func(e Event) { told[string(e.Kind)+" "+e.Pool]++ }})
	content := func() string { return strings.Repeat("x", 20+rng.IntN(300_000)) + random() }
	var flipped, well []oci.Digest
	for i := range 40 {
		var d oci.Digest
		pattern := "c/b/sha256/*/%"
		if i%4 < 2 {
			d = fill(t, s.Cache(), content())
		} else {
			d, pattern = pushBlob(t, s.Vault(), app, content()).Digest, "v/b/sha256/*/%.*"
		}
		if i%2 == 0 {
			well = append(well, d)
			continue
		}
		flipAt(t, s, strings.ReplaceAll(pattern, "%", hexOf(d)), rng)
		flipped = append(flipped, d)
	}
	found := map[oci.Digest]bool{}
	got, err := s.Verify(t.Context(), Verification{Each: func(c Checked) {
		if c.Problem != nil {
			found[c.Digest] = true
		}
	}})
	if want := (Verified{Blobs: 20, Bytes: got.Bytes, Dropped: 10, Damaged: 10}); err != nil || got != want {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
	for _, d := range flipped {
		if !found[d] {
			t.Errorf("the flip in %s was not found", d)
		}
	}
	for _, d := range well {
		if found[d] {
			t.Errorf("%s is said to be damaged", d)
		}
	}
	if told["damaged cache"] != 10 || told["damaged pushed"] != 10 {
		t.Errorf("told of %v", told)
	}
}

// flipAt flips a bit anywhere in a file.
func flipAt(t *testing.T, s *Store, pattern string, rng *rand.Rand) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(s.dir, pattern))
	if err != nil || len(names) != 1 {
		t.Fatalf("%s: %v, %v", pattern, names, err)
	}
	b, err := os.ReadFile(names[0])
	if err != nil {
		t.Fatal(err)
	}
	b[rng.IntN(len(b))] ^= 1 << rng.IntN(8)
	if err := os.Chmod(names[0], 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(names[0], b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestFault21Uploads: a push that is under way outlives a clock that jumps by ten
// years, either way, and the sweeps after it.
func TestFault21Uploads(t *testing.T) {
	const years = 10 * 365 * 24 * time.Hour
	for _, jump := range []time.Duration{years, -years} {
		synctest.Test(t, func(t *testing.T) {
			var off atomic.Int64
			dir := t.TempDir()
			s := open(t, dir, Config{Now: func() time.Time { return time.Now().Add(time.Duration(off.Load())) }})
			u, err := s.Vault().NewUpload(t.Context(), app, "")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := u.Append(t.Context(), 0, strings.NewReader("before ")); err != nil {
				t.Fatal(err)
			}
			now := time.Now() // the bubble's clock starts in 2000, the file is of today
			if err := os.Chtimes(filepath.Join(dir, "up", u.ID(), "data"), now, now); err != nil {
				t.Fatal(err)
			}
			off.Store(int64(jump))
			time.Sleep(3 * time.Hour)
			synctest.Wait()
			again, err := s.Vault().Upload(t.Context(), app, u.ID())
			if err != nil {
				t.Fatalf("a jump of %v: %v", jump, err)
			}
			if _, err := again.Append(t.Context(), 7, strings.NewReader("and after")); err != nil {
				t.Errorf("a jump of %v: %v", jump, err)
			}
			if _, err := again.Commit(t.Context(), digestOf("before and after")); err != nil {
				t.Errorf("a jump of %v: %v", jump, err)
			}
		})
	}
}
