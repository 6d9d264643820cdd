package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/entrepot/entrepot/document"
	"github.com/entrepot/entrepot/openshift"
	"github.com/entrepot/entrepot/relocate"
	"github.com/entrepot/entrepot/rules"
	"github.com/entrepot/entrepot/rules/conf"
)

// outputFlags say what is written beside the images.
type outputFlags struct {
	output   string   // rewritten documents
	mapFile  string   // the relocation mapping
	emit     []string // FORMAT=PATH
	annotate bool
}

func (o *outputFlags) add(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&o.output, "output", "", "write the documents with the new names to this `PATH`")
	f.StringVar(&o.mapFile, "map", "", "write the relocation mapping to this `FILE`")
	f.StringArrayVar(&o.emit, "emit", nil, "write this `FORMAT=PATH`: what leads clients to the images; may be given several times")
	f.BoolVar(&o.annotate, "annotate", false, "note the original names in an annotation of each rewritten Kubernetes object")
}

// emitHelp says which formats there are.
func emitHelp() string {
	return "FORMAT of --emit is one of " + strings.Join(emitFormats(), ", ") + "."
}

// emitFormats are the formats that are written, sorted.
func emitFormats() []string {
	return slices.Sorted(slices.Values(append(relocate.EmitFormats(), openshift.Format)))
}

// An emission is one --emit, or --map.
type emission struct{ flag, format, path string }

// emissions returns what is to be written. A path is taken by one of them.
func (o *outputFlags) emissions() ([]emission, error) {
	var all []emission
	if o.mapFile != "" {
		all = append(all, emission{"--map", relocate.FormatMapping, o.mapFile})
	}
	for _, arg := range o.emit {
		format, path, ok := strings.Cut(arg, "=")
		if !ok || format == "" || path == "" {
			return nil, usageError(fmt.Errorf("--emit: %q is not FORMAT=PATH", arg), emitHelp())
		}
		if !slices.Contains(emitFormats(), format) {
			hint := suggest(format, emitFormats())
			if slices.Contains(conf.Formats(), format) {
				hint = "it is only read; " + emitHelp()
			}
			return nil, usageError(fmt.Errorf("--emit: %q is no format that is written", format), hint)
		}
		all = append(all, emission{"--emit", format, path})
	}
	return all, nil
}

// results are the files of a relocation, in memory.
type results struct {
	env   Env
	flags *outputFlags
	set   *inputSet
	args  []string
	emits []emission
}

// files returns all files for a set of images. Locks are left out while the
// digests are not known.
func (o *results) files(s relocate.Set, known bool) ([]outFile, error) {
	s.Extras = append(slices.Clip(s.Extras), o.set.extras...)
	files, err := o.documents(s)
	if err != nil {
		return nil, err
	}
	for _, e := range o.emits {
		if !known && relocate.NeedsDigests(e.format) {
			continue
		}
		out, warnings, err := e.emit(s)
		if err != nil {
			return nil, emitError(e, err)
		}
		if known { // said once
			o.warn(e, append(warnings, e.leftovers(out)...))
		}
		for _, f := range out {
			files = append(files, outFile{e.place(f.Name), f.Data})
		}
	}
	return files, unique(files)
}

// warn prints what is worth a word about a format.
func (o *results) warn(e emission, warnings []rules.Problem) {
	for _, w := range warnings {
		fmt.Fprintf(o.env.Stderr, "entrepot: warning: %s %s: %s\n", e.flag, e.format, w.Text)
		if w.Hint != "" {
			fmt.Fprintf(o.env.Stderr, "entrepot: hint: %s\n", w.Hint)
		}
	}
}

// emit returns the files of a format.
func (e emission) emit(s relocate.Set) ([]relocate.File, []rules.Problem, error) {
	if e.format == openshift.Format {
		return openshift.Files(s)
	}
	return relocate.Emit(s, e.format)
}

