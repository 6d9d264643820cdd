package conf

import (
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/entrepot/entrepot/rules"
)

func TestHostsTomlProblems(t *testing.T) {
	for _, c := range []struct{ name, client, in, want string }{
		{"syntax", "containerd", "server = \n", "warning quay.io/hosts.toml:1:10: unexpected character U+000A at start of value; containerd only logs it, and goes on as if there was no file (until it is repaired none of the file's mirrors is used)\n"},
		{"type", "", "server = 'https://quay.io'\nskip_verify = 'yes'\n", "error quay.io/hosts.toml:2:15: skip_verify is a string and should be a boolean (containerd only logs this, and goes on as if there was no file)\n"},
		{"unknown", "containerd", "[host.'https://m.corp']\nskip-verify = true\n", "warning quay.io/hosts.toml:2:1: unknown key \"skip-verify\" in [host.https://m.corp]: the client ignores it (perhaps \"skip_verify\" is meant)\n"},
		{"repeated", "", "[host.'https://a.corp']\n[host.'https://b.corp']\n[host.'https://a.corp'.header]\nx = 'y'\n",
			"error quay.io/hosts.toml:3:2: a table of \"https://a.corp\" after another host makes containerd try the host again (put it directly below the table of its host)\n"},
		{"without server", "containerd", "override_path = true\n[host.'https://a.corp']\n", "warning quay.io/hosts.toml:1:1: override_path of the top is for the server, and there is none (write a server, too)\n"},
		{"/v2 twice", "containerd", "[host.'https://a.corp/v2/proj']\n", "warning quay.io/hosts.toml:1:7: the path of \"https://a.corp/v2/proj\" holds /v2 and gets another one at its end (write override_path = true)\n"},
		{"two cases", "containerd", "[host.'https://a.corp']\n[HOST.'https://b.corp']\n",
			"warning quay.io/hosts.toml:2:2: HOST is written in two ways that differ in case, and is one table (write the key in one way)\n" +
				"warning quay.io/hosts.toml:2:7: \"https://b.corp\" is never tried, because only tables with a header of their own are (write a header: [host.\"https://b.corp\"])\n"},
		{"no host", "", "[host.'https://:']\n", "error quay.io/hosts.toml:1:7: \"https://:\" has no host and cannot be asked (the form is https://host[:port][/path])\n"},
		{"duration", "", "[host.'https://a.corp']\ndial_timeout = '5'\n", "error quay.io/hosts.toml:2:16: dial_timeout \"5\" is no duration (it is written as \"30s\")\n"},
		{"byte order mark", "", "\ufeffserver = 'https://quay.io'\n", "error quay.io/hosts.toml:1:1: the file begins with a byte order mark, which the client does not read (save it as UTF-8 without a byte order mark)\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := readOf(t, sourceOf("hosts.toml", map[string]string{"quay.io/hosts.toml": c.in}), c.client)
			if diff := cmp.Diff(c.want, problems(cfg)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestHostsTomlStrict holds that the native reading fails a host's images where
// containerd forgets the file, and only those.
func TestHostsTomlStrict(t *testing.T) {
	src := sourceOf("hosts.toml", map[string]string{
		"quay.io/hosts.toml": "[host.'https://m.corp']\ncapabilities = ['pul']\n",
		"ghcr.io/hosts.toml": "[host.'https://m.corp']\n",
	})
	for _, c := range []struct{ client, ref, want string }{
		{"containerd", "quay.io/a:1", "https://quay.io/v2/a/manifests/1\n"},
		{"", "quay.io/a:1", "error: quay.io/hosts.toml:2:17: unknown capability \"pul\"\n"},
		{"", "ghcr.io/a:1", "https://m.corp/v2/a/manifests/1?ns=ghcr.io\nhttps://ghcr.io/v2/a/manifests/1\n"},
	} {
		if got := urls(t, readOf(t, src, c.client), c.ref, c.client); got != c.want {
			t.Errorf("client %q, %s:\n%swant\n%s", c.client, c.ref, got, c.want)
		}
	}
}

// TestHostsTomlEmptyPort holds that a host with an empty port is not the image's
// own for containerd, which compares text: it gets ns.
func TestHostsTomlEmptyPort(t *testing.T) {
	src := sourceOf("hosts.toml", map[string]string{"m.corp/hosts.toml": "[host.'https://m.corp:']\n"})
	want := "https://m.corp/v2/a/manifests/1?ns=m.corp\nhttps://m.corp/v2/a/manifests/1\n"
	if got := urls(t, readOf(t, src, "containerd"), "m.corp/a:1", "containerd"); got != want {
		t.Errorf("%swant\n%s", got, want)
	}
}

// TestHostsTomlCase holds that tables whose keys differ in case are one.
func TestHostsTomlCase(t *testing.T) {
	src := sourceOf("hosts.toml", map[string]string{
		"quay.io/hosts.toml": "[host.'https://a.corp']\nskip_verify = false\n[HOST.'https://a.corp']\nSkip_Verify = false\n[host.'https://a.corp'.header]\nx = 'y'\n[Host.'https://b.corp']\n[HOST.'https://c.corp']\n[Host.'https://a.corp']\nskip_verify = true\n",
	})
	want := "https://a.corp/v2/a/manifests/1?ns=quay.io insecure\nhttps://quay.io/v2/a/manifests/1\n"
	if got := urls(t, readOf(t, src, "containerd"), "quay.io/a:1", "containerd"); got != want {
		t.Errorf("%swant\n%s", got, want)
	}
}

func TestHostsTomlDirectories(t *testing.T) {
	for dir, want := range map[string]rules.Match{
		"quay.io":               {Kind: rules.Host, Host: "quay.io", Text: "quay.io"},
		"quay.io_5000_":         {Kind: rules.Host, Host: "quay.io:5000", Text: "quay.io_5000_"},
		"quay.io:5000":          {Kind: rules.Host, Host: "quay.io:5000", Text: "quay.io:5000"},
		"[2001:db8::1]_5000_":   {Kind: rules.Host, Host: "[2001:db8::1]:5000", Text: "[2001:db8::1]_5000_"},
		"[2001:db8:_1]_":        {Kind: rules.Host, Host: "[2001:db8::1]", Text: "[2001:db8:_1]_"}, // as containerd spells a literal without port
		"under_score.corp_443_": {Kind: rules.Host, Host: "under_score.corp:443", Text: "under_score.corp_443_"},
		"_default":              {Kind: rules.Any, Text: "_default"},
	} {
		if got := hostsMatch(dir); got != want {
			t.Errorf("%s: %+v, want %+v", dir, got, want)
		}
	}
}

// TestHostsTomlRoots holds which of several roots counts: the first that has a
// directory for the host, or one for all.
func TestHostsTomlRoots(t *testing.T) {
	src := sourceOf("hosts.toml", map[string]string{
		"etc/containerd/certs.d/quay.io/hosts.toml": "[host.'https://one.corp']\n",
		"etc/docker/certs.d/quay.io/hosts.toml":     "[host.'https://two.corp']\n",
		"etc/docker/certs.d/ghcr.io/hosts.toml":     "[host.'https://three.corp']\n",
	})
	src.System = true
	cfg := readOf(t, src, "containerd")
	for name, want := range map[string]string{
		"quay.io/a:1": "https://one.corp/v2/a/manifests/1?ns=quay.io\nhttps://quay.io/v2/a/manifests/1\n",
		"ghcr.io/a:1": "https://three.corp/v2/a/manifests/1?ns=ghcr.io\nhttps://ghcr.io/v2/a/manifests/1\n",
	} {
		if got := urls(t, cfg, name, "containerd"); got != want {
			t.Errorf("%s:\n%swant\n%s", name, got, want)
		}
	}
	want := "warning /etc/docker/certs.d/quay.io/hosts.toml:1: /etc/docker/certs.d/quay.io is never looked at, because /etc/containerd/certs.d/quay.io is there (put everything into /etc/containerd/certs.d/quay.io)\n" +
		"warning /etc/containerd/config.toml:1: without a config_path the default is a list, which the transfer service takes for one directory: no hosts.toml is read (write config_path with one directory alone)\n"
	if got := problems(cfg); got != want {
		t.Errorf("problems:\n%swant\n%s", got, want)
	}
}

// TestHostsTomlAlone holds that a file, and the directory of one host, are for
// that host.
func TestHostsTomlAlone(t *testing.T) {
	src := sourceOf("hosts.toml", map[string]string{"docker.io/hosts.toml": "[host.'https://m.corp']\n"})
	want := "https://m.corp/v2/library/alpine/manifests/1?ns=docker.io\nhttps://registry-1.docker.io/v2/library/alpine/manifests/1\n"
	for _, p := range []string{"c/docker.io", "c/docker.io/hosts.toml"} {
		src.Path = p
		if got := urls(t, readOf(t, src, "containerd"), "alpine:1", "containerd"); got != want {
			t.Errorf("%s:\n%swant\n%s", p, got, want)
		}
	}
}

// TestConfigPathWithAColon holds that the directories of a machine are not
// explained without a word about Kubernetes, which finds none of them.
func TestConfigPathWithAColon(t *testing.T) {
	d, err := rules.DialectOf("containerd")
	if err != nil {
		t.Fatal(err)
	}
	const hosts = "root/etc/containerd/certs.d/docker.io/hosts.toml"
	for _, tt := range []struct{ name, path, toml, want string }{
		{"a list", "root/etc/containerd/config.toml",
			"version = 3\n[plugins.'io.containerd.cri.v1.images'.registry]\nconfig_path = '/etc/containerd/certs.d:/etc/docker/certs.d'\n",
			"/etc/containerd/config.toml:3"},
		{"the default", "root/etc/containerd/config.toml", "version = 3\n", "/etc/containerd/config.toml:1"},
		{"one directory", "root/etc/containerd/config.toml",
			"version = 3\n[plugins.'io.containerd.cri.v1.images'.registry]\nconfig_path = '/etc/containerd/certs.d'\n", ""},
		{"the local pull", "root/etc/containerd/config.toml",
			"version = 3\n[plugins.'io.containerd.cri.v1.images']\nuse_local_image_pull = true\n", ""},
	} {
		files := fstest.MapFS{
			hosts:   {Data: []byte("[host.'https://m.example.com']\ncapabilities = ['pull', 'resolve']\n")},
			tt.path: {Data: []byte(tt.toml)},
		}
		cfg, err := Read(Source{Format: "hosts.toml", FS: files, Path: "root", System: true}, d)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		for _, p := range cfg.Problems {
			got += p.At.String()
		}
		if got != tt.want {
			t.Errorf("%s: problems at %q, want %q: %v", tt.name, got, tt.want, cfg.Problems)
		}
	}
}
