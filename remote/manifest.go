package remote

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"

	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
)

// accept is what a request for a manifest asks for (spec/serve.md, B8): all
// that is known, anything else rather than nothing, no schema 1.
var accept = strings.Join([]string{
	oci.TypeImageIndex, oci.TypeImageManifest, oci.TypeDockerManifestList, oci.TypeDockerManifest, "*/*;q=0.1",
}, ", ")

func (e *Endpoint) manifestRequest(method string, r ref.Ref) exchange {
	return exchange{
		kind: KindManifest, method: method, name: r.Name, scopes: []string{e.scope(r.Name, "pull")},
		url:    e.url(r.Name, "manifests/"+r.Identifier(), e.reading()),
		header: http.Header{"Accept": {accept}},
		want:   []int{http.StatusOK},
	}
}

// Resolve asks with a HEAD. Where the registry refuses it, or its answer lacks
// digest, size or media type, it gets the manifest instead and hashes it.
func (e *Endpoint) Resolve(ctx context.Context, r ref.Ref) (oci.Descriptor, error) {
	if err := checkRef(r); err != nil {
		return oci.Descriptor{}, err
	}
	res, err := e.run(ctx, e.manifestRequest(http.MethodHead, r))
	if err != nil {
		if !e.worthGet(err) {
			return oci.Descriptor{}, err
		}
	} else {
		res.Body.Close()
		if d, ok := e.descriptor(r, res); ok {
			return d, nil
		}
	}
	m, err := e.Manifest(ctx, r)
	return m.Descriptor(), err
}

// worthGet reports whether a GET may find what a HEAD was refused.
func (e *Endpoint) worthGet(err error) bool {
	switch kindOf(err) {
	case oci.ErrUnauthorized, oci.ErrDenied, oci.ErrUnsupported:
		return true
	case oci.ErrNotFound:
		return !e.cfg.TrustHead
	}
	return false
}

// descriptor reads the answer to a HEAD, where it says all.
func (e *Endpoint) descriptor(r ref.Ref, res *http.Response) (oci.Descriptor, bool) {
	d, err := ref.ParseDigest(res.Header.Get("Docker-Content-Digest"))
	if err != nil || res.ContentLength < 0 || res.ContentLength > e.maxManifest() || (r.Digest != "" && d != r.Digest) {
		return oci.Descriptor{}, false
	}
	mediaType := mediaTypeOf(res.Header)
	if isGeneric(mediaType) || isSchema1(mediaType) {
		return oci.Descriptor{}, false // the document says more, or that it is none
	}
	return oci.Descriptor{MediaType: mediaType, Digest: d, Size: res.ContentLength}, true
}

// Manifest returns the manifest with its digest verified: against r's, or for
// a tag against what the registry says it is.
func (e *Endpoint) Manifest(ctx context.Context, r ref.Ref) (oci.Manifest, error) {
	if err := checkRef(r); err != nil {
		return oci.Manifest{}, err
	}
	res, err := e.run(ctx, e.manifestRequest(http.MethodGet, r))
	if err != nil {
		return oci.Manifest{}, err
	}
	raw, err := readAll(res, e.maxManifest())
	if err != nil {
		return oci.Manifest{}, err
	}
	return verify(r, res, raw)
}

func (e *Endpoint) maxManifest() int64 { return cmp.Or(e.cfg.MaxManifest, oci.MaxManifest) }

// readAll reads and closes a body of at most limit bytes.
func readAll(res *http.Response, limit int64) ([]byte, error) {
	defer res.Body.Close()
	if res.ContentLength > limit {
		return nil, tooLarge(res, limit)
	}
	var b bytes.Buffer
	b.Grow(int(max(res.ContentLength, 0)) + bytes.MinRead)
	n, err := b.ReadFrom(io.LimitReader(res.Body, limit+1))
	if err != nil {
		return nil, err
	}
	if n > limit {
		return nil, tooLarge(res, limit)
	}
	return b.Bytes(), nil
}

