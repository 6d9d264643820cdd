package store

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
	"github.com/google/go-cmp/cmp"
)

// collectable opens a store in a quick directory, with a clock that the test
// moves.
func collectable(t *testing.T, cfg Config) (s *Store, dir string, pass func(time.Duration)) {
	t.Helper()
	now := time.Now()
	dir = quickDir(t)
	if cfg.before == nil {
		cfg.before = quick
	}
	cfg.Now = func() time.Time { return now }
	return open(t, dir, cfg), dir, func(d time.Duration) { now = now.Add(d) }
}

// pushImages pushes images a0, a1, …, and one that is as large as all of them,
// so that no breaker minds when small ones go.
func pushImages(t *testing.T, v *Vault, n int) []oci.Manifest {
	t.Helper()
	var all []oci.Manifest
	for i := range n {
		all = append(all, pushImage(t, v, app, fmt.Sprint("a", i), fmt.Sprint("a", i)))
	}
	big := ref.Name{Path: "big"}
	pushManifest(t, v, big, imageOf("", pushBlob(t, v, big, "{}"), pushBlob(t, v, big, strings.Repeat("x", n*4000))), "latest")
	for i := range 20 { // so that one image is no tenth
		pushManifest(t, v, big, manifestOf(oci.TypeImageIndex, fmt.Sprintf(`{"schemaVersion":2,"manifests":[],"annotations":{"n":"%d"}}`, i)))
	}
	return all
}

