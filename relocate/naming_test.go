package relocate

import (
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/entrepot/entrepot/ref"
)

// fixtures are the golden facts about naming that other tools show.
type fixtures struct {
	Flatten []struct {
		Prefix, In, Out string
		Repo            string `json:"out_repo_only"`
	}
	Ladder []struct {
		Prefix, In, Out string
		Len             int
		Valid           bool
	} `json:"flatten_length_ladder"`
	MD5 []struct {
		Of, Actual string
	} `json:"md5_examples"`
	RewriteOK  [][4]string `json:"registries_conf_rewrite_ok"`
	RewriteErr [][3]string `json:"registries_conf_rewrite_err"`
	MaxNested  []struct {
		N       int
		In, Out string
	} `json:"ocmirror_max_nested_paths"`
	Porter []struct{ In, Out string } `json:"porter_temp_tag"`
}

func golden(t *testing.T) fixtures {
	t.Helper()
	data, err := os.ReadFile("testdata/relocation.json")
	if err != nil {
		t.Fatal(err)
	}
	var f fixtures
	if err := json.Unmarshal(data, &f); err != nil {
		t.Fatal(err)
	}
	if len(f.Flatten) == 0 || len(f.Ladder) == 0 || len(f.RewriteOK) == 0 || len(f.RewriteErr) == 0 || len(f.MaxNested) == 0 || len(f.Porter) == 0 {
		t.Fatal("a table of the fixtures is empty")
	}
	return f
}

// naming returns a naming that has to be good.
func naming(t *testing.T, scheme, prefix string) *Naming {
	t.Helper()
	p, err := ParsePrefix(prefix)
	if err != nil {
		t.Fatal(err)
	}
	n, err := NewNaming(NamingConfig{Scheme: scheme, Prefix: p})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// mapped returns what an image becomes, as `entrepot map` prints it.
func mapped(n *Naming, written string) (string, error) {
	pairs, err := Pairs([]Mention{{Written: written}}, n)
	if err != nil {
		return "", err
	}
	return pairs[0].Rewrite(written), nil
}

func TestFlattenGolden(t *testing.T) {
	for _, c := range golden(t).Flatten {
		n := naming(t, "flat-md5", c.Prefix)
		got, err := mapped(n, c.In)
		if err != nil {
			t.Errorf("%s: %v", c.In, err)
			continue
		}
		if c.Out != "" && got != c.Out {
			t.Errorf("%s: got %s, want %s", c.In, got, c.Out)
		}
		if r, err := ref.Parse(got); c.Repo != "" && (err != nil || r.Name.String() != c.Repo) {
			t.Errorf("%s: got %s, %v, want %s", c.In, got, err, c.Repo)
		}
	}
}

func TestFlattenLengthLadder(t *testing.T) {
	for _, c := range golden(t).Ladder {
		n := naming(t, "", c.Prefix)
		got, err := mapped(n, c.In)
		if (err == nil) != c.Valid {
			t.Errorf("prefix of %d bytes: %v, want valid = %v", len(c.Prefix), err, c.Valid)
		}
		if c.Valid && (got != c.Out || len(got) != c.Len) {
			t.Errorf("prefix of %d bytes: got %s, want %s", len(c.Prefix), got, c.Out)
		}
	}
}

func TestMD5Golden(t *testing.T) {
	for _, c := range golden(t).MD5 {
		if got := md5Hex(c.Of); got != c.Actual {
			t.Errorf("%s: got %s, want %s", c.Of, got, c.Actual)
		}
	}
}

// TestPorterTag shows that the hash that Porter makes of a reference as it is
// written is ours of the same text.
func TestPorterTag(t *testing.T) {
	for _, c := range golden(t).Porter {
		if got := "porter-" + md5Hex(c.In); got != c.Out {
			t.Errorf("%s: got %s, want %s", c.In, got, c.Out)
		}
	}
}

func TestRulesGolden(t *testing.T) {
	f := golden(t)
	for _, c := range f.RewriteOK {
		if c[2] == "" || c[1] == c[2] {
			continue // it stays where it is: there is nothing to relocate
		}
		n, err := rulesNaming(c[1], c[2])
		if err != nil {
			t.Errorf("%v: %v", c, err)
			continue
		}
		r, _ := ref.Parse(c[0])
		want, _ := ref.Parse(c[3])
		got, err := n.Target(r)
		if err != nil || got.Name != want.Name {
			t.Errorf("%v: got %v, %v, want %v", c, got, err, want.Name)
		}
	}
	for _, c := range f.RewriteErr {
		if strings.HasSuffix(c[2], "/") {
			continue // an error of the function alone: in a file the slash is dropped
		}
		n, err := rulesNaming(c[1], c[2])
		if err != nil {
			continue
		}
		r, _ := ref.Parse(c[0])
		if got, err := n.Target(r); err == nil {
			t.Errorf("%v: got %v, want an error", c, got)
		}
	}
}

func rulesNaming(prefix, location string) (*Naming, error) {
	text := "[[registry]]\nprefix = \"" + prefix + "\"\nlocation = \"" + location + "\"\n"
	return NewNaming(NamingConfig{
		Scheme: "rules:r.conf", Prefix: ref.Name{Host: "example.com"},
		ReadFile: func(string) ([]byte, error) { return []byte(text), nil },
	})
}

func TestRulesPrefersTheMirror(t *testing.T) {
	text := "[[registry]]\nlocation = \"docker.io\"\n[[registry.mirror]]\nlocation = \"mirror.example.com/hub\"\n" +
		"[[registry]]\nlocation = \"docker.io/library/alpine\"\n[[registry.mirror]]\nlocation = \"mirror.example.com/base\"\n"
	n, err := NewNaming(NamingConfig{Scheme: "rules:r.conf", ReadFile: func(string) ([]byte, error) { return []byte(text), nil }})
	if err != nil {
		t.Fatal(err)
	}
	for in, want := range map[string]string{
		"nginx:1":    "mirror.example.com/hub/library/nginx:1",
		"alpine":     "mirror.example.com/base",
		"quay.io/x":  "",
		"a/alpine:3": "mirror.example.com/hub/a/alpine:3",
	} {
		got, err := mapped(n, in)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%s: got %q, %v, want %q", in, got, err, want)
		}
	}
}

