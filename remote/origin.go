package remote

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// maxHops is how many redirects one request follows (spec/serve.md, C11).
const maxHops = 5

// sameOrigin reports whether two URLs have the same scheme, host and port. It
// is the one gate for credentials: whoever attaches one, to a request, a hop
// of a redirect, a realm, a Location or a next page, asks it first. A
// sub-domain is another host (moby/moby#50065).
func sameOrigin(a, b *url.URL) bool {
	return a.Scheme == b.Scheme && hostPort(a) == hostPort(b)
}

// resolve reads a URL that an answer holds, relative to that answer's own, and
// checks where it leads: to http only where plain says that the endpoint itself
// is http. It says nothing about credentials; see sameOrigin.
func resolve(from *url.URL, to string, plain bool) (*url.URL, error) {
	if to == "" {
		return nil, errors.New("the URL is missing")
	}
	u, err := from.Parse(to)
	if err != nil {
		return nil, errors.New("the URL cannot be parsed") // the cause would quote it, with its signature
	}
	switch {
	case u.Scheme != "https" && u.Scheme != "http":
		return nil, fmt.Errorf("%s: the scheme is not https", redact(u))
	case u.Scheme == "http" && !plain:
		return nil, fmt.Errorf("%s: it leads from https to http", redact(u))
	case u.Hostname() == "":
		return nil, errors.New("the URL has no host")
	case u.User != nil:
		return nil, fmt.Errorf("%s: the URL holds credentials", redact(u))
	}
	u.Fragment = ""
	u.Scheme, u.Host = strings.ToLower(u.Scheme), strings.ToLower(u.Host)
	return u, nil
}

// isRedirect reports whether an answer sends the request elsewhere. Requests
// that write follow only the two that keep method and body.
func isRedirect(res *http.Response) bool {
	switch res.StatusCode {
	case http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		return true
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther:
		return res.Request.Method == http.MethodGet || res.Request.Method == http.MethodHead
	}
	return false
}
