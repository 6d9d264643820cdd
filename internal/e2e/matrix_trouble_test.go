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
	"github.com/entrepot/entrepot/oci"
)

var troubleRows = []row{
	{"upstream stalls before headers", stallsBeforeHeaders},
	{"upstream 429 with Retry-After, tag cached", func(t *testing.T) {
		s := newStack(t, `tag_ttl = "0s"`, "")
		im := s.up.AddImage("library/ubuntu", ubuntu, "24.04")
		s.ask(t, "GET", ubuntuTag).is(t, im.Raw)
		s.settle(t, im)
		s.up.On(regtest.Match{}, regtest.Busy("60"))
		for range 3 {
			a := s.ask(t, "GET", ubuntuTag)
			a.is(t, im.Raw)
			a.header(t, "X-Cache: STALE")
			if w := a.Header.Get("Warning"); !strings.HasPrefix(w, `299 - "`) {
				t.Errorf("Warning is %q, want one with 299", w)
			}
		}
		s.wire(t, "HEAD manifest 24.04")
	}},
	{"upstream 429, not cached", func(t *testing.T) {
		s := newStack(t, "", "")
		s.up.AddImage("library/ubuntu", ubuntu, "24.04")
		s.up.On(regtest.Match{}, regtest.Busy("60"))
		for range 5 { // as often as containerd asks without a pause
			a := s.ask(t, "HEAD", ubuntuTag)
			a.status(t, http.StatusTooManyRequests, "")
			if n, err := strconv.Atoi(a.Header.Get("Retry-After")); err != nil || n < 1 || n > 60 {
				t.Errorf("Retry-After is %q, want 1 to 60", a.Header.Get("Retry-After"))
			}
		}
		s.ask(t, "GET", ubuntuTag).status(t, http.StatusTooManyRequests, oci.CodeTooManyRequests)
		if n := s.up.Count("", regtest.Manifest); n != 1 {
			t.Errorf("the upstream was asked %d times in its pause, want once", n)
		}
	}},
	{"upstream 401 after the token was renewed", func(t *testing.T) {
		s := newStack(t, "", "")
		s.up.AddImage("library/ubuntu", ubuntu, "24.04")
		s.up.SetAuth(regtest.Auth{Scheme: "Bearer"})
		s.up.On(regtest.Match{Kind: regtest.Manifest}, regtest.Fault{Status: http.StatusUnauthorized,
			Header: http.Header{"Www-Authenticate": {`Bearer realm="` + s.up.TokenURL() + `"`}}})
		s.ask(t, "GET", ubuntuTag).status(t, http.StatusNotFound, oci.CodeNameUnknown)
	}},
	{"upstream wants credentials that nobody has", func(t *testing.T) {
		s := newStack(t, "", "")
		s.up.AddImage("library/ubuntu", ubuntu, "24.04")
		s.up.SetAuth(regtest.Auth{Scheme: "Bearer", Username: "u", Password: "p"})
		s.ask(t, "GET", ubuntuTag).status(t, http.StatusNotFound, oci.CodeNameUnknown)
	}},
	{"upstream 403", func(t *testing.T) {
		s := newStack(t, "", "")
		s.up.AddImage("library/ubuntu", ubuntu, "24.04")
		s.up.On(regtest.Match{}, regtest.Status(http.StatusForbidden))
		s.ask(t, "GET", ubuntuTag).status(t, http.StatusNotFound, oci.CodeNameUnknown)
	}},
	{"upstream is not a registry", func(t *testing.T) {
		s := newStack(t, "", "")
		s.up.AddImage("library/ubuntu", ubuntu, "24.04")
		s.up.On(regtest.Match{}, regtest.HTML())
		a := s.ask(t, "GET", ubuntuTag)
		a.status(t, http.StatusBadGateway, "")
		if strings.Contains(string(a.body), "log in") {
			t.Errorf("the portal's page reached the client: %s", a.body)
		}
	}},
	{"upstream redirects to a CDN", redirectToCDN},
	{"upstream redirects to 169.254.169.254", func(t *testing.T) {
		s := newStack(t, "", "")
		d, _ := s.addBlob(t, "library/ubuntu", 1, 1<<16)
		s.up.On(regtest.Match{Kind: regtest.Blob}, regtest.Fault{Redirect: "http://169.254.169.254/latest/meta-data"})
		s.ask(t, "GET", blobPath(d)).status(t, http.StatusBadGateway, "")
	}},
	{"upstream on loopback that may not be", func(t *testing.T) {
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
	{"upstream's realm is somewhere else", foreignRealm},
}

// stallsBeforeHeaders waits for the bound of 25 seconds in real time.
func stallsBeforeHeaders(t *testing.T) {
	s := newStack(t, "", "")
	d, b := s.addBlob(t, "library/ubuntu", 1, blobSize)
	im := s.up.AddImage("library/ubuntu", regtest.Image{Seed: 3}, "24.04")
	s.up.On(regtest.Match{}, regtest.Held())
	asked := make(chan answer)
	go func() {
		a, err := tryGet(t, "GET", s.url+"/v2/"+ubuntuTag)
		if err != nil {
			t.Errorf("GET manifest: %v", err)
			a = answer{Response: new(http.Response)}
		}
		asked <- a
	}()
	a := s.ask(t, "GET", blobPath(d))
	a.status(t, http.StatusGatewayTimeout, "")
	a.header(t, "Content-Type: application/json")
	(<-asked).status(t, http.StatusGatewayTimeout, "")
	s.up.Clear()
	eventually(t, "the blob is there once the upstream answers again", func() bool {
		a, err := tryGet(t, "GET", s.url+"/v2/"+blobPath(d))
		return err == nil && a.err == nil && a.StatusCode == http.StatusOK && string(a.body) == string(b)
	})
	s.ask(t, "GET", ubuntuTag).is(t, im.Raw)
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
