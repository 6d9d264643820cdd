package remote

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/entrepot/entrepot/oci"
)

// conns counts the open connections of a server.
type conns struct {
	mu     sync.Mutex
	open   map[net.Conn]bool
	change *sync.Cond
}

func (c *conns) state(conn net.Conn, s http.ConnState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch s {
	case http.StateNew:
		c.open[conn] = true
	case http.StateClosed:
		delete(c.open, conn)
	}
	c.change.Broadcast()
}

// waitNone returns once no connection is open.
func (c *conns) waitNone() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.open) > 0 {
		c.change.Wait()
	}
}

// serveCounted is serve, with the server's connections counted.
func serveCounted(t *testing.T, h http.HandlerFunc) (*httptest.Server, *conns) {
	t.Helper()
	c := &conns{open: map[net.Conn]bool{}}
	c.change = sync.NewCond(&c.mu)
	s := httptest.NewUnstartedServer(h)
	s.Config.ConnState = c.state
	s.Start()
	t.Cleanup(s.Close)
	return s, c
}

// TestTransportCloses holds that a Transport that was closed leaves no
// connection behind: neither the idle ones, nor those of requests that were
// under way, nor those of requests that came later.
func TestTransportCloses(t *testing.T) {
	content := strings.Repeat("x", 1<<20)
	s, open := serveCounted(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, content) })
	c := client(t, ClientConfig{})
	own := c.Transport(TransportConfig{})
	e, err := c.Endpoint(EndpointConfig{URL: s.URL, AllowPrivate: true, Transport: own})
	if err != nil {
		t.Fatal(err)
	}
	if got, _, err := readBlob(e, digestOf("a"), 0); err != nil || got != content {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	under, err := e.Blob(t.Context(), repo, digestOf("b"), 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := own.Close(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(under.Body); err != nil || string(got) != content {
		t.Errorf("under way: %d bytes, %v", len(got), err)
	}
	under.Body.Close()
	open.waitNone()
	if _, _, err := readBlob(e, digestOf("c"), 0); err != nil {
		t.Errorf("later: %v", err)
	}
	open.waitNone()
}

// TestTransportOfAClosedClient holds that nothing outlives the client.
func TestTransportOfAClosedClient(t *testing.T) {
	s, open := serveCounted(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "x") })
	c := NewClient(ClientConfig{})
	ask := func(own *Transport) {
		e, err := c.Endpoint(EndpointConfig{URL: s.URL, AllowPrivate: true, Transport: own})
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := readBlob(e, digestOf("x"), 0); err != nil {
			t.Fatal(err)
		}
	}
	ask(c.Transport(TransportConfig{}))
	c.Close()
	open.waitNone()
	ask(c.Transport(TransportConfig{}))
	open.waitNone()
}

// TestTransportTLS holds that certificates are of one transport alone.
func TestTransportTLS(t *testing.T) {
	var presented []string
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for _, cert := range r.TLS.PeerCertificates {
			presented = append(presented, cert.Subject.CommonName)
		}
		serveManifest(w, oci.TypeImageManifest, manifestJSON)
	}))
	s.TLS = &tls.Config{ClientAuth: tls.RequestClientCert}
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // one handshake is meant to fail
	s.StartTLS()
	t.Cleanup(s.Close)
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	c := client(t, ClientConfig{Retry: Retry{Attempts: 1}})
	ask := func(cfg *tls.Config) error {
		own := c.Transport(TransportConfig{TLS: cfg})
		defer own.Close()
		e, err := c.Endpoint(EndpointConfig{URL: s.URL, PrivateHost: true, Transport: own})
		if err != nil {
			t.Fatal(err)
		}
		_, err = e.Manifest(t.Context(), repo.WithTag("v1"))
		return err
	}
	if err := ask(&tls.Config{RootCAs: roots, Certificates: []tls.Certificate{selfSigned(t, "us")}}); err != nil {
		t.Error(err)
	}
	if len(presented) != 1 || presented[0] != "us" {
		t.Errorf("presented %q", presented)
	}
	if err := ask(&tls.Config{InsecureSkipVerify: true}); err != nil {
		t.Error(err)
	}
	lost, ok := errors.AsType[*LostError](ask(nil))
	if !ok || lost.Class != ClassTLS {
		t.Errorf("without its certificate: %v", lost)
	}
}

