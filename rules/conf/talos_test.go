package conf

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func FuzzTalos(f *testing.F) { fuzzFormat(f, "talos", "machine.yaml") }

const (
	talosMirrors = "machine:\n  registries:\n    mirrors:\n"
	talosHosts   = "machine:\n  registries:\n    config:\n"
	talosMirror  = "apiVersion: v1alpha1\nkind: RegistryMirrorConfig\n"
	talosTLS     = "apiVersion: v1alpha1\nkind: RegistryTLSConfig\n"
)

func TestTalosPlans(t *testing.T) {
	for _, c := range []struct{ name, text, ref, want string }{
		{"no registries", "version: v1alpha1\nmachine: {type: worker}\ncluster: {}\n", "quay.io/a:1", "https://quay.io/v2/a/manifests/1"},
		{
			"the star", talosMirrors + "      \"*\": {endpoints: [\"https://any.example.com\"]}\n", "quay.io/a:1",
			"https://any.example.com/v2/a/manifests/1?ns=quay.io\nhttps://quay.io/v2/a/manifests/1",
		},
		{
			"a key of its own hides the star", talosMirrors + "      \"*\": {endpoints: [\"https://any.example.com\"]}\n      quay.io: {endpoints: []}\n", "quay.io/a:1",
			"https://quay.io/v2/a/manifests/1",
		},
		{
			"paths", talosMirrors + "      quay.io: {endpoints: [\"https://a.example.com/\", \"https://b.example.com/x/\", \"https://c.example.com/v2\", \"https://d.example.com/y/v2/\"]}\n", "quay.io/a:1",
			"https://a.example.com/v2/a/manifests/1?ns=quay.io\nhttps://b.example.com/x/v2/a/manifests/1?ns=quay.io\nhttps://c.example.com/v2/a/manifests/1?ns=quay.io\n" +
				"https://d.example.com/y/v2/a/manifests/1?ns=quay.io\nhttps://quay.io/v2/a/manifests/1",
		},
		{
			"overridden paths", talosMirrors + "      quay.io: {overridePath: yes, endpoints: [\"https://a.example.com\", \"https://b.example.com/x\"]}\n", "quay.io/a:1",
			"https://a.example.com/a/manifests/1?ns=quay.io\nhttps://b.example.com/x/a/manifests/1?ns=quay.io\nhttps://quay.io/v2/a/manifests/1",
		},
		{
			"Docker Hub as an endpoint has no ns", talosMirrors + "      docker.io: {skipFallback: true, endpoints: [\"https://registry-1.docker.io\"]}\n", "alpine:1",
			"https://registry-1.docker.io/v2/library/alpine/manifests/1",
		},
		{
			"no address of the usual form", talosMirrors + "      quay.io: {endpoints: [m.example.com, \"m.example.com:5000\", \"ftp://m.example.com\", \"https://m.example.com\"]}\n", "quay.io/a:1",
			"unusable\nunusable\nunusable\nhttps://m.example.com/v2/a/manifests/1?ns=quay.io\nhttps://quay.io/v2/a/manifests/1",
		},
		{
			"a document takes the place of an entry",
			talosMirrors + "      quay.io: {endpoints: [\"https://old.example.com\"], skipFallback: true}\n---\n" + talosMirror + "name: quay.io\nendpoints: [{url: \"https://new.example.com\"}]\n", "quay.io/a:1",
			"https://new.example.com/v2/a/manifests/1?ns=quay.io\nhttps://quay.io/v2/a/manifests/1",
		},
		{
			"TLS settings", talosMirrors + "      quay.io: {endpoints: [\"https://m.example.com\"]}\n    config:\n      m.example.com: {tls: {insecureSkipVerify: true}}\n", "quay.io/a:1",
			"insecure https://m.example.com/v2/a/manifests/1?ns=quay.io\nhttps://quay.io/v2/a/manifests/1",
		},
		{
			"TLS settings in a document", talosTLS + "name: quay.io\ninsecureSkipVerify: true\n", "quay.io/a:1",
			"insecure https://quay.io/v2/a/manifests/1",
		},
		{"a registry on this machine", "machine: {}", "localhost:5000/a:1", "https://localhost:5000/v2/a/manifests/1"},
		{
			"plain HTTP with credentials", talosMirrors + "      quay.io: {endpoints: [\"http://m.example.com\"]}\n    config:\n      m.example.com: {auth: {username: u, password: p}}\n", "quay.io/a:1",
			"http://m.example.com/v2/a/manifests/1?ns=quay.io\nhttps://quay.io/v2/a/manifests/1",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg, d := readOne(t, "talos", "talos", c.text)
			if diff := cmp.Diff(c.want, planOne(t, cfg, d, c.ref)); diff != "" {
				t.Errorf("(-want +got):\n%s%s", diff, problemLines(cfg))
			}
		})
	}
}

// TestTalosFailures holds which mistakes fail the images of one registry.
func TestTalosFailures(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"no address", talosMirrors + "      quay.io: {endpoints: [\"https://a.b\", \"10.0.0.5:5000\"]}\n", `error: f:4:44: the endpoint "10.0.0.5:5000" is no address`},
		{
			"TLS settings and plain HTTP", talosMirrors + "      quay.io: {endpoints: [\"http://a.b\"]}\n    config:\n      a.b: {tls: {}}\n",
			"error: f:4:29: there are TLS settings for a.b, which is asked by plain HTTP",
		},
		{"no client certificate", talosHosts + "      quay.io: {tls: {clientIdentity: {crt: \"\", key: \"\"}}}\n", "error: f:4:39: the client certificate is missing"},
		{"nothing to ask", talosMirrors + "      quay.io: {skipFallback: true}\n", "error: the rule leads nowhere"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, client := range []string{"", "talos"} {
				cfg, d := readOne(t, "talos", client, c.text)
				if got := planOne(t, cfg, d, "quay.io/a:1"); !strings.HasPrefix(got, c.want) {
					t.Errorf("client %q: got %s, want %s", client, got, c.want)
				}
				if got := planOne(t, cfg, d, "gcr.io/a:1"); got != "https://gcr.io/v2/a/manifests/1" {
					t.Errorf("client %q: another registry: %s", client, got)
				}
			}
		})
	}
}

