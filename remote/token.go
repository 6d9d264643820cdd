package remote

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/entrepot/entrepot/oci"
)

const (
	defaultLife  = 60 * time.Second // of a token that does not say how long it lives (distribution, "Token authentication")
	maxLife      = 24 * time.Hour   // whatever it says
	tokenFlight  = 2 * time.Minute  // for a token request and its redirects; it belongs to no caller, so something must end it
	maxTokenBody = 1 << 20          // bytes
	maxTokens    = 4096             // that one endpoint keeps
)

// A tokenKey says whose token for what it is. Tokens are kept per endpoint, so
// one registry's token never goes to another (CVE-2026-103868).
type tokenKey struct {
	credential Credential
	scope      string // the scopes that we need, joined
}

// A token is what a token service granted.
type token struct {
	value   Secret
	renew   time.Time // at 70 % of its life
	expires time.Time
	scopes  []string // that were asked for; the registry's own wording
}

// tokens keeps an endpoint's tokens and gets new ones.
type tokens struct {
	mu      sync.Mutex           // guards what follows
	m       map[tokenKey]token   // :: key → token
	flights map[tokenKey]*flight // :: key → the request for it that is under way
}

// A flight is one token request, for everybody who waits for it. It is not the
// request of whoever was first: that one may leave, and the others still get
// their token.
type flight struct {
	done  chan struct{} // closed when token and err are set
	token token
	err   error
}

// get returns a token for a key: the one that is kept, or a new one. scopes
// are what to ask for; none means what was asked for last.
func (t *tokens) get(ctx context.Context, c *Client, k tokenKey, scopes []string, fetch func(context.Context, Credential, []string) (token, error)) (Secret, error) {
	t.mu.Lock()
	old, ok := t.m[k]
	if ok && c.now().Before(old.renew) {
		t.mu.Unlock()
		return old.value, nil
	}
	if len(scopes) == 0 {
		scopes = old.scopes
	}
	if len(scopes) == 0 {
		scopes = strings.Fields(k.scope)
	}
	f := t.flights[k]
	if f == nil {
		f = &flight{done: make(chan struct{})}
		if err := c.spawn(func(ctx context.Context) { t.fly(ctx, f, k, scopes, fetch) }); err != nil {
			t.mu.Unlock()
			return Secret{}, err
		}
		if t.flights == nil {
			t.flights = make(map[tokenKey]*flight)
		}
		t.flights[k] = f
	}
	t.mu.Unlock()
	select {
	case <-f.done:
	case <-ctx.Done():
		return Secret{}, context.Cause(ctx)
	}
	if f.err != nil && ok && c.now().Before(old.expires) {
		return old.value, nil // it could not be renewed yet, and is still good
	}
	return f.token.value, f.err
}

// fly gets a token and keeps it.
func (t *tokens) fly(ctx context.Context, f *flight, k tokenKey, scopes []string, fetch func(context.Context, Credential, []string) (token, error)) {
	ctx, cancel := context.WithTimeout(ctx, tokenFlight)
	defer cancel()
	f.token, f.err = fetch(ctx, k.credential, scopes)
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.flights, k)
	if f.err == nil {
		t.keep(k, f.token)
	}
	close(f.done)
}

// keep stores a token; where there are too many, some other one is dropped.
func (t *tokens) keep(k tokenKey, one token) {
	if t.m == nil {
		t.m = make(map[tokenKey]token)
	}
	for old := range t.m {
		if len(t.m) < maxTokens {
			break
		}
		delete(t.m, old)
	}
	t.m[k] = one
}

// drop forgets a token that was refused, unless it was replaced already.
func (t *tokens) drop(k tokenKey, value string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if one, ok := t.m[k]; ok && one.value.Reveal() == value {
		delete(t.m, k)
	}
}

// clear forgets all tokens.
func (t *tokens) clear() {
	t.mu.Lock()
	defer t.mu.Unlock()
	clear(t.m)
}

// A service is where an endpoint's tokens come from.
type service struct {
	realm *url.URL
	name  string
}

// fetch asks the token service (distribution, "Token authentication" and
// "OAuth2 token authentication").
func (e *Endpoint) fetch(ctx context.Context, s service, c Credential, scopes []string) (token, error) {
	asked := e.client.now() // a token's life starts before we hear of it
	res, err := e.askToken(ctx, s, c, scopes)
	if err != nil {
		return token{}, err
	}
	defer discard(res)
	if res.StatusCode != http.StatusOK {
		return token{}, e.tokenRefusal(res, c)
	}
	raw, err := io.ReadAll(io.LimitReader(res.Body, maxTokenBody))
	if err != nil {
		return token{}, err
	}
	value, life, ok := readToken(raw)
	if !ok {
		return token{}, mismatch("%s: the answer holds no token", redact(s.realm))
	}
	return token{value: NewSecret(value), renew: asked.Add(life * 7 / 10), expires: asked.Add(life), scopes: scopes}, nil
}

