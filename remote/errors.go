package remote

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/entrepot/entrepot/oci"
)

// maxErrorBody is how much of an error's body is read, in bytes, and
// maxExcerpt how much of it an error keeps.
const (
	maxErrorBody = 8 << 10
	maxExcerpt   = 200
)

// A StatusError is an answer that was no success. It is found in the chain of
// an [oci.Error] and is for logs: it holds what the other side wrote.
type StatusError struct {
	Method string
	URL    string // without query, fragment and user
	Code   int
	Codes  []string // the error codes of a registry's body
	Body   string   // an excerpt, printable, at most 200 bytes; "" where it was no registry's error
}

// Error returns all of it in one line.
func (e *StatusError) Error() string {
	s := fmt.Sprintf("%s %s: status %d", e.Method, e.URL, e.Code)
	if len(e.Codes) > 0 {
		s += " " + strings.Join(e.Codes, ",")
	}
	if e.Body != "" {
		s += ": " + e.Body
	}
	return s
}

// A LostError is a request that had no answer, or whose body broke. It is found
// in the chain of an [oci.Error] and is for logs.
type LostError struct {
	At    string // method and URL, without query, fragment and user
	Class Class  // never ClassCanceled
	Err   error
}

// Error returns all of it in one line.
func (e *LostError) Error() string { return fmt.Sprintf("%s: %v", e.At, e.Err) }

// Unwrap returns the cause.
func (e *LostError) Unwrap() error { return e.Err }

// redact returns u without what may be a secret: signatures and tokens stand
// in the query.
func redact(u *url.URL) string {
	v := url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}
	return v.String()
}

// statusError reads an error answer, without closing it. What the request was
// authorised with is cut out: a hostile server could echo it.
func statusError(res *http.Response) *StatusError {
	e := &StatusError{Method: res.Request.Method, URL: redact(res.Request.URL), Code: res.StatusCode}
	raw, err := io.ReadAll(io.LimitReader(res.Body, maxErrorBody))
	if err != nil || len(raw) == 0 {
		return e
	}
	var doc struct {
		Errors []struct {
			Code    string `json:"code"`
			Message string `json:"message"`
		} `json:"errors"`
	}
	if json.Unmarshal(raw, &doc) != nil {
		return e
	}
	secrets := secretsOf(res.Request)
	var texts []string
	for _, one := range doc.Errors[:min(len(doc.Errors), 4)] {
		e.Codes = append(e.Codes, excerpt(one.Code, 64, secrets))
		texts = append(texts, excerpt(one.Message, maxExcerpt, secrets))
	}
	e.Body = excerpt(strings.Join(texts, "; "), maxExcerpt, nil)
	return e
}

// excerpt returns the printable part of s, at most limit bytes, without the
// secrets.
func excerpt(s string, limit int, secrets []string) string {
	for _, secret := range secrets {
		s = strings.ReplaceAll(s, secret, "[redacted]")
	}
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, s)
	if len(s) > limit {
		s = strings.ToValidUTF8(s[:limit], "")
	}
	return s
}

// secretsOf returns what a request carried that must not be told.
func secretsOf(req *http.Request) []string {
	secrets := foreign(req.Header)
	scheme, value, ok := strings.Cut(req.Header.Get("Authorization"), " ")
	if !ok {
		value = scheme
	}
	if value == "" {
		return secrets
	}
	secrets = append(secrets, value)
	if _, password, ok := req.BasicAuth(); ok && password != "" {
		secrets = append(secrets, password)
	}
	return secrets
}

// minSecret is the length from which on a header's value is worth hiding, in
// bytes: cutting out a shorter one would garble a text and hide nothing.
const minSecret = 6

