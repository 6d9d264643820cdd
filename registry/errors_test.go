package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"syscall"
	"testing"
	"time"

	"github.com/entrepot/entrepot/access"
	"github.com/entrepot/entrepot/oci"
)

// TestAnswerTo holds decision 3 and the codes; secret stands for what an
// upstream said.
func TestAnswerTo(t *testing.T) {
	secret := errors.New("GET https://10.0.0.1/token?password=x: 401 Bearer realm=x")
	unavailable := func(e oci.Error) error {
		e.Kind, e.Err = oci.ErrUnavailable, secret
		return &e
	}
	read := circumstances{resource: manifest, proxied: true, anonymous: true}
	known := circumstances{resource: manifest, proxied: true}
	blobRead := circumstances{resource: blob, proxied: true, anonymous: true}
	hosted := circumstances{resource: manifest, anonymous: true}
	put := circumstances{resource: manifest, write: true, anonymous: true}
	upload := circumstances{resource: session, write: true, anonymous: true}
	for name, c := range map[string]struct {
		err  error
		in   circumstances
		want answer
	}{
		"upstream 404":             {fmt.Errorf("x: %w", oci.ErrNotFound), read, answer{404, "MANIFEST_UNKNOWN", "manifest unknown to registry", 0}},
		"upstream 404, blob":       {oci.ErrNotFound, blobRead, answer{404, "BLOB_UNKNOWN", "blob unknown to registry", 0}},
		"upstream 404, repository": {oci.Errorf(oci.ErrNotFound, oci.CodeNameUnknown, "no such repository"), read, answer{404, "NAME_UNKNOWN", "no such repository", 0}},
		"a code that is not the spec's": {oci.Errorf(oci.ErrNotFound, "PAGINATION_NUMBER_INVALID", "gone"), read,
			answer{404, "MANIFEST_UNKNOWN", "gone", 0}},
		"upstream 401, anonymous": {&oci.Error{Kind: oci.ErrUnauthorized, Code: oci.CodeUnauthorized, Message: "private", Err: secret}, read,
			answer{404, "NAME_UNKNOWN", "repository name not known to registry", 0}},
		"upstream 403, anonymous": {oci.ErrDenied, blobRead, answer{404, "NAME_UNKNOWN", "repository name not known to registry", 0}},
		"upstream 401, known": {&oci.Error{Kind: oci.ErrUnauthorized, Code: oci.CodeUnauthorized, Err: secret}, known,
			answer{403, "DENIED", "requested access to the resource is denied", 0}},
		"upstream 403, known": {oci.ErrDenied, known, answer{403, "DENIED", "requested access to the resource is denied", 0}},
		"upstream 429": {unavailable(oci.Error{Code: oci.CodeTooManyRequests, Message: "upstream docker.io asks to slow down", RetryAfter: time.Minute}), read,
			answer{429, "TOOMANYREQUESTS", "upstream docker.io asks to slow down", time.Minute}},
		"upstream 429, no time":       {unavailable(oci.Error{Code: oci.CodeTooManyRequests}), read, answer{429, "TOOMANYREQUESTS", "too many requests", 5 * time.Second}},
		"upstream 429, hardly a time": {unavailable(oci.Error{Code: oci.CodeTooManyRequests, RetryAfter: time.Millisecond}), read, answer{429, "TOOMANYREQUESTS", "too many requests", time.Second}},
		"refused": {unavailable(oci.Error{Message: "upstream docker.io cannot be reached"}), read,
			answer{503, "MANIFEST_UNKNOWN", "upstream docker.io cannot be reached", 5 * time.Second}},
		"refused, nothing to say": {unavailable(oci.Error{}), blobRead,
			answer{503, "BLOB_UNKNOWN", "the upstream cannot serve this: unavailable, try again later", 5 * time.Second}},
		"breaker open":             {unavailable(oci.Error{RetryAfter: 90 * time.Second}), read, answer{503, "MANIFEST_UNKNOWN", "the upstream cannot serve this: unavailable, try again later", 90 * time.Second}},
		"no headers":               {unavailable(oci.Error{Timeout: true, Message: "upstream x did not answer"}), read, answer{504, "MANIFEST_UNKNOWN", "upstream x did not answer", 0}},
		"deadline":                 {context.DeadlineExceeded, read, answer{504, "MANIFEST_UNKNOWN", "the upstream cannot serve this: no answer in time", 0}},
		"not a registry":           {oci.ErrMismatch, read, answer{502, "MANIFEST_UNKNOWN", "the upstream cannot serve this: it does not answer as a registry", 0}},
		"wrong digest":             {oci.Errorf(oci.ErrMismatch, oci.CodeDigestInvalid, "upstream x sent other content"), blobRead, answer{502, "BLOB_UNKNOWN", "upstream x sent other content", 0}},
		"over the limit":           {oci.ErrTooLarge, read, answer{502, "MANIFEST_UNKNOWN", "the upstream cannot serve this: it does not answer as a registry", 0}},
		"schema 1":                 {oci.Errorf(oci.ErrUnsupported, oci.CodeManifestUnknown, "schema 1 is not served"), read, answer{404, "MANIFEST_UNKNOWN", "schema 1 is not served", 0}},
		"loop":                     {errLoop, read, answer{508, "MANIFEST_UNKNOWN", errLoop.Error(), 0}},
		"hosted, disk":             {secret, hosted, answer{500, "MANIFEST_UNKNOWN", "internal error", 0}},
		"hosted, full":             {&oci.Error{Kind: oci.ErrUnavailable, Message: "the disk is full", Err: secret}, put, answer{503, "MANIFEST_UNKNOWN", "the disk is full", 5 * time.Second}},
		"hosted, denied":           {oci.Errorf(oci.ErrDenied, "", "the tag is immutable"), put, answer{403, "DENIED", "the tag is immutable", 0}},
		"no credentials":           {&loginError{}, hosted, answer{401, "UNAUTHORIZED", "authentication required", 0}},
		"method":                   {&methodError{"GET"}, hosted, answer{405, "UNSUPPORTED", "the method is not allowed here", 0}},
		"no power":                 {oci.ErrUnsupported, put, answer{405, "UNSUPPORTED", "the operation is unsupported", 0}},
		"push, no type known here": {oci.Errorf(oci.ErrUnsupported, oci.CodeManifestInvalid, "what is that"), put, answer{400, "MANIFEST_INVALID", "what is that", 0}},
		"push, digest":             {oci.ErrMismatch, upload, answer{400, "DIGEST_INVALID", "provided digest did not match uploaded content", 0}},
		"push, size":               {oci.Errorf(oci.ErrMismatch, oci.CodeSizeInvalid, "short"), upload, answer{400, "SIZE_INVALID", "short", 0}},
		"push, too large":          {oci.ErrTooLarge, put, answer{413, "SIZE_INVALID", "provided length did not match content length", 0}},
		"push, malformed":          {oci.ErrInvalid, put, answer{400, "MANIFEST_INVALID", "manifest invalid", 0}},
		"push, no session":         {oci.ErrNotFound, upload, answer{404, "BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry", 0}},
		"push, blob unknown, as invalid": {oci.Errorf(oci.ErrInvalid, oci.CodeManifestBlobUnknown, "no x"), put,
			answer{400, "MANIFEST_BLOB_UNKNOWN", "no x", 0}},
		"push, blob unknown, as not found": {oci.Errorf(oci.ErrNotFound, oci.CodeManifestBlobUnknown, "no x"), put,
			answer{400, "MANIFEST_BLOB_UNKNOWN", "no x", 0}},
		"push, stalled": {&stallError{time.Minute}, upload, answer{408, "BLOB_UPLOAD_INVALID", "nothing more of the request's body came for 1m0s", 0}},
		"out of files":  {fmt.Errorf("open /store/x: %w", syscall.EMFILE), hosted, answer{503, "MANIFEST_UNKNOWN", "unavailable, try again later", 5 * time.Second}},
		"chunk":         {&uploadError{"/x", 3, &oci.RangeError{Size: 3}}, upload, answer{416, "BLOB_UPLOAD_INVALID", (&oci.RangeError{Size: 3}).Error(), 0}},
		"range":         {&rangeError{3}, blobRead, answer{416, "SIZE_INVALID", "the blob has no such range", 0}},
		"unknown":       {io.ErrUnexpectedEOF, read, answer{500, "MANIFEST_UNKNOWN", "the upstream cannot serve this: internal error", 0}},
		"joined":        {errors.Join(oci.Errorf(oci.ErrMismatch, oci.CodeSizeInvalid, "short"), secret), upload, answer{400, "SIZE_INVALID", "short", 0}},
		"told by two":   {fmt.Errorf("x: %w", oci.Errorf(oci.ErrNotFound, "", "no %s", "x")), read, answer{404, "MANIFEST_UNKNOWN", "no x", 0}},
	} {
		if got := answerTo(c.err, c.in); got != c.want {
			t.Errorf("%s:\n got %+v\nwant %+v", name, got, c.want)
		}
	}
}

