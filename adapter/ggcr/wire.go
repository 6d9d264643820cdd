package ggcr

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/entrepot/entrepot/ref"
	"github.com/entrepot/entrepot/rules"
)

// A line is a repository at a place, as far as authorisation goes.
type line struct {
	scheme, host, root, path string
	settings                 string // of the transport
}

// A session is a line that was authorised, or is about to be.
type session struct {
	mu     sync.Mutex // guards client, and is held while it is made
	client *http.Client
}

// client returns what speaks to a repository at a place, with its credentials.
// One that could not be made is tried again by the next request.
func (p *Puller) client(ctx context.Context, t *rules.Try, scheme string) (*http.Client, error) {
	key := line{scheme, t.Host, t.APIRoot, t.Ref.Path, settings(t.Transport)}
	p.mu.Lock()
	s := p.asked[key]
	if s == nil {
		s = new(session)
		p.asked[key] = s
	}
	p.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.client != nil {
		return s.client, nil
	}
	rt, err := p.authorize(ctx, t, scheme)
	if err != nil {
		return nil, err
	}
	s.client = &http.Client{Transport: rt, CheckRedirect: checkRedirect}
	return s.client, nil
}

// authorize asks a place how it wants to be authorised, by go-containerregistry's
// own way.
func (p *Puller) authorize(ctx context.Context, t *rules.Try, scheme string) (http.RoundTripper, error) {
	var opts []name.Option
	if scheme == "http" {
		opts = append(opts, name.Insecure)
	}
	reg, err := name.NewRegistry(t.Host, opts...)
	if err != nil {
		return nil, err
	}
	auth, err := p.credentials(ctx, t)
	if err != nil {
		return nil, fmt.Errorf("credentials for %s: %w", t.Host, err)
	}
	base, err := p.transport(t.Transport)
	if err != nil {
		return nil, err
	}
	w := &wire{inner: base, scheme: scheme, host: t.Host, root: t.APIRoot}
	if t.Transport != nil {
		w.header = t.Transport.Header
	}
	rt, err := transport.NewWithContext(ctx, reg, auth, w, []string{reg.Repo(t.Ref.Path).Scope(transport.PullScope)})
	if err != nil && errors.Is(err, errScheme) {
		return nil, w.real(err)
	}
	return rt, err
}

// credentials returns those of a place: of its own host, and of nothing else.
func (p *Puller) credentials(ctx context.Context, t *rules.Try) (authn.Authenticator, error) {
	host := t.Host
	if host == "registry-1.docker.io" || host == ref.DockerHub {
		host = name.DefaultRegistry
	}
	reg, err := name.NewRegistry(host)
	if err != nil {
		return nil, err
	}
	return authn.Resolve(ctx, p.cfg.Keychain, reg.Repo(t.Ref.Path))
}

// A wire is the connection to one place. It holds the scheme that the rule
// says, where package transport would try both at once for hosts that look
// local.
type wire struct {
	inner        http.RoundTripper
	scheme, host string
	root         string // of the API
	header       []rules.Header

	mu   sync.Mutex // guards last
	last error      // of the place; nil for none
}

// real returns what the place said, without the scheme that it was not asked
// by.
func (w *wire) real(err error) error {
	if status, ok := errors.AsType[*transport.Error](err); ok {
		return status
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return cmp.Or(w.last, err)
}

var errScheme = errors.New("the rule says another scheme")

// RoundTrip passes on a request. Those to the place itself get the headers of
// the rule, and the ping goes to the root that the rule says.
func (w *wire) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Host != w.host {
		return w.inner.RoundTrip(req)
	}
	if req.URL.Scheme != w.scheme {
		return nil, errScheme
	}
	out := req.Clone(req.Context())
	if out.URL.Path == "/v2/" {
		out.URL.Path = w.root + "/"
	}
	for _, h := range w.header {
		key := http.CanonicalHeaderKey(h.Name)
		if out.Header.Get(key) == "" {
			out.Header[key] = append([]string(nil), h.Values...)
		}
	}
	res, err := w.inner.RoundTrip(out)
	if err != nil {
		w.mu.Lock()
		w.last = err
		w.mu.Unlock()
	}
	return res, err
}

