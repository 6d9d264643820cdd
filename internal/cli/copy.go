package cli

import (
	"context"
	"errors"
	"fmt"
	"os/signal"
	"regexp"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/entrepot/entrepot/oci"
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
		Long: `Copy copies an image from one place to another: all its platforms, its
signatures and whatever else refers to it, byte for byte, so that every digest
stays what it is. Tags are set when everything is in place.

SRC and DST are references (docker://REF is the same), or
  oci:DIR, oci:DIR:TAG, oci:DIR@DIGEST
      an OCI image layout in a directory;
  oci-archive:FILE, oci-archive:FILE:TAG, oci-archive:FILE:REFERENCE, oci-archive:FILE@DIGEST
      one in a tar, as 'entrepot save', skopeo, podman and others write it. As DST it
      is made anew with what is copied, and replaces a file that is there, unless
      --on-existing fail is given;
  docker-archive:FILE, docker-archive:FILE:REFERENCE
      SRC alone: what docker save wrote.
A DST without a tag gets that of SRC, an archive without a name the whole name.

` + rulesHelp + `

Exit codes: 0 done, 2 the command line is wrong, 3 an image could not be copied,
5 with --on-existing fail a tag is something else (nothing was written), 6 the
registries refuse the credentials.`,
		Example: `  entrepot copy quay.io/prometheus/node-exporter:v1.9.1 registry.corp/prometheus/node-exporter:v1.9.1
  entrepot copy --platform linux/amd64 alpine:3.20 localhost:5000/alpine:3.20
  entrepot copy alpine:3.20 oci:images:alpine-3.20
  entrepot copy alpine:3.20 oci-archive:alpine.tar
  entrepot copy docker-archive:saved.tar registry.corp/team/app:v1
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
	src, err := parseLocation(from)
	if err != nil {
		return err
	}
	dst, err := parseLocation(to)
	if err != nil {
		return err
	}
	x, err := opts.open(env)
	if err != nil {
		return err
	}
	defer x.close()
	places, err := x.connect(src, dst)
	if err != nil {
		return err
	}
	defer places.Close()
	if src, err = x.lookup(src, opts.allTags); err != nil {
		return err
	}
	if dst.archive != "" && dst.ref.Name == (ref.Name{}) && dst.ref.Tag == "" {
		dst.ref.Name = src.ref.Name // the name that the image had
	}
	pairs, err := x.copyPairs(ctx, src, dst, opts.allTags)
	if err != nil {
		return err
	}
	if dst.archive != "" {
		return x.copyToArchive(ctx, dst, pairs)
	}
	rep, err := x.run(ctx, pairs)
	return errors.Join(err, x.print(rep))
}

// copyPairs returns what is copied: one image, or all tags of a repository.
func (x *transfer) copyPairs(ctx context.Context, src, dst location, all bool) ([]relocate.Pair, error) {
	if !all {
		pair, err := copyPair(src, dst)
		return []relocate.Pair{pair}, err
	}
	if src.ref.Tag+dst.ref.Tag+string(src.ref.Digest+dst.ref.Digest) != "" {
		return nil, usageError(errors.New("with --all-tags, SRC and DST have neither tag nor digest"), "")
	}
	lister, ok := x.cfg.Source.(oci.Lister)
	if !ok {
		return nil, usageError(fmt.Errorf("the tags of %s cannot be listed", src.text), "")
	}
	var pairs []relocate.Pair
	for tag, err := range lister.Tags(ctx, src.ref.Name, "") {
		if err != nil {
			return nil, fmt.Errorf("list the tags of %s: %w", src.text, err)
		}
		if isReferrersTag(tag) {
			continue // it is copied with what it is about, or left behind
		}
		pairs = append(pairs, relocate.Pair{Source: src.ref.WithTag(tag), Target: dst.ref.WithTag(tag), Spellings: []string{src.show(src.ref.WithTag(tag))}})
	}
	if len(pairs) == 0 {
		return nil, failure(fmt.Errorf("%s has no tags", src.text), "")
	}
	return pairs, nil
}

// copyPair returns the one image that is copied. A DST without a tag gets the
// source's.
func copyPair(src, dst location) (relocate.Pair, error) {
	from, to := src.ref, dst.ref
	if from.Name != (ref.Name{}) {
		from = from.WithDefaultTag()
	}
	if to.Digest != "" && to.Digest != from.Digest {
		return relocate.Pair{}, usageError(errors.New("the destination has a digest, which is not the source's"), "leave the digest out; it stays what it is")
	}
	if to.Tag == "" {
		to.Tag = from.Tag
	}
	if to.Tag == "" && from.Digest == "" && dst.archive == "" {
		to.Tag = "latest"
	}
	to.Digest = from.Digest
	return relocate.Pair{Source: from, Target: to, Spellings: []string{src.text}}, nil
}

// referrersTag matches the tags under which referrers and cosign's signatures
// are found.
var referrersTag = regexp.MustCompile(`^sha(256-[0-9a-f]{64}|512-[0-9a-f]{64,128})(\.(sig|att|sbom))?$`)

func isReferrersTag(tag string) bool { return referrersTag.MatchString(tag) }
