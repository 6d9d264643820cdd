package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
)

// aged sets the time of all records of the cache.
func aged(t testing.TB, dir string, at time.Time) {
	t.Helper()
	err := filepath.WalkDir(filepath.Join(dir, "c"), func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() || strings.HasPrefix(path, filepath.Join(dir, "c/b")) {
			return err
		}
		return os.Chtimes(path, at, at)
	})
	if err != nil {
		t.Fatal(err)
	}
}

func forget(t testing.TB, s *Store) Forgotten {
	t.Helper()
	got, err := s.Forget(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// evictBlobs makes blobs leave, and forgets what this process has in memory.
func evictBlobs(t testing.TB, s *Store, ds ...oci.Digest) {
	t.Helper()
	for _, d := range ds {
		k, err := cacheBlobKey(d)
		if err == nil {
			err = s.drop(t.Context(), k)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	s.cache = newCache(s)
}

// TestForget: records of what was evicted go, once they are old; those of what is
// here stay. What comes back has its records again.
func TestForget(t *testing.T) {
	dir := t.TempDir()
	fresh := ""
	s := open(t, dir, Config{Fresh: func(host, tag string, _ time.Time) bool { return host == "docker.io" && tag == fresh }})
	index, image, layer := putImage(t, s.Cache(), "layer")
	other := ref.Name{Host: "docker.io", Path: "library/other"}
	old := time.Now().Add(-40 * 24 * time.Hour)
	tag := func(tag string, d oci.Digest, at time.Time) {
		if err := s.Cache().PutTag(scope, hub, tag, TagRecord{Digest: d, ValidatedAt: at}); err != nil {
			t.Fatal(err)
		}
	}
	for _, n := range []ref.Name{hub, other} {
		if err := s.Cache().Link(scope, n, layer); err != nil {
			t.Fatal(err)
		}
	}
	tag("kept", image.Digest, old)
	tag("gone", index.Digest, old)
	tag("fresh", index.Digest, old)
	tag("lately", index.Digest, time.Now())
	aged(t, dir, old)
	if got := forget(t, s); got != (Forgotten{}) {
		t.Fatalf("of what is here: %+v", got)
	}
	evictBlobs(t, s, index.Digest, layer)
	aged(t, dir, time.Now())
	if got := forget(t, s); got != (Forgotten{}) {
		t.Fatalf("what is young: %+v", got)
	}
	aged(t, dir, old)
	fresh = "fresh"
	if got := forget(t, s); got != (Forgotten{Links: 2, Manifests: 1, Tags: 1}) {
		t.Errorf("got %+v, want two links, the index and its tag", got)
	}
	c := s.Cache()
	if _, err := c.Manifest(scope, hub, image.Digest); err != nil {
		t.Errorf("the image that stays: %v", err)
	}
	for tag, there := range map[string]bool{"kept": true, "fresh": true, "lately": true, "gone": false} {
		if _, err := c.Tag(scope, hub, tag); errors.Is(err, oci.ErrNotFound) == there {
			t.Errorf("tag %s: %v", tag, err)
		}
	}
	if c.Linked(scope, hub, layer) || c.Linked(scope, other, layer) {
		t.Error("a link to what is not here was kept")
	}
	fill(t, c, "layer")
	if err := c.Link(scope, hub, layer); err != nil {
		t.Fatal(err)
	}
	putManifest(t, c, index)
	s.cache = newCache(s) // after a restart
	if !s.Cache().Linked(scope, hub, layer) || s.Cache().Linked(scope, other, layer) {
		t.Error("the right to read is not with the repository that has fetched it again, alone")
	}
	if _, err := s.Cache().Manifest(scope, hub, index.Digest); err != nil {
		t.Errorf("the index that came back: %v", err)
	}
}

// TestForgetWhileFetched: a link of long ago whose blob is fetched again is as
// young as that, although this process has it in memory.
func TestForgetWhileFetched(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Config{})
	d := digestOf("a layer")
	if err := s.Cache().Link(scope, hub, d); err != nil {
		t.Fatal(err)
	}
	aged(t, dir, time.Now().Add(-48*time.Hour))
	if err := s.Cache().Link(scope, hub, d); err != nil { // the blob's name comes a moment later
		t.Fatal(err)
	}
	if got := forget(t, s); got.Links != 0 {
		t.Errorf("%+v while it was fetched", got)
	}
	aged(t, dir, time.Now().Add(-48*time.Hour))
	if got := forget(t, s); got.Links != 1 { // by somebody else, as far as this process knows
		t.Fatalf("got %+v, want one link", got)
	}
	if err := s.Cache().Link(scope, hub, d); err != nil {
		t.Fatal(err)
	}
	if s.cache = newCache(s); !s.Cache().Linked(scope, hub, d) {
		t.Error("the link was believed to be there, and not written")
	}
}

// TestForgetDirectories: a repository of which nothing is left leaves no directory.
func TestForgetDirectories(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Config{Fresh: func(string, string, time.Time) bool { return false }})
	index, image, layer := putImage(t, s.Cache(), "layer")
	if err := s.Cache().PutTag(scope, hub, "x", TagRecord{Digest: index.Digest}); err != nil {
		t.Fatal(err)
	}
	evictBlobs(t, s, index.Digest, image.Digest, layer)
	aged(t, dir, time.Now().Add(-40*24*time.Hour))
	if got := forget(t, s); got != (Forgotten{Manifests: 2, Tags: 1}) {
		t.Errorf("got %+v", got)
	}
	for _, below := range []string{"c/i", "c/t"} {
		if left, err := os.ReadDir(filepath.Join(dir, below)); err != nil || len(left) > 0 {
			t.Errorf("%s has %v, %v", below, left, err)
		}
	}
}

// TestForgetAlways: a store that evicts removes the records too, an hour later at
// the latest.
func TestForgetAlways(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		now := time.Now().Add(50 * 365 * 24 * time.Hour) // the kernel's clock is another one
		then := time.Now()
		s := open(t, dir, Config{Limits: Limits{MaxAge: 24 * time.Hour}, Now: func() time.Time { return now.Add(time.Since(then)) }})
		synctest.Wait()
		d := fill(t, s.Cache(), "a layer")
		if err := s.Cache().Link(scope, hub, d); err != nil {
			t.Fatal(err)
		}
		age(t, s, s.cfg.now(), d)
		aged(t, dir, s.cfg.now())
		time.Sleep(26 * time.Hour)
		if left := filesBelow(t, dir, "c/b", "c/m"); len(left) > 0 {
			t.Errorf("left: %q", left)
		}
	})
}

