package conf

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestRegistriesConfProblems(t *testing.T) {
	for _, c := range []struct{ name, client, in, want string }{
		{"syntax", "podman", "[[registry]]\nlocation = \"quay\n", "error registries.conf:2:17: basic strings cannot have new lines\n"},
		{"twice", "podman", "[[registry]]\nlocation = 'a.b'\nlocation = 'c.d'\n", "error registries.conf:3:1: key \"location\" is here twice, first in line 2\n"},
		{"type", "podman", "[[registry]]\nlocation = 'a.b'\ninsecure = 'yes'\n", "error registries.conf:3:12: insecure is a string and should be a boolean\n"},
		{"scheme", "podman", "[[registry]]\nlocation = 'https://a.b'\n", "error registries.conf:2:12: location \"https://a.b\" has a scheme (drop the scheme; insecure = true allows plain HTTP)\n"},
		{"unknown", "podman", "[[registry]]\nlocation = 'a.b'\nblock = true\n", "warning registries.conf:3:1: unknown key \"block\" in [[registry]]: the client ignores it (perhaps \"blocked\" is meant)\n"},
		{"swallowed", "podman", "[[registry]]\nlocation = 'a.b'\nshort-name-mode = 'enforcing'\n",
			"warning registries.conf:3:1: key \"short-name-mode\" is swallowed by [[registry]] and has no effect there (move it to the top of the file, before the first table)\n"},
		{"swallowed, strict", "", "[[registry]]\nlocation = 'a.b'\nshort-name-mode = 'enforcing'\n",
			"error registries.conf:3:1: key \"short-name-mode\" is swallowed by [[registry]] and has no effect there (move it to the top of the file, before the first table)\n"},
		{"mode", "podman", "short-name-mode = 'x'\n", "error registries.conf:1:19: short-name-mode is \"x\" (it may be \"enforcing\", \"permissive\" or \"disabled\")\n"},
		{"remapped and blocked", "", "[[registry]]\nprefix = 'a.b'\nlocation = 'c.d'\nblocked = true\n",
			"error registries.conf:1:3: blocked has no effect on \"a.b\", because it is remapped to \"c.d\" (give location the same value as prefix, or leave prefix out)\n"},
		{"aliases that are no table", "podman", "aliases = 1\n", "warning registries.conf:1:11: aliases is a number and should be a table: the client passes over it (write an [aliases] table)\n"},
		{"alias of a path with a dot", "podman", "[aliases]\n'a_c.d/x' = 'quay.io/x'\n", "warning registries.conf:2:1: alias \"a_c.d/x\" is never looked up, because its first part looks like a registry (rename it)\n"},
		{"alias to IPv6", "podman", "[aliases]\nx = '[::1]/x'\n", "error registries.conf:2:5: alias \"x\": \"[::1]/x\" is not registry and repository, without tag or digest\n"},
		{"alias to IPv6, strict", "", "[aliases]\nx = '[::1]/x'\n", ""},
		{"CRLF and byte order mark", "podman", "\ufeff[[registry]]\r\nlocation = 'a.b'\r\n", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := readOf(t, sourceOf("registries.conf", map[string]string{"registries.conf": c.in}), c.client)
			if diff := cmp.Diff(c.want, problems(cfg)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestRegistriesConfStrict holds where the native reading differs from podman's.
func TestRegistriesConfStrict(t *testing.T) {
	for _, c := range []struct{ name, in, ref, podman, native string }{
		{"a port is not the host's", "[[registry]]\nlocation = 'example.com'\n[[registry.mirror]]\nlocation = 'm.corp'\n", "example.com:5000/a:1",
			"https://m.corp:5000/v2/a/manifests/1\nhttps://example.com:5000/v2/a/manifests/1\n", "https://example.com:5000/v2/a/manifests/1\n"},
		{"twice", "[[registry]]\nlocation = 'quay.io'\n[[registry]]\nlocation = 'quay.io'\n[[registry.mirror]]\nlocation = 'm.corp'\n", "quay.io/a:1",
			"https://quay.io/v2/a/manifests/1\n", "error: two rules are for quay.io/a, quay.io at registries.conf:1 and quay.io at registries.conf:3: remove one\n"},
		{"capitals fail one mirror", "[[registry]]\nlocation = 'quay.io'\n[[registry.mirror]]\nlocation = 'm.corp/Up'\n", "quay.io/a:1",
			"error: m.corp/Up at registries.conf:3: invalid reference \"m.corp/Up/a:1\": repository \"Up/a\" must be lower case\n", "\nhttps://quay.io/v2/a/manifests/1\n"},
		{"no host", "[[registry]]\nlocation = 'quay.io'\n[[registry.mirror]]\nlocation = 'my_mirror.corp'\n", "quay.io/a:1",
			"\nhttps://quay.io/v2/a/manifests/1\n", "https://my_mirror.corp/v2/a/manifests/1\nhttps://quay.io/v2/a/manifests/1\n"},
		{"a host of capitals", "[[registry]]\nlocation = 'quay.io'\n[[registry.mirror]]\nlocation = 'MIRROR'\n", "quay.io/a:1",
			"error: MIRROR at registries.conf:3: this client takes no host without a dot or a port: a repository's name must be lower-case\n", "https://MIRROR/v2/a/manifests/1\nhttps://quay.io/v2/a/manifests/1\n"},
		{"blocked where it leads", "[[registry]]\nprefix = 'quay.io'\nlocation = 'm.corp'\nblocked = true\n", "quay.io/a:1",
			"https://m.corp/v2/a/manifests/1\n", "https://m.corp/v2/a/manifests/1 blocked\nerror: quay.io/a is blocked by the rule for quay.io\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			src := sourceOf("registries.conf", map[string]string{"registries.conf": c.in})
			for client, want := range map[string]string{"podman": c.podman, "": c.native} {
				got := urls(t, readOf(t, src, client), c.ref, client)
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("client %q (-want +got):\n%s", client, diff)
				}
			}
		})
	}
}

// TestRegistriesConfSystem holds the order of places on a machine.
func TestRegistriesConfSystem(t *testing.T) {
	mirror := func(name string) string {
		return "[[registry]]\nlocation = 'quay.io'\n[[registry.mirror]]\nlocation = '" + name + ".corp'\n"
	}
	all := map[string]string{
		"root/.config/containers/registries.conf":             mirror("home"),
		"etc/containers/registries.conf":                      mirror("etc"),
		"usr/share/containers/registries.conf":                mirror("usr"),
		"etc/containers/registries.rootful.conf.d/10.conf":    mirror("rootful"),
		"etc/containers/registries.rootless.conf.d/10.conf":   mirror("rootless"),
		"etc/containers/registries.rootless.conf.d/7/10.conf": mirror("seven"),
		"usr/share/containers/registries.conf.d/10.conf":      mirror("usrdropin"),
		"usr/share/containers/registries.conf.d/05.conf":      mirror("early"),
		"usr/share/containers/registries.conf.d/99.conf/x":    "",
		"usr/share/containers/registries.conf.d/99.disabled":  mirror("disabled"),
		"root/other.conf": mirror("variable"),
		"root/.config/containers/registries.conf.d/override":   mirror("no"),
		"root/.config/containers/registries.conf.d/zzz.broken": "[",
	}
	for _, c := range []struct {
		name string
		uid  int
		env  map[string]string
		drop []string // files that are not there
		want string
	}{
		{"rootful drop-in", 0, map[string]string{"HOME": "/root"}, nil, "rootful"},
		{"rootless drop-in of the user", 7, map[string]string{"HOME": "/root"}, nil, "seven"},
		{"rootless drop-in of all", 8, map[string]string{"HOME": "/root"}, nil, "rootless"},
		{"vendor's drop-in", 0, nil, []string{"etc/containers/registries.rootful.conf.d/10.conf"}, "usrdropin"},
		{"home", 0, map[string]string{"HOME": "/root"}, []string{"etc/containers/registries.rootful.conf.d/10.conf", "usr/share/containers/registries.conf.d/10.conf", "usr/share/containers/registries.conf.d/05.conf"}, "home"},
		{"variable", 0, map[string]string{registriesVariable: "/root/other.conf"}, nil, "variable"},
		{"override", 0, map[string]string{registriesVariable + "_OVERRIDE": "/root/other.conf"}, nil, "variable"},
	} {
		t.Run(c.name, func(t *testing.T) {
			files := map[string]string{}
			for name, text := range all {
				files[name] = text
			}
			for _, name := range c.drop {
				delete(files, name)
			}
			src := sourceOf("registries.conf", files)
			src.System, src.UID, src.Getenv = true, c.uid, func(name string) string { return c.env[name] }
			cfg := readOf(t, src, "podman")
			if got := urls(t, cfg, "quay.io/a:1", "podman"); !strings.HasPrefix(got, "https://"+c.want+".corp/") {
				t.Errorf("the first is not %s:\n%s%s", c.want, got, problems(cfg))
			}
		})
	}
}

func TestRegistriesConfVariableNamesNothing(t *testing.T) {
	src := sourceOf("registries.conf", nil)
	src.System, src.Getenv = true, func(name string) string {
		if name == registriesVariable {
			return "/none.conf"
		}
		return ""
	}
	cfg := readOf(t, src, "podman")
	if got, want := urls(t, cfg, "quay.io/a:1", "podman"), "error: /none.conf: CONTAINERS_REGISTRIES_CONF names a file that is not there\n"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestTooLarge(t *testing.T) {
	cfg := readOf(t, sourceOf("registries.conf", map[string]string{"registries.conf": strings.Repeat("# x\n", MaxFile/4+1)}), "podman")
	want := "error registries.conf:1048577:1: the file is larger than 4194304 bytes (configuration is not that large: is it the right file?)\n"
	if got := problems(cfg); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if cfg.Refused == nil {
		t.Error("it is not refused")
	}
}
