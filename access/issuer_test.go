package access

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/entrepot/entrepot/oci"
	"github.com/go-jose/go-jose/v4"
	"go.uber.org/goleak"
)

func TestIssuer(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	for _, alg := range []jose.SignatureAlgorithm{jose.RS256, jose.PS256, jose.ES256, jose.ES384, jose.EdDSA} {
		private, public := pair(t, alg, "k1")
		p := newProvider(t, public)
		d, _ := foreignDoor(t, p.issuer())
		if len(p.log()) != 0 {
			t.Errorf("it was asked at the start: %v", p.log())
		}
		token := signed(t, alg, private, nil, p.claims(map[string]any{"groups": []string{"builders"}}))
		for what, r := range map[string]*http.Request{"Bearer": bearer(token), "Basic": basic("oidc", token)} {
			c, err := d.Caller(r)
			if err != nil || c.User != "system:serviceaccount:builds:robot" || !c.Foreign || c.Limits != nil ||
				!slices.Equal(c.Groups, []string{"builders", "system:serviceaccounts", "system:serviceaccounts:builds"}) {
				t.Errorf("%s by %s: got %+v, %v", what, alg, c, err)
			}
		}
		if got := p.log(); !slices.Equal(got, []string{discoveryPath, "/openid/v1/jwks"}) {
			t.Errorf("asked for %v", got)
		}
		if c, err := d.Caller(basic("ci", canary+"-ci")); err != nil || c.User != "ci" || c.Foreign {
			t.Errorf("beside it: got %+v, %v", c, err)
		}
		d.Close()
		p.Close()
	}
}

// TestForgedIssuerTokens is the corpus of tokens that must not be taken, with
// keys of their own in each header that can hold or name one (CVE-2025-24976).
func TestForgedIssuerTokens(t *testing.T) {
	private, public := pair(t, jose.RS256, "k1")
	other, otherPublic := pair(t, jose.RS256, "k1")
	p := newProvider(t, public)
	var led atomic.Int64 // requests that a token has led us to
	evil := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		led.Add(1)
		json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{otherPublic}})
	}))
	defer evil.Close()
	d, _ := foreignDoor(t, p.issuer())
	good := signed(t, jose.RS256, private, nil, p.claims(nil))
	if _, err := d.Caller(bearer(good)); err != nil {
		t.Fatalf("the one that is right: %v", err)
	}
	for what, token := range forgedIssuerTokens(t, p, private, other, evil.URL) {
		for how, r := range map[string]*http.Request{"Bearer": bearer(token), "Basic": basic("oidc", token)} {
			if c, err := d.Caller(r); !errors.Is(err, oci.ErrUnauthorized) && code(err) != oci.CodeTooManyRequests || !c.Anonymous() {
				t.Errorf("%s as %s: got %+v, %v", what, how, c, err)
			} else if strings.Contains(err.Error(), canary) {
				t.Errorf("%s: the error has a secret: %v", what, err)
			}
		}
	}
	if n := led.Load(); n != 0 {
		t.Errorf("tokens have led to %d requests", n)
	}
}

