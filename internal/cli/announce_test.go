package cli

import (
	"bytes"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/entrepot/entrepot/access"
	"github.com/pelletier/go-toml/v2"
)

// announced returns what a server says that listens on addr.
func announced(t *testing.T, cfg config, addr string) (string, map[string]string) {
	t.Helper()
	tcp, err := net.ResolveTCPAddr("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	s := &server{cfg: cfg, registry: &http.Server{}}
	s.announce(&b, listeners{registry: fakeListener{addr: tcp}, admin: fakeListener{addr: tcp}}, false)
	recipes := map[string]string{}
	for line := range strings.Lines(b.String()) {
		if rest, ok := strings.CutPrefix(line, "  "); ok {
			client, recipe, _ := strings.Cut(rest, " ")
			recipes[client] = strings.TrimSpace(recipe)
		}
	}
	return b.String(), recipes
}

type fakeListener struct {
	net.Listener
	addr net.Addr
}

func (l fakeListener) Addr() net.Addr { return l.addr }

// The lines are copied by people: those that write files are run here.
func TestRecipesWriteFilesThatParse(t *testing.T) {
	sh, err := exec.LookPath("sh")
	if err != nil {
		t.Skip("there is no shell here")
	}
	_, recipes := announced(t, config{upstreams: wellKnown()}, "127.0.0.1:5000")
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "containers/registries.conf.d"), 0o700); err != nil {
		t.Fatal(err)
	}
	read := func(client, file string) (v map[string]any) {
		t.Helper()
		cmd := exec.Command(sh, "-c", strings.ReplaceAll(recipes[client], "/etc", dir))
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", recipes[client], err, out)
		}
		text, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			t.Fatal(err)
		}
		if err := toml.Unmarshal(text, &v); err != nil {
			t.Fatalf("%v in\n%s", err, text)
		}
		return v
	}
	if hosts, ok := read("containerd", "containerd/certs.d/_default/hosts.toml")["host"].(map[string]any); !ok || hosts["http://127.0.0.1:5000"] == nil {
		t.Errorf("containerd: got %v", hosts)
	}
	registries, ok := read("podman", "containers/registries.conf.d/50-entrepot.conf")["registry"].([]any)
	if !ok || len(registries) != 1 {
		t.Fatalf("podman: got %v", registries)
	}
	table := registries[0].(map[string]any)
	mirror := table["mirror"].([]any)[0].(map[string]any)
	if table["location"] != "docker.io" || mirror["location"] != "127.0.0.1:5000/docker.io" || mirror["insecure"] != true {
		t.Errorf("podman: got %v", table)
	}
}

func TestAnnounce(t *testing.T) {
	text, recipes := announced(t, config{upstreams: wellKnown(), storage: "/s", policy: access.Policy{Anonymous: access.All}}, "0.0.0.0:5000")
	for _, want := range []string{
		"entrepot: serving http://127.0.0.1:5000 from /s\n",
		"entrepot: warning: everybody who reaches this address may push",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("missing %q in\n%s", want, text)
		}
	}
	if !strings.Contains(recipes["docker"], "default = true") {
		t.Errorf("docker: got %q, want a word about the older store", recipes["docker"])
	}

	cfg := config{externalHosts: []string{"mirror.corp"}, upstreams: []upstream{{name: "a.example:5000", aliases: []string{"a"}}}}
	_, recipes = announced(t, cfg, "127.0.0.1:5000")
	if recipes["crane"] != "crane pull mirror.corp/a/REPOSITORY:TAG image.tar" || recipes["docker"] != "" ||
		!strings.Contains(recipes["podman"], `location = "a.example:5000"\n[[registry.mirror]]\nlocation = "mirror.corp/a"`) {
		t.Errorf("got %v", recipes)
	}

	_, recipes = announced(t, config{}, "127.0.0.1:5000")
	if len(recipes) != 1 {
		t.Errorf("without upstreams: got %v", recipes)
	}
}
