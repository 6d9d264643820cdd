package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
	"github.com/google/go-cmp/cmp"
)

// pushImage pushes an image of one config and one layer.
func pushImage(t testing.TB, v *Vault, n ref.Name, name string, tags ...string) oci.Manifest {
	t.Helper()
	m := imageOf("", pushBlob(t, v, n, "config of "+name), pushBlob(t, v, n, "layer of "+name))
	pushManifest(t, v, n, m, tags...)
	return m
}

func pushManifest(t testing.TB, v *Vault, n ref.Name, m oci.Manifest, tags ...string) {
	t.Helper()
	if err := v.PutManifest(t.Context(), n, m, tags...); err != nil {
		t.Fatal(err)
	}
}

// wantCode checks an error's kind and code.
func wantCode(t *testing.T, what string, err, kind error, code string) {
	t.Helper()
	e, ok := errors.AsType[*oci.Error](err)
	if !ok || !errors.Is(err, kind) || e.Code != code {
		t.Errorf("%s: got %v (%+v), want %v with %s", what, err, e, kind, code)
	}
}

func TestVaultErrors(t *testing.T) {
	ctx := t.Context()
	v := open(t, t.TempDir(), Config{}).Vault()
	other := ref.Name{Path: "other"}
	for name, n := range map[string]ref.Name{"unknown repository": app, "known repository": other} {
		if n == other {
			pushImage(t, v, other, "one", "latest")
		}
		_, err := v.Manifest(ctx, n.WithTag("nope"))
		wantCode(t, name+": manifest by tag", err, oci.ErrNotFound, oci.CodeManifestUnknown)
		_, err = v.Resolve(ctx, n.WithDigest(some))
		wantCode(t, name+": manifest by digest", err, oci.ErrNotFound, oci.CodeManifestUnknown)
		_, err = v.Stat(ctx, n, some)
		wantCode(t, name+": stat", err, oci.ErrNotFound, oci.CodeBlobUnknown)
		_, err = v.Blob(ctx, n, some, 0)
		wantCode(t, name+": blob", err, oci.ErrNotFound, oci.CodeBlobUnknown)
		wantCode(t, name+": delete tag", v.DeleteTag(ctx, n, "nope"), oci.ErrNotFound, oci.CodeManifestUnknown)
		wantCode(t, name+": delete manifest", v.DeleteManifest(ctx, n, some), oci.ErrNotFound, oci.CodeManifestUnknown)
		wantCode(t, name+": delete blob", v.DeleteBlob(ctx, n, some), oci.ErrNotFound, oci.CodeBlobUnknown)
		_, err = v.Upload(ctx, n, "abc")
		wantCode(t, name+": upload", err, oci.ErrNotFound, oci.CodeBlobUploadUnknown)
		_, err = v.Upload(ctx, n, "../../../../../../etc/passwd")
		wantCode(t, name+": upload of a path", err, oci.ErrNotFound, oci.CodeBlobUploadUnknown)
		if list, err := v.Referrers(ctx, n, some, ""); err != nil || len(list) != 0 {
			t.Errorf("%s: referrers: got %v, %v, want none", name, list, err)
		}
	}
	for _, err := range v.Tags(ctx, app, "") {
		wantCode(t, "tags", err, oci.ErrNotFound, oci.CodeNameUnknown)
	}
	_, err := v.Stat(ctx, ref.Name{Path: "../up"}, some)
	wantCode(t, "a name that is none", err, oci.ErrInvalid, oci.CodeNameInvalid)
}

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
		"no layer, though sparse": {func(v *Vault) oci.Manifest { return imageOf("", blob("c", layer)) }, true, false},
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
		return iotestErrReader{}
	}
	return strings.NewReader("")
}

type iotestErrReader struct{}

