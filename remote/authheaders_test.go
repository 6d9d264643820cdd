package remote

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/entrepot/entrepot/internal/regtest"
	"github.com/entrepot/entrepot/ref"
)

func TestAuthHeaders(t *testing.T) {
	creds, err := AuthHeaders(`{"index.docker.io": "Basic ` + b64("hub:p1") + `", "gcr.io": "bearer tok", "Reg.example.com:5000": " X-Identity  id ",
		"https://old.example.com/v1/": "BASIC ` + b64("old:p2") + `", "quay.io/team": "Bearer team"}`)
	if err != nil {
		t.Fatal(err)
	}
	for host, want := range map[string]string{
		"docker.io": "hub/p1//", "registry-1.docker.io": "hub/p1//", "gcr.io": "///tok", "reg.example.com:5000": "//id/", "REG.example.com:5000": "//id/",
		"reg.example.com": "///", "eu.gcr.io": "///", "quay.io": "///", "old.example.com": "old/p2//", "": "///",
	} {
		c, err := creds.Credential(t.Context(), host, "a/b")
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join([]string{c.Username, c.Password.Reveal(), c.IdentityToken.Reveal(), c.RegistryToken.Reveal()}, "/"); got != want {
			t.Errorf("%s: %q, want %q", host, got, want)
		}
	}
	if none, err := AuthHeaders("\n"); err != nil || none == nil {
		t.Errorf("empty: %v, %v", none, err)
	}
}

func TestAuthHeadersErrorsTellNoSecrets(t *testing.T) {
	for _, text := range []string{
		canary, `"` + canary + `"`, `{"x":["` + canary + `"]}`, `{"x":"` + canary + `"}`, `{"x":"Digest ` + canary + `"}`, `{"x":"Basic ` + canary + `!"}`,
		`{"x":"Basic ` + b64(canary) + `"}`, `{"x":"Basic "}`, `{"x":"Basic ` + b64(":"+canary) + `"}`, `{"` + canary + ` ":"x"}`, `{"x":""}`, `{"x":"Bearer tok"} ` + canary,
	} {
		_, err := AuthHeaders(text)
		if err == nil || strings.Contains(err.Error(), canary) || strings.Contains(err.Error(), b64(canary)) {
			t.Errorf("%s: error %v", text, err)
		}
	}
}

func TestFirstOf(t *testing.T) {
	one, err := AuthHeaders(`{"one.example": "Bearer 1"}`)
	if err != nil {
		t.Fatal(err)
	}
	all := FirstOf(one, Static("u", NewSecret("2")))
	if c, err := all.Credential(t.Context(), "one.example", ""); err != nil || c.RegistryToken.Reveal() != "1" {
		t.Errorf("the first: %+v, %v", c, err)
	}
	if c, err := all.Credential(t.Context(), "two.example", ""); err != nil || c.Username != "u" {
		t.Errorf("the second: %+v, %v", c, err)
	}
	if c, err := FirstOf().Credential(t.Context(), "two.example", ""); err != nil || !c.Anonymous() {
		t.Errorf("none: %+v, %v", c, err)
	}
	if _, err := FirstOf(AuthFile(t.TempDir()+"/none"), all).Credential(t.Context(), "one.example", ""); err == nil {
		t.Error("a source that fails is passed over")
	}
}

// TestAuthHeadersOnTheWire holds that each kind of header opens the registry of
// its key, and that a registry without a key is sent nothing.
func TestAuthHeadersOnTheWire(t *testing.T) {
	for name, header := range map[string]string{"Basic": "Basic " + b64("u:p"), "Bearer": "Basic " + b64("u:p")} {
		reg, other := regtest.New(t, regtest.Config{}), regtest.New(t, regtest.Config{})
		for _, r := range []*regtest.Registry{reg, other} {
			r.SetAuth(regtest.Auth{Scheme: name, Username: "u", Password: "p"})
			r.AddImage("a/b", regtest.Image{}, "v1")
		}
		text, err := json.Marshal(map[string]string{reg.Host(): header})
		if err != nil {
			t.Fatal(err)
		}
		creds, err := AuthHeaders(string(text))
		if err != nil {
			t.Fatal(err)
		}
		c := NewClient(ClientConfig{})
		defer c.Close()
		for r, want := range map[*regtest.Registry]bool{reg: true, other: false} {
			e, err := c.Endpoint(EndpointConfig{URL: r.URL(), AllowPrivate: true, Credentials: creds})
			if err != nil {
				t.Fatal(err)
			}
			_, err = e.Resolve(t.Context(), ref.Name{Host: "x.example", Path: "a/b"}.WithTag("v1"))
			if got := err == nil; got != want {
				t.Errorf("%s: error %v, want readable %t", name, err, want)
			}
		}
		for _, e := range other.Log() {
			if got := e.Header.Get("Authorization"); strings.HasPrefix(got, "Basic ") {
				t.Errorf("%s: the other registry was sent %q", name, got)
			}
		}
	}
}

func FuzzAuthHeaders(f *testing.F) {
	f.Add(`{"gcr.io":"Bearer x"}`)
	f.Add(`{"https://index.docker.io/v1/":"Basic dTpw"}`)
	f.Add(`{"x":null,"y":"X-Identity z"}`)
	f.Add(`{"x":"Basic Og=="}`)
	f.Fuzz(func(t *testing.T, text string) {
		creds, err := AuthHeaders(text)
		if (err == nil) != (creds != nil) {
			t.Fatalf("%v, %v", creds, err)
		}
		if all, ok := creds.(authHeaders); ok {
			for host, c := range all {
				if c.Anonymous() {
					t.Fatalf("%q has no credential", host)
				}
			}
		}
	})
}
