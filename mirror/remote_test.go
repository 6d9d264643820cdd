package mirror_test

import (
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/entrepot/entrepot/internal/regtest"
	"github.com/entrepot/entrepot/mirror"
	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
	"github.com/entrepot/entrepot/remote"
)

// A wired is a mirror over real endpoints of registries that share a shelf.
type wired struct {
	*regtest.Shelf
	*mirror.Mirror
	regs     []*regtest.Registry
	received atomic.Int64 // bytes of blobs that reached us
}

func newWired(t *testing.T, n int, cfg mirror.Config) *wired {
	t.Helper()
	w := &wired{Shelf: regtest.NewShelf()}
	client := remote.NewClient(remote.ClientConfig{
		Retry: remote.Retry{Attempts: 1},
		Observe: func(e remote.Event) {
			if e.Kind == remote.KindBlob {
				w.received.Add(e.Bytes)
			}
		},
	})
	t.Cleanup(func() { client.Close() })
	var places []mirror.Place
	for i := range n {
		reg := regtest.New(t, regtest.Config{Shelf: w.Shelf})
		e, err := client.Endpoint(remote.EndpointConfig{URL: reg.URL(), AllowPrivate: true, TokenHosts: []string{reg.SideHost()}})
		if err != nil {
			t.Fatal(err)
		}
		w.regs = append(w.regs, reg)
		places = append(places, mirror.Place{Reader: e, Name: name, Label: reg.Host(), Tags: i == n-1})
	}
	cfg.Plan = func(mirror.Op, ref.Ref) ([]mirror.Place, error) { return places, nil }
	w.Mirror = mirror.New(cfg)
	return w
}

