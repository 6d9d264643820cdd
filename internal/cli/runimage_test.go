package cli

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/entrepot/entrepot/internal/regtest"
)

// A chosen is what run-image printed.
type chosen struct {
	code   int
	Image  string
	From   string
	Digest string
	As     string
	Error  string
	Tries  []struct {
		Image, URL, Reference, Error string
		Original                     bool
		Probe                        *struct {
			OK     bool
			Class  string
			Status int
		}
	}
	stderr string
}

// runImageJSONOf runs the command with these variables.
func runImageJSONOf(t *testing.T, vars map[string]string, args ...string) chosen {
	t.Helper()
	var out, errs bytes.Buffer
	code := Main(t.Context(), Env{
		Args: append([]string{"run-image", "--json"}, args...), Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs,
		Getenv: func(name string) string { return vars[name] },
	})
	c := chosen{code: code, stderr: errs.String()}
	if code == exitUsage {
		return c
	}
	if err := json.Unmarshal(out.Bytes(), &c); err != nil {
		t.Fatalf("%v: %s", err, &out)
	}
	return c
}

// classes returns name and class of every try.
func (c *chosen) classes() []string {
	var all []string
	for _, t := range c.Tries {
		s := t.Image
		if t.Probe != nil {
			s += " " + t.Probe.Class
		}
		all = append(all, s)
	}
	return all
}

// mirrorsOf returns CNB_REGISTRY_MIRRORS with one place for all registries.
func mirrorsOf(place string, registries ...string) map[string]string {
	var pairs []string
	for _, r := range registries {
		pairs = append(pairs, r+"="+place)
	}
	return map[string]string{"CNB_REGISTRY_MIRRORS": strings.Join(pairs, ";")}
}

// TestRunImageGolden runs the cases of the lifecycle's own tests through the
// command: every registry is behind one mirror, so that all of them can be read.
func TestRunImageGolden(t *testing.T) {
	raw, err := os.ReadFile(filepath.Join("..", "..", "rules", "runimage", "testdata", "best.json"))
	if err != nil {
		t.Fatal(err)
	}
	var cases []struct {
		Target, Image, Out string
		Mirrors            []string
	}
	if err := json.Unmarshal(raw, &cases); err != nil {
		t.Fatal(err)
	}
	reg := regtest.New(t, regtest.Config{})
	reg.AddImage("org/repo", regtest.Image{}, "latest")
	reg.AddImage("myorg/myrepo", regtest.Image{}, "latest")
	env := mirrorsOf(reg.URL(), "first.com", "docker.io", "gcr.io", "zonal.gcr.io")
	for _, tt := range cases {
		for _, target := range []string{tt.Target, tt.Target + "/team/app:v1"} {
			args := []string{"--image", tt.Image, "--target", target}
			for _, m := range tt.Mirrors {
				args = append(args, "--mirror", m)
			}
			c := runImageJSONOf(t, env, args...)
			if c.code != exitDone || c.Image != tt.Out || !strings.HasPrefix(c.From, reg.Host()+"/") || c.As != "lifecycle" {
				t.Errorf("%s: got %+v, want %s", target, c, tt.Out)
			}
		}
	}
}

// TestRunImageThroughMirrors holds that a name is checked at its mirrors and
// then at its own registry, each with its own credentials, and that the result
// has the name that was written.
func TestRunImageThroughMirrors(t *testing.T) {
	down, locked, origin := regtest.New(t, regtest.Config{}), regtest.New(t, regtest.Config{}), regtest.New(t, regtest.Config{})
	down.Down()
	locked.SetAuth(regtest.Auth{Scheme: "Basic", Username: "other", Password: "other"})
	origin.SetAuth(regtest.Auth{Scheme: "Bearer", Username: "u", Password: "p"})
	img := origin.AddImage("team/run", regtest.Image{}, "v1")
	env := map[string]string{
		"CNB_REGISTRY_MIRRORS": fmt.Sprintf("%[1]s=%[2]s;%[1]s=%[3]s", origin.Host(), down.URL(), locked.URL()),
		"CNB_REGISTRY_AUTH":    fmt.Sprintf(`{%q: "Basic %s"}`, origin.Host(), base64.StdEncoding.EncodeToString([]byte("u:p"))),
	}
	name := origin.Host() + "/team/run:v1"
	c := runImageJSONOf(t, env, "--image", name, "--target", "gcr.io/app")
	if c.code != exitDone || c.Image != name || c.From != name || c.Digest != string(img.Digest) {
		t.Fatalf("got %+v", c)
	}
	if got, want := c.classes(), []string{name + " unreachable", name + " auth", name + " readable"}; !slices.Equal(got, want) {
		t.Errorf("tries %q, want %q", got, want)
	}
	if !c.Tries[2].Original || c.Tries[0].Original {
		t.Error("the original is not the last")
	}
	for _, e := range locked.Log() {
		if e.Header.Get("Authorization") != "" {
			t.Error("the mirror was sent the credentials of the original")
		}
	}
	if strings.Contains(c.stderr, "u:p") {
		t.Errorf("credentials are shown:\n%s", c.stderr)
	}
}

