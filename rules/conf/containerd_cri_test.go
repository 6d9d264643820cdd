package conf

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/entrepot/entrepot/rules"
)

// criTable is the header of the registry table in version 3.
const criTable = "version = 3\n[plugins.'io.containerd.cri.v1.images'.registry]\n"

func TestContainerdCRITries(t *testing.T) {
	const hub = "https://registry-1.docker.io/v2/library/alpine/manifests/3 primary"
	mirrors := func(lines string) string {
		return criTable + "[plugins.'io.containerd.cri.v1.images'.registry.mirrors]\n" + lines
	}
	for _, tt := range []struct {
		name, client, text, ref string
		want                    []string
	}{
		{"path instead of v2", "", mirrors("'docker.io' = {endpoint = ['https://m.example.com/proj']}"), "alpine:3",
			[]string{"https://m.example.com/proj/library/alpine/manifests/3?ns=docker.io mirror", hub}},
		{"slash", "", mirrors("'docker.io' = {endpoint = ['https://m.example.com/']}"), "alpine:3",
			[]string{"https://m.example.com/library/alpine/manifests/3?ns=docker.io mirror", hub}},
		{"v2 and a namespace", "", mirrors("'docker.io' = {endpoint = ['https://m.example.com/v2/hub/']}"), "alpine:3",
			[]string{"https://m.example.com/v2/hub/library/alpine/manifests/3?ns=docker.io mirror", hub}},
		{"no scheme", "", mirrors("'docker.io' = {endpoint = ['m.example.com', 'localhost:5000']}"), "alpine:3",
			[]string{"https://m.example.com/v2/library/alpine/manifests/3?ns=docker.io mirror", "http://localhost:5000/v2/library/alpine/manifests/3?ns=docker.io mirror", hub}},
		{"the host of Docker Hub is not docker.io", "", mirrors("'docker.io' = {endpoint = ['https://registry-1.docker.io', 'https://m.example.com']}"), "alpine:3",
			[]string{"https://registry-1.docker.io/v2/library/alpine/manifests/3 mirror", "https://m.example.com/v2/library/alpine/manifests/3?ns=docker.io mirror", hub}},
		{"star at its own host", "", mirrors("'*' = {endpoint = ['https://m.example.com', 'https://n.example.com']}"), "m.example.com/a:1",
			[]string{"https://m.example.com/v2/a/manifests/1 primary", "https://n.example.com/v2/a/manifests/1?ns=m.example.com mirror"}},
		{"localhost is plain HTTP", "", mirrors("'docker.io' = {endpoint = ['https://m.example.com']}"), "localhost:5000/a:1",
			[]string{"http://localhost:5000/v2/a/manifests/1 primary insecure"}},
		{"plain HTTP for a registry on localhost", "", mirrors("'localhost:5000' = {endpoint = ['http://m.example.com', 'https://n.example.com']}"), "localhost:5000/a:1",
			[]string{
				"http://m.example.com/v2/a/manifests/1?ns=localhost%3A5000 mirror insecure", "https://n.example.com/v2/a/manifests/1?ns=localhost%3A5000 mirror",
				"http://localhost:5000/v2/a/manifests/1 primary insecure",
			}},
		{"mirrors switch the transfer service off", "containerd-transfer", mirrors("'docker.io' = {endpoint = ['https://m.example.com']}"), "alpine:3",
			[]string{"https://m.example.com/v2/library/alpine/manifests/3?ns=docker.io mirror", hub}},
		{"version 2", "", "version = 2\n[plugins.'io.containerd.grpc.v1.cri'.registry.mirrors.'docker.io']\nendpoint = ['https://m.example.com']\n", "alpine:3",
			[]string{"https://m.example.com/v2/library/alpine/manifests/3?ns=docker.io mirror", hub}},
		{"version 1", "", "[plugins.cri.registry.mirrors.'docker.io']\nendpoint = ['https://m.example.com']\n", "alpine:3",
			[]string{"https://m.example.com/v2/library/alpine/manifests/3?ns=docker.io mirror", hub}},
		{"version 2 in a file of version 3", "", "version = 3\n[plugins.'io.containerd.grpc.v1.cri'.registry.mirrors.'docker.io']\nendpoint = ['https://m.example.com']\n", "alpine:3",
			[]string{hub}},
		{"ftp", "", mirrors("'docker.io' = {endpoint = ['ftp://m.example.com']}"), "alpine:3",
			[]string{"unusable: the scheme of ftp://m.example.com is neither http nor https mirror", hub}},
		{"broken address", "", mirrors("'docker.io' = {endpoint = ['https://m.example.com:x']}"), "alpine:3",
			[]string{`error: config.toml:4:28: endpoint "https://m.example.com:x" is no address`}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			client := tt.client
			if client == "" {
				client = "containerd-cri"
			}
			cfg, d := readFor(t, "containerd-cri", client, map[string]string{"config.toml": tt.text})
			if diff := cmp.Diff(tt.want, triesFor(t, cfg, d, tt.ref)); diff != "" {
				t.Errorf("tries (-want +got):\n%s\n%q", diff, texts(cfg.Problems))
			}
		})
	}
}

