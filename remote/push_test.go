package remote

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/entrepot/entrepot/internal/regtest"
	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
	"github.com/google/go-cmp/cmp"
)

// testSizes make a blob of 1000 bytes a large one.
var testSizes = uploadSizes{whole: 100, first: 160, most: 640, small: 40}

func random(n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{1}).Read(b)
	return b
}

// A source is content to push that notes from where it was opened.
type source struct {
	raw  []byte
	mu   sync.Mutex
	offs []int64
}

func (s *source) open(_ context.Context, off int64) (io.ReadCloser, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.offs = append(s.offs, off)
	return io.NopCloser(bytes.NewReader(s.raw[off:])), nil
}

func (s *source) descriptor() oci.Descriptor {
	return oci.Descriptor{Digest: oci.FromBytes(s.raw, ""), Size: int64(len(s.raw))}
}

// pusher returns a registry and an endpoint that pushes to it in small pieces.
func pusher(t *testing.T) (*regtest.Registry, *Endpoint) {
	t.Helper()
	reg := regtest.New(t, regtest.Config{})
	e := endpoint(t, ClientConfig{Retry: Retry{Attempts: 5, Base: time.Nanosecond}}, EndpointConfig{URL: reg.URL(), AssumeAbsent: true})
	e.sizes = testSizes
	return reg, e
}

// uploads returns the methods of a registry's upload requests, with their
// statuses.
func uploads(reg *regtest.Registry) []string {
	reg.Idle()
	var all []string
	for _, e := range reg.Log() {
		if e.Kind == regtest.Upload {
			all = append(all, fmt.Sprintf("%s %s%d", e.Method, strings.TrimPrefix(e.Header.Get("Content-Range")+" ", " "), e.Status))
		}
	}
	return all
}

func pushed(t *testing.T, e *Endpoint, s *source) {
	t.Helper()
	got, b, err := readBlob(e, s.descriptor().Digest, 0)
	if err != nil || got != string(s.raw) || b.Size != int64(len(s.raw)) {
		t.Errorf("what was pushed reads as %d bytes, %v", len(got), err)
	}
}

func TestPutBlobTakesTwoRequests(t *testing.T) {
	for _, size := range []int{0, 1, 100} {
		reg, e := pusher(t)
		s := &source{raw: random(size)}
		if err := e.PutBlob(t.Context(), repo, s.descriptor(), s.open); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{"POST 202", "PUT 201"}, uploads(reg)); diff != "" {
			t.Errorf("%d bytes (-want +got):\n%s", size, diff)
		}
		pushed(t, e, s)
	}
}

func TestPutBlobThatIsThere(t *testing.T) {
	reg, e := pusher(t)
	e.cfg.AssumeAbsent = false
	s := &source{raw: random(50)}
	for range 2 {
		if err := e.PutBlob(t.Context(), repo, s.descriptor(), s.open); err != nil {
			t.Fatal(err)
		}
	}
	if len(s.offs) != 1 || reg.Count("POST", regtest.Upload) != 1 || reg.Count("HEAD", regtest.Blob) != 2 || reg.Count("GET", regtest.Blob) != 0 {
		t.Errorf("it was read %d times, %q", len(s.offs), uploads(reg))
	}
}

func TestPutBlobInChunks(t *testing.T) {
	reg, e := pusher(t)
	s := &source{raw: random(2000)}
	if err := e.PutBlob(t.Context(), repo, s.descriptor(), s.open); err != nil {
		t.Fatal(err)
	}
	want := []string{"POST 202", "PATCH 0-159 202", "PATCH 160-479 202", "PATCH 480-1119 202", "PATCH 1120-1759 202", "PATCH 1760-1999 202", "PUT 201"}
	if diff := cmp.Diff(want, uploads(reg)); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]int64{0}, s.offs); diff != "" {
		t.Errorf("the source was opened more than once: %v", s.offs)
	}
	pushed(t, e, s)
}

