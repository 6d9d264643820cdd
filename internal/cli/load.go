package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os/signal"
	"slices"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/entrepot/entrepot/document"
	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/ref"
	"github.com/entrepot/entrepot/relocate"
)

func newLoadCmd(env Env) *cobra.Command {
	var opts relocateOptions
	cmd := &cobra.Command{
		Use:   "load ARCHIVE... [DOCUMENT...] --to PREFIX",
		Short: "Copy the images of an archive to a registry, and lead there",
		Long:  loadHelp(),
		Example: `  entrepot load images.tar --to registry.corp/mirror --emit registries.conf=mirror.conf
  entrepot load /media/disk/images-*.tar --to registry.corp --naming host-path --emit hosts.toml=certs.d
  entrepot load january.tar february.tar --to registry.corp/mirror --map relocation-mapping.json
  entrepot load images.tar deploy/ --to registry.corp/mirror --output private/
  entrepot load images.tar --to registry.corp/mirror --plan`,
		Args: usageArgs(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error { return load(cmd.Context(), env, opts, args) },
	}
	opts.mappingFlags.add(cmd)
	opts.outputFlags.add(cmd)
	opts.transferFlags.add(cmd)
	cmd.Flags().BoolVar(&opts.plan, "plan", false, "tell what would be done, and write nothing")
	return cmd
}

// loadHelp is the long help of the command.
func loadHelp() string {
	return `Load copies the images of an archive below PREFIX, as 'entrepot relocate' copies
them from registries: with all platforms and signatures, byte for byte, under
names of which no two meet, their tags last; and it writes what leads to them, a
relocation mapping and mirror configuration for clients, when the whole set is in
place. No other registry than that of PREFIX is asked anything.

An ARCHIVE is what 'entrepot save' wrote: of one in volumes any of them, or the
name without the number, is enough where they lie side by side; otherwise all
have to be named, in any order. It is read where it is, and nothing is unpacked.
Archives of others are loaded as well, and directories with an OCI image layout,
where they have the whole names of their images: what skopeo copies to
oci-archive:FILE:NAME:TAG, and what docker save writes.

A DOCUMENT is what the archive was saved for, or a part of it, carried along: its
spellings become keys of the relocation mapping, and --output writes it with the
new names. Whatever it names has to be in the archives.

An archive that was saved with --have or --since lacks what the far side has. All
of that is looked for below PREFIX before anything is written; where some of it is
not there, it is named and nothing is written. An archive and the one that it was
made against may be loaded together.

` + namingHelp + `

` + emitHelp() + `

Exit codes: 0 done, 1 it failed, as where an archive is damaged or what it builds
on is not there (nothing was written), 2 the command line is wrong, 3 an image
could not be copied (no tag has moved, no file was written, unless --partial), 4 a
format cannot express the set, 5 images would meet (nothing was written), 6 the
registry refuses the credentials.`
}

// baseHint is for archives that build on what the target lacks.
const baseHint = "load the archive first that this one was made against, or both in one command; or save it again, with --have and a new receipt of the target"

// load relocates what archives hold.
func load(ctx context.Context, env Env, opts relocateOptions, args []string) error {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if !opts.withDocuments(args) {
		if opts.output != "" && !slices.ContainsFunc(args, func(arg string) bool { return !isArchive(arg) }) {
			return usageError(errors.New("--output: there are no documents to be rewritten"), "name those that the archive was saved for after it, as carried along with it; or use 'entrepot rewrite DOCUMENT... --map FILE --output PATH' with what --map writes")
		}
		opts.kind = string(document.Archive)
	}
	if len(opts.rules) == 0 && opts.as == "" {
		opts.rules = []string{"none"} // there is nothing that they could lead to
	}
	opts.offline = true
	r, err := opts.open(ctx, env, args)
	if err != nil {
		return err
	}
	defer r.x.close()
	r.closed, r.x.cfg.Source = true, &oci.Split{} // nothing but what the archives have
	return r.relocate(ctx)
}

// withDocuments reports whether there are archives and documents besides. Whatever
// is not there is meant to be an archive: nothing is fetched.
func (opts *relocateOptions) withDocuments(args []string) bool {
	stored := 0
	for _, arg := range args {
		switch {
		case isArchive(arg):
			stored++
		case arg != "-" && !isThere(arg):
			return false
		}
	}
	return stored > 0 && stored < len(args)
}

// checkBrought finds out whether everything that the documents name is among the
// images that the inputs bring along.
func (r *relocation) checkBrought(ctx context.Context, mentions []relocate.Mention) error {
	var missing []error
	for _, m := range mentions {
		name, err := ref.Parse(cmp.Or(m.From, m.Written))
		if err != nil {
			continue // Pairs says what is wrong
		}
		if _, err := r.x.cfg.Source.Resolve(ctx, name.WithDefaultTag()); errors.Is(err, oci.ErrNotFound) {
			missing = append(missing, fmt.Errorf("%s: %s is not in the archives", m.At, m.Written))
		}
	}
	return lastOf(r.out.env, missing, "save the archive again, for this document too")
}

// lastOf prints all errors but the last, which it returns with a hint.
func lastOf(env Env, errs []error, hint string) error {
	if len(errs) == 0 {
		return nil
	}
	for _, err := range errs[:len(errs)-1] {
		printError(env.Stderr, err, "")
	}
	return failure(errs[len(errs)-1], hint)
}