func collect(t *testing.T, v *Vault, cfg Collection) Collected {
	t.Helper()
	got, err := v.Collect(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestCollect(t *testing.T) {
	s, dir, pass := collectable(t, Config{})
	v := s.Vault()
	all := pushImages(t, v, 3)
	pushBlob(t, v, app, "of no manifest")
	if err := v.DeleteManifest(t.Context(), app, all[0].Digest); err != nil {
		t.Fatal(err)
	}
	if got := collect(t, v, Collection{}); got.Garbage.Blobs != 0 || got.Blobs.Blobs != 3*3+3+20+1 {
		t.Errorf("what is young is garbage: %+v", got)
	}
	pass(25 * time.Hour)
	young := pushBlob(t, v, app, "young") // its file is as old as the others by our clock
	if _, err := v.Stat(t.Context(), app, young.Digest); err != nil {
		t.Fatal(err)
	}
	// A look is told that the blob is there, so it stays until the manifest comes.
	want := Collected{Pins: 23, Blobs: PoolUsage{34, 0}, Garbage: PoolUsage{4, 0}}
	got := collect(t, v, Collection{DryRun: true})
	want.Blobs.Bytes, want.Garbage.Bytes = got.Blobs.Bytes, got.Garbage.Bytes
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("dry run (-want +got):\n%s", diff)
	}
	if got := collect(t, v, Collection{DryRun: true}); got.Garbage != want.Garbage {
		t.Errorf("a dry run has changed what is garbage: %+v", got)
	}
	want.Trashed = want.Garbage
	if diff := cmp.Diff(want, collect(t, v, Collection{})); diff != "" {
		t.Errorf("collect (-want +got):\n%s", diff)
	}
	for _, m := range all[1:] {
		wantWhole(t, s, app.WithDigest(m.Digest))
	}
	if _, err := v.Stat(t.Context(), app, digestOf("of no manifest")); !errors.Is(err, oci.ErrNotFound) {
		t.Errorf("a blob that was collected: %v", err)
	}
	pushManifest(t, v, app, imageOf("", young)) // what was promised to be there
	pass(26 * time.Hour)
	got = collect(t, v, Collection{})
	if got.Purged != want.Garbage || got.Links != 3 || got.Garbage.Blobs != 0 {
		t.Errorf("a day later: %+v, want %+v purged and 3 links removed", got, want.Garbage)
	}
	if err := check(dir); err != nil {
		t.Error(err)
	}
	if left := filesBelow(t, dir, "v/c", "trash"); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
}

// wantWhole reads a manifest and its blobs with a vault that remembers nothing.
func wantWhole(t *testing.T, s *Store, r ref.Ref) {
	t.Helper()
	if err := whole(t.Context(), newVault(s), r); err != nil {
		t.Errorf("%s: %v", r, err)
	}
}

// whole reads a manifest and all its blobs.
func whole(ctx context.Context, v *Vault, r ref.Ref) error {
	m, err := v.Manifest(ctx, r)
	if err != nil {
		return err
	}
	links, err := m.Links()
	if err != nil {
		return err
	}
	for _, b := range links.Blobs() {
		blob, err := v.Blob(ctx, r.Name, b.Digest, 0)
		if err != nil {
			return err
		}
		if err := blob.Body.Close(); err != nil {
			return err
		}
	}
	for _, c := range links.Manifests {
		if err := whole(ctx, v, r.Name.WithDigest(c.Digest)); err != nil {
			return err
		}
	}
	return nil
}

// filesBelow returns the files below some directories of a store.
func filesBelow(t *testing.T, dir string, below ...string) []string {
	t.Helper()
	var all []string
	for _, b := range below {
		err := filepath.WalkDir(filepath.Join(dir, b), func(path string, e os.DirEntry, err error) error {
			if err == nil && !e.IsDir() {
				all = append(all, strings.TrimPrefix(path, dir+"/"))
			}
			if errors.Is(err, os.ErrNotExist) {
				return nil
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// TestFault23Breakers: each of them stops everything; none but a listing that
// fails can not be forced (harbor#12975, restic#4619).
func TestFault23Breakers(t *testing.T) {
	for name, c := range map[string]struct {
		spoil  func(t *testing.T, v *Vault, b *broken)
		want   string // of the error
		forced bool   // whether it can be
	}{
		"listing of manifests fails": {func(_ *testing.T, _ *Vault, b *broken) { b.fail = "v/m/" }, "broken", false},
		"listing of blobs fails":     {func(_ *testing.T, _ *Vault, b *broken) { b.fail = "v/b/" }, "broken", false},
		"listing of marks fails":     {func(_ *testing.T, _ *Vault, b *broken) { b.fail = "v/c/" }, "broken", false},
		"second listing fails":       {func(_ *testing.T, _ *Vault, b *broken) { b.fail, b.after, b.lists = "v/m/", 1, 0 }, "broken", false},
		"a manifest cannot be read":  {func(_ *testing.T, _ *Vault, b *broken) { b.unreadable = true }, "broken", false},
		"empty listing":              {func(_ *testing.T, _ *Vault, b *broken) { b.hide = "v/m/" }, "no manifest at all", true},
		"truncated listing":          {func(_ *testing.T, _ *Vault, b *broken) { b.hide = "v/m/team/" }, "were 24 after the last", true},
		"second listing truncated":   {func(_ *testing.T, _ *Vault, b *broken) { b.hide, b.after, b.lists = "v/m/team/", 1, 0 }, "a moment later", true},
		"too much": {func(t *testing.T, v *Vault, _ *broken) {
			if err := v.DeleteManifest(t.Context(), ref.Name{Path: "big"}, bigImage().Digest); err != nil {
				t.Fatal(err)
			}
		}, "more than 20 %", true},
	} {
		t.Run(name, func(t *testing.T) {
			b := &broken{}
			s, dir, pass := collectable(t, Config{wrap: func(d *Disk) Bucket { b.Disk = d; return b }})
			v := s.Vault()
			pushImages(t, v, 3)
			collect(t, v, Collection{})
			pushBlob(t, v, app, "of no manifest")
			pass(25 * time.Hour)
			c.spoil(t, v, b)
			before := filesBelow(t, dir, "v/b", "v/m", "v/l", "v/t")
			_, err := v.Collect(t.Context(), Collection{})
			if err == nil || !strings.Contains(err.Error(), c.want) || errors.Is(err, ErrRefused) != c.forced {
				t.Errorf("got %v, want %q", err, c.want)
			}
			if after := filesBelow(t, dir, "v/b", "v/m", "v/l", "v/t"); !slices.Equal(after, before) {
				t.Errorf("it has removed something:\n%s", cmp.Diff(before, after))
			}
			b.lists = 0
			if _, err := v.Collect(t.Context(), Collection{Force: true}); (err == nil) != c.forced {
				t.Errorf("forced: %v", err)
			}
		})
	}
}

func bigImage() oci.Manifest {
	blob := func(content string) oci.Descriptor {
		return oci.Descriptor{MediaType: blobType, Digest: digestOf(content), Size: int64(len(content))}
	}
	return imageOf("", blob("{}"), blob(strings.Repeat("x", 3*4000)))
}

// A broken bucket lists badly.
type broken struct {
	*Disk
	fail       string // lists of this prefix fail in the middle
	hide       string // what lies below is not listed
	after      int    // deep lists of manifests before that
	lists      int
	unreadable bool // pins are
}

func (b *broken) List(ctx context.Context, prefix, after string, deep bool) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		if prefix == "v/m/" && deep {
			b.lists++
		}
		early := prefix == "v/m/" && b.lists <= b.after
		for e, err := range b.Disk.List(ctx, prefix, after, deep) {
			if b.hide != "" && deep && !early && strings.HasPrefix(e.Key, b.hide) {
				continue
			}
			if !yield(e, err) {
				return
			}
			if prefix == b.fail && !early {
				break
			}
		}
		if prefix == b.fail && !early {
			yield(Entry{}, oci.Errorf(oci.ErrUnavailable, "", "broken"))
		}
	}
}

func (b *broken) Open(ctx context.Context, k Key) (Object, error) {
	if b.unreadable && strings.HasPrefix(string(k), "v/m/") {
		return Object{}, oci.Errorf(oci.ErrUnavailable, "", "broken")
	}
	return b.Disk.Open(ctx, k)
}

// TestCollectDamaged: a pin that a broken disk has emptied stops no collection
// (distribution#1960), and what its manifest needs is kept.
func TestCollectDamaged(t *testing.T) {
	s, dir, pass := collectable(t, Config{})
	v := s.Vault()
	all := pushImages(t, v, 2)
	index := indexOf(all[0].Descriptor())
	pushManifest(t, v, app, index, "index")
	for _, name := range filesBelow(t, dir, "v/m/team") {
		if strings.Contains(name, all[1].Digest.Encoded()) {
			continue
		}
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(filepath.Join(dir, "v/l/team/app/_l/nonsense"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"v/l/team/app/_l/nonsense/link", "v/m/team/app/_m/x", "v/b/sha256/ab/what"} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	pushBlob(t, v, app, "of no manifest")
	pass(25 * time.Hour)
	got := collect(t, v, Collection{})
	if got.Damaged != 3 || got.Trashed.Blobs != 1 {
		t.Errorf("got %+v, want 3 damaged and 1 blob in the trash", got)
	}
	pushManifest(t, v, app, all[0]) // heals it: all is still there
	pushManifest(t, v, app, index)
	wantWhole(t, s, app.WithTag("index"))
}

// TestCollectRenews: a push was acknowledged between C1 and C2, and the
// collector ended before it could renew the pin. The next one does.
func TestCollectRenews(t *testing.T) {
	s, dir, pass := collectable(t, Config{})
	v := s.Vault()
	all := pushImages(t, v, 2)
	p, err := v.pin(t.Context(), app, all[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range p.Pins {
		k, _ := vaultMarkerKey(x.Digest, x.Inc)
		if err := s.bucket.Put(t.Context(), k, nil); err != nil {
			t.Fatal(err)
		}
	}
	pass(25 * time.Hour)
	if got := collect(t, v, Collection{}); got.Renewed != 1 || got.Garbage.Blobs != 0 {
		t.Errorf("first: %+v, want 1 renewed", got)
	}
	wantWhole(t, s, app.WithTag("a0"))
	if got := collect(t, v, Collection{}); got.Trashed.Blobs != 3 || got.Renewed != 0 {
		t.Errorf("second: %+v, want the 3 old blobs in the trash", got)
	}
	wantWhole(t, s, app.WithTag("a0"))
	pass(26 * time.Hour)
	if got := collect(t, v, Collection{}); got.Purged.Blobs != 3 || got.Links != 2 {
		t.Errorf("third: %+v, want 3 purged and the links of 2 gone", got)
	}
	wantWhole(t, s, app.WithTag("a0"))
	if err := check(dir); err != nil {
		t.Error(err)
	}
}

// TestCollectClocks: a clock that is ten years wrong, either way, costs no data.
func TestCollectClocks(t *testing.T) {
	const years = 10 * 365 * 24 * time.Hour
	for _, jump := range []time.Duration{years, -years} {
		s, dir, pass := collectable(t, Config{})
		v := s.Vault()
		all := pushImages(t, v, 3)
		pushBlob(t, v, app, "of no manifest")
		for range 3 {
			pass(jump)
			collect(t, v, Collection{})
			pass(-jump)
			collect(t, v, Collection{})
		}
		for i := range all {
			wantWhole(t, s, app.WithTag(fmt.Sprint("a", i)))
		}
		if err := check(dir); err != nil {
			t.Error(err)
		}
		if list := filesBelow(t, dir, "v/c"); len(list) > 0 {
			t.Errorf("left: %q", list)
		}
	}
}

// TestCollectBeside collects in the directory of a store that somebody else
// has open, and takes none of the directories away that this one relies on
// (zot#4241).
func TestCollectBeside(t *testing.T) {
	s, dir, pass := collectable(t, Config{})
	v := s.Vault()
	all := pushImages(t, v, 2)
	if err := v.DeleteManifest(t.Context(), app, all[0].Digest); err != nil {
		t.Fatal(err)
	}
	for _, days := range []int{1, 3} {
		pass(25 * time.Hour)
		beside, err := Attach(dir, Config{Now: func() time.Time { return s.cfg.now().Add(time.Duration(days) * 24 * time.Hour) }})
		if err != nil {
			t.Fatal(err)
		}
		collect(t, beside.Vault(), Collection{})
		if err := beside.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := v.Stat(t.Context(), app, digestOf("layer of a0")); !errors.Is(err, oci.ErrNotFound) {
		t.Errorf("what was collected: %v", err)
	}
	pushImage(t, v, app, "a0", "a0")
	wantWhole(t, s, app.WithTag("a0"))
	wantWhole(t, s, app.WithTag("a1"))
	if err := check(dir); err != nil {
		t.Error(err)
	}
}

func FuzzCollectNames(f *testing.F) {
	i := incarnation{digestOf("x"), "abcdefghijklm"}
	for _, key := range []func() (Key, error){
		func() (Key, error) { return vaultBlobKey(i.digest, i.inc) },
		func() (Key, error) { return vaultLinkKey(app, i.digest, i.inc, "abcdefghijklm") },
		func() (Key, error) { return vaultPinKey(app, i.digest, "abcdefghijklm") },
		func() (Key, error) { return trashKey(time.Unix(0, 0), i) },
	} {
		k, err := key()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(k))
	}
	f.Add("v/l/_l//")
	f.Fuzz(func(t *testing.T, key string) {
		if i, ok := parseIncarnation(key); ok {
			b, err := vaultBlobKey(i.digest, i.inc)
			m, err2 := vaultMarkerKey(i.digest, i.inc)
			if err != nil || err2 != nil || string(b) != key && string(m) != key {
				t.Errorf("%q is read as %v", key, i)
			}
		}
		if i, ok := parseLink(key); ok && !strings.Contains(key, string(i.inc)) {
			t.Errorf("%q is read as %v", key, i)
		}
		if n, d, ok := parsePinKey(Key(key)); ok {
			back, err := vaultPinKey(n, d, key[strings.LastIndexByte(key, '/')+1:])
			if err != nil || string(back) != key {
				t.Errorf("%q is read as %v %v: %q, %v", key, n, d, back, err)
			}
		}
		if at, i, ok := parseTrash(key); ok {
			if _, err := trashKey(at, i); err != nil {
				t.Errorf("%q is read as %v: %v", key, i, err)
			}
		}
	})
}

// TestCollectUndo: a collection was forced while a listing was truncated. All
// that it took can be brought back, and stays.
func TestCollectUndo(t *testing.T) {
	b := &broken{}
	s, dir, pass := collectable(t, Config{wrap: func(d *Disk) Bucket { b.Disk = d; return b }})
	v := s.Vault()
	all := pushImages(t, v, 3)
	index := indexOf(all[0].Descriptor(), all[1].Descriptor())
	pushManifest(t, v, app, index, "index")
	pass(25 * time.Hour)
	b.hide = "v/m/team/"
	lost := collect(t, v, Collection{Force: true}).Trashed
	if err := whole(t.Context(), newVault(s), app.WithTag("index")); !errors.Is(err, oci.ErrNotFound) {
		t.Fatalf("nothing was lost: %v", err)
	}
	b.hide = ""
	back, err := v.Restore(t.Context())
	if err != nil || back != lost || lost.Blobs != 10 {
		t.Errorf("Restore = %+v, %v, want %+v", back, err, lost)
	}
	for range 3 {
		pass(26 * time.Hour)
		if got := collect(t, v, Collection{}); got.Trashed.Blobs != 0 {
			t.Errorf("it was collected again: %+v", got)
		}
		for _, tag := range []string{"index", "a0", "a1", "a2"} {
			wantWhole(t, s, app.WithTag(tag))
		}
	}
	if err := check(dir); err != nil {
		t.Error(err)
	}
	if at, err := v.CollectedAt(t.Context()); err != nil || s.cfg.now().Sub(at) > time.Second {
		t.Errorf("CollectedAt = %v, %v", at, err)
	}
}
