package proxy

import (
	"context"
	"io"
	"path/filepath"
	"sync"
	"testing"

	"github.com/entrepot/entrepot/internal/regtest"
	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/store"
)

// limited starts a rig again with limits of the cache.
func (r *rig) limited(l store.Limits) {
	r.t.Helper()
	r.stop()
	s, err := store.Open(r.dir, store.Config{Now: r.cfg.Now, Limits: l})
	if err != nil {
		r.t.Fatal(err)
	}
	r.store, r.Proxy = s, New(r.up, s.Cache(), r.cfg)
}

// leftovers returns the files of downloads that are, or were, under way.
func (r *rig) leftovers() []string {
	names, err := filepath.Glob(filepath.Join(r.dir, "tmp", "sha256-*"))
	if err != nil {
		r.t.Fatal(err)
	}
	return names
}

// TestBlobWithoutRoom: where there is no room a client is served from the upstream,
// verified, told so, and nothing stays behind (C13).
func TestBlobWithoutRoom(t *testing.T) {
	r := newRig(t, Config{})
	img := r.up.AddImage(alpine.Path, regtest.Image{Layers: []int64{300_000}}, "3.20")
	layer := img.Layers[0]
	r.limited(store.Limits{MaxBytes: 10_000})
	if _, _, err := r.pull("3.20"); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		got, o, err := r.read(alpine, layer.Digest)
		if err != nil || oci.FromBytes(got, layer.Digest) != layer.Digest {
			t.Fatalf("got %d bytes, %v", len(got), err)
		}
		if o.Result != oci.Miss || o.Warning != warnFull {
			t.Errorf("answered as %+v, want a miss with a warning", o)
		}
	}
	if r.isStored(layer.Digest) || len(r.leftovers()) > 0 {
		t.Errorf("stored: %v, left behind: %v", r.isStored(layer.Digest), r.leftovers())
	}
	b, err := r.Blob(context.Background(), alpine, layer.Digest, 100_000)
	if err != nil || b.Offset != 100_000 || b.Size != 300_000 {
		t.Fatalf("from the middle: %+v, %v", b, err)
	}
	rest, err := io.ReadAll(b.Body)
	b.Body.Close()
	if err != nil || len(rest) != 200_000 {
		t.Errorf("from the middle: %d bytes, %v", len(rest), err)
	}
	r.limited(store.Limits{})
	if _, o, err := r.read(alpine, layer.Digest); err != nil || o.Warning != "" {
		t.Errorf("with room again: %+v, %v", o, err)
	}
	r.restart() // waits until it is stored
	if !r.isStored(layer.Digest) {
		t.Error("it was not stored once there was room")
	}
}

// TestBlobWithoutRoomIsVerified: nobody gets all of a blob that is wrong, too
// short or too long.
func TestBlobWithoutRoomIsVerified(t *testing.T) {
	for name, trouble := range map[string]regtest.Trouble{
		"a wrong byte":        {Flip: regtest.FlipLast},
		"a wrong first byte":  {Flip: regtest.FlipFirst},
		"too short":           {Extra: -1},
		"too long":            {Extra: 1},
		"too long, no size":   {Extra: 1, NoSize: true},
		"a connection breaks": {End: regtest.EndCut, At: 200_000},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, Config{})
			img := r.up.AddImage(alpine.Path, regtest.Image{Layers: []int64{300_000}}, "3.20")
			r.limited(store.Limits{MaxBytes: 10_000})
			if _, _, err := r.pull("3.20"); err != nil {
				t.Fatal(err)
			}
			r.up.On(regtest.Match{Kind: regtest.Blob}, trouble)
			if got, _, err := r.read(alpine, img.Layers[0].Digest); err == nil || len(got) > 300_001-holdBack {
				t.Errorf("got %d bytes, %v, want an error and the last bytes held back", len(got), err)
			}
		})
	}
}

// TestEvictUnderPulls: while everything is evicted again and again, every pull
// gets all of its image.
func TestEvictUnderPulls(t *testing.T) {
	r := newRig(t, Config{PrefetchFills: 2})
	img := r.up.AddImage(alpine.Path, regtest.Image{Layers: []int64{1000, 200_000, 50}}, "3.20")
	evicting, stop := context.WithCancel(t.Context())
	var evictor, clients sync.WaitGroup
	evicted := int64(0)
	evictor.Go(func() {
		for evicting.Err() == nil {
			sum, err := r.store.Evict(context.Background(), store.Eviction{All: true})
			if err != nil {
				t.Error(err)
			}
			evicted += sum.Blobs
		}
	})
	for range 8 {
		clients.Go(func() {
			for range 25 {
				if _, _, err := r.pull("3.20"); err != nil {
					t.Error(err)
				}
				for _, l := range img.Layers {
					got, _, err := r.read(alpine, l.Digest)
					if err != nil || oci.FromBytes(got, l.Digest) != l.Digest || int64(len(got)) != l.Size {
						t.Errorf("a layer of %d bytes: got %d, %v", l.Size, len(got), err)
					}
				}
			}
		})
	}
	clients.Wait()
	stop()
	evictor.Wait()
	if evicted == 0 {
		t.Error("nothing was ever evicted")
	}
}
