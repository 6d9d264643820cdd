package relocate_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/entrepot/entrepot/internal/regtest"
	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
	"github.com/entrepot/entrepot/relocate"
)

// platforms makes an index of three platforms.
func (b *bench) platforms(repo string, tags ...string) regtest.Built {
	var kids []regtest.Built
	for i, arch := range []string{"amd64", "arm64", "s390x"} {
		kids = append(kids, b.src.AddImage(repo, regtest.Image{Layers: []int64{1000, 2000}, Seed: uint64(50 + i), Platform: arch}))
	}
	return b.src.AddIndex(repo, kids, tags...)
}

func cosignTag(d oci.Digest) string { return strings.Replace(string(d), ":", "-", 1) + ".sig" }

// TestReferrers copies what refers to an index and to its children, and what
// refers to that; to a target with the referrers API, and to one without.
func TestReferrers(t *testing.T) {
	for _, api := range []string{"both", "source", "target", "none"} {
		t.Run(api, func(t *testing.T) {
			b := newBench(t)
			if api != "both" && api != "source" {
				b.src.DropReferrersAPI()
			}
			if api != "both" && api != "target" {
				b.dst.DropReferrersAPI()
			}
			index := b.platforms("app/a", "v1")
			sbom := b.src.AddReferrer("app/a", index.Descriptor(), "application/sbom", 1)
			child := b.src.AddReferrer("app/a", index.Children[1].Descriptor(), "application/sbom", 2)
			ofSBOM := b.src.AddReferrer("app/a", sbom.Descriptor(), "application/sig", 3)
			sigs := map[oci.Digest]regtest.Built{}
			for i, d := range []oci.Digest{index.Digest, index.Children[0].Digest} {
				sigs[d] = b.src.AddImage("app/a", regtest.Image{Layers: []int64{99}, Seed: uint64(60 + i)}, cosignTag(d))
			}
			if api == "none" || api == "target" {
				for _, pair := range [][2]regtest.Built{{index, sbom}, {index.Children[1], child}, {sbom, ofSBOM}} {
					b.src.AddIndex("app/a", []regtest.Built{pair[1]}, oci.FallbackTag(pair[0].Digest))
				}
			}
			rep := b.run(b.config(), b.pair("app/a:v1", "x/a:v1"))
			if rep.Images[0].Referrers != 5 {
				t.Errorf("%d referrers were copied, want 5", rep.Images[0].Referrers)
			}
			name := ref.Name{Path: "x/a"}
			for subject, want := range map[oci.Digest]oci.Digest{
				index.Digest: sbom.Digest, index.Children[1].Digest: child.Digest, sbom.Digest: ofSBOM.Digest,
			} {
				found, err := b.target.Referrers(t.Context(), name, subject, "")
				if err != nil || len(found) != 1 || found[0].Digest != want {
					t.Errorf("referrers of %s at the target: %v, %v, want %s", subject, found, err, want)
				}
				b.whole("x/a", string(want))
			}
			for d, sig := range sigs {
				if got := b.whole("x/a", cosignTag(d)); got.Digest != sig.Digest {
					t.Errorf("the signature of %s is %s, want %s", d, got.Digest, sig.Digest)
				}
			}
		})
	}
}

// TestFallbackTagIsKept holds that the list of referrers at the target keeps
// what it had.
func TestFallbackTagIsKept(t *testing.T) {
	b := newBench(t)
	img := b.src.AddImage("app/a", regtest.Image{Layers: []int64{1000}}, "v1")
	cfg := b.config()
	b.run(cfg, b.pair("app/a:v1", "x/a:v1"))
	mine := b.dst.AddReferrer("x/a", img.Descriptor(), "application/mine", 77)
	b.dst.AddIndex("x/a", []regtest.Built{mine}, oci.FallbackTag(img.Digest))
	b.dst.DropReferrersAPI()
	theirs := b.src.AddReferrer("app/a", img.Descriptor(), "application/theirs", 78)
	b.run(cfg, b.pair("app/a:v1", "x/a:v1"))
	list := b.whole("x/a", oci.FallbackTag(img.Digest))
	for _, want := range []oci.Digest{mine.Digest, theirs.Digest} {
		if !strings.Contains(string(list.Raw), string(want)) {
			t.Errorf("the list lacks %s: %s", want, list.Raw)
		}
	}
}

func TestNoReferrers(t *testing.T) {
	b := newBench(t)
	img := b.src.AddImage("app/a", regtest.Image{Layers: []int64{1000}}, "v1")
	b.src.AddReferrer("app/a", img.Descriptor(), "application/sbom", 1)
	cfg := b.config()
	cfg.NoReferrers = true
	if rep := b.run(cfg, b.pair("app/a:v1", "x/a:v1")); rep.Images[0].Referrers != 0 {
		t.Errorf("%d referrers were copied", rep.Images[0].Referrers)
	}
	if n := b.src.Count("", regtest.Referrers) + b.src.Count("", regtest.Tags); n != 0 {
		t.Errorf("%d requests for referrers", n)
	}
}