// TestForgetStaysSmall: the walk keeps the same memory, however many blobs there
// are, and finds what is missing in every shard.
func TestForgetStaysSmall(t *testing.T) {
	dir := quickDir(t)
	s := open(t, dir, Config{before: quick})
	const n = 3000
	for i := range n {
		d := digestOf(fmt.Sprint(i))
		if err := s.Cache().Link(scope, hub, d); err != nil {
			t.Fatal(err)
		}
		if i%3 > 0 {
			writeBlob(t, s, d)
		}
	}
	aged(t, dir, time.Now().Add(-48*time.Hour))
	f := forgetter{s: s, ctx: t.Context(), now: time.Now(), limit: 200}
	if err := f.run(); err != nil || f.out.Links != n/3 {
		t.Errorf("got %+v, %v, want %d links", f.out, err, n/3)
	}
	if cap(f.present) > 1000 {
		t.Errorf("%d names were kept at once", cap(f.present))
	}
	if left := len(filesBelow(t, dir, "c/m")); left != n-n/3 {
		t.Errorf("%d links are left, want %d", left, n-n/3)
	}
}

// writeBlob writes a file that stands for a blob.
func writeBlob(t testing.TB, s *Store, d oci.Digest) {
	t.Helper()
	k, err := cacheBlobKey(d)
	if err != nil {
		t.Fatal(err)
	}
	path := s.path(string(k))
	err = os.WriteFile(path, []byte("0123456789"), 0o444)
	if errors.Is(err, os.ErrNotExist) {
		if err = os.MkdirAll(filepath.Dir(path), 0o700); err == nil {
			err = os.WriteFile(path, []byte("0123456789"), 0o444)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
}

// BenchmarkForget measures what it takes to remove the records of as many blobs
// as were evicted, of half of a cache. ENTREPOT_BENCH_BLOBS says how many there
// are at first.
func BenchmarkForget(b *testing.B) {
	n := 10_000
	fmt.Sscan(os.Getenv("ENTREPOT_BENCH_BLOBS"), &n)
	dir := b.TempDir()
	s := open(b, dir, Config{})
	for i := range n {
		d := digestOf(fmt.Sprint(i))
		if err := s.Cache().Link(scope, hub, d); err != nil {
			b.Fatal(err)
		}
		if i%2 == 0 {
			writeBlob(b, s, d)
		}
	}
	aged(b, dir, time.Now().Add(-48*time.Hour))
	for b.Loop() {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		got := forget(b, s)
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(got.Links), "links/op")
		b.ReportMetric(float64(after.HeapSys-before.HeapSys)/(1<<20), "MiB-grown/op")
	}
}
