package cli

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/entrepot/entrepot/rules"
	"github.com/entrepot/entrepot/rules/conf"
)

func newCheckCmd(env Env) *cobra.Command {
	asJSON := false
	cmd := &cobra.Command{
		Use:   "check FORMAT=PATH...",
		Short: "Find what is wrong or does nothing in mirror configuration",
		Long: `Check reads mirror configuration strictly, and as each client that reads the
format does. It tells what a client refuses, what it drops without a word, and
what does not do what it seems to say, each with its place and what to do.

` + formatsHelp() + `

Exit codes: 0 there is no error, 1 there is one, 2 the command line is wrong.`,
		Example: `  entrepot check registries.conf=/etc/containers
  entrepot check hosts.toml=/etc/containerd/certs.d --json`,
		Args: usageArgs(cobra.MinimumNArgs(1)),
		RunE: func(_ *cobra.Command, args []string) error { return checkRules(env, asJSON, args) },
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object a line")
	return cmd
}

// checkRules prints the problems of every configuration.
func checkRules(env Env, asJSON bool, args []string) error {
	m := conf.Machine{Stdin: env.Stdin, Getenv: env.Getenv}
	p := printer{out: env.Stdout, json: asJSON}
	wrong := 0
	for _, arg := range args {
		found, err := lint(arg, m)
		if err != nil {
			return err
		}
		for i := range found {
			if found[i].Level == rules.Error {
				wrong++
			}
			if asJSON {
				if err := p.writeJSON(problemToJSON(&found[i])); err != nil {
					return err
				}
			}
		}
		if !asJSON {
			if err := p.list(found); err != nil {
				return err
			}
		}
	}
	if wrong > 0 {
		return failure(fmt.Errorf("errors in the configuration: %d", wrong), "")
	}
	return nil
}

// lint returns the problems of one FORMAT=PATH: those of the strict reading,
// and what only a client finds.
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
	for _, client := range conf.Clients(src.Format) {
		d, err := rules.DialectOf(client)
		if err != nil {
			return nil, err
		}
		more, err := lintAs(src, d)
		if err != nil {
			return nil, err
		}
		found = appendNew(found, more)
	}
	sortByPlace(found)
	return found, nil
}

// lintAs returns the problems that one reading finds, in the lines and in how
// the rules work together.
func lintAs(src conf.Source, d rules.Dialect) ([]rules.Problem, error) {
	c, err := conf.Read(src, d)
	if err != nil {
		return nil, err
	}
	return append(c.Problems, rules.New(c).Lint(d)...), nil
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
