package conf

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/entrepot/entrepot/internal/golden"
	"github.com/entrepot/entrepot/rules"
)

type goldenCase struct {
	Name, Why string
	Tags      []string
	Config    struct {
		Files                        map[string]string
		Env                          map[string]string
		Args                         []string
		Layout, ImageStore, PullMode string
	}
	Reference  string
	Normalized string
	Matched    *string
	Want       []goldenTry
	Skipped    []goldenSkip
	WantError  string
	Warning    string
}

type goldenTry struct {
	URL          string              `json:"url"`
	Reference    string              `json:"reference"`
	Role         string              `json:"role"`
	Original     bool                `json:"original"`
	Insecure     bool                `json:"insecure"`
	Capabilities []string            `json:"capabilities"`
	Blocked      bool                `json:"blocked"`
	HTTPFallback bool                `json:"httpFallback"`
	Unusable     string              `json:"unusable"`
	CustomCA     bool                `json:"customCA"`
	Header       map[string][]string `json:"header"`
	NS           string              `json:"ns"`
	HTTP         bool                `json:"http"`
}

type goldenSkip struct {
	Host         string   `json:"host"`
	Capabilities []string `json:"capabilities"`
	Missing      []string `json:"missing"`
}

func TestGolden(t *testing.T) {
	for _, g := range golden.Files() {
		t.Run(g.Name, func(t *testing.T) {
			if !slices.Contains(Formats(), g.Format) {
				t.Fatalf("format %s has no reader", g.Format)
			}
			cases := readGolden(t, g.Name)
			passed := 0
			for _, c := range cases {
				if t.Run(c.Name, func(t *testing.T) { c.check(t, g.Format, g.Client) }) {
					passed++
				}
			}
			t.Logf("%s: %d of %d cases", g.Name, passed, len(cases))
		})
	}
}

func readGolden(t testing.TB, name string) []goldenCase {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", "golden", name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	var all struct {
		Count int
		Cases []goldenCase
	}
	if err := json.Unmarshal(data, &all); err != nil {
		t.Fatal(err)
	}
	if len(all.Cases) == 0 || all.Count != len(all.Cases) {
		t.Fatalf("%s: %d cases, its count says %d", name, len(all.Cases), all.Count)
	}
	return all.Cases
}

// caseRoot is the directory that the files of a case are below.
const caseRoot = "etc/case"

// source returns the configuration of a case as a source.
func (c *goldenCase) source(format string) Source {
	files := fstest.MapFS{caseRoot: {Mode: fs.ModeDir | 0o755}}
	for name, text := range c.Config.Files {
		text = strings.ReplaceAll(text, "{root}", "/"+caseRoot)
		files[caseRoot+"/"+name] = &fstest.MapFile{Data: []byte(text), Mode: 0o644}
	}
	src := Source{
		Format: format, FS: files, Path: caseRoot, Name: "/" + caseRoot,
		System: strings.HasPrefix(c.Config.Layout, "system root"),
		Getenv: func(name string) string { return c.Config.Env[name] },
	}
	if c.Config.Env != nil {
		src.System = true
	} else if c.Config.Args != nil {
		src.Path, src.Name, src.Text = "", "flags", []byte(strings.Join(c.Config.Args, "\n"))
	}
	return src
}