// foreign returns the values of headers that a configuration gave, any of which
// may be a secret.
func foreign(h http.Header) []string {
	var values []string
	for name, all := range h {
		switch name {
		case "Accept", "Accept-Encoding", "Authorization", "Content-Range", "Content-Type", "If-Range", "Range", "User-Agent", "Via":
			continue
		}
		for _, v := range all {
			if len(v) >= minSecret {
				values = append(values, v)
			}
		}
	}
	return values
}

// refusal makes an error of an answer that is no success. The answer comes
// from the endpoint itself, or from where it sent us (own is false): what a
// CDN says about credentials is about a signature that expired, and says
// nothing about our rights. untold is what else there is to say, nil for
// nothing.
func (c *Client) refusal(kind Kind, res *http.Response, who Credential, own bool, untold error) error {
	cause := statusError(res)
	e := &oci.Error{Err: cause}
	if untold != nil {
		e.Err = fmt.Errorf("%w (%w)", cause, untold)
	}
	switch code := res.StatusCode; {
	case code == http.StatusNotFound || code == http.StatusGone:
		if kind == KindUpload && res.Request.Method == http.MethodPost {
			kind = "" // no upload is missing yet, the repository is
		}
		e.Kind, e.Code = oci.ErrNotFound, unknownCode(kind, cause.Codes)
		e.Message = unknownMessage[e.Code]
	case !own && code >= 400 && code < 500 && code != http.StatusRequestedRangeNotSatisfiable && code != http.StatusTooManyRequests:
		e.Kind, e.Message = oci.ErrUnavailable, fmt.Sprintf("the upstream's content server answered %d", code)
		if res.Request.Method == http.MethodHead {
			e.Kind = oci.ErrUnsupported // a link that is signed for a GET
		}
	default:
		e.Code, e.Message, e.Kind = meaning(code, cause.Codes)
	}
	if e.Kind == oci.ErrUnavailable {
		_, e.RetryAfter = c.pauses.get(hostPort(res.Request.URL), who, c.now())
	}
	return e
}

// meaning sorts the statuses that mean the same whatever was asked.
func meaning(status int, codes []string) (code, message string, kind error) {
	switch {
	case status == http.StatusUnauthorized:
		return oci.CodeUnauthorized, "the upstream asks for other credentials", oci.ErrUnauthorized
	case status == http.StatusForbidden || status == http.StatusUnavailableForLegalReasons:
		return oci.CodeDenied, "the upstream denies access", oci.ErrDenied
	case status == http.StatusTooManyRequests:
		return oci.CodeTooManyRequests, "the upstream gets too many requests", oci.ErrUnavailable
	case status == http.StatusMethodNotAllowed || status == http.StatusNotImplemented || slices.Contains(codes, oci.CodeUnsupported):
		return oci.CodeUnsupported, "the upstream does not support this", oci.ErrUnsupported
	case status == http.StatusRequestEntityTooLarge:
		return oci.CodeSizeInvalid, "the upstream takes nothing that large", oci.ErrTooLarge
	case status >= 500 || status == http.StatusRequestTimeout || status == http.StatusTooEarly:
		return "", fmt.Sprintf("the upstream answered %d", status), oci.ErrUnavailable
	case status < 400:
		return "", fmt.Sprintf("the upstream answered %d, as no registry does here", status), oci.ErrMismatch
	case slices.Contains(codes, oci.CodeDigestInvalid), slices.Contains(codes, oci.CodeSizeInvalid):
		return oci.CodeDigestInvalid, "the upstream finds that digest or size are wrong", oci.ErrMismatch
	}
	return knownCode(codes), fmt.Sprintf("the upstream refuses the request with %d", status), oci.ErrInvalid
}

// unknownMessage is what clients read when something is not there.
//
//	:: code → text
var unknownMessage = map[string]string{
	oci.CodeManifestUnknown:   "the upstream has no such manifest",
	oci.CodeBlobUnknown:       "the upstream has no such blob",
	oci.CodeNameUnknown:       "the upstream has no such repository",
	oci.CodeBlobUploadUnknown: "the upstream has no such upload",
}

