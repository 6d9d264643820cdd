package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
)

// A pin is the record of a manifest in a repository. Its pins are everything
// that the manifest needs, itself first, children's children too: so a
// collector has to read nothing but pins. It is written once.
type pin struct {
	MediaType string     `json:"mediaType"`
	Size      int64      `json:"size"`
	Subject   oci.Digest `json:"subject,omitempty"`
	Pins      []pinned   `json:"pins"`
}

// pinned is one incarnation that a pin names, ["sha256:…","<inc>",size].
type pinned struct {
	Digest oci.Digest
	Inc    inc
	Size   int64
}

// MarshalJSON writes an array of three.
func (p pinned) MarshalJSON() ([]byte, error) {
	return json.Marshal([]any{p.Digest, p.Inc, p.Size})
}

// UnmarshalJSON reads an array of three, and checks the names in it.
func (p *pinned) UnmarshalJSON(b []byte) error {
	if err := json.Unmarshal(b, &[]any{&p.Digest, &p.Inc, &p.Size}); err != nil {
		return err
	}
	if _, err := ref.ParseDigest(string(p.Digest)); err != nil {
		return err
	}
	if !validInc(string(p.Inc)) {
		return fmt.Errorf("%q is not an incarnation", p.Inc)
	}
	return nil
}

// inc returns the incarnation of d that p names, "" for none.
func (p pin) inc(d oci.Digest) inc {
	for _, x := range p.Pins {
		if x.Digest == d {
			return x.Inc
		}
	}
	return ""
}

// covers reports whether p names every digest of all.
func (p pin) covers(all []pinned) bool {
	have := make(map[oci.Digest]bool, len(p.Pins))
	for _, x := range p.Pins {
		have[x.Digest] = true
	}
	for _, x := range all {
		if !have[x.Digest] {
			return false
		}
	}
	return true
}

// pin returns a pin of the manifest in the repository. One that is listed and then
// gone may have been replaced meanwhile, by a collector or by another push: the
// newer one was written first, so it is looked for again.
func (v *Vault) pin(ctx context.Context, n ref.Name, d oci.Digest) (pin, error) {
	for {
		p, again, err := v.findPin(ctx, n, d)
		if !again {
			return p, err
		}
	}
}

// findPin is one look of pin; again says that all that it has listed are gone.
func (v *Vault) findPin(ctx context.Context, n ref.Name, d oci.Digest) (_ pin, again bool, _ error) {
	id := digestID{name: n, d: d}
	if p, ok := v.pins.get(id); ok {
		return p, false, nil
	}
	epoch := v.pins.now()
	keys, err := v.pinKeys(ctx, n, d)
	if err != nil {
		return pin{}, false, err
	}
	var damaged error
	for _, k := range keys {
		p, err := v.readPin(ctx, k)
		if err == nil && p.inc(d) != "" {
			v.pins.add(id.clone(), p, epoch)
			return p, false, nil
		}
		if !errors.Is(err, oci.ErrNotFound) {
			v.store.log.Error("a pin is damaged", "key", string(k), "err", err)
			damaged = &oci.Error{Kind: oci.ErrUnavailable, Message: "the manifest's record is damaged", Err: err}
		}
	}
	if damaged != nil {
		return pin{}, false, damaged
	}
	return pin{}, len(keys) > 0 && ctx.Err() == nil, errMiss
}

func (v *Vault) pinKeys(ctx context.Context, n ref.Name, d oci.Digest) ([]Key, error) {
	prefix, err := vaultPrefixOf("m", n, d)
	if err != nil {
		return nil, err
	}
	var keys []Key
	for e, err := range v.store.bucket.List(ctx, prefix, "", false) {
		if err != nil {
			return nil, err
		}
		keys = append(keys, Key(e.Key))
	}
	return keys, nil
}

func (v *Vault) readPin(ctx context.Context, k Key) (pin, error) {
	b, err := v.store.readRecord(ctx, k)
	if err != nil {
		return pin{}, err
	}
	var p pin
	if err := json.Unmarshal(b, &p); err != nil {
		return pin{}, fmt.Errorf("read pin: %w", err)
	}
	return p, nil
}

// alive reports whether an incarnation can be relied on: no marker, and then
// the blob. In the other order, a collector that deletes the blob and then its
// marker in between would go unnoticed.
func (v *Vault) alive(ctx context.Context, d oci.Digest, i inc) (Info, bool, error) {
	marker, err := vaultMarkerKey(d, i)
	if err != nil {
		return Info{}, false, err
	}
	if _, err := v.store.bucket.Stat(ctx, marker); err == nil {
		return Info{}, false, nil
	} else if !errors.Is(err, oci.ErrNotFound) {
		return Info{}, false, err
	}
	blob, err := vaultBlobKey(d, i)
	if err != nil {
		return Info{}, false, err
	}
	info, err := v.store.bucket.Stat(ctx, blob)
	if errors.Is(err, oci.ErrNotFound) {
		return Info{}, false, nil
	}
	return info, err == nil, err
}