// dialect returns the dialect that a case is for.
func (c *goldenCase) dialect(t testing.TB, client string) rules.Dialect {
	switch {
	case c.Config.ImageStore == "containerd":
		client = "docker-containerd"
	case c.Config.PullMode == "transfer":
		client = "containerd-transfer"
	}
	d, err := rules.DialectOf(client)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// check holds what we plan against the case.
func (c *goldenCase) check(t *testing.T, format, client string) {
	d := c.dialect(t, client)
	cfg, err := Read(c.source(format), d)
	if err != nil {
		t.Fatal(err)
	}
	if c.Want != nil && c.Want[0].Role == "" {
		c.checkShortName(t, rules.New(cfg), d)
		return
	}
	plan, err := c.plan(rules.New(cfg), d)
	if c.WantError != "" {
		if err == nil || plan.Usable() {
			t.Errorf("planned %v, want the error %q", c.shown(plan, d), c.WantError)
		}
		c.checkSkips(t, plan)
		return
	}
	if err != nil && !allBlocked(c.Want) {
		t.Fatalf("refused: %v", err)
	}
	if diff := cmp.Diff(c.Want, c.shown(plan, d)); diff != "" {
		t.Errorf("%s\ntries (-want +got):\n%s", c.Why, diff)
	}
	if got := d.Format(plan.Ref); c.Normalized != "" && got != c.Normalized {
		t.Errorf("normalized to %q, want %q", got, c.Normalized)
	}
	if got := matched(plan); c.Matched != nil && got != *c.Matched {
		t.Errorf("matched %q, want %q", got, *c.Matched)
	}
	c.checkSkips(t, plan)
}

// plan plans for the case's reference. Cases about short names go through
// Expand, the others were computed for the normalised reference.
func (c *goldenCase) plan(set *rules.Set, d rules.Dialect) (rules.Plan, error) {
	parse := d
	parse.ShortNames = c.Normalized == "" && d.ShortNames && rules.IsShort(c.Reference)
	refs, err := set.Expand(c.Reference, parse)
	if err != nil {
		return rules.Plan{}, err
	}
	plan := set.Plan(refs[0], rules.Pull, d)
	return plan, plan.Err
}

func (c *goldenCase) checkShortName(t *testing.T, set *rules.Set, d rules.Dialect) {
	refs, err := set.Expand(c.Reference, d)
	if err != nil {
		t.Fatalf("refused: %v", err)
	}
	var got, want []string
	for _, r := range refs {
		plan := set.Plan(r, rules.Pull, d)
		for _, try := range plan.Tries {
			got = append(got, try.Reference())
		}
	}
	for _, w := range c.Want {
		want = append(want, w.Reference)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s\ncandidates (-want +got):\n%s", c.Why, diff)
	}
}

func (c *goldenCase) checkSkips(t *testing.T, plan rules.Plan) {
	if c.Skipped == nil {
		return
	}
	var got []goldenSkip
	for _, s := range plan.Skips {
		got = append(got, goldenSkip{Host: s.Scheme.String() + "://" + s.Host, Capabilities: s.Can.Names(), Missing: s.Missing.Names()})
	}
	if diff := cmp.Diff(c.Skipped, got); diff != "" {
		t.Errorf("skips (-want +got):\n%s", diff)
	}
}

// shown returns the tries of a plan with those details that the case gives.
func (c *goldenCase) shown(plan rules.Plan, d rules.Dialect) []goldenTry {
	var out []goldenTry
	for i := range plan.Tries {
		t := &plan.Tries[i]
		g := goldenTry{
			Role: t.Role.String(), Original: t.Original, Insecure: t.Insecure(), Blocked: t.Blocked, Unusable: t.Unusable,
		}
		if i < len(c.Want) && c.Want[i].Reference != "" {
			g.Reference = t.Reference()
			if d.KeepSpelling && t.Original {
				g.Reference = c.Reference
			}
		}
		if i < len(c.Want) && c.Want[i].URL != "" || i >= len(c.Want) {
			g.URL = t.URL()
		}
		if i < len(c.Want) && g.Unusable != "" && c.Want[i].Unusable != "" {
			g.Unusable = c.Want[i].Unusable // the words are ours
		}
		if d.Shows&rules.ShowCan != 0 {
			g.Capabilities = t.Can.Names()
		}
		g.HTTPFallback = d.Shows&rules.ShowFallback != 0 && t.Scheme == rules.HTTPSThenHTTP
		g.HTTP = d.Shows&rules.ShowHTTP != 0 && t.Scheme == rules.HTTP
		if d.Shows&rules.ShowNS != 0 {
			g.NS = t.NS
		}
		if t.Transport != nil {
			g.CustomCA = len(t.Transport.CA) > 0
			for _, h := range t.Transport.Header {
				if g.Header == nil {
					g.Header = map[string][]string{}
				}
				g.Header[h.Name] = h.Values
			}
		}
		out = append(out, g)
	}
	return out
}

func matched(p rules.Plan) string {
	if p.Rule == nil {
		return ""
	}
	return p.Rule.Match.String()
}

func allBlocked(tries []goldenTry) bool {
	for _, t := range tries {
		if !t.Blocked {
			return false
		}
	}
	return true
}

// TestGoldenProblems holds that every case that a client passes over in silence
// gives a warning with its place and a hint, or an error, in the native
// reading.
func TestGoldenProblems(t *testing.T) {
	for _, g := range golden.Files() {
		if !slices.Contains(Formats(), g.Format) {
			continue
		}
		for _, c := range readGolden(t, g.Name) {
			if !slices.Contains(c.Tags, "silent") && !slices.Contains(c.Tags, "error-swallowed") {
				continue
			}
			t.Run(g.Name+"/"+c.Name, func(t *testing.T) {
				if reason, ok := notInTheFile[c.Name]; ok {
					t.Skip(reason)
				}
				for _, d := range []rules.Dialect{rules.Native(), c.dialect(t, g.Client)} {
					cfg, err := Read(c.source(g.Format), d)
					if err != nil {
						t.Fatal(err)
					}
					if !slices.ContainsFunc(cfg.Problems, func(p rules.Problem) bool { return p.At.Line > 0 && p.Hint != "" }) {
						t.Errorf("client %q: no problem with a line and a hint in %v", d.Client, texts(cfg.Problems))
					}
				}
			})
		}
	}
}

// notInTheFile are the silent cases that are right as files: what surprises is
// in the reference.
//
//	:: name → why
var notInTheFile = map[string]string{
	"uppercase-host-is-another-directory": "the directory is right; the reference has capitals",
}

func texts(ps []rules.Problem) []string {
	var out []string
	for _, p := range ps {
		out = append(out, fmt.Sprintf("%s: %v", p.Level, p.Error()))
	}
	return out
}

// TestGoldenFilesAreAllUsed holds that no file of cases is forgotten.
func TestGoldenFilesAreAllUsed(t *testing.T) {
	known := map[string]bool{"conversions": true}
	for _, g := range golden.Files() {
		known[g.Name] = true
	}
	paths, err := filepath.Glob(filepath.Join("testdata", "golden", "*.json"))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range paths {
		name := strings.TrimSuffix(filepath.Base(p), ".json")
		if !known[name] {
			t.Errorf("%s is in no test", p)
		}
		delete(known, name)
	}
	if len(known) > 0 {
		t.Errorf("missing: %v", slices.Sorted(maps.Keys(known)))
	}
}
