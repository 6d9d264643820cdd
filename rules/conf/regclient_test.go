package conf

import (
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/entrepot/entrepot/rules"
)

func TestRegclientPlans(t *testing.T) {
	for _, c := range []struct {
		name, client, text, reference string
		want                          []string
	}{
		{"no entry", "regclient", `{}`, "alpine", []string{"primary https://registry-1.docker.io/v2/library/alpine"}},
		{"docker.io as another's hostname is asked as it is", "regclient", `{"hosts":{"quay.io":{"hostname":"docker.io"}}}`, "quay.io/a/b",
			[]string{"primary https://docker.io/v2/a/b"}},
		{"a prefix is that of the mirror's entry", "regclient",
			`{"hosts":{"docker.io":{"mirrors":["m.example"]},"m.example":{"pathPrefix":"/hub/"}}}`, "alpine",
			[]string{"mirror https://m.example/v2/hub/library/alpine", "primary https://registry-1.docker.io/v2/library/alpine"}},
		{"a mirror's hostname", "regclient",
			`{"hosts":{"quay.io":{"mirrors":["m"]},"m":{"hostname":"m.example:5000","tls":"insecure"}}}`, "quay.io/a/b",
			[]string{"mirror https://m.example:5000/v2/a/b unverified", "primary https://quay.io/v2/a/b"}},
		{"an upstream elsewhere", "regclient", `{"hosts":{"quay.io":{"hostname":"q.example"}}}`, "quay.io/a/b",
			[]string{"primary https://q.example/v2/a/b"}},
		{"plain HTTP for the host itself", "regclient", `{"hosts":{"q.example":{"tls":"disabled"}}}`, "q.example/a/b",
			[]string{"primary http://q.example/v2/a/b"}},
		{"a scheme in a mirror", "regclient", `{"hosts":{"quay.io":{"mirrors":["http://m.example/x"]}}}`, "quay.io/a/b",
			[]string{"mirror http://m.example/v2/a/b", "primary https://quay.io/v2/a/b"}},
		{"a scheme in a key", "regclient", `{"hosts":{"http://q.example":{}}}`, "q.example/a/b",
			[]string{"primary http://q.example/v2/a/b"}},
		{"names of Docker Hub", "regclient", `{"hosts":{"https://index.docker.io/v1/":{"mirrors":["m.example"]}}}`, "alpine",
			[]string{"mirror https://m.example/v2/library/alpine", "primary https://registry-1.docker.io/v2/library/alpine"}},
		{"one that is none", "regclient", `{"hosts":{"index.docker.io":{"mirrors":["m.example"]}}}`, "alpine",
			[]string{"primary https://registry-1.docker.io/v2/library/alpine"}},
		{"natively it is", "", `{"hosts":{"index.docker.io":{"mirrors":["m.example"]}}}`, "alpine",
			[]string{"mirror https://m.example/v2/library/alpine", "primary https://registry-1.docker.io/v2/library/alpine"}},
		{"three mirrors", "regclient", `{"hosts":{"quay.io":{"mirrors":["m1","m2","m3"]}}}`, "quay.io/a/b",
			[]string{"mirror https://m3/v2/a/b", "mirror https://m2/v2/a/b", "mirror https://m1/v2/a/b", "primary https://quay.io/v2/a/b"}},
		{"natively as listed", "", `{"hosts":{"quay.io":{"mirrors":["m1","m2","m3"]}}}`, "quay.io/a/b",
			[]string{"mirror https://m1/v2/a/b", "mirror https://m2/v2/a/b", "mirror https://m3/v2/a/b", "primary https://quay.io/v2/a/b"}},
		{"natively a higher priority goes first", "", `{"hosts":{"quay.io":{"mirrors":["m1","m2"]},"m2":{"priority":2}}}`, "quay.io/a/b",
			[]string{"mirror https://m2/v2/a/b", "mirror https://m1/v2/a/b", "primary https://quay.io/v2/a/b"}},
		{"a lower priority goes first", "regclient", `{"hosts":{"quay.io":{"mirrors":["m1","m2"],"priority":3},"m1":{"priority":2},"m2":{"priority":1}}}`, "quay.io/a/b",
			[]string{"mirror https://m2/v2/a/b", "mirror https://m1/v2/a/b", "primary https://quay.io/v2/a/b"}},
		{"hostDefault holds for every host", "regclient", `{"hostDefault":{"mirrors":["m.example"]}}`, "quay.io/a/b",
			[]string{"mirror https://m.example/v2/a/b", "primary https://quay.io/v2/a/b"}},
		{"and for mirrors without an entry", "regclient", `{"hostDefault":{"tls":"disabled"},"hosts":{"quay.io":{"tls":"enabled","mirrors":["m.example"]}}}`, "quay.io/a/b",
			[]string{"mirror http://m.example/v2/a/b", "primary https://quay.io/v2/a/b"}},
		{"keys without case", "regclient", `{"Hosts":{"quay.io":{"MIRRORS":["m.example"]}}}`, "quay.io/a/b",
			[]string{"mirror https://m.example/v2/a/b", "primary https://quay.io/v2/a/b"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := readText(t, "regclient", c.client, c.text)
			if diff := cmp.Diff(c.want, planned(t, cfg, c.client, c.reference, rules.Pull)); diff != "" {
				t.Errorf("tries (-want +got):\n%s", diff)
			}
		})
	}
}