// leftovers warns of objects for a cluster that an earlier run wrote and this
// one does not: who applies the directory applies them, too.
func (e emission) leftovers(out []relocate.File) []rules.Problem {
	if e.format != openshift.Format {
		return nil
	}
	there, err := os.ReadDir(e.path)
	if err != nil {
		return nil // there is no such directory yet, or writing to it will say why
	}
	var all []rules.Problem
	for _, f := range there {
		written := slices.ContainsFunc(out, func(o relocate.File) bool { return o.Name == f.Name() })
		if !written && openshift.Owns(f.Name()) {
			all = append(all, rules.Problem{Text: filepath.Join(e.path, f.Name()) + " is of another set, and stays", Hint: "remove it before the directory is applied, or write to an empty one"})
		}
	}
	return all
}

// place returns where a file of a format goes: PATH is the file, or the
// directory that it is in.
func (e emission) place(name string) string {
	if e.format == openshift.Format || conf.WritesDirectory(e.format) || strings.HasSuffix(e.path, "/") || isDir(e.path) {
		return filepath.Join(e.path, filepath.FromSlash(name))
	}
	return e.path
}

// unique says that two outputs are one file.
func unique(files []outFile) error {
	seen := make(map[string]bool)
	for _, f := range files {
		name := filepath.Clean(f.path)
		if seen[name] {
			return usageError(fmt.Errorf("two outputs would be %s", name), "give them different paths")
		}
		seen[name] = true
	}
	return nil
}

func emitError(e emission, err error) error {
	err = fmt.Errorf("%s: %w", e.flag, err)
	if cannot, ok := errors.AsType[*relocate.InexpressibleError](err); ok {
		return &fault{exitLossy, err, cannot.Hint}
	}
	if _, ok := errors.AsType[*relocate.MissedError](err); ok {
		return &fault{exitLossy, err, "nothing was written; please report this"}
	}
	return err
}

// documents returns the rewritten inputs. Those that only say what is copied
// are left out.
func (o *results) documents(s relocate.Set) ([]outFile, error) {
	if o.flags.output == "" {
		return nil, nil
	}
	o.set.leftSets(o.env)
	m, err := s.Mapping()
	if err != nil {
		return nil, failure(err, "give each image one target, or leave out --output")
	}
	set := &inputSet{maps: o.set.maps, catalogs: o.set.catalogs}
	for _, d := range o.set.docs {
		if !isSyncList(d.Kind) {
			set.docs = append(set.docs, d)
		}
	}
	var files []document.File
	mapping := document.Mapping(m)
	if s.Missing > 0 { // of a partial relocation the rest stays as it is
		for _, d := range set.docs {
			out, err := d.Rewrite(mapping.Lookup)
			if err != nil {
				return nil, documentError(o.env, err)
			}
			files = append(files, out...)
		}
	} else if files, err = set.rewrite(o.env, func(_ *document.Document, written string) (string, bool) { return mapping.Lookup(written) }); err != nil {
		return nil, err
	}
	files = slices.DeleteFunc(files, func(f document.File) bool { return f.Path == imageAlone })
	return documentFiles(o.flags.output, o.args, files)
}

// isSyncList reports whether a kind says what is copied, and nothing else.
func isSyncList(k document.Kind) bool {
	return k == document.SkopeoSync || k == document.Regsync || k == document.ImageSyncer || k == document.Archive
}

// names returns the paths of files, in order.
func names(files []outFile) []string {
	all := make([]string, 0, len(files))
	for _, f := range files {
		all = append(all, f.path)
	}
	return all
}

// checkPlaces refuses outputs that could not be written, before anything is
// copied.
func checkPlaces(files []outFile) error {
	for _, f := range files {
		if isDir(f.path) {
			return usageError(fmt.Errorf("%s is a directory", f.path), "")
		}
		dir := filepath.Dir(f.path)
		for !isDir(dir) {
			if _, err := os.Lstat(dir); err == nil {
				return usageError(fmt.Errorf("%s is no directory", dir), "")
			}
			if up := filepath.Dir(dir); up != dir {
				dir = up
				continue
			}
			break
		}
	}
	return nil
}
