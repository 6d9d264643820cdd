package ggcr

import (
	"net/http"
	"strings"
	"testing"

	"github.com/entrepot/entrepot/internal/regtest"
)

// TestBlobs holds that a layer that one place does not give comes from the next,
// and that one that breaks off is continued and not read again.
func TestBlobs(t *testing.T) {
	const size = 1 << 20
	once := func(f regtest.Fault) []regtest.Fault { return []regtest.Fault{f} }
	for name, tt := range map[string]struct {
		first    []regtest.Fault // of the mirror's blob, one for each request; then it is honest
		next     regtest.Fault   // of the original's
		mirrored int64           // bytes from the mirror, at most
	}{
		"honest":                 {nil, regtest.Status(500), size},
		"500":                    {once(regtest.Status(500)), regtest.Fault{}, 1000},
		"404":                    {once(regtest.Status(404)), regtest.Fault{}, 1000},
		"cut, and continued":     {once(regtest.CutAt(size / 2)), regtest.Status(500), size + 64<<10},
		"cut, then gone":         {[]regtest.Fault{regtest.CutAt(size / 2), regtest.Status(500)}, regtest.Fault{}, size/2 + 64<<10},
		"cut twice":              {[]regtest.Fault{regtest.CutAt(size / 2), regtest.CutAt(size / 4)}, regtest.Status(500), size + 128<<10},
		"reset, then no range":   {[]regtest.Fault{regtest.CutAt(1000), regtest.HangUp()}, regtest.NoRange(), 64 << 10},
		"then a range elsewhere": {[]regtest.Fault{regtest.CutAt(1000), regtest.WrongRange("bytes 7-1048575/1048576")}, regtest.Fault{}, 2 * size},
	} {
		mirror, origin := registry(t), registry(t)
		image := regtest.Image{Layers: []int64{size}}
		built := mirror.AddImage("team/app", image, "v1")
		origin.AddImage("team/app", image, "v1")
		layer := string(built.Layers[0].Digest)
		for _, f := range tt.first {
			mirror.On(regtest.Match{Kind: regtest.Blob, Ref: layer, Times: 1}, f)
		}
		origin.On(regtest.Match{Kind: regtest.Blob, Ref: layer}, tt.next)
		p := puller(t, env(t, origin.Host()+"="+mirror.URL()))
		img, found, err := p.Image(t.Context(), parsed(t, origin.Host()+"/team/app:v1"))
		if err != nil || !strings.HasPrefix(found.From, mirror.Host()) {
			t.Fatalf("%s: %+v, %v", name, found, err)
		}
		if n, err := layers(t, img); n != size || err != nil {
			t.Errorf("%s: %d bytes, %v", name, n, err)
		}
		mirror.Idle()
		if n := mirror.BlobBytes(built.Layers[0].Digest); n > tt.mirrored {
			t.Errorf("%s: %d bytes from the mirror, want at most %d", name, n, tt.mirrored)
		}
	}
}

// TestBlobEnds holds that a blob that nobody has whole is an error that tells
// both places, and that a wrong one is never taken for right.
func TestBlobEnds(t *testing.T) {
	mirror, origin := registry(t), registry(t)
	image := regtest.Image{Layers: []int64{1 << 20}}
	built := mirror.AddImage("team/app", image, "v1")
	origin.AddImage("team/app", image, "v1")
	p := puller(t, env(t, origin.Host()+"="+mirror.URL()))
	img, _, err := p.Image(t.Context(), parsed(t, origin.Host()+"/team/app:v1"))
	if err != nil {
		t.Fatal(err)
	}
	for _, reg := range []*regtest.Registry{mirror, origin} {
		reg.On(regtest.Match{Kind: regtest.Blob, Times: 1}, regtest.CutAt(1000))
		reg.On(regtest.Match{Kind: regtest.Blob}, regtest.Status(http.StatusServiceUnavailable))
	}
	if _, err := layers(t, img); err == nil || !strings.Contains(err.Error(), mirror.URL()) || !strings.Contains(err.Error(), origin.URL()) && !strings.Contains(err.Error(), origin.Host()) {
		t.Errorf("error %v", err)
	}
	mirror.Clear()
	mirror.On(regtest.Match{Kind: regtest.Blob, Ref: string(built.Layers[0].Digest)}, regtest.Fault{Flip: regtest.FlipMiddle})
	if _, err := layers(t, img); err == nil {
		t.Error("wrong bytes are taken for right ones")
	}
}

// TestServedFirst holds that blobs do not wait for a mirror that did not have
// the manifest.
func TestServedFirst(t *testing.T) {
	empty, mirror, origin := registry(t), registry(t), registry(t)
	mirror.AddImage("team/app", regtest.Image{Layers: []int64{10, 20, 30}}, "v1")
	p := puller(t, env(t, origin.Host()+"="+empty.URL()+";"+origin.Host()+"="+mirror.URL()))
	img, _, err := p.Image(t.Context(), parsed(t, origin.Host()+"/team/app:v1"))
	if err != nil {
		t.Fatal(err)
	}
	if n, err := layers(t, img); n != 60 || err != nil {
		t.Errorf("%d bytes, %v", n, err)
	}
	if n := empty.Count(http.MethodGet, regtest.Blob); n != 0 {
		t.Errorf("the empty mirror was asked for %d blobs", n)
	}
}