func forgedIssuerTokens(t testing.TB, p *provider, private, other jose.JSONWebKey, evil string) map[string]string {
	t.Helper()
	sign := func(key any, opts *jose.SignerOptions, changes map[string]any) string {
		return signed(t, jose.RS256, key, opts, p.claims(changes))
	}
	with := func(changes map[string]any) string { return sign(private, nil, changes) }
	enc := base64.RawURLEncoding.EncodeToString
	body, err := json.Marshal(p.claims(nil))
	if err != nil {
		t.Fatal(err)
	}
	der, err := json.Marshal(private.Public())
	if err != nil {
		t.Fatal(err)
	}
	good := strings.Split(with(nil), ".")
	now := time.Now()
	return map[string]string{
		"other key":           sign(other, nil, nil),
		"its own jwk":         sign(other.Key, &jose.SignerOptions{EmbedJWK: true}, nil),
		"its own jwk and kid": sign(other, &jose.SignerOptions{EmbedJWK: true}, nil),
		"its own jku":         sign(other, (&jose.SignerOptions{}).WithHeader("jku", evil+"/jwks"), nil),
		"its own x5u":         sign(other, (&jose.SignerOptions{}).WithHeader("x5u", evil+"/x5u"), nil),
		"unknown kid":         sign(jose.JSONWebKey{Key: private.Key, KeyID: "k2"}, nil, nil),
		"public key as HMAC":  signed(t, jose.HS256, jose.JSONWebKey{Key: der, KeyID: "k1"}, nil, p.claims(nil)),
		"none":                enc([]byte(`{"alg":"none","kid":"k1"}`)) + "." + enc(body) + ".",
		"nOnE":                enc([]byte(`{"alg":"nOnE","kid":"k1"}`)) + "." + enc(body) + "." + good[2],
		"algorithm of no key": signed(t, jose.PS256, private, nil, p.claims(nil)),
		"other body":          good[0] + "." + enc(append(body, ' ')) + "." + good[2],
		"no signature":        good[0] + "." + good[1] + ".",
		"JSON":                `{"payload":"` + good[1] + `","protected":"` + good[0] + `","signature":"` + good[2] + `"}`,
		"crit":                sign(private, (&jose.SignerOptions{}).WithHeader("crit", []string{"x"}), nil),
		"logout token":        sign(private, (&jose.SignerOptions{}).WithType("logout+jwt"), nil),
		"ended":               with(map[string]any{"exp": now.Add(-2 * time.Minute).Unix()}),
		"no end":              with(map[string]any{"exp": nil}),
		"not yet":             with(map[string]any{"nbf": now.Add(2 * time.Minute).Unix()}),
		"made later":          with(map[string]any{"iat": now.Add(2 * time.Minute).Unix()}),
		"other audience":      with(map[string]any{"aud": "other"}),
		"no audience":         with(map[string]any{"aud": nil}),
		"other issuer":        with(map[string]any{"iss": "https://other.example"}),
		"issuer with a slash": with(map[string]any{"iss": p.URL + "/"}),
		"no issuer":           with(map[string]any{"iss": nil}),
		"nobody":              with(map[string]any{"sub": nil}),
		"a number":            with(map[string]any{"sub": 1}),
		"called anonymous":    with(map[string]any{"sub": AnonymousName}),
		"an account of ours":  with(map[string]any{"sub": "ci"}),
		"a long name":         with(map[string]any{"sub": strings.Repeat("x", maxUser+1)}),
		"control characters":  with(map[string]any{"sub": "a\nb"}),
		"groups of numbers":   with(map[string]any{"groups": []any{"a", 1}}),
		"groups in an object": with(map[string]any{"groups": map[string]any{"a": 1}}),
		"too long":            with(map[string]any{"x": strings.Repeat("x", maxToken)}),
	}
}

// TestGroupsAreOfTheToken holds that groups are those that a token says, and
// gone with the next one (CVE-2025-23208).
func TestGroupsAreOfTheToken(t *testing.T) {
	private, public := pair(t, jose.ES256, "")
	p := newProvider(t, public)
	d, _ := foreignDoor(t, p.issuer())
	policy := Policy{Rules: []Rule{rule(t, All, "apps/**", "group:builders")}}
	for i, groups := range []any{[]string{"builders", "staff"}, []string{"staff"}, nil, "builders", []string{}} {
		c, err := d.Caller(bearer(signed(t, jose.ES256, private, nil, p.claims(map[string]any{"sub": "alice", "groups": groups}))))
		if want := i == 0 || i == 3; err != nil || policy.Allows(c, name("apps/x"), Push) != want {
			t.Errorf("%v: got %+v, %v", groups, c, err)
		}
	}
}

func TestClaims(t *testing.T) {
	for _, c := range []struct {
		what   string
		issuer Issuer
		claims map[string]any
		user   string // "" where the token is not taken
		groups []string
	}{
		{"service account", Issuer{}, map[string]any{"sub": "system:serviceaccount:a:b"}, "system:serviceaccount:a:b", []string{"system:serviceaccounts", "system:serviceaccounts:a"}},
		{"prefix", Issuer{Prefix: "x:"}, map[string]any{"sub": "system:serviceaccount:a:b", "groups": "g"}, "x:system:serviceaccount:a:b", []string{"x:g", "x:system:serviceaccounts", "x:system:serviceaccounts:a"}},
		{"half a service account", Issuer{}, map[string]any{"sub": "system:serviceaccount:a"}, "system:serviceaccount:a", nil},
		{"service account by a name that its owner chooses", Issuer{UserClaim: "nick"}, map[string]any{"nick": "system:serviceaccount:a:b"}, "system:serviceaccount:a:b", nil},
		{"email", Issuer{UserClaim: "email"}, map[string]any{"sub": "1", "email": "a@b.example"}, "a@b.example", nil},
		{"email, verified", Issuer{UserClaim: "email"}, map[string]any{"email": "a@b.example", "email_verified": true}, "a@b.example", nil},
		{"email, not verified", Issuer{UserClaim: "email"}, map[string]any{"email": "a@b.example", "email_verified": false}, "", nil},
		{"email, verified in words", Issuer{UserClaim: "email"}, map[string]any{"email": "a@b.example", "email_verified": "true"}, "", nil},
		{"roles", Issuer{GroupsClaim: "roles"}, map[string]any{"sub": "a", "groups": []any{"no"}, "roles": []any{"yes"}}, "a", []string{"yes"}},
	} {
		got, err := (&issuer{Issuer: c.issuer}).named(c.claims)
		if got.User != c.user || !slices.Equal(got.Groups, c.groups) || (err != nil) != (c.user == "") {
			t.Errorf("%s: got %+v, %v", c.what, got, err)
		}
	}
}

