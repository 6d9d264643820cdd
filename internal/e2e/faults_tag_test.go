package e2e

import (
	"bytes"
	"fmt"
	"net/http"
	"sync"
	"testing"

	"github.com/entrepot/entrepot/internal/regtest"
	"github.com/entrepot/entrepot/oci"
)

// TestFault40TagFlips: while a tag moves between images, every pull of it gets
// one of them, whole.
func TestFault40TagFlips(t *testing.T) {
	together(t,
		row{"the old image stays", func(t *testing.T) { flips(t, false) }},
		row{"the old image's manifest is deleted", func(t *testing.T) { flips(t, true) }})
}

// flips moves the tag at each second request for a manifest, so that it moves
// between any two of them that a pull makes.
func flips(t *testing.T, remove bool) {
	const clients, pulls, versions = 12, 8, 64
	s := newStack(t, `tag_ttl = "0s"`, "")
	var images [versions]regtest.Built
	for i := range images {
		images[i] = s.up.AddImage("library/ubuntu", regtest.Image{Layers: []int64{100_000, 300}, Seed: uint64(i + 1)}, fmt.Sprint("v", i))
	}
	f := flipper{s: s, images: images[:], remove: remove}
	s.up.SetTag("library/ubuntu", "24.04", images[0].Digest)
	s.up.On(regtest.Match{Kind: regtest.Manifest, Ref: "24.04"}, regtest.Moving(f.flip))
	var all sync.WaitGroup
	for i := range clients {
		all.Go(func() {
			for range pulls {
				f.pull(t, i%2 == 0 && !remove)
			}
		})
	}
	all.Wait()
	if f.moved < 3 {
		t.Errorf("the tag has moved %d times only", f.moved)
	}
}

// A flipper moves a tag from one image to the next.
type flipper struct {
	s      *stack
	images []regtest.Built
	remove bool // the one that it leaves

	mu    sync.Mutex // guards moved
	moved int
}

func (f *flipper) flip() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.moved++; f.moved%2 == 1 {
		return
	}
	n := f.moved / 2 % len(f.images)
	next := f.images[n]
	if f.remove { // it may come back later
		f.s.up.AddManifest("library/ubuntu", next.MediaType, next.Raw)
		f.s.up.Delete("library/ubuntu", string(f.images[(n+len(f.images)-1)%len(f.images)].Digest))
	}
	f.s.up.SetTag("library/ubuntu", "24.04", next.Digest)
}

// pull takes the image as skopeo does, or as containerd does, which asks for the
// digest first.
func (f *flipper) pull(t *testing.T, head bool) {
	name := "24.04"
	if head {
		a := f.s.ask(t, "HEAD", ubuntuTag)
		a.status(t, http.StatusOK, "")
		name = a.Header.Get("Docker-Content-Digest")
	}
	a := f.s.ask(t, "GET", "library/ubuntu/manifests/"+name+"?ns=docker.io")
	a.status(t, http.StatusOK, "")
	var im *regtest.Built
	for i := range f.images {
		if bytes.Equal(a.body, f.images[i].Raw) {
			im = &f.images[i]
		}
	}
	if im == nil || a.Header.Get("Docker-Content-Digest") != string(im.Digest) || head && name != string(im.Digest) {
		t.Errorf("manifest %s is answered with %s and %d bytes, which are no image", name, a.Header.Get("Docker-Content-Digest"), len(a.body))
		return
	}
	for _, d := range append([]oci.Descriptor{im.Config}, im.Layers...) {
		a := f.s.ask(t, "GET", blobPath(d.Digest))
		if a.StatusCode != http.StatusOK || oci.FromBytes(a.body, d.Digest) != d.Digest {
			t.Errorf("blob %s: status %d, %d bytes, %v", d.Digest, a.StatusCode, len(a.body), a.err)
		}
	}
}
