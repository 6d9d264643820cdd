package remote

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entrepot/entrepot/oci"
)

// A counter is a registry that knows its accounts by name, and limits those
// that it is told to.
type counter struct {
	mu      sync.Mutex
	seen    []string       // the account of each request that was let in
	limited map[string]int // :: account → Retry-After of its 429s, in seconds
}

func (c *counter) serve(w http.ResponseWriter, r *http.Request) {
	user, _, ok := r.BasicAuth()
	if !ok {
		w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	c.mu.Lock()
	c.seen = append(c.seen, user)
	after := c.limited[user]
	c.mu.Unlock()
	if after > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(after))
		w.WriteHeader(http.StatusTooManyRequests)
		return
	}
	serveManifest(w, oci.TypeImageManifest, manifestJSON)
}

func (c *counter) limit(user string, after int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.limited[user] = after
}

// taken returns who has asked since the last call.
func (c *counter) taken() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := strings.Join(c.seen, " ")
	c.seen = nil
	return s
}

// accounts runs a test with one registry and an endpoint for each of the given
// credentials.
func accounts(t *testing.T, test func(t *testing.T, reg *counter, open func(Credentials) *Endpoint)) {
	synctest.Test(t, func(t *testing.T) {
		m, reg := new(memNet), &counter{limited: map[string]int{}}
		m.serve(t, "registry.test:80", reg.serve)
		c := NewClient(ClientConfig{Dial: m.dial})
		defer c.Close()
		test(t, reg, func(all Credentials) *Endpoint {
			e, err := c.Endpoint(EndpointConfig{URL: "http://registry.test", Credentials: all})
			if err != nil {
				t.Fatal(err)
			}
			return e
		})
	})
}

func as(user string) Credentials { return Static(user, NewSecret("password of "+user)) }

// limitedFor checks that an error is a 429 that says when to come back.
func limitedFor(t *testing.T, err error, want time.Duration) {
	t.Helper()
	told, ok := errors.AsType[*oci.Error](err)
	if !ok || told.Code != oci.CodeTooManyRequests || told.RetryAfter != want {
		t.Errorf("error %v, want a 429 to retry after %s", err, want)
	}
}

// TestFault09OneAccountIsLimited holds that an account that has used up what it
// is given does not hold up the others of the same host, and that its own
// requests are answered here until its time is over (spec/serve.md, B5).
func TestFault09OneAccountIsLimited(t *testing.T) {
	accounts(t, func(t *testing.T, reg *counter, open func(Credentials) *Endpoint) {
		poor, rich, other := open(as("poor")), open(as("rich")), open(as("poor"))
		resolve1(t, poor)
		resolve1(t, rich)
		reg.limit("poor", 30)
		reg.taken()
		for range 5 {
			_, err := poor.Manifest(t.Context(), repo.WithTag("v1"))
			limitedFor(t, err, 30*time.Second)
			resolve1(t, rich)
		}
		if got := reg.taken(); got != "poor rich rich rich rich rich" {
			t.Errorf("asked as %q", got)
		}
		// It is the account that is limited, not the endpoint: the same one
		// elsewhere asks once to be let in, as nobody, and no more.
		_, err := other.Manifest(t.Context(), repo.WithTag("v1"))
		limitedFor(t, err, 30*time.Second)
		if got := reg.taken(); got != "" {
			t.Errorf("asked as %q in its pause", got)
		}
		reg.limit("poor", 0)
		time.Sleep(30 * time.Second)
		resolve1(t, poor)
	})
}

func TestRotate(t *testing.T) {
	accounts(t, func(t *testing.T, reg *counter, open func(Credentials) *Endpoint) {
		e := open(Rotate(as("a"), as("b"), as("c")))
		resolve1(t, e) // which is asked who it is first
		reg.taken()
		for range 6 {
			resolve1(t, e)
		}
		for _, user := range []string{"a", "b", "c"} {
			if n := strings.Count(reg.taken2(), user); n != 2 {
				t.Errorf("%s had %d of 6 requests", user, n)
			}
		}
		reg.taken()

		reg.limit("b", 60)
		for range 6 {
			resolve1(t, e) // nobody hears of it
		}
		if got := reg.taken(); strings.Count(got, "b") != 1 || strings.Count(got, "a")+strings.Count(got, "c") != 6 {
			t.Errorf("asked as %q, want b once", got)
		}

		reg.limit("a", 20)
		reg.limit("c", 40)
		_, err := e.Manifest(t.Context(), repo.WithTag("v1"))
		limitedFor(t, err, 20*time.Second)
		reg.taken()
		_, err = e.Manifest(t.Context(), repo.WithTag("v1"))
		limitedFor(t, err, 20*time.Second)
		if got := reg.taken(); got != "" {
			t.Errorf("asked as %q while all are limited", got)
		}
		time.Sleep(20 * time.Second)
		reg.limit("a", 0)
		for range 3 {
			resolve1(t, e)
		}
		if got := reg.taken(); got != "a a a" {
			t.Errorf("asked as %q, want the only one that is free", got)
		}
	})
}

