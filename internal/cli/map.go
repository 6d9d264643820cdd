package cli

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/entrepot/entrepot/ref"
	"github.com/entrepot/entrepot/relocate"
)

type mapOptions struct {
	mappingFlags
	json bool
}

func newMapCmd(env Env) *cobra.Command {
	var opts mapOptions
	cmd := &cobra.Command{
		Use:   "map REF... --to PREFIX",
		Short: "Print what images are called after a relocation",
		Long: `Map prints for each image what 'entrepot relocate' with the same flags would call
it at the target. Nothing is contacted. A REF may be an archive of images as well,
which stands for all that it names. The images are taken as one set: where two of
them would meet at the target, all that meet are listed.

` + namingHelp + `

Exit codes: 0 done, 1 an archive cannot be read, 2 the command line is wrong, 5
images would meet at the target, or the target cannot have a name.`,
		Example: `  entrepot map alpine:3.20 quay.io/team/app:v1 --to registry.example.com/team
  entrepot map alpine:3.20 --to localhost:5000 --naming host-path --json
  entrepot map images.tar --to registry.example.com/team`,
		Args: usageArgs(cobra.MinimumNArgs(1)),
		RunE: func(_ *cobra.Command, args []string) error { return printMap(env.Stdout, opts, args) },
	}
	opts.mappingFlags.add(cmd)
	cmd.Flags().BoolVar(&opts.json, "json", false, "print one JSON object a line")
	return cmd
}

// printMap prints the targets of images in the order of the command line.
func printMap(w io.Writer, opts mapOptions, names []string) error {
	naming, err := opts.read()
	if err != nil {
		return err
	}
	if names, err = namesOf(names); err != nil {
		return err
	}
	var mentions []relocate.Mention
	for _, name := range names {
		mentions = append(mentions, relocate.Mention{Written: name})
	}
	pairs, err := relocate.Pairs(mentions, naming)
	if err != nil {
		return planError(err)
	}
	bySource := make(map[ref.Ref]relocate.Pair)
	for _, p := range pairs {
		bySource[p.Source] = p
	}
	for _, name := range names {
		r, err := ref.Parse(name)
		if err != nil {
			return usageError(err, "")
		}
		if err := printMapped(w, name, bySource[r.WithDefaultTag()].Rewrite(name), opts.json); err != nil {
			return err
		}
	}
	return nil
}

// namesOf puts the names of the images in archives into the place of these.
func namesOf(args []string) ([]string, error) {
	var names []string
	for _, arg := range args {
		if !isArchive(arg) {
			names = append(names, arg)
			continue
		}
		ins, err := archived([]string{arg})
		if err != nil {
			return nil, err
		}
		for _, in := range ins {
			names = append(names, in.Images...)
		}
	}
	return names, nil
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
