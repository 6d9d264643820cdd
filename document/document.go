// Package document finds the images that a document names, and writes others
// into their places without touching another byte.
//
// An [Input] is the content of a file, or of the files that belong together in a
// chart. [Read] recognises its [Kind] and gives a [Document]; its
// [Document.Images] are the mentions of images, each with its place, and
// [Document.Rewrite] gives the same files with other names in these places:
//
//	doc, err := document.Read(document.Input{Name: "app.yaml", Data: data}, document.Options{})
//	for _, image := range doc.Images() { … }
//	files, err := doc.Rewrite(func(written string) (string, bool) { … })
//
// Comments, order, quotes, anchors, line ends and a byte order mark stay as they
// are: a document is parsed for its positions only and never printed again.
package document

import (
	"errors"
	"fmt"
	"io"

	"github.com/entrepot/entrepot/ref"
)

// MaxSize is the largest size of a document, in bytes, and of all files of a
// chart together.
const MaxSize = 256 << 20

// An Input is a text, or an archive, that names images. One of Data, Files, Open
// and Images is needed.
type Input struct {
	// Name is what the input is called in messages: its path, or "-".
	Name string
	// Path says where the input lies below the directory that was asked for, with
	// slashes; it is where its rewritten form belongs below another. A file that
	// was asked for itself has its base name, a chart nothing.
	Path string
	// Found says that it was found in a directory rather than asked for.
	Found bool
	// Kind is what the input is; "" has it recognised from the content.
	Kind Kind
	// Data is the content of a single file.
	Data []byte
	// Open opens the content of an archive, which may be larger than memory. It
	// may be called several times; the caller closes.
	Open func() (io.ReadCloser, error)
	// Files are those of a chart's directory.
	Files []File
	// Images are the names of the images in an archive of images, as whoever opened
	// it found them.
	Images []string
	// Mapping says where the images are now, for an input that was found with
	// one, as a bundle in a registry; nil for none.
	Mapping Mapping
}

// A File is a file with its content.
type File struct {
	// Path has slashes. In an [Input] it is relative to the chart; what
	// [Document.Rewrite] returns has the Path of the input before it.
	Path string
	Data []byte
}

// Options say what is looked for beside the fields that a kind has by itself.
// The zero value adds nothing.
type Options struct {
	// Fields are rules for custom resources and values; see [ParseFields].
	Fields []FieldRule
	// Find adds places in which references are only by convention.
	Find Find
	// Annotate has [Document.Rewrite] write the original names of the images
	// into an annotation of each rewritten Kubernetes object.
	Annotate bool
	// Render renders a chart, given as its Files, as `helm template` does; nil
	// means that a chart's images are those of its annotations and values.
	Render func(chart Input) ([]byte, error)
}

// A Position is a place in a file.
type Position struct {
	File   string
	Line   int // from 1; 0 is the file as a whole
	Column int // in bytes, from 1
}

// String returns "file:line".
func (p Position) String() string {
	if p.Line == 0 {
		return p.File
	}
	return fmt.Sprintf("%s:%d", p.File, p.Line)
}

// An Image is one mention of an image in an input.
type Image struct {
	// Ref is the reference as the input writes it; joined by '/', ':' and '@'
	// where the input has it in several fields.
	Ref string
	// Target is where the input itself says that the image goes; mostly "".
	Target string
	// Digest is the digest that the input promises the image to have, beside the
	// one that Ref may have; "" for none. A bundle's contentDigest is one.
	Digest ref.Digest
	// At is where the value stands. Mentions by way of an alias share it.
	At Position
	// Original is the name that the image had at first, where the input says so
	// (a bundle's originalImage); mostly "".
	Original string
	// Field is the path of the field, as in "spec.containers[0].image".
	Field string
	// Kind is that of the document.
	Kind Kind
}

// An Error is something in an input that cannot be read, or not be written.
type Error struct {
	At    Position
	Field string // the path of the field; "" where it is about no field
	Text  string
	Hint  string // what may be done about it; "" for nothing in particular
	Err   error  // the cause; nil where Text says it all
}

