package oci

import (
	"context"
	"io"
	"iter"

	"github.com/entrepot/entrepot/ref"
)

// A Lister can list the tags of a repository.
type Lister interface {
	// Tags yields the tags after the given one, in ASCII order; "" starts at
	// the first. An error ends the sequence. An unknown repository yields
	// ErrNotFound.
	Tags(ctx context.Context, n ref.Name, after string) iter.Seq2[string, error]
}

// A Catalog can list its repositories.
type Catalog interface {
	// Repositories yields the paths of the repositories after the given one,
	// in ASCII order; "" starts at the first. An error ends the sequence.
	Repositories(ctx context.Context, after string) iter.Seq2[string, error]
}

// A ReferrersLister can list what refers to a manifest by its subject field.
type ReferrersLister interface {
	// Referrers returns the descriptors of the manifests whose subject is d,
	// with artifactType and annotations filled in. With an artifactType only
	// those of that type. None is no error.
	Referrers(ctx context.Context, n ref.Name, d Digest, artifactType string) ([]Descriptor, error)
}

// A Rejecter is the Body of a [Blob] whose reader knows several places. Whoever
// has hashed the bytes tells it that they were wrong.
type Rejecter interface {
	// Reject says that what the body gave is not what the digest names. It
	// reports whether the reader knows a place that has not given wrong bytes
	// for the digest yet; then Blob, called again, asks there. It may be
	// called before or after Close.
	Reject() bool
}

// A Mounter can make a blob of one repository appear in another.
type Mounter interface {
	// Mount makes blob d of from readable in to. An empty from.Path means any
	// repository that has it. ErrNotFound and ErrUnsupported say that the blob
	// has to be pushed instead.
	Mount(ctx context.Context, to, from ref.Name, d Digest) error
}

// A Pusher is a [Writer] that can be told more, and says more, about a push.
type Pusher interface {
	// PushBlob stores a blob as PutBlob does, without asking first whether it
	// is there. It reports whether the blob was mounted, so that no byte of it
	// was sent.
	PushBlob(ctx context.Context, n ref.Name, d Descriptor, open Source, p Push) (mounted bool, err error)
	// PushManifest stores a manifest under a tag, or where tag is "" by its
	// digest alone. It reports whether the place lists the manifest as a
	// referrer of its subject (distribution-spec 1.1, OCI-Subject).
	PushManifest(ctx context.Context, n ref.Name, m Manifest, tag string) (listed bool, err error)
}

// A Push says more about a blob that is pushed. The zero value says nothing.
type Push struct {
	// From is another repository of the place that has the blob, to mount it
	// from; where the place does not mount, the blob is pushed. An empty path
	// means none.
	From ref.Name
	// Session is an upload that an earlier process began, to go on with; ""
	// for none. One that is gone costs a request.
	Session string
	// Verified says that the source fails with ErrMismatch, instead of giving
	// its last byte, where the bytes are wrong: they need not be hashed twice.
	Verified bool
	// Confirmed, if not nil, is told of each upload that could be gone on with
	// later: its session and the bytes that the place has. It is called
	// between two requests and must return fast. A session may hold a
	// signature: whoever keeps it keeps it to themselves.
	Confirmed func(session string, size int64)
}

// A Ranger is a [Reader] that can open a part of a blob.
type Ranger interface {
	// BlobRange is Blob for the bytes from off to end, the latter not
	// included.
	BlobRange(ctx context.Context, n ref.Name, d Digest, off, end int64) (Blob, error)
}

// A SubjectLister is a [ReferrersLister] that can be asked for what its
// referrers API says alone.
type SubjectLister interface {
	// Subjects is Referrers without the referrers tag schema. The error is
	// ErrUnsupported where there is no referrers API; then the list, if there
	// is one, stands under the tag [FallbackTag].
	Subjects(ctx context.Context, n ref.Name, d Digest) ([]Descriptor, error)
}

// A Deleter can delete. What is not there is ErrNotFound, what may not be
// deleted is ErrUnsupported or ErrDenied.
type Deleter interface {
	DeleteTag(ctx context.Context, n ref.Name, tag string) error
	// DeleteManifest deletes a manifest and every tag that points at it.
	DeleteManifest(ctx context.Context, n ref.Name, d Digest) error
	DeleteBlob(ctx context.Context, n ref.Name, d Digest) error
}

// An Uploader keeps upload sessions, so that a blob can arrive in several
// requests, across restarts.
type Uploader interface {
	// NewUpload starts a session for the repository. Algorithm is the one
	// that the digest is expected to have, "" for sha256; a digest of another
	// one is computed at the end.
	NewUpload(ctx context.Context, n ref.Name, algorithm string) (Upload, error)
	// Upload finds a session of that repository again. The error is
	// ErrNotFound where there is none (any more).
	Upload(ctx context.Context, n ref.Name, id string) (Upload, error)
}

// An Upload is one session. Its methods may be called from several goroutines,
// but a second Append or Commit while one is running is refused with a
// [RangeError].
type Upload interface {
	// ID names the session; letters, digits and '-'.
	ID() string
	// Size is the number of bytes received and kept so far.
	Size() int64
	// Append adds bytes at off, which must be Size() (or -1, for "where it
	// is"); another offset is a [RangeError] and nothing is read. It returns
	// the new size. What was received before an error is kept.
	Append(ctx context.Context, off int64, r io.Reader) (int64, error)
	// Commit verifies the digest and makes the blob visible. A wrong digest
	// is ErrMismatch and ends the session.
	Commit(ctx context.Context, d Digest) (Descriptor, error)
	// Cancel ends the session and drops its bytes.
	Cancel(ctx context.Context) error
}
