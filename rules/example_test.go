package rules_test

import (
	"fmt"

	"github.com/entrepot/entrepot/ref"
	"github.com/entrepot/entrepot/rules"
)

func Example() {
	set := rules.New(rules.Config{Rules: []rules.Rule{{
		Match: rules.MatchName("docker.io"),
		Endpoints: []rules.Endpoint{
			{Host: "harbor.example.com", Repo: rules.Repo{Prefix: "hub"}},
			{Host: "digests.example.com", Kinds: rules.Digests},
		},
	}}})
	r, err := ref.Parse("alpine:3.20")
	if err != nil {
		panic(err)
	}
	plan := set.Plan(r, rules.Pull, rules.Native())
	for _, t := range plan.Tries {
		fmt.Println(t.Role, t.URL())
	}
	for _, s := range plan.Skips {
		fmt.Println("skipped", s.Host, "-", s.Why)
	}
	// Output:
	// mirror https://harbor.example.com/v2/hub/library/alpine/manifests/3.20
	// primary https://registry-1.docker.io/v2/library/alpine/manifests/3.20
	// skipped digests.example.com - digest-only mirror, reference has a tag
}
