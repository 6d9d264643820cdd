package relocate_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"

	"github.com/entrepot/entrepot/internal/regtest"
	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/relocate"
)

// deaf makes the target one that mounts nothing and gives nothing back.
func (b *bench) deaf(status int) {
	b.dst.DropMounts()
	b.dst.On(regtest.Match{Kind: regtest.Blob, Method: "GET"}, regtest.Status(status))
}

// pushOnly makes the target one where the account may push and nothing else.
func (b *bench) pushOnly(status int) {
	b.dst.On(regtest.Match{If: func(e regtest.Entry) bool {
		return e.Kind != regtest.Upload && e.Kind != regtest.Ping && e.Method != http.MethodPut
	}}, regtest.Status(status))
	mountStatus(status)(b.dst)
}

// layered fills n repositories with an image each, which share the same large
// layers, and returns the pairs and the bytes of the different blobs.
func (b *bench) layered(n int, sizes ...int64) (pairs []relocate.Pair, layers []oci.Descriptor, unique int64) {
	for i := range n {
		repo := fmt.Sprintf("app/r%d", i)
		layers = nil
		for j, size := range sizes {
			layers = append(layers, b.src.AddBlob(repo, regtest.Random(uint64(j+1), size)))
		}
		config := b.src.AddBlob(repo, regtest.Bytes(fmt.Appendf(nil, `{"os":"linux","n":%d}`, i)))
		config.MediaType = "application/vnd.oci.image.config.v1+json"
		b.src.AddManifest(repo, oci.TypeImageManifest, manifestOf(config, layers), "v1")
		pairs = append(pairs, b.pair(repo+":v1", fmt.Sprintf("x/r%d:v1", i)))
		unique += config.Size
	}
	for _, size := range sizes {
		unique += size
	}
	return pairs, layers, unique
}

// TestPushOnly relocates with an account that may push and nothing else: what
// several repositories need is fed to all of them at once, and the source is read
// once (decision 21).
func TestPushOnly(t *testing.T) {
	for _, status := range []int{http.StatusUnauthorized, http.StatusForbidden} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			b := newBench(t)
			const images = 4
			pairs, layers, unique := b.layered(images, 300_000, 3<<20, 40_000, 900_000)
			b.pushOnly(status)
			rep := b.run(b.config(), pairs...)
			b.dst.Clear()
			for i := range pairs {
				b.whole(fmt.Sprintf("x/r%d", i), "v1")
			}
			for blob, n := range perBlob(b.src) {
				if n != 1 {
					t.Errorf("%s: %d requests at the source", blob, n)
				}
			}
			pushed := unique
			for _, l := range layers {
				pushed += (images - 1) * l.Size
			}
			if tot := rep.Totals; tot.SourceBytes != unique || tot.UniqueBytes != unique || tot.Mounted != 0 || tot.PushedBytes != pushed {
				t.Errorf("totals %+v, want %d bytes read and %d pushed", tot, unique, pushed)
			}
			// A POST and a PUT for each blob of each repository.
			if post, put := b.dst.Count("POST", regtest.Upload), b.dst.Count("PUT", regtest.Upload); put != images*5 {
				t.Errorf("%d POST and %d PUT, want %d blobs", post, put, images*5)
			}
		})
	}
}

// TestDeafTarget relocates to a registry that mounts nothing and gives nothing
// back, which is only found out on the way: a small blob is kept for the next
// repository, a large one is read once more at most, and from then on all are
// read once.
func TestDeafTarget(t *testing.T) {
	for status, large := range map[int]int64{http.StatusUnauthorized: 5 << 20, http.StatusForbidden: 64<<20 + 1} { // whole, and in chunks
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			b := newBench(t)
			pairs, layers, _ := b.layered(3, 300_000, 40_000, large)
			cfg := b.config()
			cfg.Jobs = 4
			b.deaf(status)
			b.run(cfg, pairs...)
			b.dst.Clear()
			for i := range pairs {
				b.whole(fmt.Sprintf("x/r%d", i), "v1")
			}
			for i, most := range []int64{2, 1, 2} {
				if sent := b.src.BlobBytes(layers[i].Digest); sent > most*layers[i].Size {
					t.Errorf("layer %d: the source sent %d bytes of %d", i, sent, layers[i].Size)
				}
			}
		})
	}
}

// TestFeedFailures feeds repositories of which one refuses, and one breaks in the
// middle: the others get theirs, and what broke is sent again.
func TestFeedFailures(t *testing.T) {
	b := newBench(t)
	pairs, layers, _ := b.layered(4, 3<<20)
	b.pushOnly(http.StatusForbidden)
	b.dst.On(regtest.Match{Kind: regtest.Upload, Method: "POST", Repo: "x/r1"}, regtest.Status(http.StatusForbidden))
	b.dst.On(regtest.Match{Kind: regtest.Upload, Method: "PUT", Repo: "x/r2", Times: 1}, regtest.Status(http.StatusServiceUnavailable))
	rep, err := relocate.Run(t.Context(), b.config(), pairs)
	if !errors.Is(err, relocate.ErrIncomplete) || rep.Totals.Failed != 1 || rep.Images[1].Class != "denied" {
		t.Errorf("got %v, %+v", err, rep.Images[1])
	}
	for _, i := range []int{0, 2, 3} {
		if _, ok := b.dst.Content(fmt.Sprintf("x/r%d", i), layers[0].Digest); !ok {
			t.Errorf("x/r%d lacks the layer", i)
		}
	}
	if sent := b.src.BlobBytes(layers[0].Digest); sent > 2*layers[0].Size {
		t.Errorf("the source sent %d bytes of %d: what broke is sent again, and nothing else", sent, layers[0].Size)
	}
}

// TestFeedWrongBytes holds that bytes which are not the blob reach nobody.
func TestFeedWrongBytes(t *testing.T) {
	b := newBench(t)
	pairs, layers, _ := b.layered(3, 3<<20)
	b.pushOnly(http.StatusForbidden)
	b.src.On(regtest.Match{Kind: regtest.Blob, Ref: string(layers[0].Digest)}, regtest.Fault{Flip: regtest.FlipLast})
	rep, err := relocate.Run(t.Context(), b.config(), pairs)
	if !errors.Is(err, relocate.ErrIncomplete) || rep.Totals.Failed != 3 || rep.Images[0].Class != "mismatch" {
		t.Errorf("got %v, %+v", err, rep.Images[0])
	}
	for i := range pairs {
		if _, ok := b.dst.Content(fmt.Sprintf("x/r%d", i), layers[0].Digest); ok {
			t.Errorf("x/r%d has the wrong bytes", i)
		}
	}
}

// TestFeedInterrupted ends a run in the middle of a feed.
func TestFeedInterrupted(t *testing.T) {
	b := newBench(t)
	pairs, layers, _ := b.layered(3, 3<<20)
	b.pushOnly(http.StatusForbidden)
	held := b.src.On(regtest.Match{Kind: regtest.Blob, Ref: string(layers[0].Digest)}, regtest.StallAt(1<<20))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		<-held.Reached()
		cancel()
	}()
	if _, err := relocate.Run(ctx, b.config(), pairs); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	held.Release()
}
