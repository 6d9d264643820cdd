package relocate

import "github.com/entrepot/entrepot/oci"

// An EventKind says what happened.
type EventKind string

// The kinds of events.
const (
	ImageStarted EventKind = "image-started"
	ImageFound   EventKind = "image-found"  // a manifest of it is read; Bytes are those of its blobs
	ImageCopied  EventKind = "image-copied" // all of it is in place but its tags, or Err says why not
	BlobProgress EventKind = "progress"     // Bytes of a blob were read
	BlobDone     EventKind = "blob-done"    // Bytes of a blob are in place: pushed, mounted or there before
	TagSet       EventKind = "tag-set"
)

// An Event is what a run tells of itself while it goes on.
type Event struct {
	Kind   EventKind
	Image  int        // of the pairs
	Digest oci.Digest // of a blob
	Bytes  int64
	Err    error
}
