package oracle

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// goldenDir has the fixtures of rules/conf.
const goldenDir = "../../rules/conf/testdata/golden"

// A fixture is a case of the golden files; their README, in the project's
// specification, says what the fields mean.
type fixture struct {
	Name   string
	Config struct {
		Files                        map[string]string
		Layout, ImageStore, PullMode string
	}
	Reference string
	Matched   *string
	Want      []fixturePlace
	Skipped   []struct {
		Host         string
		Capabilities []string
	}
	WantError string
}

type fixturePlace struct {
	URL, Reference, NS, Unusable    string
	Insecure, Blocked, HTTPFallback bool
	CustomCA                        bool
	Capabilities                    []string
	Header                          http.Header
}

// TestGolden holds that each client, the fixtures and Entrepot agree.
func TestGolden(t *testing.T) {
	for _, j := range judges() {
		t.Run(j.name, func(t *testing.T) {
			cases, agreed, left := fixtures(t, j.golden), 0, 0
			for _, c := range cases {
				if j.only != nil && !j.only(&c) {
					left++
				} else if t.Run(c.Name, func(t *testing.T) { j.check(t, &c) }) {
					agreed++
				}
			}
			t.Logf("%s: %d fixtures, %d agreed, %d for other judges", j.golden, len(cases), agreed, left)
			if agreed == 0 {
				t.Error("the judge has judged nothing")
			}
		})
	}
}

func fixtures(t *testing.T, name string) []fixture {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(goldenDir, name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	var all struct{ Cases []fixture }
	if err := json.Unmarshal(data, &all); err != nil {
		t.Fatal(err)
	}
	return all.Cases
}

// check holds both answers against the fixture.
func (j *judge) check(t *testing.T, c *fixture) {
	m := machine{dir: t.TempDir(), system: strings.HasPrefix(c.Config.Layout, "system root")}
	files(c.Config.Files).write(t, m.dir)
	ours, err := j.ours(m)
	if err != nil {
		t.Fatal(err)
	}
	sees := j.sees & fixtureSight & c.says()
	for who, ask := range map[string]asker{j.name: j.theirs(m), "entrepot": ours} {
		got, err := ask(c.Reference)
		if c.WantError != "" {
			if err == nil {
				t.Errorf("%s: %+v, the fixture wants the error %q", who, got.Places, c.WantError)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", who, err)
			continue
		}
		if diff := cmp.Diff(c.answer().only(sees), got.only(sees)); diff != "" {
			t.Errorf("%s (-fixture +%[1]s):\n%s", who, diff)
		}
	}
}

// says returns what the fixture tells of.
func (c *fixture) says() sight {
	s := ^sight(0)
	for _, w := range c.Want {
		if w.Reference == "" {
			s &^= seesRef
		}
		if w.URL == "" && w.Unusable == "" {
			s &^= seesURL
		}
		if w.Capabilities == nil && w.Unusable == "" {
			s &^= seesCan
		}
	}
	if c.Matched == nil {
		s &^= seesRule
	}
	if c.Skipped == nil {
		s &^= seesSkips | seesSkippedHosts
	}
	return s
}

// answer returns what the fixture wants.
func (c *fixture) answer() answer {
	var a answer
	if c.Matched != nil {
		a.Rule = *c.Matched
	}
	for _, w := range c.Want {
		a.Places = append(a.Places, place{
			Ref: w.Reference, URL: w.URL, NS: w.NS, Unusable: w.Unusable != "", Insecure: w.Insecure,
			Blocked: w.Blocked, Fallback: w.HTTPFallback, CA: w.CustomCA,
			Can: strings.Join(w.Capabilities, " "), Header: headerText(w.Header),
		})
	}
	for _, s := range c.Skipped {
		_, host, _ := strings.Cut(s.Host, "://")
		a.skip(host, strings.Join(s.Capabilities, " "))
	}
	return a
}