// readToken reads a token service's answer.
func readToken(raw []byte) (value string, life time.Duration, ok bool) {
	var doc struct {
		Token       string          `json:"token"`
		AccessToken string          `json:"access_token"`
		ExpiresIn   json.RawMessage `json:"expires_in"` // seconds; a string at times
	}
	if json.Unmarshal(raw, &doc) != nil {
		return "", 0, false
	}
	if value = doc.Token; value == "" {
		value = doc.AccessToken
	}
	life = defaultLife
	if s, err := strconv.ParseFloat(strings.Trim(string(doc.ExpiresIn), `"`), 64); err == nil && s > 0 {
		life = time.Duration(min(s, maxLife.Seconds()) * float64(time.Second))
	}
	return value, life, validToken(value)
}

// validToken reports whether s may stand in a header.
func validToken(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] >= 0x7f {
			return false
		}
	}
	return s != ""
}

// askToken sends the request for a token. A redirect is followed only where it
// passes the rules for realms; the password stays with the origin that the
// challenge named.
func (e *Endpoint) askToken(ctx context.Context, s service, c Credential, scopes []string) (*http.Response, error) {
	if !c.IdentityToken.Empty() {
		return e.client.send(ctx, e.tokenWire(http.MethodPost, s.realm, c, "", refreshForm(s, c, scopes)))
	}
	u := *s.realm
	q := u.Query()
	if s.name != "" {
		q.Set("service", s.name)
	}
	for _, scope := range scopes {
		q.Add("scope", scope)
	}
	auth := c.basic()
	if auth != "" {
		q.Set("account", c.Username)
	}
	u.RawQuery = q.Encode()
	for at, hop := &u, 0; ; hop++ {
		if !sameOrigin(at, s.realm) {
			auth = ""
		}
		res, err := e.client.send(ctx, e.tokenWire(http.MethodGet, at, c, auth, nil))
		if err != nil || !isRedirect(res) {
			return res, err
		}
		discard(res)
		if at, err = e.realm(at, res.Header.Get("Location")); err == nil && hop == maxHops {
			err = errors.New("too many redirects")
		}
		if err != nil {
			return nil, mismatch("%s: follow a redirect: %w", redact(s.realm), err)
		}
	}
}

func (e *Endpoint) tokenWire(method string, u *url.URL, who Credential, auth string, form url.Values) wire {
	own := sameOrigin(u, e.base)
	w := wire{label: e.cfg.Label, kind: KindToken, method: method, url: u, auth: auth, who: who, own: own, over: e.wires(own)}
	if own {
		w.extra = e.cfg.Header
	}
	if form != nil {
		text := form.Encode()
		w.header = http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}
		w.body = &payload{size: int64(len(text)), open: func() (io.ReadCloser, error) {
			return io.NopCloser(strings.NewReader(text)), nil
		}}
	}
	return w
}

// refreshForm is what an identity token is exchanged with.
func refreshForm(s service, c Credential, scopes []string) url.Values {
	form := url.Values{
		"grant_type":    {"refresh_token"},
		"refresh_token": {c.IdentityToken.Reveal()},
		"client_id":     {defaultUserAgent},
		"scope":         {strings.Join(scopes, " ")},
	}
	if s.name != "" {
		form.Set("service", s.name)
	}
	return form
}

// tokenRefusal makes an error of a token service's answer. Its body is not
// read: OAuth errors echo what they were sent.
func (e *Endpoint) tokenRefusal(res *http.Response, who Credential) error {
	cause := &StatusError{Method: res.Request.Method, URL: redact(res.Request.URL), Code: res.StatusCode}
	switch res.StatusCode {
	case http.StatusBadRequest, http.StatusUnauthorized:
		return &oci.Error{Kind: oci.ErrUnauthorized, Code: oci.CodeUnauthorized, Message: "the upstream's token service refuses the credentials", Err: cause}
	case http.StatusForbidden:
		return &oci.Error{Kind: oci.ErrDenied, Code: oci.CodeDenied, Message: "the upstream's token service denies access", Err: cause}
	case http.StatusNotFound, http.StatusMethodNotAllowed:
		return &oci.Error{Kind: oci.ErrMismatch, Message: "the upstream's token service is not there", Err: cause}
	}
	return e.client.refusal(KindToken, res, who, true, nil)
}
