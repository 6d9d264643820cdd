package ggcr

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/entrepot/entrepot/rules"
)

// An Attempt is a place that could not serve a request.
type Attempt struct {
	// From is the image as it is called there.
	From string
	// URL is what was asked; "" where no request can be made.
	URL string
	// At is file and line of the rule that leads there; "" for the image's own
	// registry.
	At string
	// Err is why; a [*transport.Error] where there was an answer.
	Err error
}

// String returns where and why.
func (a Attempt) String() string {
	where := a.URL
	if where == "" {
		where = a.From
	}
	if a.At != "" {
		where += " (" + a.At + ")"
	}
	return fmt.Sprintf("%s: %v", where, a.Err)
}

// An Error says that no place could serve a request, and what each one said.
// What the last place said is found first by [errors.As]: as a rule that is the
// image's own registry.
type Error struct {
	Ref      string // the image
	Attempts []Attempt
	Err      error // why nothing was asked; nil where something was
}

// Error lists all attempts in one line.
func (e *Error) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("%s: %v", e.Ref, e.Err)
	}
	parts := make([]string, len(e.Attempts))
	for i, a := range e.Attempts {
		parts[i] = a.String()
	}
	return fmt.Sprintf("%s: no place can serve it: %s", e.Ref, strings.Join(parts, "; "))
}

// Unwrap returns the errors of the attempts, the last one first.
func (e *Error) Unwrap() []error {
	if e.Err != nil {
		return []error{e.Err}
	}
	errs := make([]error, 0, len(e.Attempts))
	for _, a := range slices.Backward(e.Attempts) {
		errs = append(errs, a.Err)
	}
	return errs
}

// failure sorts an error of a place.
func failure(err error) rules.Failures {
	var (
		status    *transport.Error
		cert      *tls.CertificateVerificationError
		record    tls.RecordHeaderError
		alert     tls.AlertError
		authority x509.UnknownAuthorityError
		op        *net.OpError
		dns       *net.DNSError
	)
	switch {
	case errors.As(err, &status):
		switch status.StatusCode {
		case http.StatusUnauthorized, http.StatusForbidden:
			return rules.Unauthorized
		case http.StatusNotFound:
			return rules.Absent
		}
		return rules.Broken
	case errors.As(err, &cert), errors.As(err, &record), errors.As(err, &alert), errors.As(err, &authority),
		strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"):
		return rules.BadTLS
	case errors.As(err, &op), errors.As(err, &dns), errors.Is(err, context.DeadlineExceeded):
		return rules.Unreachable
	}
	return rules.Broken
}

// redact drops the queries of addresses in an error: content servers are sent
// signatures there.
func redact(err error) error {
	u, ok := errors.AsType[*url.Error](err)
	if !ok {
		return err
	}
	parsed, bad := url.Parse(u.URL)
	if bad != nil {
		return u.Err
	}
	short := url.URL{Scheme: parsed.Scheme, Host: parsed.Host, Path: parsed.Path}
	return &url.Error{Op: u.Op, URL: short.String(), Err: u.Err}
}
