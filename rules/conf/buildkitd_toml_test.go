package conf

import (
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/entrepot/entrepot/rules"
)

// readFor reads files below etc/case for a client, "" being the native reading.
func readFor(t testing.TB, format, client string, files map[string]string) (rules.Config, rules.Dialect) {
	t.Helper()
	d := rules.Native()
	if client != "" {
		var err error
		if d, err = rules.DialectOf(client); err != nil {
			t.Fatal(err)
		}
	}
	src := Source{Format: format, FS: mapFS(files), Path: caseRoot, Name: "/" + caseRoot}
	cfg, err := Read(src, d)
	if err != nil {
		t.Fatal(err)
	}
	return cfg, d
}

func mapFS(files map[string]string) fstest.MapFS {
	m := fstest.MapFS{}
	for name, text := range files {
		if !strings.HasPrefix(name, "/") {
			name = "/" + caseRoot + "/" + name
		}
		m[name[1:]] = &fstest.MapFile{Data: []byte(text), Mode: 0o644}
	}
	return m
}

// triesFor returns the tries for a reference, each as "URL role" with what is
// special about it, or the error.
func triesFor(t testing.TB, cfg rules.Config, d rules.Dialect, name string) []string {
	t.Helper()
	r, err := d.Parse(name)
	if err != nil {
		t.Fatal(err)
	}
	plan := rules.New(cfg).Plan(r, rules.Pull, d)
	if plan.Err != nil {
		return []string{"error: " + plan.Err.Error()}
	}
	var out []string
	for _, try := range plan.Tries {
		s := try.URL()
		if s == "" {
			s = "unusable: " + try.Unusable
		}
		s += " " + try.Role.String()
		if try.Insecure() {
			s += " insecure"
		}
		if try.Scheme == rules.HTTPSThenHTTP {
			s += " fallback"
		}
		out = append(out, s)
	}
	return out
}

func TestBuildkitdTries(t *testing.T) {
	for _, tt := range []struct {
		name, text, ref string
		want            []string
	}{
		{"insecure and http", "[registry.'r.example.com']\ninsecure = true\nhttp = true\n", "r.example.com/a:1",
			[]string{"https://r.example.com/v2/a/manifests/1 primary insecure fallback"}},
		{"localhost without a table", "", "localhost:5000/a:1", []string{"http://localhost:5000/v2/a/manifests/1 primary"}},
		{"localhost mirror without a table", "[registry.'quay.io']\nmirrors = ['127.0.0.1:5000']\n", "quay.io/a:1",
			[]string{"http://127.0.0.1:5000/v2/a/manifests/1?ns=quay.io mirror", "https://quay.io/v2/a/manifests/1 primary"}},
		{"localhost with insecure", "[registry.'localhost:5000']\ninsecure = true\n", "localhost:5000/a:1",
			[]string{"https://localhost:5000/v2/a/manifests/1 primary insecure fallback"}},
		{"localhost with an empty table", "[registry.'localhost:5000']\n", "localhost:5000/a:1",
			[]string{"http://localhost:5000/v2/a/manifests/1 primary"}},
		{"settings are not for mirrors", "[registry.'quay.io']\nmirrors = ['m.example.com']\nhttp = true\n", "quay.io/a:1",
			[]string{"https://m.example.com/v2/a/manifests/1?ns=quay.io mirror", "http://quay.io/v2/a/manifests/1 primary"}},
		{"v2 in the path", "[registry.'quay.io']\nmirrors = ['m.example.com/v2/p/']\n", "quay.io/a:1",
			[]string{"https://m.example.com/v2/v2/p/a/manifests/1?ns=quay.io mirror", "https://quay.io/v2/a/manifests/1 primary"}},
		{"the host of Docker Hub", "[registry.'registry-1.docker.io']\ninsecure = true\n", "alpine:3",
			[]string{"https://registry-1.docker.io/v2/library/alpine/manifests/3 primary"}},
		{"an underscore in a mirror", "[registry.'quay.io']\nmirrors = ['my_mirror:5000']\n[registry.'my_mirror:5000']\nhttp = true\n", "quay.io/a:1",
			[]string{"http://my_mirror:5000/v2/a/manifests/1?ns=quay.io mirror", "https://quay.io/v2/a/manifests/1 primary"}},
		{"index.docker.io as a mirror", "[registry.'quay.io']\nmirrors = ['index.docker.io', 'm.corp.']\n[registry.'index.docker.io']\ninsecure = true\n", "quay.io/a:1",
			[]string{"https://index.docker.io/v2/a/manifests/1?ns=quay.io mirror insecure", "https://m.corp./v2/a/manifests/1?ns=quay.io mirror", "https://quay.io/v2/a/manifests/1 primary"}},
		{"index.docker.io is dead", "[registry.'index.docker.io']\nmirrors = ['m.example.com']\n", "alpine:3",
			[]string{"https://registry-1.docker.io/v2/library/alpine/manifests/3 primary"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg, d := readFor(t, "buildkitd.toml", "buildkit", map[string]string{"buildkitd.toml": tt.text})
			if diff := cmp.Diff(tt.want, triesFor(t, cfg, d, tt.ref)); diff != "" {
				t.Errorf("tries (-want +got):\n%s", diff)
			}
		})
	}
}