// TestPutBlobSurvives holds that a push goes on after whatever happens to one
// of its requests, and sends no more than a chunk again where the session
// lives.
func TestPutBlobSurvives(t *testing.T) {
	for _, tt := range []struct {
		name  string
		match regtest.Match
		fault regtest.Fault
		size  int
		opens []int64
	}{
		{"PUT hangs up", regtest.Match{Method: "PUT"}, regtest.HangUp(), 100, []int64{0, 0}},
		{"PUT 503", regtest.Match{Method: "PUT"}, regtest.Status(503), 100, []int64{0, 0}},
		{"PUT 404", regtest.Match{Method: "PUT"}, regtest.Status(404), 100, []int64{0, 0}},
		{"POST 500", regtest.Match{Method: "POST"}, regtest.Status(500), 100, []int64{0}},
		{"PATCH 500", regtest.Match{Method: "PATCH", After: 1}, regtest.Status(500), 1000, []int64{0, 160}},
		{"PATCH hangs up", regtest.Match{Method: "PATCH", After: 2}, regtest.HangUp(), 1000, []int64{0, 480}},
		{"PATCH 404: a new session", regtest.Match{Method: "PATCH", After: 1}, regtest.Status(404), 1000, []int64{0, 160}},
		{"PATCH 416: a new session", regtest.Match{Method: "PATCH", After: 1}, regtest.Status(416), 1000, []int64{0, 0}},
		{"PATCH 413: smaller chunks", regtest.Match{Method: "PATCH"}, regtest.Status(413), 1000, []int64{0, 0}},
		{"end 502", regtest.Match{Method: "PUT"}, regtest.Status(502), 1000, []int64{0}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			reg, e := pusher(t)
			tt.match.Kind, tt.match.Times = regtest.Upload, 1
			reg.On(tt.match, tt.fault)
			s := &source{raw: random(tt.size)}
			if err := e.PutBlob(t.Context(), repo, s.descriptor(), s.open); err != nil {
				t.Fatalf("%v\n%q", err, uploads(reg))
			}
			if diff := cmp.Diff(tt.opens, s.offs); diff != "" {
				t.Errorf("the source was opened (-want +got):\n%s\n%q", diff, uploads(reg))
			}
			pushed(t, e, s)
		})
	}
}

// TestPutBlobWhoseEndWasNotAnswered holds that a commit that arrived is not
// repeated.
func TestPutBlobWhoseEndWasNotAnswered(t *testing.T) {
	reg, e := pusher(t)
	s := &source{raw: random(1000)}
	reg.On(regtest.Match{Method: "PUT", Kind: regtest.Upload, Times: 1}, regtest.Fault{Status: 504, Before: func() {
		reg.AddBlob(repo.Path, regtest.Bytes(s.raw))
	}})
	if err := e.PutBlob(t.Context(), repo, s.descriptor(), s.open); err != nil {
		t.Fatal(err)
	}
	if n := reg.Count("PUT", regtest.Upload); n != 1 {
		t.Errorf("%d commits", n)
	}
}

func TestPutBlobGivesUp(t *testing.T) {
	for _, tt := range []struct {
		name   string
		match  regtest.Match
		status int
		size   int
		kind   error
	}{
		{"takes no chunk more", regtest.Match{Method: "PATCH", After: 1}, 416, 1000, oci.ErrUnsupported},
		{"never well", regtest.Match{Method: "PATCH"}, 500, 1000, oci.ErrUnavailable},
		{"denied", regtest.Match{Method: "POST"}, 403, 10, oci.ErrDenied},
		{"no repository", regtest.Match{Method: "POST"}, 404, 10, oci.ErrNotFound},
		{"too large", regtest.Match{Method: "PUT"}, 413, 10, oci.ErrTooLarge},
	} {
		t.Run(tt.name, func(t *testing.T) {
			reg, e := pusher(t)
			tt.match.Kind = regtest.Upload
			reg.On(tt.match, regtest.Status(tt.status))
			s := &source{raw: random(tt.size)}
			wantKind(t, e.PutBlob(t.Context(), repo, s.descriptor(), s.open), tt.kind)
			if n := len(uploads(reg)); n > 30 {
				t.Errorf("%d requests before it gave up", n)
			}
		})
	}
}

// TestPutBlobWithoutChunks pushes to a registry that takes blobs in one request
// alone.
func TestPutBlobWithoutChunks(t *testing.T) {
	reg, e := pusher(t)
	reg.On(regtest.Match{Kind: regtest.Upload, Method: "PATCH"}, regtest.Status(416))
	s := &source{raw: random(1000)}
	if err := e.PutBlob(t.Context(), repo, s.descriptor(), s.open); err != nil {
		t.Fatal(err)
	}
	pushed(t, e, s)
}

func TestPutBlobMinimumChunk(t *testing.T) {
	reg, e := pusher(t)
	reg.On(regtest.Match{Method: "POST", Kind: regtest.Upload}, regtest.Fault{Header: http.Header{"Oci-Chunk-Min-Length": {"600"}}})
	s := &source{raw: random(1000)}
	if err := e.PutBlob(t.Context(), repo, s.descriptor(), s.open); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"POST 202", "PATCH 0-599 202", "PATCH 600-999 202", "PUT 201"}, uploads(reg)); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
}

