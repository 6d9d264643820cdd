package conf

import (
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/entrepot/entrepot/rules"
)

func FuzzK3s(f *testing.F) { fuzzFormat(f, "k3s", "registries.yaml") }

func TestK3sPlans(t *testing.T) {
	for _, c := range []struct{ name, text, ref, want string }{
		{"empty file", "", "quay.io/a:1", "https://quay.io/v2/a/manifests/1"},
		{
			"no rewrite at the registry itself",
			"mirrors:\n  quay.io:\n    endpoint: [\"https://quay.io\", \"https://m.example.com\"]\n    rewrite: {\"^(.*)$\": \"x/$1\"}\n",
			"quay.io/a:1", "https://quay.io/v2/a/manifests/1\nhttps://m.example.com/v2/x/a/manifests/1?ns=quay.io\nhttps://quay.io/v2/a/manifests/1",
		},
		{
			"a rewrite that changes nothing is not the one",
			"mirrors:\n  quay.io:\n    endpoint: [\"https://m.example.com\"]\n    rewrite: {\"^a$\": \"a\", \"^(.*)$\": \"x/$1\"}\n",
			"quay.io/a:1", "https://m.example.com/v2/x/a/manifests/1?ns=quay.io\nhttps://quay.io/v2/a/manifests/1",
		},
		{
			"a rewrite to what is no name is not the one",
			"mirrors:\n  quay.io:\n    endpoint: [\"https://m.example.com\"]\n    rewrite: {\"^a\": \"A\", \"^aa$\": \"\", \"a$\": \"bc\"}\n",
			"quay.io/aa:1", "https://m.example.com/v2/abc/manifests/1?ns=quay.io\nhttps://quay.io/v2/aa/manifests/1",
		},
		{
			"port 443 before port 80, whatever is rewritten",
			"mirrors:\n  \"quay.io:80\":\n    endpoint: [\"https://b.example.com\"]\n    rewrite: {\"^library/(.*)\": \"x\"}\n  \"quay.io:443\":\n    endpoint: [\"https://a.example.com\"]\n",
			"quay.io/a:1", "https://a.example.com/v2/a/manifests/1?ns=quay.io\nhttps://quay.io/v2/a/manifests/1",
		},
		{
			"the rewrites of all, without an endpoint, for a port",
			"mirrors:\n  \"quay.io:443\":\n    endpoint: [\"https://a.example.com\"]\n  \"*\":\n    rewrite: {\"^(.*)$\": \"p/$1\"}\n",
			"quay.io/a:1", "https://a.example.com/v2/p/a/manifests/1?ns=quay.io\nhttps://quay.io/v2/a/manifests/1",
		},
		{
			"a rewrite to one letter",
			"mirrors:\n  quay.io:\n    endpoint: [\"https://m.example.com\", \"https://:\"]\n    rewrite: {\"^.*$\": \"x\"}\n",
			"quay.io/a/b:1", "https://m.example.com/v2/x/manifests/1?ns=quay.io\nunusable\nhttps://quay.io/v2/a/b/manifests/1",
		},
		{
			"Docker Hub has no names of one component",
			"mirrors:\n  docker.io:\n    endpoint: [\"https://m.example.com/v2/hub\"]\n    rewrite: {\"^library/(.*)\": \"x-$1\"}\n",
			"alpine:1", "https://m.example.com/v2/hub/library/x-alpine/manifests/1?ns=docker.io\nhttps://index.docker.io/v2/library/alpine/manifests/1",
		},
		{
			"endpoints without a scheme", "mirrors:\n  quay.io:\n    endpoint: [m.example.com, \"localhost:5000\", localhost, \"127.0.0.1:443\", \"[::1]:5000\"]\n", "quay.io/a:1",
			"https://m.example.com/v2/a/manifests/1?ns=quay.io\nhttp://localhost:5000/v2/a/manifests/1?ns=quay.io\nhttps://localhost/v2/a/manifests/1?ns=quay.io\n" +
				"https://127.0.0.1:443/v2/a/manifests/1?ns=quay.io\nhttp://[::1]:5000/v2/a/manifests/1?ns=quay.io\nhttps://quay.io/v2/a/manifests/1",
		},
		{"a registry on this machine", "{}", "localhost:5000/a:1", "http://localhost:5000/v2/a/manifests/1"},
		{"and without a port", "{}", "localhost/a:1", "https://localhost/v2/a/manifests/1"},
		{
			"TLS settings of a host",
			"mirrors:\n  quay.io:\n    endpoint: [\"https://m.example.com\", \"http://m.example.com\"]\nconfigs:\n  m.example.com:\n    tls: {insecure_skip_verify: yes}\n",
			"quay.io/a:1", "insecure https://m.example.com/v2/a/manifests/1?ns=quay.io\nhttp://m.example.com/v2/a/manifests/1?ns=quay.io\nhttps://quay.io/v2/a/manifests/1",
		},
		{
			"settings of all hosts, but of those that have their own",
			"mirrors:\n  quay.io:\n    endpoint: [\"https://m.example.com\"]\nconfigs:\n  \"*\":\n    tls: {insecure_skip_verify: true}\n  m.example.com:\n    auth: {username: u}\n",
			"quay.io/a:1", "https://m.example.com/v2/a/manifests/1?ns=quay.io\ninsecure https://quay.io/v2/a/manifests/1",
		},
		{"settings of Docker Hub", "configs:\n  docker.io:\n    tls: {insecure_skip_verify: true}\n", "alpine:1", "insecure https://index.docker.io/v2/library/alpine/manifests/1"},
		{
			"an empty key hides the star", "mirrors:\n  \"*\":\n    endpoint: [\"https://any.example.com\"]\n  quay.io:\n", "quay.io/a:1", "https://quay.io/v2/a/manifests/1",
		},
		{
			"paths", "mirrors:\n  quay.io:\n    endpoint: [\"https://a.example.com/\", \"https://b.example.com/v2/\", \"https://c.example.com/x/v2/\", \"https://d.example.com/v2/x//y/\"]\n", "quay.io/a:1",
			"https://a.example.com/v2/a/manifests/1?ns=quay.io\nhttps://b.example.com/v2/a/manifests/1?ns=quay.io\nhttps://c.example.com/x/v2/a/manifests/1?ns=quay.io\n" +
				"https://d.example.com/v2/x/y/a/manifests/1?ns=quay.io\nhttps://quay.io/v2/a/manifests/1",
		},
		{
			"the last of a key", "mirrors:\n  quay.io:\n    endpoint: [\"https://a.b\"]\n  quay.io:\n    endpoint: [\"https://c.d\"]\n", "quay.io/a:1",
			"https://c.d/v2/a/manifests/1?ns=quay.io\nhttps://quay.io/v2/a/manifests/1",
		},
		{
			"rewrites are not looked up by the port", "mirrors:\n  \"*\":\n    rewrite: {\"^(.*)$\": \"any/$1\"}\n    endpoint: [\"https://any.example.com\"]\n" +
				"  quay.io:443:\n    endpoint: [\"https://m.example.com\"]\n    rewrite: {\"^(.*)$\": \"own/$1\"}\n",
			"quay.io/a:1", "https://m.example.com/v2/any/a/manifests/1?ns=quay.io\nhttps://quay.io/v2/a/manifests/1",
		},
		{
			"and found with it", "mirrors:\n  quay.io:443:\n    endpoint: [\"https://m.example.com\"]\n    rewrite: {\"^(.*)$\": \"own/$1\"}\n",
			"quay.io:443/a:1", "https://m.example.com/v2/own/a/manifests/1?ns=quay.io%3A443\nhttps://quay.io:443/v2/a/manifests/1",
		},
		{"settings of plain HTTP", "configs:\n  localhost:5000:\n    tls: {insecure_skip_verify: true}\n", "localhost:5000/a:1", "http://localhost:5000/v2/a/manifests/1"},
		{"another scheme", "mirrors:\n  quay.io:\n    endpoint: [\"ftp://m.example.com\"]\n", "quay.io/a:1", "unusable\nhttps://quay.io/v2/a/manifests/1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg, d := readOne(t, "k3s", "k3s", c.text)
			if diff := cmp.Diff(c.want, planOne(t, cfg, d, c.ref)); diff != "" {
				t.Errorf("(-want +got):\n%s%s", diff, problemLines(cfg))
			}
		})
	}
}

