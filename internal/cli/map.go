package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/entrepot/entrepot/ref"
	"github.com/entrepot/entrepot/relocate"
)

type mapOptions struct {
	inputFlags
	mappingFlags
	sourceFlags
	networkFlags
	json bool
}

func newMapCmd(env Env) *cobra.Command {
	var opts mapOptions
	cmd := &cobra.Command{
		Use:   "map REF|INPUT... --to PREFIX",
		Short: "Print what images are called after a relocation",
		Long: `Map prints for each image what 'entrepot relocate' with the same flags would call
it at the target. A file, an archive, or a directory with a slash in its name
stands for the images that it names; see 'entrepot inspect'. Nothing is contacted
for references and documents; the catalogs, releases and charts that an image set
names are read. All images are taken as one set: where two of them would meet at
the target, all that meet are listed.

` + namingHelp + `

Exit codes: 0 done, 1 an input cannot be read, 2 the command line is wrong, 5
images would meet at the target, or the target cannot have a name.`,
		Example: `  entrepot map alpine:3.20 quay.io/team/app:v1 --to registry.example.com/team
  entrepot map alpine:3.20 --to localhost:5000 --naming host-path --json
  entrepot map images.tar deploy/ --to registry.example.com/team`,
		Args: usageArgs(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error { return printMap(cmd.Context(), env, opts, args) },
	}
	opts.inputFlags.add(cmd)
	opts.mappingFlags.add(cmd)
	opts.sourceFlags.add(cmd)
	opts.networkFlags.add(cmd)
	cmd.Flags().BoolVar(&opts.json, "json", false, "print one JSON object a line")
	return cmd
}

// printMap prints the targets of images, in the order of the command line, then
// of the inputs.
func printMap(ctx context.Context, env Env, opts mapOptions, args []string) error {
	naming, err := opts.mappingFlags.read()
	if err != nil {
		return err
	}
	mentions, err := opts.mentions(ctx, env, args)
	if err != nil {
		return err
	}
	pairs, err := relocate.Pairs(mentions, naming)
	if err != nil {
		return planError(err)
	}
	byName := make(map[ref.Ref][]relocate.Pair) // :: original name → where it goes
	for _, p := range pairs {
		name := p.Name()
		byName[name] = append(byName[name], p)
	}
	done := make(map[string]bool) // :: reference of an input → it was printed
	for _, m := range mentions {
		if m.At != "" && done[m.Written] {
			continue
		}
		done[m.Written] = m.At != ""
		r, err := ref.Parse(m.Written)
		if err != nil {
			return usageError(err, "")
		}
		for _, p := range byName[r.WithDefaultTag()] {
			if err := printMapped(env.Stdout, m.Written, p.Rewrite(m.Written), opts.json); err != nil {
				return err
			}
		}
	}
	return nil
}

// mentions returns the images that the arguments are, or name.
func (opts *mapOptions) mentions(ctx context.Context, env Env, args []string) ([]relocate.Mention, error) {
	var all []relocate.Mention
	var inputs []string
	for _, arg := range args {
		if opts.kind != "" || isInput(arg) {
			inputs = append(inputs, arg)
			continue
		}
		all = append(all, relocate.Mention{Written: arg})
	}
	if len(inputs) == 0 {
		return all, nil
	}
	how, err := opts.options()
	if err != nil {
		return nil, err
	}
	t := readOnly(opts.sourceFlags, opts.networkFlags)
	opts.use, opts.catalog = anySets, t.catalogs(ctx, env)
	set, err := opts.inputFlags.read(env, inputs, how)
	if err != nil {
		return nil, err
	}
	x, err := t.open(env)
	if err != nil {
		return nil, err
	}
	defer x.close()
	if err := t.expand(ctx, set, &opts.inputFlags, how, x); err != nil {
		return nil, err
	}
	named, err := set.mentions(ctx, x.cfg.Source)
	return append(all, named...), err
}

// isInput reports whether an argument is a file or a directory rather than a
// reference. A bare word is a reference, whatever is called so here.
func isInput(arg string) bool {
	if arg == "-" || strings.HasPrefix(arg, layoutInput) || isArchive(arg) {
		return true
	}
	_, err := os.Stat(arg)
	return err == nil && strings.ContainsAny(arg, "/.")
}

func printMapped(w io.Writer, source, target string, asJSON bool) error {
	if !asJSON {
		_, err := fmt.Fprintln(w, source, target)
		return err
	}
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc.Encode(struct {
		Source string `json:"source"`
		Target string `json:"target"`
	}{source, target})
}
