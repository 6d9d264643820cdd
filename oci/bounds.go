package oci

// Bounds of what a manifest may say. They keep a document of a few MiB from
// costing hundreds to read, or the graph below it a walk without end.
const (
	// MaxDescriptors is the largest number of descriptors in one manifest, and
	// of manifests and blobs that an image is made of.
	MaxDescriptors = 10_000
	// MaxManifests is the largest number of manifests in one index.
	MaxManifests = 1_000
	// MaxDepth is how deep indexes may lie in each other: an index of images has
	// the depth 1.
	MaxDepth = 4
	// maxValues is the largest number of values in one manifest, of whatever
	// kind: an annotation, a URL, a size.
	maxValues = 100_000
)

// CheckBounds returns ErrInvalid for a manifest that says more than is read: a
// list of more than MaxDescriptors, or too many values in all. It looks at the
// text alone and takes no memory, so that it can come before anything is
// decoded ("[{},{},…" takes a hundred times its size then). What is no JSON at
// all may pass.
func CheckBounds(raw []byte) error {
	s := survey{}
	for _, b := range raw {
		s.see(b)
		if s.items > MaxDescriptors {
			return Errorf(ErrInvalid, CodeManifestInvalid, "the manifest has a list of more than %d items", MaxDescriptors)
		}
		if s.values > maxValues {
			return Errorf(ErrInvalid, CodeManifestInvalid, "the manifest has more than %d values", maxValues)
		}
	}
	return nil
}

// A survey counts what a JSON document holds while it passes.
type survey struct {
	text, escaped bool // in a string; after a backslash there
	depth         int  // of lists and objects
	list          bool // what lies in the document's own object is a list
	items         int  // of that list
	values        int  // of all lists and objects, but for one of each
}

func (s *survey) see(b byte) {
	switch {
	case s.escaped:
		s.escaped = false
	case s.text:
		s.escaped, s.text = b == '\\', b != '"'
	case b == '"':
		s.text = true
	case b == '{', b == '[':
		if s.depth++; s.depth == 2 {
			s.list, s.items = b == '[', 1
		}
	case b == '}', b == ']':
		s.depth--
	case b == ',':
		s.values++
		if s.depth == 2 && s.list {
			s.items++
		}
	}
}
