package regtest

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/entrepot/entrepot/oci"
)

// Auth says who may ask. The zero value lets everybody.
type Auth struct {
	Scheme   string        // "Bearer" or "Basic"; "" for none
	Username string        // with Bearer "" gives tokens to everybody
	Password string        // goes with Username
	Refresh  string        // an identity token that the token endpoint takes too; "" for none
	Realm    string        // what the challenge says; "" means the token endpoint of this registry, any other URL is a trap (F2)
	Aside    bool          // the token endpoint is that of the second server, on another port
	Service  string        // "" means "regtest"
	Life     time.Duration // of a token; 0 means for ever, and that nothing is said about it
}

// A token is what was granted.
type token struct {
	scopes  []string  // as they were asked for
	expires time.Time // zero: never
}

// SetAuth says who may ask from now on. Tokens that were granted stay good.
func (r *Registry) SetAuth(a Auth) {
	if a.Service == "" {
		a.Service = "regtest"
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.auth = a
}

// RevokeTokens makes every token that was granted worthless, as if it had
// expired in the middle of things (row 12; oc-mirror#526).
func (r *Registry) RevokeTokens() {
	r.mu.Lock()
	defer r.mu.Unlock()
	clear(r.tokens)
}

// TokenURL returns the token endpoint.
func (r *Registry) TokenURL() string {
	r.mu.Lock()
	aside := r.auth.Aside
	r.mu.Unlock()
	if aside {
		return r.side.url() + "/token"
	}
	return r.main.url() + "/token"
}

// admit reports whether a request may go on, and otherwise what it is told.
func (r *Registry) admit(req *http.Request, e Entry) (answer, bool) {
	r.mu.Lock()
	auth := r.auth
	r.mu.Unlock()
	scope := needed(e)
	switch {
	case auth.Scheme == "" || e.Kind == Token:
		return answer{}, true
	case auth.Scheme == "Basic":
		user, pass, ok := req.BasicAuth()
		if ok && user == auth.Username && pass == auth.Password {
			return answer{}, true
		}
	case r.granted(req, scope):
		return answer{}, true
	}
	a := problem(http.StatusUnauthorized, oci.CodeUnauthorized, "authentication required")
	a.header.Set("WWW-Authenticate", r.challenge(auth, scope, req.Header.Get("Authorization") != ""))
	return a, false
}

func (r *Registry) challenge(auth Auth, scope string, again bool) string {
	if auth.Scheme == "Basic" {
		return `Basic realm="regtest"`
	}
	realm := auth.Realm
	if realm == "" {
		realm = r.TokenURL()
	}
	c := fmt.Sprintf("Bearer realm=%q,service=%q", realm, auth.Service)
	if scope != "" {
		c += fmt.Sprintf(",scope=%q", scope)
	}
	if again {
		c += `,error="invalid_token"`
	}
	return c
}

// needed returns the scope that a request needs, "" for any token.
func needed(e Entry) string {
	switch {
	case e.Kind == Catalog:
		return "registry:catalog:*"
	case e.Repo == "":
		return ""
	case e.Method == http.MethodGet && e.Kind != Upload || e.Method == http.MethodHead:
		return "repository:" + e.Repo + ":pull"
	case e.Method == http.MethodDelete && e.Kind != Upload:
		return "repository:" + e.Repo + ":delete"
	}
	return "repository:" + e.Repo + ":pull,push"
}

// granted reports whether a request has a token that covers a scope.
func (r *Registry) granted(req *http.Request, scope string) bool {
	secret, ok := strings.CutPrefix(req.Header.Get("Authorization"), "Bearer ")
	r.mu.Lock()
	defer r.mu.Unlock()
	t, known := r.tokens[secret]
	if !ok || !known || !t.expires.IsZero() && !r.cfg.Now().Before(t.expires) {
		return false
	}
	return scope == "" || slices.ContainsFunc(t.scopes, func(has string) bool { return covers(has, scope) })
}

// covers reports whether a scope has all actions of another one.
func covers(has, want string) bool {
	i, j := strings.LastIndexByte(has, ':'), strings.LastIndexByte(want, ':')
	if i < 0 || j < 0 || has[:i] != want[:j] {
		return false
	}
	actions := strings.Split(has[i+1:], ",")
	for _, a := range strings.Split(want[j+1:], ",") {
		if !slices.Contains(actions, a) && !slices.Contains(actions, "*") {
			return false
		}
	}
	return true
}

// grant answers for the token endpoint: GET with Basic credentials or none,
// POST with a refresh token or a password.
func (r *Registry) grant(req *http.Request) answer {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := req.ParseForm(); err != nil {
		return problem(http.StatusBadRequest, "UNKNOWN", "the form cannot be read")
	}
	user, pass, _ := req.BasicAuth()
	if req.Method == http.MethodPost {
		user, pass = req.PostForm.Get("username"), req.PostForm.Get("password")
	}
	a, refresh := r.auth, req.PostForm.Get("refresh_token")
	byName := a.Username == "" || user == a.Username && pass == a.Password
	if !byName && (a.Refresh == "" || refresh != a.Refresh) {
		return problem(http.StatusUnauthorized, oci.CodeUnauthorized, "incorrect username or password")
	}
	r.serial++
	secret := fmt.Sprintf("token-%d", r.serial)
	t := token{}
	for _, s := range req.Form["scope"] { // several parameters, or one with spaces: both are in use
		t.scopes = append(t.scopes, strings.Fields(s)...)
	}
	doc := map[string]any{"token": secret, "access_token": secret}
	if a.Life > 0 {
		now := r.cfg.Now()
		t.expires = now.Add(a.Life)
		doc["expires_in"], doc["issued_at"] = int(a.Life.Seconds()), now.UTC().Format(time.RFC3339)
	}
	r.tokens[secret] = t
	return document(doc)
}
