package cli

import (
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"slices"

	"github.com/entrepot/entrepot/ref"
	"github.com/entrepot/entrepot/rules"
	"github.com/entrepot/entrepot/rules/conf"
)

// A steering is what the files of `rules` say about where upstreams are
// reached, read strictly and as one. The zero value says nothing.
type steering struct {
	config   rules.Config
	set      *rules.Set      // nil where no file is named
	warnings []rules.Problem // that do not keep us from following it
}

// steering reads the files of `rules`. What is wrong in them is noted with its
// own file and line.
func (c *checker) steering(args []string) steering {
	var s steering
	var configs []rules.Config
	for i, arg := range args {
		cfg, err := c.ruleFile(arg)
		if err != nil {
			c.add(fmt.Sprintf("rules[%d]", i), errHint(err), "%v", err)
			continue
		}
		configs = append(configs, cfg)
	}
	if len(configs) == 0 {
		return s
	}
	s.config = rules.Merge(configs...)
	s.set = rules.New(s.config)
	found := slices.Concat(s.config.Problems, s.set.Lint(rules.Native()))
	if !slices.ContainsFunc(found, isError) { // a reader may have said the same about a certificate
		found = append(found, unusable(&s.config)...)
	}
	sortByPlace(found)
	for _, p := range found {
		if isError(p) {
			c.inRules = append(c.inRules, problem{file: p.At.File, line: p.At.Line, text: p.Text, hint: p.Hint})
			continue
		}
		s.warnings = append(s.warnings, p)
	}
	return s
}

func isError(p rules.Problem) bool { return p.Level == rules.Error }

// ruleFile reads one FORMAT=PATH.
func (c *checker) ruleFile(arg string) (rules.Config, error) {
	if _, path, err := conf.SplitArg(arg); err == nil && path == "-" {
		return rules.Config{}, usageError(errors.New("standard input cannot be read again on a reload"), "name a file")
	}
	return readRules(arg, conf.Machine{Getenv: c.env.Getenv}, rules.Native())
}

// errHint returns the hint that an error has for the command line.
func errHint(err error) string {
	if f, ok := errors.AsType[*fault](err); ok {
		return f.hint
	}
	return ""
}

// unusable returns what the rules say about certificates and accounts that a
// server cannot do.
func unusable(c *rules.Config) []rules.Problem {
	var found []rules.Problem
	for at, t := range transports(c) {
		if _, err := tlsOf(t); err != nil {
			found = append(found, rules.Problem{At: at, Level: rules.Error, Text: err.Error(), Hint: "name a PEM file that the server can read"})
		}
		if t.InlineAuth {
			found = append(found, rules.Problem{
				At: at, Text: "the account that stands here is not used: a mirror is read anonymously",
				Hint: "set docker_config for the upstream; its entry for the mirror's host is for the mirror",
			})
		}
	}
	return found
}

// transports yields the settings of all places, with where they are written.
func transports(c *rules.Config) iter.Seq2[rules.Origin, *rules.Transport] {
	return func(yield func(rules.Origin, *rules.Transport) bool) {
		say := func(at rules.Origin, t *rules.Transport) bool { return t == nil || yield(at, t) }
		for i := range c.Rules {
			r := &c.Rules[i]
			for j := range r.Endpoints {
				if !say(r.Endpoints[j].Origin, r.Endpoints[j].Transport) {
					return
				}
			}
			if !say(r.Origin, r.Upstream.Endpoint.Transport) {
				return
			}
		}
		for _, h := range c.Hosts {
			if !say(h.Origin, h.Transport) {
				return
			}
		}
		for _, n := range c.Nets {
			if !say(n.Origin, n.Transport) {
				return
			}
		}
	}
}

// warn logs what is doubtful in the rules.
func (s steering) warn(log *slog.Logger) {
	for _, p := range s.warnings {
		log.Warn("mirror rules", "at", p.At.String(), "problem", p.Text, "hint", p.Hint)
	}
}

// A contradiction is something that the table of an upstream says and the
// rules say otherwise, or make void.
type contradiction struct {
	upstream int
	key      string // of the upstream's table
	text     string
}

// contradictions compares the upstreams with the rules: mirrors in the table of
// an upstream that a rule leaves out, and two different places for it.
func (s steering) contradictions(ups []upstream) []contradiction {
	if s.set == nil {
		return nil
	}
	var found []contradiction
	for i, u := range ups {
		rule := s.without(u)
		if rule == nil {
			continue
		}
		if len(u.mirrors) > 0 {
			found = append(found, contradiction{i, "mirrors", fmt.Sprintf(
				"it would never be asked: the rule for %s at %s leaves the upstream itself out", rule.Match, rule.Origin)})
		}
		if u.url != defaultURL(u.name) && rule.Upstream.Kind == rules.At {
			found = append(found, contradiction{i, "url", fmt.Sprintf(
				"the rule for %s at %s says that it is at %s", rule.Match, rule.Origin, rule.Upstream.Endpoint.Host)})
		}
	}
	return found
}

// without returns the rule for all of an upstream, where it never leads to the
// upstream itself; nil where it does, or where there is none.
func (s steering) without(u upstream) *rules.Rule {
	if isWildcard(u.name) {
		return nil
	}
	// A name that no rule is for in particular.
	name := ref.Name{Host: u.name, Path: "any/repository"}
	var rule *rules.Rule
	for _, r := range []ref.Ref{name.WithTag("any"), name.WithDigest(anyDigest)} {
		plan := s.set.Plan(r, rules.Pull, rules.Native())
		if plan.Rule == nil || plan.Rule.Match.Kind == rules.Prefix {
			return nil
		}
		rule = plan.Rule
		if slices.ContainsFunc(plan.Tries, func(t rules.Try) bool { return !t.Blocked && isOwn(&t, r.Name, u) }) {
			return nil
		}
	}
	return rule
}

// anyDigest is that of nothing.
const anyDigest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
