package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entrepot/entrepot/oci"
)

// A tokenRegistry wants tokens and grants them, both as its knobs say.
type tokenRegistry struct {
	life    int           // seconds, 0 says nothing
	wait    chan struct{} // the token service answers when it is closed; nil at once
	status  atomic.Int64  // of the token service, 0 means 200
	granted atomic.Int64
	revoked atomic.Int64 // tokens up to this number are refused
}

func (r *tokenRegistry) serve(w http.ResponseWriter, req *http.Request) {
	if req.URL.Path == "/token" {
		if r.wait != nil {
			<-r.wait
		}
		if s := r.status.Load(); s != 0 {
			w.WriteHeader(int(s))
			return
		}
		expires := ""
		if r.life > 0 {
			expires = fmt.Sprintf(`,"expires_in":%d`, r.life)
		}
		fmt.Fprintf(w, `{"token":"t%d"%s}`, r.granted.Add(1), expires)
		return
	}
	var n int64
	fmt.Sscanf(req.Header.Get("Authorization"), "Bearer t%d", &n)
	if n <= r.revoked.Load() {
		w.Header().Set("WWW-Authenticate", `Bearer realm="http://registry.test/token",service="test",scope="repository:team/app:pull"`)
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	serveManifest(w, oci.TypeImageManifest, manifestJSON)
}

// bubble runs a test with a registry in memory.
func bubble(t *testing.T, cfg ClientConfig, h http.HandlerFunc, test func(*testing.T, *Endpoint, *wireLog)) {
	synctest.Test(t, func(t *testing.T) {
		m := new(memNet)
		log := m.serve(t, "registry.test:80", h)
		cfg.Dial = m.dial
		c := NewClient(cfg)
		defer c.Close()
		e, err := c.Endpoint(EndpointConfig{URL: "http://registry.test"})
		if err != nil {
			t.Fatal(err)
		}
		test(t, e, log)
	})
}

func resolve1(t *testing.T, e *Endpoint) {
	t.Helper()
	if _, err := e.Resolve(t.Context(), repo.WithTag("v1")); err != nil {
		t.Fatal(err)
	}
}

func TestTokenIsRenewedAt70Percent(t *testing.T) {
	for _, tt := range []struct{ life, renewed int }{{100, 70}, {0, 42}} {
		t.Run(fmt.Sprint(tt.life), func(t *testing.T) {
			r := &tokenRegistry{life: tt.life}
			bubble(t, ClientConfig{}, r.serve, func(t *testing.T, e *Endpoint, log *wireLog) {
				resolve1(t, e)
				time.Sleep(time.Duration(tt.renewed-1) * time.Second)
				resolve1(t, e)
				if got := r.granted.Load(); got != 1 {
					t.Errorf("%d tokens before the time, want 1", got)
				}
				time.Sleep(time.Second)
				resolve1(t, e)
				if got := r.granted.Load(); got != 2 {
					t.Errorf("%d tokens after 70 %% of the life, want 2", got)
				}
				unauthorized := 0
				for _, line := range log.get() {
					if strings.HasPrefix(line, "HEAD") {
						unauthorized++
					}
				}
				if unauthorized != 4 { // the first, unauthorised, and three good ones
					t.Errorf("%d requests for the manifest, want 4: %q", unauthorized, log.get())
				}
			})
		})
	}
}

func TestTokenIsUsedUntilItEndsWhereItCannotBeRenewed(t *testing.T) {
	r := &tokenRegistry{life: 100}
	bubble(t, ClientConfig{Retry: Retry{Attempts: 1}}, r.serve, func(t *testing.T, e *Endpoint, _ *wireLog) {
		resolve1(t, e)
		r.status.Store(500)
		time.Sleep(80 * time.Second)
		resolve1(t, e)
		time.Sleep(20 * time.Second)
		_, err := e.Resolve(t.Context(), repo.WithTag("v1"))
		wantKind(t, err, oci.ErrUnavailable)
	})
}

func TestTokenFlightIsSharedAndSurvivesItsLeader(t *testing.T) {
	r := &tokenRegistry{life: 300}
	bubble(t, ClientConfig{}, r.serve, func(t *testing.T, e *Endpoint, log *wireLog) {
		r.wait = make(chan struct{}) // of this bubble
		ctx, leave := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		var leader error
		wg.Go(func() { _, leader = e.Resolve(ctx, repo.WithTag("v1")) })
		synctest.Wait() // the leader waits for its token
		errs := make([]error, 20)
		for i := range errs {
			wg.Go(func() { _, errs[i] = e.Resolve(t.Context(), repo.WithTag("v1")) })
		}
		synctest.Wait()
		leave()
		synctest.Wait()
		close(r.wait)
		wg.Wait()
		if !errors.Is(leader, context.Canceled) {
			t.Errorf("the leader got %v, want its own cancellation", leader)
		}
		for i, err := range errs {
			if err != nil {
				t.Errorf("follower %d: %v", i, err)
			}
		}
		asked := 0
		for _, line := range log.get() {
			if strings.HasPrefix(line, "GET /token") {
				asked++
			}
		}
		if asked != 1 {
			t.Errorf("%d token requests, want 1", asked)
		}
	})
}

func TestTokenIsRefreshedOnceAfterARefusal(t *testing.T) {
	r := &tokenRegistry{life: 300}
	bubble(t, ClientConfig{}, r.serve, func(t *testing.T, e *Endpoint, log *wireLog) {
		resolve1(t, e)
		r.revoked.Store(1)
		resolve1(t, e)
		if got := r.granted.Load(); got != 2 {
			t.Errorf("%d tokens, want 2", got)
		}
		r.revoked.Store(1000) // and now it refuses all
		before := len(log.get())
		_, err := e.Stat(t.Context(), repo, digestOf("x"))
		wantKind(t, err, oci.ErrUnauthorized)
		for _, line := range log.get()[before:] {
			if strings.Count(strings.Join(log.get()[before:], "\n"), line) > 2 {
				t.Errorf("%q was sent more than twice", line)
			}
		}
	})
}

func TestTokensBelongToScopeAndCredential(t *testing.T) {
	var tk tokens
	c := NewClient(ClientConfig{})
	defer c.Close()
	n := 0
	fetch := func(context.Context, Credential, []string) (token, error) {
		n++
		return token{value: NewSecret(fmt.Sprint(n)), renew: time.Now().Add(time.Hour)}, nil
	}
	a, b := Credential{Username: "a", Password: NewSecret("x")}, Credential{Username: "a", Password: NewSecret("y")}
	seen := map[string]bool{}
	for _, k := range []tokenKey{{a, "s1"}, {a, "s2"}, {b, "s1"}, {Credential{}, "s1"}} {
		for range 2 {
			v, err := tk.get(t.Context(), c, k, nil, fetch)
			if err != nil {
				t.Fatal(err)
			}
			seen[v.Reveal()] = true
		}
	}
	if n != 4 || len(seen) != 4 {
		t.Errorf("%d tokens were fetched and %d used, want 4", n, len(seen))
	}
}

func TestTokenCacheIsBounded(t *testing.T) {
	var tk tokens
	for i := range maxTokens + 100 {
		tk.keep(tokenKey{scope: fmt.Sprint(i)}, token{})
	}
	if len(tk.m) != maxTokens {
		t.Errorf("%d tokens are kept, want %d", len(tk.m), maxTokens)
	}
}

func TestIdentityTokenIsExchangedByPost(t *testing.T) {
	var form atomic.Value
	s, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/token":
			raw, _ := io.ReadAll(r.Body)
			form.Store(r.Method + " " + string(raw))
			io.WriteString(w, `{"access_token":"good","expires_in":"300"}`)
		case r.Header.Get("Authorization") != "Bearer good":
			w.Header().Set("WWW-Authenticate", `Basic realm="x", Bearer realm="http://`+r.Host+`/token",service="svc"`)
			w.WriteHeader(401)
		default:
			serveManifest(w, oci.TypeImageManifest, manifestJSON)
		}
	})
	e := endpoint(t, ClientConfig{}, EndpointConfig{URL: s.URL, Credentials: static{IdentityToken: NewSecret("refresh-me")}})
	if _, err := e.Manifest(t.Context(), repo.WithTag("v1")); err != nil {
		t.Fatal(err)
	}
	want := "POST client_id=entrepot&grant_type=refresh_token&refresh_token=refresh-me&scope=repository%3Ateam%2Fapp%3Apull&service=svc"
	if got := form.Load(); got != want {
		t.Errorf("the token service was asked\n%v, want\n%v", got, want)
	}
}

func TestBasic(t *testing.T) {
	s, log := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if name, password, _ := r.BasicAuth(); name != "user" || password != "pass" {
			w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
			w.WriteHeader(401)
			return
		}
		serveManifest(w, oci.TypeImageManifest, manifestJSON)
	})
	e := endpoint(t, ClientConfig{}, EndpointConfig{URL: s.URL, Credentials: Static("user", NewSecret("pass"))})
	for range 3 {
		resolve1(t, e)
	}
	if got := len(log.get()); got != 4 {
		t.Errorf("%d requests, want one refusal and three answers", got)
	}
	bad := endpoint(t, ClientConfig{}, EndpointConfig{URL: s.URL, Credentials: Static("user", NewSecret("wrong"))})
	_, err := bad.Manifest(t.Context(), repo.WithTag("v1"))
	wantKind(t, err, oci.ErrUnauthorized)
}