// TestNothingLeaks holds that an error's cause reaches the log and not the
// client, whatever its kind.
func TestNothingLeaks(t *testing.T) {
	secret := errors.New("GET https://10.0.0.1/token?password=x: 401")
	for _, kind := range []error{oci.ErrNotFound, oci.ErrUnauthorized, oci.ErrDenied, oci.ErrInvalid, oci.ErrUnsupported, oci.ErrTooLarge, oci.ErrMismatch, oci.ErrUnavailable} {
		for _, err := range []error{&oci.Error{Kind: kind, Err: secret}, fmt.Errorf("%w: %w", secret, kind)} {
			m := newMemory()
			m.err = err
			var events []Event
			h := handler(t, Config{Routes: Routes{Upstreams: []Upstream{{Name: "docker.io", Default: true}}}, Proxied: m,
				Access: access.Policy{Anonymous: access.Pull}, Observe: func(e Event) { events = append(events, e) }})
			for _, path := range []string{"manifests/t", "tags/list", "blobs/" + string(oci.FromBytes(nil, "")), "referrers/" + string(oci.FromBytes(nil, ""))} {
				w := serve(h, http.MethodGet, "/v2/library/x/"+path, nil)
				if body := w.Body.String(); containsAny(body, "10.0.0.1", "password") || w.Header().Get("Www-Authenticate") != "" || w.Code == http.StatusUnauthorized {
					t.Errorf("%v: %s: the client got %d %s", kind, path, w.Code, body)
				}
			}
			if !errors.Is(events[0].Err, secret) {
				t.Errorf("%v: the event has %v", kind, events[0].Err)
			}
		}
	}
}
