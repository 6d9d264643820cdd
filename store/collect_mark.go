package store

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"hash/maphash"
	"strings"

	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
)

// A collector is one run of Collect.
type collector struct {
	v    *Vault
	b    Bucket
	cfg  Collection
	seed maphash.Seed
	out  Collected

	read    map[[16]byte]struct{}   // hashes of the names of pins that were read; they are written once
	pinned  map[uint64]struct{}     // hashes of incarnations that a pin names. Two that share one cost room, never data
	kept    map[oci.Digest]struct{} // digests of which all incarnations stay, because of damaged pins
	blobs   map[uint64]struct{}     // hashes of all incarnations that were found
	doomed  map[incarnation]struct{}
	garbage []garbage
	renew   []Key // pins that name something doomed
}

// An incarnation is the name of one.
type incarnation struct {
	digest oci.Digest
	inc    inc
}

// garbage is a blob that no pin named at C1.
type garbage struct {
	incarnation
	size   int64
	marked bool // before we came
}

func newCollector(v *Vault, cfg Collection) *collector {
	return &collector{v: v, b: v.store.bucket, cfg: cfg, seed: maphash.MakeSeed(),
		read: map[[16]byte]struct{}{}, pinned: map[uint64]struct{}{}, kept: map[oci.Digest]struct{}{},
		blobs: map[uint64]struct{}{}, doomed: map[incarnation]struct{}{}}
}

func (c *collector) hash(i incarnation) uint64 {
	var h maphash.Hash
	h.SetSeed(c.seed)
	h.WriteString(string(i.digest))
	h.WriteString(string(i.inc))
	return h.Sum64()
}

// needed reports whether a pin that was read names i.
func (c *collector) needed(i incarnation) bool {
	if _, ok := c.kept[i.digest]; ok {
		return true
	}
	_, ok := c.pinned[c.hash(i)]
	return ok
}

// parseIncarnation reads a key below v/b/ or v/c/.
func parseIncarnation(key string) (incarnation, bool) {
	parts := strings.Split(key, "/")
	if len(parts) != 5 || parts[1] != "b" && parts[1] != "c" {
		return incarnation{}, false
	}
	hex, i, _ := strings.Cut(parts[4], ".")
	d, err := ref.ParseDigest(parts[2] + ":" + hex)
	if err != nil || !validInc(i) {
		return incarnation{}, false
	}
	prefix, err := vaultBlobPrefix(parts[1], d)
	return incarnation{d, inc(i)}, err == nil && key == prefix+i
}

// readMarkers notes what is condemned already.
func (c *collector) readMarkers(ctx context.Context) error {
	for e, err := range c.b.List(ctx, "v/c/", "", true) {
		if err != nil {
			return err
		}
		if i, ok := parseIncarnation(e.Key); ok {
			c.doomed[i] = struct{}{}
		}
	}
	return nil
}

// readPins reads the pins that were not read yet, and returns how many there
// are.
func (c *collector) readPins(ctx context.Context) (n int64, err error) {
	for e, err := range c.b.List(ctx, "v/m/", "", true) {
		if err != nil {
			return n, err
		}
		if !strings.Contains(e.Key, "/_m/") {
			continue
		}
		n++
		name := sha256.Sum256([]byte(e.Key))
		id := [16]byte(name[:])
		if _, ok := c.read[id]; ok {
			continue
		}
		if err := c.readPin(ctx, Key(e.Key)); err != nil {
			return n, err
		}
		c.read[id] = struct{}{}
	}
	return n, nil
}

// readPin notes what a pin names. One that is gone names nothing; one that
// could not be read may name anything, and is an error; one that is damaged
// must not stop us for ever.
func (c *collector) readPin(ctx context.Context, k Key) error {
	data, err := c.v.store.readRecord(ctx, k)
	if errors.Is(err, oci.ErrNotFound) {
		return nil
	}
	if err != nil && !errors.Is(err, oci.ErrMismatch) {
		return err
	}
	var p pin
	if err == nil {
		err = json.Unmarshal(data, &p)
	}
	_, d, ok := parsePinKey(k)
	if err != nil || !ok || p.inc(d) == "" {
		return c.keepDamaged(ctx, k, err)
	}
	renew := false
	for _, x := range p.Pins {
		i := incarnation{x.Digest, x.Inc}
		c.pinned[c.hash(i)] = struct{}{}
		if _, ok := c.doomed[i]; ok {
			renew = true
		}
	}
	if renew {
		c.renew = append(c.renew, k)
	}
	return nil
}

