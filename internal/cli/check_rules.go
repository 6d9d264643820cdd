package cli

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/entrepot/entrepot/rules"
	"github.com/entrepot/entrepot/rules/conf"
)

type checkOptions struct{ json, strict bool }

func newCheckCmd(env Env) *cobra.Command {
	var opts checkOptions
	cmd := &cobra.Command{
		Use:   "check FORMAT=PATH...",
		Short: "Find what is wrong or does nothing in mirror configuration",
		Long: `Check reads mirror configuration strictly, and as each client that reads the
format does. It tells what a client refuses, what it drops without a word, and
what does not do what it seems to say, each with its place and what to do. What a
client refuses is an error, and so is what is wrong by itself; what it takes, and
drops or reads otherwise, is a warning.

` + formatsHelp() + `

Exit codes: 0 there is no error, 1 there is one (with --strict a warning, too),
2 the command line is wrong.`,
		Example: `  entrepot check registries.conf=/etc/containers
  entrepot check --strict hosts.toml=/etc/containerd/certs.d --json`,
		Args: usageArgs(cobra.MinimumNArgs(1)),
		RunE: func(_ *cobra.Command, args []string) error { return checkRules(env, opts, args) },
	}
	cmd.Flags().BoolVar(&opts.json, "json", false, "print one JSON object a line")
	cmd.Flags().BoolVar(&opts.strict, "strict", false, "fail where there is a warning, too")
	return cmd
}

// checkRules prints the problems of every configuration.
func checkRules(env Env, opts checkOptions, args []string) error {
	m := conf.Machine{Stdin: env.Stdin, Getenv: env.Getenv}
	p := printer{out: env.Stdout, json: opts.json}
	wrong, doubtful := 0, 0
	for _, arg := range args {
		found, err := lint(arg, m)
		if err != nil {
			return err
		}
		for i := range found {
			if found[i].Level == rules.Error {
				wrong++
			} else {
				doubtful++
			}
			if opts.json {
				if err := p.writeJSON(problemToJSON(&found[i])); err != nil {
					return err
				}
			}
		}
		if !opts.json {
			if err := p.list(found); err != nil {
				return err
			}
		}
	}
	if wrong > 0 {
		return failure(fmt.Errorf("errors in the configuration: %d", wrong), "")
	}
	if doubtful > 0 && opts.strict {
		return failure(fmt.Errorf("warnings about the configuration: %d", doubtful), "")
	}
	return nil
}

// lint returns the problems of one FORMAT=PATH: those of the strict reading,
// and what only a client finds. Where both say the same, the level is the
// client's: what it takes without a word is an error to the strict reading.
func lint(arg string, m conf.Machine) ([]rules.Problem, error) {
	src, err := openRules(arg, m)
	if err != nil {
		return nil, err
	}
	found, err := lintAs(src, rules.Native())
	if err != nil {
		return nil, err
	}
	found = appendNew(nil, found)
	var clients []rules.Problem
	for _, client := range conf.Clients(src.Format) {
		d, err := rules.DialectOf(client)
		if err != nil {
			return nil, err
		}
		more, err := lintAs(src, d)
		if err != nil {
			return nil, err
		}
		clients = append(clients, more...)
	}
	takeLevels(found, clients)
	found = appendNew(found, clients)
	sortByPlace(found)
	return found, nil
}

// takeLevels gives problems the highest level that they have in others, where
// they are there.
func takeLevels(found, others []rules.Problem) {
	levels := map[string]rules.Level{} // :: place and text → highest level
	for i := range others {
		key := others[i].Error()
		levels[key] = max(levels[key], others[i].Level)
	}
	for i := range found {
		if level, ok := levels[found[i].Error()]; ok {
			found[i].Level = level
		}
	}
}

// lintAs returns the problems that one reading finds, in the lines and in how
// the rules work together.
func lintAs(src conf.Source, d rules.Dialect) ([]rules.Problem, error) {
	c, err := conf.Read(src, d)
	if err != nil {
		return nil, err
	}
	found := c.Problems
	for _, p := range rules.New(c).Lint(d) {
		if !slices.ContainsFunc(found, func(q rules.Problem) bool { return q.At == p.At }) {
			found = append(found, p) // once about a place is enough
		}
	}
	return found, nil
}

// sortByPlace sorts problems by their lines, and leaves the files in the order
// in which they are read.
func sortByPlace(found []rules.Problem) {
	rank := map[string]int{} // :: file → its place in the order
	for i := range found {
		if _, ok := rank[found[i].At.File]; !ok {
			rank[found[i].At.File] = len(rank)
		}
	}
	slices.SortStableFunc(found, func(a, b rules.Problem) int {
		return cmp.Or(cmp.Compare(rank[a.At.File], rank[b.At.File]), cmp.Compare(a.At.Line, b.At.Line))
	})
}
