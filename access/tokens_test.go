package access

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

func edKey(t testing.TB) (key, ed25519.PrivateKey) {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	k, err := parseKey(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	if err != nil {
		t.Fatal(err)
	}
	return k, private
}

func hmacKey(t testing.TB) key {
	t.Helper()
	k, err := parseKey([]byte(strings.Repeat(canary, 8) + "\n"))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func tokensOf(t testing.TB, k key) *tokens {
	t.Helper()
	all, err := newTokens(k)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestTokens(t *testing.T) {
	ed, _ := edKey(t)
	for _, k := range []key{ed, hmacKey(t)} {
		synctest.Test(t, func(t *testing.T) {
			all := tokensOf(t, k)
			given := Caller{User: "ci", Groups: []string{"g"}, by: byPassword, Limits: []Limit{{ref.Name{Host: "docker.io", Path: "a"}, Pull}, {name("b"), Pull | Push}}}
			raw, _, err := all.make(given)
			if err != nil {
				t.Fatal(err)
			}
			got, err := all.caller(raw)
			if err != nil || got.User != "ci" || got.by != byPassword || !got.Covers(name("b"), Push) || got.Covers(name("a"), Pull) || got.Groups[0] != "g" {
				t.Errorf("got %+v, %v", got, err)
			}
			time.Sleep(tokenLife + skew - time.Second)
			if _, err := all.caller(raw); err != nil {
				t.Errorf("within the skew: %v", err)
			}
			time.Sleep(2 * time.Second)
			if _, err := all.caller(raw); err == nil {
				t.Error("it does not end")
			}
			if got, err = all.caller(mustMake(t, all, Caller{Limits: []Limit{}})); err != nil || !got.Anonymous() || got.Limits == nil || got.Covers(name("a"), Pull) {
				t.Errorf("anonymous: got %+v, %v", got, err)
			}
		})
	}
}

func mustMake(t testing.TB, all *tokens, c Caller) string {
	t.Helper()
	raw, _, err := all.make(c)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// signed is a token of anybody's making.
func signed(t testing.TB, algorithm jose.SignatureAlgorithm, key any, opts *jose.SignerOptions, c any) string {
	t.Helper()
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: algorithm, Key: key}, opts)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := jwt.Signed(s).Claims(c).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func good() claims {
	now := time.Now()
	return claims{Claims: jwt.Claims{Issuer: tokenIssuer, Audience: jwt.Audience{tokenService}, Subject: "ci",
		NotBefore: jwt.NewNumericDate(now), IssuedAt: jwt.NewNumericDate(now), Expiry: jwt.NewNumericDate(now.Add(time.Hour))}}
}

// forged is the corpus of tokens that must not be taken (CVE-2025-24976).
func forged(t testing.TB, k key, private ed25519.PrivateKey) map[string]string {
	t.Helper()
	_, other, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	with := func(change func(*claims)) string {
		c := good()
		change(&c)
		return signed(t, jose.EdDSA, private, nil, c)
	}
	ours := signed(t, jose.EdDSA, private, nil, good())
	parts := strings.Split(ours, ".")
	enc := func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }
	body, err := json.Marshal(good())
	if err != nil {
		t.Fatal(err)
	}
	public := private.Public().(ed25519.PublicKey)
	now := time.Now()
	return map[string]string{
		"other key":          signed(t, jose.EdDSA, other, nil, good()),
		"its own jwk":        signed(t, jose.EdDSA, other, &jose.SignerOptions{EmbedJWK: true}, good()),
		"its own kid":        signed(t, jose.EdDSA, jose.JSONWebKey{Key: other, KeyID: "k"}, nil, good()),
		"its own jku":        signed(t, jose.EdDSA, other, (&jose.SignerOptions{}).WithHeader("jku", "https://evil.example/jwks"), good()),
		"its own x5u":        signed(t, jose.EdDSA, other, (&jose.SignerOptions{}).WithHeader("x5u", "https://evil.example/x5u"), good()),
		"RSA":                signed(t, jose.RS256, rsaKey, nil, good()),
		"public key as HMAC": signed(t, jose.HS256, []byte(public), nil, good()),
		"no algorithm":       enc(`{"alg":"none"}`) + "." + enc(string(body)) + ".",
		"None":               enc(`{"alg":"None"}`) + "." + enc(string(body)) + "." + parts[2],
		"other body":         parts[0] + "." + enc(string(body)+" ") + "." + parts[2],
		"no signature":       parts[0] + "." + parts[1] + ".",
		"crit":               signed(t, jose.EdDSA, private, (&jose.SignerOptions{}).WithHeader("crit", []string{"x"}), good()),
		"two parts":          parts[0] + "." + parts[1],
		"empty":              "",
		"JSON":               `{"payload":"` + parts[1] + `","protected":"` + parts[0] + `","signature":"` + parts[2] + `"}`,
		"ended":              with(func(c *claims) { c.Expiry = jwt.NewNumericDate(now.Add(-2 * time.Minute)) }),
		"no end":             with(func(c *claims) { c.Expiry = nil }),
		"not yet":            with(func(c *claims) { c.NotBefore = jwt.NewNumericDate(now.Add(2 * time.Minute)) }),
		"made later":         with(func(c *claims) { c.IssuedAt = jwt.NewNumericDate(now.Add(2 * time.Minute)) }),
		"other issuer":       with(func(c *claims) { c.Issuer = "other" }),
		"no issuer":          with(func(c *claims) { c.Issuer = "" }),
		"other audience":     with(func(c *claims) { c.Audience = jwt.Audience{"other"} }),
		"no audience":        with(func(c *claims) { c.Audience = nil }),
	}
}

func TestForgedTokens(t *testing.T) {
	k, private := edKey(t)
	d := &Door{tokens: tokensOf(t, k), accounts: &accounts{}}
	if _, err := d.tokens.caller(signed(t, jose.EdDSA, private, nil, good())); err != nil {
		t.Fatalf("the one that is right: %v", err)
	}
	for what, raw := range forged(t, k, private) {
		if c, err := d.bearer(t.Context(), raw); !errors.Is(err, oci.ErrUnauthorized) || !c.Anonymous() {
			t.Errorf("%s: got %+v, %v", what, c, err)
		}
	}
	if _, err := d.bearer(t.Context(), strings.Repeat("x", maxToken+1)); !errors.Is(err, oci.ErrUnauthorized) {
		t.Errorf("too long: %v", err)
	}
	// A token that only an HMAC key could have made does not pass as one.
	h := tokensOf(t, hmacKey(t))
	if _, err := h.caller(signed(t, jose.EdDSA, private, nil, good())); err == nil {
		t.Error("EdDSA where HS256 is said")
	}
}

// FuzzToken holds that nothing but what we signed is taken.
func FuzzToken(f *testing.F) {
	k, private := edKey(f)
	all := tokensOf(f, k)
	for _, raw := range forged(f, k, private) {
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		if c, err := all.caller(raw); err == nil {
			t.Errorf("took %q as %+v", raw, c)
		}
	})
}

func TestParseKey(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(rsaKey)
	if err != nil {
		t.Fatal(err)
	}
	for what, data := range map[string][]byte{
		"empty": nil, "short": []byte(canary + "-too-short\n"), "rest of a line": []byte(strings.Repeat("x", 31) + "\n\n"),
		"RSA": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}),
	} {
		if _, err := parseKey(data); err == nil || strings.Contains(err.Error(), canary) {
			t.Errorf("%s: got %v", what, err)
		}
	}
}