func TestBuildkitdPushSkipsMirrors(t *testing.T) {
	cfg, d := readFor(t, "buildkitd.toml", "buildkit", map[string]string{"buildkitd.toml": "[registry.'quay.io']\nmirrors = ['m.example.com']\n"})
	r, err := d.Parse("quay.io/a:1")
	if err != nil {
		t.Fatal(err)
	}
	plan := rules.New(cfg).Plan(r, rules.Push, d)
	if len(plan.Tries) != 1 || plan.Tries[0].Host != "quay.io" || len(plan.Skips) != 1 {
		t.Errorf("got %v and skips %v, want quay.io alone", plan.Tries, plan.Skips)
	}
}

func TestBuildkitdProblems(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"wrong type", "[registry.'quay.io']\n  ca = '/ca.pem'\n", "error: buildkitd.toml:2:8: ca is a string and should be a list"},
		{"no table", "[registry]\n  mirrors = ['m.example.com']\n", "error: buildkitd.toml:2:3: registry.mirrors is a list and should be a table"},
		{"syntax", "[registry\n", "error: buildkitd.toml:1:"},
		{"unknown key", "[registry.'quay.io']\n  mirror = ['m.example.com']\n", `warning: buildkitd.toml:2:3: unknown key "mirror" in [registry.quay.io]`},
		{"dropped scheme", "[registry.'quay.io']\n  mirrors = ['http://m.example.com']\n", `error: buildkitd.toml:2:14: the scheme of mirror "http://m.example.com" is dropped`},
		{"dropped credentials", "[registry.'quay.io']\n  mirrors = ['https://u:secret@m.example.com']\n", "error: buildkitd.toml:2:14: the credentials in the mirror at m.example.com are dropped"},
		{"wildcard", "[registry.'*.example.com']\n", `error: buildkitd.toml:1:11: key "*.example.com" matches no registry`},
		{"misplaced", "[registry.'quay.io']\n  mirrors = ['m.example.com']\n  insecure = true\n", "warning: buildkitd.toml:3:3: insecure holds for quay.io itself and not for its mirrors"},
		{"no host", "[registry.'quay.io']\n  mirrors = ['']\n", `error: buildkitd.toml:2:14: mirror "" names no host`},
		{"half a pair", "[registry.'quay.io']\n[[registry.'quay.io'.keypair]]\n  cert = '/c'\n", "error: buildkitd.toml:2:3: a client certificate needs both cert and key"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg, _ := readFor(t, "buildkitd.toml", "", map[string]string{"buildkitd.toml": tt.text})
			got := texts(cfg.Problems)
			if !slices.ContainsFunc(got, func(s string) bool { return strings.HasPrefix(s, tt.want) }) {
				t.Errorf("got %q, want one that starts with %q", got, tt.want)
			}
			for _, p := range got {
				if strings.Contains(p, "secret") {
					t.Errorf("%q holds a secret", p)
				}
			}
		})
	}
}

// TestBuildkitdCertificates holds that only a file that cannot be read fails
// the registry, and that it fails those that it is a mirror of, too.
func TestBuildkitdCertificates(t *testing.T) {
	files := map[string]string{
		"buildkitd.toml": "[registry.'quay.io']\nmirrors = ['m.example.com']\n[registry.'m.example.com']\nca = ['/etc/ca.pem']\ntlsconfigdir = ['/etc/gone']\n" +
			"[registry.'r.example.com']\ntlsconfigdir = ['/etc/pki']\n",
		"/etc/ca.pem":       "no certificate",
		"/etc/pki/c.cert":   "x",
		"/etc/pki/other.md": "x",
	}
	cfg, d := readFor(t, "buildkitd.toml", "buildkit", files)
	if got := triesFor(t, cfg, d, "quay.io/a:1"); len(got) != 2 {
		t.Errorf("a file without a certificate: got %q, want two tries", got)
	}
	if got := triesFor(t, cfg, d, "r.example.com/a:1"); len(got) != 1 || !strings.HasPrefix(got[0], "error: ") {
		t.Errorf("a client certificate without a key: got %q, want an error", got)
	}
}

func FuzzBuildkitdToml(f *testing.F) {
	for _, c := range readGolden(f, "buildkitd.toml") {
		f.Add(c.Config.Files["buildkitd.toml"])
	}
	f.Add("[registry.x]\nmirrors = ['', 'http://', '//', ':', 'a:b:c', '%zz']\ntlsconfigdir = ['/']\n")
	f.Fuzz(func(t *testing.T, text string) { fuzzText(t, "buildkitd.toml", "buildkit", text) })
}

// fuzzText reads a text, plans with it, and holds that every problem is in a
// file.
func fuzzText(t *testing.T, format, client, text string) {
	t.Helper()
	emulated, err := rules.DialectOf(client)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range []rules.Dialect{rules.Native(), emulated} {
		cfg, err := Read(Source{Format: format, FS: fstest.MapFS{}, Name: "text", Text: []byte(text)}, d)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range cfg.Problems {
			if p.At.File == "" || p.Text == "" {
				t.Errorf("a problem without a file or a text: %+v", p)
			}
		}
		set := rules.New(cfg)
		for _, name := range []string{"alpine", "quay.io/a/b:1", "localhost:5000/a:1", "[::1]:5000/a:1", "10.0.0.1/a:1"} {
			r, err := d.Parse(name)
			if err != nil {
				continue
			}
			plan := set.Plan(r, rules.Pull, d)
			for i := range plan.Tries {
				_ = plan.Tries[i].URL()
			}
		}
	}
}
