package mirror

import (
	"context"
	"slices"
	"time"

	"github.com/entrepot/entrepot/oci"
)

// rejectedFor is how long a place is not asked for a blob of which it gave
// wrong bytes, while another one is left.
const rejectedFor = 10 * time.Minute

// rejected is a place that gave wrong bytes for a digest.
type rejected struct {
	digest oci.Digest
	label  string
}

var _ oci.Rejecter = (*body)(nil)

// Reject implements [oci.Rejecter]. Where the bytes came from several places
// nobody knows whose were wrong: the mirrors among them are blamed before the
// original is.
func (b *body) Reject() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	blamed := b.used
	if len(blamed) == 0 {
		blamed = []int{b.current}
	}
	original := b.all[original(b.all)].Label
	for _, i := range blamed {
		label := b.places[i].Label
		if label == original && len(blamed) > 1 {
			continue
		}
		b.m.rejected.add(rejected{b.ref.Digest, label}, rejectedFor)
		b.m.observe(context.WithoutCancel(b.ctx), Event{Kind: Rejected, Op: OpBlob, Ref: b.ref, From: label})
	}
	return slices.ContainsFunc(b.all, func(p Place) bool { return !b.m.rejected.has(rejected{b.ref.Digest, p.Label}) })
}

// trusted returns the places that have not given wrong bytes for a digest, and
// all of them where all have.
func (m *Mirror) trusted(d oci.Digest, places []Place) []Place {
	bad := func(p Place) bool { return m.rejected.has(rejected{d, p.Label}) }
	if !slices.ContainsFunc(places, bad) {
		return places
	}
	if good := slices.DeleteFunc(slices.Clone(places), bad); len(good) > 0 {
		return good
	}
	return places
}
