package oci

import "bytes"

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
	depth := 0    // of lists and objects
	list := false // what lies in the document's own object, at depth 2, is a list
	items := 0    // of that list
	values := 0   // of all lists and objects, but for one of each
	for i := 0; i < len(raw); i++ {
		switch raw[i] {
		case '"':
			i = endOfText(raw, i)
		case '{', '[':
			if depth++; depth == 2 {
				list, items = raw[i] == '[', 1
			}
		case '}', ']':
			depth--
		case ',':
			if values++; depth == 2 && list {
				items++
			}
			switch {
			case items > MaxDescriptors:
				return Errorf(ErrInvalid, CodeManifestInvalid, "the manifest has a list of more than %d items", MaxDescriptors)
			case values > maxValues:
				return Errorf(ErrInvalid, CodeManifestInvalid, "the manifest has more than %d values", maxValues)
			}
		}
	}
	return nil
}

// endOfText returns where the text ends that begins at i: at the first quote with
// an even number of backslashes before it.
func endOfText(raw []byte, i int) int {
	for {
		n := bytes.IndexByte(raw[i+1:], '"')
		if n < 0 {
			return len(raw)
		}
		i += 1 + n
		escapes := 0
		for raw[i-1-escapes] == '\\' {
			escapes++
		}
		if escapes%2 == 0 {
			return i
		}
	}
}
