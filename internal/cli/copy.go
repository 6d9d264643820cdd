package cli

import (
	"context"
	"errors"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/entrepot/entrepot/ref"
	"github.com/entrepot/entrepot/relocate"
)

type copyOptions struct {
	transferFlags
	allTags bool
}

func newCopyCmd(env Env) *cobra.Command {
	var opts copyOptions
	cmd := &cobra.Command{
		Use:   "copy SRC DST",
		Short: "Copy an image, or a whole repository, as it is",
		Long: `Copy copies an image from one registry to another: all its platforms, its
signatures and whatever else refers to it, byte for byte, so that every digest
stays what it is. The tag is set when everything is in place.

` + rulesHelp + `

Exit codes: 0 done, 2 the command line is wrong, 3 an image could not be copied,
5 with --on-existing fail a tag is something else (nothing was written), 6 the
registries refuse the credentials.`,
		Example: `  entrepot copy quay.io/prometheus/node-exporter:v1.9.1 registry.corp/prometheus/node-exporter:v1.9.1
  entrepot copy --platform linux/amd64 alpine:3.20 localhost:5000/alpine:3.20
  entrepot copy --all-tags --no-referrers ghcr.io/team/app registry.corp/team/app`,
		Args: usageArgs(cobra.ExactArgs(2)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return copyImages(cmd.Context(), env, opts, args[0], args[1])
		},
	}
	opts.transferFlags.add(cmd)
	cmd.Flags().BoolVar(&opts.allTags, "all-tags", false, "copy every tag of the repository; SRC and DST have none")
	return cmd
}

func copyImages(ctx context.Context, env Env, opts copyOptions, from, to string) error {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	x, err := opts.open(env)
	if err != nil {
		return err
	}
	defer x.close()
	pair, err := copyPair(from, to)
	if err != nil {
		return err
	}
	rep, err := x.run(ctx, []relocate.Pair{pair})
	return errors.Join(err, x.print(rep))
}

// copyPair reads SRC and DST. A DST without a tag gets the source's.
func copyPair(from, to string) (relocate.Pair, error) {
	src, err := ref.Parse(strings.TrimPrefix(from, "docker://"))
	if err != nil {
		return relocate.Pair{}, usageError(err, "")
	}
	dst, err := ref.Parse(strings.TrimPrefix(to, "docker://"))
	if err != nil {
		return relocate.Pair{}, usageError(err, "")
	}
	src = src.WithDefaultTag()
	switch {
	case dst.Digest != "" && dst.Digest != src.Digest:
		return relocate.Pair{}, usageError(errors.New("the destination has a digest, which is not the source's"), "leave the digest out; it stays what it is")
	case dst.Tag == "":
		dst.Tag = src.Tag
	}
	dst.Digest = src.Digest
	return relocate.Pair{Source: src, Target: dst, Spellings: []string{from}}, nil
}
