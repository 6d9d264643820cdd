package relocate_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"testing"

	"github.com/entrepot/entrepot/internal/regtest"
	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/relocate"
)

// some matches a part of all requests, by chance that is the same in each run.
func some(part float64, seed uint64) func(regtest.Entry) bool {
	r := rand.New(rand.NewPCG(seed, seed))
	return func(regtest.Entry) bool { return r.Float64() < part } // called under a lock
}

// TestFaults relocates images over links and registries that fail now and then
// (reliability 5, row 36): all of it arrives, and little is read twice.
func TestFaults(t *testing.T) {
	b := newBench(t)
	pairs, unique := b.shared(60)
	for i, reg := range []*regtest.Registry{b.src, b.dst} {
		seed := uint64(i + 1)
		reg.On(regtest.Match{If: some(0.01, seed)}, regtest.Fault{End: regtest.EndReset, At: -1})
		reg.On(regtest.Match{If: some(0.005, seed+10)}, regtest.Status(503))
		reg.On(regtest.Match{Kind: regtest.Blob, If: some(0.01, seed+20)}, regtest.ResetAt(10_000))
	}
	b.run(b.config(), pairs...)
	for i := range pairs {
		b.whole(fmt.Sprintf("x/r%d", i), "v1")
	}
	// A broken answer may have brought more than was read of it; the second
	// attempt is for the rest alone.
	var sent int64
	for _, e := range b.src.Log() {
		if e.Kind == regtest.Blob {
			sent += e.Sent
		}
	}
	if float64(sent) > 1.02*float64(unique) {
		t.Errorf("the source sent %d bytes for %d", sent, unique)
	}
}

// TestBusy holds that a target that asks for a pause gets it, and then the
// rest.
func TestBusy(t *testing.T) {
	b := newBench(t)
	pairs, _ := b.shared(10)
	b.dst.On(regtest.Match{Kind: regtest.Upload, After: 5, Times: 3}, regtest.Busy("1"))
	b.dst.On(regtest.Match{Kind: regtest.Manifest, Times: 1}, regtest.Busy("1"))
	b.run(b.config(), pairs...)
	for i := range pairs {
		b.whole(fmt.Sprintf("x/r%d", i), "v1")
	}
}

// TestForgetfulTarget relocates to a registry that forgets blobs after it took
// them, and then says that they are missing.
func TestForgetfulTarget(t *testing.T) {
	b := newBench(t)
	b.dst.CheckManifests()
	pairs, _ := b.shared(6)
	shared := regtest.DigestOf(regtest.Random(1, 300_000))
	b.dst.On(regtest.Match{Kind: regtest.Manifest, Method: "PUT", Times: 1}, regtest.Fault{Before: func() {
		for i := range pairs {
			b.dst.Delete(fmt.Sprintf("x/r%d", i), string(shared))
		}
	}})
	b.run(b.config(), pairs...)
	for i := range pairs {
		b.whole(fmt.Sprintf("x/r%d", i), "v1")
	}
}

// TestForgetfulBeforeTags relocates to a registry that forgets a blob after the
// manifest was taken, and says so when the tag is set.
func TestForgetfulBeforeTags(t *testing.T) {
	b := newBench(t)
	b.dst.CheckManifests()
	img := b.src.AddImage("app/a", regtest.Image{Layers: []int64{1000, 2000}}, "v1")
	b.dst.On(regtest.Match{Kind: regtest.Manifest, Method: "PUT", Ref: "v1", Times: 1}, regtest.Fault{Before: func() {
		b.dst.Delete("x/a", string(img.Layers[0].Digest))
	}})
	b.run(b.config(), b.pair("app/a:v1", "x/a:v1"))
	b.whole("x/a", "v1")
}

// TestLateTarget relocates to a registry that needs a moment to know of what it
// was sent.
func TestLateTarget(t *testing.T) {
	b := newBench(t)
	b.src.AddImage("app/a", regtest.Image{Layers: []int64{1000}}, "v1")
	late := regtest.Fault{Status: http.StatusBadRequest, Body: []byte(`{"errors":[{"code":"MANIFEST_BLOB_UNKNOWN"}]}`)}
	b.dst.On(regtest.Match{Kind: regtest.Manifest, Method: "PUT", Times: 2}, late)
	b.run(b.config(), b.pair("app/a:v1", "x/a:v1"))
	b.whole("x/a", "v1")
}

// TestWrongBytes holds that bytes which are not the blob do not arrive, and
// that it is the source that is blamed.
func TestWrongBytes(t *testing.T) {
	for _, size := range []int64{1000, 400_000} {
		b := newBench(t)
		img := b.src.AddImage("app/a", regtest.Image{Layers: []int64{size}}, "v1")
		b.src.On(regtest.Match{Kind: regtest.Blob, Ref: string(img.Layers[0].Digest)}, regtest.Fault{Flip: regtest.FlipLast})
		rep, err := relocate.Run(t.Context(), b.config(), []relocate.Pair{b.pair("app/a:v1", "x/a:v1")})
		if !errors.Is(err, relocate.ErrIncomplete) || rep.Images[0].Class != "mismatch" {
			t.Errorf("size %d: got %v, %+v, want a mismatch", size, err, rep.Images[0])
		}
		if _, ok := b.dst.Content("x/a", img.Layers[0].Digest); ok {
			t.Errorf("size %d: the wrong bytes have arrived", size)
		}
	}
}