// settings returns what of a transport needs connections of its own, as text;
// "" for nothing.
func settings(t *rules.Transport) string {
	if t == nil {
		return ""
	}
	return fmt.Sprintf("%t %q %q %q %s %q", t.SkipVerify, t.CA, t.InlineCA, t.Client, t.DialTimeout, t.Header)
}

// transport returns the connections for places with these settings.
func (p *Puller) transport(t *rules.Transport) (*http.Transport, error) {
	if t == nil || !t.SkipVerify && len(t.CA) == 0 && len(t.Client) == 0 && t.DialTimeout == 0 {
		return p.base, nil
	}
	key := settings(t)
	p.mu.Lock()
	defer p.mu.Unlock()
	if made := p.carried[key]; made != nil {
		return made, nil
	}
	made := p.base.Clone()
	if t.DialTimeout > 0 {
		made.DialContext = (&net.Dialer{Timeout: t.DialTimeout, KeepAlive: 30 * time.Second}).DialContext
	}
	if err := setTLS(made, t); err != nil {
		return nil, err
	}
	p.carried[key] = made
	return made, nil
}

// setTLS sets what a rule says about certificates.
func setTLS(to *http.Transport, t *rules.Transport) error {
	cfg := to.TLSClientConfig
	if cfg == nil {
		cfg = new(tls.Config)
	}
	cfg.InsecureSkipVerify = cfg.InsecureSkipVerify || t.SkipVerify
	for _, file := range t.CA {
		if err := addCA(cfg, file, t.InlineCA); err != nil {
			return fmt.Errorf("read CA: %w", err)
		}
	}
	for _, pair := range t.Client {
		if pair.Cert == inlineFile {
			return errors.New("read client certificate: it stands in the configuration itself, and is read from files only")
		}
		key := pair.Key
		if key == "" {
			key = pair.Cert
		}
		cert, err := tls.LoadX509KeyPair(pair.Cert, key)
		if err != nil {
			return fmt.Errorf("read client certificate: %w", err)
		}
		cfg.Certificates = append(cfg.Certificates, cert)
	}
	to.TLSClientConfig = cfg
	return nil
}

// inlineFile is what stands for a file whose text is in the rules themselves.
const inlineFile = "inline"

// addCA adds the authorities of a file, or of the rules themselves.
func addCA(cfg *tls.Config, file, inline string) (err error) {
	pem := []byte(inline)
	if file != inlineFile {
		if pem, err = os.ReadFile(file); err != nil {
			return err
		}
	}
	if cfg.RootCAs == nil {
		if cfg.RootCAs, err = x509.SystemCertPool(); err != nil {
			return err
		}
	} else {
		cfg.RootCAs = cfg.RootCAs.Clone() // it may be the caller's
	}
	if !cfg.RootCAs.AppendCertsFromPEM(pem) {
		return fmt.Errorf("%s holds no certificate", file)
	}
	return nil
}

// maxRedirects is how many redirects one request follows.
const maxRedirects = 5

// checkRedirect refuses redirects from HTTPS to HTTP, and those from elsewhere
// to an address of a private network.
func checkRedirect(req *http.Request, via []*http.Request) error {
	first := via[0].URL
	switch {
	case len(via) > maxRedirects:
		return fmt.Errorf("more than %d redirects", maxRedirects)
	case first.Scheme == "https" && req.URL.Scheme != "https":
		return errors.New("a redirect leads from https to http")
	case req.URL.Hostname() != first.Hostname() && isPrivate(req.URL.Hostname()) && !isPrivate(first.Hostname()):
		return fmt.Errorf("a redirect leads to the private address %s", req.URL.Hostname())
	}
	return nil
}

// isPrivate reports whether a host is an address that is not on the Internet.
func isPrivate(host string) bool {
	addr, err := netip.ParseAddr(host)
	return err == nil && (addr.IsPrivate() || addr.IsLoopback() || addr.IsLinkLocalUnicast() || addr.IsUnspecified())
}
