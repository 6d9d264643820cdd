package relocate_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/entrepot/entrepot/internal/regtest"
	"github.com/entrepot/entrepot/mirror"
	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
	"github.com/entrepot/entrepot/relocate"
	"github.com/entrepot/entrepot/remote"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A bench is two registries, and what copies between them.
type bench struct {
	t        testing.TB
	src, dst *regtest.Registry
	source   *mirror.Mirror
	target   *remote.Endpoint
	now      func() time.Time // nil is time.Now
}

func newBench(t testing.TB) *bench { return newBenchAt(t, nil) }

// newBenchAt has a clock of its own for the lives of tokens.
func newBenchAt(t testing.TB, now func() time.Time) *bench {
	b := &bench{t: t, src: regtest.New(t, regtest.Config{Now: now}), dst: regtest.New(t, regtest.Config{Now: now}), now: now}
	b.connect(quick)
	return b
}

// quick tries again at once.
var quick = remote.Retry{Attempts: 8, Base: 1, Cap: 1, Wait: true}

// connect makes new clients of both registries.
func (b *bench) connect(retry remote.Retry) {
	b.t.Helper()
	client := remote.NewClient(remote.ClientConfig{Retry: retry, Jobs: 16, Now: b.now})
	b.t.Cleanup(func() { client.Close() })
	from, err := client.Endpoint(remote.EndpointConfig{URL: b.src.URL(), AllowPrivate: true})
	if err != nil {
		b.t.Fatal(err)
	}
	b.source = mirror.New(mirror.Config{Plan: func(_ mirror.Op, r ref.Ref) ([]mirror.Place, error) {
		return []mirror.Place{{Reader: from, Name: r.Name, Label: "source", Tags: true}}, nil
	}})
	b.target, err = client.Endpoint(remote.EndpointConfig{URL: b.dst.URL(), AllowPrivate: true, TrustHead: true, AssumeAbsent: true})
	if err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) config() relocate.Config {
	return relocate.Config{Source: b.source, Target: b.target}
}

// run relocates pairs, which must succeed.
func (b *bench) run(cfg relocate.Config, pairs ...relocate.Pair) relocate.Report {
	b.t.Helper()
	rep, err := relocate.Run(b.t.Context(), cfg, pairs)
	if err != nil {
		for _, img := range rep.Images {
			b.t.Logf("%s: %s", img.Source, img.Error)
		}
		b.t.Fatal(err)
	}
	return rep
}

// pair is an image of the source's repository and where it goes.
func (b *bench) pair(from, to string) relocate.Pair {
	b.t.Helper()
	src, err := ref.Parse(b.src.Host() + "/" + from)
	if err != nil {
		b.t.Fatal(err)
	}
	dst, err := ref.Parse(b.dst.Host() + "/" + to)
	if err != nil {
		b.t.Fatal(err)
	}
	return relocate.Pair{Source: src, Target: dst}
}

// whole fails the test where something that a manifest of the target leads to
// is missing, or is not what its digest names.
func (b *bench) whole(repo, reference string) oci.Manifest {
	b.t.Helper()
	m, err := b.closure(repo, reference)
	if err != nil {
		b.t.Fatalf("%s:%s at the target: %v", repo, reference, err)
	}
	return m
}

func (b *bench) closure(repo, reference string) (oci.Manifest, error) {
	n := ref.Name{Host: b.dst.Host(), Path: repo}
	at := n.WithTag(reference)
	if d, err := ref.ParseDigest(reference); err == nil {
		at = n.WithDigest(d)
	}
	m, err := b.target.Manifest(context.Background(), at)
	if err != nil {
		return m, err
	}
	links, err := m.Links()
	if err != nil {
		return m, err
	}
	for _, d := range links.Blobs() {
		got, ok := b.dst.Content(repo, d.Digest)
		if !ok {
			return m, fmt.Errorf("blob %s is missing", d.Digest)
		}
		if regtest.DigestOf(got) != d.Digest {
			return m, fmt.Errorf("blob %s is something else", d.Digest)
		}
	}
	for _, d := range links.Manifests {
		if _, err := b.closure(repo, string(d.Digest)); err != nil {
			return m, fmt.Errorf("%s: %w", d.Digest, err)
		}
	}
	return m, nil
}

func TestImage(t *testing.T) {
	b := newBench(t)
	img := b.src.AddImage("app/a", regtest.Image{Layers: []int64{1000, 300_000, 2 << 20}}, "v1")
	rep := b.run(b.config(), b.pair("app/a:v1", "x/a:v1"))
	if got := b.whole("x/a", "v1"); got.Digest != img.Digest || string(got.Raw) != string(img.Raw) {
		t.Errorf("the target has %s, want %s as it was", got.Digest, img.Digest)
	}
	one := rep.Images[0]
	if one.Result != relocate.Copied || one.Digest != img.Digest || one.Blobs.Pushed != 4 {
		t.Errorf("report: %+v", one)
	}
	want := img.Config.Size
	for _, l := range img.Layers {
		want += l.Size
	}
	if tot := rep.Totals; tot.SourceBytes != want || tot.UniqueBytes != want || tot.PushedBytes != want {
		t.Errorf("totals: %+v, want %d bytes each", tot, want)
	}
}

func TestIndex(t *testing.T) {
	b := newBench(t)
	var kids []regtest.Built
	for i, arch := range []string{"amd64", "arm64", "s390x"} {
		kids = append(kids, b.src.AddImage("app/a", regtest.Image{Layers: []int64{1000, 2000}, Seed: uint64(i), Platform: arch}))
	}
	index := b.src.AddIndex("app/a", kids, "v1")
	b.run(b.config(), b.pair("app/a:v1", "x/a:v1"))
	if got := b.whole("x/a", "v1"); got.Digest != index.Digest {
		t.Errorf("the target has %s, want %s", got.Digest, index.Digest)
	}
}

func TestOneFailureStopsNoOther(t *testing.T) {
	b := newBench(t)
	b.src.AddImage("app/a", regtest.Image{Layers: []int64{1000}}, "v1")
	pairs := []relocate.Pair{b.pair("app/none:v1", "x/none:v1"), b.pair("app/a:v1", "x/a:v1")}
	rep, err := relocate.Run(t.Context(), b.config(), pairs)
	if !errors.Is(err, relocate.ErrIncomplete) {
		t.Fatalf("got %v, want ErrIncomplete", err)
	}
	if rep.Totals.Failed != 1 || rep.Images[0].Class != "not found" || rep.Images[1].Error != "" {
		t.Errorf("report: %+v", rep)
	}
	if _, err := b.closure("x/a", "v1"); !errors.Is(err, oci.ErrNotFound) {
		t.Errorf("a tag has moved although an image failed: %v", err)
	}
	cfg := b.config()
	cfg.Partial = true
	if _, err := relocate.Run(t.Context(), cfg, pairs); !errors.Is(err, relocate.ErrIncomplete) {
		t.Fatalf("partial: got %v, want ErrIncomplete", err)
	}
	b.whole("x/a", "v1")
}
