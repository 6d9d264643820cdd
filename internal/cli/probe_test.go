package cli

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/entrepot/entrepot/internal/regtest"
)

// hostsToml returns a hosts.toml with a server and mirrors in front of it.
func hostsToml(server string, hosts ...string) string {
	text := fmt.Sprintf("server = %q\n", server)
	for _, h := range hosts {
		text += fmt.Sprintf("[host.%q]\n  capabilities = [\"pull\", \"resolve\"]\n", h)
	}
	return text
}

// writeHosts writes the hosts.toml of example.com and a file with credentials,
// and returns the command that reads them.
func writeHosts(t *testing.T, text string, auths ...string) []string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"certs.d/example.com/hosts.toml": text,
		"auth.json":                      `{"auths":{` + strings.Join(auths, ",") + `}}`,
	} {
		name = filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return []string{
		"explain", "--probe", "--as", "containerd",
		"--rules", "hosts.toml=" + filepath.Join(dir, "certs.d"), "--authfile", filepath.Join(dir, "auth.json"),
	}
}

// probes returns class and status of each probe.
func probes(line map[string]any) []string {
	var all []string
	for _, try := range line["tries"].([]any) {
		p := try.(map[string]any)["probe"].(map[string]any)
		s := p["class"].(string)
		if p["status"] != nil {
			s += fmt.Sprintf(" %v", p["status"])
		}
		all = append(all, s)
	}
	return all
}

// TestProbeClasses holds that each way to fail has its class, that the first
// readable place wins, and that every registry sees its own credentials alone.
func TestProbeClasses(t *testing.T) {
	down := regtest.New(t, regtest.Config{})
	down.Down()
	absent := regtest.New(t, regtest.Config{})
	locked := regtest.New(t, regtest.Config{})
	locked.SetAuth(regtest.Auth{Scheme: "Basic", Username: "u", Password: "other"})
	broken := regtest.New(t, regtest.Config{})
	broken.On(regtest.Match{Kind: regtest.Manifest}, regtest.Status(500))
	html := regtest.New(t, regtest.Config{})
	html.On(regtest.Match{Kind: regtest.Manifest}, regtest.HTML())
	untrusted := regtest.New(t, regtest.Config{TLS: true})
	server := regtest.New(t, regtest.Config{})
	server.SetAuth(regtest.Auth{Scheme: "Basic", Username: "u", Password: "p"})
	img := server.AddImage("team/app", regtest.Image{}, "v1")

	args := writeHosts(t,
		hostsToml(server.URL(), down.URL(), absent.URL(), locked.URL(), broken.URL(), html.URL(), untrusted.URL()),
		fmt.Sprintf(`%q:{"auth":"dTpw"}`, server.Host())) // u:p
	code, lines := runJSON(t, append(args, "--json", "example.com/team/app:v1")...)
	if code != exitDone || len(lines) != 1 {
		t.Fatalf("exits with %d: %v", code, lines)
	}
	got := probes(lines[0])
	want := []string{"unreachable", "absent 404", "auth 401", "broken 500", "broken 200", "tls", "readable 200"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q: %v", got, want, lines[0]["tries"])
	}
	last := lines[0]["tries"].([]any)[6].(map[string]any)["probe"].(map[string]any)
	if last["digest"] != string(img.Digest) || last["ok"] != true {
		t.Errorf("got %v, want the digest %s", slices.Collect(maps.Values(last)), img.Digest)
	}
	if s, _ := lines[0]["outcome"].(string); !strings.HasPrefix(s, "it would come from 7; 1 is unreachable; 2 is absent") {
		t.Errorf("outcome %q", s)
	}
	for _, r := range []*regtest.Registry{absent, locked, broken, html} {
		for _, e := range r.Log() {
			if e.Header.Get("Authorization") != "" {
				t.Errorf("%s %s was sent credentials of another registry", e.Method, e.Path)
			}
		}
	}
}

// TestProbeFindsNothing holds that it is exit code 1 where no place can be
// read.
func TestProbeFindsNothing(t *testing.T) {
	empty := regtest.New(t, regtest.Config{})
	code, lines := runJSON(t, append(writeHosts(t, hostsToml(empty.URL())), "--json", "example.com/team/app:v1")...)
	if code != exitFailed || lines[0]["error"] != "no place can be read; 1 is absent" {
		t.Errorf("exits with %d, error %q", code, lines[0]["error"])
	}
}

// TestProbeTable holds that the table has an answer below each place.
func TestProbeTable(t *testing.T) {
	down, reg := regtest.New(t, regtest.Config{}), regtest.New(t, regtest.Config{})
	down.Down()
	img := reg.AddImage("team/app", regtest.Image{}, "v1")
	var out bytes.Buffer
	code := Main(t.Context(), Env{
		Args:   append(writeHosts(t, hostsToml(reg.URL(), down.URL())), "example.com/team/app:v1"),
		Stdout: &out, Stderr: &out, Getenv: func(string) string { return "" },
	})
	if code != exitDone {
		t.Errorf("exits with %d", code)
	}
	for _, want := range []string{"\n     unreachable: ", "\n     readable: " + string(img.Digest) + "\n", "\n  it would come from 2; 1 is unreachable\n"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in\n%s", want, &out)
		}
	}
}

// TestProbeBelowAnotherRoot holds that the very path is asked that the plan
// says, and ns with it.
func TestProbeBelowAnotherRoot(t *testing.T) {
	for _, override := range []string{"", "override_path = true\n"} {
		reg := regtest.New(t, regtest.Config{})
		_, lines := runJSON(t, append(writeHosts(t, override+hostsToml(reg.URL()+"/proj")), "--json", "example.com/team/app:v1")...)
		want := lines[0]["tries"].([]any)[0].(map[string]any)["url"].(string)
		log := reg.Log()
		if len(log) == 0 {
			t.Fatal("nothing was asked")
		}
		if got := reg.URL() + log[0].Path + "?" + log[0].Query; got != want {
			t.Errorf("asked %s, want %s", got, want)
		}
	}
}
