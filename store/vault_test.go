package store

import (
	"bytes"
	"errors"
	"fmt"
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
// silent, and pushing again heals it (harbor#15654).
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
