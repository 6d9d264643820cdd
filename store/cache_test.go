package store

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
	"github.com/google/go-cmp/cmp"
)

var hub = ref.Name{Host: "docker.io", Path: "library/alpine"}

const scope = "docker.io"

func someManifest() oci.Manifest {
	return indexOf(oci.Descriptor{MediaType: oci.TypeImageManifest, Digest: digestOf("child"), Size: 5})
}

func putManifest(t testing.TB, c *Cache, m oci.Manifest) {
	t.Helper()
	if err := c.PutManifest(t.Context(), scope, hub, m); err != nil {
		t.Fatal(err)
	}
}

func TestCacheTags(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Config{})
	c := s.Cache()
	if _, err := c.Tag(scope, hub, "latest"); !errors.Is(err, oci.ErrNotFound) {
		t.Errorf("before: got %v, want ErrNotFound", err)
	}
	then := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	want := TagRecord{Digest: some, MediaType: oci.TypeImageIndex, Size: 7, FetchedAt: then, ValidatedAt: then.Add(time.Second), ETag: `"x"`}
	for _, tag := range []string{"latest", "V1", "3.20"} {
		if err := c.PutTag(scope, hub, tag, want); err != nil {
			t.Fatal(err)
		}
	}
	check := func(c *Cache) {
		t.Helper()
		got, err := c.Tag(scope, hub, "V1")
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("Tag: %v\n%s", err, diff)
		}
		tags, err := c.Tags(scope, hub)
		if want := []string{"3.20", "V1", "latest"}; err != nil || !slices.Equal(tags, want) {
			t.Errorf("Tags = %q, %v, want %q", tags, err, want)
		}
	}
	check(c)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	c = open(t, dir, Config{}).Cache()
	check(c)
	for range 2 { // the second finds nothing to delete
		if err := c.DeleteTag(scope, hub, "V1"); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Tag(scope, hub, "V1"); !errors.Is(err, oci.ErrNotFound) {
			t.Errorf("deleted: got %v, want ErrNotFound", err)
		}
	}
	if tags, err := c.Tags(scope, ref.Name{Host: "docker.io", Path: "other"}); err != nil || len(tags) != 0 {
		t.Errorf("another repository: got %q, %v", tags, err)
	}
}

// TestCacheTagRefreshes: a confirmation is seen at once, and written so
// seldom that tags with a short life do not wear the disk; a negative answer
// does not take what could be served while the upstream is down.
func TestCacheTagRefreshes(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Config{})
	then := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	r := TagRecord{Digest: some, FetchedAt: then, ValidatedAt: then}
	put := func(r TagRecord) {
		t.Helper()
		if err := s.Cache().PutTag(scope, hub, "latest", r); err != nil {
			t.Fatal(err)
		}
		if got, err := s.Cache().Tag(scope, hub, "latest"); err != nil || got != r {
			t.Errorf("at once: got %+v, %v, want %+v", got, err, r)
		}
	}
	stored := func(want time.Time) {
		t.Helper()
		k, _ := cacheTagKey(scope, hub, "latest")
		if got, err := s.Cache().readTag(k); err != nil || got.Digest != r.Digest || !got.ValidatedAt.Equal(want) {
			t.Errorf("on disk: got %+v, %v, want %v", got, err, want)
		}
	}
	put(r)
	r.ValidatedAt = then.Add(time.Minute)
	put(r)
	stored(then)
	r.ValidatedAt = then.Add(time.Hour)
	put(r)
	stored(then.Add(time.Hour))
	put(TagRecord{Negative: true, ValidatedAt: then.Add(2 * time.Hour)})
	stored(then.Add(time.Hour))
}

func TestCacheManifests(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Config{})
	m := someManifest()
	putManifest(t, s.Cache(), m)
	for range 2 {
		got, err := s.Cache().Manifest(scope, hub, m.Digest)
		if diff := cmp.Diff(m, got); diff != "" || err != nil {
			t.Errorf("Manifest: %v\n%s", err, diff)
		}
		if err := s.Close(); err != nil { // the second time from disk
			t.Fatal(err)
		}
		s = open(t, dir, Config{})
	}
	m512 := m
	m512.Digest = oci.FromBytes(m.Raw, "sha512:x")
	putManifest(t, s.Cache(), m512)
	if got, err := s.Cache().Manifest(scope, hub, m512.Digest); err != nil || got.Digest != m512.Digest {
		t.Errorf("sha512: got %+v, %v", got, err)
	}
	wrong := m
	wrong.Raw = append(slices.Clone(m.Raw), ' ')
	if err := s.Cache().PutManifest(t.Context(), scope, hub, wrong); !errors.Is(err, oci.ErrMismatch) {
		t.Errorf("other bytes: got %v, want ErrMismatch", err)
	}
}

