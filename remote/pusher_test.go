package remote

import (
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/entrepot/entrepot/internal/regtest"
	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
)

// TestPushBlob holds what a push costs: one request where it is mounted, two
// where the registry offers an upload instead, three where it refuses.
func TestPushBlob(t *testing.T) {
	mounts := func(e regtest.Entry) bool { return strings.Contains(e.Query, "mount=") }
	refuse := func(code int) func(*regtest.Registry) {
		return func(reg *regtest.Registry) {
			reg.On(regtest.Match{Kind: regtest.Upload, If: mounts}, regtest.Status(code))
		}
	}
	for name, c := range map[string]struct {
		prepare func(*regtest.Registry)
		size    int
		mounted bool
		want    []string
	}{
		"mounted":       {func(*regtest.Registry) {}, 100, true, []string{"POST 201"}},
		"offered":       {(*regtest.Registry).DropMounts, 100, false, []string{"POST 202", "PUT 201"}},
		"denied":        {refuse(http.StatusForbidden), 100, false, []string{"POST 403", "POST 202", "PUT 201"}},
		"not found":     {refuse(http.StatusNotFound), 100, false, []string{"POST 404", "POST 202", "PUT 201"}},
		"large mounted": {func(*regtest.Registry) {}, int(testSizes.whole) + 1, true, []string{"POST 201"}},
	} {
		t.Run(name, func(t *testing.T) {
			reg, e := pusher(t)
			s := &source{raw: random(c.size)}
			reg.AddBlob("other/repo", regtest.Bytes(s.raw))
			c.prepare(reg)
			mounted, err := e.PushBlob(t.Context(), repo, s.descriptor(), s.open, oci.Push{From: ref.Name{Path: "other/repo"}})
			if err != nil || mounted != c.mounted {
				t.Fatalf("mounted %v, %v", mounted, err)
			}
			if diff := cmp.Diff(c.want, uploads(reg)); diff != "" {
				t.Errorf("requests (-want +got):\n%s", diff)
			}
			pushed(t, e, s)
		})
	}
}

// TestPushBlobGoesOn takes up the session of a process that has ended.
func TestPushBlobGoesOn(t *testing.T) {
	reg, e := pusher(t)
	s := &source{raw: random(int(testSizes.whole) * 2)}
	var session string
	var size int64
	reg.On(regtest.Match{Kind: regtest.Upload, Method: "PATCH", After: 1}, regtest.Status(http.StatusForbidden))
	confirmed := func(at string, n int64) { session, size = at, n }
	if _, err := e.PushBlob(t.Context(), repo, s.descriptor(), s.open, oci.Push{Confirmed: confirmed}); err == nil {
		t.Fatal("the first push was not interrupted")
	}
	if session == "" || size != testSizes.first {
		t.Fatalf("confirmed: %q, %d bytes, want the first chunk of %d", session, size, testSizes.first)
	}
	reg.Clear()
	reg.ResetLog()
	if _, err := e.PushBlob(t.Context(), repo, s.descriptor(), s.open, oci.Push{Session: session}); err != nil {
		t.Fatal(err)
	}
	pushed(t, e, s)
	for _, entry := range uploads(reg) {
		if strings.HasPrefix(entry, "POST") || strings.HasPrefix(entry, "PATCH 0-") {
			t.Errorf("it began anew: %s", entry)
		}
	}
	if _, err := e.PushBlob(t.Context(), repo, s.descriptor(), s.open, oci.Push{Session: session}); err != nil {
		t.Errorf("with a session that is gone: %v", err)
	}
}

func TestPushManifest(t *testing.T) {
	reg, e := pusher(t)
	subject := reg.AddImage("other", regtest.Image{}).Descriptor()
	for tag, want := range map[string]string{"": "/manifests/sha256:", "v1": "/manifests/v1"} {
		m := regtest.NewShelf().AddReferrer("x", subject, "application/sig", 1).Manifest
		reg.ResetLog()
		listed, err := e.PushManifest(t.Context(), repo, m, tag)
		if err != nil || !listed {
			t.Errorf("tag %q: listed %v, %v", tag, listed, err)
		}
		if log := reg.Log(); len(log) != 1 || !strings.Contains(log[0].Path, want) {
			t.Errorf("tag %q: %d requests, want one for %s", tag, len(log), want)
		}
	}
	reg.DropReferrersAPI()
	m := regtest.NewShelf().AddReferrer("x", subject, "application/sig", 2).Manifest
	if listed, err := e.PushManifest(t.Context(), repo, m, ""); err != nil || listed {
		t.Errorf("without the referrers API: listed %v, %v", listed, err)
	}
}

// TestSubjects holds that an endpoint without the referrers API is asked for
// it once.
func TestSubjects(t *testing.T) {
	reg, e := pusher(t)
	img := reg.AddImage(repo.Path, regtest.Image{})
	sig := reg.AddReferrer(repo.Path, img.Descriptor(), "application/sig", 1)
	found, err := e.Subjects(t.Context(), repo, img.Digest)
	if err != nil || len(found) != 1 || found[0].Digest != sig.Digest {
		t.Errorf("got %v, %v, want %s", found, err, sig.Digest)
	}
	reg, e = pusher(t)
	reg.DropReferrersAPI()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			_, err := e.Subjects(t.Context(), repo, img.Digest)
			wantKind(t, err, oci.ErrUnsupported)
		})
	}
	wg.Wait()
	if n := len(reg.Log()); n != 1 {
		t.Errorf("%d requests, want one", n)
	}
}

// TestBlobRange reads parts, from a registry that can and from one that cannot.
func TestBlobRange(t *testing.T) {
	reg, e := pusher(t)
	raw := random(1000)
	d := reg.AddBlob(repo.Path, regtest.Bytes(raw)).Digest
	for _, r := range [][2]int64{{0, 10}, {10, 20}, {990, 1000}, {0, 1000}} {
		for _, ranges := range []bool{true, false} {
			reg.Clear()
			if !ranges {
				reg.On(regtest.Match{Kind: regtest.Blob}, regtest.NoRange())
			}
			b, err := e.BlobRange(t.Context(), repo, d, r[0], r[1])
			if err != nil {
				t.Fatal(err)
			}
			got := readAllOf(t, b)
			if got != string(raw[r[0]:r[1]]) || b.Size != 1000 {
				t.Errorf("%v, ranges %v: %d bytes of %d", r, ranges, len(got), b.Size)
			}
		}
	}
	reg.Clear()
	reg.On(regtest.Match{Kind: regtest.Blob}, regtest.WrongRange("bytes 10-29/1000"))
	_, err := e.BlobRange(t.Context(), repo, d, 10, 20)
	wantKind(t, err, oci.ErrMismatch)
	_, err = e.BlobRange(t.Context(), repo, d, 20, 20)
	wantKind(t, err, oci.ErrInvalid)
}

func readAllOf(t *testing.T, b oci.Blob) string {
	t.Helper()
	defer b.Body.Close()
	raw, err := io.ReadAll(b.Body)
	if err != nil {
		t.Error(err)
	}
	return string(raw)
}