// TestRunImageMirrorAlone holds that the original is not asked where a mirror
// has the image: behind an air gap it could not be.
func TestRunImageMirrorAlone(t *testing.T) {
	mirror, origin := regtest.New(t, regtest.Config{}), regtest.New(t, regtest.Config{})
	mirror.AddImage("proj/team/run", regtest.Image{}, "latest")
	origin.AddImage("team/run", regtest.Image{}, "latest")
	name := origin.Host() + "/team/run"
	for _, args := range [][]string{
		{"--rules", "cnb=" + origin.Host() + "=" + mirror.URL() + "/proj"},
		{"--as", "lifecycle", "--rules", "cnb=" + origin.Host() + "=" + mirror.URL() + "/proj"},
		{"--rules", "kaniko=--registry-map=" + origin.Host() + "=" + mirror.Host() + "/proj", "--as", "kaniko"},
	} {
		c := runImageJSONOf(t, nil, append(args, "--image", name, "--target", name)...)
		if c.code != exitDone || c.Image != name || c.From != mirror.Host()+"/proj/team/run:latest" {
			t.Errorf("%q: got %+v", args, c)
		}
	}
	if n := len(origin.Log()); n > 0 {
		t.Errorf("the original got %d requests", n)
	}
}

// TestRunImageWithoutRules holds that registries on this machine are found by
// plain HTTP and by HTTPS, and that --rules none leaves the environment aside.
func TestRunImageWithoutRules(t *testing.T) {
	plain, secure := regtest.New(t, regtest.Config{}), regtest.New(t, regtest.Config{TLS: true})
	plain.AddImage("run", regtest.Image{}, "latest")
	secure.AddImage("run", regtest.Image{}, "latest")
	args := []string{"--image", plain.Host() + "/run", "--mirror", secure.Host() + "/run", "--insecure", secure.Host()}
	for target, want := range map[string]string{"gcr.io/x": plain.Host(), secure.Host() + "/x": secure.Host()} {
		c := runImageJSONOf(t, mirrorsOf("http://127.0.0.1:1", plain.Host(), secure.Host()), append(args, "--rules", "none", "--target", target)...)
		if c.code != exitDone || c.Image != want+"/run" || c.From != want+"/run:latest" || len(c.Tries) != 1 {
			t.Errorf("%s: got %+v, want %s", target, c, want)
		}
	}
}

// TestRunImageFails holds the exit codes of what is not to be had.
func TestRunImageFails(t *testing.T) {
	empty, locked := regtest.New(t, regtest.Config{}), regtest.New(t, regtest.Config{})
	locked.SetAuth(regtest.Auth{Scheme: "Basic", Username: "u", Password: "p"})
	both := []string{"--image", locked.Host() + "/run", "--mirror", empty.Host() + "/run", "--target", "x"}
	for name, tt := range map[string]struct {
		args []string
		want int
	}{
		"all refuse":     {[]string{"--image", locked.Host() + "/run", "--mirror", locked.Host() + "/other", "--target", "x"}, exitAuth},
		"one has it not": {both, exitFailed},
		"no name at all": {[]string{"--image", "as@ohd@as@op", "--target", "x"}, exitFailed},
	} {
		c := runImageJSONOf(t, nil, tt.args...)
		if c.code != tt.want || c.Image != "" || c.From != "" || c.Error == "" || len(c.Tries) == 0 {
			t.Errorf("%s: got %+v, want exit code %d", name, c, tt.want)
		}
	}
}

