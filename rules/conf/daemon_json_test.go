package conf

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	hubTry   = "https://registry-1.docker.io/v2/library/alpine/manifests/3 primary"
	hubHosts = "certs.d/docker.io/hosts.toml"
)

func TestDaemonJSONGraphStore(t *testing.T) {
	for _, tt := range []struct {
		name, text, ref string
		want            []string
	}{
		{"empty", "", "alpine:3", []string{hubTry}},
		{"null", `{"registry-mirrors": null}`, "alpine:3", []string{hubTry}},
		{"duplicates", `{"registry-mirrors": ["https://m.example.com", "https://m.example.com/"]}`, "alpine:3",
			[]string{"https://m.example.com/v2/library/alpine/manifests/3 mirror", hubTry}},
		{"v2 is added again", `{"registry-mirrors": ["https://m.example.com/v2/"]}`, "alpine:3",
			[]string{"https://m.example.com/v2/v2/library/alpine/manifests/3 mirror", hubTry}},
		{"insecure mirrors keep their scheme", `{"registry-mirrors": ["https://m.example.com", "http://10.1.2.3:5000"], "insecure-registries": ["m.example.com", "10.0.0.0/8"]}`, "alpine:3",
			[]string{"https://m.example.com/v2/library/alpine/manifests/3 mirror insecure", "http://10.1.2.3:5000/v2/library/alpine/manifests/3 mirror insecure", hubTry}},
		{"mirror on this machine", `{"registry-mirrors": ["https://localhost:5000"]}`, "alpine:3",
			[]string{"https://localhost:5000/v2/library/alpine/manifests/3 mirror insecure", hubTry}},
		{"localhost", "{}", "localhost/a:1", []string{"https://localhost/v2/a/manifests/1 primary insecure", "http://localhost/v2/a/manifests/1 primary insecure"}},
		{"this machine by address", "{}", "127.1.2.3:443/a:1", []string{"https://127.1.2.3:443/v2/a/manifests/1 primary insecure", "http://127.1.2.3:443/v2/a/manifests/1 primary insecure"}},
		{"this machine by literal", "{}", "[::1]:5000/a:1", []string{"https://[::1]:5000/v2/a/manifests/1 primary insecure", "http://[::1]:5000/v2/a/manifests/1 primary insecure"}},
		{"other port", `{"insecure-registries": ["r.example.com"]}`, "r.example.com:5000/a:1", []string{"https://r.example.com:5000/v2/a/manifests/1 primary"}},
		{"scheme is dropped", `{"insecure-registries": ["http://r.example.com"]}`, "r.example.com/a:1",
			[]string{"https://r.example.com/v2/a/manifests/1 primary insecure", "http://r.example.com/v2/a/manifests/1 primary insecure"}},
		{"network of IPv6", `{"insecure-registries": ["2001:db8::/32"]}`, "[2001:db8::1]:5000/a:1",
			[]string{"https://[2001:db8::1]:5000/v2/a/manifests/1 primary insecure", "http://[2001:db8::1]:5000/v2/a/manifests/1 primary insecure"}},
		{"a literal without a port is no address", `{"insecure-registries": ["::1/128"]}`, "[::1]/a:1", []string{"https://[::1]/v2/a/manifests/1 primary"}},
		{"a mirror by a name of Docker Hub", `{"registry-mirrors": ["https://index.docker.io"], "insecure-registries": ["index.docker.io"]}`, "alpine:3",
			[]string{"https://index.docker.io/v2/library/alpine/manifests/3 mirror insecure", hubTry}},
		{"a mirror at a literal without a port", `{"registry-mirrors": ["https://[::1]"]}`, "alpine:3", []string{"https://[::1]/v2/library/alpine/manifests/3 mirror", hubTry}},
		{"Docker Hub is verified", `{"insecure-registries": ["docker.io", "registry-1.docker.io"]}`, "alpine:3", []string{hubTry}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg, d := readFor(t, "daemon.json", "docker", map[string]string{"daemon.json": tt.text})
			if diff := cmp.Diff(tt.want, triesFor(t, cfg, d, tt.ref)); diff != "" {
				t.Errorf("tries (-want +got):\n%s", diff)
			}
		})
	}
}

