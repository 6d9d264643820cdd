package remote

import (
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
)

// TestNothingComesBackInAChain holds that what was left behind at the first hop
// to another origin stays there: not even a second hop within one foreign
// origin, or one below the registry's own name, gets it again; nor any header
// that a configuration gave.
//
// CVE-2024-45336, CVE-2023-45289, CVE-2025-4673.
func TestNothingComesBackInAChain(t *testing.T) {
	var mu sync.Mutex
	var told []string // the secret headers that a foreign place got
	var hops int
	foreign := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		hops++
		for name, values := range r.Header {
			if slices.ContainsFunc(values, holdsCanary) {
				told = append(told, fmt.Sprintf("%s%s: %s", r.Host, r.URL.Path, name))
			}
		}
		switch r.URL.Path {
		case "/1":
			http.Redirect(w, r, "/2", http.StatusFound) // the same origin once more
		case "/2":
			http.Redirect(w, r, "https://cdn.registry.example.com/3", http.StatusTemporaryRedirect)
		}
	}))
	defer foreign.Close()
	home := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, _, ok := r.BasicAuth(); !ok {
			w.Header().Set("WWW-Authenticate", "Basic")
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		http.Redirect(w, r, "https://cdn.example.net/1", http.StatusFound)
	}))
	defer home.Close()
	c := client(t, ClientConfig{
		TLS:  &tls.Config{InsecureSkipVerify: true},
		Dial: dialInstead(map[string]string{"registry.example.com:443": home.Listener.Addr().String()}, foreign.Listener.Addr().String()),
	})
	e, err := c.Endpoint(EndpointConfig{URL: "https://registry.example.com", Credentials: Static("user", NewSecret(canary)), Header: http.Header{
		"Cookie": {"session=" + canary}, "Cookie2": {canary}, "Proxy-Authorization": {"Basic " + canary}, "Proxy-Authenticate": {canary}, "X-Api-Key": {canary},
	}})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := readBlob(e, digestOf(""), 0); err != nil {
		t.Error(err)
	}
	if hops != 3 || len(told) > 0 {
		t.Errorf("%d hops, want 3; secrets were sent along: %q", hops, told)
	}
}

// dialInstead returns a ClientConfig.Dial that reaches some addresses at other
// ones, and all others at one.
func dialInstead(at map[string]string, otherwise string) func(context.Context, string, string) (net.Conn, error) {
	var d net.Dialer
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		return d.DialContext(ctx, network, cmp.Or(at[address], otherwise))
	}
}
