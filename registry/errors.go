package registry

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/entrepot/entrepot/oci"
)

// This file alone chooses the statuses of refusals.

// statusCanceled is what an [Event] has where the client left; nobody gets it
// as an answer.
const statusCanceled = 499

// retryAfter is what a client is told to wait where the upstream did not say.
const retryAfter = 5 * time.Second

// The refusals that are this package's own.
var (
	errLoop = errors.New("the request was here before: the upstream leads back to this mirror")
)

// A methodError says that a resource does not have the method.
type methodError struct {
	allow string // for the Allow header
}

func (e *methodError) Error() string { return "the method is not allowed here" }

// A stallError says that nothing more of a request's body came.
type stallError struct {
	after time.Duration
}

func (e *stallError) Error() string {
	return "nothing more of the request's body came for " + e.after.String()
}

// A rangeError says that none of the ranges asked for exists.
type rangeError struct {
	size int64 // of the blob, in bytes
}

func (e *rangeError) Error() string { return "the blob has no such range" }

// An uploadError says where a session stands that a chunk does not continue.
type uploadError struct {
	location string
	size     int64 // in bytes
	err      *oci.RangeError
}

func (e *uploadError) Error() string { return e.err.Error() }

// circumstances are what, besides the error itself, decides about its answer.
type circumstances struct {
	resource  resource
	write     bool // something was to be stored: what is wrong is wrong with that
	proxied   bool
	anonymous bool // the caller has no identity here
}

// An answer to an error. Its message is fit for clients.
type answer struct {
	status  int
	code    string
	message string
	retry   time.Duration // for Retry-After; 0: none
}

// answerTo says how an error is answered. It is pure.
func answerTo(err error, in circumstances) answer {
	e, ok := errors.AsType[*oci.Error](err)
	if !ok {
		e = new(oci.Error)
	}
	a := answer{message: e.Message}
	a.status, a.code = judge(err, e, in)
	switch {
	case a.status == http.StatusNotFound && !errors.Is(err, oci.ErrNotFound) && a.code == oci.CodeNameUnknown:
		a.message = "" // what an upstream hides, we hide
	case a.status == http.StatusTooManyRequests, a.status == http.StatusServiceUnavailable:
		a.retry = retryAfter
		if e.RetryAfter > 0 {
			a.retry = max(e.RetryAfter, time.Second)
		}
	case a.status == http.StatusForbidden, a.status >= 500:
	case messages[e.Code] != "":
		a.code = e.Code
	}
	if a.message == "" {
		a.message = fallbackMessage(err, a, in)
	}
	if a.status >= 500 && in.proxied && !strings.Contains(a.message, "upstream") {
		a.message = "the upstream cannot serve this: " + a.message
	}
	return a
}

// judge returns the status, and the code where the error has none of its own.
func judge(err error, e *oci.Error, in circumstances) (int, string) {
	switch {
	case is[*loginError](err):
		return http.StatusUnauthorized, oci.CodeUnauthorized
	case err == errLoop:
		return http.StatusLoopDetected, in.unknown()
	case is[*methodError](err):
		return http.StatusMethodNotAllowed, oci.CodeUnsupported
	case is[*rangeError](err):
		return http.StatusRequestedRangeNotSatisfiable, oci.CodeSizeInvalid
	case is[*stallError](err):
		return http.StatusRequestTimeout, in.invalid()
	case outOfFiles(err):
		return http.StatusServiceUnavailable, in.unknown()
	case is[*uploadError](err):
		return http.StatusRequestedRangeNotSatisfiable, oci.CodeBlobUploadInvalid
	case e.Code == oci.CodeTooManyRequests:
		return http.StatusTooManyRequests, oci.CodeTooManyRequests
	case in.write && e.Code == oci.CodeManifestBlobUnknown:
		return http.StatusBadRequest, e.Code
	}
	return judgeKind(err, e, in)
}

