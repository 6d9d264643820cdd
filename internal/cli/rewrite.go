package cli

import (
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/entrepot/entrepot/document"
)

type rewriteOptions struct {
	inputFlags
	maps     []string
	output   string
	annotate bool
}

func newRewriteCmd(env Env) *cobra.Command {
	var opts rewriteOptions
	cmd := &cobra.Command{
		Use:   "rewrite INPUT... --map FILE --output PATH",
		Short: "Write other names into the places where documents name images",
		Long: `Rewrite reads documents and writes them again with the references that a
relocation mapping has for theirs. Everything else stays as it is, to the byte:
comments, order, quotes, anchors, line ends. Nothing is contacted.

` + kindsHelp() + `

A single file is written to PATH, or to standard output where that is -. A
directory, or several inputs, are written below PATH. All files are written, or
none. An image that the mapping lacks is an error.

A bundle.json is signed and stays as it is: give the mapping to whoever installs
the bundle.

Exit codes: 0 done, 1 nothing was written, 2 the command line is wrong.`,
		Example: `  entrepot rewrite app.yaml --map relocation-mapping.json --output private/app.yaml
  helm template ./chart | entrepot rewrite - --map relocation-mapping.json --output -`,
		Args: usageArgs(cobra.MinimumNArgs(1)),
		RunE: func(_ *cobra.Command, args []string) error { return rewrite(env, opts, args) },
	}
	opts.inputFlags.add(cmd)
	cmd.Flags().StringArrayVar(&opts.maps, "map", nil, "the relocation mapping is in this `FILE`; may be given several times, the first that names an image counts")
	cmd.Flags().StringVar(&opts.output, "output", "", "write to this `PATH`, - for standard output")
	cmd.Flags().BoolVar(&opts.annotate, "annotate", false, "note the original names in an annotation of each rewritten Kubernetes object")
	return cmd
}

// rewrite writes the inputs with other names.
func rewrite(env Env, opts rewriteOptions, args []string) error {
	if len(opts.maps) == 0 || opts.output == "" {
		return usageError(errors.New("--map and --output are needed"), "see 'entrepot rewrite --help'")
	}
	how, err := opts.options()
	if err != nil {
		return err
	}
	how.Annotate = opts.annotate
	maps, err := readMappings(opts.maps)
	if err != nil {
		return err
	}
	set, err := opts.read(env, args, how)
	if err != nil {
		return err
	}
	files, err := set.rewrite(env, func(d *document.Document, written string) (string, bool) {
		return lookup(maps, written, set.from(d, written))
	})
	if err != nil {
		return err
	}
	return writeDocuments(env, opts.output, args, files)
}

// lookup returns what mappings have for a reference: by how it is written, then
// by where the image is after earlier relocations.
func lookup(maps []document.Mapping, names ...string) (string, bool) {
	for _, name := range names {
		for _, m := range maps {
			if to, ok := m.Lookup(name); ok {
				return to, true
			}
		}
	}
	return "", false
}

// rewrite returns the files of all documents with the names that to gives. What
// it lacks is an error that lists everything.
func (s *inputSet) rewrite(env Env, to func(d *document.Document, written string) (string, bool)) ([]document.File, error) {
	var files []document.File
	var missing []string
	var wrong []error
	for _, c := range s.catalogs {
		c.left(env)
	}
	for _, d := range s.docs {
		if d.Verbatim() {
			fmt.Fprintf(env.Stderr, "entrepot: %s is left as it is: what became of its images is said by the mapping\n", d.Name)
		}
		out, err := d.Rewrite(func(written string) (string, bool) {
			target, ok := to(d, written)
			if !ok && !d.Verbatim() && !slices.Contains(missing, written) {
				missing = append(missing, written)
			}
			return target, ok
		})
		wrong = append(wrong, err)
		files = append(files, out...)
	}
	if err := errors.Join(wrong...); err != nil {
		return nil, documentError(env, err)
	}
	if len(missing) > 0 {
		return nil, failure(fmt.Errorf("the mapping has nothing for %s: %s", count(len(missing), "image"), strings.Join(missing, ", ")),
			"relocate the same inputs, or give a further --map")
	}
	return files, nil
}

// writeDocuments writes rewritten documents to what the user calls the output.
func writeDocuments(env Env, output string, args []string, files []document.File) error {
	if output == "-" {
		if len(files) != 1 {
			return usageError(fmt.Errorf("%s do not go to standard output", count(len(files), "file")), "--output a directory")
		}
		_, err := env.Stdout.Write(files[0].Data)
		return err
	}
	out, err := documentFiles(output, args, files)
	if err != nil {
		return err
	}
	return writeAll(out, true)
}

// documentFiles says where rewritten documents go: a single file to output
// itself, others below it.
func documentFiles(output string, args []string, files []document.File) ([]outFile, error) {
	if len(files) == 1 && len(args) == 1 && !isDir(args[0]) && !isDir(output) && !strings.HasSuffix(output, "/") {
		return []outFile{{output, files[0].Data}}, nil
	}
	out := make([]outFile, 0, len(files))
	taken := map[string]bool{}
	for _, f := range files {
		name := f.Path
		if name == "-" {
			name = "stdin.yaml"
		}
		if taken[name] {
			return nil, usageError(fmt.Errorf("two inputs would be written to %s", path.Join(output, name)), "rewrite them one after the other")
		}
		taken[name] = true
		out = append(out, outFile{path.Join(output, name), f.Data})
	}
	return out, nil
}

func isDir(name string) bool {
	info, err := os.Stat(name)
	return err == nil && info.IsDir()
}