// Error returns "file:line: field: text: cause", without the hint.
func (e *Error) Error() string {
	s := e.At.String() + ": "
	if e.Field != "" {
		s += e.Field + ": "
	}
	s += e.Text
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Errors returns the parts of an error of this package, in the order of the
// input: [Read] finds as many as it can.
func Errors(err error) []*Error {
	for err != nil {
		if e, ok := err.(*Error); ok { // and not what it wraps
			return []*Error{e}
		}
		if all, ok := err.(interface{ Unwrap() []error }); ok {
			var out []*Error
			for _, e := range all.Unwrap() {
				out = append(out, Errors(e)...)
			}
			return out
		}
		err = errors.Unwrap(err)
	}
	return nil
}

// A Document is an input that has been read. It is safe for concurrent use.
type Document struct {
	// Name is the name of the input.
	Name string
	// Kind is the kind that was named, or recognised.
	Kind Kind

	in       Input
	opts     Options
	files    []*file
	sites    []*site
	notes    []*Error
	verbatim bool // nothing in it is rewritten
	thick    bool // images are in the archive, too
	// selectors and access are those of lists for other tools.
	selectors []*Selector
	access    []Access
	// repack turns the rewritten files into those of the output; nil where they
	// are.
	repack  func([]File) ([]File, error)
	mapping Mapping // of a bundle that brings one
}

// Images returns the mentions of images, in the order of the input. One image
// that is named three times is there three times.
func (d *Document) Images() []Image {
	all := make([]Image, 0, len(d.sites))
	for _, s := range d.sites {
		all = append(all, s.Image)
	}
	return all
}

// Notes returns what deserves a word to the user and is no error: fields that
// look like images and are not known to be ones.
func (d *Document) Notes() []*Error { return d.notes }

// Mapping returns the relocation mapping that the document brings along: an
// archived bundle may have one. Nil for none.
func (d *Document) Mapping() Mapping { return d.mapping }

// Verbatim reports whether the document is left as it is by [Document.Rewrite]:
// bundles are signed, what became of their images is said by a mapping.
func (d *Document) Verbatim() bool { return d.verbatim }

// Thick reports whether the document is a bundle that brings its images along;
// see [ExtractLayout].
func (d *Document) Thick() bool { return d.thick }

// Read reads an input. An error is made of parts, one for everything that is
// wrong; see [Errors].
func Read(in Input, opts Options) (*Document, error) {
	d, err := read(in, opts)
	if err != nil {
		return nil, err
	}
	d.settle(d.known(map[ref.Ref]bool{}))
	return d, nil
}

// ReadAll reads inputs that belong together: what [Find] takes for an image may
// be named in any of them. What was found in a directory and is of no known
// kind, or a relocation mapping, is left out; skipped says so.
func ReadAll(ins []Input, opts Options) (docs []*Document, skipped []*Error, err error) {
	var wrong []error
	known := map[ref.Ref]bool{}
	for _, in := range ins {
		d, err := read(in, opts)
		if in.Found && errors.Is(err, ErrUnknown) {
			skipped = append(skipped, &Error{At: Position{File: in.Name}, Text: "left out: it names no images that are known of", Hint: "say what it is with --kind"})
			continue
		}
		if err != nil {
			wrong = append(wrong, err)
			continue
		}
		if in.Found && in.Kind == "" && d.Kind == Relocated {
			skipped = append(skipped, &Error{At: Position{File: in.Name}, Text: "left out: a relocation mapping is read where it is named itself"})
			continue
		}
		d.known(known)
		docs = append(docs, d)
	}
	if len(wrong) > 0 {
		return nil, skipped, errors.Join(wrong...)
	}
	for _, d := range docs {
		d.settle(known)
	}
	return docs, skipped, nil
}

// read is Read with the doubtful mentions still in it.
func read(in Input, opts Options) (*Document, error) {
	r := &reading{in: in, opts: opts, doc: &Document{Name: in.Name, in: in, opts: opts, mapping: in.Mapping}}
	format, err := r.recognise()
	if err != nil {
		return nil, err
	}
	r.doc.Kind = format.kind
	if err := format.read(r); err != nil {
		r.errs = append(r.errs, err)
	}
	if len(r.errs) > 0 {
		return nil, errors.Join(r.errs...)
	}
	return r.doc, nil
}
