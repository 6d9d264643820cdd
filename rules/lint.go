package rules

import (
	"fmt"
	"slices"
	"strings"

	"github.com/entrepot/entrepot/ref"
)

// Lint returns what is doubtful about the rules as they work together in a
// dialect, beyond what [Set.Problems] says about each line: mirrors that
// another rule blocks, rules that leave tags or everything without a place, and
// mirrors whose path a client joins in another way than most do.
func (s *Set) Lint(d Dialect) []Problem {
	if s.refused != nil {
		return nil
	}
	var found []Problem
	for i := range s.rules {
		rule := &s.rules[i]
		if rule.Match.Kind == Never || rule.Fails != nil {
			continue
		}
		found = append(found, s.lintRule(rule, d)...)
	}
	return found
}

func (s *Set) lintRule(rule *Rule, d Dialect) []Problem {
	name := rule.Match.sample(&d)
	tag := s.Plan(name.WithTag("latest"), Pull, d)
	digest := s.Plan(name.WithDigest(sampleDigest), Pull, d)
	if tag.Rule != rule {
		return nil // another rule is for the sample
	}
	var found []Problem
	warn := func(at Origin, hint, text string, args ...any) {
		found = append(found, Problem{At: at, Text: fmt.Sprintf(text, args...), Hint: hint})
	}
	switch {
	case tag.Err != nil && digest.Err == nil:
		warn(rule.Origin, "add a mirror for tags, or let the source be asked; until then images have to be named by digest",
			"tags of %s have no place: %v", rule.Match, tag.Err)
	case tag.Err != nil && !onlyBlocked(rule):
		warn(rule.Origin, "correct the rule, or remove it", "nothing can serve %s: %v", rule.Match, tag.Err)
	}
	for _, t := range append(tag.Tries, digest.Tries...) {
		if t.Role == Mirror && t.Blocked && t.BlockedBy != rule && !reported(found, t.Origin) {
			warn(t.Origin, "remove the mirror, or blocked there", "mirror %s is never asked: the rule for %s at %s blocks it",
				t.Host, t.BlockedBy.Match, t.BlockedBy.Origin)
		}
	}
	for i := range rule.Endpoints {
		if ep := &rule.Endpoints[i]; ep.oddRoot() {
			warn(ep.Origin, ep.rootHint(), "requests to %s go to %s/NAME/…, not below /v2%s", ep.Host, strings.TrimSuffix(ep.APIRoot, "/"),
				strings.TrimSuffix(strings.TrimSuffix(ep.APIRoot, "/"), "/v2"))
		}
	}
	return found
}

func reported(found []Problem, at Origin) bool {
	return slices.ContainsFunc(found, func(p Problem) bool { return p.At == at })
}

// onlyBlocked reports whether a rule is there to block: it has no mirrors and
// its upstream is blocked.
func onlyBlocked(r *Rule) bool { return len(r.Endpoints) == 0 && r.Upstream.Endpoint.Blocked }

// oddRoot reports whether requests for an endpoint do not go below /v2 although
// it has a path: the same text in another format is a namespace.
func (e *Endpoint) oddRoot() bool {
	return e.APIRoot != "" && e.APIRoot != "/v2" && e.APIRoot != "/"
}

// rootHint says how the endpoint's format writes a namespace.
func (e *Endpoint) rootHint() string {
	space := strings.TrimSuffix(e.APIRoot, "/v2")
	address := "https://" + e.Host + "/v2" + space
	switch e.Origin.Format {
	case "hosts.toml":
		return fmt.Sprintf("where %s is a namespace of that registry write %q and override_path = true", space, address)
	case "talos":
		return fmt.Sprintf("where %s is a namespace of that registry write %q and overridePath: true", space, address)
	case "daemon.json":
		return "a namespace of that registry cannot be written here: let the mirror map its root instead"
	default:
		return fmt.Sprintf("where %s is a namespace of that registry write %q", space, address)
	}
}

const sampleDigest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

// sample returns a name that a match is for.
func (m Match) sample(d *Dialect) ref.Name {
	n := ref.Name{Host: m.Host, Path: "sample/image"}
	switch {
	case m.Kind == Any:
		n.Host = "registry.example.com"
	case m.Kind == HostSuffix:
		n.Host = "sample." + m.Host
	case slices.Contains(d.HubKeys, m.Host):
		n.Host = ref.DockerHub
	}
	if m.Kind == Prefix {
		n.Path = m.Path + "/sample"
	}
	return n
}