// TestExchange goes through /token with an issuer's token: as a bearer's, as a
// password, and by the form.
func TestExchange(t *testing.T) {
	private, public := pair(t, jose.ES256, "k")
	p := newProvider(t, public)
	d, _ := foreignDoor(t, p.issuer())
	s := TokenServer{Door: d, Policy: Policy{Rules: []Rule{rule(t, Pull|Push, "apps/**", "group:system:serviceaccounts:builds")}}, Resolve: newTokenServer(t).Resolve}
	token := signed(t, jose.ES256, private, nil, p.claims(nil))
	short := signed(t, jose.ES256, private, nil, p.claims(map[string]any{"exp": time.Now().Add(90 * time.Second).Unix()}))
	get := func(authorization *http.Request) *http.Request {
		r := httptest.NewRequest(http.MethodGet, "/token?service=entrepot&scope=repository:apps/x:pull,push", nil)
		r.Header = authorization.Header
		return r
	}
	form := url.Values{"grant_type": {"password"}, "username": {"oidc"}, "password": {token}, "scope": {"repository:apps/x:push"}}
	post := httptest.NewRequest(http.MethodPost, "/token", strings.NewReader(form.Encode()))
	post.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	for what, r := range map[string]*http.Request{"Bearer": get(bearer(token)), "Basic": get(basic("oidc", token)), "form": post, "short": get(bearer(short))} {
		status, c, body := s.ask(t, r)
		if status != 200 || c.User != "system:serviceaccount:builds:robot" || !c.Foreign || !s.Policy.Allows(c, name("apps/x"), Push) {
			t.Errorf("%s: got %d %+v %s", what, status, c, body)
		}
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, get(bearer(short)))
	var answer struct {
		Token   string
		Expires int `json:"expires_in"`
	}
	if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || answer.Expires > 90 || answer.Expires < 60 {
		t.Errorf("a token outlives the one that it was made for: %d s, %v", answer.Expires, err)
	}
	// It ends with its issuer.
	d.issuers = nil
	if c, err := d.Caller(bearer(answer.Token)); !errors.Is(err, oci.ErrUnauthorized) {
		t.Errorf("without the issuer: got %+v, %v", c, err)
	}
}

// TestIssuerDown holds that an issuer that is away shuts nobody out but those
// whose tokens it would take to look at.
func TestIssuerDown(t *testing.T) {
	private, public := pair(t, jose.ES256, "k")
	p := newProvider(t, public)
	d, log := foreignDoor(t, p.issuer())
	p.set(http.StatusInternalServerError, public)
	token := signed(t, jose.ES256, private, nil, p.claims(nil))
	for range 3 {
		_, err := d.Caller(bearer(token))
		if e, ok := errors.AsType[*oci.Error](err); !ok || e.Kind != oci.ErrUnavailable || e.RetryAfter <= 0 || e.RetryAfter > failedFor {
			t.Errorf("got %v", err)
		}
	}
	if n := len(p.log()); n != 1 {
		t.Errorf("it was asked %d times", n)
	}
	if !strings.Contains(log.String(), "500 Internal Server Error") || strings.Contains(log.String(), token) {
		t.Errorf("the log says %s", log)
	}
	for what, r := range map[string]*http.Request{"account": basic("ci", canary+"-ci"), "nobody": request("")} {
		if _, err := d.Caller(r); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	w := httptest.NewRecorder()
	r := bearer(token)
	r.URL.Path = TokenPath
	TokenServer{Door: d}.ServeHTTP(w, r)
	if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" {
		t.Errorf("/token: got %d %s", w.Code, w.Body)
	}
}

