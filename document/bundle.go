package document

import (
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/entrepot/entrepot/internal/tree"
	"github.com/entrepot/entrepot/ref"
)

func isBundle(r *reading) bool {
	return len(r.docs) == 1 && r.docs[0].Has("invocationImages") && r.docs[0].Has("name")
}

// readBundle reads a CNAB bundle.json (CNAB core specification, section 101).
// Its canonical form is signed, so that it is never changed: what its images
// became is what a relocation mapping is for.
func readBundle(r *reading) error {
	if r.syntax != nil {
		return r.refuse(r.main, r.syntax)
	}
	if len(r.docs) != 1 || r.docs[0].Kind != tree.Table {
		return &Error{At: Position{File: r.in.Name}, Text: "a bundle is one JSON object"}
	}
	r.doc.verbatim = true
	root := r.root(r.addFile(r.main), r.docs[0])
	if !root.n.Has("invocationImages") {
		root.fail("", "invocationImages is missing: this is no bundle")
	}
	for _, s := range root.members() {
		switch s.path {
		case "invocationImages":
			for _, item := range s.items() {
				item.bundleImage()
			}
		case "images":
			if s.n.Kind == tree.Null {
				continue
			}
			for _, item := range s.members() {
				item.bundleImage()
			}
		}
	}
	return nil
}

// bundleImage reads an image of a bundle.
func (s spot) bundleImage() {
	if s.n.Kind != tree.Table {
		s.fail("", "this is %v and should be an image", s.n.Kind)
		return
	}
	if t := s.str("imageType"); t != "" && t != "oci" && t != "docker" {
		s.member("imageType").fail("", "cannot relocate image %s with imageType %s: only oci and docker image types are currently supported", s.str("image"), t)
		return
	}
	at := s.member("image")
	if at.n == nil || at.n.Text == "" {
		s.fail("", "it names no image")
		return
	}
	site := at.image()
	if site == nil {
		return
	}
	site.Original = s.str("originalImage")
	for _, key := range []string{"contentDigest", "digest"} { // the second was the name before 1.0
		if d := s.member(key); d.n != nil && d.n.Text != "" && site.Digest == "" {
			site.Digest = d.digest(site.Ref)
		}
	}
}

// digest reads the digest that a bundle promises for an image.
func (s spot) digest(image string) ref.Digest {
	want, err := ref.ParseDigest(s.n.Text)
	if err != nil {
		s.r.errs = append(s.r.errs, &Error{At: s.f.at(s.n.Start), Field: s.path, Text: "this is no digest", Err: err})
		return ""
	}
	if r, err := ref.Parse(image); err == nil && r.Digest != "" && r.Digest != want {
		s.r.errs = append(s.r.errs, &Error{At: s.f.at(s.n.Start), Field: s.path, Err: &DigestError{Image: image, Got: r.Digest, Want: want}, Text: "the bundle contradicts itself"})
	}
	return want
}

// A DigestError says that an image is not what a bundle promises.
type DigestError struct {
	Image     string
	Got, Want ref.Digest
}

// Error says it in the words of cnab-go.
func (e *DigestError) Error() string {
	return fmt.Sprintf("content digest mismatch: image %s has digest %s but the digest should be %s according to the bundle manifest", e.Image, e.Got, e.Want)
}

// CheckDigest returns a *DigestError where an image was found to have another
// digest than its bundle promises, nil where it promises none.
func (i Image) CheckDigest(got ref.Digest) error {
	if i.Digest == "" || i.Digest == got {
		return nil
	}
	return &DigestError{Image: i.Ref, Got: got, Want: i.Digest}
}

func isThick(r *reading) bool { return r.look().bundle != nil }

// readThick reads a bundle in an archive (CNAB core specification, section
// 104). The images stay where they are: see [ExtractLayout].
func readThick(r *reading) error {
	c := r.look()
	if c.err != nil {
		return c.err
	}
	if c.bundle == nil {
		return errors.New("the archive has no bundle.json")
	}
	if c.mapping != nil {
		m, err := ParseMapping(r.in.Name+":relocation-mapping.json", c.mapping)
		if err != nil {
			return err
		}
		r.doc.mapping = m
	}
	r.doc.thick = c.artifacts
	r.doc.in.Path = path.Join(path.Dir(r.in.Path), "bundle.json")
	r.main = newFile(r.in.Name+":bundle.json", "", c.bundle)
	r.docs, r.syntax = parse(r.main)
	return readBundle(r)
}

// isMapping tells a relocation mapping by its name, too: the JSON of
// image-syncer has the same form, and means that the values are still to come.
func isMapping(r *reading) bool {
	if !strings.Contains(path.Base(r.in.Name), "relocation-mapping") || len(r.docs) != 1 || r.docs[0].Kind != tree.Table || r.docs[0].Style != tree.JSONString || len(r.docs[0].Keys) == 0 {
		return false
	}
	for _, k := range r.docs[0].Keys {
		_, err := ref.Parse(k.Value.Text)
		if k.Value.Kind != tree.String || err != nil || checkRef(k.Name) != nil {
			return false
		}
	}
	return true
}

// readMapping reads a relocation mapping as an input: the images that were
// relocated before, from where they are now.
func readMapping(r *reading) error {
	m, err := ParseMapping(r.in.Name, r.in.Data)
	if err != nil {
		return err
	}
	r.doc.mapping, r.doc.verbatim = m, true
	f := r.addFile(r.main)
	for i := range r.docs[0].Keys {
		k := &r.docs[0].Keys[i]
		r.add(k.Name, k.Name, part{role: wholeRef, f: f, n: &tree.Node{Kind: tree.String, Style: tree.JSONString, Text: k.Name, Start: k.At, End: k.End}})
	}
	return nil
}
