package store

import (
	"encoding/json"

	"github.com/entrepot/entrepot/oci"
)

// maxIndex is the largest blob that may turn out to be an index, in bytes.
const maxIndex = 1 << 20

// indexInUse reports whether a blob that is about to leave is an index of images
// of which one was used later and stays. Clients that pull by digest ask for the
// image alone. It then becomes as young as the image.
func (r *evictRun) indexInUse(index Key, d oci.Digest, i Info) bool {
	if i.Size > maxIndex || r.All {
		return false
	}
	raw, err := r.s.cache.peek(r.ctx, d)
	if err != nil || len(raw) == 0 || raw[0] != '{' {
		return false
	}
	var doc struct {
		Manifests []struct {
			Digest oci.Digest `json:"digest"`
		} `json:"manifests"`
	}
	if json.Unmarshal(raw, &doc) != nil {
		return false
	}
	for _, m := range doc.Manifests {
		if k, err := cacheBlobKey(m.Digest); err == nil && r.outlives(k, m.Digest, index, i) {
			return true
		}
	}
	return false
}

// outlives reports whether an image was used after its index, and stays.
func (r *evictRun) outlives(image Key, d oci.Digest, index Key, was Info) bool {
	info, err := r.s.bucket.Stat(r.ctx, image)
	if err != nil || !r.clock.used(info.ModTime).After(r.clock.used(was.ModTime)) {
		return false
	}
	// A copy of the cuts: this one is only asked, it does not leave.
	asked := *r
	asked.cuts = append([]cut(nil), r.cuts...)
	if asked.goes(r.ledger.owners[briefOf(d)], info) {
		return false
	}
	if t, ok := r.s.bucket.(Toucher); ok && !r.DryRun {
		if err := t.Touch(r.ctx, index, info.ModTime); err != nil {
			r.s.log.Debug("cannot touch", "key", string(index), "err", err)
		}
	}
	return true
}
