package cli

import (
	"context"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/entrepot/entrepot/document"
	"github.com/entrepot/entrepot/ref"
)

type inspectOptions struct {
	inputFlags
	sourceFlags
	networkFlags
	json bool
}

func newInspectCmd(env Env) *cobra.Command {
	var opts inspectOptions
	cmd := &cobra.Command{
		Use:   "inspect INPUT...",
		Short: "List the images that documents name, and where",
		Long: `Inspect reads documents and prints each mention of an image: the reference as it
is written, the file and line, and the field. Nothing is contacted, but for a
bundle that is in a registry, whose images are then where it is, for an operator
catalog that is in one, and for what an image set names its images by: catalogs,
releases, charts.

` + kindsHelp() + `

Where the images were relocated before, --through says by which mappings, and
the place where each image is now is printed as well.

Exit codes: 0 done, 1 an input cannot be read, 2 the command line is wrong.`,
		Example: `  entrepot inspect deploy/
  kustomize build . | entrepot inspect - --find env,args --json
  entrepot inspect bundle.json --through relocation-mapping.json`,
		Args: usageArgs(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return inspect(cmd.Context(), env, opts, args)
		},
	}
	opts.inputFlags.add(cmd)
	opts.sourceFlags.add(cmd)
	opts.networkFlags.add(cmd)
	cmd.Flags().BoolVar(&opts.json, "json", false, "print one JSON object a line")
	return cmd
}

// A mentionJSON is one line of inspect --json.
type mentionJSON struct {
	Reference  string `json:"reference"`          // as written, joined where it is in parts
	Normalized string `json:"normalized"`         // with its registry, and a tag or a digest
	From       string `json:"from,omitempty"`     // where it is now, after --through
	Target     string `json:"target,omitempty"`   // where the input says that it goes
	Digest     string `json:"digest,omitempty"`   // what the input promises
	Original   string `json:"original,omitempty"` // the first name, where the input says it
	At         string `json:"at"`                 // file:line
	Field      string `json:"field"`
	Kind       string `json:"kind"`
	// Of an image set or a catalog: what the image is for; and of a set, which
	// platforms are wanted.
	Role      string   `json:"role,omitempty"`
	Platforms []string `json:"platforms,omitempty"`
}

// inspect prints the images of the inputs.
func inspect(ctx context.Context, env Env, opts inspectOptions, args []string) error {
	how, err := opts.options()
	if err != nil {
		return err
	}
	t := readOnly(opts.sourceFlags, opts.networkFlags)
	opts.fetch, opts.catalog, opts.use = t.bundles(ctx, env), t.catalogs(ctx, env), anySets
	set, err := opts.inputFlags.read(env, args, how)
	if err != nil {
		return err
	}
	if err := t.expandInputs(ctx, env, set, &opts.inputFlags, how); err != nil {
		return err
	}
	p := printer{out: env.Stdout, json: opts.json}
	table := tabwriter.NewWriter(env.Stdout, 0, 0, 2, ' ', 0)
	for _, m := range set.all() {
		if opts.json {
			if err := p.writeJSON(m); err != nil {
				return err
			}
			continue
		}
		fmt.Fprintf(table, "%s\t%s\t%s\n", m.places(), m.At, strings.TrimSpace(m.Field+" "+m.Role))
	}
	return table.Flush()
}

// all returns the images of the inputs as they are printed.
func (s *inputSet) all() []mentionJSON {
	var all []mentionJSON
	for _, d := range s.docs {
		for _, i := range d.Images() {
			all = append(all, mention(i, s.from(d, i.Ref)))
		}
	}
	for _, i := range s.images {
		all = append(all, setJSON(s, i))
	}
	return append(all, s.catalogJSON()...)
}

// mention returns what is printed of an image.
func mention(i document.Image, from string) mentionJSON {
	m := mentionJSON{
		Reference: i.Ref, Target: i.Target, Digest: string(i.Digest), Original: i.Original,
		At: i.At.String(), Field: i.Field, Kind: string(i.Kind),
	}
	if r, err := ref.Parse(i.Ref); err == nil {
		m.Normalized = r.WithDefaultTag().String()
	}
	if from != i.Ref {
		m.From = from
	}
	return m
}

// places is the reference, with where it is now and where it goes.
func (m mentionJSON) places() string {
	s := m.Reference
	if m.From != "" {
		s += " (now " + m.From + ")"
	}
	if m.Target != "" {
		s += " → " + m.Target
	}
	return s
}