// TestCacheScopes: neither another identity, nor another upstream, nor another
// repository gets what one has stored. Bytes are shared, the right is not.
func TestCacheScopes(t *testing.T) {
	dir := t.TempDir()
	m := someManifest()
	d := digestOf("layer")
	s := open(t, dir, Config{})
	putManifest(t, s.Cache(), m)
	fill(t, s.Cache(), "layer")
	if err := s.Cache().Link(scope, hub, d); err != nil {
		t.Fatal(err)
	}
	if err := s.Cache().PutTag(scope, hub, "latest", TagRecord{Digest: m.Digest}); err != nil {
		t.Fatal(err)
	}
	for range 2 { // from RAM, then from disk
		c := s.Cache()
		if !c.Linked(scope, hub, d) {
			t.Error("the link is not there")
		}
		for name, at := range map[string]struct {
			scope string
			name  ref.Name
		}{
			"identity":   {"docker.io@alice", hub},
			"upstream":   {scope, ref.Name{Host: "ghcr.io", Path: hub.Path}},
			"repository": {scope, ref.Name{Host: hub.Host, Path: "library/debian"}},
		} {
			if c.Linked(at.scope, at.name, d) {
				t.Errorf("another %s has the link", name)
			}
			if _, err := c.Manifest(at.scope, at.name, m.Digest); !errors.Is(err, oci.ErrNotFound) {
				t.Errorf("another %s: Manifest: got %v, want ErrNotFound", name, err)
			}
			if _, err := c.Tag(at.scope, at.name, "latest"); !errors.Is(err, oci.ErrNotFound) {
				t.Errorf("another %s: Tag: got %v, want ErrNotFound", name, err)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = open(t, dir, Config{})
	}
}

// TestCacheHeals: whatever happens to files under a running or a stopped
// store, the answer is the right bytes or a miss, and the next fill repairs
// it. A record without its blob is a miss, harbor#15654, and an empty file is
// never taken for content, zot#4201.
func TestCacheHeals(t *testing.T) {
	m, layer := someManifest(), digestOf("layer")
	blob, _ := cacheBlobKey(m.Digest)
	record, _ := cacheManifestKey(scope, hub, m.Digest)
	tag, _ := cacheTagKey(scope, hub, "latest")
	file, _ := cacheBlobKey(layer)
	flip := func(path string) error {
		b, err := os.ReadFile(path)
		if err == nil {
			b[len(b)/2] ^= 1
			err = errors.Join(os.Remove(path), os.WriteFile(path, b, 0o444))
		}
		return err
	}
	empty := func(path string) error { return errors.Join(os.Remove(path), os.WriteFile(path, nil, 0o444)) }
	for name, c := range map[string]struct {
		key    Key
		damage func(string) error
	}{
		"manifest gone":      {blob, os.Remove},
		"manifest flipped":   {blob, flip},
		"manifest empty":     {blob, empty},
		"record gone":        {record, os.Remove},
		"record empty":       {record, empty},
		"tag gone":           {tag, os.Remove},
		"tag empty":          {tag, empty},
		"blob gone":          {file, os.Remove},
		"blob empty":         {file, empty},
		"directory of blobs": {"c/b", os.RemoveAll},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := open(t, dir, Config{Records: 1})
			putAll(t, s.Cache(), m)
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			if err := c.damage(filepath.Join(dir, string(c.key))); err != nil {
				t.Fatal(err)
			}
			cache := open(t, dir, Config{Records: 1}).Cache()
			missed := missing(t, cache, m)
			if !missed {
				t.Error("nothing was missed")
			}
			putAll(t, cache, m)
			if missing(t, cache, m) {
				t.Error("storing it again did not repair it")
			}
			if err := check(dir); err != nil {
				t.Error(err)
			}
		})
	}
}

func putAll(t *testing.T, c *Cache, m oci.Manifest) {
	t.Helper()
	putManifest(t, c, m)
	fill(t, c, "layer")
	if err := c.PutTag(scope, hub, "latest", TagRecord{Digest: m.Digest}); err != nil {
		t.Fatal(err)
	}
}

// missing reports whether anything of putAll misses. Wrong bytes fail.
func missing(t *testing.T, c *Cache, m oci.Manifest) bool {
	t.Helper()
	_, tagErr := c.Tag(scope, hub, "latest")
	got, err := c.Manifest(scope, hub, m.Digest)
	if err == nil && oci.FromBytes(got.Raw, "") != m.Digest {
		t.Error("wrong bytes of a manifest")
	}
	content, blobErr := cached(c, digestOf("layer"))
	if blobErr == nil && content != "layer" {
		t.Error("wrong bytes of a blob")
	}
	missed := false
	for _, err := range []error{tagErr, err, blobErr} {
		if err != nil && !errors.Is(err, oci.ErrNotFound) {
			t.Errorf("got %v, want ErrNotFound", err)
		}
		missed = missed || err != nil
	}
	return missed
}

