package cli

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/entrepot/entrepot/internal/regtest"
	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
	"github.com/entrepot/entrepot/store"
)

// cached stores an image of one layer in the cache, which is its config too.
func cached(t *testing.T, s *store.Store, n ref.Name, layer, tag string) oci.Manifest {
	t.Helper()
	c := s.Cache()
	blob := oci.Descriptor{MediaType: "application/vnd.oci.image.layer.v1.tar", Digest: oci.FromBytes([]byte(layer), ""), Size: int64(len(layer))}
	sp, err := c.Spool(blob.Digest, blob.Size)
	if err != nil {
		t.Fatal(err)
	}
	defer sp.Release()
	if _, err := sp.Write([]byte(layer)); err != nil {
		t.Fatal(err)
	}
	if err := sp.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	m := manifestOf(blob)
	if err := c.PutManifest(t.Context(), n.Host, n, m); err != nil {
		t.Fatal(err)
	}
	if err := c.PutTag(n.Host, n, tag, store.TagRecord{Digest: m.Digest, MediaType: m.MediaType}); err != nil {
		t.Fatal(err)
	}
	return m
}

// TestStoreEvictAndPin works beside the server: a dry run changes nothing, a
// pinned image stays, and so does what was pushed.
func TestStoreEvictAndPin(t *testing.T) {
	k := newKept(t)
	cached(t, k.open, ref.Name{Host: "docker.io", Path: "library/alpine"}, "a layer", "3.20")
	cached(t, k.open, ref.Name{Host: "quay.io", Path: "team/app"}, "another layer", "1")
	pushed(t, k.open, "apps/one", "a layer of our own")
	k.store("evict", "--all", "--dry-run")
	k.exits(exitDone)
	if got := k.stats().Cache.Blobs; got != 4 || !strings.HasPrefix(k.out, "{") {
		t.Fatalf("%d blobs in the cache after a dry run, want 4", got)
	}
	k.store("pin", "alpine:3.20", "--json")
	k.exits(exitDone)
	if !strings.Contains(k.out, `{"reference":"docker.io/library/alpine:3.20","pinned":true,"since":"`) {
		t.Errorf("pin printed %s", k.out)
	}
	k.store("pin")
	k.exits(exitDone)
	if k.out != "docker.io/library/alpine:3.20\n" {
		t.Errorf("pins: %q", k.out)
	}
	k.store("evict", "--max-bytes", "1", "--json")
	k.exits(exitDone)
	lines := strings.Split(strings.TrimSpace(k.out), "\n")
	var sum evictionJSON
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &sum); err != nil || len(lines) != 3 {
		t.Fatalf("%v:\n%s", err, k.out)
	}
	if sum.Evicted.Blobs != 2 || sum.Left.Blobs != 2 || sum.Pinned.Blobs != 2 || sum.OverLimit == 0 {
		t.Errorf("got %+v, want the pinned image to stay", sum)
	}
	k.store("unpin", "docker.io/library/alpine:3.20")
	k.exits(exitDone)
	k.store("unpin", "alpine:3.20")
	k.exits(exitFailed)
	if !strings.Contains(k.errors, "docker.io/library/alpine:3.20 is not pinned") {
		t.Errorf("errors:\n%s", k.errors)
	}
	k.store("evict", "--max-age", "0", "--max-bytes", "1")
	k.exits(exitDone)
	if got := k.stats(); got.Cache.Blobs != 0 || got.Pushed.Blobs != 2 {
		t.Errorf("after all: %+v", got)
	}
	for _, args := range [][]string{{"evict", "--max-bytes", "much"}, {"evict", "--max-age", "long"}, {"evict", "--min-free", "101%"}, {"pin", "Not/An:Image"}, {"unpin"}} {
		k.store(args...)
		k.exits(exitUsage)
	}
}

// TestServeEvicts: the server keeps the limits of its configuration, and what
// left is fetched again.
func TestServeEvicts(t *testing.T) {
	up := regtest.New(t, regtest.Config{})
	for i, tag := range []string{"1", "2", "3", "4"} {
		up.AddImage("team/app", regtest.Image{Layers: []int64{100_000}, Seed: uint64(i)}, tag)
	}
	dir := t.TempDir()
	r := start(t, `[storage]
max_bytes = "250KiB"
[[upstream]]
name = "up.example"
url = "`+up.URL()+`"
allow_private = true
max_bytes = "240KiB"`, "--storage", dir)
	pull := func(tag string) {
		t.Helper()
		var m struct {
			Config oci.Descriptor
			Layers []oci.Descriptor
		}
		code, _, body := r.get(r.url + "/v2/up.example/team/app/manifests/" + tag)
		if err := json.Unmarshal(body, &m); code != 200 || err != nil {
			t.Fatalf("manifest %s: %d, %v", tag, code, err)
		}
		for _, b := range append(m.Layers, m.Config) {
			if code, _, body := r.get(r.url + "/v2/up.example/team/app/blobs/" + string(b.Digest)); code != 200 || int64(len(body)) != b.Size {
				t.Fatalf("blob of %s: %d, %d bytes", tag, code, len(body))
			}
		}
	}
	for range 2 {
		for _, tag := range []string{"1", "2", "3", "4"} {
			pull(tag)
		}
	}
	if code := r.end(); code != exitDone {
		t.Fatalf("exit %d", code)
	}
	k := &kept{t: t, dir: dir}
	k.store("evict", "--max-bytes", "250KiB", "--quiet") // what was stored last may not have been looked at
	k.exits(exitDone)
	if got := k.stats().Cache.Bytes; got > 250<<10 || got == 0 {
		t.Errorf("%d bytes in the cache, at most 256000 may be", got)
	}
}
