package document

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/entrepot/entrepot/internal/tree"
)

// A Kind is what an input is: the format that it is read as.
type Kind string

// The kinds.
const (
	Bundle     Kind = "bundle"     // a CNAB bundle.json, or a thick bundle (.tgz)
	Chart      Kind = "chart"      // a Helm chart, a directory or a .tgz
	Kubernetes Kind = "kubernetes" // Kubernetes objects in YAML or JSON
	Compose    Kind = "compose"    // a Compose file
	Dockerfile Kind = "dockerfile" // a Dockerfile: what it builds from
	Relocated  Kind = "relocated"  // a relocation-mapping.json: images from where they are now
	Archive    Kind = "archive"    // images in a tar or a directory, by the names that it gives them

	List        Kind = "images"       // a plain list, an image a line
	SkopeoSync  Kind = "skopeo-sync"  // the YAML of skopeo sync
	Regsync     Kind = "regsync"      // the YAML of regsync
	ImageSyncer Kind = "image-syncer" // the YAML or JSON of image-syncer
	ImagesLock  Kind = "images-lock"  // an ImagesLock or BundleLock of imgpkg, or an Images.lock of Helm's tooling
)

// A format is a kind, and how it is recognised and read.
type format struct {
	kind Kind
	// looks says what the kind is known by, for whoever gives something else.
	looks string
	// is reports whether an input is of this kind; reading.docs is what it holds
	// where it is YAML or JSON.
	is func(*reading) bool
	// read adds the sites of the input to the document. An error that it
	// returns is added to those that it noted.
	read func(*reading) error
}

// formats returns the kinds in the order in which they are tried: special ones
// before those that take much.
func formats() []format {
	return []format{
		{Archive, "an index.json in a tar or a directory", isStored, readStored},
		{Bundle, "a bundle.json in an archive", isThick, readThick},
		{Chart, "a Chart.yaml in a directory or an archive", isChart, readChart},
		{Bundle, "name and invocationImages", isBundle, readBundle},
		{ImagesLock, "apiVersion imgpkg.carvel.dev/v1alpha1", isLock, readLock},
		{Kubernetes, "apiVersion and kind", isKubernetes, readKubernetes},
		{Compose, "services", isCompose, readCompose},
		{Relocated, "references and a file name with relocation-mapping", isMapping, readMapping},
		{Regsync, "a list at sync", isRegsync, readRegsync},
		{SkopeoSync, "registries with images", isSkopeoSync, readSkopeoSync},
		{ImageSyncer, "a table of sources and targets", isImageSyncer, readImageSyncer},
		{Dockerfile, "a FROM", isDockerfile, readDockerfile},
		{List, "an image in every line", isPlainList, readPlainList},
	}
}

// Kinds returns the kinds that can be read, sorted.
func Kinds() []Kind {
	var all []Kind
	for _, f := range formats() {
		if !slices.Contains(all, f.kind) {
			all = append(all, f.kind)
		}
	}
	slices.Sort(all)
	return all
}

// ErrUnknown is wrapped by the error for an input of no known kind.
var ErrUnknown = errors.New("the content is of no known kind")

// recognise parses the input and chooses its format.
func (r *reading) recognise() (format, error) {
	all := formats()
	if r.in.Kind != "" && !slices.ContainsFunc(all, func(f format) bool { return f.kind == r.in.Kind }) {
		return format{}, fmt.Errorf("%q is no kind of input; known are %s", r.in.Kind, joinKinds(Kinds()))
	}
	if len(r.in.Data) > MaxSize {
		return format{}, &Error{At: Position{File: r.in.Name}, Text: fmt.Sprintf("it is larger than %d MiB", MaxSize>>20)}
	}
	r.main = newFile(r.in.Name, "", r.in.Data)
	if r.in.Files == nil && !r.in.isArchive() {
		r.docs, r.syntax = parse(r.main)
	}
	var named []format
	for _, f := range all {
		switch {
		case r.in.Kind != "" && f.kind == r.in.Kind:
			named = append(named, f)
		case r.in.Kind == "" && f.is(r):
			return f, nil
		}
	}
	for _, f := range named { // a kind may have several forms
		if f.is(r) || len(named) == 1 {
			return f, nil
		}
	}
	if len(named) > 0 {
		return named[len(named)-1], nil
	}
	return format{}, r.unknown(all)
}

// unknown says what was looked for and not found.
func (r *reading) unknown(all []format) error {
	if c := r.look(); c.err != nil {
		return &Error{At: Position{File: r.in.Name}, Text: "it is compressed", Err: c.err}
	}
	if r.syntax != nil && looksStructured(r.main) {
		return r.refuse(r.main, r.syntax)
	}
	var looks []string
	for _, f := range all {
		looks = append(looks, fmt.Sprintf("%s (%s)", f.kind, f.looks))
	}
	return &Error{
		At: Position{File: r.in.Name}, Err: ErrUnknown,
		Text: "looked for " + strings.Join(looks, ", "),
		Hint: "say what it is with --kind",
	}
}

// looksStructured reports whether a text that is no YAML seems to be meant as
// one, so that its fault is worth telling.
func looksStructured(f *file) bool {
	head := f.data[:min(len(f.data), 4096)]
	return bytes.Contains(head, []byte("apiVersion:")) || bytes.Contains(head, []byte("{{")) ||
		bytes.HasPrefix(bytes.TrimLeft(head, " \t\r\n"), []byte("{")) || bytes.Contains(head, []byte(": "))
}

func isGzip(data []byte) bool { return bytes.HasPrefix(data, []byte{0x1f, 0x8b}) }

func joinKinds(kinds []Kind) string {
	var out []string
	for _, k := range kinds {
		out = append(out, string(k))
	}
	return strings.Join(out, ", ")
}

// anyDoc reports whether one of the documents of the input is a table that a
// function accepts.
func (r *reading) anyDoc(is func(*tree.Node) bool) bool {
	return slices.ContainsFunc(r.docs, func(n *tree.Node) bool { return n.Kind == tree.Table && is(n) })
}
