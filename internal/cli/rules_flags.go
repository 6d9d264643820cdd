package cli

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/entrepot/entrepot/rules"
	"github.com/entrepot/entrepot/rules/conf"
)

// sourceFlags say which mirror configuration is read, and how.
type sourceFlags struct {
	rules []string // FORMAT=PATH
	as    string   // a client; "" for none
	root  string   // "" for "/"
}

func (s *sourceFlags) add(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringArrayVar(&s.rules, "rules", nil, "read this `FORMAT=PATH` instead of what is on the machine, none for no rules; may be given several times")
	f.StringVar(&s.as, "as", "", "do exactly what this `CLIENT` does")
	f.StringVar(&s.root, "root", "", "look for the machine's files below this `DIR`")
	// Errors of registration are for flags that do not exist.
	_ = cmd.RegisterFlagCompletionFunc("as", cobra.FixedCompletions(rules.Clients(), cobra.ShellCompDirectiveNoFileComp))
}

// fileRoot returns below which directory the files are that rules name: the
// machine's, where its own rules are read; "" for "/".
func (s *sourceFlags) fileRoot() string {
	if len(s.rules) > 0 {
		return ""
	}
	return s.root
}

// formatsHelp says which formats and clients there are.
func formatsHelp() string {
	return "FORMAT is one of " + strings.Join(conf.Formats(), ", ") + ".\n" +
		"CLIENT is one of " + strings.Join(rules.Clients(), ", ") + "."
}

// noRules is the value of --rules that stands for no rules at all.
const noRules = "none"

// native is what the strict reading is called beside the clients.
const native = "native"

// A view is one client's reading of a configuration.
type view struct {
	client   string // its name, or native
	dialect  rules.Dialect
	set      *rules.Set
	problems []rules.Problem
}

// views reads the configuration for every client that is asked for, or found.
func (s *sourceFlags) views(env Env) ([]*view, error) {
	m := conf.Machine{Root: s.root, Stdin: env.Stdin, Getenv: env.Getenv}
	if s.as != "" || len(s.rules) > 0 {
		v, err := s.view(m)
		if err != nil {
			return nil, err
		}
		return []*view{v}, nil
	}
	var views []*view
	for _, client := range conf.Found(m) {
		v, err := systemView(client, m)
		if err != nil {
			return nil, err
		}
		views = append(views, v)
	}
	if len(views) == 0 {
		views = append(views, newView(native, rules.Native(), rules.Config{}))
	}
	return views, nil
}

// view reads the configuration for the one client that the flags are about.
func (s *sourceFlags) view(m conf.Machine) (*view, error) {
	client, d, err := dialectOf(s.as)
	if err != nil {
		return nil, err
	}
	if len(s.rules) == 0 && client != native {
		return systemView(client, m)
	}
	if slices.Contains(s.rules, noRules) {
		if len(s.rules) > 1 {
			return nil, usageError(errors.New("--rules none: there are other rules"), "give it alone")
		}
		return newView(client, d, rules.Config{}), nil
	}
	var configs []rules.Config
	for _, arg := range s.rules {
		c, err := readRules(arg, m, d)
		if err != nil {
			return nil, err
		}
		configs = append(configs, c)
	}
	return newView(client, d, rules.Merge(configs...)), nil
}

// dialectOf returns the dialect of a client, the native one for "".
func dialectOf(client string) (string, rules.Dialect, error) {
	if client == "" || client == native {
		return native, rules.Native(), nil
	}
	d, err := rules.DialectOf(client)
	if err != nil {
		return "", d, usageError(fmt.Errorf("--as: %w", err), suggest(client, rules.Clients()))
	}
	return client, d, nil
}

// readRules reads one FORMAT=PATH.
func readRules(arg string, m conf.Machine, d rules.Dialect) (rules.Config, error) {
	src, err := openRules(arg, m)
	if err != nil {
		return rules.Config{}, err
	}
	c, err := conf.Read(src, d)
	if err != nil {
		return rules.Config{}, err
	}
	if readers := conf.Clients(src.Format); !d.Strict() && !slices.Contains(readers, d.Client) {
		c.Problems = append(c.Problems, rules.Problem{
			At: rules.Origin{File: src.Name, Format: src.Format}, Level: rules.Warning,
			Text: d.Client + " does not read " + src.Format + "; this is what it would do if it did",
			Hint: src.Format + " is read by " + strings.Join(readers, ", "),
		})
	}
	return c, nil
}

// openRules finds what one FORMAT=PATH names.
func openRules(arg string, m conf.Machine) (conf.Source, error) {
	if _, _, err := conf.SplitArg(arg); err != nil {
		format, _, _ := strings.Cut(arg, "=")
		return conf.Source{}, usageError(err, suggest(format, conf.Formats()))
	}
	return conf.Open(arg, m)
}

// systemView reads what a client reads on a machine.
func systemView(client string, m conf.Machine) (*view, error) {
	d, err := rules.DialectOf(client)
	if err != nil {
		return nil, err
	}
	src, err := conf.System(client, m)
	if err != nil {
		return nil, err
	}
	c, err := conf.Read(src, d)
	if err != nil {
		return nil, err
	}
	return newView(client, d, c), nil
}

func newView(client string, d rules.Dialect, c rules.Config) *view {
	return &view{client: client, dialect: d, set: rules.New(c), problems: c.Problems}
}

// suggest returns a hint with the name that was meant; "" where none is near.
func suggest(name string, known []string) string {
	if near := nearest(name, known); near != "" {
		return "did you mean '" + near + "'?"
	}
	return ""
}

// machineOf returns the machine whose files are read.
func machineOf(root string, env Env) conf.Machine {
	return conf.Machine{Root: root, Stdin: env.Stdin, Getenv: env.Getenv}
}

// plainView is a reading without any rules: every registry is where its name
// says.
func plainView() *view { return newView(native, rules.Native(), rules.Config{}) }