// outOfFiles reports whether there were too many files open, which passes.
func outOfFiles(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE)
}

// outOfRoom reports whether the storage is full.
func outOfRoom(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

func judgeKind(err error, e *oci.Error, in circumstances) (int, string) {
	switch {
	case errors.Is(err, oci.ErrNotFound):
		return http.StatusNotFound, in.unknown()
	case errors.Is(err, oci.ErrUnauthorized), errors.Is(err, oci.ErrDenied):
		// Never 401: it would send the client to find credentials for us.
		// After a 404 every client goes on to its next place.
		if in.proxied && !in.write && in.anonymous {
			return http.StatusNotFound, oci.CodeNameUnknown
		}
		return http.StatusForbidden, oci.CodeDenied
	case errors.Is(err, oci.ErrTooLarge) && in.write:
		return http.StatusRequestEntityTooLarge, oci.CodeSizeInvalid
	case errors.Is(err, oci.ErrMismatch) && in.write:
		return http.StatusBadRequest, oci.CodeDigestInvalid
	case errors.Is(err, oci.ErrTooLarge), errors.Is(err, oci.ErrMismatch):
		return http.StatusBadGateway, in.unknown()
	case errors.Is(err, oci.ErrUnsupported) && in.write && e.Code != "" && e.Code != oci.CodeUnsupported:
		return http.StatusBadRequest, e.Code // not the operation, but what was sent
	case errors.Is(err, oci.ErrUnsupported) && in.write:
		return http.StatusMethodNotAllowed, oci.CodeUnsupported
	case errors.Is(err, oci.ErrUnsupported):
		return http.StatusNotFound, oci.CodeUnsupported
	case errors.Is(err, oci.ErrInvalid):
		return http.StatusBadRequest, in.invalid()
	case e.Timeout, errors.Is(err, context.DeadlineExceeded):
		return http.StatusGatewayTimeout, in.unknown()
	case in.write && outOfRoom(err):
		return http.StatusInsufficientStorage, in.unknown()
	case errors.Is(err, oci.ErrUnavailable):
		return http.StatusServiceUnavailable, in.unknown()
	}
	return http.StatusInternalServerError, in.unknown()
}

func is[E error](err error) bool {
	_, ok := errors.AsType[E](err)
	return ok
}

// unknown is the code that says that what the path names is not there.
func (in circumstances) unknown() string {
	switch in.resource {
	case manifest:
		return oci.CodeManifestUnknown
	case blob:
		return oci.CodeBlobUnknown
	case session:
		return oci.CodeBlobUploadUnknown
	}
	return oci.CodeNameUnknown
}

// invalid is the code that says that what was sent is malformed.
func (in circumstances) invalid() string {
	switch in.resource {
	case manifest:
		return oci.CodeManifestInvalid
	case blob, referrers:
		return oci.CodeDigestInvalid
	case uploads, session:
		return oci.CodeBlobUploadInvalid
	}
	return oci.CodeNameInvalid
}

// messages are those of the distribution-spec 1.1, "Error Codes"; no other code
// is ever sent.
//
//	:: code → message
var messages = map[string]string{
	oci.CodeBlobUnknown:         "blob unknown to registry",
	oci.CodeBlobUploadInvalid:   "blob upload invalid",
	oci.CodeBlobUploadUnknown:   "blob upload unknown to registry",
	oci.CodeDigestInvalid:       "provided digest did not match uploaded content",
	oci.CodeManifestBlobUnknown: "manifest references a manifest or blob unknown to registry",
	oci.CodeManifestInvalid:     "manifest invalid",
	oci.CodeManifestUnknown:     "manifest unknown to registry",
	oci.CodeNameInvalid:         "invalid repository name",
	oci.CodeNameUnknown:         "repository name not known to registry",
	oci.CodeSizeInvalid:         "provided length did not match content length",
	oci.CodeUnauthorized:        "authentication required",
	oci.CodeDenied:              "requested access to the resource is denied",
	oci.CodeUnsupported:         "the operation is unsupported",
	oci.CodeTooManyRequests:     "too many requests",
}

// fallbackMessage is what is said where the error has nothing for clients.
func fallbackMessage(err error, a answer, in circumstances) string {
	switch {
	case a.status == http.StatusInternalServerError:
		return "internal error"
	case a.status == http.StatusInsufficientStorage:
		return "there is no room left"
	case a.status == http.StatusBadGateway:
		return "it does not answer as a registry"
	case a.status == http.StatusServiceUnavailable:
		return "unavailable, try again later"
	case a.status == http.StatusGatewayTimeout:
		return "no answer in time"
	case a.status == http.StatusRequestedRangeNotSatisfiable, a.status == http.StatusRequestTimeout, is[*methodError](err), err == errLoop:
		return err.Error()
	}
	return messages[a.code]
}

// fail answers an error. Where the answer has begun already, or nobody waits
// for it any more, the connection is cut.
func (c *call) fail(err error) {
	c.err = err
	// net/http ends the context of a request whose body stalls, too.
	if c.r.Context().Err() != nil && !is[*stallError](err) {
		c.status = statusCanceled
		panic(http.ErrAbortHandler)
	}
	if c.status != 0 {
		panic(http.ErrAbortHandler)
	}
	a := answerTo(err, circumstances{
		resource:  c.at.resource,
		write:     c.verb != pull,
		proxied:   c.target.proxied,
		anonymous: c.caller.Anonymous(),
	})
	c.set("Docker-Distribution-Api-Version", "registry/2.0") // Docker looks for it at a 401
	c.failHeaders(err, a)
	body := c.errorBody(a)
	c.set("Content-Type", "application/json")
	c.set("Content-Length", strconv.Itoa(len(body)))
	c.begin(a.status)
	if c.r.Method != http.MethodHead {
		n, _ := c.w.Write(body)
		c.sent = int64(n)
	}
}

// failHeaders sets what belongs to the answer besides its body.
func (c *call) failHeaders(err error, a answer) {
	for _, key := range []string{"Etag", "Cache-Control", "Docker-Content-Digest", "Accept-Ranges"} {
		delete(c.header, key)
	}
	c.outcome()
	if a.retry > 0 {
		c.set("Retry-After", strconv.FormatInt(int64((a.retry+time.Second-1)/time.Second), 10))
	}
	if a.status == http.StatusUnauthorized {
		c.set("Www-Authenticate", c.challenge(err))
	}
	if e, ok := errors.AsType[*methodError](err); ok {
		c.set("Allow", e.allow)
	} else if a.status == http.StatusMethodNotAllowed {
		c.set("Allow", "GET, HEAD")
	}
	if e, ok := errors.AsType[*rangeError](err); ok {
		c.set("Content-Range", "bytes */"+strconv.FormatInt(e.size, 10))
	}
	if e, ok := errors.AsType[*uploadError](err); ok {
		c.set("Location", e.location)
		c.set("Range", receivedRange(e.size))
	}
}

// errorBody returns the body of an error answer (distribution-spec 1.1, "Error
// Codes").
func (c *call) errorBody(a answer) []byte {
	type detail struct {
		Name      string `json:"name,omitempty"`
		Reference string `json:"reference,omitempty"`
	}
	type one struct {
		Code    string `json:"code"`
		Message string `json:"message"`
		Detail  detail `json:"detail,omitzero"`
	}
	var all struct {
		Errors [1]one `json:"errors"`
	}
	all.Errors[0] = one{a.code, a.message, detail{c.at.name, c.at.ref}}
	if c.at.resource == session {
		all.Errors[0].Detail.Reference = "" // whoever asks knows it, whoever reads a log need not
	}
	body, err := json.Marshal(all)
	if err != nil { // strings only
		c.h.log.Error("error answer", slog.Any("err", err))
	}
	return body
}