func TestK3sProblems(t *testing.T) {
	const mirror = "mirrors:\n  quay.io:\n    endpoint: [\"https://m.example.com\"]\n"
	checkProblems(t, "k3s", "k3s", []problemCase{
		{"syntax", "mirrors: {", "error f:1:11: did not", true},
		{"no mapping", "- a\n", "error f:1:1: the document is a list", true},
		{"endpoint is no list", "mirrors:\n  quay.io:\n    endpoint: https://m.example.com\n", "error f:3:15: endpoint is a string and should be a list", true},
		{"mirror is no table", "mirrors:\n  quay.io: [https://m.example.com]\n", "error f:2:12: quay.io is a list and should be a table", true},
		{"flag is no boolean", "configs:\n  a.b:\n    tls: {insecure_skip_verify: maybe}\n", "error f:3:33: insecure_skip_verify is a string", true},
		{"unknown key", "mirrors:\n  quay.io:\n    endpoints: [a.b]\n", `warning f:3:5: unknown key "endpoints"`, false},
		{"key twice", mirror + "  quay.io:\n    endpoint: [a.b]\n", `error f:4:3: key "quay.io" is here twice, first in line 2`, false},
		{"second document", mirror + "---\nmirrors: {}\n", "error f:5:1: only the first document is read", false},
		{"key with a scheme", "mirrors:\n  \"https://quay.io\":\n    endpoint: [a.b]\n", `error f:2:3: key "https://quay.io" matches nothing`, false},
		{"key with a wildcard", "mirrors:\n  \"*.quay.io\":\n    endpoint: [a.b]\n", `error f:2:3: key "*.quay.io" matches nothing`, false},
		{"key with a port", "mirrors:\n  \"a.b:443\":\n    endpoint: [c.d]\n", `warning f:2:3: key "a.b:443" is used for the host without a port`, false},
		{"other name of Docker Hub", "mirrors:\n  registry-1.docker.io:\n    endpoint: [a.b]\n", `error f:2:3: key "registry-1.docker.io" is not for`, false},
		{"star hidden", mirror + "  gcr.io: {}\n  \"*\":\n    endpoint: [a.b]\n", "warning f:4:3: gcr.io has no endpoint", false},
		{"bad pattern", mirror + "    rewrite: {\"(a\": b}\n", "error f:4:15: the rewrite is passed over", false},
		{"several rewrites", mirror + "    rewrite: {\"^a\": b, \"^b\": c}\n", "warning f:4:14: where several rewrites match", false},
		{"no host", "mirrors:\n  quay.io:\n    endpoint: [\"https:///v2\"]\n", `error f:3:16: the endpoint "https:///v2" is passed over: it has no host`, false},
		{"no address", "mirrors:\n  quay.io:\n    endpoint: [\"https://a b\"]\n", `error f:3:16: the endpoint "https://a b" is passed over: it is no address`, false},
		{"path without v2", "mirrors:\n  quay.io:\n    endpoint: [\"https://a.b/proj\"]\n", "warning f:3:16: the path /proj takes the place of /v2", false},
		{"half a pair", "configs:\n  a.b:\n    tls: {cert_file: /c.pem}\n", "error f:3:10: tls of a.b: cert_file and key_file go together", false},
		{"no authorities", "configs:\n  a.b:\n    tls: {ca_file: /c.pem}\n", "error f:3:10: tls of a.b: read /c.pem: file does not exist", false},
		{"settings in the wrong place", "configs:\n  a.b:\n    insecure_skip_verify: true\n", `error f:3:5: key "insecure_skip_verify" is swallowed`, false},
		{"auths", "auths:\n  a.b: {username: u}\n", "error f:2:3: auths is no longer used", false},
	})
}