// TestContainerdCRIColon holds what a list in config_path means: two
// directories for the local pull, none for the transfer service, unless a
// setting switches it back.
func TestContainerdCRIColon(t *testing.T) {
	const list = "config_path = '/etc/containerd/certs.d:/etc/docker/certs.d'\n"
	const mirror = "https://m.example.com/v2/a/manifests/1?ns=quay.io mirror"
	for _, tt := range []struct {
		name, client, text string
		used               bool
	}{
		{"local", "containerd-cri", criTable + list, true},
		{"transfer", "containerd-transfer", criTable + list, false},
		{"transfer, default", "containerd-transfer", "version = 3\n", false},
		{"local, default", "containerd-cri", "version = 3\n", true},
		{"asked for", "containerd-transfer", "version = 3\nplugins.'io.containerd.cri.v1.images'.use_local_image_pull = true\n" + "plugins.'io.containerd.cri.v1.images'.registry." + list, true},
		{"credentials", "containerd-transfer", criTable + list + "[plugins.'io.containerd.cri.v1.images'.registry.configs.'quay.io'.auth]\nusername = 'u'\n", true},
		{"native", "", criTable + list, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg, d := readFor(t, "containerd-cri", tt.client, map[string]string{
				"config.toml": tt.text, "/etc/docker/certs.d/quay.io/hosts.toml": "[host.'https://m.example.com']\n",
			})
			got := triesFor(t, cfg, d, "quay.io/a:1")
			if slices.Contains(got, mirror) != tt.used {
				t.Errorf("tries %q, want the mirror used: %v", got, tt.used)
			}
			if !tt.used && !slices.ContainsFunc(cfg.Problems, func(p rules.Problem) bool { return p.At.Line > 0 && p.Hint != "" }) {
				t.Errorf("problems %q, want one that says why", texts(cfg.Problems))
			}
		})
	}
}

// TestContainerdCRIServerIsKept holds that an endpoint at the image's own host
// ends the list in the old mirrors alone, not in hosts.toml.
func TestContainerdCRIServerIsKept(t *testing.T) {
	cfg, d := readFor(t, "containerd-cri", "containerd-cri", map[string]string{
		"config.toml":                            criTable + "config_path = '/etc/certs.d'\n",
		"/etc/certs.d/quay.io/hosts.toml":        "server = 'https://cache.example.com'\n[host.'https://quay.io']\n",
		"/etc/containerd/certs.d/x.y/hosts.toml": "",
	})
	want := []string{"https://quay.io/v2/a/manifests/1 mirror", "https://cache.example.com/v2/a/manifests/1?ns=quay.io primary"}
	if diff := cmp.Diff(want, triesFor(t, cfg, d, "quay.io/a:1")); diff != "" {
		t.Errorf("tries (-want +got):\n%s", diff)
	}
	if got := cfg.Rules[0].Origin; got.Format != "hosts.toml" || got.File != "/etc/certs.d/quay.io/hosts.toml" {
		t.Errorf("the rule comes from %+v, want the hosts.toml", got)
	}
}