func TestMakeTokenKey(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token.key")
	if err := MakeTokenKey(path); err != nil {
		t.Fatal(err)
	}
	first, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if err := MakeTokenKey(path); err != nil {
		t.Fatal(err)
	}
	if again, err := os.ReadFile(path); err != nil || string(again) != string(first) || CheckTokenKey(path) != nil {
		t.Errorf("it was made again, or cannot be read: %v", err)
	}
	if entries, err := os.ReadDir(filepath.Dir(path)); err != nil || len(entries) != 1 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
	if err := MakeTokenKey(filepath.Join(path, "below")); err == nil {
		t.Error("below a file: no error")
	}
}

func TestParseScope(t *testing.T) {
	for text, want := range map[string]scope{
		"repository:apps/x:pull":            {"apps/x", Pull},
		"repository:apps/x:pull,push":       {"apps/x", Pull | Push},
		"repository:apps/x:*":               {"apps/x", All},
		"repository:reg.corp:5000/x:delete": {"reg.corp:5000/x", Delete},
		"repository:apps/x:pull,fly":        {"apps/x", Pull},
		"registry:catalog:*":                {"", Pull},
	} {
		if got, ok := parseScope(text); !ok || got != want {
			t.Errorf("%q: got %+v, %v", text, got, ok)
		}
	}
	for _, text := range []string{"", "x", ":", "::", "repository::pull", "repository:x", "repository:x:", "repository:x:fly", "registry:other:*", "repository(plugin):x:pull"} {
		if got, ok := parseScope(text); ok {
			t.Errorf("%q: got %+v", text, got)
		}
	}
	if _, err := parseScopes([]string{strings.Repeat("repository:x:pull ", maxScopes+1)}); err == nil {
		t.Error("too many: no error")
	}
}