// TestCacheBounds: RAM is bounded, and what does not fit comes from disk.
func TestCacheBounds(t *testing.T) {
	c := open(t, t.TempDir(), Config{ManifestBytes: 4000, Records: 3}).Cache()
	var all []oci.Manifest
	for i := range 10 {
		m := indexOf(oci.Descriptor{MediaType: oci.TypeImageManifest, Digest: digestOf(strings.Repeat("x", i)), Size: int64(i)})
		putManifest(t, c, m)
		if err := c.Link(scope, hub, m.Digest); err != nil {
			t.Fatal(err)
		}
		all = append(all, m)
	}
	for _, m := range all {
		if got, err := c.Manifest(scope, hub, m.Digest); err != nil || string(got.Raw) != string(m.Raw) {
			t.Errorf("Manifest = %q, %v", got.Raw, err)
		}
		if !c.Linked(scope, hub, m.Digest) {
			t.Error("a link is lost")
		}
	}
	if c.bytes.used > 4000 || c.manifests.used > 3 || c.links.used > 3 {
		t.Errorf("in RAM: %d bytes, %d records, %d links", c.bytes.used, c.manifests.used, c.links.used)
	}
}

// TestCacheTouches: what is used stays young, children of a manifest too, and
// a file's time is set once an hour at most.
func TestCacheTouches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		c := open(t, dir, Config{}).Cache()
		child := fill(t, c, "child")
		m := someManifest()
		putManifest(t, c, m)
		layer := fill(t, c, "layer")
		times := func() (all []time.Time) {
			for _, d := range []oci.Digest{child, m.Digest, layer} {
				k, _ := cacheBlobKey(d)
				fi, err := os.Stat(filepath.Join(dir, string(k)))
				if err != nil {
					t.Fatal(err)
				}
				all = append(all, fi.ModTime())
			}
			return all
		}
		old := time.Now().Add(-48 * time.Hour)
		for _, d := range []oci.Digest{child, m.Digest, layer} {
			k, _ := cacheBlobKey(d)
			if err := c.store.disk.Touch(t.Context(), k, old); err != nil {
				t.Fatal(err)
			}
		}
		use := func() {
			if _, err := c.Manifest(scope, hub, m.Digest); err != nil {
				t.Fatal(err)
			}
			if _, err := cached(c, layer); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		use()
		now := time.Now()
		if got := times(); !got[2].Equal(now) || !got[1].Equal(old) {
			t.Errorf("at first: %v, want the layer touched, the manifest, just stored, not", got)
		}
		time.Sleep(61 * time.Minute)
		use()
		now = time.Now()
		for i, got := range times() {
			if !got.Equal(now) {
				t.Errorf("file %d after an hour: %v, want %v", i, got, now)
			}
		}
		time.Sleep(10 * time.Minute)
		use()
		for i, got := range times() {
			if !got.Equal(now) {
				t.Errorf("file %d ten minutes later: %v, want %v still", i, got, now)
			}
		}
	})
}

// TestCacheTagRaces: readers that fill the RAM from disk never bring an old
// record back over a newer one.
func TestCacheTagRaces(t *testing.T) {
	c := open(t, t.TempDir(), Config{Records: 2, before: quick}).Cache()
	var wg sync.WaitGroup
	ctx, stop := context.WithCancel(t.Context())
	for range 4 {
		wg.Go(func() {
			for ctx.Err() == nil {
				for _, tag := range []string{"a", "b", "c"} {
					if _, err := c.Tag(scope, hub, tag); err != nil && !errors.Is(err, oci.ErrNotFound) {
						t.Error(err)
					}
				}
			}
		})
	}
	for i := range 200 {
		for _, tag := range []string{"a", "b", "c"} {
			d := digestOf(tag + strings.Repeat("x", i))
			if err := c.PutTag(scope, hub, tag, TagRecord{Digest: d}); err != nil {
				t.Fatal(err)
			}
			if got, err := c.Tag(scope, hub, tag); err != nil || got.Digest != d {
				t.Fatalf("round %d: got %v, %v, want what was put", i, got.Digest, err)
			}
		}
	}
	stop()
	wg.Wait()
}

func TestCacheWarmLookupsDoNoIO(t *testing.T) {
	dir := t.TempDir()
	c := open(t, dir, Config{}).Cache()
	m := someManifest()
	putAll(t, c, m)
	if err := c.Link(scope, hub, m.Digest); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(dir, "c")); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Tag(scope, hub, "latest"); err != nil {
		t.Error(err)
	}
	if _, err := c.Manifest(scope, hub, m.Digest); err != nil {
		t.Error(err)
	}
	if !c.Linked(scope, hub, m.Digest) {
		t.Error("not linked")
	}
	if n := testing.AllocsPerRun(100, func() {
		_, _ = c.Tag(scope, hub, "latest")
		_, _ = c.Manifest(scope, hub, m.Digest)
		_ = c.Linked(scope, hub, m.Digest)
	}); n != 0 {
		t.Errorf("three warm lookups allocate %v times, want 0", n)
	}
}
