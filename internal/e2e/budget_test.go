package e2e

import (
	"testing"

	"github.com/entrepot/entrepot/internal/regtest"
	"github.com/entrepot/entrepot/oci"
)

// TestRequestBudget: what a pull costs upstream is exact (distribution#4599: five
// requests for one blob; C10: no HEAD before a GET). A cold image is one request
// for its manifest and one for each blob; what is fresh costs nothing, what is
// stored and no longer fresh one HEAD, and another tag of the same image no GET.
func TestRequestBudget(t *testing.T) {
	s := newStack(t, `tag_ttl = "0s"`, "")
	im := s.up.AddImage("library/ubuntu", regtest.Image{Layers: []int64{1 << 20, 300, 1 << 16}, Seed: 4599}, "24.04", "noble")
	blobs := append([]oci.Descriptor{im.Config}, im.Layers...)
	pull := func(tag string) {
		t.Helper()
		s.ask(t, "GET", "library/ubuntu/manifests/"+tag+"?ns=docker.io").is(t, im.Raw)
		s.ask(t, "GET", "library/ubuntu/manifests/"+string(im.Digest)+"?ns=docker.io").is(t, im.Raw)
		for _, d := range blobs {
			s.ask(t, "GET", blobPath(d.Digest)).status(t, 200, "") // before it, a HEAD may have to be one upstream
			s.ask(t, "HEAD", blobPath(d.Digest)).status(t, 200, "")
		}
		s.up.Idle()
	}
	cold := []string{"GET manifest 24.04"}
	for _, d := range blobs {
		cold = append(cold, "GET blob "+string(d.Digest))
	}
	pull("24.04")
	s.wire(t, cold...)
	pull("24.04")
	s.wire(t, "HEAD manifest 24.04")
	pull("noble")
	s.wire(t, "HEAD manifest noble")
}