func TestContainerdCRISystem(t *testing.T) {
	d, err := rules.DialectOf("containerd-cri")
	if err != nil {
		t.Fatal(err)
	}
	files := mapFS(map[string]string{"/root/etc/docker/certs.d/quay.io/hosts.toml": "[host.'https://m.example.com']\n"})
	cfg, err := Read(Source{Format: "containerd-cri", FS: files, Path: "root", System: true}, d)
	if err != nil {
		t.Fatal(err)
	}
	if got := triesFor(t, cfg, d, "quay.io/a:1"); len(got) != 2 {
		t.Errorf("without config.toml: got %q, want the mirror of the default directories", got)
	}
}

func TestContainerdCRIProblems(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"syntax", "version = \n", "error: config.toml:1:"},
		{"newer", "version = 5\n", "error: config.toml:1:11: version is 5"},
		{"wrong type", criTable + "config_path = ['/etc']\n", "error: config.toml:3:1: config_path is a list and should be a string"},
		{"unknown key", criTable + "configpath = '/etc'\n", `warning: config.toml:3:1: unknown key "configpath"`},
		{"old name", "version = 3\n[plugins.'io.containerd.grpc.v1.cri'.registry]\nconfig_path = '/etc'\n", `error: config.toml:2:38: registry of plugin "io.containerd.grpc.v1.cri" is not looked at in a file of version 3`},
		{"tls is gone", criTable + "[plugins.'io.containerd.cri.v1.images'.registry.configs.'quay.io'.tls]\nca_file = '/c'\n", `error: config.toml:3:67: tls of configs."quay.io" is no longer read`},
		{"pattern", criTable + "mirrors.'*.example.com'.endpoint = ['https://m.example.com']\n", `error: config.toml:3:9: key "*.example.com" matches no registry`},
		{"slash", criTable + "mirrors.'quay.io'.endpoint = ['https://m.example.com/']\n", `error: config.toml:3:31: the slash at the end of "https://m.example.com/" is a path`},
		{"credentials", criTable + "mirrors.'quay.io'.endpoint = ['https://u:secret@m.example.com']\n", "error: config.toml:3:31: the credentials in the endpoint at m.example.com are dropped"},
		{"deprecated", criTable + "mirrors.'quay.io'.endpoint = ['https://m.example.com']\n", "warning: config.toml:3:1: mirrors are deprecated"},
		{"colon", criTable + "config_path = '/a:/b'\n", "error: config.toml:3:15: config_path is a list"},
		{"imports", "imports = ['/etc/containerd/conf.d/*.toml']\n", "warning: config.toml:1:12: imported files are not read here"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg, _ := readFor(t, "containerd-cri", "", map[string]string{"config.toml": tt.text})
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

func TestContainerdCRICredentials(t *testing.T) {
	cfg, _ := readFor(t, "containerd-cri", "containerd-cri", map[string]string{"config.toml": criTable +
		"configs.'quay.io'.auth = {username = 'u', password = 'p'}\nauths.'https://gcr.io'.username = 'u'\n"})
	for _, host := range []string{"quay.io", "gcr.io"} {
		if tr := cfg.Hosts[host].Transport; tr == nil || !tr.InlineAuth {
			t.Errorf("%s has no credentials, want the mark that the file holds some", host)
		}
	}
}

func FuzzContainerdCRI(f *testing.F) {
	for _, c := range readGolden(f, "containerd-cri") {
		f.Add(c.Config.Files["config.toml"])
	}
	f.Add(criTable + "mirrors.'*'.endpoint = ['', '://', 'https://', '%zz', 'a:b:c', 'http://[::1', 'quay.io']\nauths.'%'.auth = ''\n")
	f.Fuzz(func(t *testing.T, text string) { fuzzText(t, "containerd-cri", "containerd-cri", text) })
}
