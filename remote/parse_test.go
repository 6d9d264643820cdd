package remote

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestParseChallenges(t *testing.T) {
	type c = challenge
	type p = map[string]string
	for _, tt := range []struct {
		in   []string
		want []c
	}{
		{[]string{`Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push"`},
			[]c{{"bearer", p{"realm": "https://auth.docker.io/token", "service": "registry.docker.io", "scope": "repository:a/b:pull,push"}}}},
		{[]string{`Basic realm="a \"quoted\" one"`}, []c{{"basic", p{"realm": `a "quoted" one`}}}},
		{[]string{`Basic realm=x, Bearer realm=y , service = z`}, []c{{"basic", p{"realm": "x"}}, {"bearer", p{"realm": "y", "service": "z"}}}},
		{[]string{"Negotiate", "bEARER Realm=x"}, []c{{"negotiate", p{}}, {"bearer", p{"realm": "x"}}}},
		{[]string{"Negotiate, Basic"}, []c{{"negotiate", p{}}, {"basic", p{}}}},
		{[]string{"NTLM TlRMTVNTUAAB==, Basic realm=x"}, []c{{"ntlm", p{}}, {"basic", p{"realm": "x"}}}},
		{[]string{`Bearer realm="x", realm="y"`}, []c{{"bearer", p{"realm": "x"}}}},
		{[]string{`Bearer realm="never ends`}, []c{{"bearer", p{}}}},
		{[]string{"", ",", " , "}, nil},
	} {
		got := parseChallenges(http.Header{"Www-Authenticate": tt.in})
		if diff := cmp.Diff(tt.want, got, cmp.AllowUnexported(c{})); diff != "" {
			t.Errorf("%q (-want +got):\n%s", tt.in, diff)
		}
	}
}

func FuzzChallenges(f *testing.F) {
	for _, s := range []string{`Bearer realm="x",service=y`, `Basic`, `a b, c d=e`, `"`, `Bearer realm="\`, `=,=`, "Bearer a=b;c=d", "x y=z, w"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for _, c := range parseChallenges(http.Header{"Www-Authenticate": {s}}) {
			if c.scheme == "" || c.scheme != strings.ToLower(c.scheme) || tokenLen(c.scheme) != len(c.scheme) {
				t.Fatalf("%q has the scheme %q", s, c.scheme)
			}
			for name := range c.params {
				if name == "" || tokenLen(name) != len(name) {
					t.Fatalf("%q has the parameter %q", s, name)
				}
			}
		}
	})
}

func FuzzNextLink(f *testing.F) {
	for _, s := range []string{`</v2/x>; rel="next"`, `<a>; rel=prev, <b>; rel=next`, `<`, `<>;`, `<a>;x;rel="a next b"`, `<a>; rel="next`, "<a>,<b>;rel=next"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if got := parseNextLink(s); got != "" && !strings.Contains(s, "<"+got+">") {
			t.Fatalf("%q leads to %q", s, got)
		}
	})
}

func TestParseRetryAfter(t *testing.T) {
	now := time.Date(2026, 8, 1, 12, 0, 0, 0, time.UTC)
	for in, want := range map[string]time.Duration{
		"0": 0, "1": time.Second, "120": 2 * time.Minute, "301": maxPause, "99999999999999": maxPause,
		"Sat, 01 Aug 2026 12:00:10 GMT": 10 * time.Second, "Sat, 01 Aug 2026 11:00:00 GMT": 0, "Sat, 01 Aug 2099 11:00:00 GMT": maxPause,
	} {
		if got, ok := parseRetryAfter(in, now); got != want || !ok {
			t.Errorf("%q: %s, %t, want %s", in, got, ok, want)
		}
	}
	for _, in := range []string{"", "x", "-1", "1.5", "1 ", "999999999999999999999999"} {
		if got, ok := parseRetryAfter(in, now); got != 0 || ok {
			t.Errorf("%q: %s, %t, want nothing", in, got, ok)
		}
	}
}

func FuzzRetryAfter(f *testing.F) {
	for _, s := range []string{"5", "-5", "Sat, 01 Aug 2026 12:00:10 GMT", "9223372036854775808", "Saturday, 01-Aug-26 12:00:10 GMT"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if d, _ := parseRetryAfter(s, time.Unix(1785585600, 0)); d < 0 || d > maxPause {
			t.Fatalf("%q is %s", s, d)
		}
	})
}