func TestRegclientNamespace(t *testing.T) {
	cfg := readText(t, "regclient", "regclient", `{"hostDefault":{"mirrors":["m.example"]},"hosts":{"quay.io":{"hostname":"q.example"}}}`)
	d := dialectOf(t, "regclient")
	for reference, want := range map[string]string{"quay.io/a": "q.example", "ghcr.io/a": "ghcr.io"} {
		r, err := d.Parse(reference)
		if err != nil {
			t.Fatal(err)
		}
		plan := rules.New(cfg).Plan(r, rules.Pull, d)
		if got := plan.Tries[0].NS; got != want {
			t.Errorf("%s: ns is %q, want %q", reference, got, want)
		}
		if got := plan.Tries[1].NS; got != "" {
			t.Errorf("%s: ns of the upstream is %q, want none", reference, got)
		}
	}
}

// TestRegclientDefaultIsNotForHub holds that hostDefault does not count for
// Docker Hub, with an entry and without.
func TestRegclientDefaultIsNotForHub(t *testing.T) {
	for _, text := range []string{
		`{"hostDefault":{"mirrors":["m.example"],"tls":"disabled"}}`,
		`{"hostDefault":{"mirrors":["m.example"],"tls":"disabled"},"hosts":{"docker.io":{"user":"u"}}}`,
	} {
		cfg := readText(t, "regclient", "regclient", text)
		if got, want := planOne(t, cfg, dialectOf(t, "regclient"), "alpine:3"), "https://registry-1.docker.io/v2/library/alpine/manifests/3"; got != want {
			t.Errorf("%s: got %s, want %s", text, got, want)
		}
		if !slices.ContainsFunc(cfg.Problems, func(p rules.Problem) bool { return strings.Contains(p.Text, "Docker Hub") }) {
			t.Errorf("%s: no word about it in %v", text, texts(cfg.Problems))
		}
	}
}

// TestRegclientPushes holds that a push goes to what is configured for the
// host, and to no mirror.
func TestRegclientPushes(t *testing.T) {
	for text, want := range map[string]string{
		`{"hosts":{"quay.io":{"hostname":"q.example","mirrors":["m1"]}}}`:                                     "primary https://q.example/v2/a/b",
		`{"hosts":{"quay.io":{"tls":"disabled","mirrors":["m1"]},"m1":{"priority":1}}}`:                       "primary http://quay.io/v2/a/b",
		`{"hosts":{"quay.io":{"pathPrefix":"p","mirrors":["m1"]}}}`:                                           "primary https://quay.io/v2/p/a/b",
		`{"hosts":{"quay.io":{"tls":"insecure","user":"u","pass":"p"}}}`:                                      "primary https://quay.io/v2/a/b unverified",
		`{"hosts":{"quay.io":{"mirrors":["m1"],"hostname":"q.example"},"m1":{"priority":7,"tls":"enabled"}}}`: "primary https://q.example/v2/a/b",
	} {
		cfg := readText(t, "regclient", "regclient", text)
		if diff := cmp.Diff([]string{want}, planned(t, cfg, "regclient", "quay.io/a/b", rules.Push)); diff != "" {
			t.Errorf("%s: tries (-want +got):\n%s", text, diff)
		}
	}
}

