package store

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
)

// blobs stores blobs of 1000 bytes, the first used longest ago, an hour between
// them.
func blobs(t testing.TB, s *Store, names ...string) []oci.Digest {
	t.Helper()
	var ds []oci.Digest
	for i, name := range names {
		d := fill(t, s.Cache(), name+strings.Repeat("x", 1000-len(name)))
		age(t, s, s.cfg.now().Add(-time.Duration(len(names)-i)*time.Hour), d)
		ds = append(ds, d)
	}
	return ds
}

// there tells which blobs are in the cache, one letter each.
func there(s *Store, ds ...oci.Digest) string {
	var b strings.Builder
	for i, d := range ds {
		if _, err := s.Cache().Stat(d); err == nil {
			b.WriteByte("abcdefghijklmnop"[i])
		}
	}
	return b.String()
}

func evict(t testing.TB, s *Store, e Eviction) Sum {
	t.Helper()
	sum, err := s.Evict(t.Context(), e)
	if err != nil {
		t.Fatal(err)
	}
	return sum
}

// TestEvictLeastRecentlyUsed: over nine tenths of the limit, the blobs that were
// used longest ago leave until eight tenths are left; what was pushed stays.
func TestEvictLeastRecentlyUsed(t *testing.T) {
	s := open(t, t.TempDir(), Config{})
	ds := blobs(t, s, "a", "b", "c", "d", "e", "f", "g", "h", "i", "j")
	pushBlob(t, s.Vault(), app, strings.Repeat("pushed", 10_000))
	for _, c := range []struct {
		limit int64
		dry   bool
		want  string
	}{
		{0, false, "abcdefghij"},
		{12_000, false, "abcdefghij"}, // 10,000 are not over nine tenths
		{10_000, true, "abcdefghij"},
		{10_000, false, "cdefghij"},
		{5_000, false, "ghij"},
		{4_100, false, "hij"}, // 3,280 may stay
		{1, false, ""},
	} {
		was := there(s, ds...)
		sum := evict(t, s, Eviction{Limits: Limits{MaxBytes: c.limit}, DryRun: c.dry})
		if got := there(s, ds...); got != c.want {
			t.Errorf("limit %d: %s stay, want %s", c.limit, got, c.want)
		}
		if want := int64(len(was) - len(c.want)); !c.dry && (sum.Blobs != want || sum.Bytes != 1000*want || s.Usage().Cache.Blobs != int64(len(c.want))) {
			t.Errorf("limit %d: %+v, usage %+v, want %d to leave", c.limit, sum, s.Usage(), want)
		}
		if c.dry && (sum.Blobs != 2 || sum.Left.Bytes != 8000) {
			t.Errorf("dry run: %+v, want two to leave", sum)
		}
	}
	if got := s.Usage().Vault.Blobs; got != 1 {
		t.Errorf("%d pushed blobs are left, want 1", got)
	}
}

// TestEvictOpenFile: whoever has a blob open reads all of it; the next one misses.
func TestEvictOpenFile(t *testing.T) {
	s := open(t, t.TempDir(), Config{})
	d := fill(t, s.Cache(), "a blob")
	f, _, err := s.Cache().Open(d)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var told []oci.Digest
	evict(t, s, Eviction{All: true, Each: func(e Evicted) { told = append(told, e.Digest) }})
	if got, err := io.ReadAll(f); string(got) != "a blob" || err != nil {
		t.Errorf("the open file has %q, %v", got, err)
	}
	if _, _, err := s.Cache().Open(d); !errors.Is(err, oci.ErrNotFound) {
		t.Errorf("Open: got %v, want ErrNotFound", err)
	}
	if !slices.Equal(told, []oci.Digest{d}) {
		t.Errorf("told of %v", told)
	}
}

