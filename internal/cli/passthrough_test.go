package cli

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/entrepot/entrepot/internal/regtest"
	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/remote"
)

// asTenant asks as somebody; "" is nobody.
func (r *running) asTenant(user, url string) (int, http.Header, string) {
	r.t.Helper()
	req, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	if user != "" {
		req.SetBasicAuth(user, passwordOf(user))
	}
	resp, err := r.client.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return resp.StatusCode, resp.Header, string(body)
}

// Callers log in to the upstream themselves: each gets what the upstream gives
// to him, from the cache too; nothing of what he sends is ours, or is told.
func TestServePassthrough(t *testing.T) {
	reg := regtest.New(t, regtest.Config{})
	private := reg.AddImage("team-a/app", regtest.Image{Layers: []int64{100_000}, Seed: 1}, "v1")
	other := reg.AddImage("team-a/other", regtest.Image{Layers: []int64{1000}, Seed: 3}, "v1")
	reg.AddImage("team-b/app", regtest.Image{Layers: []int64{1000}, Seed: 2}, "v1")
	h := startHouse(t, reg, map[string]string{"user-alice": "team-a/", "user-bob": "team-b/"})
	plain := regtest.New(t, regtest.Config{})
	plain.AddImage("open/app", regtest.Image{Seed: 4}, "v1")
	r := start(t, fmt.Sprintf("[[upstream]]\nname = 'house.example'\nurl = %q\nallow_private = true\nauth = 'passthrough'\n", h.url)+
		upstreamTable(plain, "plain.example", ""), "--log-level", "debug")
	at := r.url + "/v2/house.example/"
	layer := string(private.Layers[0].Digest)

	for range 2 {
		for _, what := range []string{"manifests/v1", "blobs/" + layer} {
			code, header, _ := r.asTenant("user-alice", at+"team-a/app/"+what)
			if code != 200 || !strings.HasPrefix(header.Get("Cache-Control"), "private") {
				t.Errorf("%s for its owner: got %d, Cache-Control %q", what, code, header.Get("Cache-Control"))
			}
		}
	}
	if n := reg.BlobBytes(private.Layers[0].Digest); n != 100_000 {
		t.Errorf("the upstream sent %d bytes of the layer", n)
	}
	if code, _, _ := r.asTenant("user-bob", at+"team-b/app/manifests/v1"); code != 200 {
		t.Errorf("bob's own image: got %d", code)
	}
	// One layer of alice's is here, the other one is not.
	for _, repo := range []string{"team-a/app", "team-b/app"} {
		for _, user := range []string{"user-bob", "user-eve", ""} {
			hereCode, hereHeader, here := r.asTenant(user, at+repo+"/blobs/"+layer)
			notCode, notHeader, not := r.asTenant(user, at+repo+"/blobs/"+string(other.Layers[0].Digest))
			if hereCode != 404 || notCode != 404 || strings.ReplaceAll(here, layer, "") != strings.ReplaceAll(not, string(other.Layers[0].Digest), "") {
				t.Errorf("%q, %s: got %d %s\nand %d %s", user, repo, hereCode, here, notCode, not)
			}
			if a, b := headerNames(hereHeader), headerNames(notHeader); !slices.Equal(a, b) || hereHeader.Get("WWW-Authenticate") != "" {
				t.Errorf("%q, %s: headers %v and %v", user, repo, hereHeader, notHeader)
			}
		}
	}

	if code, _, _ := r.asTenant("user-alice", r.url+"/v2/plain.example/open/app/manifests/v1"); code != 200 {
		t.Errorf("an upstream that is read anonymously: got %d", code)
	}
	if got := authorizations(plain); got != "" {
		t.Errorf("another upstream got an Authorization: %s", got)
	}
	for _, secret := range []string{passwordOf("user-alice"), passwordOf("user-bob"), "dXNlci"} {
		if strings.Contains(r.out.String(), secret) {
			t.Errorf("the log tells %q", secret)
		}
	}
}

// headerNames are the names of the headers of an answer.
func headerNames(h http.Header) []string {
	var all []string
	for name := range h {
		all = append(all, name)
	}
	slices.Sort(all)
	return all
}

// A login for an upstream is never compared with our accounts, and one for us
// never goes to the upstream.
func TestPassthroughBesideAccounts(t *testing.T) {
	reg := regtest.New(t, regtest.Config{})
	reg.AddImage("team-a/app", regtest.Image{Seed: 1}, "v1")
	h := startHouse(t, reg, map[string]string{"alice": "team-a/"})
	accounts := filepath.Join(t.TempDir(), "htpasswd")
	// The user "ours" with the password "x".
	if err := os.WriteFile(accounts, []byte("ours:$2y$04$t3UcEcf2UlBwN.cD9f5CHOKpUqxgSvz79H1fO4MXY3kDImZ7Ey9Wa\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := start(t, fmt.Sprintf("[auth]\nhtpasswd = %q\nanonymous = 'pull'\n[[upstream]]\nname = 'house.example'\nurl = %q\nallow_private = true\nauth = 'passthrough'\n", accounts, h.url))
	if code, _, body := r.asTenant("alice", r.url+"/v2/house.example/team-a/app/manifests/v1"); code != 200 {
		t.Errorf("a login of the upstream: got %d %s", code, body)
	}
	if code, _, _ := r.asTenant("alice", r.url+"/v2/own/app/manifests/v1"); code != 401 {
		t.Errorf("a login of the upstream with us: got %d, want 401", code)
	}
	if got := h.who("own/app"); len(got) > 0 {
		t.Errorf("the upstream was asked for our repository by %v", got)
	}
}

func TestCredentialOf(t *testing.T) {
	basic := func(s string) string { return "Basic " + base64.StdEncoding.EncodeToString([]byte(s)) }
	for header, want := range map[string]remote.Credential{
		"":                   {},
		basic("u:p:q"):       {Username: "u", Password: oci.NewSecret("p:q")},
		"basic dTpw":         {Username: "u", Password: oci.NewSecret("p")},
		basic("u:"):          {},
		basic(":p"):          {},
		"Basic !":            {},
		"Bearer abc":         {RegistryToken: oci.NewSecret("abc")},
		"bearer  abc":        {RegistryToken: oci.NewSecret("abc")},
		"Digest username=\"": {},
	} {
		got, err := callersOwn{}.Credential(oci.WithLogin(context.Background(), oci.NewSecret(header)), "h", "p")
		if err != nil || got != want {
			t.Errorf("%q: got %+v, %v", header, got, err)
		}
	}
}

func FuzzCredentialOf(f *testing.F) {
	for _, s := range []string{"Basic dTpw", "Bearer abc", "Basic", "Bearer ", "\x00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, header string) {
		c := credentialOf(oci.NewSecret(header))
		if c.Username == "" != c.Password.Empty() || c.Username != "" && !c.RegistryToken.Empty() {
			t.Errorf("%q is half a credential: %+v", header, c)
		}
	})
}
