package proxy

import (
	"bytes"
	"context"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entrepot/entrepot/internal/regtest"
	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
)

// results runs n requests at once and counts how they were answered.
func results(t testing.TB, n int, request func(ctx context.Context) error) map[oci.Result]int {
	t.Helper()
	var mu sync.Mutex
	counts := map[oci.Result]int{}
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			var o oci.Outcome
			if err := request(oci.WithOutcome(t.Context(), &o)); err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			counts[o.Result]++
		})
	}
	wg.Wait()
	return counts
}

func TestManifestCoalesces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{})
		img := r.up.AddImage(alpine.Path, regtest.Image{})
		r.up.On(regtest.Match{}, regtest.Trouble{Delay: time.Second})
		got := results(t, 100, func(ctx context.Context) error {
			m, err := r.Manifest(ctx, alpine.WithDigest(img.Digest))
			if !bytes.Equal(m.Raw, img.Raw) {
				t.Errorf("got %q", m.Raw)
			}
			return err
		})
		if got[oci.Miss] != 1 || got[oci.Coalesced] != 99 {
			t.Errorf("answered as %v, want 1 miss and 99 coalesced", got)
		}
		r.wantWire("GET manifest")
	})
}

// A client that leaves does not take the flight with it.
func TestManifestOutlivesClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{})
		img := r.up.AddImage(alpine.Path, regtest.Image{})
		r.up.On(regtest.Match{}, regtest.Trouble{Delay: 3 * time.Second})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := r.Manifest(ctx, alpine.WithDigest(img.Digest)); err != context.DeadlineExceeded {
			t.Errorf("error is %v, want the context's", err)
		}
		if _, err := r.Manifest(t.Context(), alpine.WithDigest(img.Digest)); err != nil {
			t.Error(err)
		}
		r.wantWire("GET manifest")
	})
}

func TestResolveByDigest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{})
		img := r.up.AddImage(alpine.Path, regtest.Image{})
		r.up.On(regtest.Match{}, regtest.Trouble{Delay: time.Second})
		resolve := func(ctx context.Context) error {
			d, err := r.Resolve(ctx, alpine.WithDigest(img.Digest))
			if d.Digest != img.Digest || d.Size != int64(len(img.Raw)) || d.MediaType != img.MediaType {
				t.Errorf("got %+v", d)
			}
			return err
		}
		if got := results(t, 100, resolve); got[oci.Miss] != 1 || got[oci.Coalesced] != 99 {
			t.Errorf("answered as %v, want 1 miss and 99 coalesced", got)
		}
		r.wantWire("HEAD manifest")
		if _, err := r.Manifest(t.Context(), alpine.WithDigest(img.Digest)); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if got := results(t, 1, resolve); got[oci.Hit] != 1 {
			t.Errorf("a stored manifest was answered as %v", got)
		}
		r.wantWire("HEAD manifest", "GET manifest")
	})
}

// liar answers every manifest with another one.
type liar struct {
	*regtest.Memory
	lie oci.Manifest
}

func (l liar) Manifest(ctx context.Context, r ref.Ref) (oci.Manifest, error) {
	_, err := l.Memory.Manifest(ctx, r)
	return l.lie, err
}

func TestManifestWrongContent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{})
		img := r.up.AddImage(alpine.Path, regtest.Image{}, "3.20")
		r.stop()
		r.start(liar{r.up, oci.Manifest{MediaType: oci.TypeImageManifest, Digest: img.Digest, Raw: []byte("<html>")}})
		for _, asked := range []ref.Ref{alpine.WithDigest(img.Digest), alpine.WithTag("3.20")} {
			_, err := r.Manifest(t.Context(), asked)
			wantError(t, err, oci.ErrMismatch)
		}
		if r.count(EventMismatch) == 0 {
			t.Error("nobody was told of the mismatch")
		}
		if r.hasManifest(repo{scope: "docker.io", name: alpine}, img.Digest) {
			t.Error("the wrong manifest was stored")
		}
	})
}

