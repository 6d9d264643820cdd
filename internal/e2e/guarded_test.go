package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// A guarded registry is a distribution v3 that takes the tokens of a token
// service of ours, which asks for a name and a password.
type guarded struct {
	*process
	address string // host:port
	auth    string // a file of credentials, as podman and docker have it
}

// The account at the token service.
const (
	guardedUser     = "mover"
	guardedPassword = "a password of this test"
)

// startGuarded starts an empty guarded registry.
func startGuarded(t *testing.T) *guarded {
	t.Helper()
	dir := t.TempDir()
	signer := newSigner(t)
	tokens := httptest.NewServer(signer) // crane asks no token service that is named by an address of this machine
	t.Cleanup(tokens.Close)
	text := fmt.Sprintf(`version: 0.1
log: {level: info, formatter: json, accesslog: {disabled: true}}
storage:
  filesystem: {rootdirectory: %s}
http: {addr: "127.0.0.1:0", secret: e2e}
auth:
  token: {realm: "%s/token", service: guarded, issuer: e2e, rootcertbundle: %s}
`, filepath.Join(dir, "data"), strings.Replace(tokens.URL, "127.0.0.1", "localhost", 1), writeFile(t, "cert.pem", signer.pem))
	cmd := exec.Command(kit.tool(t, "registry"), "serve", writeFile(t, "config.yml", text))
	cmd.Env = append(os.Environ(), "OTEL_TRACES_EXPORTER=none")
	p := startProcess(t, "guarded distribution v3", cmd)
	g := &guarded{process: p, address: p.log.wait(t, regexp.MustCompile(`listening on (127\.0\.0\.1:\d+)`))[1]}
	g.auth = writeFile(t, "config.json", fmt.Sprintf(`{"auths": {%q: {"auth": %q}}}`,
		g.address, base64.StdEncoding.EncodeToString([]byte(guardedUser+":"+guardedPassword))))
	return g
}

// A signer is a token service (distribution, "Token Authentication
// Specification").
type signer struct {
	key  *ecdsa.PrivateKey
	cert string // base64 of its DER
	pem  string
}

func newSigner(t *testing.T) *signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "e2e"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return &signer{key: key, cert: base64.StdEncoding.EncodeToString(der),
		pem: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))}
}

// ServeHTTP gives tokens to whoever has the password, for what is asked for.
func (s *signer) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	user, password, _ := req.BasicAuth()
	if user != guardedUser || password != guardedPassword {
		http.Error(w, `{"errors":[{"code":"UNAUTHORIZED"}]}`, http.StatusUnauthorized)
		return
	}
	type access struct {
		Type    string   `json:"type"`
		Name    string   `json:"name"`
		Actions []string `json:"actions"`
	}
	granted := []access{}
	for _, scope := range req.URL.Query()["scope"] {
		for one := range strings.FieldsSeq(scope) {
			parts := strings.SplitN(one, ":", 3)
			if len(parts) == 3 {
				granted = append(granted, access{parts[0], parts[1], strings.Split(parts[2], ",")})
			}
		}
	}
	now := time.Now()
	token, err := s.sign(map[string]any{
		"iss": "e2e", "sub": user, "aud": "guarded", "exp": now.Add(5 * time.Minute).Unix(),
		"nbf": now.Add(-time.Minute).Unix(), "iat": now.Unix(), "jti": fmt.Sprint(now.UnixNano()), "access": granted,
	})
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	json.NewEncoder(w).Encode(map[string]any{"token": token, "expires_in": 300})
}

// sign makes a JSON web token (RFC 7515) that carries its certificate.
func (s *signer) sign(claims any) (string, error) {
	var parts []string
	for _, v := range []any{map[string]any{"typ": "JWT", "alg": "ES256", "x5c": []string{s.cert}}, claims} {
		raw, err := json.Marshal(v)
		if err != nil {
			return "", err
		}
		parts = append(parts, base64.RawURLEncoding.EncodeToString(raw))
	}
	sum := sha256.Sum256([]byte(strings.Join(parts, ".")))
	r, v, err := ecdsa.Sign(rand.Reader, s.key, sum[:])
	if err != nil {
		return "", err
	}
	signature := append(r.FillBytes(make([]byte, 32)), v.FillBytes(make([]byte, 32))...)
	return strings.Join(append(parts, base64.RawURLEncoding.EncodeToString(signature)), "."), nil
}