// TestRunImageRefuses holds what is wrong before anything is asked, and that
// nothing secret is told.
func TestRunImageRefuses(t *testing.T) {
	bad := filepath.Join(t.TempDir(), "run.toml")
	if err := os.WriteFile(bad, []byte("[[images]]\nimage = \"a/b\"\nmirrors = 7\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	names := []string{"--image", "a/b", "--target", "c/d"}
	for name, tt := range map[string]struct {
		vars map[string]string
		args []string
		want string
	}{
		"no target":      {nil, []string{"--image", "a/b"}, "--target is missing"},
		"no image":       {nil, []string{"--target", "a/b"}, "--run or --image is missing"},
		"bad target":     {nil, []string{"--image", "a/b", "--target", "A B"}, "--target"},
		"bad run.toml":   {nil, []string{"--run", bad, "--target", "a/b"}, bad + ":3:11: mirrors is a number and should be a list"},
		"no run.toml":    {nil, []string{"--run", bad + "x", "--target", "a/b"}, "no such file"},
		"bad mirrors":    {mirrorsOf("https://u:hunter2@m.example.com", "docker.io"), names, "CNB_REGISTRY_MIRRORS:1:1: the mirror of docker.io has credentials in it"},
		"wildcard":       {mirrorsOf("https://m.example.com", "*"), names, "wildcard"},
		"bad auth":       {map[string]string{"CNB_REGISTRY_AUTH": `{"docker.io":"hunter2"}`}, names, "CNB_REGISTRY_AUTH: the header of docker.io"},
		"bad insecure":   {nil, append(names, "--insecure", "http://x"), "--insecure"},
		"no authfile":    {nil, append(names, "--authfile", bad+"x"), "--authfile"},
		"none and other": {nil, append(names, "--rules", "none", "--rules", "cnb=a.example=b.example"), "--rules none"},
		"unknown client": {nil, append(names, "--as", "lifecycel"), "--as"},
	} {
		c := runImageJSONOf(t, tt.vars, tt.args...)
		if c.code != exitUsage || !strings.Contains(c.stderr, tt.want) || strings.Contains(c.stderr, "hunter2") {
			t.Errorf("%s: exits with %d, %q, want %q", name, c.code, c.stderr, tt.want)
		}
	}
}

// TestRunImageFromFile holds which entry of run.toml is taken, and the text that
// is printed.
func TestRunImageFromFile(t *testing.T) {
	reg := regtest.New(t, regtest.Config{})
	one := reg.AddImage("one", regtest.Image{}, "latest")
	reg.AddImage("two", regtest.Image{}, "latest")
	run := filepath.Join(t.TempDir(), "run.toml")
	text := fmt.Sprintf("[[images]]\nimage = \"gcr.invalid/none\"\nmirrors = [\"%[1]s/absent\", \"%[1]s/one\"]\n[[images]]\nimage = \"%[1]s/two\"\n", reg.Host())
	if err := os.WriteFile(run, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if c := runImageJSONOf(t, nil, "--run", run, "--image", reg.Host()+"/two:latest", "--target", "x"); c.Image != reg.Host()+"/two" {
		t.Errorf("of two entries: got %+v", c)
	}
	var out, errs bytes.Buffer
	code := Main(t.Context(), Env{
		Args: []string{"run-image", "--run", run, "--target", reg.Host() + "/app"}, Stdout: &out, Stderr: &errs, Getenv: func(string) string { return "" },
	})
	want := fmt.Sprintf("%[1]s/one\n  from %[1]s/one:latest\n  %s\n", reg.Host(), one.Digest)
	if code != exitDone || out.String() != want {
		t.Errorf("exits with %d, prints %q, want %q", code, &out, want)
	}
	if !strings.Contains(errs.String(), "entrepot: not "+reg.Host()+"/absent: ") {
		t.Errorf("what was passed over is not told:\n%s", &errs)
	}
}

// TestRunImageAsPack holds that pack's own mirrors of the image go first, and
// that the check asks the registry that pack would really ask.
func TestRunImageAsPack(t *testing.T) {
	reg, mirror := regtest.New(t, regtest.Config{}), regtest.New(t, regtest.Config{})
	reg.AddImage("local/run", regtest.Image{}, "latest")
	mirror.AddImage("default/run", regtest.Image{}, "latest")
	home := t.TempDir()
	text := fmt.Sprintf("[registry-mirrors]\n\"index.docker.io\" = %q\n[[run-images]]\nimage = \"default/run\"\nmirrors = [\"%s/local/run\"]\n", mirror.Host(), reg.Host())
	if err := os.WriteFile(filepath.Join(home, "config.toml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	vars := map[string]string{"PACK_HOME": home}
	c := runImageJSONOf(t, vars, "--as", "pack", "--image", "default/run", "--target", reg.Host()+"/app")
	if c.code != exitDone || c.Image != reg.Host()+"/local/run" {
		t.Errorf("near: got %+v", c)
	}
	reg.Down()
	c = runImageJSONOf(t, vars, "--as", "pack", "--image", "default/run", "--target", "gcr.io/app")
	if c.code != exitDone || c.Image != "default/run" || c.From != mirror.Host()+"/default/run:latest" {
		t.Errorf("through the mirror: got %+v", c)
	}
}