// TestPlatform copies one platform of three: by the same index, and by one of
// its own.
func TestPlatform(t *testing.T) {
	b := newBench(t)
	index := b.platforms("app/a", "v1")
	cfg := b.config()
	p, err := relocate.ParsePlatform("linux/arm64")
	if err != nil {
		t.Fatal(err)
	}
	cfg.Platforms = []relocate.Platform{p}
	rep := b.run(cfg, b.pair("app/a:v1", "x/sparse:v1"))
	if rep.Images[0].Digest != index.Digest {
		t.Errorf("the sparse index is %s, want %s", rep.Images[0].Digest, index.Digest)
	}
	b.whole("x/sparse", string(index.Children[1].Digest))
	if _, err := b.closure("x/sparse", string(index.Children[0].Digest)); !errors.Is(err, oci.ErrNotFound) {
		t.Errorf("another platform: %v, want ErrNotFound", err)
	}

	cfg.TrimIndex = true
	rep = b.run(cfg, b.pair("app/a:v1", "x/trimmed:v1"))
	got := b.whole("x/trimmed", "v1")
	links, err := got.Links()
	if err != nil || len(links.Manifests) != 1 || links.Manifests[0].Digest != index.Children[1].Digest {
		t.Errorf("the trimmed index: %s, %v", got.Raw, err)
	}
	if one := rep.Images[0]; one.Digest != got.Digest || one.Original != index.Digest {
		t.Errorf("report: %+v, want both digests", one)
	}

	p.Architecture = "riscv64"
	cfg.Platforms = []relocate.Platform{p}
	if _, err := relocate.Run(t.Context(), cfg, []relocate.Pair{b.pair("app/a:v1", "x/none:v1")}); !errors.Is(err, relocate.ErrIncomplete) {
		t.Errorf("a platform that is not there: %v", err)
	}
}

// TestPlatformOfAnImage copies different platforms of two images in one run.
func TestPlatformOfAnImage(t *testing.T) {
	b := newBench(t)
	index := b.platforms("app/a", "v1")
	one, other := b.pair("app/a:v1", "x/one:v1"), b.pair("app/a:v1", "x/other:v1")
	one.Platforms = []relocate.Platform{{OS: "linux", Architecture: "arm64"}}
	cfg := b.config()
	cfg.Platforms = []relocate.Platform{{OS: "linux", Architecture: "amd64"}}
	b.run(cfg, one, other)
	for repo, want := range map[string]int{"x/one": 1, "x/other": 0} {
		for i, child := range index.Children[:2] {
			_, err := b.closure(repo, string(child.Digest))
			if there := err == nil; there != (i == want) {
				t.Errorf("%s has the platform %d: %v, %v", repo, i, there, err)
			}
		}
	}
}

// TestSparseRefused holds that a target which wants whole indexes gives a hint
// (decision 22).
func TestSparseRefused(t *testing.T) {
	b := newBench(t)
	b.dst.CheckManifests()
	b.platforms("app/a", "v1")
	cfg := b.config()
	cfg.Platforms = []relocate.Platform{{OS: "linux", Architecture: "arm64"}}
	rep, err := relocate.Run(t.Context(), cfg, []relocate.Pair{b.pair("app/a:v1", "x/a:v1")})
	if !errors.Is(err, relocate.ErrIncomplete) || !strings.Contains(rep.Images[0].Hint, "--trim-index") {
		t.Errorf("got %v, hint %q", err, rep.Images[0].Hint)
	}
}

