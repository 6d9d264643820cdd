package oci

import (
	digest "github.com/opencontainers/go-digest"
	"hash"
	"io"
)

// A Verifier hashes what is written to it and tells whether it was the content
// that a digest names. It is not safe for concurrent use.
type Verifier struct {
	want Digest
	size int64 // -1: any
	n    int64
	h    hash.Hash
}

// NewVerifier returns a Verifier for content of that digest and size; size -1
// means that any will do.
func NewVerifier(d Digest, size int64) *Verifier {
	return &Verifier{want: d, size: size, h: d.Algorithm().Hash()}
}

// Write hashes p. It never fails.
func (v *Verifier) Write(p []byte) (int, error) {
	v.n += int64(len(p))
	return v.h.Write(p)
}

// Err returns nil where all that was written is the content, and ErrMismatch
// otherwise.
func (v *Verifier) Err() error {
	if v.size >= 0 && v.n != v.size {
		return Errorf(ErrMismatch, CodeSizeInvalid, "%s has %d bytes, %d were expected", v.want, v.n, v.size)
	}
	if got := FromHash(v.want, v.h); got != v.want {
		return Errorf(ErrMismatch, CodeDigestInvalid, "the content is %s, %s was expected", got, v.want)
	}
	return nil
}

// FromHash returns the digest that h holds, of the algorithm of like.
func FromHash(like Digest, h hash.Hash) Digest {
	return digest.NewDigest(like.Algorithm(), h)
}

// VerifyReader returns a reader that passes r on and, instead of io.EOF,
// returns ErrMismatch where the content was not that of d. The bytes that it
// passed on before are then not to be trusted.
func VerifyReader(r io.Reader, d Digest, size int64) io.Reader {
	return &verifyReader{r: r, v: NewVerifier(d, size)}
}

type verifyReader struct {
	r io.Reader
	v *Verifier
}

func (r *verifyReader) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	r.v.Write(p[:n])
	if err == io.EOF {
		if bad := r.v.Err(); bad != nil {
			return n, bad
		}
	}
	return n, err
}