func TestDaemonJSONContainerdStore(t *testing.T) {
	const m = `{"registry-mirrors": ["https://m.example.com"]}`
	for _, tt := range []struct {
		name  string
		files map[string]string
		ref   string
		want  []string
	}{
		{"v2 is not added again", map[string]string{"daemon.json": `{"registry-mirrors": ["https://m.example.com/v2"]}`}, "alpine:3",
			[]string{"https://m.example.com/v2/library/alpine/manifests/3?ns=docker.io mirror", hubTry}},
		{"mirrors for all registries", map[string]string{"daemon.json": m, "certs.d/_default/hosts.toml": "[host.'https://any.example.com']\n"}, "alpine:3",
			[]string{"https://any.example.com/v2/library/alpine/manifests/3?ns=docker.io mirror", hubTry}},
		{"server for all registries", map[string]string{"daemon.json": m, "certs.d/_default/hosts.toml": "server = 'https://any.example.com'\n"}, "alpine:3",
			[]string{"https://m.example.com/v2/library/alpine/manifests/3?ns=docker.io mirror", "https://any.example.com/v2/library/alpine/manifests/3?ns=docker.io primary"}},
		{"no daemon.json", map[string]string{hubHosts: "[host.'https://h.example.com']\n"}, "alpine:3",
			[]string{"https://h.example.com/v2/library/alpine/manifests/3?ns=docker.io mirror", hubTry}},
		{"insecure", map[string]string{"daemon.json": `{"insecure-registries": ["r.example.com"]}`}, "r.example.com/a:1",
			[]string{"https://r.example.com/v2/a/manifests/1 primary insecure fallback"}},
		{"insecure beside mirrors", map[string]string{"daemon.json": `{"insecure-registries": ["r.example.com"]}`, "certs.d/r.example.com/hosts.toml": "[host.'https://h.example.com']\n"}, "r.example.com/a:1",
			[]string{"https://h.example.com/v2/a/manifests/1?ns=r.example.com mirror", "https://r.example.com/v2/a/manifests/1 primary"}},
		{"insecure beside mirrors for all", map[string]string{"daemon.json": `{"insecure-registries": ["r.example.com"]}`, "certs.d/_default/hosts.toml": "[host.'https://h.example.com']\n"}, "r.example.com/a:1",
			[]string{"https://h.example.com/v2/a/manifests/1?ns=r.example.com mirror", "https://r.example.com/v2/a/manifests/1 primary"}},
		{"insecure network beside mirrors for all", map[string]string{"daemon.json": `{"insecure-registries": ["10.0.0.0/8"]}`, "certs.d/_default/hosts.toml": "[host.'https://h.example.com']\n"}, "10.1.2.3/a:1",
			[]string{"https://h.example.com/v2/a/manifests/1?ns=10.1.2.3 mirror", "https://10.1.2.3/v2/a/manifests/1 primary"}},
		{"insecure server", map[string]string{"daemon.json": `{"insecure-registries": ["s.example.com"]}`, "certs.d/r.example.com/hosts.toml": "server = 'https://s.example.com'\n"}, "r.example.com/a:1",
			[]string{"https://s.example.com/v2/a/manifests/1?ns=r.example.com primary insecure fallback"}},
		{"one insecure mirror", map[string]string{"daemon.json": `{"registry-mirrors": ["https://m.example.com", "http://localhost:5000"]}`}, "alpine:3",
			[]string{
				"https://m.example.com/v2/library/alpine/manifests/3?ns=docker.io mirror insecure fallback",
				"http://localhost:5000/v2/library/alpine/manifests/3?ns=docker.io mirror insecure", hubTry + " insecure fallback",
			}},
		{"broken hosts.toml is none", map[string]string{"daemon.json": m, hubHosts: "["}, "alpine:3",
			[]string{"https://m.example.com/v2/library/alpine/manifests/3?ns=docker.io mirror", hubTry}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg, d := readFor(t, "daemon.json", "docker-containerd", tt.files)
			if diff := cmp.Diff(tt.want, triesFor(t, cfg, d, tt.ref)); diff != "" {
				t.Errorf("tries (-want +got):\n%s", diff)
			}
		})
	}
}