func TestParseContentRange(t *testing.T) {
	for in, want := range map[string]contentRange{
		"bytes 0-0/1": {0, 0, 1}, "bytes 5-9/10": {5, 9, 10}, "BYTES 5-9/*": {5, 9, -1}, "bytes */10": {-1, -1, 10}, "bytes */0": {-1, -1, 0},
	} {
		if got, err := parseContentRange(in); err != nil || got != want {
			t.Errorf("%q: %+v, %v, want %+v", in, got, err, want)
		}
	}
	for _, in := range []string{"", "bytes", "bytes ", "bytes 5-9", "bytes 9-5/10", "bytes 0-10/10", "bytes -5/10", "bytes 5-/10", "bytes */*", "items 0-1/2",
		"bytes 0-9223372036854775808/*", "bytes +1-2/3", "bytes 0-1/2 ", "bytes 0-1/-2", "bytes 0x0-0x1/2", "bytes 1_0-2_0/30"} {
		if got, err := parseContentRange(in); err == nil {
			t.Errorf("%q was read as %+v", in, got)
		}
	}
}

func FuzzContentRange(f *testing.F) {
	for _, s := range []string{"bytes 0-0/1", "bytes */5", "bytes 5-9/*", "bytes 9-5/10"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := parseContentRange(s)
		if err != nil {
			return
		}
		unsatisfied := r.first == -1 && r.last == -1 && r.total >= 0
		satisfied := r.first >= 0 && r.last >= r.first && (r.total == -1 || r.total > r.last)
		if !unsatisfied && !satisfied {
			t.Fatalf("%q is %+v", s, r)
		}
	})
}

func FuzzAuthConfig(f *testing.F) {
	for _, s := range []string{`{"auths":{"x":{"auth":"YTpi"}}}`, `{"auths":{"https://index.docker.io/v1/":{"auth":"YTpi"}},"credsStore":"x"}`,
		`{"credHelpers":{"a/b":"c"}}`, `{"auths":{"x/y/z":{"identitytoken":"t"}}}`, `{}`, `null`, `{"auths":null}`} {
		f.Add([]byte(s), "x.example", "a/b")
	}
	f.Fuzz(func(t *testing.T, raw []byte, host, repo string) {
		cfg, err := parseAuthConfig(raw)
		if err != nil {
			return
		}
		if _, ask := cfg.find(host, repo); strings.ContainsAny(ask.helper, "/") {
			t.Fatalf("the helper %q is a path", ask.helper)
		}
	})
}

func FuzzProgress(f *testing.F) {
	for _, s := range []string{"0-0", "0-99", "bytes=0-5", "5-9", "-", "0--1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if n, ok := parseProgress(s); ok && n < 0 {
			t.Fatalf("%q is %d bytes", s, n)
		}
	})
}