// TestProgressThatGoesBackwards holds that a registry that counts wrong is not
// obeyed (aws/containers-roadmap#2831), one that says that it took less is, and
// that either way the blob arrives.
func TestProgressThatGoesBackwards(t *testing.T) {
	for said, want := range map[string][]int64{"0-159": {0}, "0-0": {0}, "nonsense": {0}, "0-169": {0, 170, 480}} {
		reg, e := pusher(t)
		reg.On(regtest.Match{Method: "PATCH", Kind: regtest.Upload, After: 1, Times: 1}, regtest.Fault{Header: http.Header{"Range": {said}}})
		s := &source{raw: random(1000)}
		if err := e.PutBlob(t.Context(), repo, s.descriptor(), s.open); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, s.offs); diff != "" {
			t.Errorf("%s: the source was opened (-want +got):\n%s", said, diff)
		}
		pushed(t, e, s)
	}
}

func TestSourceFails(t *testing.T) {
	broken := oci.Errorf(oci.ErrDenied, oci.CodeDenied, "the source says no")
	for _, size := range []int64{50, 1000} {
		reg, e := pusher(t)
		raw := random(int(size))
		d := oci.Descriptor{Digest: oci.FromBytes(raw, ""), Size: size}
		err := e.PutBlob(t.Context(), repo, d, func(context.Context, int64) (io.ReadCloser, error) { return nil, broken })
		wantKind(t, err, oci.ErrDenied)
		err = e.PutBlob(t.Context(), repo, d, func(context.Context, int64) (io.ReadCloser, error) {
			return io.NopCloser(io.MultiReader(bytes.NewReader(raw[:20]), errorReader{broken})), nil
		})
		if !errors.Is(err, oci.ErrDenied) || !strings.Contains(err.Error(), "content to send") {
			t.Errorf("%d bytes: %v, want the source's error", size, err)
		}
		err = e.PutBlob(t.Context(), repo, d, func(context.Context, int64) (io.ReadCloser, error) {
			return io.NopCloser(bytes.NewReader(raw[:20])), nil
		})
		if err == nil {
			t.Errorf("%d bytes: a source that is too short was pushed", size)
		}
		wrong := bytes.Repeat([]byte("x"), int(size))
		err = e.PutBlob(t.Context(), repo, d, func(_ context.Context, off int64) (io.ReadCloser, error) {
			return io.NopCloser(bytes.NewReader(wrong[off:])), nil
		})
		wantKind(t, err, oci.ErrMismatch)
		if n := reg.Count("PUT", regtest.Upload); n > 3 {
			t.Errorf("%d bytes: %d commits of what cannot succeed", size, n)
		}
	}
	_, e := pusher(t)
	wantKind(t, e.PutBlob(t.Context(), repo, oci.Descriptor{Digest: digestOf("x"), Size: -1}, nil), oci.ErrInvalid)
}

type errorReader struct{ err error }

func (r errorReader) Read([]byte) (int, error) { return 0, r.err }

// TestPushWithTokens holds that a token that ends in the middle of a push costs
// no more than the chunk it was refused with (oc-mirror#526).
func TestPushWithTokens(t *testing.T) {
	for _, size := range []int{50, 1000} {
		reg, e := pusher(t)
		reg.SetAuth(regtest.Auth{Scheme: "Bearer", Username: "u", Password: "p"})
		e.cfg.Credentials = Static("u", NewSecret("p"))
		reg.On(regtest.Match{Kind: regtest.Upload, Method: map[bool]string{true: "PUT", false: "PATCH"}[size < 100], After: size / 1000, Times: 1},
			regtest.Fault{Before: reg.RevokeTokens})
		s := &source{raw: random(size)}
		if err := e.PutBlob(t.Context(), repo, s.descriptor(), s.open); err != nil {
			t.Fatalf("%v: %q", err, uploads(reg))
		}
		pushed(t, e, s)
		if n := reg.Count("POST", regtest.Upload); n != 2 { // the first was refused for want of a token
			t.Errorf("%d bytes: %d sessions: %q", size, n, uploads(reg))
		}
	}
}