// TestTokenOfKnownKeyNeedsNoIssuer holds that what can be looked at without the
// issuer is.
func TestTokenOfKnownKeyNeedsNoIssuer(t *testing.T) {
	private, public := pair(t, jose.ES256, "k")
	p := newProvider(t, public)
	d, _ := foreignDoor(t, p.issuer())
	for i := range 3 {
		if _, err := d.Caller(bearer(signed(t, jose.ES256, private, nil, p.claims(map[string]any{"jti": fmt.Sprint(i)})))); err != nil {
			t.Errorf("token %d: %v", i, err)
		}
		p.Close()
	}
}

// TestIssuersToken holds who is shown the token that an issuer wants: it, and
// its keys' server where the configuration or its authority says so.
func TestIssuersToken(t *testing.T) {
	private, public := pair(t, jose.ES256, "k")
	file := filepath.Join(t.TempDir(), "token")
	write(t, file, canary+"-token\n")
	const shown = " Bearer " + canary + "-token"
	for what, c := range map[string]struct {
		change func(own, other *provider, i *Issuer)
		own    []string
		other  []string
	}{
		"discovery": {func(*provider, *provider, *Issuer) {}, []string{discoveryPath + shown, "/openid/v1/jwks" + shown}, nil},
		"keys by the configuration": {func(_, other *provider, i *Issuer) { i.Keys = other.URL + "/openid/v1/jwks" }, nil,
			[]string{"/openid/v1/jwks" + shown}},
		"keys elsewhere, by an authority that vouches for it": {func(own, other *provider, _ *Issuer) { own.doc["jwks_uri"] = other.URL + "/openid/v1/jwks" },
			[]string{discoveryPath + shown}, []string{"/openid/v1/jwks" + shown}},
	} {
		own, other := newProvider(t, public), newProvider(t, public)
		i := own.issuer()
		i.TokenFile = file
		c.change(own, other, &i)
		d, log := foreignDoor(t, i)
		if _, err := d.Caller(bearer(signed(t, jose.ES256, private, nil, own.claims(nil)))); err != nil {
			t.Errorf("%s: %v\n%s", what, err, log)
		}
		if !slices.Equal(own.log(), c.own) || !slices.Equal(other.log(), c.other) {
			t.Errorf("%s: asked %v and %v", what, own.log(), other.log())
		}
	}
	public1, err := url.Parse("https://elsewhere.example/keys")
	if err != nil {
		t.Fatal(err)
	}
	if (Issuer{URL: "https://issuer.example"}).tells(public1) {
		t.Error("any server that discovery names is shown it")
	}
}

// TestIssuerAnswers holds what is not taken for keys.
func TestIssuerAnswers(t *testing.T) {
	private, public := pair(t, jose.ES256, "k")
	for what, c := range map[string]struct {
		change func(p *provider)
		want   string
	}{
		"another issuer":     {func(p *provider) { p.doc["issuer"] = "https://other.example" }, "the discovery document is about"},
		"keys by plain HTTP": {func(p *provider) { p.doc["jwks_uri"] = "http://issuer.example/keys" }, "does not start with https://"},
		"no keys":            {func(p *provider) { delete(p.doc, "jwks_uri") }, "jwks_uri"},
		"an empty set":       {func(p *provider) { p.keys.Keys = []jose.JSONWebKey{} }, "no key"},
		"symmetric keys":     {func(p *provider) { p.keys.Keys = []jose.JSONWebKey{{Key: []byte(canary), KeyID: "k"}} }, "no key"},
		"private keys":       {func(p *provider) { p.keys.Keys = []jose.JSONWebKey{private} }, "no key"},
		"for encryption":     {func(p *provider) { p.keys.Keys[0].Use = "enc" }, "no key"},
		"too much":           {func(p *provider) { p.doc["x"] = strings.Repeat("x", maxDocument) }, "more than"},
		"a redirect": {func(p *provider) {
			p.Config.Handler = http.RedirectHandler("https://elsewhere.example/", http.StatusFound)
		}, "redirects"},
		"no JSON": {func(p *provider) {
			p.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>") })
		}, "no JSON"},
	} {
		p := newProvider(t, public)
		c.change(p)
		d, log := foreignDoor(t, p.issuer())
		_, err := d.Caller(bearer(signed(t, jose.ES256, private, nil, p.claims(nil))))
		if !errors.Is(err, oci.ErrUnavailable) || !strings.Contains(log.String(), c.want) {
			t.Errorf("%s: got %v\n%s", what, err, log)
		}
	}
	p := newProvider(t, public)
	i := p.issuer()
	i.CA = "" // the system's authorities have not made its certificate
	d, log := foreignDoor(t, i)
	if _, err := d.Caller(bearer(signed(t, jose.ES256, private, nil, p.claims(nil)))); !errors.Is(err, oci.ErrUnavailable) || !strings.Contains(log.String(), "certificate") || len(p.log()) != 0 {
		t.Errorf("a certificate of nobody: got %v\n%s", err, log)
	}
}