func FuzzScope(f *testing.F) {
	f.Add("repository:reg.corp:5000/x:pull,push registry:catalog:*")
	f.Add(" ::: repository::")
	f.Fuzz(func(t *testing.T, text string) {
		all, err := parseScopes([]string{text})
		for _, s := range all {
			if err != nil || s.want == None || s.want&^All != 0 || s.name == "" && s.want != Pull {
				t.Errorf("%q: %+v, %v", text, s, err)
			}
		}
	})
}

// newTokenServer returns a server for tokens of which ci may push to apps/** and
// everybody pull from pub/**.
func newTokenServer(t *testing.T) TokenServer {
	t.Helper()
	d, _, _ := newDoor(t)
	d.tokens = tokensOf(t, hmacKey(t))
	policy := Policy{Rules: []Rule{rule(t, Pull|Push, "apps/**", "ci"), rule(t, Pull, "pub/**", "anonymous")}}
	return TokenServer{Door: d, Policy: policy, Resolve: func(s string) (ref.Name, bool) { return name(s), ref.ValidPath(s) }}
}

// ask asks for a token and returns the status and whose it is.
func (s TokenServer) ask(t *testing.T, r *http.Request) (int, Caller, string) {
	t.Helper()
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	var answer struct {
		Token   string `json:"token"`
		Access  string `json:"access_token"`
		Expires int    `json:"expires_in"`
	}
	if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || strings.Contains(w.Body.String(), canary) {
		t.Fatalf("%v: %s", err, w.Body)
	}
	if w.Code != http.StatusOK {
		return w.Code, Caller{}, w.Body.String()
	}
	c, err := s.Door.Caller(request("Bearer " + answer.Token))
	if err != nil || answer.Access != answer.Token || answer.Expires < 60 || w.Header().Get("Cache-Control") != "no-store" {
		t.Errorf("got %+v, %v", answer, err)
	}
	return w.Code, c, ""
}