// What one scope or repository has stored is not an answer in another one.
func TestManifestBelongsToRepository(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{Policy: func(_ context.Context, n ref.Name) Policy { return Policy{Scope: n.Host + "-user"} }})
		img := r.up.AddImage(alpine.Path, regtest.Image{})
		if _, err := r.Manifest(t.Context(), alpine.WithDigest(img.Digest)); err != nil {
			t.Fatal(err)
		}
		_, err := r.Manifest(t.Context(), ref.Name{Host: "docker.io", Path: "library/other"}.WithDigest(img.Digest))
		wantError(t, err, oci.ErrNotFound)
		r.cfg.Policy = nil
		r.restart()
		r.up.Delete(alpine.Path, string(img.Digest))
		_, err = r.Manifest(t.Context(), alpine.WithDigest(img.Digest))
		wantError(t, err, oci.ErrNotFound)
	})
}

func TestManifestNegative(t *testing.T) {
	const no = time.Duration(0)
	denied := &oci.Error{Kind: oci.ErrUnauthorized, Message: "secret challenge"}
	for name, c := range map[string]struct {
		err  error         // nil: there is no such content
		kind error         // what the client sees
		tag  time.Duration // how long it is remembered
		dig  time.Duration
		blob time.Duration
	}{
		"404": {nil, oci.ErrNotFound, missingTag, missingManifest, missingBlob},
		"401": {denied, oci.ErrDenied, refusedAccess, refusedAccess, refusedAccess},
		"5xx": {&oci.Error{Kind: oci.ErrUnavailable}, oci.ErrUnavailable, no, no, no},
	} {
		d := oci.FromBytes([]byte("absent"), "")
		requests := map[string]func(r *rig, ctx context.Context) error{
			"tag": func(r *rig, ctx context.Context) error {
				_, err := r.Manifest(ctx, alpine.WithTag("none"))
				return err
			},
			"digest": func(r *rig, ctx context.Context) error {
				_, err := r.Manifest(ctx, alpine.WithDigest(d))
				return err
			},
			"resolve": func(r *rig, ctx context.Context) error {
				_, err := r.Resolve(ctx, alpine.WithDigest(d))
				return err
			},
			"blob": func(r *rig, ctx context.Context) error {
				_, err := r.Blob(ctx, alpine, d, 0)
				return err
			},
			"stat": func(r *rig, ctx context.Context) error {
				_, err := r.Stat(ctx, alpine, d)
				return err
			},
		}
		until := map[string]time.Duration{"tag": c.tag, "digest": c.dig, "resolve": c.dig, "blob": c.blob, "stat": c.blob}
		for what, request := range requests {
			t.Run(name+" "+what, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					r := newRig(t, Config{})
					if c.err != nil {
						r.up.On(regtest.Match{}, regtest.Trouble{Err: c.err})
					}
					ask := func(wantAsked int, want oci.Result) {
						t.Helper()
						var o oci.Outcome
						err := request(r, oci.WithOutcome(t.Context(), &o))
						if e := wantError(t, err, c.kind); e.Message == "secret challenge" {
							t.Error("the upstream's message is shown")
						}
						synctest.Wait()
						if got := len(r.up.Log()); got != wantAsked {
							t.Errorf("upstream was asked %d times, want %d", got, wantAsked)
						}
						wantResult(t, o, want)
					}
					ask(1, oci.Miss)
					if until[what] == no {
						ask(2, oci.Miss)
						return
					}
					ask(1, oci.Negative)
					time.Sleep(until[what] - time.Second)
					ask(1, oci.Negative)
					time.Sleep(time.Second)
					ask(2, oci.Miss)
				})
			})
		}
	}
}

// A manifest of schema 1 has another digest than its bytes; it is not served.
func TestManifestSchema1(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{})
		m := r.up.AddManifest(alpine.Path, oci.TypeDockerSchema1JWS, []byte(`{"schemaVersion":1}`), "old")
		for _, asked := range []ref.Ref{alpine.WithTag("old"), alpine.WithDigest(m.Digest)} {
			_, err := r.Manifest(t.Context(), asked)
			if e := wantError(t, err, oci.ErrNotFound); !strings.Contains(e.Message, "schema 1") {
				t.Errorf("message %q", e.Message)
			}
		}
	})
}

func TestNoReference(t *testing.T) {
	r := newRig(t, Config{})
	_, err := r.Manifest(t.Context(), ref.Ref{Name: alpine})
	wantError(t, err, oci.ErrInvalid)
	_, err = r.Resolve(t.Context(), ref.Ref{Name: alpine})
	wantError(t, err, oci.ErrInvalid)
	r.wantWire()
}
