package relocate_test

import (
	"strings"
	"testing"

	"github.com/entrepot/entrepot/internal/regtest"
	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
	"github.com/entrepot/entrepot/relocate"
)

// signed is an image of two platforms at the target that was signed in every way
// there is: by a referrer of the index, one of a platform, one of that referrer,
// and under a tag of cosign's.
type signed struct {
	*bench
	at                         ref.Ref
	index                      regtest.Built
	byIndex, byChild, byItself regtest.Built
	cosign                     regtest.Built
}

func newSigned(t *testing.T) *signed {
	s := &signed{bench: newBench(t)}
	var kids []regtest.Built
	for i, arch := range []string{"amd64", "arm64"} {
		kids = append(kids, s.dst.AddImage("x/a", regtest.Image{Layers: []int64{1000, 2000}, Seed: uint64(i), Platform: arch}))
	}
	s.index = s.dst.AddIndex("x/a", kids, "v1")
	s.byIndex = s.dst.AddReferrer("x/a", s.index.Descriptor(), "application/sig", 11)
	s.byChild = s.dst.AddReferrer("x/a", kids[1].Descriptor(), "application/sig", 12)
	s.byItself = s.dst.AddReferrer("x/a", s.byChild.Descriptor(), "application/sig", 13)
	tag := strings.Replace(string(kids[0].Digest), ":", "-", 1) + ".sig"
	s.cosign = s.dst.AddImage("x/a", regtest.Image{Layers: []int64{300}, Seed: 14}, tag)
	s.at = s.pair("x/a:v1", "x/a:v1").Target
	return s
}

// verify verifies the image.
func (s *signed) verify(deep, noReferrers bool) relocate.Verified {
	s.t.Helper()
	s.connect(quick)
	found, err := relocate.Verify(s.t.Context(), relocate.VerifyConfig{Target: s.target, Deep: deep, NoReferrers: noReferrers}, []ref.Ref{s.at})
	if err != nil {
		s.t.Fatal(err)
	}
	return found[0]
}

// TestVerifyReferrers holds that what refers to an image is looked at whole:
// manifests and blobs, and with Deep each byte.
func TestVerifyReferrers(t *testing.T) {
	whole := newSigned(t)
	for _, deep := range []bool{false, true} {
		if got := whole.verify(deep, false); got.Error != "" || got.Referrers != 4 {
			t.Errorf("deep %v: %+v, want 4 referrers that are whole", deep, got)
		}
		if got := whole.verify(deep, true); got.Error != "" || got.Referrers != 0 {
			t.Errorf("deep %v, without them: %+v", deep, got)
		}
	}
	for name, pick := range map[string]func(*signed) regtest.Built{
		"of the index":    func(s *signed) regtest.Built { return s.byIndex },
		"of a platform":   func(s *signed) regtest.Built { return s.byChild },
		"of a referrer":   func(s *signed) regtest.Built { return s.byItself },
		"cosign's by tag": func(s *signed) regtest.Built { return s.cosign },
	} {
		t.Run(name, func(t *testing.T) {
			s := newSigned(t)
			blob := pick(s).Layers[0].Digest
			s.dst.On(regtest.Match{Kind: regtest.Blob, Method: "GET", Ref: string(blob)}, regtest.Fault{Flip: regtest.FlipLast})
			if got := s.verify(false, false); got.Error != "" {
				t.Errorf("its bytes are not read, and yet: %s", got.Error)
			}
			if got := s.verify(true, false); got.Class != "mismatch" || !strings.Contains(got.Error, string(blob)) {
				t.Errorf("wrong bytes: %+v", got)
			}
			s.dst.Clear()
			s.dst.Delete("x/a", string(blob))
			if got := s.verify(false, false); got.Class != "not found" || !strings.Contains(got.Error, string(blob)) || !strings.Contains(got.Error, "refers to") {
				t.Errorf("a blob is missing: %+v", got)
			}
			if got := s.verify(false, true); got.Error != "" {
				t.Errorf("it was not to be looked at: %s", got.Error)
			}
		})
	}
}

// TestVerifyFallback finds referrers at a registry without their API, and one
// that is listed and not there.
func TestVerifyFallback(t *testing.T) {
	s := newSigned(t)
	s.dst.DropReferrersAPI()
	for _, pair := range [][2]regtest.Built{{s.index, s.byIndex}, {s.index.Children[1], s.byChild}, {s.byChild, s.byItself}} {
		s.dst.AddIndex("x/a", []regtest.Built{pair[1]}, oci.FallbackTag(pair[0].Digest))
	}
	if got := s.verify(true, false); got.Error != "" || got.Referrers != 4 {
		t.Errorf("%+v, want 4 referrers that are whole", got)
	}
	s = newSigned(t)
	s.dst.On(regtest.Match{Kind: regtest.Manifest, Ref: string(s.byChild.Digest)}, regtest.Status(404))
	if got := s.verify(false, false); got.Class != "not found" || !strings.Contains(got.Error, string(s.byChild.Digest)) {
		t.Errorf("a referrer is listed and missing: %+v", got)
	}
}
