package layout

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"github.com/entrepot/entrepot/oci"
	ispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// fixed is what a volume takes whatever is in it: what it is, sums.json and
// the end of the tar.
const fixed = 2*block + 2*block + trailer

// A filler puts the entries of an archive into volumes: each into the first
// that has room. Blobs that no volume has room for are cut.
type filler struct {
	*plan
	limit int64 // 0 means one volume
}

func (f *filler) fill() error {
	f.whole = make([]*item, len(f.blobs))
	f.open()
	raw, err := json.Marshal(ispec.ImageLayout{Version: ispec.ImageLayoutVersion})
	if err != nil {
		return err
	}
	if err := f.document(layoutFile, raw); err != nil {
		return err
	}
	if err := f.document(indexFile, f.index); err != nil {
		return err
	}
	for _, c := range f.byName() {
		if err := c(); err != nil {
			return err
		}
	}
	for _, file := range f.files {
		if err := f.document(filesDir+file.Name, file.Data); err != nil {
			return err
		}
	}
	return f.reserve()
}

// byName returns what puts manifests and blobs into volumes, sorted by their
// names.
func (f *filler) byName() []func() error {
	type content struct {
		name string
		put  func() error
	}
	var all []content
	for _, m := range f.manifests {
		all = append(all, content{blobName(m.Digest), func() error { return f.document(blobName(m.Digest), m.Raw) }})
	}
	for i, b := range f.blobs {
		all = append(all, content{blobName(b.Descriptor.Digest), func() error { return f.blob(i) }})
	}
	slices.SortFunc(all, func(x, y content) int { return strings.Compare(x.name, y.name) })
	puts := make([]func() error, len(all))
	for i, c := range all {
		puts[i] = c.put
	}
	return puts
}

func (f *filler) open() *bin {
	b := &bin{}
	f.bins = append(f.bins, b)
	return b
}

// line is what an entry takes in sums.json at most: its name, which no JSON
// character stands in the way of, and two numbers and a digest.
func line(name string) int64 {
	raw, _ := json.Marshal(name) // a string always can be
	return int64(len(raw)) + 240
}

// room returns how many bytes an entry of that name may have in a volume.
func (f *filler) room(b *bin, name string, header int) int64 {
	return f.limit - fixed - b.size - padded(b.lines+line(name)) - int64(header)
}

// put adds an entry to a volume.
func (b *bin) put(it *item) {
	b.items = append(b.items, it)
	b.size += int64(len(it.header)) + padded(it.at.Size)
	b.lines += line(it.name)
}

// place puts an entry into the first volume that has room. It reports false
// where not even an empty one has.
func (f *filler) place(it *item) bool {
	if f.limit == 0 {
		f.bins[0].put(it)
		return true
	}
	for _, b := range f.bins {
		if padded(it.at.Size) <= f.room(b, it.name, len(it.header)) {
			b.put(it)
			return true
		}
	}
	if padded(it.at.Size) > f.room(&bin{}, it.name, len(it.header)) {
		return false
	}
	f.open().put(it)
	return true
}

// document adds something small, which is not cut.
func (f *filler) document(name string, data []byte) error {
	header, err := tarHeader(name, int64(len(data)))
	if err != nil {
		return err
	}
	it := &item{name: name, header: header, at: place{0, int64(len(data))}, data: data, blob: -1, digest: oci.FromBytes(data, "")}
	if d, ok := digestOf(name); ok {
		it.digest = d
	}
	if data == nil {
		it.data = []byte{}
	}
	if len(data) > maxDocument {
		return oci.Errorf(oci.ErrTooLarge, "", "%s would have %d bytes, and at most %d are read", name, len(data), int64(maxDocument))
	}
	if !f.place(it) || name == indexFile && len(f.bins) > 1 { // names are looked for in the first volume
		return f.tooSmall(name, it.at.Size+int64(len(header))+line(name))
	}
	return nil
}

// tooSmall says how large volumes have to be for an entry of size bytes.
func (f *filler) tooSmall(name string, size int64) error {
	return oci.Errorf(oci.ErrInvalid, "", "volumes of %d bytes are too small: %s alone needs %d", f.limit, name, fixed+padded(size)+block)
}

// blob adds a blob, whole or in pieces.
func (f *filler) blob(i int) error {
	d := f.blobs[i].Descriptor
	header, err := tarHeader(blobName(d.Digest), d.Size)
	if err != nil {
		return err
	}
	it := &item{name: blobName(d.Digest), header: header, at: place{0, d.Size}, blob: i, digest: d.Digest}
	if f.place(it) {
		f.whole[i] = it
		return nil
	}
	for rest := d.Size; rest > 0; {
		name := partName(d.Digest, len(f.cuts[d.Digest]))
		header, err := tarHeader(name, 0)
		if err != nil {
			return err
		}
		room := f.room(&bin{}, name, len(header)) / block * block
		if room <= 0 {
			return f.tooSmall(name, int64(len(header))+line(name)+block)
		}
		size := min(rest, room)
		if header, err = tarHeader(name, size); err != nil {
			return err
		}
		it := &item{name: name, header: header, at: place{0, size}, blob: i}
		f.place(it) // a volume of its own has the room
		f.cuts[d.Digest] = append(f.cuts[d.Digest], it)
		rest -= size
	}
	return nil
}

// reserve makes sure that the manifest of the set fits into the last volume.
// Nobody knows its size before all offsets
// are known, so it is taken for what it can be at most.
func (f *filler) reserve() error {
	if f.limit == 0 {
		return nil
	}
	f.describe()
	f.set.ID = noDigest
	raw, err := json.Marshal(f.set)
	if err != nil {
		return err
	}
	place := int64(len(`,"volume":,"offset":`) + 2*len(strconv.FormatInt(f.limit, 10)))
	most := int64(len(raw)) + place*int64(len(f.set.Manifests)+len(f.set.Blobs)) + (place+int64(len(noDigest)+30))*int64(len(f.bins)+1)
	for _, parts := range f.cuts {
		most += place * int64(len(parts))
	}
	need := block + padded(most)
	if need > f.limit-fixed {
		return f.tooSmall(setFile, most+block)
	}
	f.last(func(b *bin) bool { return need <= f.limit-fixed-b.size-padded(b.lines) })
	return nil
}

// last makes a volume the last one that has room: the one that is, another but
// the first, which has the names, or a further one.
func (f *filler) last(hasRoom func(*bin) bool) {
	for i := len(f.bins) - 1; i >= 0; i-- {
		if hasRoom(f.bins[i]) && (i > 0 || len(f.bins) == 1) {
			b := f.bins[i]
			f.bins = append(slices.Delete(f.bins, i, i+1), b)
			return
		}
	}
	f.open()
}