// parsePinKey reads the name of a pin.
func parsePinKey(k Key) (ref.Name, oci.Digest, bool) {
	rest, ok := strings.CutPrefix(string(k), "v/m/")
	path, rest, found := strings.Cut(rest, "/_m/")
	name, rand, found2 := strings.Cut(rest, "/")
	d, err := unflat(name)
	return ref.Name{Path: path}, d, ok && found && found2 && err == nil && ref.ValidPath(path) && validInc(rand)
}

// keepDamaged keeps every incarnation of the manifest whose pin is damaged, and
// of all that its bytes name.
func (c *collector) keepDamaged(ctx context.Context, k Key, why error) error {
	c.out.Damaged++
	c.v.store.log.Error("a pin is damaged; what its manifest needs is kept", "key", string(k), "err", why)
	_, name, _ := strings.Cut(string(k), "/_m/")
	name, _, _ = strings.Cut(name, "/")
	d, err := unflat(name)
	if err != nil {
		return nil // of no manifest
	}
	return c.keep(ctx, d)
}

// keep is keepDamaged for one digest. What cannot be parsed needs nothing.
func (c *collector) keep(ctx context.Context, d oci.Digest) error {
	if _, ok := c.kept[d]; ok {
		return nil
	}
	c.kept[d] = struct{}{}
	for i, err := range c.v.incarnations(ctx, d) {
		if err != nil {
			return err
		}
		k, err := vaultBlobKey(d, i)
		if err != nil {
			return err
		}
		info, err := c.b.Stat(ctx, k)
		if errors.Is(err, oci.ErrNotFound) || err == nil && info.Size > maxRecord {
			continue
		}
		if err != nil {
			return err
		}
		raw, err := c.v.store.readVerified(ctx, k, d, info.Size)
		if errors.Is(err, oci.ErrNotFound) || errors.Is(err, oci.ErrMismatch) {
			continue
		}
		if err != nil {
			return err
		}
		return c.keepLinks(ctx, raw)
	}
	return nil
}

func (c *collector) keepLinks(ctx context.Context, raw []byte) error {
	var typed struct {
		MediaType string            `json:"mediaType"`
		Manifests []json.RawMessage `json:"manifests"`
	}
	if json.Unmarshal(raw, &typed) != nil {
		return nil
	}
	if typed.MediaType == "" {
		typed.MediaType = oci.TypeImageManifest
		if typed.Manifests != nil {
			typed.MediaType = oci.TypeImageIndex
		}
	}
	links, err := oci.Manifest{MediaType: typed.MediaType, Raw: raw}.Links()
	if err != nil {
		return nil // no manifest
	}
	for _, b := range links.Blobs() {
		c.kept[b.Digest] = struct{}{}
	}
	for _, m := range links.Manifests {
		if err := c.keep(ctx, m.Digest); err != nil {
			return err
		}
	}
	return nil
}

// findGarbage looks at all blobs for those that nothing needs.
func (c *collector) findGarbage(ctx context.Context) error {
	now := c.v.store.cfg.now()
	for e, err := range c.b.List(ctx, "v/b/", "", true) {
		if err != nil {
			return err
		}
		i, ok := parseIncarnation(e.Key)
		if !ok {
			continue // not ours
		}
		info, err := e.Info()
		if errors.Is(err, oci.ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		c.out.Blobs.add(info.Size)
		c.blobs[c.hash(i)] = struct{}{}
		if c.needed(i) {
			continue
		}
		// A time that lies ahead is from a clock that was wrong.
		_, marked := c.doomed[i]
		if !marked && now.Sub(info.ModTime).Abs() < c.cfg.grace() {
			continue
		}
		c.out.Garbage.add(info.Size)
		c.garbage = append(c.garbage, garbage{i, info.Size, marked})
	}
	return nil
}

func (p *PoolUsage) add(size int64) {
	p.Blobs++
	p.Bytes += size
}
