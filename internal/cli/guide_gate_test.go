package cli

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/entrepot/entrepot/internal/regtest"
	"github.com/entrepot/entrepot/ref"
	"github.com/entrepot/entrepot/rules"
)

// A gate is a server that reaches one upstream through one mirror, by a
// hosts.toml.
type gate struct {
	*running
	mirror, origin *regtest.Registry
	dir            string // of hosts.toml and entrepot.toml
}

// startGate serves the image team/app:v1, which both registries have. Settings
// are those of the mirror in hosts.toml, keys those of the upstream's table;
// DIR stands for a directory with files.
func startGate(t *testing.T, mirror, origin *regtest.Registry, settings, keys string, files map[string]string) *gate {
	t.Helper()
	g := &gate{mirror: mirror, origin: origin, dir: t.TempDir()}
	for _, reg := range []*regtest.Registry{mirror, origin} {
		reg.AddImage("team/app", regtest.Image{Layers: []int64{1000}, Seed: 1}, "v1")
	}
	host, port, _ := strings.Cut(origin.Host(), ":")
	all := map[string]string{"certs.d/" + host + "_" + port + "_/hosts.toml": fmt.Sprintf("server = %q\n[host.%q]\n%s\n", origin.URL(), mirror.URL(), settings)}
	for name, text := range files {
		all[name] = text
	}
	for name, text := range all {
		path := filepath.Join(g.dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(strings.ReplaceAll(text, "DIR", g.dir)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	g.running = start(t, fmt.Sprintf("rules = ['hosts.toml=%s/certs.d']\n[[upstream]]\nname = %q\nurl = %q\naliases = ['o']\n%s\n",
		g.dir, origin.Host(), origin.URL(), strings.ReplaceAll(keys, "DIR", g.dir)))
	return g
}

// pull pulls the image.
func (g *gate) pull() error { return pullAll(g.client, g.url+"/v2/o/team/app") }

// authorizations returns the schemes of Authorization that a registry got.
func authorizations(reg *regtest.Registry) string {
	var all []string
	for _, e := range reg.Log() {
		if s := e.Authorization(); s != "" {
			all = append(all, s)
		}
	}
	return strings.Join(all, " ")
}

// TestAccountsStayWhereTheyBelong holds that a mirror that asks for credentials
// gets none that are the upstream's, and its own where docker_config has them.
func TestAccountsStayWhereTheyBelong(t *testing.T) {
	basic := func(user, password string) regtest.Auth {
		return regtest.Auth{Scheme: "Basic", Username: user, Password: password}
	}
	mirror, origin := regtest.New(t, regtest.Config{}), regtest.New(t, regtest.Config{})
	mirror.SetAuth(basic("far", "f-secret"))
	origin.SetAuth(basic("own", "o-secret"))
	g := startGate(t, mirror, origin, "", "allow_private = true\nauth = 'service'\nusername = 'own'\npassword_file = 'DIR/password'",
		map[string]string{"password": "o-secret\n"})
	if err := g.pull(); err != nil {
		t.Error(err)
	}
	if mirror.Count("GET", regtest.Manifest) == 0 || authorizations(mirror) != "" {
		t.Errorf("the mirror got %q in %v", authorizations(mirror), mirror.Log())
	}
	if authorizations(origin) == "" {
		t.Error("the upstream did not get its account")
	}

	mirror, origin = regtest.New(t, regtest.Config{}), regtest.New(t, regtest.Config{})
	mirror.SetAuth(basic("far", "f-secret"))
	auth := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	g = startGate(t, mirror, origin, "", "allow_private = true\nauth = 'service'\ndocker_config = 'DIR/config.json'", map[string]string{"config.json": fmt.Sprintf(
		`{"auths": {%q: {"auth": %q}, %q: {"auth": %q}}}`, mirror.Host(), auth("far:f-secret"), origin.Host(), auth("own:o-secret"))})
	if err := g.pull(); err != nil {
		t.Error(err)
	}
	if n := len(origin.Log()); n != 0 {
		t.Errorf("the mirror did not do: the upstream was asked %d times", n)
	}
}

// TestRuleThatHasItAll holds that certificates and headers of a rule are used,
// and that the mirror may be private where the upstream may not.
func TestRuleThatHasItAll(t *testing.T) {
	mirror, origin := regtest.New(t, regtest.Config{TLS: true}), regtest.New(t, regtest.Config{})
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificateOf(t, mirror)})
	g := startGate(t, mirror, origin, fmt.Sprintf("ca = 'DIR/ca.pem'\ndial_timeout = '2s'\n[host.%q.header]\nX-Team = 'blue-green'\n", mirror.URL()), "",
		map[string]string{"ca.pem": string(ca)})
	if err := g.pull(); err != nil {
		t.Fatal(err)
	}
	for _, e := range mirror.Log() {
		if e.Header.Get("X-Team") != "blue-green" || !strings.Contains(e.Query, "ns=") {
			t.Errorf("%s %s?%s has the headers %v", e.Method, e.Path, e.Query, e.Header)
		}
	}
	mirror.Down()
	status, _, _ := g.get(g.url + "/v2/o/team/other/manifests/v1")
	if status == http.StatusOK || len(origin.Log()) != 0 {
		t.Errorf("status %d, and the upstream, which may not be private, was asked %d times", status, len(origin.Log()))
	}
}

// certificateOf returns the certificate that a registry shows.
func certificateOf(t *testing.T, reg *regtest.Registry) []byte {
	t.Helper()
	tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: reg.RootCAs()}}
	defer tr.CloseIdleConnections()
	resp, err := (&http.Client{Transport: tr}).Get(reg.URL() + "/v2/")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	reg.ResetLog()
	return resp.TLS.PeerCertificates[0].Raw
}

