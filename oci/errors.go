package oci

import (
	"errors"
	"fmt"
	"time"
)

// The eight kinds of error. Test for them with errors.Is.
var (
	ErrNotFound     = errors.New("not found")
	ErrUnauthorized = errors.New("unauthorized") // no or wrong credentials
	ErrDenied       = errors.New("denied")       // credentials are not enough, or policy forbids
	ErrInvalid      = errors.New("invalid")      // the request or the document is malformed
	ErrUnsupported  = errors.New("unsupported")
	ErrTooLarge     = errors.New("too large")
	ErrMismatch     = errors.New("mismatch")    // digest or size are not what was said, or the answer is not a registry's
	ErrUnavailable  = errors.New("unavailable") // the other side cannot be reached, is overloaded or broken; later may be better
)

// Error codes of the distribution-spec 1.1, "Error codes".
const (
	CodeBlobUnknown         = "BLOB_UNKNOWN"
	CodeBlobUploadInvalid   = "BLOB_UPLOAD_INVALID"
	CodeBlobUploadUnknown   = "BLOB_UPLOAD_UNKNOWN"
	CodeDigestInvalid       = "DIGEST_INVALID"
	CodeManifestBlobUnknown = "MANIFEST_BLOB_UNKNOWN"
	CodeManifestInvalid     = "MANIFEST_INVALID"
	CodeManifestUnknown     = "MANIFEST_UNKNOWN"
	CodeNameInvalid         = "NAME_INVALID"
	CodeNameUnknown         = "NAME_UNKNOWN"
	CodeSizeInvalid         = "SIZE_INVALID"
	CodeUnauthorized        = "UNAUTHORIZED"
	CodeDenied              = "DENIED"
	CodeUnsupported         = "UNSUPPORTED"
	CodeTooManyRequests     = "TOOMANYREQUESTS"
)

// An Error is an error of one of the eight kinds with what a registry would
// say about it. Find it with errors.AsType.
type Error struct {
	Kind       error         // one of the eight
	Code       string        // of the distribution-spec; "" where the kind says enough
	Message    string        // shown to clients: no secrets, no addresses; lower case, no full stop; "" means the kind's text
	RetryAfter time.Duration // how long to wait before asking again; 0 where nobody said
	Timeout    bool          // with ErrUnavailable: connected, but no answer came in time
	Err        error         // the cause, may be nil; for logs and errors.Is, not shown to clients

	told bool // the message has the cause's text already
}

// Error returns message and cause.
func (e *Error) Error() string {
	s := e.Message
	if s == "" {
		s = e.Kind.Error()
	}
	if e.Err != nil && !e.told {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap makes errors.Is see the kind and the cause.
func (e *Error) Unwrap() []error {
	if e.Err == nil {
		return []error{e.Kind}
	}
	return []error{e.Kind, e.Err}
}

// Errorf returns an [*Error] of a kind with a code ("" for none) and a
// message, which is shown to clients. A %w in the format becomes the cause, and
// its text part of the message; a cause that clients must not see goes into
// the Err field of a literal instead.
func Errorf(kind error, code, format string, args ...any) error {
	err := fmt.Errorf(format, args...)
	return &Error{Kind: kind, Code: code, Message: err.Error(), Err: errors.Unwrap(err), told: true}
}

// A RangeError says that a chunk of an upload did not start where the session
// stands, or that another chunk is being received. Its kind is ErrInvalid.
type RangeError struct {
	Size int64 // what the session has, in bytes
}

// Error says where the session stands.
func (e *RangeError) Error() string {
	return fmt.Sprintf("the chunk does not continue the upload, which has %d bytes", e.Size)
}

// Unwrap returns ErrInvalid.
func (e *RangeError) Unwrap() error { return ErrInvalid }
