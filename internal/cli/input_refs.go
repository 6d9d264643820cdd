package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/entrepot/entrepot/document"
	"github.com/entrepot/entrepot/ref"
	"github.com/entrepot/entrepot/relocate"
)

// isReference reports whether an input names an image rather than a file: there
// is no such file, and it has a slash, a tag or a digest and not the name of a
// document.
func isReference(arg string) (ref.Ref, bool) {
	r, err := ref.Parse(arg)
	if err != nil || !strings.ContainsAny(arg, "/:@") {
		return r, false
	}
	if slices.Contains([]string{".yaml", ".yml", ".json", ".tgz", ".tar", ".txt"}, path.Ext(r.Path)) && r.Tag == "" && r.Digest == "" {
		return r, false
	}
	_, err = os.Stat(arg)
	return r, errors.Is(err, os.ErrNotExist)
}

// load reads the files that inputs name, and the bundles that registries have.
// stored are the inputs that are archives of images.
func (f *inputFlags) load(env Env, args []string) (ins []document.Input, stored []string, err error) {
	var files []string
	var fetched []document.Input
	for _, arg := range args {
		if f.kind == string(document.Archive) || f.kind == "" && isArchive(arg) {
			stored = append(stored, arg)
			continue
		}
		r, ok := isReference(arg)
		if !ok || f.fetch == nil {
			files = append(files, arg)
			continue
		}
		in, err := f.fetch(r)
		if err != nil {
			return nil, nil, failure(fmt.Errorf("there is no file %s, and as a reference: %w", arg, err), "")
		}
		fetched = append(fetched, in)
	}
	if ins, err = document.Load(files, env.Stdin, document.Kind(f.kind)); err != nil {
		return nil, nil, inputError(err)
	}
	named, err := archived(stored)
	return slices.Concat(ins, fetched, named), stored, err
}

// bundles returns what reads bundles from registries, as images are read.
func (t *transferFlags) bundles(ctx context.Context, env Env) func(ref.Ref) (document.Input, error) {
	return func(r ref.Ref) (document.Input, error) {
		x, err := t.open(env)
		if err != nil {
			return document.Input{}, err
		}
		defer x.close()
		return document.FetchBundle(ctx, x.cfg.Source, r)
	}
}

// readOnly is transferFlags for a command that copies nothing.
func readOnly(s sourceFlags, n networkFlags) *transferFlags {
	return &transferFlags{sourceFlags: s, networkFlags: n, logLevel: "warn", copyFlags: copyFlags{onExisting: string(relocate.Overwrite)}}
}