// TestEvictKeeps: what a pin names stays with all that it leads to, whatever the
// limit, and the run says so; without the pin it goes.
func TestEvictKeeps(t *testing.T) {
	ctx := t.Context()
	s := open(t, t.TempDir(), Config{})
	c := s.Cache()
	index, image, layer := putImage(t, c, "layer")
	if err := c.PutTag(scope, hub, "3.20", TagRecord{Digest: index.Digest, MediaType: index.MediaType}); err != nil {
		t.Fatal(err)
	}
	other := fill(t, c, "another layer")
	all := []oci.Digest{index.Digest, image.Digest, layer, other}
	for _, reference := range []string{"alpine:3.20", "docker.io/library/**", "alpine@" + string(index.Digest)} {
		k, err := c.Keep(ctx, reference)
		if err != nil {
			t.Fatal(err)
		}
		sum := evict(t, s, Eviction{Limits: Limits{MaxBytes: 10}})
		if got := there(s, all...); got != "abc" {
			t.Errorf("%s: %s stay, want the image", k.Reference, got)
		}
		if sum.Kept.Blobs != 3 || sum.Short == 0 {
			t.Errorf("%s: %+v, want 3 blobs kept and a limit that cannot be held", k.Reference, sum)
		}
		if err := c.Unkeep(ctx, reference); err != nil {
			t.Fatal(err)
		}
		if err := c.Unkeep(ctx, reference); !errors.Is(err, oci.ErrNotFound) {
			t.Errorf("%s again: got %v, want ErrNotFound", reference, err)
		}
		fill(t, c, "another layer")
	}
	for _, bad := range []string{"", "Upper/Case:x", "*", "docker.io/a b/*"} {
		if _, err := c.Keep(ctx, bad); !errors.Is(err, oci.ErrInvalid) {
			t.Errorf("Keep(%q): got %v, want ErrInvalid", bad, err)
		}
	}
	if all, err := c.Keeps(ctx); err != nil || len(all) != 0 {
		t.Errorf("Keeps = %v, %v, want none", all, err)
	}
	evict(t, s, Eviction{All: true})
	if got := there(s, all...); got != "" {
		t.Errorf("%s stay without a pin", got)
	}
}

// TestEvictBadKeep: a pin that cannot be read stops the eviction, since nobody
// knows what it protects.
func TestEvictBadKeep(t *testing.T) {
	s := open(t, t.TempDir(), Config{})
	d := fill(t, s.Cache(), "a blob")
	if err := s.bucket.Put(t.Context(), "c/k/broken", []byte("{")); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Evict(t.Context(), Eviction{All: true}); err == nil || !strings.Contains(err.Error(), "c/k/broken") {
		t.Errorf("got %v, want an error that names the pin", err)
	}
	if there(s, d) == "" {
		t.Error("the blob was evicted")
	}
}

// TestEvictQuotas: an upstream over its share loses what it alone has, used
// longest ago; what another upstream has too stays (distribution#2367), and so do
// the others' own.
func TestEvictQuotas(t *testing.T) {
	s := open(t, t.TempDir(), Config{})
	c := s.Cache()
	ds := blobs(t, s, "a shared", "b", "c", "d of the other")
	image := func(host, path string, ds ...oci.Digest) oci.Manifest {
		var all []oci.Descriptor
		for _, d := range ds {
			all = append(all, oci.Descriptor{MediaType: blobType, Digest: d, Size: 1000})
		}
		m := imageOf("", all...)
		if err := c.PutManifest(t.Context(), host, ref.Name{Host: host, Path: path}, m); err != nil {
			t.Fatal(err)
		}
		return m
	}
	image("docker.io", "one", ds[0], ds[1], ds[2])
	image("eu.gcr.io", "two", ds[0], ds[3])
	evict(t, s, Eviction{Limits: Limits{Quotas: []Quota{{"quay.io", 1}, {"docker.io", 3200}}}})
	if got := there(s, ds...); got != "acd" {
		t.Errorf("%s stay, want all but the oldest of docker.io's own", got)
	}
	evict(t, s, Eviction{Limits: Limits{Quotas: []Quota{{"*.gcr.io", 1300}}}})
	if got := there(s, ds...); got != "ac" {
		t.Errorf("%s stay, want those that gcr.io does not have alone", got)
	}
}

// TestEvictIndexInUse: an index is as young as the image that is pulled through it.
func TestEvictIndexInUse(t *testing.T) {
	s := open(t, t.TempDir(), Config{})
	index, image, layer := putImage(t, s.Cache(), "layer")
	now := s.cfg.now()
	age(t, s, now.Add(-100*time.Hour), index.Digest)
	age(t, s, now.Add(-time.Hour), image.Digest, layer)
	evict(t, s, Eviction{Limits: Limits{MaxAge: 24 * time.Hour}})
	if got := there(s, index.Digest, image.Digest, layer); got != "abc" {
		t.Errorf("%s stay, want all", got)
	}
	age(t, s, now.Add(-100*time.Hour), index.Digest, image.Digest)
	evict(t, s, Eviction{Limits: Limits{MaxAge: 24 * time.Hour}})
	if got := there(s, index.Digest, image.Digest, layer); got != "c" {
		t.Errorf("%s stay, want the layer", got)
	}
}

