package conf

import (
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/entrepot/entrepot/rules"
)

func TestPackPlans(t *testing.T) {
	for _, c := range []struct {
		name, client, mirrors, reference string
		want                             []string
	}{
		{"one mirror instead of the registry", "pack", `"quay.io" = "m.example/p"`, "quay.io/a/b", []string{"mirror https://m.example/v2/p/a/b"}},
		{"the catch-all beats the key", "pack", `"quay.io" = "m1.example"` + "\n" + `"*" = "m2.example"`, "quay.io/a/b", []string{"mirror https://m2.example/v2/a/b"}},
		{"natively the key beats the catch-all", "", `"quay.io" = "m1.example"` + "\n" + `"*" = "m2.example"`, "quay.io/a/b", []string{"mirror https://m1.example/v2/a/b"}},
		{"native reads docker.io", "", `"docker.io" = "m.example"`, "alpine", []string{"mirror https://m.example/v2/library/alpine"}},
		{"a scheme fails the pull", "pack", `"quay.io" = "https://m.example"`, "quay.io/a/b", []string{"mirror unusable m.example", "error"}},
		{"natively it is one", "", `"quay.io" = "http://m.example"`, "quay.io/a/b", []string{"mirror http://m.example/v2/a/b"}},
		{"a bare name is Docker Hub's", "pack", `"quay.io" = "mirror"`, "quay.io/a/b", []string{"mirror https://index.docker.io/v2/mirror/a/b"}},
		{"private addresses fall back", "pack", `"quay.io" = "10.0.0.1"`, "quay.io/a/b", []string{"mirror https://10.0.0.1/v2/a/b or http"}},
		{"ports are part of the key", "pack", `"q.example" = "m.example"`, "q.example:5000/a/b", []string{"primary https://q.example:5000/v2/a/b"}},
		{"capitals fail the pull", "pack", `"quay.io" = "m.example/Proj"`, "quay.io/a/b", []string{"mirror unusable m.example", "error"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := readText(t, "pack", c.client, "[registry-mirrors]\n"+c.mirrors)
			if diff := cmp.Diff(c.want, planned(t, cfg, c.client, c.reference, rules.Pull)); diff != "" {
				t.Errorf("tries (-want +got):\n%s", diff)
			}
		})
	}
}

func TestPackPushesToTheOriginal(t *testing.T) {
	cfg := readText(t, "pack", "pack", "[registry-mirrors]\n\"*\" = \"m.example\"")
	want := []string{"primary https://quay.io/v2/a/b"}
	if diff := cmp.Diff(want, planned(t, cfg, "pack", "quay.io/a/b", rules.Push)); diff != "" {
		t.Errorf("tries (-want +got):\n%s", diff)
	}
}

func TestPackProblems(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"place", "experimental = true\n[registry-mirrors]\n  \"docker.io\" = \"m.example\"", "error conf:3:3: the key docker.io never matches"},
		{"hidden", "[registry-mirrors]\n\"q.io\" = \"m\"\n\"*\" = \"n.example\"", `error conf:2:1: "q.io" has no effect`},
		{"path in a key", "[registry-mirrors]\n\"q.io/a\" = \"m.example\"", `error conf:2:1: the key "q.io/a" never matches`},
		{"a list", "[registry-mirrors]\n\"q.io\" = [\"m.example\"]", "error conf:2:1: q.io is a list and should be a string"},
		{"another type", "experimental = 1", "error conf:1:16: experimental is a number"},
		{"unknown key", "registry-mirror = {}", `warning conf:1:1: unknown key "registry-mirror"`},
		{"syntax", "[registry-mirrors\n", "error conf:1:"},
		{"slash", "[registry-mirrors]\n\"q.io\" = \"m.example/\"", "error conf:2:10: the slash at the end"},
		{"secret", "[registry-mirrors]\n\"q.io\" = \"user:secret@m.example\"", "error conf:2:10: the mirror of q.io has credentials"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := readText(t, "pack", "", c.text)
			got := problemsOf(cfg)
			if !slices.ContainsFunc(got, func(p string) bool { return strings.HasPrefix(p, c.want) }) {
				t.Errorf("problems %q, want one that begins with %q", got, c.want)
			}
			if strings.Contains(strings.Join(got, "\n"), "secret") {
				t.Errorf("problems show a secret: %q", got)
			}
		})
	}
}

func TestPackHome(t *testing.T) {
	conf := &fstest.MapFile{Data: []byte("[registry-mirrors]\n\"*\" = \"m.example\"")}
	for name, env := range map[string]string{"srv/pack/config.toml": "PACK_HOME=/srv/pack", "home/a/.pack/config.toml": "HOME=/home/a"} {
		key, value, _ := strings.Cut(env, "=")
		src := Source{Format: "pack", FS: fstest.MapFS{name: conf}, Path: ".", System: true, Getenv: func(k string) string {
			if k == key {
				return value
			}
			return ""
		}}
		cfg := readSource(t, "pack", src)
		if len(cfg.Rules) != 1 {
			t.Errorf("%s: %d rules, want 1", env, len(cfg.Rules))
		}
	}
}

func FuzzPack(f *testing.F) {
	f.Add("[registry-mirrors]\n\"*\" = \"m.example/p\"\n\"docker.io\" = \"http://x\"")
	f.Add("[[run-images]]\nimage = \"a\"\nmirrors = [1]\n[registry-mirrors]\nq = \"\"")
	f.Fuzz(func(t *testing.T, text string) { fuzzRead(t, "pack", "pack", text) })
}