func TestDaemonJSONProblems(t *testing.T) {
	for _, tt := range []struct {
		name   string
		client string
		files  map[string]string
		want   string
	}{
		{"syntax", "docker", map[string]string{"daemon.json": "{\"debug\": true,}"}, "error: daemon.json:1:16: "},
		{"wrong type", "docker", map[string]string{"daemon.json": `{"registry-mirrors": "https://m.example.com"}`}, "error: daemon.json:1:22: registry-mirrors is a string and should be a list"},
		{"no object", "docker", map[string]string{"daemon.json": "[]"}, "error: daemon.json:1:1: the file is a list and should be an object"},
		{"credentials", "", map[string]string{"daemon.json": `{"registry-mirrors": ["https://u:secret@m.example.com"]}`}, "error: daemon.json:1:23: the mirror at m.example.com has credentials in it"},
		{"fragment", "", map[string]string{"daemon.json": `{"registry-mirrors": ["https://m.example.com#x"]}`}, "error: daemon.json:1:23: mirror "},
		{"other scheme", "", map[string]string{"daemon.json": `{"registry-mirrors": ["ftp://m.example.com"]}`}, "error: daemon.json:1:23: the scheme of mirror "},
		{"no host", "", map[string]string{"daemon.json": `{"registry-mirrors": ["https://"]}`}, `error: daemon.json:1:23: mirror "https://" has no host`},
		{"insecure with a path", "", map[string]string{"daemon.json": `{"insecure-registries": ["r.example.com/a"]}`}, `error: daemon.json:1:26: insecure registry "r.example.com/a" is no registry`},
		{"insecure with a hyphen", "", map[string]string{"daemon.json": `{"insecure-registries": ["-r"]}`}, `error: daemon.json:1:26: insecure registry "-r" begins`},
		{"insecure Docker Hub", "docker", map[string]string{"daemon.json": `{"insecure-registries": ["docker.io"]}`}, "warning: daemon.json:1:26: Docker Hub is always verified"},
		{"a flag's name", "", map[string]string{"daemon.json": `{"registry-mirror": ["https://m.example.com"]}`}, `error: daemon.json:1:2: key "registry-mirror" is the name of a flag`},
		{"a slip", "docker", map[string]string{"daemon.json": `{"registryMirrors": ["https://m.example.com"]}`}, `error: daemon.json:1:2: key "registryMirrors" is not known`},
		{"unknown key", "docker", map[string]string{"daemon.json": `{"mirrors": []}`}, `warning: daemon.json:1:2: unknown key "mirrors"`},
		{"Docker Hub alone", "", map[string]string{"daemon.json": `{"registry-mirrors": ["https://m.example.com"]}`}, "warning: daemon.json:1:2: registry-mirrors are for Docker Hub alone"},
		{"the other store", "docker", map[string]string{"daemon.json": `{"features": {"containerd-snapshotter": true}}`}, "warning: daemon.json:1:41: the file chooses the containerd image store"},
		{"hosts.toml of the other store", "docker", map[string]string{"daemon.json": "{}", hubHosts: ""}, "warning: certs.d/docker.io/hosts.toml:1: hosts.toml is read with the containerd image store alone"},
		{"mirrors without effect", "docker-containerd", map[string]string{"daemon.json": `{"registry-mirrors": ["https://m.example.com"]}`, hubHosts: "[host.'https://h.example.com']\n"},
			"warning: daemon.json:1:23: registry-mirrors has no effect, because certs.d/docker.io/hosts.toml names a mirror for Docker Hub"},
		{"insecure without effect", "docker-containerd", map[string]string{"daemon.json": `{"insecure-registries": ["r.example.com"]}`, "certs.d/r.example.com/hosts.toml": "[host.'https://h.example.com']\n"},
			"warning: daemon.json:1:26: insecure-registries has no effect for r.example.com"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg, _ := readFor(t, "daemon.json", tt.client, tt.files)
			got := texts(cfg.Problems)
			if !slices.ContainsFunc(got, func(s string) bool { return strings.HasPrefix(s, tt.want) }) {
				t.Errorf("got %q, want one that starts with %q", got, tt.want)
			}
			if strings.Contains(strings.Join(got, " "), "secret") {
				t.Errorf("%q holds a secret", got)
			}
		})
	}
}

// TestDaemonJSONOtherKeys holds that the keys that Docker knows are no problem.
func TestDaemonJSONOtherKeys(t *testing.T) {
	text := `{"log-driver": "json-file", "log-opts": {"max-size": "10m"}, "exec-opts": ["native.cgroupdriver=systemd"], "storage-driver": "overlay2", "live-restore": true}`
	for _, client := range []string{"", "docker", "docker-containerd"} {
		if cfg, _ := readFor(t, "daemon.json", client, map[string]string{"daemon.json": text}); len(cfg.Problems) > 0 {
			t.Errorf("client %q: %q, want no problem", client, texts(cfg.Problems))
		}
	}
}

// TestDaemonJSONCertificates holds that the graph-driver store takes the
// certificates of certs.d, except for registries that are not verified anyway.
func TestDaemonJSONCertificates(t *testing.T) {
	files := map[string]string{
		"daemon.json":                      `{"insecure-registries": ["i.example.com"]}`,
		"certs.d/r.example.com:5000/c.crt": "no certificate",
		"certs.d/i.example.com/c.crt":      "no certificate",
	}
	cfg, d := readFor(t, "daemon.json", "docker", files)
	if got := cfg.Hosts["r.example.com:5000"].Transport; got == nil || len(got.CA) != 1 {
		t.Errorf("r.example.com:5000 has %+v, want its authority", got)
	}
	if got := triesFor(t, cfg, d, "i.example.com/a:1"); len(got) != 2 {
		t.Errorf("an insecure registry: got %q, want two tries", got)
	}
}

func FuzzDaemonJSON(f *testing.F) {
	for _, c := range readGolden(f, "daemon.json") {
		f.Add(c.Config.Files["daemon.json"])
	}
	f.Add(`{"registry-mirrors": ["http://", "HTTPS://a", "https://[::1"], "insecure-registries": ["", "://", "::1", "1.2.3.4/8", "a:b"]}`)
	f.Fuzz(func(t *testing.T, text string) {
		fuzzText(t, "daemon.json", "docker", text)
		fuzzText(t, "daemon.json", "docker-containerd", text)
	})
}
