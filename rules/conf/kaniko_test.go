package conf

import (
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/entrepot/entrepot/rules"
)

// readText reads a text for a client, "" being the native reading.
func readText(t testing.TB, format, client, text string) rules.Config {
	t.Helper()
	return readSource(t, client, Source{Format: format, Name: "conf", Text: []byte(text), FS: fstest.MapFS{}})
}

func readSource(t testing.TB, client string, src Source) rules.Config {
	t.Helper()
	cfg, err := Read(src, dialectOf(t, client))
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// planned returns the tries for a reference, a line each: address, and what is
// special about it.
func planned(t testing.TB, cfg rules.Config, client, reference string, want rules.Can) []string {
	t.Helper()
	d := dialectOf(t, client)
	r, err := d.Parse(reference)
	if err != nil {
		t.Fatal(err)
	}
	plan := rules.New(cfg).Plan(r, want, d)
	var out []string
	for i := range plan.Tries {
		try := &plan.Tries[i]
		line := try.Role.String() + " " + try.Base()
		if try.Unusable != "" {
			line = try.Role.String() + " unusable " + try.Host
		}
		if try.Scheme == rules.HTTPSThenHTTP {
			line += " or http"
		}
		if try.Insecure() {
			line += " unverified"
		}
		if tr := try.Transport; tr != nil && len(tr.CA)+len(tr.Client) > 0 {
			line += " certificates"
		}
		out = append(out, line)
	}
	if plan.Err != nil {
		out = append(out, "error")
	}
	return out
}

func problemsOf(cfg rules.Config) []string {
	var out []string
	for i := range cfg.Problems {
		out = append(out, cfg.Problems[i].Level.String()+" "+cfg.Problems[i].Error())
	}
	return out
}

func TestKanikoPlans(t *testing.T) {
	for _, c := range []struct {
		name, client, flags, reference string
		want                           []string
	}{
		{"native reads docker.io", "", "--registry-map=docker.io=m.example", "alpine",
			[]string{"mirror https://m.example/v2/library/alpine", "primary https://registry-1.docker.io/v2/library/alpine"}},
		{"native reads schemes", "", "--registry-map=quay.io=http://m.example/p", "quay.io/a/b",
			[]string{"mirror http://m.example/v2/p/a/b", "primary https://quay.io/v2/a/b"}},
		{"native makes mirrors of both", "", "--registry-mirror=m1.example;m2.example", "alpine",
			[]string{"mirror https://m1.example/v2/library/alpine", "mirror https://m2.example/v2/library/alpine", "primary https://registry-1.docker.io/v2/library/alpine"}},
		{"maps come before mirrors", "kaniko", "--registry-mirror=m1.example\n--registry-map\nindex.docker.io=m2.example", "alpine",
			[]string{"mirror https://m2.example/v2/library/alpine", "mirror https://m1.example/v2/library/alpine", "primary https://index.docker.io/v2/library/alpine"}},
		{"a dot in the path bypasses the mirror", "kaniko", "--registry-map=quay.io=m.example/my.proj/x", "quay.io/a/b",
			[]string{"mirror https://my.proj/v2/x/a/b", "primary https://quay.io/v2/a/b"}},
		{"so does one in the image's name", "kaniko", "--registry-map=quay.io=m.example", "quay.io/my.org/b",
			[]string{"mirror https://my.org/v2/b", "primary https://quay.io/v2/my.org/b"}},
		{"capitals end the pull", "kaniko", "--registry-map=quay.io=m1.example;quay.io=m2.example/Proj;quay.io=m3.example", "quay.io/a/b",
			[]string{"mirror https://m1.example/v2/a/b", "mirror unusable m2.example"}},
		{"an empty target fails alone", "kaniko", "--registry-mirror=", "alpine",
			[]string{"mirror unusable ?", "primary https://index.docker.io/v2/library/alpine"}},
		{"insecure is HTTPS, then HTTP", "kaniko", "--registry-map=quay.io=m.example:5000\n--insecure-registry=m.example:5000", "quay.io/a/b",
			[]string{"mirror https://m.example:5000/v2/a/b or http", "primary https://quay.io/v2/a/b"}},
		{"insecure-pull holds everywhere", "kaniko", "--insecure-pull", "quay.io/a/b",
			[]string{"primary https://quay.io/v2/a/b or http"}},
		{"private addresses fall back", "kaniko", "--registry-map=quay.io=192.168.0.1:5000", "quay.io/a/b",
			[]string{"mirror https://192.168.0.1:5000/v2/a/b or http", "primary https://quay.io/v2/a/b"}},
		{"unverified", "kaniko", "--skip-tls-verify-registry quay.io", "quay.io/a/b",
			[]string{"primary https://quay.io/v2/a/b unverified"}},
		{"the flag for pushing holds for pulls", "kaniko", "--skip-tls-verify", "quay.io/a/b",
			[]string{"primary https://quay.io/v2/a/b unverified"}},
		{"the flag for pulls does nothing", "kaniko", "--skip-tls-verify-pull", "quay.io/a/b",
			[]string{"primary https://quay.io/v2/a/b"}},
		{"no fallback only where there is a map", "kaniko", "--skip-default-registry-fallback\n--registry-mirror=m.example", "quay.io/a/b",
			[]string{"primary https://quay.io/v2/a/b"}},
		{"a broken client certificate", "kaniko", "--registry-client-cert=quay.io=only-one", "quay.io/a/b", []string{"error"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := readText(t, "kaniko", c.client, c.flags)
			if diff := cmp.Diff(c.want, planned(t, cfg, c.client, c.reference, rules.Pull)); diff != "" {
				t.Errorf("tries (-want +got):\n%s", diff)
			}
		})
	}
}

func TestKanikoProblems(t *testing.T) {
	for _, c := range []struct{ name, flags, want string }{
		{"place", "# flags\n\n  --registry-map=quay.io=m1.example;docker.io=m2.example", "error conf:3:37: the key docker.io never matches"},
		{"no pair", "--registry-map=a.example", `error conf:1:16: "a.example" has no '='`},
		{"unknown flag", "--registry-mirrors=a.example", "error conf:1:1: unknown flag --registry-mirrors"},
		{"no value", "--registry-map", "error conf:1:1: the flag --registry-map needs a value"},
		{"no truth", "--insecure-pull=perhaps", `error conf:1:17: "perhaps" is no value for --insecure-pull`},
		{"no flag", "m.example", `warning conf:1:1: "m.example" is no flag`},
		{"scheme", "--registry-map quay.io=https://m.example", "error conf:1:16: the scheme of"},
		{"dead after the end", "--registry-map=q.io=m/P\n--registry-map=q.io=n", `error conf:2:16: "n" is never tried`},
		{"secret", "--registry-map=q.io=user:secret@m.example", "error conf:1:16: the mirror of q.io has credentials in it"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := problemsOf(readText(t, "kaniko", "", c.flags))
			if !slices.ContainsFunc(got, func(p string) bool { return strings.HasPrefix(p, c.want) }) {
				t.Errorf("problems %q, want one that begins with %q", got, c.want)
			}
			if strings.Contains(strings.Join(got, "\n"), "secret") {
				t.Errorf("problems show a secret: %q", got)
			}
		})
	}
}