func TestIssuerConfig(t *testing.T) {
	for what, i := range map[string]Issuer{
		"no URL":        {Audience: "a"},
		"no audience":   {URL: "https://i.example"},
		"plain HTTP":    {URL: "http://i.example", Audience: "a"},
		"query":         {URL: "https://i.example?x", Audience: "a"},
		"credentials":   {URL: "https://u:" + canary + "@i.example", Audience: "a"},
		"no host":       {URL: "https:///x", Audience: "a"},
		"keys by HTTP":  {URL: "https://i.example", Audience: "a", Keys: "http://i.example/keys"},
		"no CA":         {URL: "https://i.example", Audience: "a", CA: "/does/not/exist"},
		"no token file": {URL: "https://i.example", Audience: "a", TokenFile: "/does/not/exist"},
	} {
		if _, err := NewDoor(DoorConfig{Issuers: []Issuer{i}}); err == nil || strings.Contains(err.Error(), canary) && what != "credentials" {
			t.Errorf("%s: got %v", what, err)
		}
	}
	if _, err := NewDoor(DoorConfig{Issuers: []Issuer{{URL: "http://127.0.0.1:9", Audience: "a"}, {URL: "https://i.example/realms/x/", Audience: "a"}}}); err != nil {
		t.Error(err)
	}
}

// FuzzIssuerToken holds that whatever an unauthenticated caller sends is taken
// for what it is: nobody's, unless the issuer has signed just that.
func FuzzIssuerToken(f *testing.F) {
	private, public := pair(f, jose.RS256, "k1")
	other, _ := pair(f, jose.RS256, "k1")
	p := newProvider(f, public)
	d, _ := foreignDoor(f, p.issuer())
	good := signed(f, jose.RS256, private, nil, p.claims(map[string]any{"exp": time.Now().Add(24 * time.Hour).Unix()}))
	f.Add(good)
	for _, token := range forgedIssuerTokens(f, p, private, other, "https://evil.example") {
		f.Add(token)
	}
	_, payload, _ := strings.Cut(good, ".")
	f.Add("e30." + payload)
	f.Fuzz(func(t *testing.T, token string) {
		c, err := d.Caller(bearer(token))
		if err == nil && strings.TrimSpace(token) != good {
			t.Errorf("%q is taken for %+v", token, c)
		}
		if e, ok := errors.AsType[*oci.Error](err); err != nil && (!ok || e.Kind != oci.ErrUnauthorized && e.Kind != oci.ErrUnavailable) {
			t.Errorf("%q: %v", token, err)
		}
	})
}

// FuzzKeySet holds that only public keys that can check a signature come out of
// a key set.
func FuzzKeySet(f *testing.F) {
	var keys []jose.JSONWebKey
	for _, alg := range []jose.SignatureAlgorithm{jose.RS256, jose.ES256, jose.EdDSA} {
		private, public := pair(f, alg, "k")
		keys = append(keys, private, public, jose.JSONWebKey{Key: []byte("secret"), KeyID: "k"})
	}
	raw, err := json.Marshal(jose.JSONWebKeySet{Keys: keys})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Add([]byte(`{"keys":[{"kty":"RSA","n":"AQAB","e":"AQAB"},{"kty":"XYZ"},1]}`))
	f.Add([]byte(`{"issuer":"https://i.example","jwks_uri":"https://i.example/keys"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		set, err := parseKeySet(data)
		if (err == nil) != (len(set) > 0) {
			t.Errorf("%d keys, %v", len(set), err)
		}
		for _, k := range set {
			if !k.IsPublic() {
				t.Errorf("took %T", k.Key)
			}
		}
		if at, err := parseDiscovery(data, "https://i.example"); err == nil && checkIssuerURL(at) != nil {
			t.Errorf("keys at %q", at)
		}
	})
}

// TestTwoIssuersOfOneName holds that a token is checked for the audience of each
// table of its issuer.
func TestTwoIssuersOfOneName(t *testing.T) {
	private, public := pair(t, jose.ES256, "k")
	p := newProvider(t, public)
	first, second := p.issuer(), p.issuer()
	first.Audience, second.Prefix = "elsewhere", "second:"
	d, _ := foreignDoor(t, first, second)
	c, err := d.Caller(bearer(signed(t, jose.ES256, private, nil, p.claims(map[string]any{"sub": "alice"}))))
	if err != nil || c.User != "second:alice" {
		t.Errorf("got %+v, %v", c, err)
	}
}
