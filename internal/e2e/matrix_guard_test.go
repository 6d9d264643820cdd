package e2e

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/entrepot/entrepot/internal/regtest"
)

// guardRows are about upstreams that lead elsewhere.
var guardRows = []row{
	{"L31 upstream redirects to a CDN", redirectToCDN},
	{"L32 upstream redirects to 10.0.0.1", func(t *testing.T) { redirectAstray(t, "http://10.0.0.1/x") }},
	{"L32 upstream redirects to 169.254.169.254", func(t *testing.T) {
		redirectAstray(t, "http://169.254.169.254/latest/meta-data")
	}},
	{"F3 upstream on loopback that may not be", func(t *testing.T) {
		s := newStack(t, "", `[[upstream]]
name = "inside.invalid"
url = "http://127.0.0.1:1"
`)
		direct := strings.Replace(s.cfg.more, "http://127.0.0.1:1", s.up.URL(), 1)
		s.stop(t)
		s.cfg.more = direct
		s.restart(t)
		s.up.AddImage("library/ubuntu", ubuntu, "24.04")
		a := s.ask(t, "GET", "library/ubuntu/manifests/24.04?ns=inside.invalid")
		if a.StatusCode != http.StatusBadGateway && a.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("status %d, want the dial refused", a.StatusCode)
		}
		s.wire(t)
	}},
	{"L33 upstream's realm is somewhere else", foreignRealm},
}

// redirectAstray: the address is not asked for, and the attempt is counted as a
// request without an answer.
func redirectAstray(t *testing.T, to string) {
	s := newStack(t, "", "")
	s.stop(t)
	// A registry that is not allowed to be private cannot be on this machine; it
	// can be behind a proxy that is.
	s.cfg.upstreams = nil
	s.cfg.more = "[[upstream]]\nname = \"docker.io\"\nurl = \"http://registry.example\""
	s.cfg.env = []string{"HTTP_PROXY=" + s.up.URL()}
	s.restart(t)
	d, _ := s.addBlob(t, "library/ubuntu", 1, 1<<16)
	s.up.On(regtest.Match{Kind: regtest.Blob}, regtest.Fault{Redirect: to})
	s.ask(t, "GET", blobPath(d)).status(t, http.StatusBadGateway, "")
	s.wire(t, "GET blob "+string(d))
	if n := s.metric(t, "entrepot_upstream_requests_total", `kind="blob"`, `code="0"`); n != 1 {
		t.Errorf("%v requests without an answer are counted, want one", n)
	}
}

// redirectToCDN: the CDN answers 400 to a request with credentials, as the
// real ones do; the URL that it was signed for is never shown to a client.
func redirectToCDN(t *testing.T) {
	s := newStack(t, "", "")
	d, b := s.addBlob(t, "library/ubuntu", 1, blobSize)
	s.up.SetAuth(regtest.Auth{Scheme: "Bearer"})
	s.up.SetCDN(regtest.CDN{On: true})
	a := s.ask(t, "GET", blobPath(d))
	a.is(t, b)
	a.header(t, "Location:")
	for _, e := range s.up.Log() {
		if e.Kind == regtest.CDNBlob && e.Authorization() != "" {
			t.Errorf("the CDN got credentials: %s", wireLine(e))
		}
	}
	if n := s.up.Count("GET", regtest.CDNBlob); n != 1 {
		t.Errorf("the CDN was asked %d times, want once", n)
	}
}

// foreignRealm: whoever the challenge names gets no credentials of ours.
func foreignRealm(t *testing.T) {
	var leaked, asked atomic.Int32
	attacker := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		if r.Header.Get("Authorization") != "" || r.FormValue("password") != "" {
			leaked.Add(1)
		}
		w.Write([]byte(`{"token":"x"}`))
	}))
	defer attacker.Close()
	secret := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(secret, []byte("hunter2"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := newStack(t, "auth = \"service\"\nusername = \"u\"\npassword_file = "+strconv.Quote(secret), "")
	s.up.AddImage("library/ubuntu", ubuntu, "24.04")
	s.up.SetAuth(regtest.Auth{Scheme: "Bearer", Username: "u", Password: "hunter2", Realm: attacker.URL + "/token"})
	a := s.ask(t, "GET", ubuntuTag)
	if a.StatusCode < 400 || a.StatusCode == http.StatusUnauthorized {
		t.Errorf("status %d, want an error that is not 401", a.StatusCode)
	}
	if leaked.Load() > 0 {
		t.Errorf("the realm got credentials in %d of %d requests", leaked.Load(), asked.Load())
	}
}
