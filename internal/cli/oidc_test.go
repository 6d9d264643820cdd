package cli

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// An issuer of tokens on this machine, with one key.
type issuer struct {
	*httptest.Server
	key *ecdsa.PrivateKey
}

func startIssuer(t *testing.T) *issuer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	i := &issuer{key: key}
	point, err := key.PublicKey.Bytes() // 4, X, Y
	if err != nil {
		t.Fatal(err)
	}
	enc := base64.RawURLEncoding.EncodeToString
	i.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var answer any = map[string]string{"issuer": i.URL, "jwks_uri": i.URL + "/keys"}
		if r.URL.Path == "/keys" {
			answer = map[string]any{"keys": []any{map[string]string{"kty": "EC", "crv": "P-256", "kid": "k1", "alg": "ES256", "use": "sig", "x": enc(point[1:33]), "y": enc(point[33:])}}}
		}
		json.NewEncoder(w).Encode(answer)
	}))
	t.Cleanup(i.Close)
	return i
}

// token makes one for a user and his groups.
func (i *issuer) token(t *testing.T, user string, groups ...string) string {
	t.Helper()
	claims, err := json.Marshal(map[string]any{"iss": i.URL, "aud": "mirror.corp", "sub": user, "groups": groups, "exp": time.Now().Add(time.Hour).Unix()})
	if err != nil {
		t.Fatal(err)
	}
	enc := base64.RawURLEncoding.EncodeToString
	text := enc([]byte(`{"alg":"ES256","kid":"k1","typ":"JWT"}`)) + "." + enc(claims)
	sum := sha256.Sum256([]byte(text))
	r, s, err := ecdsa.Sign(rand.Reader, i.key, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	var sig [64]byte
	r.FillBytes(sig[:32])
	s.FillBytes(sig[32:])
	return text + "." + enc(sig[:])
}

// TestServeOIDC goes through logging in with tokens of an issuer: with each
// request, as a password, and by /token; and holds that none of them is told.
func TestServeOIDC(t *testing.T) {
	i := startIssuer(t)
	r := start(t, fmt.Sprintf(`[auth]
anonymous = 'none'
[[auth.oidc]]
issuer = %q
audience = 'mirror.corp'
[[access]]
who = ['group:builders', 'group:system:serviceaccounts:builds']
repositories = ['apps/**']
allow = ['pull', 'push']`, i.URL), "--log-level", "debug")
	robot, builder, alice := i.token(t, "system:serviceaccount:builds:robot"), i.token(t, "bob", "builders"), i.token(t, "alice", "staff")
	var answer struct{ Token string }
	_, _, body := r.as("Bearer "+robot, "GET", r.url+"/token?service=entrepot&scope=repository:apps/x:pull,push")
	if err := json.Unmarshal([]byte(body), &answer); err != nil || answer.Token == "" {
		t.Fatalf("%v: %s", err, body)
	}
	for _, c := range []struct {
		as, method, path string
		want             int
	}{
		{"", "GET", "/v2/", 401},
		{"Bearer " + robot, "GET", "/v2/", 200},
		{"Bearer " + robot, "POST", "/v2/apps/x/blobs/uploads/", 202},
		{"oidc:" + robot, "POST", "/v2/apps/x/blobs/uploads/", 202},
		{"oidc:" + builder, "POST", "/v2/apps/x/blobs/uploads/", 202},
		{"Bearer " + answer.Token, "POST", "/v2/apps/x/blobs/uploads/", 202},
		{"Bearer " + alice, "GET", "/v2/", 200},
		{"Bearer " + alice, "POST", "/v2/apps/x/blobs/uploads/", 403},
		{"Bearer " + alice + "x", "GET", "/v2/", 401},
		{"oidc:" + alice + "x", "GET", "/v2/", 401},
	} {
		if status, challenge, body := r.as(c.as, c.method, r.url+c.path); status != c.want || (challenge != "") != (status == 401) {
			t.Errorf("%s %s: got %d %q, want %d: %s", c.method, c.path, status, challenge, c.want, body)
		}
	}
	_, _, metrics := r.get(r.admin + "/metrics")
	for _, token := range []string{robot, builder, alice, answer.Token} {
		for _, part := range []string{token, strings.Split(token, ".")[2]} {
			if strings.Contains(r.out.String(), part) || strings.Contains(string(metrics), part) {
				t.Error("a token is in the log, or in the metrics")
			}
		}
	}
}

// TestServeWithoutIssuer holds that a server starts and serves without the
// issuers that it has.
func TestServeWithoutIssuer(t *testing.T) {
	i := startIssuer(t)
	token := i.token(t, "alice")
	i.Close()
	r := start(t, fmt.Sprintf("[auth]\nanonymous = 'pull'\n[[auth.oidc]]\nissuer = %q\naudience = 'mirror.corp'", i.URL))
	if status, _, _ := r.as("", "GET", r.url+"/v2/"); status != 200 {
		t.Errorf("without credentials: got %d", status)
	}
	if status, challenge, body := r.as("Bearer "+token, "GET", r.url+"/v2/"); status != 503 || challenge != "" || !strings.Contains(body, "issuer cannot be reached") {
		t.Errorf("with a token: got %d %q %s", status, challenge, body)
	}
}