// TestEvictClockJumps: when the clock jumps by ten years, while the store is open
// or not, nothing of what is fresh leaves, and the order of uses is kept.
func TestEvictClockJumps(t *testing.T) {
	const years = 10 * 365 * 24 * time.Hour
	for name, by := range map[string]time.Duration{"ahead": years, "back": -years} {
		for _, running := range []bool{true, false} {
			synctest.Test(t, func(t *testing.T) {
				off := time.Duration(0)
				cfg := Config{Now: func() time.Time { return time.Now().Add(off) }}
				dir := t.TempDir()
				s := open(t, dir, cfg)
				ds := blobs(t, s, "a", "b", "c", "d")
				limits := Limits{MaxAge: 24 * time.Hour}
				evict(t, s, Eviction{Limits: limits})
				off = by
				if !running {
					if err := s.Close(); err != nil {
						t.Fatal(err)
					}
					s = open(t, dir, cfg)
				}
				sum := evict(t, s, Eviction{Limits: limits})
				if got := there(s, ds...); got != "abcd" {
					t.Errorf("%s, running %v: %s stay, want all: %+v", name, running, got, sum)
				}
				// What is used from now on is younger than what was used before.
				f, _, err := s.Cache().Open(ds[0])
				if err != nil {
					t.Fatal(err)
				}
				f.Close()
				synctest.Wait()
				time.Sleep(time.Minute)
				evict(t, s, Eviction{Limits: Limits{MaxBytes: 2000}})
				if got := there(s, ds...); got != "a" {
					t.Errorf("%s, running %v: %s stay, want the one that was used since", name, running, got)
				}
				time.Sleep(25 * time.Hour)
				evict(t, s, Eviction{Limits: limits})
				if got := there(s, ds...); got != "" {
					t.Errorf("%s, running %v: %s stay a day later", name, running, got)
				}
			})
		}
	}
}

// TestEvictAlways: the store keeps its limits on its own, when something is
// stored and when time goes by, and tells of it.
func TestEvictAlways(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var told []Event
		s := open(t, t.TempDir(), Config{Limits: Limits{MaxBytes: 4000, MaxAge: 48 * time.Hour}, Observe: func(e Event) {
			mu.Lock()
			defer mu.Unlock()
			told = append(told, e)
		}})
		synctest.Wait() // counted
		ds := blobs(t, s, "a", "b", "c")
		ds = append(ds, fill(t, s.Cache(), strings.Repeat("d", 1000)))
		age(t, s, time.Now(), ds[3]) // the kernel's clock is another one
		synctest.Wait()
		if got := there(s, ds...); got != "bcd" {
			t.Errorf("%s stay, want three", got)
		}
		mu.Lock()
		if len(told) != 1 || told[0].Kind != EventEvicted || told[0].Digest != ds[0] || told[0].Bytes != 1000 || told[0].Age < 3*time.Hour {
			t.Errorf("told of %+v", told)
		}
		mu.Unlock()
		time.Sleep(49 * time.Hour)
		if got := there(s, ds...); got != "" {
			t.Errorf("%s stay two days later", got)
		}
	})
}

// TestMakeRoom evicts nothing where that would not be enough.
func TestMakeRoom(t *testing.T) {
	s := open(t, t.TempDir(), Config{})
	d := fill(t, s.Cache(), "a blob")
	if err := s.Cache().MakeRoom(t.Context(), 1<<60); !errors.Is(err, syscall.ENOSPC) || !errors.Is(err, oci.ErrUnavailable) {
		t.Errorf("got %v, want ENOSPC", err)
	}
	if there(s, d) == "" {
		t.Error("the blob was evicted in vain")
	}
	if err := s.Cache().MakeRoom(t.Context(), 1); err != nil || there(s, d) == "" {
		t.Errorf("with room: %v, %q is there", err, there(s, d))
	}
}

// TestEvictStops leaves the rest alone when its context ends.
func TestEvictStops(t *testing.T) {
	s := open(t, t.TempDir(), Config{})
	blobs(t, s, "a", "b", "c")
	ctx, stop := context.WithCancel(t.Context())
	sum, err := s.Evict(ctx, Eviction{All: true, Each: func(Evicted) { stop() }})
	if !errors.Is(err, context.Canceled) || sum.Blobs != 1 {
		t.Errorf("got %+v, %v", sum, err)
	}
	if got := s.Usage().Cache.Blobs; got != 2 && got != 3 {
		t.Errorf("usage says %d blobs", got)
	}
}

// TestHistogramStaysSmall: however far times are apart.
func TestHistogramStaysSmall(t *testing.T) {
	h := newHistogram()
	for i := range int64(1 << 20) {
		h.add(i*977-1<<40, 1)
	}
	if len(h.bytes) > maxSteps {
		t.Errorf("%d steps", len(h.bytes))
	}
	c, can := h.cut(1 << 19)
	if can != 1<<19 {
		t.Errorf("can free %d", can)
	}
	freed := int64(0)
	for i := range int64(1 << 20) {
		if c.takes(i*977-1<<40, 1) {
			freed++
		}
	}
	if freed != 1<<19 {
		t.Errorf("frees %d", freed)
	}
}