// TestMirrorLeadsAstray holds that a mirror which a rule names cannot lead to
// another private address, and that the pull goes on elsewhere.
func TestMirrorLeadsAstray(t *testing.T) {
	for _, allowed := range []bool{false, true} {
		mirror, origin := regtest.New(t, regtest.Config{}), regtest.New(t, regtest.Config{})
		mirror.SetCDN(regtest.CDN{On: true})
		g := startGate(t, mirror, origin, "", fmt.Sprintf("allow_private = %t", allowed), nil)
		err := g.pull()
		if cdn := mirror.Count("GET", regtest.CDNBlob); (err == nil) != allowed || (cdn > 0) != allowed {
			t.Errorf("allow_private = %t: %v, and what the mirror leads to was asked %d times", allowed, err, cdn)
		}
	}
}

// TestIdentitiesPartTheCache holds that what is read with a header or a client
// certificate of a rule is kept apart, for the upstreams that the rule is for.
func TestIdentitiesPartTheCache(t *testing.T) {
	secret := func(value string) *rules.Transport {
		return &rules.Transport{Header: []rules.Header{{Name: "Authorization", Values: []string{value}}}}
	}
	who := func(m rules.Match, tr *rules.Transport, upstream string) string {
		ids := newIdentities(&rules.Config{Rules: []rules.Rule{{Match: m, Endpoints: []rules.Endpoint{{Host: "m.example", Transport: tr}}}}})
		return ids.at(upstream)
	}
	hub := rules.MatchName("index.docker.io")
	one := who(hub, secret("one"), "docker.io")
	if one == "" || one == who(hub, secret("two"), "docker.io") || one != who(hub, secret("one"), "docker.io") {
		t.Errorf("one identity is %q", one)
	}
	if got := who(hub, secret("one"), "quay.io"); got != "" {
		t.Errorf("it is %q where the rule is not for", got)
	}
	if got := who(hub, &rules.Transport{SkipVerify: true}, "docker.io"); got != "" {
		t.Errorf("whoever says nothing about himself is %q", got)
	}
	suffix, pair := rules.Match{Kind: rules.HostSuffix, Host: "example.com"}, &rules.Transport{Client: []rules.KeyPair{{Cert: "a", Key: "b"}}}
	if who(suffix, pair, "a.example.com") == "" || who(suffix, pair, "example.com") != "" {
		t.Error("a rule for the hosts below a domain is for others")
	}
	p := newPolicies([]upstream{{name: "docker.io"}}, func(string) string { return one })
	if got := p.of(context.Background(), ref.Name{Host: "docker.io", Path: "a"}); got.Anonymous || got.Scope != "docker.io+"+one {
		t.Errorf("the policy is %+v", got)
	}
}