func TestRegclientProblems(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"syntax", "{\n  \"hosts\": {,}\n}", "error conf:2:"},
		{"no table", "[]", "error conf:1:1: the file is a list"},
		{"version", `{"version": 2}`, "error conf:1:2: version 2 is not supported"},
		{"tls", `{"hosts":{"q.io":{"tls":"off"}}}`, `error conf:1:25: unknown value "off" of tls`},
		{"type", `{"hosts":{"q.io":{"mirrors":"m"}}}`, "error conf:1:29: mirrors is a string"},
		{"null", `{"hosts":{"q.io":null}}`, "error conf:1:11: regctl crashes"},
		{"priority", `{"hosts":{"q.io":{"priority":-1}}}`, "error conf:1:30: priority is -1"},
		{"wildcard", `{"hosts":{"*.io":{}}}`, `error conf:1:11: the entry "*.io" never matches`},
		{"path of a mirror", `{"hosts":{"q.io":{"mirrors":["m/p"]}}}`, `error conf:1:30: the path of the mirror "m/p" is dropped`},
		{"order", `{"hosts":{"q.io":{"mirrors":["m","n"]}}}`, "warning conf:1:11: regclient asks n, m, q.io"},
		{"certificate", `{"hosts":{"q.io":{"regcert":"/etc/ca.pem"}}}`, "error conf:1:19: regcert holds no certificate"},
		{"pair", `{"hosts":{"q.io":{"clientKey":"x"}}}`, "error conf:1:19: clientCert and clientKey are no pair"},
		{"twice", `{"hosts":{"docker.io":{},"registry-1.docker.io":{}}}`, "error conf:1:26: there are two entries for docker.io"},
		{"unknown", `{"hosts":{"q.io":{"mirror":["m"]}}}`, `warning conf:1:19: unknown key "mirror"`},
		{"secret", `{"hosts":{"q.io":{"pass":"secret","mirrors":["u:secret@m"],"hostname":"u:secret@x"}}}`, "error conf:1:46: the mirror has credentials"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := problemsOf(readText(t, "regclient", "", c.text))
			if !slices.ContainsFunc(got, func(p string) bool { return strings.HasPrefix(p, c.want) }) {
				t.Errorf("problems %q, want one that begins with %q", got, c.want)
			}
			if strings.Contains(strings.Join(got, "\n"), "secret") {
				t.Errorf("problems show a secret: %q", got)
			}
		})
	}
}

func TestRegclientHome(t *testing.T) {
	conf := &fstest.MapFile{Data: []byte(`{"hosts":{"quay.io":{"mirrors":["m.example"]}}}`)}
	for name, env := range map[string]string{
		"home/a/.config/regctl/config.json": "HOME=/home/a", "home/a/.regctl/config.json": "HOME=/home/a", "srv/r.json": "REGCTL_CONFIG=/srv/r.json",
	} {
		key, value, _ := strings.Cut(env, "=")
		cfg := readSource(t, "regclient", Source{Format: "regclient", FS: fstest.MapFS{name: conf}, Path: ".", System: true, Getenv: func(k string) string {
			if k == key {
				return value
			}
			return ""
		}})
		if len(cfg.Rules) != 1 {
			t.Errorf("%s: %d rules, want 1", name, len(cfg.Rules))
		}
	}
}

func FuzzRegclient(f *testing.F) {
	f.Add(`{"hosts":{"quay.io":{"hostname":"q","mirrors":["m1","http://m2/p"],"pathPrefix":"/p/"},"m1":{"priority":1,"tls":"insecure"}}}`)
	f.Add(`{"hostDefault":{"mirrors":["a"],"tls":"disabled"},"hosts":{"docker.io":{"user":"u","regcert":"x","clientKey":"y"}}}`)
	f.Fuzz(func(t *testing.T, text string) { fuzzRead(t, "regclient", "regclient", text) })
}
