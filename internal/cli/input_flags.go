package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/entrepot/entrepot/document"
	"github.com/entrepot/entrepot/imageset"
	"github.com/entrepot/entrepot/ref"
	"github.com/entrepot/entrepot/relocate"
)

// inputFlags say how inputs are read: what names the images.
type inputFlags struct {
	kind    string
	through []string // relocation mappings
	fields  string   // a file of field rules
	find    string   // env,args,annotations,configmaps
	helm    string   // what renders charts: a program, "none", "" for helm where there is one
	values  []string // files of values for it
	graph   []string // update graphs of releases
	use     setUse
	offline bool // registries are asked for no input

	// fetch reads a bundle from a registry; nil where nothing is contacted.
	fetch func(ref.Ref) (document.Input, error)
	// catalog reads a catalog from a registry or a layout; it is there where fetch
	// is.
	catalog func(arg string) (*catalogInput, error)
	// earlier stands in for inputs that cannot be read; nil: nothing does.
	earlier *inputSet
}

func (f *inputFlags) add(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.StringVar(&f.kind, "kind", "", "read every input as this `KIND` (default: by its content)")
	fl.StringArrayVar(&f.through, "through", nil, "the images were relocated before: follow this relocation `MAP`; may be given several times, in order")
	fl.StringVar(&f.fields, "fields", "", "find images in the fields that the rules of this `FILE` name")
	fl.StringVar(&f.find, "find", "", "find images also in these `PLACES` of Kubernetes objects: env,args,annotations,configmaps")
	fl.StringVar(&f.helm, "helm", "", "render charts with this `PROGRAM`; none does not (default: helm, where it is installed)")
	fl.StringArrayVar(&f.values, "values", nil, "render charts with the values of this `FILE`; may be given several times")
	fl.StringArrayVar(&f.graph, "graph", nil, "the update graph of releases, and the data of its image, are in this `FILE|URL`; may be given twice")
	// Errors of registration are for flags that do not exist.
	_ = cmd.RegisterFlagCompletionFunc("kind", cobra.FixedCompletions(kindNames(), cobra.ShellCompDirectiveNoFileComp))
}

// kindNames are the kinds of input, sorted.
func kindNames() []string {
	var names []string
	for _, k := range kinds() {
		names = append(names, string(k))
	}
	return names
}

// kindsHelp says what an input may be.
func kindsHelp() string {
	return "An INPUT is a file, a directory, or - for standard input; where a registry may be\n" +
		"asked also the reference of a bundle or of an operator catalog, and\n" +
		"oci://DIRECTORY[:TAG] is a catalog in an image layout. What it is, its KIND, is\n" +
		"seen from its content: " + strings.Join(kindNames(), ", ") + "."
}

// An inputSet is what the inputs of a command name.
type inputSet struct {
	docs []*document.Document
	// catalogs are the operator catalogs among the inputs.
	catalogs []*catalogInput
	// maps are the earlier relocations that the images went through, in order.
	maps []document.Mapping
	// sets are the image sets among the inputs, and images theirs, once they were
	// asked for; volume is how large they let an archive's files be, 0 for any size.
	sets   []*imageset.Config
	images []imageset.Image
	volume int64
	told   bool // that image sets are not rewritten
	// stored are the inputs that are archives of images, and archives what they
	// are once they were unpacked; nil for none.
	stored   []string
	archives *archives
	// stale is why the inputs are those of an earlier round; nil: they are not.
	stale error
	// extras are files that go with the images; see [relocate.Set.Extras].
	extras []relocate.File
}

// options returns how documents are read, by the flags.
func (f *inputFlags) options() (document.Options, error) {
	var opts document.Options
	var err error
	if opts.Find, err = document.ParseFind(f.find); err != nil {
		return opts, usageError(fmt.Errorf("--find: %w", err), "")
	}
	if f.kind != "" && !slices.Contains(kindNames(), f.kind) {
		return opts, usageError(fmt.Errorf("--kind: %q is no kind of input", f.kind), suggest(f.kind, kindNames()))
	}
	render, err := f.renderer()
	if err != nil {
		return opts, err
	}
	if render != nil {
		opts.Render = render.render
	}
	if f.fields != "" {
		data, err := os.ReadFile(f.fields)
		if err != nil {
			return opts, fmt.Errorf("--fields: %w", err)
		}
		if opts.Fields, err = document.ParseFields(f.fields, data); err != nil {
			return opts, fmt.Errorf("--fields: %w", err)
		}
	}
	return opts, nil
}

// read reads the inputs. What deserves a word goes to standard error.
func (f *inputFlags) read(env Env, args []string, opts document.Options) (*inputSet, error) {
	got, err := f.load(env, args)
	if err != nil {
		return nil, err
	}
	set := &inputSet{stored: got.archives, catalogs: got.catalogs}
	if set.maps, err = readMappings(f.through); err != nil {
		return nil, err
	}
	if got.documents, set.sets, err = f.sets(env, got.documents); err != nil {
		return nil, documentError(env, err)
	}
	docs, skipped, err := document.ReadAll(got.documents, opts)
	for _, n := range skipped {
		warn(env, n)
	}
	if err != nil {
		return nil, documentError(env, err)
	}
	for _, d := range docs {
		for _, n := range d.Notes() {
			warn(env, n)
		}
	}
	set.docs = docs
	return set, nil
}

// from returns where the image of a mention is now.
func (s *inputSet) from(d *document.Document, written string) string {
	if m := d.Mapping(); m != nil {
		return document.Through(written, append([]document.Mapping{m}, s.maps...)...)
	}
	return document.Through(written, s.maps...)
}

// readMappings reads relocation mappings.
func readMappings(files []string) ([]document.Mapping, error) {
	var maps []document.Mapping
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		m, err := document.ParseMapping(name, data)
		if err != nil {
			return nil, err
		}
		maps = append(maps, m)
	}
	return maps, nil
}

// warn prints what is no error.
func warn(env Env, e *document.Error) {
	fmt.Fprintf(env.Stderr, "entrepot: warning: %v\n", e)
	if e.Hint != "" {
		fmt.Fprintf(env.Stderr, "entrepot: hint: %s\n", e.Hint)
	}
}

// documentError prints all parts of an error of package document but the last,
// which it returns, with its hint.
func documentError(env Env, err error) error {
	all := document.Errors(err)
	if len(all) == 0 {
		return err
	}
	last := all[len(all)-1]
	for _, e := range all[:len(all)-1] {
		hint := e.Hint
		if hint == last.Hint {
			hint = "" // said once, at the end
		}
		printError(env.Stderr, e, hint)
	}
	return failure(last, last.Hint)
}

// inputError explains why an input is not there.
func inputError(err error) error {
	missing, ok := errors.AsType[*fs.PathError](err)
	if !ok || !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if _, parse := ref.Parse(missing.Path); parse == nil && path.Ext(missing.Path) == "" {
		return failure(err, "an image on its own is read from a list: echo "+missing.Path+" | entrepot … --kind images -")
	}
	return err
}