// TestResume interrupts a run in the middle of a large blob: the next one goes
// on with the chunk that was cut, and with that range of the source.
func TestResume(t *testing.T) {
	b := newBench(t)
	const size = 80 << 20
	img := b.src.AddImage("app/a", regtest.Image{Layers: []int64{1000, size}}, "v1")
	name := filepath.Join(t.TempDir(), "journal")
	pair := b.pair("app/a:v1", "x/a:v1")

	ctx, cancel := context.WithCancel(t.Context())
	held := b.dst.On(regtest.Match{Kind: regtest.Upload, Method: "PATCH", After: 1}, regtest.Held())
	go func() {
		<-held.Reached() // the first chunk is confirmed, the second has arrived, its answer has not
		cancel()
	}()
	b.journalled(ctx, name, pair, context.Canceled)
	b.dst.Clear()
	b.dst.Idle() // it keeps what it had got of the second chunk
	b.src.Idle()
	b.src.ResetLog()
	b.dst.ResetLog()

	b.connect(quick)
	b.journalled(t.Context(), name, pair, nil)
	b.whole("x/a", "v1")
	big := img.Layers[1].Digest
	if sent := b.src.BlobBytes(big); sent > size-(16<<20)+(1<<20) {
		t.Errorf("the source sent %d bytes again, want those after the first chunk", sent)
	}
	if n := b.src.BlobBytes(img.Layers[0].Digest); n != 0 {
		t.Errorf("a blob that was in place was read again: %d bytes", n)
	}
	if n := b.dst.Count("POST", regtest.Upload); n != 0 {
		t.Errorf("%d new uploads, want the old one", n)
	}
}

// journalled runs with a journal, which must end with an error of want.
func (b *bench) journalled(ctx context.Context, name string, pair relocate.Pair, want error) {
	b.t.Helper()
	j, err := relocate.OpenJournal(name)
	if err != nil {
		b.t.Fatal(err)
	}
	cfg := b.config()
	cfg.Journal = j
	_, err = relocate.Run(ctx, cfg, []relocate.Pair{pair})
	if !errors.Is(err, want) {
		b.t.Fatalf("got %v, want %v", err, want)
	}
	if err := j.Close(); err != nil {
		b.t.Fatal(err)
	}
}

// TestHuge reads a blob over connections that are slow, so that it is read in
// several ranges at once, one of which breaks.
func TestHuge(t *testing.T) {
	b := newBench(t)
	content := regtest.Random(5, 33<<20+1)
	layer := b.src.AddBlob("app/a", content)
	config := b.src.AddBlob("app/a", regtest.Bytes([]byte(`{}`)))
	config.MediaType = "application/vnd.oci.image.config.v1+json"
	b.src.AddManifest("app/a", oci.TypeImageManifest, manifestOf(config, []oci.Descriptor{layer}), "v1")
	b.src.On(regtest.Match{Kind: regtest.Blob, If: func(e regtest.Entry) bool { return e.Offset == 8<<20 }, Times: 1}, regtest.CutAt(1<<20))
	cfg := b.config()
	relocate.SetHuge(&cfg, 32<<20, 4<<20, 1<<60)
	rep := b.run(cfg, b.pair("app/a:v1", "x/a:v1"))
	if got, _ := b.dst.Content("x/a", layer.Digest); got == nil || got.Size() != content.Size() {
		t.Error("the blob is not there")
	}
	if rep.Totals.SourceBytes != layer.Size {
		t.Errorf("%d bytes were read, want %d: the empty document need not be", rep.Totals.SourceBytes, layer.Size)
	}
	ranges := 0
	for _, e := range b.src.Log() {
		if e.Kind == regtest.Blob && e.Header.Get("Range") != "" {
			ranges++
		}
	}
	if ranges != 9+1 {
		t.Errorf("%d ranges, want one for each 4 MiB, and one for the rest of that which broke", ranges)
	}
	if sent := b.src.BlobBytes(layer.Digest); float64(sent) > 1.02*float64(layer.Size) {
		t.Errorf("the source sent %d bytes for %d", sent, layer.Size)
	}
}

// TestHugeOverFastWire reads a blob in one stream where that is fast.
func TestHugeOverFastWire(t *testing.T) {
	b := newBench(t)
	img := b.src.AddImage("app/a", regtest.Image{Layers: []int64{33<<20 + 1}}, "v1")
	cfg := b.config()
	relocate.SetHuge(&cfg, 32<<20, 4<<20, 1)
	b.run(cfg, b.pair("app/a:v1", "x/a:v1"))
	b.whole("x/a", "v1")
	if n := perBlob(b.src)["GET "+string(img.Layers[0].Digest)]; n != 2 {
		t.Errorf("%d requests, want one for the first bytes and one for all others", n)
	}
}
