package cli

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/entrepot/entrepot/internal/regtest"
	"github.com/entrepot/entrepot/ref"
)

// What an upstream's table says about time comes to the policy of each of its
// repositories; the proxy's own tests show what it does.
func TestPolicyKnobs(t *testing.T) {
	cfg, err := parse(t, `
[[upstream]]
name = "a.example"
auth = "passthrough"
auth_grace = "5m"
404_confirm = "0"
offline_proof_ttl = "12h"
stale_while_revalidate = true
soft_budget = "25%"
[[upstream.tag]]
match = ['^nightly', '-dev$']
tag_ttl = "5s"
[[upstream.tag]]
match = ['^v1\.2$']
tag_ttl = "-1"
[[upstream]]
name = "*.b.example"
auth_grace = "0"
404_confirm = "10m"
[[upstream]]
name = "c.example"
`)
	if err != nil {
		t.Fatal(err)
	}
	of := newPolicies(cfg.upstreams, func(string) string { return "" }).of
	a, b, c := of(context.Background(), ref.Name{Host: "a.example", Path: "x"}), of(context.Background(), ref.Name{Host: "x.b.example", Path: "x"}), of(context.Background(), ref.Name{Host: "c.example", Path: "x"})
	if a.AuthGrace != 5*time.Minute || a.ConfirmMissing >= 0 || a.OfflineProofTTL != 12*time.Hour || !a.StaleWhileRevalidate {
		t.Errorf("a.example: %+v", a)
	}
	if b.AuthGrace >= 0 || b.ConfirmMissing != 10*time.Minute || b.StaleWhileRevalidate {
		t.Errorf("x.b.example: %+v", b)
	}
	if c.AuthGrace != 0 || c.ConfirmMissing != 0 || c.OfflineProofTTL != 0 || len(c.TagTTLs) != 0 {
		t.Errorf("c.example has not the defaults: %+v", c)
	}
	if len(a.TagTTLs) != 3 || a.TagTTLs[1].TTL != 5*time.Second || !a.TagTTLs[1].Match.MatchString("3.20-dev") || a.TagTTLs[2].TTL != neverAsk {
		t.Errorf("a.example's tags: %+v", a.TagTTLs)
	}
	if got := cfg.upstreams[0].budget; got != (budget{percent: 25}) || cfg.upstreams[2].budget != defaultBudget {
		t.Errorf("budgets %+v and %+v", got, cfg.upstreams[2].budget)
	}
}

func TestPolicyKnobsErrors(t *testing.T) {
	for text, want := range map[string]string{
		"auth_grace = 'long'":               `entrepot.toml:3: upstream.auth_grace: "long" is no time`,
		"404_confirm = 60":                  `entrepot.toml:3: upstream.404_confirm: "60" is no time`,
		"offline_proof_ttl = '1h'":          `entrepot.toml:3: upstream.offline_proof_ttl: callers of this upstream prove nothing`,
		"soft_budget = '200%'":              `entrepot.toml:3: upstream.soft_budget: a percentage is between 0% and 100%`,
		"stale_while_revalidate = 'yes'":    `entrepot.toml:3: upstream.stale_while_revalidate has to be true or false`,
		"[[upstream.tag]]\nmatch = ['(']":   `entrepot.toml:4: upstream.tag.match: `,
		"[[upstream.tag]]\ntag_ttl = '1s'":  `entrepot.toml:3: upstream.tag.match: tags need expressions`,
		"[[upstream.tag]]\nmatch = ['x']":   `entrepot.toml:3: upstream.tag.tag_ttl: nothing is said about these tags`,
		"[[upstream.tag]]\nmatches = ['x']": `entrepot.toml:4: unknown key "matches" in [[upstream.tag]]`,
	} {
		if _, err := parse(t, "[[upstream]]\nname = 'a.example'\n"+text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", text, err, want)
		}
	}
}

// B5: for how long our account may be refused before a stored tag is too, and
// how soon one that is gone is.
func TestServeGraceOfOurOwn(t *testing.T) {
	reg := regtest.New(t, regtest.Config{})
	reg.AddImage("library/alpine", regtest.Image{}, "3.20")
	table := func(name string, knobs ...string) string {
		return fmt.Sprintf("[[upstream]]\nname = %q\nurl = %q\nallow_private = true\ntag_ttl = '0'\n%s\n", name, reg.URL(), strings.Join(knobs, "\n"))
	}
	r := start(t, table("patient.example")+table("strict.example", "auth_grace = '0'", "404_confirm = '0'"))
	get := func(name string) (int, string) {
		code, h, _ := r.get(r.url + "/v2/" + name + "/library/alpine/manifests/3.20")
		return code, h.Get("X-Cache")
	}
	for _, name := range []string{"patient.example", "strict.example"} {
		if code, _ := get(name); code != http.StatusOK {
			t.Fatal(name, code)
		}
	}
	refuses := reg.On(regtest.Match{}, regtest.Fault{Status: http.StatusForbidden})
	if code, how := get("patient.example"); code != http.StatusOK || how != "STALE" {
		t.Errorf("refused, with the usual grace: %d %s", code, how)
	}
	if code, _ := get("strict.example"); code != http.StatusNotFound {
		t.Errorf("refused, without a grace: %d", code)
	}
	refuses.Remove()
}

// A tag that the upstream has not is forgotten at once where nobody has to
// confirm it: a server that is started again with the upstream away has it no
// more.
func TestServeForgetsAtTheFirst404(t *testing.T) {
	reg := regtest.New(t, regtest.Config{})
	reg.AddImage("library/alpine", regtest.Image{}, "3.20")
	for confirm, want := range map[string]int{"0": http.StatusServiceUnavailable, "60s": http.StatusOK} {
		reg.AddImage("library/alpine", regtest.Image{}, "3.20")
		text := fmt.Sprintf("[storage]\nurl = %q\n[[upstream]]\nname = 'example.com'\nurl = %q\nallow_private = true\ntag_ttl = '0'\n404_confirm = %q\n",
			filepath.Join(t.TempDir(), "store"), reg.URL(), confirm)
		const tag = "/v2/example.com/library/alpine/manifests/3.20"
		r := start(t, text)
		if code, _, _ := r.get(r.url + tag); code != http.StatusOK {
			t.Fatal(code)
		}
		reg.Delete("library/alpine", "3.20")
		if code, _, _ := r.get(r.url + tag); code != http.StatusNotFound {
			t.Errorf("a tag that is gone: %d", code)
		}
		r.end()
		down := reg.On(regtest.Match{}, regtest.Fault{Status: http.StatusBadGateway})
		r = start(t, text)
		if code, _, _ := r.get(r.url + tag); code != want {
			t.Errorf("404_confirm = %s, with the upstream away: %d, want %d", confirm, code, want)
		}
		down.Remove()
		r.end()
	}
}