func TestKanikoEnvironment(t *testing.T) {
	env := map[string]string{kanikoMap: "quay.io=m1.example;broken;quay.io=m2.example", kanikoMirror: "m3.example"}
	src, err := Open("kaniko=env:", Machine{Getenv: func(name string) string { return env[name] }})
	if err != nil {
		t.Fatal(err)
	}
	cfg := readSource(t, "kaniko", src)
	want := []string{"mirror https://m1.example/v2/a/b", "primary https://quay.io/v2/a/b"}
	if diff := cmp.Diff(want, planned(t, cfg, "kaniko", "quay.io/a/b", rules.Pull)); diff != "" {
		t.Errorf("tries (-want +got):\n%s", diff)
	}
	if cfg.Refused != nil || len(cfg.Problems) != 1 || cfg.Problems[0].At.File != kanikoMap {
		t.Errorf("refused %v, problems %q, want one warning of %s", cfg.Refused, problemsOf(cfg), kanikoMap)
	}
}

func FuzzKaniko(f *testing.F) {
	f.Add("--registry-map=index.docker.io=m.example/p;quay.io=n\n--registry-mirror=m2.example\n--insecure-pull")
	f.Add("--registry-map\nq=http://u:p@[::1]:5\n--registry-client-cert=a=b,c\n--skip-tls-verify")
	f.Add("'--registry-mirror=;=;'\\\n--registry-certificate x=/y")
	f.Fuzz(func(t *testing.T, text string) { fuzzRead(t, "kaniko", "kaniko", text) })
}

// fuzzRead reads and plans, for the client and strictly: no panic, and every
// problem has a file.
func fuzzRead(t *testing.T, format, client, text string) {
	for _, client := range []string{"", client} {
		cfg := readText(t, format, client, text)
		for i := range cfg.Problems {
			if cfg.Problems[i].At.File == "" || cfg.Problems[i].Text == "" {
				t.Errorf("problem without a file or a text: %+v", cfg.Problems[i])
			}
		}
		for _, reference := range []string{"alpine", "quay.io/a/b:1", "localhost:5000/x"} {
			planned(t, cfg, client, reference, rules.Pull)
			planned(t, cfg, client, reference, rules.Push)
		}
	}
}
