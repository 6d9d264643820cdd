package rules_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/entrepot/entrepot/rules"
)

func TestLint(t *testing.T) {
	at := func(line int) rules.Origin { return rules.Origin{File: "f", Line: line, Format: "hosts.toml"} }
	mirror := func(host string, line int) rules.Endpoint { return rules.Endpoint{Host: host, Origin: at(line)} }
	blocked := rules.Upstream{Endpoint: rules.Endpoint{Blocked: true}}
	digests := mirror("m.example.net", 2)
	digests.Kinds = rules.Digests
	rooted := mirror("m.example.com", 2)
	rooted.SetPath("/proj/v2")
	tests := map[string]struct {
		rules []rules.Rule
		want  []string
	}{
		"nothing to say": {rules: []rules.Rule{
			{Match: rules.MatchName("a.example.com"), Endpoints: []rules.Endpoint{mirror("m.example.com", 2)}, Origin: at(1)},
			{Match: rules.Match{Kind: rules.Any}, Endpoints: []rules.Endpoint{mirror("m.example.com", 4)}, Origin: at(3)},
		}},
		"blocked on purpose": {rules: []rules.Rule{{Match: rules.MatchName("a.example.com/team"), Upstream: blocked, Origin: at(1)}}},
		"blocked mirror": {
			rules: []rules.Rule{
				{Match: rules.MatchName("docker.io"), Endpoints: []rules.Endpoint{mirror("m.example.com", 2)}, Origin: at(1)},
				{Match: rules.MatchName("m.example.com"), Upstream: blocked, Origin: at(3)},
			},
			want: []string{"f:2: mirror m.example.com is never asked: the rule for m.example.com at f:3 blocks it"},
		},
		"tags have nothing": {
			rules: []rules.Rule{{Match: rules.Match{Kind: rules.HostSuffix, Host: "example.com"}, Endpoints: []rules.Endpoint{digests}, Upstream: blocked, Origin: at(1)}},
			want:  []string{"f:1: tags of *.example.com have no place"},
		},
		"nowhere": {
			rules: []rules.Rule{{Match: rules.MatchName("a.example.com"), Upstream: rules.Upstream{Kind: rules.None}, Origin: at(1)}},
			want:  []string{"f:1: nothing can serve a.example.com: the rule leads nowhere"},
		},
		"root in front of /v2": {
			rules: []rules.Rule{{Match: rules.MatchName("docker.io"), Endpoints: []rules.Endpoint{rooted}, Origin: at(1)}},
			want:  []string{"f:2: requests to m.example.com go to /proj/v2/NAME/…, not below /v2/proj"},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, p := range rules.New(rules.Config{Rules: test.rules}).Lint(rules.Native()) {
				if p.Hint == "" || p.Level != rules.Warning {
					t.Errorf("%v: level %v, hint %q", p.Error(), p.Level, p.Hint)
				}
				got = append(got, p.Error())
			}
			for i := range min(len(got), len(test.want)) {
				if strings.HasPrefix(got[i], test.want[i]) {
					got[i] = test.want[i]
				}
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}