// TestComponentsGolden takes oc-mirror's goldens and expects a hash after what
// is joined, without which a/b-c and a-b/c would meet.
func TestComponentsGolden(t *testing.T) {
	for _, c := range golden(t).MaxNested {
		want, err := ref.Parse(c.Out)
		if err != nil {
			t.Fatal(err)
		}
		in, _ := ref.Parse(c.In)
		n := naming(t, "components:"+string(rune('0'+c.N)), "myregistry.mydomain")
		got, err := n.Target(in)
		if err != nil {
			t.Errorf("components:%d: %v", c.N, err)
			continue
		}
		if want.Path != in.Path {
			want.Path += "-" + sha256Hex(in.Name.String())
		}
		if got.Name != want.Name {
			t.Errorf("components:%d: got %s, want %s", c.N, got.Name, want.Name)
		}
	}
}

func TestSchemes(t *testing.T) {
	sum := strings.Repeat("0123456789abcdef", 4)
	for _, c := range []struct{ scheme, prefix, in, want string }{
		{"flat-sha256", "example.com/user", "docker.io/istio/proxyv2:1", "example.com/user/istio-proxyv2-" + sha256Hex("docker.io/istio/proxyv2") + ":1"},
		{"flat-md5", "example.com:5000", "istio/proxyv2", "example.com:5000/istio-proxyv2-f93a2cacc6cafa0474a2d6990a4dd1a0"},
		{"flat-md5", "[::1]:5000/x/", "istio/proxyv2", "[::1]:5000/x/istio-proxyv2-f93a2cacc6cafa0474a2d6990a4dd1a0"},
		{"host-path", "r.example.com", "alpine:3", "r.example.com/docker.io/library/alpine:3"},
		{"host-path", "r.example.com/m", "localhost:5000/a/b@sha256:" + sum, "r.example.com/m/localhost_5000/a/b@sha256:" + sum},
		{"host-path", "r.example.com/m", "[::1]:5000/a:1", "r.example.com/m/ip6-0000-0000-0000-0000-0000-0000-0000-0001_5000/a:1"},
		{"host-path", "r.example.com/m", "[::1]/a:1", "r.example.com/m/ip6-0000-0000-0000-0000-0000-0000-0000-0001/a:1"},
		{"host-path", "r.example.com/m", "Registry.EXAMPLE.com/a:1", "r.example.com/m/registry.example.com/a:1"},
		{"path", "r.example.com/m", "quay.io/a/b:1@sha256:" + sum, "r.example.com/m/a/b:1@sha256:" + sum},
		{"components:2", "r.example.com/m", "quay.io/a/b:1", "r.example.com/m/a-b-" + sha256Hex("quay.io/a/b") + ":1"},
		{"components:3", "r.example.com/m", "quay.io/a/b:1", "r.example.com/m/a/b:1"},
		{"components:1", "r.example.com", "quay.io/a/b:1", "r.example.com/a-b-" + sha256Hex("quay.io/a/b") + ":1"},
		{"template:{{.Host}}/{{.Flat}}", "r.example.com/m", "quay.io:8443/a/b:1", "r.example.com/m/quay.io_8443/a-b:1"},
		{`template:{{.Dir | replace "/" "."}}-{{.Base}}-{{slice .SHA256 0 4}}`, "r.example.com", "quay.io/a/c/b:1", "r.example.com/a.c-b-" + sha256Hex("quay.io/a/c/b")[:4] + ":1"},
	} {
		got, err := mapped(naming(t, c.scheme, c.prefix), c.in)
		if err != nil || got != c.want {
			t.Errorf("%s, %s: got %s, %v, want %s", c.scheme, c.in, got, err, c.want)
		}
	}
}

