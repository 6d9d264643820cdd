package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/entrepot/entrepot/catalog"
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

// loaded is what inputs are.
type loaded struct {
	documents []document.Input
	archives  []string // of images
	catalogs  []*catalogInput
}

// load reads the files that inputs name, and the bundles and catalogs that
// registries and layouts have.
func (f *inputFlags) load(env Env, args []string) (got loaded, err error) {
	var files []string
	var fetched []document.Input
	for _, arg := range args {
		var in *document.Input
		var c *catalogInput
		r, ok := isReference(arg)
		switch {
		case f.kind == string(document.Archive) || f.kind == "" && isArchive(arg):
			got.archives = append(got.archives, arg)
		case f.catalog != nil && strings.HasPrefix(arg, layoutInput):
			c, err = f.catalog(arg)
		case ok && f.fetch != nil:
			in, c, err = f.stored(arg, r)
		case f.isCatalog(&env, arg):
			c, err = catalogFiles(env, arg)
		default:
			files = append(files, arg)
		}
		if err != nil {
			return loaded{}, err
		}
		if c != nil {
			c.warn(env)
			got.catalogs = append(got.catalogs, c)
		} else if in != nil {
			fetched = append(fetched, *in)
		}
	}
	if got.documents, err = document.Load(files, env.Stdin, document.Kind(f.kind)); err != nil {
		return loaded{}, inputError(err)
	}
	named, err := archived(got.archives)
	got.documents = slices.Concat(got.documents, fetched, named)
	return got, err
}

// stored reads a bundle or a catalog from a registry. What is neither is an image by
// itself, where the command takes one.
func (f *inputFlags) stored(arg string, r ref.Ref) (*document.Input, *catalogInput, error) {
	var in document.Input
	err := document.ErrUnknown
	if f.kind != string(kindCatalog) {
		in, err = f.fetch(r)
	}
	unknown := in.Path == imageAlone || errors.Is(err, document.ErrUnknown)
	if unknown && (f.kind == "" || f.kind == string(kindCatalog)) {
		found, wrong := f.catalog(arg)
		if wrong == nil {
			return nil, found, nil
		}
		if f.kind != "" || !errors.Is(wrong, catalog.ErrNoCatalog) {
			err = wrong
		}
	}
	if err != nil {
		return nil, nil, failure(fmt.Errorf("there is no file %s, and as a reference: %w", arg, err), "")
	}
	return &in, nil, nil
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
