package e2e

import (
	"net/http"
	"strings"
	"testing"

	"github.com/entrepot/entrepot/internal/regtest"
	"github.com/entrepot/entrepot/oci"
)

// ubuntu is the image that the rows ask for.
var ubuntu = regtest.Image{Layers: []int64{1 << 16}, Seed: 2404}

const isDefault = "default = true"

var routeRows = []row{
	{"L01 GET v2", func(t *testing.T) {
		s := newStack(t, isDefault, "")
		a := s.ask(t, "GET", "")
		a.is(t, []byte("{}"))
		a.header(t, "Docker-Distribution-Api-Version: registry/2.0")
		s.wire(t)
	}},
	{"L06 GET manifest of a short name with ns", func(t *testing.T) {
		sameRepo(t, "", "ubuntu/manifests/24.04?ns=docker.io", "docker.io")
	}},
	{"L07 GET manifest with prefix and ns", func(t *testing.T) {
		sameRepo(t, "", "docker.io/library/ubuntu/manifests/24.04?ns=docker.io", "docker.io")
	}},
	{"L08 GET manifest with prefix", func(t *testing.T) {
		sameRepo(t, "", "docker.io/library/ubuntu/manifests/24.04", "")
	}},
	{"A2 GET manifest with another name of the Hub as ns", func(t *testing.T) {
		sameRepo(t, "", "library/ubuntu/manifests/24.04?ns=registry-1.docker.io", "registry-1.docker.io")
	}},
	{"L09 GET manifest without ns, default upstream set", func(t *testing.T) {
		sameRepo(t, isDefault, "library/ubuntu/manifests/24.04", "")
	}},
	{"L09 GET manifest without ns, no default upstream", func(t *testing.T) {
		s := newStack(t, "", "")
		s.up.AddImage("library/ubuntu", ubuntu, "24.04")
		s.ask(t, "GET", "library/ubuntu/manifests/24.04").status(t, http.StatusNotFound, oci.CodeNameUnknown)
		s.wire(t)
	}},
	{"A5 unknown first segment that looks like a host", func(t *testing.T) {
		s := newStack(t, isDefault, "")
		s.ask(t, "GET", "ghcr.io/a/b/manifests/1").status(t, http.StatusNotFound, oci.CodeNameUnknown)
		s.wire(t)
	}},
	{"L10 ns that is not configured", func(t *testing.T) {
		s := newStack(t, isDefault, "")
		a := s.ask(t, "GET", "library/ubuntu/manifests/24.04?ns=evil.example")
		a.status(t, http.StatusNotFound, oci.CodeNameUnknown)
		a.header(t, "OCI-Namespace: evil.example")
		s.wire(t)
	}},
	{"L11 bad ns", badNS},
	{"A9 unknown query parameters are ignored", func(t *testing.T) {
		sameRepo(t, "", "library/ubuntu/manifests/24.04?ns=docker.io&x=1&ns2=y", "docker.io")
	}},
}

// sameRepo asks for a path that has to lead to library/ubuntu of the upstream,
// without a redirect.
func sameRepo(t *testing.T, keys, path, ns string) {
	t.Helper()
	s := newStack(t, keys, "")
	im := s.up.AddImage("library/ubuntu", ubuntu, "24.04")
	a := s.ask(t, "GET", path)
	a.is(t, im.Raw)
	a.header(t, "Docker-Content-Digest: "+string(im.Digest), "Content-Type: "+im.MediaType, "OCI-Namespace: "+ns)
	for _, e := range s.up.Log() {
		if e.Repo != "library/ubuntu" {
			t.Errorf("%s was asked for, want library/ubuntu only", e.Path)
		}
		if strings.Contains(e.Query, "ns=") {
			t.Errorf("ns went upstream: %s?%s", e.Path, e.Query)
		}
	}
}

func badNS(t *testing.T) {
	s := newStack(t, isDefault, "")
	s.up.AddImage("library/ubuntu", ubuntu, "24.04")
	for _, q := range []string{"ns=169.254.169.254", "ns=localhost:22", "ns=a@b", "ns=", "ns=docker.io&ns=docker.io",
		"ns=http://docker.io", "ns=docker.io/library", "ns=docker.io%00", "ns=%2e%2e", "ns=docker.io%20", "ns=127.0.0.1:1"} {
		a := s.ask(t, "GET", "library/ubuntu/manifests/24.04?"+q)
		if a.StatusCode == http.StatusNotFound { // it is a host by its syntax
			a.status(t, http.StatusNotFound, oci.CodeNameUnknown)
		} else {
			a.status(t, http.StatusBadRequest, oci.CodeNameInvalid)
		}
	}
	s.wire(t)
}
