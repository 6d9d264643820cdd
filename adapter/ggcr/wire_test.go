package ggcr

import (
	"context"
	"encoding/pem"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/entrepot/entrepot/internal/regtest"
	"github.com/entrepot/entrepot/rules"
)

// TestScheme holds that a place is spoken to as its rule says, and never by
// plain HTTP where the rule says HTTPS, though the host looks local.
func TestScheme(t *testing.T) {
	plain, secure := registry(t), regtest.New(t, regtest.Config{TLS: true})
	plain.AddImage("a", regtest.Image{}, "v1")
	secure.AddImage("a", regtest.Image{}, "v1")
	skip := &rules.Transport{SkipVerify: true}
	for what, tt := range map[string]struct {
		ep   rules.Endpoint
		want bool
	}{
		"https at a plain one":            {rules.Endpoint{Scheme: rules.HTTPS, Host: plain.Host()}, false},
		"http at a plain one":             {rules.Endpoint{Scheme: rules.HTTP, Host: plain.Host()}, true},
		"https, then http at a plain one": {rules.Endpoint{Scheme: rules.HTTPSThenHTTP, Host: plain.Host()}, true},
		"https, not trusted":              {rules.Endpoint{Scheme: rules.HTTPS, Host: secure.Host()}, false},
		"https, not checked":              {rules.Endpoint{Scheme: rules.HTTPS, Host: secure.Host(), Transport: skip}, true},
		"http at a secure one":            {rules.Endpoint{Scheme: rules.HTTP, Host: secure.Host(), Transport: skip}, false},
		"https first at a secure one":     {rules.Endpoint{Scheme: rules.HTTPSThenHTTP, Host: secure.Host(), Transport: skip}, true},
	} {
		p := puller(t, at(rules.None, tt.ep))
		_, _, err := p.Get(t.Context(), parsed(t, "example.com/a:v1"))
		if got := err == nil; got != tt.want {
			t.Errorf("%s: %v", what, err)
		}
		if err != nil && strings.Contains(err.Error(), errScheme.Error()) {
			t.Errorf("%s: the error tells what nobody asked: %v", what, err)
		}
	}
}

// TestOriginalScheme holds that an image's own registry is reached in
// go-containerregistry's way where no rule says anything.
func TestOriginalScheme(t *testing.T) {
	reg := registry(t)
	reg.AddImage("a", regtest.Image{}, "v1")
	tr := http.DefaultTransport.(*http.Transport).Clone()
	tr.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, reg.Host())
	}
	p := puller(t, Config{Transport: tr, Options: []remote.Option{once}})
	if _, _, err := p.Get(t.Context(), parsed(t, reg.Host()+"/a:v1")); err != nil {
		t.Errorf("on loopback: %v", err)
	}
	if _, _, err := p.Get(t.Context(), parsed(t, "strict.example.com/a:v1")); err == nil {
		t.Error("a registry elsewhere is asked by plain HTTP")
	}
	ref, err := name.ParseReference("plain.example.com/a:v1", name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := p.Get(t.Context(), ref); err != nil {
		t.Errorf("with name.Insecure: %v", err)
	}
}

// TestCertificates holds that the authorities and the client certificate of a
// rule are used.
func TestCertificates(t *testing.T) {
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
		w.Write([]byte(`{"schemaVersion":2}`))
	}))
	defer srv.Close()
	dir := t.TempDir()
	ca := filepath.Join(dir, "ca.crt")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw})
	if err := os.WriteFile(ca, text, 0o600); err != nil {
		t.Fatal(err)
	}
	empty := filepath.Join(dir, "empty.crt")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	host := strings.TrimPrefix(srv.URL, "https://")
	for _, tt := range []struct {
		tr   *rules.Transport
		want string
	}{
		{&rules.Transport{CA: []string{ca}, DialTimeout: time.Minute}, ""},
		{&rules.Transport{CA: []string{"inline"}, InlineCA: string(text)}, ""},
		{&rules.Transport{CA: []string{empty}}, "holds no certificate"},
		{&rules.Transport{CA: []string{"inline"}}, "inline holds no certificate"},
		{&rules.Transport{CA: []string{filepath.Join(dir, "none")}}, "read CA: "},
		{&rules.Transport{Client: []rules.KeyPair{{Cert: ca}}}, "read client certificate: "},
		{&rules.Transport{Client: []rules.KeyPair{{Cert: "inline", Key: "inline"}}}, "it stands in the configuration itself"},
		{nil, "certificate signed by unknown authority"},
	} {
		p := puller(t, at(rules.None, rules.Endpoint{Scheme: rules.HTTPS, Host: host, Transport: tt.tr}))
		_, _, err := p.Get(t.Context(), parsed(t, "example.com/a:v1"))
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%+v: error %v, want %q", tt.tr, err, tt.want)
		}
	}
}

// TestRedirects holds where redirects may lead, and that a signature in one is
// not told.
func TestRedirects(t *testing.T) {
	reg, cdn := registry(t), registry(t)
	reg.AddImage("a", regtest.Image{Layers: []int64{10}}, "v1")
	cdn.Down()
	reg.On(regtest.Match{Kind: regtest.Blob}, regtest.Fault{Redirect: cdn.URL() + "/blob?sig=hunter2"})
	p := puller(t, at(rules.None, rules.Endpoint{Scheme: rules.HTTP, Host: reg.Host()}))
	img, _, err := p.Image(t.Context(), parsed(t, "example.com/a:v1"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := layers(t, img); err == nil || strings.Contains(err.Error(), "hunter2") || !strings.Contains(err.Error(), cdn.URL()) {
		t.Errorf("error %v", err)
	}
	for _, tt := range []struct {
		from, to string
		want     bool
	}{
		{"https://a.example/x", "https://b.example/y", true},
		{"https://a.example/x", "http://a.example/y", false},
		{"http://a.example/x", "http://b.example/y", true},
		{"https://a.example/x", "https://169.254.169.254/y", false},
		{"https://a.example/x", "https://10.0.0.1/y", false},
		{"https://10.0.0.2/x", "https://10.0.0.1/y", true},
		{"https://10.0.0.2:1/x", "https://10.0.0.2:2/y", true},
	} {
		from, err := http.NewRequest(http.MethodGet, tt.from, nil)
		if err != nil {
			t.Fatal(err)
		}
		to, err := http.NewRequest(http.MethodGet, tt.to, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := checkRedirect(to, []*http.Request{from}); (err == nil) != tt.want {
			t.Errorf("%s to %s: %v", tt.from, tt.to, err)
		}
	}
}
