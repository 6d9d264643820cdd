package layout

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"time"

	"github.com/entrepot/entrepot/oci"
	ispec "github.com/opencontainers/image-spec/specs-go/v1"
)

const (
	block   = 512       // of a tar, in bytes
	trailer = 2 * block // ends a tar
)

// A plan says where every byte of an archive goes, before the first is written.
type plan struct {
	sorted
	bins  []*bin
	whole []*item                // of each blob, nil where it is cut
	cuts  map[oci.Digest][]*item // :: digest → the pieces of a blob that is larger than a volume
	set   SetManifest            // with the digests of the volumes once all sums are known
}

// An item is an entry of a volume.
type item struct {
	name   string
	header []byte
	at     place
	volume int        // 1 is the first
	data   []byte     // nil where it is a blob or a piece of one
	blob   int        // of plan.blobs, -1 where it is none
	digest oci.Digest // of what is in it; of a piece of a blob known when it is written
}

// A bin is a volume that is being filled.
type bin struct {
	items []*item
	size  int64 // of what is in it, with headers and padding
	lines int64 // what its sums.json will have at most
	id    volumeID
	sums  []byte
	total int64 // of the file, once everything has its place
}

// newPlan fills volumes of at most limit bytes; 0 means one volume.
func newPlan(c Contents, limit int64) (*plan, error) {
	s, err := newSorted(c)
	if err != nil {
		return nil, err
	}
	p := &plan{sorted: s, cuts: make(map[oci.Digest][]*item)}
	f := filler{plan: p, limit: limit}
	if err := f.fill(); err != nil {
		return nil, err
	}
	return p, p.arrange()
}

// tarHeader returns the header of an entry, the same for everybody at any time.
// Where the plain form has no room, GNU's is taken: it puts large sizes into
// the one block that readers of offsets expect.
func tarHeader(name string, size int64) ([]byte, error) {
	h := &tar.Header{Typeflag: tar.TypeReg, Name: name, Size: size, Mode: 0o644, ModTime: time.Unix(0, 0), Format: tar.FormatUSTAR}
	if len(name) > 100 || size >= 1<<33 {
		h.Format = tar.FormatGNU
	}
	var b bytes.Buffer
	err := tar.NewWriter(&b).WriteHeader(h)
	return b.Bytes(), err
}

// padded returns what content takes in a tar.
func padded(size int64) int64 { return (size + block - 1) / block * block }

// arrange gives everything its offset. The documents that say so have sizes
// that are known, as all digests that are missing have the same length.
func (p *plan) arrange() error {
	for i, b := range p.bins {
		b.id = volumeID{Version: setVersion, Volume: i + 1, Volumes: len(p.bins), Set: noDigest}
		if err := b.arrange(i + 1); err != nil {
			return err
		}
	}
	p.describe()
	if err := p.finish(); err != nil {
		return err
	}
	for _, b := range p.bins {
		b.id.Set = p.set.ID
	}
	return nil
}

// noDigest holds the place of a digest that is not known yet.
var noDigest = oci.FromBytes(nil, "")

// arrange gives the entries of one volume their offsets: what the volume is,
// the entries, their sums.
func (b *bin) arrange(volume int) error {
	at := int64(block + block) // the volume's own header and document
	for _, it := range b.items {
		it.at.Offset = at + int64(len(it.header))
		it.volume = volume
		at = it.at.Offset + padded(it.at.Size)
	}
	raw, err := b.sum()
	if err != nil {
		return err
	}
	b.id.Sums = place{at + block, int64(len(raw))}
	b.total = at + block + padded(int64(len(raw))) + trailer
	return nil
}

// sum returns sums.json with the digests that are known.
func (b *bin) sum() ([]byte, error) {
	doc := volumeSums{Version: setVersion, Entries: []volumeSum{}}
	for _, it := range b.items {
		d := it.digest
		if d == "" {
			d = noDigest
		}
		doc.Entries = append(doc.Entries, volumeSum{it.name, it.at.Offset, it.at.Size, d})
	}
	return json.Marshal(doc)
}

// finish adds set.json to the last volume. It says how large that volume is,
// itself included, so it is written until it agrees with itself.
func (p *plan) finish() error {
	last := p.bins[len(p.bins)-1]
	before := last.total - trailer
	for {
		p.set.Volumes = nil
		for _, b := range p.bins {
			p.set.Volumes = append(p.set.Volumes, SetVolume{b.total, noDigest})
		}
		p.set.ID = noDigest
		raw, err := json.Marshal(p.set)
		if err != nil {
			return err
		}
		last.id.Last = &place{before + block, int64(len(raw))}
		total := before + block + padded(int64(len(raw))) + trailer
		if total == last.total {
			break
		}
		last.total = total
	}
	var err error
	p.set.ID, err = p.set.identify()
	return err
}

// describe fills in the manifest of the set.
func (p *plan) describe() {
	at := make(map[string]*item)
	for _, b := range p.bins {
		for _, it := range b.items {
			at[it.name] = it
		}
	}
	s := SetManifest{Version: setVersion, Images: p.images, Manifests: []SetContent{}, Blobs: []SetContent{}, Base: p.base}
	if s.Images == nil {
		s.Images = []SetImage{}
	}
	for _, m := range p.manifests {
		it := at[blobName(m.Digest)]
		s.Manifests = append(s.Manifests, SetContent{Digest: m.Digest, Size: it.at.Size, MediaType: m.MediaType, Volume: it.volume, Offset: it.at.Offset})
	}
	for _, b := range p.blobs {
		d := b.Descriptor
		c := SetContent{Digest: d.Digest, Size: d.Size}
		if it := at[blobName(d.Digest)]; it != nil {
			c.Volume, c.Offset = it.volume, it.at.Offset
		}
		for _, it := range p.cuts[d.Digest] {
			c.Parts = append(c.Parts, SetPart{it.volume, it.at.Offset, it.at.Size})
		}
		s.Blobs = append(s.Blobs, c)
	}
	for _, f := range p.files {
		s.Files = append(s.Files, SetFile{f.Name, int64(len(f.Data)), oci.FromBytes(f.Data, "")})
	}
	p.set = s
}

// blobName is pathOf for a digest that was checked.
func blobName(d oci.Digest) string {
	return ispec.ImageBlobsDir + "/" + string(d.Algorithm()) + "/" + d.Encoded()
}
