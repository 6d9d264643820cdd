package conf

import (
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/entrepot/entrepot/rules"
)

// A badFormat has what is wrong in the manner of one format. Empty texts are
// left out.
type badFormat struct {
	format, file string
	good         string // a configuration with a mirror of quay.io
	truncated    string
	wrongType    string
	twice        string // a key twice
	deep         string // what is repeated to nest
	// Many entries, with N for a number, make a large file between head and
	// tail.
	head, entry, tail string
}

var badFormats = []badFormat{
	{
		format: "registries.conf", file: "registries.conf",
		good:      "[[registry]]\nlocation = 'quay.io'\n[[registry.mirror]]\nlocation = 'm.example.com'\n",
		truncated: "[[registry]]\nlocation = 'qu", wrongType: "[[registry]]\nlocation = 5\n",
		twice: "[[registry]]\nlocation = 'a.example'\nlocation = 'b.example'\n", deep: "a = [", entry: "[[registry]]\nlocation = 'rN.example.com'\n",
	},
	{
		format: "hosts.toml", file: "quay.io/hosts.toml",
		good:      "server = 'https://quay.io'\n[host.'https://m.example.com']\ncapabilities = ['pull', 'resolve']\n",
		truncated: "server = 'https://quay.io'\n[host.'htt", wrongType: "server = 5\n",
		twice: "server = 'https://a.example'\nserver = 'https://b.example'\n", deep: "a = [", entry: "[host.'https://mN.example.com']\n",
	},
	{
		format: "daemon.json", file: "daemon.json",
		good:      `{"registry-mirrors": ["https://m.example.com"]}`,
		truncated: `{"registry-mirrors": ["https://m.exa`, wrongType: `{"registry-mirrors": 5}`,
		twice: "{\"debug\": true,\n\"debug\": false}", deep: `{"labels":[`, head: `{"registry-mirrors": [`, entry: `"https://mN.example.com",`, tail: `"https://m.example.com"]}`,
	},
	{
		format: "buildkitd.toml", file: "buildkitd.toml",
		good:      "[registry.'quay.io']\nmirrors = ['m.example.com']\n",
		truncated: "[registry.'quay.io']\nmirrors = ['m.ex", wrongType: "[registry.'quay.io']\nmirrors = 5\n",
		twice: "[registry.'quay.io']\nhttp = true\nhttp = false\n", deep: "a = [", entry: "[registry.'rN.example.com']\nmirrors = ['m.example.com']\n",
	},
	{
		format: "containerd-cri", file: "config.toml",
		good:      "version = 3\n[plugins.'io.containerd.cri.v1.images'.registry.mirrors.'quay.io']\nendpoint = ['https://m.example.com']\n",
		truncated: "version = 3\n[plugins.'io.cont", wrongType: criTable + "config_path = 5\n",
		twice: criTable + "config_path = '/a'\nconfig_path = '/b'\n", deep: "a = [",
		head: "version = 3\n", entry: "[plugins.'io.containerd.cri.v1.images'.registry.mirrors.'rN.example.com']\nendpoint = ['https://m.example.com']\n",
	},
	{
		format: "cnb", file: cnbVariable,
		good:      "quay.io=https://m.example.com",
		truncated: "quay.io=https://m.example.com;docker.", wrongType: "quay.io=https://m.example.com;docker.io=ftp://m.example.com",
		deep: "quay.io=https://m.example.com?[", entry: "rN.example.com=m.example.com;", tail: "quay.io=m.example.com",
	},
	{
		format: "k3s", file: "registries.yaml",
		good:      "mirrors:\n  quay.io:\n    endpoint: [\"https://m.example.com\"]\n",
		truncated: "mirrors:\n  quay.io:\n    endpoint: [\"https://m.ex", wrongType: "mirrors:\n  quay.io:\n    endpoint: 5\n",
		twice: "mirrors: {}\nmirrors: {}\n", deep: "a: [", head: "mirrors:\n", entry: "  rN.example.com: {endpoint: [\"https://m.example.com\"]}\n",
	},
	{
		format: "openshift", file: "idms.yaml",
		good: "apiVersion: config.openshift.io/v1\nkind: ImageDigestMirrorSet\nmetadata: {name: a}\nspec:\n  imageDigestMirrors:\n" +
			"  - {source: quay.io/a, mirrors: [m.example.com/a]}\n",
		truncated: "apiVersion: config.openshift.io/v1\nkind: ImageDigestMirrorSet\nspec:\n  imageDigestMirrors: [{source: quay.io/a, mir",
		wrongType: "apiVersion: config.openshift.io/v1\nkind: ImageDigestMirrorSet\nspec:\n  imageDigestMirrors: 5\n",
		twice:     "apiVersion: config.openshift.io/v1\nkind: ImageDigestMirrorSet\nkind: ImageTagMirrorSet\n", deep: "a: [",
		head:  "apiVersion: config.openshift.io/v1\nkind: ImageDigestMirrorSet\nspec:\n  imageDigestMirrors:\n",
		entry: "  - {source: quay.io/aN, mirrors: [m.example.com/a]}\n",
	},
	{
		format: "talos", file: "machine.yaml",
		good:      "machine:\n  registries:\n    mirrors:\n      quay.io:\n        endpoints: [\"https://m.example.com\"]\n",
		truncated: "machine:\n  registries:\n    mirrors: {quay.io: {endpoints: [\"https", wrongType: "machine:\n  registries:\n    mirrors: 5\n",
		twice: "machine: {}\nmachine: {}\n", deep: "a: [", head: "machine:\n  registries:\n    mirrors:\n",
		entry: "      rN.example.com: {endpoints: [\"https://m.example.com\"]}\n",
	},
	{
		format: "pack", file: "config.toml",
		good:      "[registry-mirrors]\n\"quay.io\" = \"m.example.com\"\n",
		truncated: "[registry-mirrors]\n\"quay.io\" = \"m.ex", wrongType: "[registry-mirrors]\n\"quay.io\" = 5\n",
		twice: "[registry-mirrors]\n\"quay.io\" = \"a\"\n\"quay.io\" = \"b\"\n", deep: "a = [", head: "[registry-mirrors]\n", entry: "\"rN.example.com\" = \"m.example.com\"\n",
	},
	{
		format: "kaniko", file: "kaniko.flags",
		good:      "--registry-map=quay.io=m.example.com\n",
		truncated: "--registry-map=quay.io=m.example.com\n--registry-map", wrongType: "--insecure-pull=5\n", deep: "--registry-map=[",
		entry: "--registry-map=rN.example.com=m.example.com\n",
	},
	{
		format: "regclient", file: "config.json",
		good:      `{"hosts": {"quay.io": {"mirrors": ["m.example.com"]}}}`,
		truncated: `{"hosts": {"quay.io": {"mirrors": ["m.exam`, wrongType: `{"hosts": {"quay.io": {"mirrors": 5}}}`,
		twice: "{\"hosts\": {\"quay.io\": {},\n\"quay.io\": {}}}", deep: `{"a":[`, head: `{"hosts": {`, entry: `"rN.example.com": {"mirrors": ["m.example.com"]},`, tail: `"x.example.com": {}}}`,
	},
}