// TestRealmRules is the table of which token services may have the credentials
// (spec/serve.md, F2).
// CVE-2026-33540, CVE-2026-48978, ggcr#2193.
func TestRealmRules(t *testing.T) {
	c := client(t, ClientConfig{})
	for _, tt := range []struct {
		endpoint, realm string
		hosts           []string
		private, good   bool
	}{
		{endpoint: "https://registry-1.docker.io", realm: "https://auth.docker.io/token", good: true},
		{endpoint: "https://ghcr.io", realm: "https://ghcr.io/token", good: true},
		{endpoint: "https://registry.gitlab.com", realm: "https://gitlab.com/jwt/auth", good: true},
		{endpoint: "https://registry.example.co.uk", realm: "https://auth.example.co.uk/token", good: true},
		{endpoint: "https://registry.example.co.uk", realm: "https://evil.co.uk/token"},
		{endpoint: "https://a.github.io", realm: "https://b.github.io/token"},
		{endpoint: "https://registry.example.com:5000", realm: "https://registry.example.com:5000/token", good: true},
		{endpoint: "https://registry.example.com", realm: "https://registry.example.com:443/token", good: true},
		{endpoint: "https://registry.example.com", realm: "http://registry.example.com/token"},
		{endpoint: "https://registry.example.com", realm: "http://auth.example.com/token"},
		{endpoint: "https://registry.example.com", realm: "https://example.com.evil.net/token"},
		{endpoint: "https://registry.example.com", realm: "https://evilexample.com/token"},
		{endpoint: "https://registry.example.com", realm: "https://user@registry.example.com/token"},
		{endpoint: "https://registry.example.com", realm: "https://127.0.0.1/token", hosts: []string{"127.0.0.1"}},
		{endpoint: "https://registry.example.com", realm: "https://10.0.0.1/token", hosts: []string{"10.0.0.1"}},
		{endpoint: "https://registry.example.com", realm: "https://10.0.0.1/token", hosts: []string{"10.0.0.1"}, private: true, good: true},
		{endpoint: "https://registry.example.com", realm: "https://169.254.169.254/token", hosts: []string{"169.254.169.254"}, private: true},
		{endpoint: "https://registry.example.com", realm: "https://login.example.net/token", hosts: []string{"Login.example.net"}, good: true},
		{endpoint: "https://registry.example.com", realm: "https://login.example.net:8443/token", hosts: []string{"login.example.net"}},
		{endpoint: "https://registry.example.com", realm: "https://login.example.net:8443/token", hosts: []string{"login.example.net:8443"}, good: true},
		{endpoint: "https://registry.example.com", realm: "http://login.example.net/token", hosts: []string{"login.example.net"}},
		{endpoint: "http://127.0.0.1:5000", realm: "http://127.0.0.1:5000/token", private: true, good: true},
		{endpoint: "http://127.0.0.1:5000", realm: "http://127.0.0.1:5001/token", private: true},
		{endpoint: "http://127.0.0.1:5000", realm: "https://1.0.0.1/token", private: true},
		{endpoint: "http://10.9.0.1:5000", realm: "https://10.8.0.1/token", private: true}, // "0.1" is no domain
		{endpoint: "http://registry.local", realm: "https://registry.local/token", private: true, good: true},
		{endpoint: "http://registry.example.com", realm: "http://registry.example.com/token", good: true},
		{endpoint: "http://registry.example.com", realm: "http://auth.example.com/token"},
		{endpoint: "http://registry.example.com", realm: "https://auth.example.com/token", good: true},
		{endpoint: "https://registry.example.com", realm: "ftp://registry.example.com/token"},
		{endpoint: "https://registry.example.com", realm: "file:///etc/passwd"},
		{endpoint: "https://registry.example.com", realm: "/token", good: true}, // relative to the registry
	} {
		e, err := c.Endpoint(EndpointConfig{URL: tt.endpoint, TokenHosts: tt.hosts, AllowPrivate: tt.private})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := e.realm(e.base, tt.realm); (err == nil) != tt.good {
			t.Errorf("%s names %s (token hosts %q): %v", tt.endpoint, tt.realm, tt.hosts, err)
		}
	}
}

// TestLocalTokens: a registry of this machine may name a port of this machine,
// and nobody else may.
func TestLocalTokens(t *testing.T) {
	c := client(t, ClientConfig{})
	for _, tt := range []struct {
		endpoint, realm string
		good            bool
	}{
		{"http://127.0.0.1:5000", "http://127.0.0.1:5001/token", true},
		{"http://localhost:5000", "http://127.0.0.1:5001/token", true},
		{"http://[::1]:5000", "http://localhost:5001/token", true},
		{"http://127.0.0.1:5000", "http://10.0.0.1:5001/token", false},
		{"http://127.0.0.1:5000", "http://localhost.example.com/token", false},
		{"https://registry.example.com", "http://127.0.0.1:5001/token", false},
		{"http://10.0.0.1:5000", "http://127.0.0.1:5001/token", false},
	} {
		e, err := c.Endpoint(EndpointConfig{URL: tt.endpoint, AllowPrivate: true, LocalTokens: true})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := e.realm(e.base, tt.realm); (err == nil) != tt.good {
			t.Errorf("%s names %s: %v", tt.endpoint, tt.realm, err)
		}
	}
}

func FuzzRealm(f *testing.F) {
	c := NewClient(ClientConfig{})
	f.Cleanup(func() { c.Close() })
	e, err := c.Endpoint(EndpointConfig{URL: "https://registry.example.com"})
	if err != nil {
		f.Fatal(err)
	}
	for _, s := range []string{"https://auth.example.com/x", "https://evil.net", "//evil.net", "https://registry.example.com@evil.net", "https:\\\\evil.net", "https://evil.net#.example.com"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		u, err := e.realm(e.base, s)
		if err != nil {
			return
		}
		again, err := url.Parse(u.String())
		if err != nil {
			t.Fatalf("%q gives %q, which cannot be parsed: %v", s, u, err)
		}
		host := again.Hostname()
		if again.Scheme != "https" || (host != "example.com" && !strings.HasSuffix(strings.TrimSuffix(host, "."), ".example.com") && host != "example.com.") {
			t.Fatalf("%q leads to %s", s, again)
		}
	})
}
