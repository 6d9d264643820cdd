package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
)

// An imageSet is images that are moved together. They are at the origin and
// nowhere else: their layers are made while they are pushed.
type imageSet struct {
	name   string
	images []setImage
}

// A setImage is one image: a repository, a tag, and seeds and sizes of its
// layers. Layers with the same seed and size are one blob.
type setImage struct {
	repo, tag string
	layers    []layerSpec
}

type layerSpec struct {
	seed uint64
	size int64
}

// sharedSet is twelve images on four bases that three of them share each, in
// the sizes of common base images and what is built upon them: 2.0 GB of
// different blobs, 4.1 GB as listed.
func sharedSet(quick bool) imageSet {
	unit := int64(1 << 20)
	if quick {
		unit >>= 3
	}
	s := imageSet{name: "shared"}
	for i := range uint64(12) {
		base := i % 4
		img := setImage{repo: fmt.Sprintf("shared/app%d", i), tag: tag}
		for k, n := range []int64{55, 24, 64, 100 + 10*int64(base)} {
			img.layers = append(img.layers, layerSpec{1000 + base*10 + uint64(k), n * unit})
		}
		for k, n := range []int64{40, 20, 8, 3} {
			img.layers = append(img.layers, layerSpec{2000 + i*10 + uint64(k), n * unit})
		}
		s.images = append(s.images, img)
	}
	return s
}

// smallSet is 500 images in 50 repositories: each has a base that images of
// several repositories share, and a layer and a config of its own.
func smallSet(quick bool) imageSet {
	repos := uint64(50)
	if quick {
		repos = 10
	}
	s := imageSet{name: "small"}
	for r := range repos {
		for t := range uint64(10) {
			s.images = append(s.images, setImage{
				repo: fmt.Sprintf("small/app%d", r), tag: fmt.Sprintf("v%d", t),
				layers: []layerSpec{{3000 + r%11, 60_000}, {4000 + r*10 + t, 20_000}},
			})
		}
	}
	return s
}

// bigSet is one image with one layer.
func bigSet(quick bool) imageSet {
	size := int64(2 << 30)
	if quick {
		size = 256 << 20
	}
	return imageSet{name: "big", images: []setImage{{repo: "big/app", tag: tag, layers: []layerSpec{{5000, size}}}}}
}

// repos returns the repositories of a set, each once, in order.
func (s imageSet) repos() []string {
	var all []string
	for _, img := range s.images {
		if len(all) == 0 || all[len(all)-1] != img.repo {
			all = append(all, img.repo)
		}
	}
	return all
}

// A filler pushes sets to a registry. What it has pushed to one repository it
// mounts in the next.
type filler struct {
	addr  string
	homes map[string]string // :: digest → repository
	known map[layerSpec]descriptor
}

func newFiller(addr string) *filler {
	return &filler{addr: addr, homes: map[string]string{}, known: map[layerSpec]descriptor{}}
}

// push pushes a set.
func (f *filler) push(ctx context.Context, s imageSet) error {
	for n, img := range s.images {
		if err := ctx.Err(); err != nil {
			return err
		}
		raw := fmt.Appendf(nil, `{"architecture":"amd64","os":"linux","set":%q,"n":%d}`, s.name, n)
		config := descriptor{MediaType: typeConfig, Digest: digestOf(raw), Size: int64(len(raw))}
		if err := f.blob(img.repo, config, bytes.NewReader(raw)); err != nil {
			return err
		}
		doc := document{SchemaVersion: 2, MediaType: typeManifest, Config: &config}
		for _, l := range img.layers {
			d, err := f.layer(l)
			if err != nil {
				return err
			}
			if err := f.blob(img.repo, d, l.reader()); err != nil {
				return err
			}
			doc.Layers = append(doc.Layers, d)
		}
		m, err := newManifest(doc)
		if err != nil {
			return err
		}
		url := fmt.Sprintf("http://%s/v2/%s/manifests/%s", f.addr, img.repo, img.tag)
		if _, err := send("PUT", url, m.MediaType, bytes.NewReader(m.raw), m.Size); err != nil {
			return err
		}
	}
	return nil
}

// reader gives the bytes of a layer.
func (l layerSpec) reader() io.Reader {
	var key [32]byte
	binary.LittleEndian.PutUint64(key[:], l.seed)
	return io.LimitReader(rand.NewChaCha8(key), l.size)
}

func (f *filler) layer(l layerSpec) (descriptor, error) {
	if d, ok := f.known[l]; ok {
		return d, nil
	}
	h := sha256.New()
	if _, err := io.CopyBuffer(h, l.reader(), make([]byte, 1<<20)); err != nil {
		return descriptor{}, err
	}
	d := descriptor{MediaType: typeLayer, Digest: "sha256:" + hex.EncodeToString(h.Sum(nil)), Size: l.size}
	f.known[l] = d
	return d, nil
}

// blob pushes a blob, or mounts it. One that the repository has is left out.
func (f *filler) blob(repo string, d descriptor, r io.Reader) error {
	if f.homes[repo+"@"+d.Digest] != "" {
		return nil
	}
	url := fmt.Sprintf("http://%s/v2/%s/blobs/uploads/", f.addr, repo)
	home := f.homes[d.Digest]
	if home != "" {
		url += "?mount=" + d.Digest + "&from=" + home
	}
	resp, err := send("POST", url, "", nil, 0)
	if err != nil {
		return err
	}
	f.homes[d.Digest], f.homes[repo+"@"+d.Digest] = repo, repo
	if resp.StatusCode == 201 {
		return nil
	}
	to, err := resp.Location()
	if err != nil {
		return err
	}
	q := to.Query()
	q.Set("digest", d.Digest)
	to.RawQuery = q.Encode()
	_, err = send("PUT", to.String(), "application/octet-stream", r, d.Size)
	return err
}