func TestNamingRefused(t *testing.T) {
	for scheme, want := range map[string]string{
		"flat":                      "is no naming",
		"components:":               "is no naming",
		"components:x":              "no number",
		"components:-1":             "no number",
		"components:1":              "leaves no room",
		"template:{{.Nothing}}":     "can't evaluate field Nothing",
		"template:{{":               "naming template",
		"rules:no-such-file":        "read rules",
		"template:{{range":          "naming template",
		"template:{{.Path | nope}}": "not defined",
	} {
		_, err := NewNaming(NamingConfig{Scheme: scheme, Prefix: ref.Name{Host: "r.io", Path: "x"}, ReadFile: os.ReadFile})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want …%s…", scheme, err, want)
		}
	}
	for _, text := range []string{"prefix", "[[registry]]\nprefix = \"a.io/\"\nlocation = 3\n"} {
		_, err := NewNaming(NamingConfig{Scheme: "rules:f", ReadFile: func(string) ([]byte, error) { return []byte(text), nil }})
		if err == nil {
			t.Errorf("rules %q: got no error", text)
		}
	}
}

func TestParsePrefix(t *testing.T) {
	for in, want := range map[string]ref.Name{
		"example.com/user":       {Host: "example.com", Path: "user"},
		"example.com/user/":      {Host: "example.com", Path: "user"},
		"example.com":            {Host: "example.com"},
		"example.com:5000/":      {Host: "example.com:5000"},
		"localhost/x":            {Host: "localhost", Path: "x"},
		"[::1]:5000/x":           {Host: "[::1]:5000", Path: "x"},
		"docker://r.io/x":        {Host: "r.io", Path: "x"},
		"index.docker.io/acme":   {Host: "docker.io", Path: "acme"},
		"":                       {},
		"user":                   {},
		"user/team":              {},
		"example.com//x":         {},
		"example.com/x//":        {},
		"example.com/x:1":        {},
		"example.com/X":          {},
		"example.com/x@sha256:a": {},
		"exa mple.com/x":         {},
		"example.com:port/x":     {},
		"https://example.com/x":  {},
	} {
		got, err := ParsePrefix(in)
		if got != want || (err == nil) != (want.Host != "") {
			t.Errorf("ParsePrefix(%q) = %v, %v, want %v", in, got, err, want)
		}
	}
}

func TestKeepTag(t *testing.T) {
	d := ref.Digest("sha256:" + strings.Repeat("0123456789abcdef", 4))
	r := ref.Ref{Name: ref.Name{Host: "quay.io", Path: "a/b"}, Digest: d}
	got, err := naming(t, "", "r.io/x").Target(r)
	if err != nil || got.Tag != "d-0123456789abcdef0123456789abcdef" || got.Digest != d {
		t.Errorf("got %v, %v", got, err)
	}
	for text, want := range map[string]string{
		"keep-{{.Algorithm}}-{{slice .Hex 0 8}}": "",
		"{{.Algorithm}}-{{.Hex}}":                "referrers",
		"{{.Algorithm}}-{{.Hex}}.sig":            "referrers",
		"{{.Algorithm}}-{{slice .Hex 0 7}}":      "referrers",
		"sha512-{{.Hex}}":                        "referrers",
		"{{.Algorithm}}:{{.Hex}}":                "no tag",
		"{{.Hex}}{{.Hex}}{{.Hex}}":               "no tag",
		"{{.Nothing}}":                           "can't evaluate",
		"{{":                                     "template",
		"{{slice .Hex 0 65}}":                    "out of range",
	} {
		_, err := NewNaming(NamingConfig{KeepTag: text})
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: got %v, want …%s…", text, err, want)
		}
	}
}