func tooLarge(res *http.Response, limit int64) error {
	return &oci.Error{
		Kind: oci.ErrMismatch, Message: fmt.Sprintf("the upstream's answer is larger than %d bytes", limit),
		Err: fmt.Errorf("%s %s", res.Request.Method, redact(res.Request.URL)),
	}
}

// verify makes a manifest of an answer.
func verify(r ref.Ref, res *http.Response, raw []byte) (oci.Manifest, error) {
	at := redact(res.Request.URL)
	var doc document
	if err := json.Unmarshal(raw, &doc); err != nil || !isObject(raw) {
		return oci.Manifest{}, mismatch("GET %s: the manifest is no JSON document (%s)", at, mediaTypeOf(res.Header))
	}
	m := oci.Manifest{MediaType: doc.mediaType(mediaTypeOf(res.Header)), Raw: raw}
	if isSchema1(m.MediaType) || doc.SchemaVersion == 1 {
		// Not there in any form that can be used: its digest is not even that
		// of its bytes (spec/serve.md, B9).
		return oci.Manifest{}, oci.Errorf(oci.ErrNotFound, oci.CodeManifestUnknown, "the image has only a manifest of Docker's schema 1, which is not supported")
	}
	if oci.IsManifest(m.MediaType) && doc.ambiguous() {
		// An index to one client and an image to another (GHSA-qq97-vm5h-rrhg).
		return oci.Manifest{}, mismatch("GET %s: the manifest has both manifests and layers", at)
	}
	want := r.Digest
	if want == "" {
		want, _ = ref.ParseDigest(res.Header.Get("Docker-Content-Digest"))
	}
	m.Digest = oci.FromBytes(raw, want)
	if want != "" && m.Digest != want {
		return oci.Manifest{}, &oci.Error{
			Kind: oci.ErrMismatch, Code: oci.CodeDigestInvalid, Message: "the upstream sent other content than its digest names",
			Err: fmt.Errorf("GET %s: the content is %s, not %s", at, m.Digest, want),
		}
	}
	return m, nil
}

// A document is what is read of a manifest to know its media type.
type document struct {
	SchemaVersion int             `json:"schemaVersion"`
	MediaType     string          `json:"mediaType"`
	Manifests     json.RawMessage `json:"manifests"`
	Config        json.RawMessage `json:"config"`
	Layers        json.RawMessage `json:"layers"`
}

// ambiguous reports whether a document can be read as an index and as an image.
func (d document) ambiguous() bool {
	return isThere(d.Manifests) && (isThere(d.Config) || isThere(d.Layers))
}

func isThere(raw json.RawMessage) bool { return raw != nil && string(raw) != "null" }

// mediaType chooses between what the document says, what the header says, and
// what the document looks like (spec/serve.md, B7).
func (d document) mediaType(header string) string {
	switch {
	case oci.IsManifest(d.MediaType) || isSchema1(d.MediaType):
		return d.MediaType
	case !isGeneric(header):
		return header
	case d.MediaType != "" && header == "":
		return d.MediaType
	case d.MediaType == "" && d.Manifests != nil && d.Config == nil:
		return oci.TypeImageIndex
	case d.MediaType == "" && d.Config != nil && d.Manifests == nil:
		return oci.TypeImageManifest
	}
	return header
}

// isGeneric reports whether a media type says nothing about a manifest.
func isGeneric(mediaType string) bool {
	return mediaType == "" || mediaType == "application/json" || mediaType == "application/octet-stream" || strings.HasPrefix(mediaType, "text/")
}

// isObject reports whether a JSON document is an object: "null" unmarshals into
// anything.
func isObject(raw []byte) bool { return bytes.HasPrefix(bytes.TrimSpace(raw), []byte("{")) }

func isSchema1(mediaType string) bool {
	return mediaType == oci.TypeDockerSchema1 || mediaType == oci.TypeDockerSchema1JWS
}

// mediaTypeOf returns a Content-Type without its parameters, "" where there is
// none that can be read.
func mediaTypeOf(h http.Header) string {
	s, _, _ := mime.ParseMediaType(h.Get("Content-Type"))
	return s
}