// taken2 is taken without forgetting.
func (c *counter) taken2() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return strings.Join(c.seen, " ")
}

// TestRotateTokens holds that a token service that limits an account is passed
// over with it.
func TestRotateTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked sync.Map // :: account → *atomic.Int64
		m := new(memNet)
		m.serve(t, "registry.test:80", func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/token" {
				user, _, _ := r.BasicAuth()
				n, _ := asked.LoadOrStore(user, new(atomic.Int64))
				n.(*atomic.Int64).Add(1)
				if user == "poor" {
					w.Header().Set("Retry-After", "90")
					w.WriteHeader(http.StatusTooManyRequests)
					return
				}
				w.Write([]byte(`{"token":"t-` + user + `"}`))
				return
			}
			if r.Header.Get("Authorization") != "Bearer t-rich" {
				w.Header().Set("WWW-Authenticate", `Bearer realm="http://registry.test/token",service="test"`)
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			serveManifest(w, oci.TypeImageManifest, manifestJSON)
		})
		c := NewClient(ClientConfig{Dial: m.dial})
		defer c.Close()
		e, _ := c.Endpoint(EndpointConfig{URL: "http://registry.test", Credentials: Rotate(as("poor"), as("rich"))})
		for range 8 {
			resolve1(t, e)
		}
		if n, ok := asked.Load("poor"); !ok || n.(*atomic.Int64).Load() != 1 {
			t.Errorf("the limited account's token was asked for %v times, want once", n)
		}
	})
}

// TestRotatePassesOverWhatCannotBeHad holds that a file that is gone takes out
// its own account only.
func TestRotatePassesOverWhatCannotBeHad(t *testing.T) {
	accounts(t, func(t *testing.T, reg *counter, open func(Credentials) *Endpoint) {
		e := open(Rotate(PasswordFile("gone", t.TempDir()+"/none"), as("b")))
		for range 4 {
			resolve1(t, e)
		}
		if got := reg.taken(); got != "b b b b" {
			t.Errorf("asked as %q", got)
		}
	})
}

func TestPausesAreBounded(t *testing.T) {
	var p pauses
	now := time.Unix(1_800_000_000, 0)
	for i := range maxPauses + 100 {
		p.note("a:443", Credential{Username: strings.Repeat("x", i)}, &http.Response{StatusCode: 429}, now)
	}
	if len(p.m) > maxPauses {
		t.Errorf("%d pauses are kept", len(p.m))
	}
}

// TestForgetCredentials: after a change of its credentials an endpoint begins
// anew: with another token, what a helper says now, and no pause.
func TestForgetCredentials(t *testing.T) {
	accounts(t, func(t *testing.T, reg *counter, open func(Credentials) *Endpoint) {
		e := open(as("a"))
		resolve1(t, e)
		reg.limit("a", 300)
		_, err := e.Manifest(t.Context(), repo.WithTag("v1"))
		limitedFor(t, err, 300*time.Second)
		reg.limit("a", 0)
		e.Forget()
		resolve1(t, e)
	})
	r := &tokenRegistry{life: 3600}
	bubble(t, ClientConfig{}, r.serve, func(t *testing.T, e *Endpoint, _ *wireLog) {
		resolve1(t, e)
		e.Forget()
		resolve1(t, e)
		if got := r.granted.Load(); got != 2 {
			t.Errorf("%d tokens, want another one", got)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		ran := 0
		a := AuthFile(writeFile(t, t.TempDir()+"/config.json", `{"credsStore":"fake"}`, 0o600)).(*authFile)
		a.run = func(context.Context, string, string) (Credential, error) {
			ran++
			return Credential{Username: "u"}, nil
		}
		c := NewClient(ClientConfig{})
		defer c.Close()
		e, _ := c.Endpoint(EndpointConfig{URL: "http://registry.test", Credentials: Rotate(as("x"), a)})
		for want := 1; want <= 2; want++ {
			for range 2 {
				if _, err := a.Credential(t.Context(), "registry.test", "a/b"); err != nil || ran != want {
					t.Errorf("%v; the helper ran %d times, want %d", err, ran, want)
				}
			}
			e.Forget()
		}
	})
}
