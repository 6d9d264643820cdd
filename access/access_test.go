package access

import (
	"testing"

	"github.com/entrepot/entrepot/ref"
)

func rule(t *testing.T, allow Rights, repositories string, who ...string) Rule {
	t.Helper()
	p, err := ref.ParsePattern(repositories)
	if err != nil {
		t.Fatal(err)
	}
	r := Rule{Repositories: []ref.Pattern{p}, Allow: allow}
	for _, w := range who {
		if err := r.ParseWho(w); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

var (
	nobody  = Caller{}
	ci      = Caller{User: "ci"}
	alice   = Caller{User: "alice", Groups: []string{"builders", "staff"}}
	bob     = Caller{User: "bob"}
	service = Caller{User: "system:serviceaccount:a:b", Foreign: true}
)

func name(path string) ref.Name { return ref.Name{Path: path} }

// TestPolicy is the table of verbs and roles. One function decides all of them,
// and no tag has a rule of its own (CVE-2026-41888, CVE-2026-31801).
func TestPolicy(t *testing.T) {
	none := Policy{}
	open := Policy{Anonymous: All}
	read := Policy{Anonymous: Pull}
	rules := Policy{Anonymous: None, Rules: []Rule{
		rule(t, None, "apps/secret", "alice"),
		rule(t, All, "apps/**", "ci", "group:builders"),
		rule(t, Pull, "docker.io/library/*", "bob", "anonymous"),
		rule(t, Pull|Push, "bobs/*", "bob"),
	}}
	hub := ref.Name{Host: "docker.io", Path: "library/alpine"}
	for _, c := range []struct {
		policy Policy
		caller Caller
		name   ref.Name
		want   Rights // the most that is allowed
	}{
		{none, nobody, name("a"), None},
		{none, ci, name("a"), All}, // its account would be good for nothing else
		{none, service, name("a"), Pull},
		{open, nobody, name("a"), All},
		{open, service, name("a"), All},
		{read, nobody, name("a"), Pull},
		{read, ci, name("a"), All},
		{read, service, name("a"), Pull},

		{rules, nobody, name("apps/x"), None},
		{rules, ci, name("apps/x"), All},
		{rules, ci, name("apps"), None},
		{rules, ci, name("apps/secret"), All},
		{rules, alice, name("apps/x"), All},
		{rules, alice, name("apps/secret"), None}, // the first match decides
		{rules, bob, name("apps/x"), None},
		{rules, bob, name("bobs/x"), Pull | Push},
		{rules, bob, hub, Pull},
		{rules, nobody, hub, Pull},
		{rules, ci, hub, Pull}, // as whoever has no credentials
		{rules, nobody, name("library/alpine"), None},
		{rules, Caller{User: "builders"}, name("apps/x"), None}, // a user is no group
		{rules, Caller{User: "x", Groups: []string{"ci"}}, name("apps/x"), None},
		{rules, Caller{User: "x", Groups: []string{"anonymous"}}, hub, Pull},
	} {
		for _, want := range []Rights{Pull, Push, Delete, Pull | Push, All} {
			if got := c.policy.Allows(c.caller, c.name, want); got != (c.want&want == want) {
				t.Errorf("%+v may %s %s: got %v, rights are %s", c.caller, want, c.name, got, c.want)
			}
		}
	}
}

func TestLimits(t *testing.T) {
	p := Policy{Anonymous: Pull}
	c := Caller{User: "ci", Limits: []Limit{{name("a"), Pull}, {name("a"), Push}, {name("b"), Pull}}}
	for _, x := range []struct {
		name string
		want Rights
		ok   bool
	}{{"a", Pull, true}, {"a", Pull | Push, true}, {"a", Delete, false}, {"b", Push, false}, {"c", Pull, false}} {
		if got := p.Allows(c, name(x.name), x.want); got != x.ok {
			t.Errorf("%s of %s: got %v", x.want, x.name, got)
		}
	}
	if !p.AllowsEverywhere(ci, All) || p.AllowsEverywhere(c, Pull) || p.AllowsEverywhere(nobody, Push) {
		t.Error("AllowsEverywhere looks past limits")
	}
	// A limit gives nothing that the policy does not.
	if c := (Caller{Limits: []Limit{{name("a"), All}}}); p.Allows(c, name("a"), Push) {
		t.Error("an anonymous token may push")
	}
}

func TestNothing(t *testing.T) {
	for _, c := range []struct {
		p    Policy
		want bool
	}{
		{Policy{}, true},
		{Policy{Anonymous: Pull}, false},
		{Policy{Rules: []Rule{rule(t, Pull, "**", "ci")}}, true},
		{Policy{Rules: []Rule{rule(t, Pull, "a", "anonymous")}}, false},
		{Policy{Rules: []Rule{rule(t, None, "a", "anonymous")}}, true},
	} {
		if got := c.p.Nothing(); got != c.want {
			t.Errorf("%+v: got %v", c.p, got)
		}
	}
}

func TestParseRights(t *testing.T) {
	for s, want := range map[string]Rights{"pull": Pull, "push": Push, "delete": Delete} {
		if got, err := ParseRights(s); err != nil || got != want || got.String() != s {
			t.Errorf("%s: got %s, %v", s, got, err)
		}
	}
	for s, want := range map[string]Rights{"none": None, "pull": Pull, "push": All} {
		if got, err := ParseLevel(s); err != nil || got != want {
			t.Errorf("level %s: got %s, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "Pull", "all", "*", "none"} {
		if _, err := ParseRights(s); err == nil {
			t.Errorf("%q: no error", s)
		}
	}
	if _, err := ParseLevel("delete"); err == nil {
		t.Error("level delete: no error")
	}
	if got := All.String() + " " + None.String(); got != "pull,push,delete none" {
		t.Errorf("got %q", got)
	}
}