func (iotestErrReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func TestVaultMounts(t *testing.T) {
	ctx := t.Context()
	v := open(t, t.TempDir(), Config{}).Vault()
	from, to := ref.Name{Path: "from"}, ref.Name{Path: "to"}
	d := pushBlob(t, v, from, "a blob")
	for _, source := range []ref.Name{{Path: "nope"}, to} {
		wantCode(t, "from "+source.Path, v.Mount(ctx, to, source, d.Digest), oci.ErrNotFound, oci.CodeBlobUnknown)
	}
	wantCode(t, "unknown", v.Mount(ctx, to, ref.Name{}, some), oci.ErrNotFound, oci.CodeBlobUnknown)
	for _, source := range []ref.Name{from, {}} {
		if err := v.Mount(ctx, to, source, d.Digest); err != nil {
			t.Fatal(err)
		}
		if got, err := v.Stat(ctx, to, d.Digest); err != nil || got.Size != d.Size {
			t.Errorf("Stat = %+v, %v", got, err)
		}
		if err := v.DeleteBlob(ctx, to, d.Digest); err != nil {
			t.Fatal(err)
		}
	}
	// The bytes are still there, but nobody has a right to them any more.
	if err := v.DeleteBlob(ctx, from, d.Digest); err != nil {
		t.Fatal(err)
	}
	wantCode(t, "deleted everywhere", v.Mount(ctx, to, ref.Name{}, d.Digest), oci.ErrNotFound, oci.CodeBlobUnknown)
}

func TestVaultDeletes(t *testing.T) {
	ctx := t.Context()
	dir := t.TempDir()
	s := open(t, dir, Config{})
	v := s.Vault()
	m := pushImage(t, v, app, "one", "a", "b")
	keep := pushImage(t, v, app, "two", "c")
	for _, r := range []ref.Ref{app.WithTag("a"), app.WithDigest(m.Digest)} { // warm
		if _, err := v.Manifest(ctx, r); err != nil {
			t.Fatal(err)
		}
	}
	if err := v.DeleteTag(ctx, app, "a"); err != nil {
		t.Fatal(err)
	}
	if _, err := v.Manifest(ctx, app.WithTag("a")); !errors.Is(err, oci.ErrNotFound) {
		t.Errorf("a deleted tag: %v", err)
	}
	if err := v.DeleteManifest(ctx, app, m.Digest); err != nil {
		t.Fatal(err)
	}
	for range 2 { // in RAM and from disk
		for _, r := range []ref.Ref{app.WithTag("b"), app.WithDigest(m.Digest)} {
			if _, err := v.Manifest(ctx, r); !errors.Is(err, oci.ErrNotFound) {
				t.Errorf("%s after its manifest was deleted: %v", r, err)
			}
		}
		if got, err := v.Manifest(ctx, app.WithTag("c")); err != nil || got.Digest != keep.Digest {
			t.Errorf("the other image: %v", err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = open(t, dir, Config{})
		v = s.Vault()
	}
	pushManifest(t, v, app, m, "a") // its blobs are still there
}

func TestVaultReferrers(t *testing.T) {
	ctx := t.Context()
	v := open(t, t.TempDir(), Config{}).Vault()
	m := pushImage(t, v, app, "one", "latest")
	config := pushBlob(t, v, app, "{}")
	refer := func(artifactType string) oci.Manifest {
		a := imageOf(fmt.Sprintf(`,"subject":%s,"artifactType":%q,"annotations":{"for":"us"}`, descriptor(m.Descriptor()), artifactType), config)
		pushManifest(t, v, app, a)
		return a
	}
	sbom, signature := refer("application/sbom"), refer("application/signature")
	list, err := v.Referrers(ctx, app, m.Digest, "")
	if err != nil || len(list) != 2 {
		t.Fatalf("Referrers = %v, %v, want 2", list, err)
	}
	list, err = v.Referrers(ctx, app, m.Digest, "application/sbom")
	want := sbom.Descriptor()
	want.ArtifactType, want.Annotations = "application/sbom", map[string]string{"for": "us"}
	if diff := cmp.Diff([]oci.Descriptor{want}, list); diff != "" || err != nil {
		t.Errorf("with a filter: %v\n%s", err, diff)
	}
	if list, err := v.Referrers(ctx, ref.Name{Path: "other"}, m.Digest, ""); err != nil || len(list) != 0 {
		t.Errorf("another repository: %v, %v", list, err)
	}
	if err := v.DeleteManifest(ctx, app, sbom.Digest); err != nil {
		t.Fatal(err)
	}
	if list, err := v.Referrers(ctx, app, m.Digest, ""); err != nil || len(list) != 1 || list[0].Digest != signature.Digest {
		t.Errorf("after a delete: %v, %v", list, err)
	}
}

func TestVaultLists(t *testing.T) {
	ctx := t.Context()
	v := open(t, t.TempDir(), Config{}).Vault()
	names := []string{"a", "a-b", "a/b", "a/b/c", "ab", "b"}
	for _, path := range names {
		pushManifest(t, v, ref.Name{Path: path}, indexOf(), "latest")
	}
	pushBlob(t, v, ref.Name{Path: "only/blobs"}, "x")
	for i := range names {
		after := ""
		if i > 0 {
			after = names[i-1]
		}
		var got []string
		for path, err := range v.Repositories(ctx, after) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, path)
		}
		if want := names[i:]; !slices.Equal(got, want) {
			t.Errorf("Repositories after %q = %q, want %q", after, got, want)
		}
	}
	pushManifest(t, v, app, indexOf(), "b", "B", "a", "_", "a.1", "a-1")
	tags := []string{"B", "_", "a", "a-1", "a.1", "b"}
	for i, after := range append([]string{""}, tags...) {
		var got []string
		for tag, err := range v.Tags(ctx, app, after) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, tag)
		}
		if want := tags[i:]; !slices.Equal(got, want) {
			t.Errorf("Tags after %q = %q, want %q", after, got, want)
		}
	}
	if err := v.DeleteManifest(ctx, ref.Name{Path: "a"}, indexOf().Digest); err != nil {
		t.Fatal(err)
	}
	for path, err := range v.Repositories(ctx, "") {
		if path == "a" || err != nil {
			t.Errorf("a repository that was emptied is listed: %q, %v", path, err)
		}
	}
}

