package access

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"net/url"
	"testing"

	"github.com/entrepot/entrepot/oci"
)

func TestCertificates(t *testing.T) {
	d, err := NewDoor(DoorConfig{Certificates: true})
	if err != nil {
		t.Fatal(err)
	}
	uri := &url.URL{Scheme: "spiffe", Host: "corp", Path: "/ci"}
	for what, c := range map[string]struct {
		cert *x509.Certificate
		user string
		bad  bool
	}{
		"common name":        {&x509.Certificate{Subject: pkix.Name{CommonName: "ci"}, DNSNames: []string{"x"}}, "ci", false},
		"DNS name":           {&x509.Certificate{DNSNames: []string{"node-1", "node-2"}}, "node-1", false},
		"address":            {&x509.Certificate{EmailAddresses: []string{"ci@corp"}, URIs: []*url.URL{uri}}, "ci@corp", false},
		"URI":                {&x509.Certificate{URIs: []*url.URL{uri}}, "spiffe://corp/ci", false},
		"nobody":             {&x509.Certificate{}, "", true},
		"called anonymous":   {&x509.Certificate{Subject: pkix.Name{CommonName: "anonymous"}}, "", true},
		"control characters": {&x509.Certificate{Subject: pkix.Name{CommonName: "c\ni"}}, "", true},
	} {
		r := request("")
		r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{c.cert}}
		if got, err := d.Caller(r); err != nil || !got.Anonymous() {
			t.Errorf("%s, not verified: got %+v, %v", what, got, err)
		}
		r.TLS.VerifiedChains = [][]*x509.Certificate{{c.cert}}
		got, err := d.Caller(r)
		if got.User != c.user || errors.Is(err, oci.ErrUnauthorized) != c.bad {
			t.Errorf("%s: got %+v, %v", what, got, err)
		}
	}
	without, _, _ := newDoor(t)
	r := request("")
	r.TLS = &tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{{Subject: pkix.Name{CommonName: "ci"}}}}}
	if got, err := without.Caller(r); err != nil || !got.Anonymous() {
		t.Errorf("where no certificates are asked for: got %+v, %v", got, err)
	}
}
