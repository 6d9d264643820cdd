package cli

import (
	"context"
	"errors"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/entrepot/entrepot/document"
)

func newLoadCmd(env Env) *cobra.Command {
	var opts relocateOptions
	cmd := &cobra.Command{
		Use:   "load ARCHIVE... --to PREFIX",
		Short: "Copy the images of an archive to a registry, and lead there",
		Long:  loadHelp(),
		Example: `  entrepot load images.tar --to registry.corp/mirror --emit registries.conf=mirror.conf
  entrepot load /media/disk/images-*.tar --to registry.corp --naming host-path --emit hosts.toml=certs.d
  entrepot load january.tar february.tar --to registry.corp/mirror --map relocation-mapping.json
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
	if opts.output != "" {
		return usageError(errors.New("--output: an archive has no documents to be rewritten"), "use 'entrepot rewrite DOCUMENT... --map FILE --output PATH' with what --map writes; or give them to 'entrepot relocate', with the archive")
	}
	opts.kind = string(document.Archive)
	if len(opts.rules) == 0 && opts.as == "" {
		opts.rules = []string{"none"} // there is nothing that they could lead to
	}
	r, err := opts.open(ctx, env, args)
	if err != nil {
		return err
	}
	defer r.x.close()
	return r.relocate(ctx)
}
