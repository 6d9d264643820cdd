package cli

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The account ci, whose password is secretPassword, at bcrypt's lowest cost.
const (
	secretPassword = "c4n4ry-pass"
	secretHash     = "$2a$04$82LCi6AJNlO0TZxKyJqwS.AC2iOQ2Ch.9j2erFwrdQr2dhWqboU0O"
)

// as asks for something with an Authorization header.
func (r *running) as(authorization, method, url string) (int, string, string) {
	r.t.Helper()
	req, err := http.NewRequest(method, url, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	if user, password, ok := strings.Cut(authorization, ":"); ok {
		req.SetBasicAuth(user, password)
	} else if authorization != "" {
		req.Header.Set("Authorization", authorization)
	}
	resp, err := r.client.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return resp.StatusCode, resp.Header.Get("Www-Authenticate"), string(body)
}

// TestServeAccounts goes through logging in, as clients do: a challenge, a
// token, a push; and holds that nothing secret is logged, counted or answered
// (CVE-2025-48374).
func TestServeAccounts(t *testing.T) {
	dir := t.TempDir()
	accounts := filepath.Join(dir, "htpasswd")
	if err := os.WriteFile(accounts, []byte("ci:"+secretHash+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := start(t, fmt.Sprintf("[auth]\nhtpasswd = %q\nanonymous = 'none'\n[[access]]\nwho = ['ci']\nrepositories = ['apps/**']\nallow = ['pull', 'push']", accounts), "--log-level", "debug")
	status, challenge, _ := r.as("", "GET", r.url+"/v2/")
	if want := fmt.Sprintf(`Bearer realm="%s/token",service="entrepot"`, r.url); status != 401 || challenge != want {
		t.Fatalf("got %d %q, want %q", status, challenge, want)
	}
	status, challenge, _ = r.as("ci:wrong-"+secretPassword, "GET", r.url+"/v2/")
	if status != 401 || !strings.Contains(challenge, "invalid_token") {
		t.Errorf("wrong password: got %d %q", status, challenge)
	}
	_, _, body := r.as("ci:"+secretPassword, "GET", r.url+"/token?service=entrepot&scope=repository:apps/x:pull,push")
	var answer struct{ Token string }
	if err := json.Unmarshal([]byte(body), &answer); err != nil || answer.Token == "" {
		t.Fatalf("%v: %s", err, body)
	}
	for _, c := range []struct {
		as, method, path string
		want             int
		challenge        string
	}{
		{"ci:" + secretPassword, "GET", "/v2/", 200, ""},
		{"ci:" + secretPassword, "POST", "/v2/apps/y/blobs/uploads/", 202, ""},
		{"ci:" + secretPassword, "POST", "/v2/other/blobs/uploads/", 403, ""},
		{"Bearer " + answer.Token, "GET", "/v2/", 200, ""},
		{"Bearer " + answer.Token, "POST", "/v2/apps/x/blobs/uploads/", 202, ""},
		{"Bearer " + answer.Token, "POST", "/v2/apps/y/blobs/uploads/", 401, `scope="repository:apps/y:pull,push",error="insufficient_scope"`},
		{"Bearer " + answer.Token, "POST", "/v2/other/blobs/uploads/", 403, ""},
		{"Bearer " + answer.Token, "GET", "/v2/_catalog", 401, `scope="registry:catalog:*"`},
		{"Bearer " + answer.Token + "x", "GET", "/v2/", 401, `error="invalid_token"`},
		{"Bearer " + answer.Token, "GET", "/token", 401, "Basic"},
	} {
		if status, challenge, body := r.as(c.as, c.method, r.url+c.path); status != c.want || !strings.Contains(challenge, c.challenge) || strings.Contains(body, secretPassword) {
			t.Errorf("%s %s: got %d %q, want %d %q: %s", c.method, c.path, status, challenge, c.want, c.challenge, body)
		}
	}
	_, _, metrics := r.get(r.admin + "/metrics")
	_, _, page := r.get(r.admin + "/")
	for what, text := range map[string]string{"log": r.out.String(), "metrics": string(metrics), "page": string(page)} {
		for _, canary := range []string{secretPassword, secretHash, answer.Token, strings.Split(answer.Token, ".")[2]} {
			if strings.Contains(text, canary) {
				t.Errorf("a secret is in the %s", what)
			}
		}
	}
}

// TestServeClientCertificates holds that the certificate says who calls, and
// that one of somebody else's is not taken at all.
func TestServeClientCertificates(t *testing.T) {
	dir, other := t.TempDir(), t.TempDir()
	pool := writeCertificate(t, dir)
	writeCertificate(t, other)
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	r := start(t, fmt.Sprintf("[server]\ntls_cert = %q\ntls_key = %q\nclient_ca = %q\n[auth]\nanonymous = 'pull'", cert, key, cert))
	for _, c := range []struct {
		dir  string
		want int // 0: no connection
	}{{"", 401}, {dir, 202}, {other, 0}} {
		cfg := &tls.Config{RootCAs: pool}
		if c.dir != "" {
			pair, err := tls.LoadX509KeyPair(filepath.Join(c.dir, "cert.pem"), filepath.Join(c.dir, "key.pem"))
			if err != nil {
				t.Fatal(err)
			}
			cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
		}
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: cfg, DisableKeepAlives: true}}
		resp, err := client.Post(r.url+"/v2/apps/x/blobs/uploads/", "", nil)
		if err != nil {
			if c.want != 0 {
				t.Errorf("%s: %v", c.dir, err)
			}
			continue
		}
		resp.Body.Close()
		if resp.StatusCode != c.want {
			t.Errorf("%q: got %d, want %d", c.dir, resp.StatusCode, c.want)
		}
	}
}
