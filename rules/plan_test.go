package rules

import (
	"errors"
	"net/netip"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// tries returns the URLs of a plan, or its error, one a line.
func tries(p Plan) string {
	var lines []string
	for i := range p.Tries {
		t := &p.Tries[i]
		line := t.URL()
		switch {
		case t.Unusable != "":
			line = "unusable: " + t.Unusable
		case t.Blocked:
			line += " blocked"
		}
		if t.Insecure() {
			line += " insecure"
		}
		if t.Scheme == HTTPSThenHTTP {
			line += " then http"
		}
		lines = append(lines, line)
	}
	for _, s := range p.Skips {
		lines = append(lines, "skip "+s.Host+": "+s.Why)
	}
	if p.Err != nil {
		lines = append(lines, "error: "+p.Err.Error())
	}
	return strings.Join(lines, "\n")
}

func client(t testing.TB, name string) Dialect {
	t.Helper()
	if name == "" {
		return Native()
	}
	d, err := DialectOf(name)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

const digest64 = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

// mirrored is a rule with one mirror and the original behind it.
func mirrored(m Match, host string) Rule { return Rule{Match: m, Endpoints: []Endpoint{{Host: host}}} }

func TestMatch(t *testing.T) {
	set := New(Config{Rules: []Rule{
		mirrored(Match{Kind: Any}, "any"),
		mirrored(Match{Kind: HostSuffix, Host: "example.com"}, "suffix"),
		mirrored(Match{Kind: HostSuffix, Host: "dev.example.com"}, "longsuffix"),
		mirrored(Match{Kind: Host, Host: "a.example.com"}, "host"),
		mirrored(Match{Kind: Host, Host: "a.example.com:5000"}, "port"),
		mirrored(Match{Kind: Prefix, Host: "a.example.com", Path: "team"}, "prefix"),
		mirrored(Match{Kind: Prefix, Host: "a.example.com", Path: "team/app"}, "longprefix"),
		mirrored(Match{Kind: Host, Host: "index.docker.io"}, "hub"),
		mirrored(Match{Kind: Never, Host: "b.example.com"}, "never"),
	}})
	for _, c := range []struct{ client, ref, want string }{
		{"", "a.example.com/x", "host"},
		{"", "A.Example.COM/x", "host"},
		{"", "a.example.com:5000/x", "port"},
		{"", "a.example.com:5001/x", "any"},
		{"", "a.example.com/team", "prefix"},
		{"", "a.example.com/team/x", "prefix"},
		{"", "a.example.com/teams/x", "host"},
		{"", "a.example.com/team/app/x", "longprefix"},
		{"", "b.example.com/x", "suffix"},
		{"", "a.b.dev.example.com/x", "longsuffix"},
		{"", "dev.example.com/x", "suffix"},
		{"", "example.com/x", "any"},
		{"", "b.example.com:5000/x", "any"},
		{"", "alpine", "hub"},
		{"containerd", "A.Example.COM/x", "any"},
		{"containerd", "alpine", "any"},
		{"kaniko", "alpine", "hub"},
		{"pack", "a.example.com/x", "any"},
		{"podman", "a.example.com/x", "suffix"}, // as long as the host's own key, and sorted before it
		{"podman", "a.example.com:5000/x", "port"},
		{"podman", "a.example.com/team/x", "prefix"},
		{"podman", "a.b.example.com:1/x", "suffix:1"}, // the port is glued on
	} {
		set := set
		if c.client == "podman" {
			set = New(Config{Rules: withDots(set.Rules())})
			host, port, _ := strings.Cut(c.want, ":")
			if c.want = host + ".corp"; port != "" {
				c.want += ":" + port
			}
		}
		p := set.Plan(mustParse(t, c.ref), Pull, client(t, c.client))
		if p.Err != nil {
			t.Errorf("%s %s: %v", c.client, c.ref, p.Err)
			continue
		}
		if got := p.Tries[0].Host; got != c.want {
			t.Errorf("%s %s: goes to %s, want %s", c.client, c.ref, got, c.want)
		}
	}
}

// withDots gives the mirrors hosts that are hosts in a reference as well.
func withDots(rs []Rule) []Rule {
	var out []Rule
	for _, r := range rs {
		r.Endpoints = []Endpoint{{Host: r.Endpoints[0].Host + ".corp"}}
		out = append(out, r)
	}
	return out
}

func TestRunnersUp(t *testing.T) {
	set := New(Config{Rules: []Rule{
		mirrored(Match{Kind: Any}, "m"),
		mirrored(Match{Kind: Host, Host: "quay.io"}, "m"),
		mirrored(Match{Kind: Prefix, Host: "quay.io", Path: "a"}, "m"),
		mirrored(Match{Kind: HostSuffix, Host: "io"}, "m"),
	}})
	p := set.Plan(mustParse(t, "quay.io/a/b"), Pull, Native())
	var got []string
	for _, r := range p.Others {
		got = append(got, r.Match.String())
	}
	if diff := cmp.Diff([]string{"quay.io", "*.io", "*"}, got); diff != "" || p.Rule.Match.String() != "quay.io/a" {
		t.Errorf("rule %s, others (-want +got):\n%s", p.Rule.Match, diff)
	}
}

func TestTies(t *testing.T) {
	set := New(Config{Rules: []Rule{
		{Match: Match{Kind: Host, Host: "docker.io"}, Endpoints: []Endpoint{{Host: "m1"}}, Origin: Origin{File: "a.toml", Line: 3}},
		{Match: Match{Kind: Host, Host: "index.docker.io"}, Endpoints: []Endpoint{{Host: "m2"}}, Origin: Origin{File: "b.toml", Line: 5}},
	}})
	want := "error: two rules are for docker.io/library/alpine, docker.io at a.toml:3 and index.docker.io at b.toml:5: remove one"
	if got := tries(set.Plan(mustParse(t, "alpine"), Pull, Native())); got != want {
		t.Errorf("native:\n%s\nwant\n%s", got, want)
	}
	if p := set.Plan(mustParse(t, "alpine"), Pull, client(t, "k3s")); p.Err != nil || p.Tries[0].Host != "m2" {
		t.Errorf("k3s looks for index.docker.io first: %s", tries(p))
	}
}

func TestPlan(t *testing.T) {
	at := Origin{File: "f", Line: 2}
	quay := Match{Kind: Host, Host: "quay.io"}
	team := Match{Kind: Prefix, Host: "quay.io", Path: "team"}
	for _, c := range []struct {
		name, client, ref string
		want              Can
		config            Config
		tries             string
	}{
		{name: "no rule", ref: "alpine", tries: "https://registry-1.docker.io/v2/library/alpine/manifests/latest"},
		{name: "no rule, kaniko", client: "kaniko", ref: "alpine", tries: "https://index.docker.io/v2/library/alpine/manifests/latest"},
		{name: "api roots and namespaces", ref: "quay.io/a:1", config: Config{Rules: []Rule{{Match: quay, Endpoints: []Endpoint{
			{Host: "m1", APIRoot: "/x/v2"}, {Host: "m2", APIRoot: "/"}, {Host: "m3", Repo: Repo{Prefix: "p/q"}}, {Host: "m4", Scheme: HTTP, NS: NS{Source: true}},
		}}}}, tries: "https://m1/x/v2/a/manifests/1\nhttps://m2/a/manifests/1\nhttps://m3/v2/p/q/a/manifests/1\nhttp://m4/v2/a/manifests/1?ns=quay.io\nhttps://quay.io/v2/a/manifests/1"},
		{name: "strip", ref: "quay.io/team/a:1", config: Config{Rules: []Rule{{Match: team, Endpoints: []Endpoint{
			{Host: "m1", Repo: Repo{StripMatched: true}}, {Host: "m2", Repo: Repo{StripMatched: true, Prefix: "p"}},
		}}}}, tries: "https://m1/v2/a/manifests/1\nhttps://m2/v2/p/a/manifests/1\nhttps://quay.io/v2/team/a/manifests/1"},
		{name: "nothing left", ref: "quay.io/team:1", config: Config{Rules: []Rule{{Match: team, Endpoints: []Endpoint{
			{Host: "m1", Repo: Repo{StripMatched: true}}, {Host: "m2", Repo: Repo{StripMatched: true, Prefix: "p"}}, {Host: "m3", Repo: Repo{Prefix: "Up"}},
		}}}}, tries: "unusable: nothing is left of the repository's name\nhttps://m2/v2/p/manifests/1\nunusable: \"Up/team\" is no repository's name\nhttps://quay.io/v2/team/manifests/1"},
		{name: "rewrites", ref: "quay.io/a/b:1", config: Config{Rules: []Rule{{Match: quay, Endpoints: []Endpoint{
			{Host: "m1", Repo: Repo{Prefix: "p", Rewrites: []Rewrite{{Pattern: regexp.MustCompile("^x"), Replace: "y"}, {Pattern: regexp.MustCompile("^a/(.*)"), Replace: "z/$1"}, {Pattern: regexp.MustCompile("z"), Replace: "never"}}}},
		}}}}, tries: "https://m1/v2/p/z/b/manifests/1\nhttps://quay.io/v2/a/b/manifests/1"},
		{name: "kinds", ref: "quay.io/a:1", config: Config{Rules: []Rule{{Match: quay, Endpoints: []Endpoint{
			{Host: "m1", Kinds: Digests}, {Host: "m2", Kinds: Tags}, {Host: "m3", Can: Pull},
		}}}}, tries: "https://m2/v2/a/manifests/1\nhttps://quay.io/v2/a/manifests/1\nskip m1: digest-only mirror, reference has a tag\nskip m3: it may not be asked to resolve"},
		{name: "kinds of a digest", ref: "quay.io/a:1@" + digest64, config: Config{Rules: []Rule{{Match: quay, Endpoints: []Endpoint{
			{Host: "m1", Kinds: Digests}, {Host: "m2", Kinds: Tags}, {Host: "m3", Can: Pull},
		}}}}, tries: "https://m1/v2/a/manifests/" + digest64 + "\nhttps://m3/v2/a/manifests/" + digest64 + "\nhttps://quay.io/v2/a/manifests/" + digest64 + "\nskip m2: tag-only mirror, reference has a digest"},
		{name: "push", want: Push, ref: "quay.io/a:1", config: Config{Rules: []Rule{{Match: quay, Endpoints: []Endpoint{
			{Host: "m1", Can: Pull | Resolve}, {Host: "m2", Can: Push},
		}}}}, tries: "https://m2/v2/a/manifests/1\nhttps://quay.io/v2/a/manifests/1\nskip m1: it may not be asked to push"},
		{name: "push of a reader", client: "podman", want: Push, ref: "quay.io/a:1",
			config: Config{Rules: []Rule{mirrored(quay, "m1.corp")}}, tries: "https://quay.io/v2/a/manifests/1"},
		{name: "upstream elsewhere", ref: "quay.io/a:1", config: Config{Rules: []Rule{{Match: quay, Upstream: Upstream{Kind: At, Endpoint: Endpoint{Host: "docker.io"}}}}},
			tries: "https://registry-1.docker.io/v2/a/manifests/1"},
		{name: "no upstream", ref: "quay.io/a:1", config: Config{Rules: []Rule{{Match: quay, Upstream: Upstream{Kind: None}}}},
			tries: "error: the rule leads nowhere: it has no mirror and no upstream"},
		{name: "blocked", ref: "quay.io/a:1", config: Config{Rules: []Rule{{Match: quay, Upstream: Upstream{Endpoint: Endpoint{Blocked: true}}}}},
			tries: "https://quay.io/v2/a/manifests/1 blocked\nerror: quay.io/a is blocked by the rule for quay.io"},
		{name: "a mirror that another rule blocks", ref: "quay.io/a:1", config: Config{Rules: []Rule{
			mirrored(quay, "evil.corp"), {Match: Match{Kind: Host, Host: "evil.corp"}, Upstream: Upstream{Endpoint: Endpoint{Blocked: true}}}}},
			tries: "https://evil.corp/v2/a/manifests/1 blocked\nhttps://quay.io/v2/a/manifests/1"},
		{name: "settings of hosts", client: "buildkit", ref: "quay.io/a:1", config: Config{
			Rules: []Rule{{Match: quay, Endpoints: []Endpoint{{Host: "m1"}, {Host: "m2", Scheme: HTTPS, Transport: &Transport{}}}}},
			Hosts: map[string]HostSettings{"m1": {Scheme: HTTP}, "m2": {Scheme: HTTP, Transport: &Transport{SkipVerify: true}}, "quay.io": {Scheme: HTTPSThenHTTP, Transport: &Transport{SkipVerify: true}}}},
			tries: "http://m1/v2/a/manifests/1\nhttps://m2/v2/a/manifests/1\nhttps://quay.io/v2/a/manifests/1 insecure then http"},
		{name: "a host that fails", ref: "quay.io/a:1", config: Config{Rules: []Rule{mirrored(quay, "m1")},
			Hosts: map[string]HostSettings{"m1": {Fails: &Problem{At: at, Text: "no such file"}}}}, tries: "error: f:2: no such file"},
		{name: "networks", client: "docker", ref: "10.1.2.3:5000/a:1", config: Config{
			Nets: []NetSettings{{Net: netip.MustParsePrefix("10.0.0.0/8"), HostSettings: HostSettings{Scheme: HTTPSThenHTTP, Transport: &Transport{SkipVerify: true}}}}},
			tries: "https://10.1.2.3:5000/v2/a/manifests/1 insecure\nhttp://10.1.2.3:5000/v2/a/manifests/1 insecure"},
		{name: "localhost by the files", client: "containerd", ref: "localhost:5000/a:1", config: Config{Localhost: LocalhostPlain}, tries: "http://localhost:5000/v2/a/manifests/1 insecure"},
		{name: "localhost", client: "containerd", ref: "127.0.0.1:5000/a:1", tries: "https://127.0.0.1:5000/v2/a/manifests/1 insecure then http"},
		{name: "localhost by literal", client: "containerd", ref: "[::1]:5000/a:1", tries: "https://[::1]:5000/v2/a/manifests/1 insecure then http"},
		{name: "localhost without port", client: "containerd", ref: "localhost/a:1", tries: "https://localhost/v2/a/manifests/1 insecure"},
		{name: "IPv6 without port of buildkit", client: "buildkit", ref: "[::1]/a:1", tries: "http://[::1]/v2/a/manifests/1"},
		{name: "IPv6 without port of containerd", client: "containerd", ref: "[::1]/a:1", tries: "https://[::1]/v2/a/manifests/1"},
		{name: "localhost of buildkit", client: "buildkit", ref: "localhost:5000/a:1", tries: "http://localhost:5000/v2/a/manifests/1"},
		{name: "refused", ref: "quay.io/a:1", config: Config{Refused: &Problem{At: at, Text: "nonsense"}}, tries: "error: f:2: nonsense"},
		{name: "rule fails", ref: "quay.io/a:1", config: Config{Rules: []Rule{{Match: quay, Fails: &Problem{At: at, Text: "no such file"}}}}, tries: "error: f:2: no such file"},
		{name: "IPv6 of podman", client: "podman", ref: "[::1]:5000/a:1", tries: "error: this client refuses references to an IPv6 literal"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.want == 0 {
				c.want = Pull
			}
			p := New(c.config).Plan(mustParse(t, c.ref), c.want, client(t, c.client))
			if diff := cmp.Diff(c.tries, tries(p)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestPlanErrorIsAProblem(t *testing.T) {
	p := New(Config{Refused: &Problem{At: Origin{File: "f", Line: 2, Column: 7}, Text: "nonsense"}}).Plan(mustParse(t, "alpine"), Pull, Native())
	problem, ok := errors.AsType[*Problem](p.Err)
	if !ok || problem.At.Line != 2 || problem.Error() != "f:2:7: nonsense" {
		t.Errorf("the error is %v, want the problem with its place", p.Err)
	}
}

func TestMerge(t *testing.T) {
	quay, ghcr := Match{Kind: Host, Host: "quay.io"}, Match{Kind: Host, Host: "ghcr.io"}
	at := Origin{File: "b"}
	got := Merge(
		Config{Rules: []Rule{mirrored(quay, "a1"), mirrored(ghcr, "a2")}, ShortNames: ShortNames{Search: []string{"a"}, SearchAt: Origin{File: "a"}, Mode: Enforcing,
			Aliases: map[string]Alias{"x": {Origin: at}, "y": {Origin: at}}}},
		Config{Rules: []Rule{mirrored(ghcr, "b1"), mirrored(ghcr, "b2")}, ShortNames: ShortNames{SearchAt: at, Aliases: map[string]Alias{"x": {}}}},
		Config{Problems: []Problem{{Text: "p"}}, Refused: &Problem{Text: "p"}},
	)
	want := Config{
		Rules:      []Rule{mirrored(quay, "a1"), mirrored(ghcr, "b1"), mirrored(ghcr, "b2")},
		ShortNames: ShortNames{SearchAt: at, Mode: Enforcing, Aliases: map[string]Alias{"x": {}, "y": {Origin: at}}},
		Problems:   []Problem{{Text: "p"}}, Refused: &Problem{Text: "p"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestSetPath(t *testing.T) {
	for _, c := range []struct{ path, root, prefix string }{
		{"/v2", "/v2", ""},
		{"/v2/hub", "/v2", "hub"},
		{"/v2/a/b/", "/v2", "a/b"},
		{"/proxy/v2", "/proxy/v2", ""},
		{"/proxy", "/proxy", ""},
		{"", "/", ""},
	} {
		var e Endpoint
		e.SetPath(c.path)
		if e.APIRoot != c.root || e.Repo.Prefix != c.prefix {
			t.Errorf("SetPath(%q): root %q, prefix %q, want %q, %q", c.path, e.APIRoot, e.Repo.Prefix, c.root, c.prefix)
		}
		if got, want := e.Path(), strings.TrimSuffix(c.path, "/"); got != want {
			t.Errorf("SetPath(%q).Path() = %q, want %q", c.path, got, want)
		}
	}
}

// TestDependencies holds that using the package costs go-digest alone.
func TestDependencies(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range strings.Fields(string(out)) {
		switch p {
		case "github.com/opencontainers/go-digest", "github.com/entrepot/entrepot/ref", "github.com/entrepot/entrepot/rules":
		default:
			t.Errorf("the package pulls %s", p)
		}
	}
	out, err = exec.Command("go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range strings.Fields(string(out)) {
		if p == "net" || p == "net/http" || p == "os/exec" {
			t.Errorf("the package pulls %s, which is not pure", p)
		}
	}
}
