package store

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
	"github.com/google/go-cmp/cmp"
)

func TestVaultNeedsChildren(t *testing.T) {
	ctx := t.Context()
	blob := func(content, mediaType string) oci.Descriptor {
		return oci.Descriptor{MediaType: mediaType, Digest: digestOf(content), Size: int64(len(content))}
	}
	const layer = "application/vnd.oci.image.layer.v1.tar"
	for name, c := range map[string]struct {
		m      func(v *Vault) oci.Manifest
		sparse bool
		ok     bool
	}{
		"no config": {func(v *Vault) oci.Manifest { return imageOf("", blob("c", layer)) }, false, false},
		"no layer":  {func(v *Vault) oci.Manifest { return imageOf("", pushBlob(t, v, app, "c"), blob("l", layer)) }, false, false},
		"layer of another repository": {func(v *Vault) oci.Manifest {
			return imageOf("", pushBlob(t, v, app, "c"), pushBlob(t, v, ref.Name{Path: "secret"}, "l"))
		}, false, false},
		"no layer, sparse": {func(v *Vault) oci.Manifest { return imageOf("", blob("c", layer)) }, true, true},
		"foreign layers": {func(v *Vault) oci.Manifest {
			return imageOf("", pushBlob(t, v, app, "c"),
				blob("l", "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"),
				blob("m", "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"))
		}, false, true},
		"no child":         {func(v *Vault) oci.Manifest { return indexOf(blob("m", oci.TypeImageManifest)) }, false, false},
		"no child, sparse": {func(v *Vault) oci.Manifest { return indexOf(blob("m", oci.TypeImageManifest)) }, true, true},
		"child of another repository": {func(v *Vault) oci.Manifest {
			return indexOf(pushImage(t, v, ref.Name{Path: "secret"}, "x").Descriptor())
		}, false, false},
		"nested indexes": {func(v *Vault) oci.Manifest {
			inner := indexOf(pushImage(t, v, app, "x").Descriptor())
			pushManifest(t, v, app, inner)
			return indexOf(inner.Descriptor())
		}, false, true},
		"empty index": {func(v *Vault) oci.Manifest { return indexOf() }, false, true},
		"unknown subject": {func(v *Vault) oci.Manifest {
			return imageOf(`,"subject":`+descriptor(blob("s", oci.TypeImageManifest)), pushBlob(t, v, app, "c"))
		}, false, true},
	} {
		dir := t.TempDir()
		v := open(t, dir, Config{Sparse: c.sparse, before: quick}).Vault()
		m := c.m(v)
		err := v.PutManifest(ctx, app, m, "latest")
		if c.ok {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
		} else {
			wantCode(t, name, err, oci.ErrInvalid, oci.CodeManifestBlobUnknown)
			if _, err := v.Resolve(ctx, app.WithTag("latest")); !errors.Is(err, oci.ErrNotFound) {
				t.Errorf("%s: the tag is there: %v", name, err)
			}
		}
		if err := check(dir); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestFault31Depth: indexes may lie in each other as deep as any client walks,
// and no image may be made of more than anybody would walk.
func TestFault31Depth(t *testing.T) {
	ctx := t.Context()
	v := open(t, t.TempDir(), Config{before: quick}).Vault()
	image := pushImage(t, v, app, "one")
	top := image
	for depth := range oci.MaxDepth {
		top = indexOf(top.Descriptor(), image.Descriptor())
		if err := v.PutManifest(ctx, app, top); err != nil {
			t.Fatalf("depth %d: %v", depth+1, err)
		}
	}
	deep := indexOf(image.Descriptor(), top.Descriptor())
	wantCode(t, "too deep", v.PutManifest(ctx, app, deep, "deep"), oci.ErrInvalid, oci.CodeManifestInvalid)
	if _, err := v.Resolve(ctx, app.WithTag("deep")); !errors.Is(err, oci.ErrNotFound) {
		t.Errorf("the tag of what was refused: %v", err)
	}
	if err := v.PutManifest(ctx, app, indexOf(image.Descriptor()), "flat"); err != nil {
		t.Errorf("a flat index: %v", err)
	}
}

// TestFault31Graph: what an image is made of has a limit, however it is spread
// over indexes.
func TestFault31Graph(t *testing.T) {
	s := pinSet{all: make([]pinned, oci.MaxDescriptors)}
	err := s.add(t.Context(), some, "")
	wantCode(t, "too many", err, oci.ErrInvalid, oci.CodeManifestInvalid)
}

// TestVaultPinsTheClosure: an index's pin names its children's layers too, so
// it stays whole when a child's own pin is deleted.
func TestVaultPinsTheClosure(t *testing.T) {
	ctx := t.Context()
	v := open(t, t.TempDir(), Config{}).Vault()
	child := pushImage(t, v, app, "one")
	index := indexOf(child.Descriptor())
	pushManifest(t, v, app, index, "latest")
	if err := v.DeleteManifest(ctx, app, child.Digest); err != nil {
		t.Fatal(err)
	}
	p, err := v.pin(ctx, app, index.Digest)
	if err != nil {
		t.Fatal(err)
	}
	want := []oci.Digest{index.Digest, child.Digest, digestOf("config of one"), digestOf("layer of one")}
	var got []oci.Digest
	for _, x := range p.Pins {
		got = append(got, x.Digest)
		if _, ok, err := v.alive(ctx, x.Digest, x.Inc); !ok {
			t.Errorf("%s is not there: %v", x.Digest, err)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestVaultChoosesAgain plays the collector: what it has condemned, or has
// removed between the writer's W2 and W3, is never relied on.
func TestVaultChoosesAgain(t *testing.T) {
	ctx := t.Context()
	condemn := func(v *Vault, p pinned) {
		k, _ := vaultMarkerKey(p.Digest, p.Inc)
		if err := v.store.bucket.Put(ctx, k, nil); err != nil {
			t.Error(err)
		}
	}
	incOf := func(v *Vault, d oci.Digest) pinned {
		p, err := v.choose(ctx, d, "")
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	t.Run("condemned before the push", func(t *testing.T) {
		v := open(t, t.TempDir(), Config{}).Vault()
		config := pushBlob(t, v, app, "config")
		condemn(v, incOf(v, config.Digest))
		err := v.PutManifest(ctx, app, imageOf("", config))
		wantCode(t, "PutManifest", err, oci.ErrInvalid, oci.CodeManifestBlobUnknown)
		other := ref.Name{Path: "other"}
		pushBlob(t, v, other, "config") // a new incarnation, since the old one cannot be relied on
		pushManifest(t, v, app, imageOf("", config))
	})
	t.Run("condemned between pin and look", func(t *testing.T) {
		dir := t.TempDir()
		s := open(t, dir, Config{})
		config := pushBlob(t, s.Vault(), app, "config")
		old := incOf(s.Vault(), config.Digest)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		hook := &afterPin{}
		s = open(t, dir, Config{wrap: func(d *Disk) Bucket { hook.Disk = d; return hook }})
		v := s.Vault()
		hook.do = func() {
			condemn(v, old)
			// Somebody pushes it again meanwhile.
			fresh := pinned{config.Digest, newInc(), config.Size}
			k, _ := vaultBlobKey(fresh.Digest, fresh.Inc)
			if err := hook.Disk.Put(ctx, k, []byte("config")); err != nil {
				t.Error(err)
			}
		}
		m := imageOf("", config)
		pushManifest(t, v, app, m)
		if p, err := v.pin(ctx, app, m.Digest); err != nil || p.inc(config.Digest) == old.Inc {
			t.Errorf("the pin names %v, %v, which is condemned", p, err)
		}
		keys, err := v.pinKeys(ctx, app, m.Digest)
		if err != nil || len(keys) != 1 || hook.pins != 2 {
			t.Errorf("%d pins are there (%v) of %d written, want 1 of 2", len(keys), err, hook.pins)
		}
	})
}

// An afterPin bucket does something when the first pin was written.
type afterPin struct {
	*Disk
	do   func()
	pins int
}

func (b *afterPin) Put(ctx context.Context, k Key, data []byte) error {
	err := b.Disk.Put(ctx, k, data)
	if strings.Contains(string(k), "/_m/") {
		if b.pins++; b.pins == 1 {
			b.do()
		}
	}
	return err
}

func TestVaultPushesAgainCheaply(t *testing.T) {
	steps := 0
	dir := t.TempDir()
	v := open(t, dir, Config{before: func(step) (bool, error) { steps++; return false, nil }}).Vault()
	m := pushImage(t, v, app, "one", "latest")
	before := steps
	opened := 0
	err := v.PutBlob(t.Context(), app, oci.Descriptor{Digest: digestOf("layer of one"), Size: 12},
		func(context.Context, int64) (io.ReadCloser, error) { opened++; return nil, errors.New("no") })
	if err != nil || opened != 0 {
		t.Errorf("a blob that is there: %v, opened %d times", err, opened)
	}
	pushManifest(t, v, app, m)
	if steps != before {
		t.Errorf("pushing the same again took %d steps, want none", steps-before)
	}
	if list, err := os.ReadDir(filepath.Join(dir, "v/m/team/app/_m/"+strings.Replace(string(m.Digest), ":", "-", 1))); err != nil || len(list) != 1 {
		t.Errorf("%d pins, %v, want 1", len(list), err)
	}
}

// TestVaultStoresBytesOnce: two repositories share one incarnation, but each
// had to bring the bytes.
func TestVaultStoresBytesOnce(t *testing.T) {
	dir := t.TempDir()
	v := open(t, dir, Config{}).Vault()
	other := ref.Name{Path: "other"}
	d := pushBlob(t, v, app, "a blob")
	if _, err := v.Stat(t.Context(), other, d.Digest); !errors.Is(err, oci.ErrNotFound) {
		t.Errorf("another repository sees it: %v", err)
	}
	err := v.PutBlob(t.Context(), other, d, source([]byte("A blob")))
	if !errors.Is(err, oci.ErrMismatch) {
		t.Errorf("other bytes under its digest: got %v, want ErrMismatch", err)
	}
	pushBlob(t, v, other, "a blob")
	k, _ := vaultBlobPrefix("b", d.Digest)
	if list, err := os.ReadDir(filepath.Join(dir, filepath.Dir(k))); err != nil || len(list) != 1 {
		t.Errorf("%d incarnations, %v, want 1", len(list), err)
	}
}

// TestPutBlobResumes reads from a source that breaks again and again.
func TestPutBlobResumes(t *testing.T) {
	v := open(t, t.TempDir(), Config{}).Vault()
	content := []byte(strings.Repeat("0123456789", 10))
	d := oci.Descriptor{Digest: oci.FromBytes(content, ""), Size: 100}
	var offsets []int64
	err := v.PutBlob(t.Context(), app, d, func(_ context.Context, off int64) (io.ReadCloser, error) {
		offsets = append(offsets, off)
		part := content[off:min(off+30, 100)]
		return io.NopCloser(io.MultiReader(bytes.NewReader(part), breaks(len(part) == 30))), nil
	})
	if want := []int64{0, 30, 60, 90}; err != nil || !slices.Equal(offsets, want) {
		t.Errorf("opened at %v, %v, want %v", offsets, err, want)
	}
	opened := 0
	err = v.PutBlob(t.Context(), app, oci.Descriptor{Digest: some, Size: 3}, func(context.Context, int64) (io.ReadCloser, error) {
		opened++
		return nil, io.ErrUnexpectedEOF
	})
	if !errors.Is(err, io.ErrUnexpectedEOF) || opened != maxRestarts {
		t.Errorf("a dead source: got %v after %d tries", err, opened)
	}
}

func breaks(really bool) io.Reader {
	if really {
		return iotest.ErrReader(io.ErrUnexpectedEOF)
	}
	return strings.NewReader("")
}
