package cli

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/entrepot/entrepot/rules"
)

// A secureRegistry has one manifest behind TLS, and notes what it was asked.
type secureRegistry struct {
	*httptest.Server
	mu    sync.Mutex // guards asked
	asked []*http.Request
}

func newSecureRegistry(t *testing.T, clients *x509.CertPool) *secureRegistry {
	t.Helper()
	s := new(secureRegistry)
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.asked = append(s.asked, r)
		s.mu.Unlock()
		w.Header().Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
		w.Header().Set("Docker-Content-Digest", "sha256:"+strings.Repeat("a", 64))
		w.Header().Set("Content-Length", "2")
		if r.Method == http.MethodGet {
			fmt.Fprint(w, "{}")
		}
	}))
	s.Server.TLS = &tls.Config{}
	if clients != nil {
		s.Server.TLS.ClientAuth, s.Server.TLS.ClientCAs = tls.RequireAndVerifyClientCert, clients
	}
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

// requests returns what was asked so far.
func (s *secureRegistry) requests() []*http.Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.asked)
}

// ca returns the authority of the server, in PEM.
func (s *secureRegistry) ca() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}))
}

// clientPair makes a client certificate that is its own authority: the
// certificate and the key, in PEM.
func clientPair(t *testing.T) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw}))
}

// TestProbeAsTheRuleSays holds that a place is asked with the authorities, the
// client certificate, the headers and the ns of its rule, below another root
// too, and that each of them matters.
func TestProbeAsTheRuleSays(t *testing.T) {
	cert, key := clientPair(t)
	clients := x509.NewCertPool()
	clients.AppendCertsFromPEM([]byte(cert))
	reg := newSecureRegistry(t, clients)
	const ca, client, header = "  ca = \"ca.crt\"\n", "  client = [[\"client.crt\", \"client.key\"]]\n", "  [host.%[1]q.header]\n    X-Team = [\"a\", \"b\"]\n    Authorization = \"Bearer hunter2\"\n"
	for name, tt := range map[string]struct{ settings, want string }{
		"all":            {ca + client + header, "readable 200"},
		"not checked":    {"  skip_verify = true\n" + client, "readable 200"},
		"no authority":   {client, "tls"},
		"no certificate": {ca, "tls"},
	} {
		root := writeFiles(t, map[string]string{
			"etc/containerd/certs.d/example.com/hosts.toml": fmt.Sprintf("server = %[1]q\n[host.%[1]q]\n"+strings.ReplaceAll(tt.settings, "%[1]q", fmt.Sprintf("%q", reg.URL)), reg.URL),
			"etc/containerd/certs.d/example.com/ca.crt":     reg.ca(),
			"etc/containerd/certs.d/example.com/client.crt": cert,
			"etc/containerd/certs.d/example.com/client.key": key,
		})
		for _, from := range []string{"--root=" + root, "--rules=hosts.toml=" + filepath.Join(root, "etc/containerd/certs.d")} {
			before := len(reg.requests())
			_, lines := runJSON(t, "explain", "--probe", "--json", "--as", "containerd", from, "example.com/team/app:v1")
			if got := probes(lines[0])[0]; got != tt.want {
				t.Errorf("%s, %s: got %s, want %s: %v", name, from, got, tt.want, lines[0]["tries"])
			}
			asked := reg.requests()[before:]
			if name == "all" && (len(asked) == 0 || !slices.Equal(asked[0].Header["X-Team"], []string{"a", "b"}) ||
				asked[0].Header.Get("Authorization") != "Bearer hunter2" || asked[0].URL.Query().Get("ns") != "example.com") {
				t.Errorf("asked %v", asked)
			}
		}
	}
}

// TestProbeInlineAuthority holds that an authority that stands in the
// configuration itself is trusted.
func TestProbeInlineAuthority(t *testing.T) {
	reg := newSecureRegistry(t, nil)
	host := strings.TrimPrefix(reg.URL, "https://")
	b64 := base64.StdEncoding.EncodeToString([]byte(reg.ca()))
	dir := writeFiles(t, map[string]string{
		"talos.yaml":  fmt.Sprintf("machine:\n  registries:\n    mirrors:\n      example.com:\n        endpoints: [%q]\n    config:\n      %q:\n        tls: {ca: %q}\n", reg.URL, host, b64),
		"regctl.json": fmt.Sprintf(`{"hosts":{"example.com":{"mirrors":[%q]},%[1]q:{"regcert":%q}}}`, host, reg.ca()),
	})
	for client, rule := range map[string]string{"talos": "talos=" + filepath.Join(dir, "talos.yaml"), "regclient": "regclient=" + filepath.Join(dir, "regctl.json")} {
		_, lines := runJSON(t, "explain", "--probe", "--json", "--as", client, "--rules", rule, "example.com/team/app:v1")
		if got := probes(lines[0])[0]; got != "readable 200" {
			t.Errorf("%s: %s: %v", client, got, lines[0])
		}
	}
}

// TestProbeCannotUse holds that a place whose certificates cannot be read is
// not asked without them, and that the network's flags go before the rules.
func TestProbeCannotUse(t *testing.T) {
	reg := newSecureRegistry(t, nil)
	host := strings.TrimPrefix(reg.URL, "https://")
	ca := filepath.Join(writeFiles(t, map[string]string{"ca.crt": reg.ca()}), "ca.crt")
	args := []string{"explain", "--probe", "--json", "--rules", "none", host + "/team/app:v1"}
	for flag, want := range map[string]string{"": "tls", "--ca=" + ca: "readable 200", "--insecure=" + host: "readable 200", "--plain-http=" + host: "broken 400"} {
		all := args
		if flag != "" {
			all = append(slices.Clone(args), flag)
		}
		_, lines := runJSON(t, all...)
		if got := probes(lines[0])[0]; got != want {
			t.Errorf("%q: got %s, want %s", flag, got, want)
		}
	}
	for _, tr := range []*rules.Transport{
		{CA: []string{ca + "x"}}, {CA: []string{inlineFile}}, {Client: []rules.KeyPair{{Cert: ca}}}, {Client: []rules.KeyPair{{Cert: inlineFile, Key: inlineFile}}},
	} {
		before := len(reg.requests())
		pr := prober{net: &networkFlags{insecure: []string{host}}}
		p := pr.try(t.Context(), &rules.Try{Host: host, Scheme: rules.HTTPS, APIRoot: "/v2", Transport: tr})
		if p.Class != classTLS || p.Error == "" || len(reg.requests()) != before {
			t.Errorf("%+v: %+v", tr, p)
		}
	}
}

// TestProbeDialTimeout holds that a rule's time to dial is the probe's.
func TestProbeDialTimeout(t *testing.T) {
	cfg, err := clientOf(&rules.Transport{DialTimeout: 7 * time.Second})
	if err != nil || cfg.DialTimeout != 7*time.Second {
		t.Errorf("%s, %v", cfg.DialTimeout, err)
	}
}