// gets reads a blob and fails the test where it is not what it should be.
func (w *wired) gets(t *testing.T, d oci.Digest) {
	t.Helper()
	b, err := w.Blob(t.Context(), name, d, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Body.Close()
	if n, err := io.Copy(io.Discard, oci.VerifyReader(b.Body, d, b.Size)); err != nil {
		t.Fatalf("after %d of %d bytes: %v", n, b.Size, err)
	}
}

// TestWireCuts is rows 1 and 2 of the fault matrix: ten cuts or resets in one
// blob, and no more than 1.02 times its bytes.
func TestWireCuts(t *testing.T) {
	const size = 4 << 20
	for label, fault := range map[string]func(int64) regtest.Fault{"FIN": regtest.CutAt, "RST": regtest.ResetAt} {
		for _, places := range []int{1, 2} {
			w := newWired(t, places, mirror.Config{})
			d := w.AddBlob(path, regtest.Random(1, size)).Digest
			for range 10 {
				w.regs[0].On(regtest.Match{Kind: regtest.Blob, Times: 1}, fault(1+rand.Int64N(size/11)))
			}
			w.gets(t, d)
			// Of what a reset throws away some was sent and never came here.
			n := w.received.Load()
			if label == "FIN" {
				n = w.regs[0].BlobBytes(d)
			}
			if n < size || n*100 > size*102 {
				t.Errorf("%s, %d places: %d bytes for %d", label, places, n, size)
			}
			if got := w.regs[0].Count("GET", regtest.Blob); got != 11 {
				t.Errorf("%s, %d places: %d requests, want 11", label, places, got)
			}
		}
	}
}

// TestWireRanges is row 3: a place that does not honour a range, or lies about
// it, never spoils the content.
func TestWireRanges(t *testing.T) {
	const size = 300_000
	lies := map[string]regtest.Fault{
		"200 to a range":         regtest.NoRange(),
		"starts elsewhere":       {RangeShift: 100},
		"says another start":     regtest.WrongRange("bytes 5-299999/300000"),
		"says another size":      regtest.WrongRange("bytes 100000-299999/300001"),
		"says nothing":           regtest.WrongRange(""),
		"says nonsense":          regtest.WrongRange("bytes ?"),
		"200, and has no length": {IgnoreRange: true, Length: regtest.Chunked},
		"another size":           {Extra: 1},
		"gzip":                   {Gzip: true},
		"html":                   regtest.HTML(),
		"416":                    regtest.Status(http.StatusRequestedRangeNotSatisfiable),
	}
	for label, lie := range lies {
		for _, places := range []int{1, 2} {
			w := newWired(t, places, mirror.Config{})
			d := w.AddBlob(path, regtest.Random(1, size)).Digest
			w.regs[0].On(regtest.Match{Kind: regtest.Blob, Times: 1}, regtest.CutAt(100_000))
			w.regs[0].On(regtest.Match{Kind: regtest.Blob, Times: 1}, lie)
			b, err := w.Blob(t.Context(), name, d, 0)
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(b.Body)
			b.Body.Close()
			switch {
			case err == nil && oci.FromBytes(got, d) != d:
				t.Errorf("%s, %d places: other content, and no error", label, places)
			case err != nil && !(places == 1 && label == "another size" && errors.Is(err, oci.ErrMismatch)):
				t.Errorf("%s, %d places: %v", label, places, err)
			}
		}
	}
}

// TestWireFreshLinks holds that a blob goes on with a fresh token and a fresh
// redirect where those that it began with have expired (C5).
func TestWireFreshLinks(t *testing.T) {
	const size = 1 << 20
	w := newWired(t, 1, mirror.Config{})
	reg := w.regs[0]
	d := w.AddBlob(path, regtest.Random(1, size)).Digest
	reg.SetAuth(regtest.Auth{Scheme: "Bearer"})
	reg.SetCDN(regtest.CDN{On: true})
	for range 3 {
		cut := regtest.CutAt(size / 4)
		cut.After = func() { reg.RevokeTokens(); reg.ExpireLinks() }
		reg.On(regtest.Match{Kind: regtest.CDNBlob, Times: 1}, cut)
	}
	w.gets(t, d)
	if n := reg.BlobBytes(d); n > size*102/100 {
		t.Errorf("%d bytes for %d", n, size)
	}
	for _, e := range reg.Log() {
		if e.Kind == regtest.CDNBlob && e.Authorization() != "" {
			t.Errorf("the CDN saw %s credentials", e.Authorization())
		}
	}
}

// TestWireStall holds that a stall, of a body or before the headers, goes on
// at the other place.
func TestWireStall(t *testing.T) {
	for label, fault := range map[string]regtest.Fault{"body": regtest.StallAt(1000), "headers": regtest.Held()} {
		w := newWired(t, 2, mirror.Config{Idle: 50 * time.Millisecond, Patience: 50 * time.Millisecond})
		d := w.AddBlob(path, regtest.Random(1, 100_000)).Digest
		w.regs[0].On(regtest.Match{Kind: regtest.Blob}, fault)
		w.gets(t, d)
		if got := w.regs[1].Count("GET", regtest.Blob); got == 0 {
			t.Errorf("%s: the other place was not asked", label)
		}
	}
}

// TestWireFallback holds the fallback of whole requests with what registries
// really answer.
func TestWireFallback(t *testing.T) {
	for label, spoil := range map[string]func(*regtest.Registry){
		"refused":   func(r *regtest.Registry) { r.Down() },
		"swallowed": func(r *regtest.Registry) { r.BlackHole() },
		"HTML":      func(r *regtest.Registry) { r.On(regtest.Match{}, regtest.HTML()) },
		"429":       func(r *regtest.Registry) { r.On(regtest.Match{}, regtest.Busy("60")) },
		"503":       func(r *regtest.Registry) { r.On(regtest.Match{}, regtest.Status(503)) },
		"403":       func(r *regtest.Registry) { r.On(regtest.Match{}, regtest.Status(403)) },
		"404":       func(r *regtest.Registry) { r.On(regtest.Match{}, regtest.Status(404)) },
		"401":       func(r *regtest.Registry) { r.SetAuth(regtest.Auth{Scheme: "Basic", Username: "u"}) },
		"hangs up":  func(r *regtest.Registry) { r.On(regtest.Match{}, regtest.HangUp()) },
		"schema 1":  func(r *regtest.Registry) { r.On(regtest.Match{}, regtest.Schema1()) },
		"huge":      func(r *regtest.Registry) { r.On(regtest.Match{}, regtest.Huge(5<<20)) },
	} {
		w := newWired(t, 2, mirror.Config{Patience: 50 * time.Millisecond})
		img := w.AddImage(path, regtest.Image{Layers: []int64{1000}}, "v1")
		spoil(w.regs[0])
		if m, err := w.Manifest(t.Context(), name.WithDigest(img.Digest)); err != nil || m.Digest != img.Digest {
			t.Errorf("%s: manifest: %v", label, err)
		}
		if d, err := w.Resolve(t.Context(), name.WithTag("v1")); err != nil || d.Digest != img.Digest {
			t.Errorf("%s: resolve: %v, %v", label, d, err)
		}
		if label != "schema 1" && label != "huge" { // as blobs these are content like any other
			w.gets(t, img.Layers[0].Digest)
			if d, err := w.Stat(t.Context(), name, img.Layers[0].Digest); err != nil || d.Size != 1000 {
				t.Errorf("%s: stat: %v, %v", label, d, err)
			}
		}
		if n := w.regs[0].Count("HEAD", regtest.Manifest); n != 0 {
			t.Errorf("%s: a mirror without Tags was asked for a tag", label)
		}
	}
}