func TestTalosProblems(t *testing.T) {
	checkProblems(t, "talos", "talos", []problemCase{
		{"syntax", "machine: {", "error f:1:11: did not", true},
		{"no mapping", "- a\n", "error f:1:1: the document is a list", true},
		{"unknown key", talosMirrors + "      quay.io: {endpoint: [\"https://a.b\"]}\n", `error f:4:17: unknown key "endpoint" in a mirror`, true},
		{"unknown key beside mirrors", "machine:\n  registries:\n    mirror: {}\n", `error f:3:5: unknown key "mirror" in machine.registries`, true},
		{"wrong type", talosMirrors + "      quay.io: {endpoints: \"https://a.b\"}\n", "error f:4:28: endpoints is a string", true},
		{"null", talosMirrors + "      quay.io:\n", `error f:4:7: machine.registries.mirrors of "quay.io" is null`, true},
		{"two machines", "machine: {}\n---\nmachine: {}\n", "error f:3:1: there are two v1alpha1 documents", true},
		{"registries at the top", "registries: {}\n", "error f:1:1: registries is not below machine", false},
		{"not base64", talosHosts + "      a.b: {tls: {ca: \"-----BEGIN\"}}\n", "error f:4:23: the value is not base64", true},
		{"no authority", talosHosts + "      a.b: {tls: {ca: aGVsbG8=}}\n", "error f:4:23: ca holds no certificate", false},
		{"settings for a URL", talosHosts + "      \"https://a.b\": {tls: {}}\n", "error f:4:7: the settings of \"https://a.b\" are for no host", false},
		{"settings of Docker Hub", talosHosts + "      docker.io: {tls: {}}\n", "error f:4:7: the settings of docker.io are not used", false},
		{"other name of Docker Hub", talosMirrors + "      index.docker.io: {endpoints: [\"https://a.b\"]}\n", `error f:4:7: the registry "index.docker.io" matches nothing`, false},
		{"key with a path", talosMirrors + "      quay.io/a: {endpoints: [\"https://a.b\"]}\n", `error f:4:7: the registry "quay.io/a" matches nothing`, false},
		{"no scheme", talosMirrors + "      quay.io: {endpoints: [a.b]}\n", `error f:4:29: the endpoint "a.b" cannot be asked`, false},
		{"v2 twice", talosMirrors + "      quay.io: {endpoints: [\"https://a.b/v2/x\"]}\n", "warning f:4:29: the path of", false},
		{"unknown kind", "apiVersion: v1alpha1\nkind: RegistryMirrorsConfig\n", `error f:2:7: there is no kind "RegistryMirrorsConfig"`, true},
		{"other kinds", "apiVersion: v1alpha1\nkind: HostnameConfig\nfoo: bar\n---\n" + talosMirror + "name: \"\"\n", "error f:5:1: RegistryMirrorConfig has no name", true},
		{"another version", "apiVersion: v1\nkind: RegistryMirrorConfig\nname: a.b\n", `error f:1:1: there is no RegistryMirrorConfig in apiVersion "v1"`, true},
		{"two documents of a name", talosMirror + "name: a.b\n---\n" + talosMirror + "name: a.b\n", "error f:5:1: a second RegistryMirrorConfig a.b, the first is in line 1", true},
		{"scheme in a document", talosMirror + "name: a.b\nendpoints: [{url: m.example.com}]\n", `error f:4:19: the url "m.example.com" of the endpoint has an unsupported scheme`, true},
		{"no url", talosMirror + "name: a.b\nendpoints: [{}]\n", "error f:4:13: the endpoint has no url", true},
		{"strings in a document", talosMirror + "name: a.b\nendpoints: [\"https://m.example.com\"]\n", "error f:4:13: an item of endpoints is a string", true},
		{"authority in a document", talosTLS + "name: a.b\nca: aGVsbG8=\n", "error f:4:5: ca holds no certificate\n", true},
		{"both forms", talosMirrors + "      a.b: {}\n---\n" + talosMirror + "name: a.b\n", "error f:8:7: the document takes the place of the mirrors of a.b in f:4", false},
	})
}

// TestTalosKeepsNoSecrets holds that credentials are neither kept nor shown.
func TestTalosKeepsNoSecrets(t *testing.T) {
	text := talosHosts + "      a.b: {auth: {username: u, password: hunter2}}\n    mirrors:\n      quay.io: {endpoints: [\"https://u:hunter2@a.b\", \"u:hunter2@c\"]}\n---\n" +
		"apiVersion: v1alpha1\nkind: RegistryAuthConfig\nname: c.d\nidentityToken: hunter2\n"
	cfg, d := readOne(t, "talos", "talos", text)
	for _, host := range []string{"a.b", "c.d"} {
		if h := cfg.Hosts[host]; h.Transport == nil || !h.Transport.InlineAuth {
			t.Errorf("%s: settings %+v do not tell of credentials", host, h)
		}
	}
	if got := problemLines(cfg) + planOne(t, cfg, d, "quay.io/a:1"); strings.Contains(got, "hunter2") {
		t.Errorf("a secret is shown:\n%s", got)
	}
}