// read reads a text as the one file of the format.
func (b *badFormat) read(t *testing.T, text string, d rules.Dialect) rules.Config {
	t.Helper()
	files := fstest.MapFS{caseRoot: {Mode: fs.ModeDir | 0o755}, caseRoot + "/" + b.file: {Data: []byte(text), Mode: 0o644}}
	cfg, err := Read(Source{Format: b.format, FS: files, Path: caseRoot, Name: "/" + caseRoot}, d)
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// TestBadInput holds that what is wrong in a file is an error in the strict
// reading, and told in every reading, with file, line and column.
func TestBadInput(t *testing.T) {
	for _, b := range badFormats {
		bad := map[string]string{
			"truncated": b.truncated, "wrong type": b.wrongType, "twice": b.twice,
			"nested": strings.Repeat(b.deep, 100_000), "control character": b.good + "\x00", "no UTF-8": b.good + "\xff=\xfe",
		}
		for name, text := range bad {
			if text == "" || b.format == "kaniko" && name != "truncated" && name != "wrong type" {
				continue // flags take any text
			}
			t.Run(b.format+"/"+name, func(t *testing.T) {
				for _, d := range append([]rules.Dialect{rules.Native()}, dialectsOf(t, b.format)...) {
					problems := b.read(t, text, d).Problems
					at := slices.IndexFunc(problems, func(p rules.Problem) bool { return p.At.Line > 0 && p.At.Column > 0 && p.At.File != "" })
					if at < 0 {
						t.Errorf("client %q: no place in %v", d.Client, texts(problems))
					}
					if d.Strict() && !slices.ContainsFunc(problems, func(p rules.Problem) bool { return p.Level == rules.Error }) {
						t.Errorf("no error in %v", texts(problems))
					}
				}
			})
		}
	}
}

// TestEditorsMarks holds that a byte order mark, and lines that end with a
// carriage return, are read like nothing, or refused where the client does.
func TestEditorsMarks(t *testing.T) {
	ref := "quay.io/a/b@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	for _, b := range badFormats {
		for _, d := range append([]rules.Dialect{rules.Native()}, dialectsOf(t, b.format)...) {
			want := planOne(t, b.read(t, b.good, d), d, ref)
			if b.format != "daemon.json" && !strings.Contains(want, "m.example.com") {
				t.Errorf("%s, client %q: the good configuration gives %s", b.format, d.Client, want)
			}
			for name, text := range map[string]string{"bom": "\ufeff" + b.good, "crlf": strings.ReplaceAll(b.good, "\n", "\r\n")} {
				cfg := b.read(t, text, d)
				got := planOne(t, cfg, d, ref)
				told := slices.ContainsFunc(cfg.Problems, func(p rules.Problem) bool { return strings.Contains(p.Text, "byte order mark") && p.At.Line == 1 })
				if got != want && (name != "bom" || !told) {
					t.Errorf("%s, client %q, %s: got %s, want %s\n%v", b.format, d.Client, name, got, want, texts(cfg.Problems))
				}
			}
		}
	}
}

// TestLargeFiles holds that a file above the limit is refused, with the place where it
// becomes too large, and that what a file of 500 kB costs does not grow with the
// square of its entries: that would take longer than a test may.
func TestLargeFiles(t *testing.T) {
	for _, b := range badFormats {
		t.Run(b.format, func(t *testing.T) {
			cfg := b.read(t, b.large(MaxFile), rules.Native())
			if p := cfg.Refused; p == nil || !strings.Contains(p.Text, "larger") || p.At.Line == 0 || p.At.Column == 0 {
				t.Errorf("above the limit: %v", p)
			}
			cfg = b.read(t, b.large(500_000), rules.Native())
			if cfg.Refused != nil || len(cfg.Rules) == 0 {
				t.Errorf("500 kB: %d rules, %v", len(cfg.Rules), cfg.Refused)
			}
		})
	}
}

// large returns a configuration of some size with many entries.
func (b *badFormat) large(size int) string {
	var s strings.Builder
	s.WriteString(b.head)
	for i := 0; s.Len() < size; i++ {
		s.WriteString(strings.ReplaceAll(b.entry, "N", strconv.Itoa(i)))
	}
	s.WriteString(b.tail)
	return s.String()
}
