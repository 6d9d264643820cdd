package ref

import (
	"strings"
	"testing"
)

func TestPattern(t *testing.T) {
	for _, c := range []struct {
		pattern string
		match   string // space-separated
		not     string
	}{
		{"**", "a a/b a/b/c", ""},
		{"apps/**", "apps/a apps/a/b", "apps app apps2/a x/apps/a"},
		{"apps/*", "apps/a", "apps apps/a/b"},
		{"apps/web", "apps/web", "apps apps/web/x apps/webs"},
		{"*/web", "a/web", "web a/b/web"},
		{"**/web", "a/web a/b/web", "web a/webs"},
		{"a/**/z", "a/b/z a/b/c/z", "a/z a/b/c"},
		{"app-*", "app-a app-", "app a/app-a app-a/b"},
		{"*-app-*", "x-app-y", "x-ap-y"},
		{"reg.corp:5000/**", "reg.corp:5000/a/b", "reg.corp/a"},
		{"a*b*c", "abc axbxc abbcc", "ab abcx"},
	} {
		p, err := ParsePattern(c.pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range strings.Fields(c.match) {
			if !p.Match(s) {
				t.Errorf("%q does not match %q", c.pattern, s)
			}
		}
		for _, s := range strings.Fields(c.not) {
			if p.Match(s) {
				t.Errorf("%q matches %q", c.pattern, s)
			}
		}
	}
}

func TestPatternRefused(t *testing.T) {
	for _, s := range []string{"", "/", "apps//x", "Apps/**", "apps/", "a b", "a/reg:5000/x", "reg:5000", "***x!"} {
		if p, err := ParsePattern(s); err == nil {
			t.Errorf("ParsePattern(%q) = %q: no error", s, p)
		}
	}
}
