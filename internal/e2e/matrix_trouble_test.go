package e2e

import (
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/entrepot/entrepot/internal/regtest"
	"github.com/entrepot/entrepot/oci"
)

var troubleRows = []row{
	{"L20 upstream stalls before headers", stallsBeforeHeaders},
	{"L21 upstream 429 with Retry-After, tag cached", func(t *testing.T) {
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
	{"L22 upstream 429, not cached", func(t *testing.T) {
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
	{"L24 upstream 401 after the token was renewed", func(t *testing.T) {
		s := newStack(t, "", "")
		s.up.AddImage("library/ubuntu", ubuntu, "24.04")
		s.up.SetAuth(regtest.Auth{Scheme: "Bearer"})
		s.up.On(regtest.Match{Kind: regtest.Manifest}, regtest.Fault{Status: http.StatusUnauthorized,
			Header: http.Header{"Www-Authenticate": {`Bearer realm="` + s.up.TokenURL() + `"`}}})
		s.ask(t, "GET", ubuntuTag).status(t, http.StatusNotFound, oci.CodeNameUnknown)
	}},
	{"L24 upstream 401 after the token was renewed, caller with an account", refusedAccount},
	{"B6 upstream wants credentials that nobody has", func(t *testing.T) {
		s := newStack(t, "", "")
		s.up.AddImage("library/ubuntu", ubuntu, "24.04")
		s.up.SetAuth(regtest.Auth{Scheme: "Bearer", Username: "u", Password: "p"})
		s.ask(t, "GET", ubuntuTag).status(t, http.StatusNotFound, oci.CodeNameUnknown)
	}},
	{"B6 upstream 403", func(t *testing.T) {
		s := newStack(t, "", "")
		s.up.AddImage("library/ubuntu", ubuntu, "24.04")
		s.up.On(regtest.Match{}, regtest.Status(http.StatusForbidden))
		s.ask(t, "GET", ubuntuTag).status(t, http.StatusNotFound, oci.CodeNameUnknown)
	}},
	{"B6 upstream is not a registry", func(t *testing.T) {
		s := newStack(t, "", "")
		s.up.AddImage("library/ubuntu", ubuntu, "24.04")
		s.up.On(regtest.Match{}, regtest.HTML())
		a := s.ask(t, "GET", ubuntuTag)
		a.status(t, http.StatusBadGateway, "")
		if strings.Contains(string(a.body), "log in") {
			t.Errorf("the portal's page reached the client: %s", a.body)
		}
	}},
	{"L34 start with an upstream that is away, content cached", startWithoutUpstream},
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
