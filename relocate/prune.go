package relocate

import (
	"cmp"
	"errors"
	"slices"

	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
)

// A Stock is what one repository of a registry holds, as far as a registry
// tells: what its tags lead to, what refers to that, and what was looked for by
// its digest.
type Stock struct {
	Repository ref.Name
	Tags       map[string]oci.Digest // :: tag → manifest, which is among Manifests
	Manifests  map[oci.Digest]Stocked
}

// Stocked is what one manifest of a repository says.
type Stocked struct {
	MediaType string
	Size      int64            // of the manifest, in bytes
	Parts     []oci.Digest     // the manifests of an index
	Subject   oci.Digest       // "" for none
	Blobs     []oci.Descriptor // its config and layers
}

// Wanted is an image of the inputs of a prune: what it is called where it was
// put.
type Wanted struct {
	Name   string  // what the input calls it
	Target ref.Ref // with a tag, a digest or both
}

// A PruneSet says what stays and what goes.
type PruneSet struct {
	// Keep are the images that stay, with all that they need and all that
	// refers to them. A tag with a digest keeps both, also where the tag is
	// something else by now.
	Keep []Wanted
	// Remove are the images that go, as far as nothing else needs them. Every
	// tag that they do not name keeps what it leads to.
	Remove []Wanted
	// Rest removes everything that Keep does not need; Remove is then not
	// looked at.
	Rest bool
	// Naming knows the tags that keep images which are named by digest alone.
	// Nil knows none.
	Naming *Naming
}

// A Removal is one manifest that goes with its tags, or one of its tags.
type Removal struct {
	Repository string     `json:"repository"`
	Digest     oci.Digest `json:"digest"`
	MediaType  string     `json:"mediaType"`
	// Tags go: with Manifest all that lead there, otherwise one.
	Tags []string `json:"tags"`
	// Manifest says that the manifest goes, and not only a tag of it.
	Manifest bool   `json:"manifest"`
	Why      string `json:"why"`
	Result   string `json:"result"` // Planned, and after a run Removed, Gone, Stays or Failed
	Error    string `json:"error,omitempty"`
	Class    string `json:"class,omitempty"`

	name ref.Name
}

// key names what a removal removes.
func (r *Removal) key() removalKey {
	if r.Manifest {
		return removalKey{r.Digest, ""}
	}
	return removalKey{r.Digest, r.Tags[0]}
}

type removalKey struct {
	digest oci.Digest
	tag    string // "" for the manifest
}

// The results of a [Removal].
const (
	Planned = "planned"
	Removed = "removed"
	Gone    = "gone"  // it was not there any more
	Stays   = "stays" // it was left alone; Why says the reason
)

// A Stay is one manifest that stays because of the inputs, or for one that does.
type Stay struct {
	Repository string     `json:"repository"`
	Digest     oci.Digest `json:"digest"`
	Tags       []string   `json:"tags"` // that stay
	Why        string     `json:"why"`
}

// A PrunePlan says what goes, in an order in which nothing is ever missed by what
// is still there, and what stays.
type PrunePlan struct {
	Removals []Removal
	Stays    []Stay
	Missing  []Wanted   // images of Keep that are not there
	Absent   []Wanted   // images of Remove that are not there
	Emptied  []ref.Name // repositories that nothing is left of
	Bytes    int64      // of manifests and blobs that nothing else has; a registry's garbage collection frees them
}

// ErrPruneAll says that a prune would leave nothing behind.
var ErrPruneAll = errors.New("nothing would be left")

// PlanPrune plans what goes. It asks nobody and changes nothing. Where nothing of
// what is there would be left, the error is ErrPruneAll, and the plan says what
// it would have been.
func PlanPrune(stocks []Stock, set PruneSet) (PrunePlan, error) {
	var p PrunePlan
	bytes := newBalance()
	left := false
	stocks = slices.SortedFunc(slices.Values(stocks), func(a, b Stock) int { return cmp.Compare(a.Repository.String(), b.Repository.String()) })
	for _, s := range stocks {
		one := set.shelf(s)
		removals, stays := one.removals(), one.stays()
		p.Removals, p.Stays = append(p.Removals, removals...), append(p.Stays, stays...)
		goes := one.goes()
		bytes.add(s, goes)
		switch {
		case len(goes) < len(s.Manifests):
			left = true
		case len(goes) > 0:
			p.Emptied = append(p.Emptied, s.Repository)
		}
	}
	p.Bytes = bytes.freed()
	p.Missing = absent(stocks, set.Keep)
	if !set.Rest {
		p.Absent = absent(stocks, set.Remove)
	}
	if !left && len(p.Removals) > 0 {
		return p, ErrPruneAll
	}
	return p, nil
}

// absent returns those of some images that no stock has.
func absent(stocks []Stock, some []Wanted) []Wanted {
	at := make(map[ref.Name]Stock)
	for _, s := range stocks {
		at[s.Repository] = s
	}
	var none []Wanted
	for _, w := range some {
		s := at[w.Target.Name]
		_, tag := s.Tags[w.Target.Tag]
		_, digest := s.Manifests[w.Target.Digest]
		if !tag && !digest {
			none = append(none, w)
		}
	}
	return none
}

// A balance counts what only things that go have.
type balance struct{ gone, left map[oci.Digest]int64 }

func newBalance() *balance {
	return &balance{gone: make(map[oci.Digest]int64), left: make(map[oci.Digest]int64)}
}

func (b *balance) add(s Stock, goes map[oci.Digest]bool) {
	for d, m := range s.Manifests {
		to := b.left
		if goes[d] {
			to = b.gone
		}
		to[d] = m.Size
		for _, blob := range m.Blobs {
			to[blob.Digest] = blob.Size
		}
	}
}

func (b *balance) freed() (n int64) {
	for d, size := range b.gone {
		if _, ok := b.left[d]; !ok {
			n += size
		}
	}
	return n
}
