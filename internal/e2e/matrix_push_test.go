package e2e

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"testing"

	"github.com/entrepot/entrepot/internal/regtest"
	"github.com/entrepot/entrepot/oci"
)

const hostsApps = "[hosted]\nrepositories = [\"apps/**\"]"

var pushRows = []row{
	{"L26 POST upload to a proxied name", pushToProxied},
	{"L27 PUT manifest to a hosted name", pushToHosted},
	{"L28 DELETE manifest of a proxied name", func(t *testing.T) {
		s := newStack(t, "", "")
		im := s.up.AddImage("library/ubuntu", ubuntu, "24.04")
		for _, name := range []string{"24.04", string(im.Digest)} {
			s.ask(t, "DELETE", "docker.io/library/ubuntu/manifests/"+name).status(t, http.StatusMethodNotAllowed, oci.CodeUnsupported)
		}
		s.wire(t)
	}},
}

// pushToProxied announces a body and does not send it: the answer has to come
// all the same.
func pushToProxied(t *testing.T) {
	s := newStack(t, "", "")
	for _, req := range []string{
		"POST /v2/library/x/blobs/uploads/?ns=docker.io",
		"POST /v2/docker.io/library/x/blobs/uploads/",
		"PUT /v2/library/x/manifests/1?ns=docker.io",
	} {
		conn, err := net.Dial("tcp", s.address())
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(conn, "%s HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n", req)
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatalf("%s: %v", req, err)
		}
		if resp.StatusCode != http.StatusForbidden {
			t.Errorf("%s: status %d, want 403", req, resp.StatusCode)
		}
		conn.Close()
	}
	s.ask(t, "POST", "library/x/blobs/uploads/?ns=docker.io").status(t, http.StatusForbidden, oci.CodeDenied)
	s.wire(t)
}

func pushToHosted(t *testing.T) {
	s := newStack(t, isDefault, hostsApps)
	shelf := regtest.NewShelf()
	config := []byte(`{"architecture":"amd64","os":"linux"}`)
	d := oci.FromBytes(config, "")
	if status := pushBlob(t, s.url, "apps/x", d, config); status != http.StatusCreated {
		t.Fatalf("push blob: status %d", status)
	}
	subject := oci.Descriptor{MediaType: oci.TypeImageManifest, Digest: oci.FromBytes([]byte("unknown"), ""), Size: 7}
	raw := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":%q,"size":%d},"layers":[],"subject":{"mediaType":%q,"digest":%q,"size":7}}`,
		oci.TypeImageManifest, d, len(config), subject.MediaType, subject.Digest)
	m := shelf.AddManifest("apps/x", oci.TypeImageManifest, []byte(raw), "1")
	resp := send(t, http.MethodPut, s.url+"/v2/apps/x/manifests/1", m.MediaType, m.Raw)
	if resp.StatusCode != http.StatusCreated || resp.Header.Get("Location") == "" {
		t.Errorf("PUT manifest: status %d, Location %q; want 201 and one", resp.StatusCode, resp.Header.Get("Location"))
	}
	answer{Response: resp}.header(t, "Docker-Content-Digest: "+string(m.Digest), "OCI-Subject: "+string(subject.Digest))
	for _, name := range []string{"1", string(m.Digest)} {
		s.ask(t, "GET", "apps/x/manifests/"+name).is(t, m.Raw)
	}
	s.ask(t, "GET", "apps/x/blobs/"+string(d)).is(t, config)
	s.wire(t)
}