func TestTokenServer(t *testing.T) {
	s := newTokenServer(t)
	question := func(user, query string) *http.Request {
		r := httptest.NewRequest(http.MethodGet, "/token?service=entrepot&"+query, nil)
		if user != "" {
			r.SetBasicAuth(user, canary+"-"+user)
		}
		return r
	}
	status, c, _ := s.ask(t, question("ci", "scope=repository:apps/x:pull,push,delete&scope=repository:pub/y:pull+repository:Bad:pull&account=root"))
	if status != 200 || c.User != "ci" || len(c.Limits) != 2 || c.Limits[0] != (Limit{name("apps/x"), Pull | Push}) || c.Limits[1] != (Limit{name("pub/y"), Pull}) {
		t.Errorf("got %d %+v", status, c)
	}
	if status, c, _ = s.ask(t, question("", "scope=repository:apps/x:pull&scope=repository:pub/y:pull,push")); status != 200 || !c.Anonymous() || len(c.Limits) != 1 || c.Limits[0] != (Limit{name("pub/y"), Pull}) {
		t.Errorf("anonymous: got %d %+v", status, c)
	}
	if status, c, _ = s.ask(t, question("bob", "")); status != 200 || c.User != "bob" || len(c.Limits) != 0 {
		t.Errorf("no scope: got %d %+v", status, c)
	}
	wrong := question("", "")
	wrong.SetBasicAuth("ci", "wrong")
	if status, _, body := s.ask(t, wrong); status != 401 || !strings.Contains(body, oci.CodeUnauthorized) {
		t.Errorf("wrong password: got %d %s", status, body)
	}
	again := question("", "")
	again.Header.Set("Authorization", "Bearer "+mustMake(t, s.Door.tokens, Caller{User: "ci", by: byPassword}))
	if status, _, _ := s.ask(t, again); status != 401 {
		t.Errorf("a token for a token: got %d", status)
	}
	if status, _, _ := s.ask(t, question("ci", "scope="+strings.Repeat("repository:x:pull+", maxScopes+1))); status != 400 {
		t.Errorf("too many scopes: got %d", status)
	}
	if status, _, _ := s.ask(t, httptest.NewRequest(http.MethodPut, "/token", nil)); status != 405 {
		t.Errorf("PUT: got %d", status)
	}
	s.Policy.Rules = s.Policy.Rules[:1]
	if status, _, _ := s.ask(t, question("", "")); status != 401 {
		t.Errorf("anonymous without any right: got %d", status)
	}
}

func TestTokenByForm(t *testing.T) {
	s := newTokenServer(t)
	post := func(form url.Values) *http.Request {
		r := httptest.NewRequest(http.MethodPost, "/token", strings.NewReader(form.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		return r
	}
	form := url.Values{"grant_type": {"password"}, "username": {"ci"}, "password": {canary + "-ci"}, "scope": {"repository:apps/x:push"}}
	if status, c, _ := s.ask(t, post(form)); status != 200 || c.User != "ci" || !c.Covers(name("apps/x"), Push) {
		t.Errorf("got %d %+v", status, c)
	}
	form.Set("password", "wrong")
	if status, _, _ := s.ask(t, post(form)); status != 401 {
		t.Errorf("wrong password: got %d", status)
	}
	form.Set("grant_type", "refresh_token")
	if status, _, _ := s.ask(t, post(form)); status != 400 {
		t.Errorf("refresh_token: got %d", status)
	}
}

// TestTokenOfAGoneAccount holds that a token ends with its account.
func TestTokenOfAGoneAccount(t *testing.T) {
	d, path, _ := newDoor(t)
	d.tokens = tokensOf(t, hmacKey(t))
	raw := mustMake(t, d.tokens, Caller{User: "ci", by: byPassword, Limits: []Limit{}})
	if _, err := d.bearer(t.Context(), raw); err != nil {
		t.Fatal(err)
	}
	write(t, path, "bob:"+hashOf(t, canary, 4))
	if _, err := d.bearer(t.Context(), raw); !errors.Is(err, oci.ErrUnauthorized) {
		t.Errorf("got %v", err)
	}
}

func TestRealm(t *testing.T) {
	d := &Door{tokens: &tokens{}, hosts: []string{"mirror.corp", "mirror.corp:8443"}}
	for host, want := range map[string]string{
		"127.0.0.1:5000": "http://127.0.0.1:5000/token", "[::1]:5000": "http://[::1]:5000/token", "localhost": "http://localhost/token",
		"mirror.corp": "http://mirror.corp/token", "Mirror.corp:8443": "http://Mirror.corp:8443/token",
		"evil.example": "", "mirror.corp:9": "", "": "", "localhost.evil.example": "", `localhost:1",x="`: "", "10.0.0.1": "", "127.0.0.1.evil.example": "",
	} {
		if got := d.Realm(&http.Request{Host: host}); got != want {
			t.Errorf("%q: got %q, want %q", host, got, want)
		}
	}
	d.url = "https://mirror.corp/x"
	if got := d.Realm(&http.Request{Host: "evil.example"}); got != "https://mirror.corp/x/token" {
		t.Errorf("by external_url: %q", got)
	}
}