// choose returns an incarnation of d that is alive, the preferred one where it
// is (W1). ErrNotFound means that there is none.
func (v *Vault) choose(ctx context.Context, d oci.Digest, prefer inc) (pinned, error) {
	if prefer != "" {
		if info, ok, err := v.alive(ctx, d, prefer); err != nil || ok {
			return pinned{d, prefer, info.Size}, err
		}
	}
	for i, err := range v.incarnations(ctx, d) {
		if err != nil {
			return pinned{}, err
		}
		if info, ok, err := v.alive(ctx, d, i); err != nil || ok {
			return pinned{d, i, info.Size}, err
		}
	}
	return pinned{}, errMiss
}

// stillAlive is W3: it reports whether everything pinned is alive.
func (v *Vault) stillAlive(ctx context.Context, all []pinned) (bool, error) {
	for _, p := range all {
		if _, ok, err := v.alive(ctx, p.Digest, p.Inc); err != nil || !ok {
			return false, err
		}
	}
	return true, nil
}

// needs returns what a manifest needs from its repository, with live
// incarnations (W1). A blob needs a link, a child manifest a pin; what is
// missing is ErrInvalid with MANIFEST_BLOB_UNKNOWN, unless the vault is sparse:
// then what exists is pinned. Sparse covers an image's blobs too, as the
// conformance suite's sparse data does.
func (v *Vault) needs(ctx context.Context, n ref.Name, l oci.Links) ([]pinned, error) {
	set := pinSet{v: v, seen: map[oci.Digest]bool{}}
	for _, b := range l.Blobs() {
		i, err := v.link(ctx, n, b.Digest)
		if err == nil {
			err = set.add(ctx, b.Digest, i)
		}
		if p, ok := set.last(b.Digest); err == nil && ok && p.Inc != i {
			err = v.putLink(ctx, n, p) // the link to what is dead goes with it one day
		}
		switch {
		case errors.Is(err, oci.ErrNotFound) && (v.store.cfg.Sparse || !distributable(b.MediaType)):
		case errors.Is(err, oci.ErrNotFound):
			return nil, oci.Errorf(oci.ErrInvalid, oci.CodeManifestBlobUnknown, "%s has no blob %s, which the manifest needs", n.Path, b.Digest)
		case err != nil:
			return nil, err
		}
	}
	for _, m := range l.Manifests {
		err := set.addManifest(ctx, n, m.Digest)
		switch {
		case errors.Is(err, oci.ErrNotFound) && v.store.cfg.Sparse:
		case errors.Is(err, oci.ErrNotFound):
			return nil, oci.Errorf(oci.ErrInvalid, oci.CodeManifestBlobUnknown, "%s has no manifest %s, which the index needs", n.Path, m.Digest)
		case err != nil:
			return nil, err
		}
	}
	return set.all, nil
}

// relink gives the repository a link to an incarnation, where it has one to
// another incarnation of that digest. What a pin names needs a link of the same
// incarnation, since links go with what they name.
func (v *Vault) relink(ctx context.Context, n ref.Name, p pinned) error {
	prefix, err := vaultPrefixOf("l", n, p.Digest)
	if err != nil {
		return err
	}
	linked := false
	for e, err := range v.store.bucket.List(ctx, prefix, "", false) {
		if err != nil {
			return err
		}
		if linked = true; strings.HasPrefix(e.Key, prefix+string(p.Inc)+".") {
			return nil
		}
	}
	if !linked {
		return nil // a manifest
	}
	return v.putLink(ctx, n, p)
}

// distributable reports whether layers of a media type are to be pushed.
func distributable(mediaType string) bool {
	return !strings.HasPrefix(mediaType, "application/vnd.oci.image.layer.nondistributable.") &&
		!strings.HasPrefix(mediaType, "application/vnd.docker.image.rootfs.foreign.")
}

// A pinSet gathers incarnations, one for each digest.
type pinSet struct {
	v    *Vault
	seen map[oci.Digest]bool
	all  []pinned
}

// last returns what was added last, where that is d.
func (s *pinSet) last(d oci.Digest) (pinned, bool) {
	if len(s.all) == 0 || s.all[len(s.all)-1].Digest != d {
		return pinned{}, false
	}
	return s.all[len(s.all)-1], true
}

func (s *pinSet) add(ctx context.Context, d oci.Digest, prefer inc) error {
	if s.seen[d] {
		return nil
	}
	if len(s.all) >= oci.MaxDescriptors {
		return oci.Errorf(oci.ErrInvalid, oci.CodeManifestInvalid, "the image is made of more than %d manifests and blobs", oci.MaxDescriptors)
	}
	p, err := s.v.choose(ctx, d, prefer)
	if err != nil {
		return err
	}
	s.seen[d] = true
	s.all = append(s.all, p)
	return nil
}

// addManifest adds a child and all that its own pin names. A child's pin may
// name what a sparse index could do without, so only the child must be there.
func (s *pinSet) addManifest(ctx context.Context, n ref.Name, d oci.Digest) error {
	if s.seen[d] {
		return nil
	}
	p, err := s.v.pin(ctx, n, d)
	if err != nil {
		return err
	}
	for _, x := range p.Pins {
		if err := s.add(ctx, x.Digest, x.Inc); err != nil {
			return err
		}
		if q, ok := s.last(x.Digest); ok && q.Inc != x.Inc {
			if err := s.v.relink(ctx, n, q); err != nil {
				return err
			}
		}
	}
	return nil
}