func TestRegistriesLimits(t *testing.T) {
	long := strings.Repeat("a", 220)
	for _, c := range []struct{ scheme, prefix, in, want string }{
		{"flat-md5", "docker.io/acme", "quay.io/a/b/c:1", ""},
		{"host-path", "docker.io/acme", "quay.io/a:1", "Docker Hub takes 2 components"},
		{"flat-md5", "docker.io", "quay.io/a:1", "Docker Hub wants at least 2"},
		{"path", "docker.io/acme", "quay.io/a:1", "Docker Hub takes no name of fewer than 2 bytes"},
		{"path", "docker.io/acme", "quay.io/ab:1", ""},
		{"path", "123456789012.dkr.ecr.eu-west-1.amazonaws.com", "ghcr.io/a:1", "takes no name of fewer than 2 bytes"},
		{"path", "123456789012.dkr.ecr.eu-west-1.amazonaws.com", "ghcr.io/a/b/c/d/e/f/g:1", ""},
		{"path", "public.ecr.aws/alias", "ghcr.io/a:1", "takes no name of fewer than 2 bytes"},
		{"path", "ghcr.io/owner", "quay.io/a/b/c:1", ""},
		{"path", "europe-docker.pkg.dev/project/repo", "quay.io/a/b/c:1", ""},
		{"flat-md5", "quay.io", "ghcr.io/a:1", "quay.io wants at least 2"},
		{"host-path", "quay.io/acme", "ghcr.io/a/b:1", ""},
		{"host-path", "registry.gitlab.com/group/project", "ghcr.io/a/b:1", ""},
		{"host-path", "registry.gitlab.com/group/project", "ghcr.io/a/b/c:1", "GitLab takes 3 components below"},
		{"path", "123456789012.dkr.ecr.eu-west-1.amazonaws.com", "ghcr.io/a--b:1", "no two separators"},
		{"path", "public.ecr.aws/alias", "ghcr.io/" + long + ":1", "takes names of 205 bytes"},
		{"path", "europe-docker.pkg.dev/project", "ghcr.io/a:1", "wants at least 3"},
		{"path", "europe-docker.pkg.dev/project", "ghcr.io/a/b:1", ""},
		{"path", "eu.gcr.io", "ghcr.io/a:1", "wants at least 2"},
		{"path", "r.io/" + long, "ghcr.io/" + long, "255 are allowed"},
	} {
		_, err := mapped(naming(t, c.scheme, c.prefix), c.in)
		var conflict *ConflictError
		if c.want == "" && err == nil || errors.As(err, &conflict) && c.want != "" && strings.Contains(err.Error(), c.want) {
			continue
		}
		t.Errorf("%s below %s: got %v, want …%s…", c.in, c.prefix, err, c.want)
	}
}

func FuzzNaming(f *testing.F) {
	f.Add("host-path", "example.com/user", "quay.io:443/a/b:1")
	f.Add("components:2", "[::1]:5000", "a/b/c")
	f.Add("template:{{.Host}}/{{.Flat}}", "localhost:5000/x", "[::1]:1/x")
	f.Add("flat-sha256", "docker.io/acme", "gcr.io/a---b/c__d")
	f.Fuzz(func(t *testing.T, scheme, prefix, in string) {
		if strings.HasPrefix(scheme, "template:") && strings.Contains(scheme, "range") {
			return // a template may run for ever
		}
		p, err := ParsePrefix(prefix)
		if err != nil {
			return
		}
		n, err := NewNaming(NamingConfig{Scheme: scheme, Prefix: p})
		if err != nil {
			return
		}
		r, err := ref.Parse(in)
		if err != nil {
			return
		}
		got, err := n.Target(r)
		if err != nil {
			return
		}
		if again, err := ref.Parse(got.String()); err != nil || again != got && got.Host != ref.DockerHub {
			t.Fatalf("%s below %s gets %v, which parses to %v, %v", in, prefix, got, again, err)
		}
		if got.Host != p.Host || p.Path != "" && !strings.HasPrefix(got.Path, p.Path+"/") {
			t.Fatalf("%s gets %v, which is not below %s", in, got, p)
		}
	})
}
