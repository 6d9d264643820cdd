package access

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"encoding/pem"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// A provider is an issuer of tokens, over TLS.
type provider struct {
	*httptest.Server
	ca string // file

	mu     sync.Mutex // guards what follows
	keys   jose.JSONWebKeySet
	status int // of its answers
	doc    map[string]any
	asked  []string // paths, each with the Authorization that came
}

func newProvider(t testing.TB, keys ...jose.JSONWebKey) *provider {
	t.Helper()
	p := &provider{keys: jose.JSONWebKeySet{Keys: keys}, status: http.StatusOK}
	p.Server = httptest.NewTLSServer(http.HandlerFunc(p.answer))
	t.Cleanup(p.Close)
	p.doc = map[string]any{"issuer": p.URL, "jwks_uri": p.URL + "/openid/v1/jwks"}
	p.ca = filepath.Join(t.TempDir(), "ca.pem")
	write(t, p.ca, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.Certificate().Raw})))
	return p
}

func (p *provider) answer(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked = append(p.asked, strings.TrimSpace(r.URL.Path+" "+r.Header.Get("Authorization")))
	var answer any = p.doc
	if r.URL.Path == "/openid/v1/jwks" {
		answer = p.keys
	}
	w.WriteHeader(p.status)
	json.NewEncoder(w).Encode(answer)
}

func (p *provider) set(status int, keys ...jose.JSONWebKey) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.status, p.keys.Keys = status, keys
}

func (p *provider) log() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.asked)
}

func (p *provider) issuer() Issuer { return Issuer{URL: p.URL, Audience: "mirror.corp", CA: p.ca} }

// claims are those of a good token, with changes; nil takes one out.
func (p *provider) claims(changes map[string]any) map[string]any {
	now := time.Now()
	all := map[string]any{"iss": p.URL, "aud": []string{"other", "mirror.corp"}, "sub": "system:serviceaccount:builds:robot",
		"iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(time.Hour).Unix()}
	for k, v := range changes {
		if all[k] = v; v == nil {
			delete(all, k)
		}
	}
	return all
}

// pair makes a key, for signing and for a key set.
func pair(t testing.TB, alg jose.SignatureAlgorithm, kid string) (private, public jose.JSONWebKey) {
	t.Helper()
	var key any
	var err error
	switch alg {
	case jose.ES256:
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case jose.ES384:
		key, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case jose.EdDSA:
		_, key, err = ed25519.GenerateKey(rand.Reader)
	default:
		key, err = rsa.GenerateKey(rand.Reader, 2048)
	}
	if err != nil {
		t.Fatal(err)
	}
	private = jose.JSONWebKey{Key: key, KeyID: kid}
	public = private.Public()
	public.Algorithm, public.Use = string(alg), "sig"
	return private, public
}

// foreignDoor returns a door with the account ci that takes an issuer's tokens.
func foreignDoor(t testing.TB, issuers ...Issuer) (*Door, *bytes.Buffer) {
	t.Helper()
	d, _, log := newDoor(t)
	issued, err := NewDoor(DoorConfig{Htpasswd: d.accounts.path, Issuers: issuers, Log: slog.New(slog.NewTextHandler(log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(issued.Close)
	issued.tokens = tokensOf(t, hmacKey(t))
	return issued, log
}

func bearer(token string) *http.Request { return request("Bearer " + token) }
