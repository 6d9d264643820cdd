package proxy

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entrepot/entrepot/internal/regtest"
	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
	"github.com/entrepot/entrepot/store"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// alpine is the repository that most tests pull from.
var alpine = ref.Name{Host: "docker.io", Path: "library/alpine"}

// A rig is a proxy over an upstream in memory and a store on disk.
type rig struct {
	t   testing.TB
	dir string
	up  *regtest.Memory
	cfg Config

	store *store.Store
	*Proxy

	mu     sync.Mutex // guards events and moved
	events []Event
	moved  time.Duration // how far the clock was moved
}

// newRig starts a rig. Blobs are not prefetched unless cfg says so. The clock
// is that of the synctest bubble, if there is one, and can be moved.
func newRig(t testing.TB, cfg Config) *rig {
	r := &rig{t: t, dir: t.TempDir(), up: regtest.NewMemory("upstream", nil), cfg: cfg}
	if r.cfg.PrefetchFills == 0 {
		r.cfg.PrefetchFills = -1
	}
	r.cfg.Observe = func(e Event) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.events = append(r.events, e)
	}
	r.cfg.Now = func() time.Time {
		r.mu.Lock()
		defer r.mu.Unlock()
		return time.Now().Add(r.moved)
	}
	r.start(r.up)
	t.Cleanup(r.stop)
	return r
}

func (r *rig) start(up oci.Reader) {
	r.t.Helper()
	s, err := store.Open(r.dir, store.Config{Now: r.cfg.Now})
	if err != nil {
		r.t.Fatal(err)
	}
	r.store, r.Proxy = s, New(up, s.Cache(), r.cfg)
}

// stop waits for all background work, as a clean shutdown does.
func (r *rig) stop() {
	r.t.Helper()
	if err := r.Close(context.Background()); err != nil {
		r.t.Error("close:", err)
	}
	if err := r.store.Close(); err != nil {
		r.t.Error("close store:", err)
	}
}

// restart stops and starts the rig on the same directory.
func (r *rig) restart() {
	r.t.Helper()
	r.stop()
	r.start(r.up)
}

// moveClock moves the wall clock, without any time passing.
func (r *rig) moveClock(d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.moved += d
}

func (r *rig) count(kind EventKind) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for _, e := range r.events {
		if e.Kind == kind {
			n++
		}
	}
	return n
}

// pull asks for the manifest of a tag, and returns how it was answered.
func (r *rig) pull(tag string) (oci.Manifest, oci.Outcome, error) {
	var o oci.Outcome
	m, err := r.Manifest(oci.WithOutcome(context.Background(), &o), alpine.WithTag(tag))
	return m, o, err
}

// read reads a whole blob.
func (r *rig) read(n ref.Name, d oci.Digest) ([]byte, oci.Outcome, error) {
	var o oci.Outcome
	b, err := r.Blob(oci.WithOutcome(context.Background(), &o), n, d, 0)
	if err != nil {
		return nil, o, err
	}
	defer b.Body.Close()
	got, err := io.ReadAll(b.Body)
	return got, o, err
}

// wantWire compares what the upstream was asked, as "METHOD kind" words.
func (r *rig) wantWire(want ...string) {
	r.t.Helper()
	var got []string
	for _, e := range r.up.Log() {
		got = append(got, e.Method+" "+string(e.Kind))
	}
	if strings.Join(got, ", ") != strings.Join(want, ", ") {
		r.t.Errorf("upstream was asked %q, want %q", got, want)
	}
}

func wantResult(t testing.TB, o oci.Outcome, want oci.Result) {
	t.Helper()
	if o.Result != want {
		t.Errorf("answered as %q, want %q", o.Result, want)
	}
}

func wantError(t testing.TB, err, kind error) *oci.Error {
	t.Helper()
	if !errors.Is(err, kind) {
		t.Errorf("error is %v, want %v", err, kind)
	}
	e, ok := errors.AsType[*oci.Error](err)
	if !ok {
		t.Errorf("error %v is no *oci.Error", err)
		return new(oci.Error)
	}
	return e
}

// content returns the bytes of regtest content.
func content(c regtest.Content) []byte {
	b := make([]byte, c.Size())
	if _, err := c.ReadAt(b, 0); err != nil && err != io.EOF {
		panic(err)
	}
	return b
}

func ttl(d time.Duration) func(context.Context, ref.Name) Policy {
	return func(context.Context, ref.Name) Policy { return Policy{TagTTL: d} }
}

func TestManifestByDigest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{})
		img := r.up.AddImage(alpine.Path, regtest.Image{Layers: []int64{10}}, "3.20")
		for i, want := range []oci.Result{oci.Miss, oci.Hit, oci.Hit} {
			var o oci.Outcome
			m, err := r.Manifest(oci.WithOutcome(t.Context(), &o), alpine.WithDigest(img.Digest))
			if err != nil || !bytes.Equal(m.Raw, img.Raw) || m.MediaType != img.MediaType {
				t.Fatalf("pull %d: %q, %v", i, m.Raw, err)
			}
			wantResult(t, o, want)
			synctest.Wait()
		}
		r.wantWire("GET manifest")

		r.restart() // it was persisted, and needs no upstream
		r.up.On(regtest.Match{}, regtest.Down())
		var o oci.Outcome
		if _, err := r.Manifest(oci.WithOutcome(t.Context(), &o), alpine.WithDigest(img.Digest)); err != nil {
			t.Fatal(err)
		}
		wantResult(t, o, oci.Hit)
		r.wantWire("GET manifest")
	})
}

func TestBlob(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{})
		for _, size := range []int64{0, 1, holdBack, holdBack + 1, 3 << 20} {
			c := regtest.Random(1, size)
			l := r.up.AddBlob(alpine.Path, c)
			r.up.ResetLog()
			for _, want := range []oci.Result{oci.Miss, oci.Hit} {
				got, o, err := r.read(alpine, l.Digest)
				if err != nil || !bytes.Equal(got, content(c)) {
					t.Fatalf("%d bytes: got %d, %v", size, len(got), err)
				}
				wantResult(t, o, want)
				synctest.Wait()
			}
			r.wantWire("GET blob") // no HEAD before it
		}
		b, err := r.Blob(t.Context(), alpine, r.up.AddBlob(alpine.Path, regtest.Random(1, 3<<20)).Digest, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer b.Body.Close()
		if _, ok := b.Body.(*os.File); !ok {
			t.Errorf("a stored blob is a %T, want an *os.File", b.Body)
		}
	})
}