func TestPutManifest(t *testing.T) {
	m := oci.Manifest{MediaType: oci.TypeImageManifest, Digest: digestOf(manifestJSON), Raw: []byte(manifestJSON)}
	for _, tt := range []struct {
		name string
		tags []string
		old  bool // the registry does not know tag parameters
		puts int
	}{
		{"by digest", nil, false, 1},
		{"one tag", []string{"a"}, false, 1},
		{"many tags", []string{"a", "b", "c"}, false, 1},
		{"twelve tags", strings.Split("a b c d e f g h i j k l", " "), false, 3},
		{"an old registry", []string{"a", "b"}, true, 3},
	} {
		t.Run(tt.name, func(t *testing.T) {
			reg, e := pusher(t)
			if tt.old {
				reg.On(regtest.Match{Kind: regtest.Manifest, Method: "PUT"}, regtest.Fault{Header: http.Header{"Oci-Tag": nil}})
			}
			if err := e.PutManifest(t.Context(), repo, m, tt.tags...); err != nil {
				t.Fatal(err)
			}
			if n := reg.Count("PUT", regtest.Manifest); n != tt.puts {
				t.Errorf("%d requests, want %d", n, tt.puts)
			}
			for _, tag := range tt.tags {
				if d, err := e.Resolve(t.Context(), repo.WithTag(tag)); err != nil || d.Digest != m.Digest || d.MediaType != m.MediaType {
					t.Errorf("tag %s: %+v, %v", tag, d, err)
				}
			}
			if got, err := e.Manifest(t.Context(), repo.WithDigest(m.Digest)); err != nil || string(got.Raw) != manifestJSON {
				t.Errorf("by digest: %v", err)
			}
		})
	}
}

func TestPutManifestRefusals(t *testing.T) {
	reg, e := pusher(t)
	m := oci.Manifest{MediaType: oci.TypeImageManifest, Digest: digestOf(manifestJSON), Raw: []byte(manifestJSON)}
	wantKind(t, e.PutManifest(t.Context(), repo, m, "no/tag"), oci.ErrInvalid)
	reg.On(regtest.Match{Times: 1}, regtest.WrongDigest(string(digestOf("x"))))
	wantKind(t, e.PutManifest(t.Context(), repo, m), oci.ErrMismatch)
	m.Digest = digestOf("x")
	wantKind(t, e.PutManifest(t.Context(), repo, m), oci.ErrMismatch)
	m.Digest = oci.FromBytes(m.Raw, "sha512:")
	if err := e.PutManifest(t.Context(), repo, m, "v1"); err != nil { // the parameter keeps its algorithm
		t.Error(err)
	}
	reg.On(regtest.Match{}, regtest.Fault{Header: http.Header{"Oci-Tag": nil}})
	wantKind(t, e.PutManifest(t.Context(), repo, m, "v1"), oci.ErrUnsupported)
}

func TestMount(t *testing.T) {
	reg, e := pusher(t)
	reg.SetAuth(regtest.Auth{Scheme: "Bearer"})
	d := reg.AddBlob("other/repo", regtest.Bytes([]byte(content)))
	other := ref.Name{Path: "other/repo"}
	if err := e.Mount(t.Context(), repo, other, d.Digest); err != nil {
		t.Fatal(err)
	}
	if got, _, err := readBlob(e, d.Digest, 0); err != nil || got != content {
		t.Errorf("mounted: %q, %v", got, err)
	}
	reg.ResetLog()
	wantKind(t, e.Mount(t.Context(), repo, other, digestOf("not there")), oci.ErrNotFound)
	if diff := cmp.Diff([]string{"POST 202", "DELETE 204"}, uploads(reg)); diff != "" {
		t.Errorf("a refused mount (-want +got):\n%s", diff)
	}
}

func TestDelete(t *testing.T) {
	reg, e := pusher(t)
	img := reg.AddImage(repo.Path, regtest.Image{Layers: []int64{10}}, "v1", "v2")
	ctx := t.Context()
	if err := errors.Join(e.DeleteTag(ctx, repo, "v1"), e.DeleteManifest(ctx, repo, img.Digest), e.DeleteBlob(ctx, repo, img.Layers[0].Digest)); err != nil {
		t.Fatal(err)
	}
	for _, tag := range []string{"v1", "v2"} {
		_, err := e.Manifest(ctx, repo.WithTag(tag))
		wantKind(t, err, oci.ErrNotFound)
	}
	wantKind(t, e.DeleteBlob(ctx, repo, img.Layers[0].Digest), oci.ErrNotFound)
	for status, kind := range map[int]error{405: oci.ErrUnsupported, 400: oci.ErrUnsupported, 403: oci.ErrDenied} {
		reg.On(regtest.Match{Method: "DELETE", Times: 1}, regtest.Status(status))
		wantKind(t, e.DeleteTag(ctx, repo, "v1"), kind)
	}
}