// TestVaultAlarms: damage to what was pushed is never served and never
// silent, and pushing again heals it.
func TestVaultAlarms(t *testing.T) {
	ctx := t.Context()
	dir := t.TempDir()
	log, text := logged()
	s := open(t, dir, Config{})
	m := pushImage(t, s.Vault(), app, "one", "latest")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	p, _ := vaultBlobPrefix("b", m.Digest)
	files, _ := filepath.Glob(filepath.Join(dir, p+"*"))
	if len(files) != 1 {
		t.Fatalf("found %q", files)
	}
	if err := errors.Join(os.Chmod(files[0], 0o600), os.WriteFile(files[0], bytes.Repeat([]byte("x"), len(m.Raw)), 0o600)); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir, Config{Log: log})
	v := s.Vault()
	if _, err := v.Manifest(ctx, app.WithTag("latest")); !errors.Is(err, oci.ErrNotFound) {
		t.Errorf("a damaged manifest: got %v, want ErrNotFound", err)
	}
	if !strings.Contains(text.String(), "level=ERROR") || !strings.Contains(text.String(), "quarantine") {
		t.Errorf("the log says nothing of it: %s", text)
	}
	pushManifest(t, v, app, m)
	if got, err := v.Manifest(ctx, app.WithTag("latest")); err != nil || !bytes.Equal(got.Raw, m.Raw) {
		t.Errorf("after pushing it again: %v", err)
	}
	if err := check(dir); err != nil {
		t.Error(err)
	}
}

// TestVaultReadsAnyIncarnation: a link whose incarnation has gone is no
// reason to fail while another one is there.
func TestVaultReadsAnyIncarnation(t *testing.T) {
	ctx := t.Context()
	v := open(t, t.TempDir(), Config{}).Vault()
	d := pushBlob(t, v, app, "a blob")
	old, err := v.choose(ctx, d.Digest, "")
	if err != nil {
		t.Fatal(err)
	}
	k, _ := vaultBlobKey(d.Digest, old.Inc)
	fresh, _ := vaultBlobKey(d.Digest, newInc())
	if err := v.store.disk.Move(ctx, k, fresh); err != nil {
		t.Fatal(err)
	}
	b, err := v.Blob(ctx, app, d.Digest, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Body.Close()
	if err := same(b.Body, "a blob"); err != nil {
		t.Error(err)
	}
	if _, ok := b.Body.(*os.File); !ok {
		t.Errorf("the body is a %T, want an *os.File for sendfile", b.Body)
	}
}

func TestVaultWarmLookupsDoNoIO(t *testing.T) {
	dir := t.TempDir()
	v := open(t, dir, Config{}).Vault()
	m := pushImage(t, v, app, "one", "latest")
	byTag, byDigest := app.WithTag("latest"), app.WithDigest(m.Digest)
	if _, err := v.Manifest(t.Context(), byTag); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(dir, "v")); err != nil {
		t.Fatal(err)
	}
	for _, r := range []ref.Ref{byTag, byDigest} {
		if got, err := v.Manifest(t.Context(), r); err != nil || !bytes.Equal(got.Raw, m.Raw) {
			t.Errorf("Manifest(%s): %v", r, err)
		}
		if n := testing.AllocsPerRun(100, func() { _, _ = v.Manifest(t.Context(), r) }); n != 0 {
			t.Errorf("a warm Manifest(%s) allocates %v times, want 0", r, n)
		}
	}
}

// TestVaultConcurrently pushes, moves, deletes and reads one repository at
// once. At the end, and at every read, nothing dangles.
func TestVaultConcurrently(t *testing.T) {
	ctx := t.Context()
	dir := t.TempDir()
	v := open(t, dir, Config{before: quick}).Vault()
	var images []oci.Manifest
	for i := range 4 {
		images = append(images, pushImage(t, v, app, fmt.Sprint(i)))
	}
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 30 {
				m := images[(g+i)%len(images)]
				switch (g + i) % 4 {
				case 0:
					if err := v.DeleteManifest(ctx, app, m.Digest); err != nil && !errors.Is(err, oci.ErrNotFound) {
						t.Errorf("DeleteManifest: %v", err)
					}
				case 1:
					if err := v.DeleteTag(ctx, app, "latest"); err != nil && !errors.Is(err, oci.ErrNotFound) {
						t.Errorf("DeleteTag: %v", err)
					}
				default:
					if err := v.PutManifest(ctx, app, m, "latest"); err != nil {
						t.Errorf("PutManifest: %v", err)
					}
				}
				if _, err := v.Manifest(ctx, app.WithTag("latest")); err != nil && !errors.Is(err, oci.ErrNotFound) {
					t.Errorf("Manifest: %v", err)
				}
			}
		})
	}
	wg.Wait()
	if err := check(dir); err != nil {
		t.Error(err)
	}
}