// TestPrivateHostIsTheHostAlone holds that what a trusted host leads to is
// guarded: a redirect, and a token service.
func TestPrivateHostIsTheHostAlone(t *testing.T) {
	inside, insideLog := serve(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "secret") })
	var challenge bool
	front, frontLog := serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case challenge:
			w.Header().Set("WWW-Authenticate", `Bearer realm="`+inside.URL+`/token"`)
			w.WriteHeader(http.StatusUnauthorized)
		case strings.HasSuffix(r.URL.Path, "/again"):
			io.WriteString(w, "own")
		case strings.HasSuffix(r.URL.Path, string(digestOf("own"))):
			http.Redirect(w, r, "/again", http.StatusFound)
		default:
			http.Redirect(w, r, inside.URL+"/x", http.StatusFound)
		}
	})
	e, err := client(t, ClientConfig{Retry: Retry{Attempts: 1}}).Endpoint(EndpointConfig{URL: front.URL, PrivateHost: true})
	if err != nil {
		t.Fatal(err)
	}
	if got, _, err := readBlob(e, digestOf("own"), 0); err != nil || got != "own" {
		t.Errorf("a redirect within the origin: %q, %v", got, err)
	}
	_, _, err = readBlob(e, digestOf("x"), 0)
	if _, ok := errors.AsType[*GuardError](err); !ok {
		t.Errorf("a redirect to another host: %v, want a GuardError", err)
	}
	challenge = true
	_, err = e.Manifest(t.Context(), repo.WithTag("v1"))
	wantKind(t, err, oci.ErrUnauthorized)
	if n := len(insideLog.get()); n != 0 {
		t.Errorf("the other host was asked: %q", insideLog.get())
	}
	if len(frontLog.get()) != 4 {
		t.Errorf("the origin was asked %q", frontLog.get())
	}
}

// TestHeaderIsForTheOriginAlone holds that configured headers pass the same
// gate as credentials.
func TestHeaderIsForTheOriginAlone(t *testing.T) {
	var elsewhere *http.Request
	cdn, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		elsewhere = r.Clone(context.WithoutCancel(r.Context()))
		io.WriteString(w, "content")
	})
	front, log := serve(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, cdn.URL, http.StatusFound) })
	e := endpoint(t, ClientConfig{UserAgent: "ours"}, EndpointConfig{URL: front.URL, Header: http.Header{
		"x-key": {"k-e-y"}, "authorization": {"Basic c2VjcmV0"}, "Range": {"bytes=5-"}, "User-Agent": {"theirs"},
	}})
	if got, _, err := readBlob(e, digestOf("x"), 0); err != nil || got != "content" {
		t.Fatalf("%q, %v", got, err)
	}
	if len(log.requests) != 1 {
		t.Fatalf("asked %q", log.get())
	}
	h := log.requests[0].Header
	if h.Get("X-Key") != "k-e-y" || h.Get("Authorization") != "Basic c2VjcmV0" || h.Get("User-Agent") != "theirs" || h.Get("Range") != "" {
		t.Errorf("the origin got %v", h)
	}
	if h := elsewhere.Header; h.Get("X-Key") != "" || h.Get("Authorization") != "" || h.Get("User-Agent") != "ours" {
		t.Errorf("the other host got %v", h)
	}
}

// TestHeaderIsNotTold holds that a server that echoes a configured header does
// not bring it into our logs.
func TestHeaderIsNotTold(t *testing.T) {
	s, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusForbidden)
		io.WriteString(w, `{"errors":[{"code":"DENIED","message":"no `+r.Header.Get("X-Key")+` `+r.Header.Get("Authorization")+`"}]}`)
	})
	e := endpoint(t, ClientConfig{}, EndpointConfig{URL: s.URL, Header: http.Header{"X-Key": {"geheim-1"}, "Authorization": {"geheim-2"}}})
	_, err := e.Manifest(t.Context(), repo.WithTag("v1"))
	wantKind(t, err, oci.ErrDenied)
	if strings.Contains(err.Error(), "geheim") {
		t.Errorf("the error tells it: %v", err)
	}
}

// selfSigned returns a certificate that nobody knows.
func selfSigned(t *testing.T, name string) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}}
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}