func TestOnExisting(t *testing.T) {
	for _, on := range []relocate.OnExisting{relocate.Overwrite, relocate.Keep, relocate.Fail, relocate.Backup} {
		t.Run(string(on), func(t *testing.T) {
			b := newBench(t)
			img := b.src.AddImage("app/a", regtest.Image{Layers: []int64{1000}}, "v1")
			b.src.AddImage("app/b", regtest.Image{Layers: []int64{1000}, Seed: 2}, "v1")
			old := b.dst.AddImage("x/a", regtest.Image{Layers: []int64{5}, Seed: 3}, "v1")
			cfg := b.config()
			cfg.OnExisting = on
			rep, err := relocate.Run(t.Context(), cfg, []relocate.Pair{b.pair("app/a:v1", "x/a:v1"), b.pair("app/b:v1", "x/b:v1")})
			want := img.Digest
			switch on {
			case relocate.Fail:
				exists, ok := errors.AsType[*relocate.ExistsError](err)
				if !ok || len(exists.Tags) != 1 || exists.Tags[0].Digest != old.Digest {
					t.Errorf("got %v, want an ExistsError", err)
				}
				if n := b.dst.Count("POST", "") + b.dst.Count("PUT", ""); n != 0 {
					t.Errorf("%d requests wrote something", n)
				}
				want = old.Digest
			case relocate.Keep:
				want = old.Digest
				if !rep.Images[0].Kept || rep.Images[0].Result != relocate.Present {
					t.Errorf("report: %+v", rep.Images[0])
				}
			case relocate.Backup:
				if got := b.whole("x/a", relocate.BackupTag("v1", old.Digest)); got.Digest != old.Digest {
					t.Errorf("the backup is %s, want %s", got.Digest, old.Digest)
				}
			}
			if got := b.whole("x/a", "v1"); got.Digest != want {
				t.Errorf("v1 is %s, want %s", got.Digest, want)
			}
		})
	}
}

// TestHeals copies an index that the target has, without its children
// (oras-go#1211).
func TestHeals(t *testing.T) {
	b := newBench(t)
	index := b.platforms("app/a", "v1")
	b.dst.AddManifest("x/a", oci.TypeImageIndex, index.Raw, "v1")
	b.run(b.config(), b.pair("app/a:v1", "x/a:v1"))
	b.whole("x/a", "v1")
}

// TestForeignLayers holds that layers with URLs of their own stay there.
func TestForeignLayers(t *testing.T) {
	b := newBench(t)
	config := b.src.AddBlob("app/a", regtest.Bytes([]byte(`{"os":"windows"}`)))
	config.MediaType = "application/vnd.oci.image.config.v1+json"
	layer := oci.Descriptor{MediaType: "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", Size: 5,
		Digest: oci.FromBytes([]byte("never"), ""), URLs: []string{"https://example.com/layer"}}
	m := b.src.AddManifest("app/a", oci.TypeImageManifest, manifestOf(config, []oci.Descriptor{layer}), "v1")
	rep := b.run(b.config(), b.pair("app/a:v1", "x/a:v1"))
	if one := rep.Images[0]; one.Digest != m.Digest || one.Foreign != 1 || one.Blobs.Pushed != 1 {
		t.Errorf("report: %+v", one)
	}
}

// TestSchema1 holds that Docker's first schema is refused in words.
func TestSchema1(t *testing.T) {
	b := newBench(t)
	b.src.On(regtest.Match{Kind: regtest.Manifest}, regtest.Schema1())
	rep, err := relocate.Run(t.Context(), b.config(), []relocate.Pair{b.pair("app/a:v1", "x/a:v1")})
	if !errors.Is(err, relocate.ErrIncomplete) || !strings.Contains(rep.Images[0].Error, "schema 1") {
		t.Errorf("got %v, %q", err, rep.Images[0].Error)
	}
}

// TestInlineContent holds that empty content, and what a descriptor holds
// itself, is not read.
func TestInlineContent(t *testing.T) {
	b := newBench(t)
	var layers []string
	for _, raw := range []string{"", "{}", "inline"} {
		d := oci.FromBytes([]byte(raw), "")
		data := ""
		if raw == "inline" {
			data = `,"data":"aW5saW5l"`
		}
		layers = append(layers, fmt.Sprintf(`{"mediaType":"application/x","digest":%q,"size":%d%s}`, d, len(raw), data))
	}
	raw := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":%s,"layers":[%s]}`, oci.TypeImageManifest, layers[1], strings.Join(layers, ","))
	b.src.AddManifest("app/a", oci.TypeImageManifest, []byte(raw), "v1")
	rep := b.run(b.config(), b.pair("app/a:v1", "x/a:v1"))
	b.whole("x/a", "v1")
	if n := b.src.Count("", regtest.Blob); n != 0 || rep.Totals.SourceBytes != 0 {
		t.Errorf("%d requests for blobs, %d bytes", n, rep.Totals.SourceBytes)
	}
}

// TestTagsLast holds the order: no tag of the set moves before all is in place.
func TestTagsLast(t *testing.T) {
	b := newBench(t)
	pairs, _ := b.shared(5)
	b.run(b.config(), pairs...)
	tagged := false
	for _, e := range b.dst.Log() {
		tags := e.Kind == regtest.Manifest && e.Method == "PUT" && !strings.HasPrefix(e.Ref, "sha256:")
		if tagged && !tags {
			t.Errorf("%s %s after a tag was set", e.Method, e.Path)
		}
		tagged = tagged || tags
	}
	if !tagged {
		t.Error("no tag was set")
	}
}