// TestK3sKeepsNoSecrets holds that credentials are neither kept nor shown.
func TestK3sKeepsNoSecrets(t *testing.T) {
	text := "mirrors:\n  \"https://u:hunter2@quay.io\":\n    endpoint: [\"https://u:hunter2@a b\", \"https://u:hunter2@a.b\"]\nconfigs:\n  a.b:\n    auth: {username: u, password: hunter2, token: hunter2}\n"
	cfg, d := readOne(t, "k3s", "k3s", text)
	if h := cfg.Hosts["a.b"]; h.Transport == nil || !h.Transport.InlineAuth {
		t.Errorf("settings %+v do not tell of credentials", h)
	}
	if got := problemLines(cfg) + planOne(t, cfg, d, "quay.io/a:1"); strings.Contains(got, "hunter2") {
		t.Errorf("a secret is shown:\n%s", got)
	}
}

// TestK3sFailedTLS holds that the client drops the settings that it cannot use,
// and that the strict reading asks nobody then.
func TestK3sFailedTLS(t *testing.T) {
	const text = "configs:\n  quay.io:\n    tls: {ca_file: /missing.pem, insecure_skip_verify: true}\n"
	cfg, d := readOne(t, "k3s", "k3s", text)
	if got, want := planOne(t, cfg, d, "quay.io/a:1"), "https://quay.io/v2/a/manifests/1"; got != want {
		t.Errorf("client: got %s, want %s", got, want)
	}
	cfg, d = readOne(t, "k3s", "", text)
	if got := planOne(t, cfg, d, "quay.io/a:1"); !strings.HasPrefix(got, "error: f:3:10: tls of quay.io") {
		t.Errorf("natively: %s", got)
	}
}

func TestK3sOnAMachine(t *testing.T) {
	for _, p := range k3sSystem {
		fsys := fstest.MapFS{"m": {Mode: fs.ModeDir | 0o755}, "m/" + p: {Data: []byte("mirrors: {quay.io: {endpoint: [a.b]}}")}}
		cfg, err := Read(Source{Format: "k3s", FS: fsys, Path: "m", System: true}, rules.Native())
		if err != nil || len(cfg.Rules) != 1 || cfg.Rules[0].Origin.File != "/"+p {
			t.Errorf("%s: rules %+v, error %v", p, cfg.Rules, err)
		}
	}
}