// unknownCode chooses the code for a 404: the body's, where it is one that
// means this, otherwise that of what was asked for.
func unknownCode(kind Kind, codes []string) string {
	for _, code := range codes {
		if _, ok := unknownMessage[code]; ok {
			return code
		}
	}
	switch kind {
	case KindBlob:
		return oci.CodeBlobUnknown
	case KindUpload:
		return oci.CodeBlobUploadUnknown
	case KindManifest:
		return oci.CodeManifestUnknown
	}
	return oci.CodeNameUnknown
}

// knownCode returns the first code that the distribution-spec knows, "" where
// there is none.
func knownCode(codes []string) string {
	for _, code := range codes {
		switch code {
		case oci.CodeBlobUploadInvalid, oci.CodeManifestBlobUnknown, oci.CodeManifestInvalid, oci.CodeNameInvalid:
			return code
		}
	}
	return ""
}

// lost makes an error of a request that had no answer, or whose body broke.
// parent is the caller's context, cause the one with which the request's own
// context ended, if it did.
func lost(parent context.Context, cause error, req *http.Request, own bool, err error) (Class, error) {
	at := fmt.Sprintf("%s %s", req.Method, redact(req.URL))
	if parent.Err() != nil {
		return ClassCanceled, fmt.Errorf("%s: %w", at, context.Cause(parent))
	}
	class, message := classOf(cause, err)
	e := &oci.Error{Kind: oci.ErrUnavailable, Message: message, Timeout: class == ClassTimeout || class == ClassStall}
	switch {
	case e.Timeout:
		err = cause // what the transport says is only that it was cancelled
	case class == ClassGarbage, class == ClassGuard && !own:
		e.Kind = oci.ErrMismatch
	}
	e.Err = &LostError{At: at, Class: class, Err: err}
	return class, e
}

// classOf sorts the errors of a transport.
func classOf(cause, err error) (Class, string) {
	var (
		guarded *GuardError
		dns     *net.DNSError
		op      *net.OpError
		cert    *tls.CertificateVerificationError
		record  tls.RecordHeaderError
		alert   tls.AlertError
	)
	text := err.Error()
	switch {
	case errors.Is(cause, errNoHeaders):
		return ClassTimeout, "the upstream does not answer in time"
	case errors.Is(cause, errStalled):
		return ClassStall, "the transfer from the upstream stalled"
	case errors.As(err, &guarded):
		return ClassGuard, "the upstream leads to an address that it must not lead to"
	case errors.As(err, &dns):
		return ClassDNS, "the upstream's name cannot be resolved"
	case errors.As(err, &cert), errors.As(err, &record), errors.As(err, &alert), errors.As(err, &op) && op.Op == "remote error", // an alert of the other side
		strings.Contains(text, "TLS handshake timeout"), strings.Contains(text, "server gave HTTP response to HTTPS client"):
		return ClassTLS, "there is no secure connection to the upstream"
	case errors.As(err, &op) && op.Op == "dial", strings.HasPrefix(text, "proxyconnect"), strings.HasPrefix(text, "dial "):
		return ClassDial, "the upstream cannot be reached"
	case strings.Contains(text, "malformed "), strings.Contains(text, "server response headers exceeded"):
		return ClassGarbage, "the upstream is not a registry"
	}
	return ClassBroken, "the connection to the upstream broke"
}

// mismatch is the error for an answer that no registry gives.
func mismatch(format string, args ...any) error {
	return &oci.Error{Kind: oci.ErrMismatch, Message: "the upstream is not a registry", Err: fmt.Errorf(format, args...)}
}

// clampPause bounds a time that another side asks for.
func clampPause(d time.Duration) time.Duration { return min(max(d, 0), maxPause) }

// kindOf returns the kind of an error, nil where it has none.
func kindOf(err error) error {
	if e, ok := errors.AsType[*oci.Error](err); ok {
		return e.Kind
	}
	return nil
}
