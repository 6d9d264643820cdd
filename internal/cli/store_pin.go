package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/entrepot/entrepot/oci"
	"github.com/entrepot/entrepot/store"
)

func newStorePinCmd(env Env, opts *storeOptions) *cobra.Command {
	return &cobra.Command{
		Use:   "pin [REF...]",
		Short: "Keep cached images from being evicted",
		Long: `Pin protects images in the cache from eviction: all that a reference leads to, or
all images of the repositories that a pattern matches. What it names need not be
in the cache yet, and a tag that moves takes its pin along. Without REF it prints
what is pinned. It holds from the next eviction on, a server's too; what was
pushed is never evicted and needs no pin.

Exit codes: 0 done, 1 it failed, 2 the command line or the configuration is wrong.`,
		Example: `  entrepot store pin alpine:3.20
  entrepot store pin 'registry.k8s.io/**'
  entrepot store pin --json`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return withStore(cmd.Context(), env, opts, func(ctx context.Context, s *store.Store, k keeping) error {
				if len(args) == 0 {
					return printPins(ctx, env, opts, s, k)
				}
				return pin(ctx, env, opts, s, k, args)
			})
		},
	}
}

func newStoreUnpinCmd(env Env, opts *storeOptions) *cobra.Command {
	return &cobra.Command{
		Use:   "unpin REF...",
		Short: "Let pinned images be evicted again",
		Long: `Unpin takes back what 'entrepot store pin' said, by the same reference or pattern.

Exit codes: 0 done, 1 it failed or there is no such pin, 2 the command line or the
configuration is wrong.`,
		Example: `  entrepot store unpin alpine:3.20
  entrepot store unpin 'registry.k8s.io/**'`,
		Args: usageArgs(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return withStore(cmd.Context(), env, opts, func(ctx context.Context, s *store.Store, k keeping) error {
				return unpin(ctx, env, opts, s, k, args)
			})
		},
	}
}

// pinJSON is the JSON of pin and unpin.
type pinJSON struct {
	Reference string `json:"reference"`
	Pinned    bool   `json:"pinned"`
	Since     string `json:"since,omitempty"`
	DryRun    bool   `json:"dry_run,omitempty"`
}

// pin pins all references, or none where one of them is none.
func pin(ctx context.Context, env Env, opts *storeOptions, s *store.Store, k keeping, args []string) error {
	var all []store.Keep
	for _, a := range args {
		x, err := store.ParseKeep(a)
		if err != nil {
			return usageError(err, `write an image, as alpine:3.20, or a pattern, as 'docker.io/library/**'`)
		}
		all = append(all, x)
	}
	for _, x := range all {
		if !opts.dryRun {
			var err error
			if x, err = s.Cache().Keep(ctx, x.Reference); err != nil {
				return storeError(err, k.dir)
			}
		}
		if err := printPin(env, opts, "pinned", pinJSON{x.Reference, true, jsonTime(x.Since), opts.dryRun}); err != nil {
			return err
		}
	}
	return nil
}

func unpin(ctx context.Context, env Env, opts *storeOptions, s *store.Store, k keeping, args []string) error {
	pins, err := s.Cache().Keeps(ctx)
	if err != nil {
		return storeError(err, k.dir)
	}
	have := map[string]bool{}
	for _, p := range pins {
		have[p.Reference] = true
	}
	var missing error
	for _, a := range args {
		x, err := store.ParseKeep(a)
		if err != nil {
			return usageError(err, "name it as 'entrepot store pin' prints it")
		}
		if !have[x.Reference] {
			missing = errors.Join(missing, fmt.Errorf("%s is not pinned", x.Reference))
			continue
		}
		if !opts.dryRun {
			if err := s.Cache().Unkeep(ctx, x.Reference); err != nil && !errors.Is(err, oci.ErrNotFound) {
				return storeError(err, k.dir)
			}
		}
		if err := printPin(env, opts, "unpinned", pinJSON{Reference: x.Reference, DryRun: opts.dryRun}); err != nil {
			return err
		}
	}
	if missing != nil {
		return failure(missing, "'entrepot store pin' prints what is")
	}
	return nil
}

func printPins(ctx context.Context, env Env, opts *storeOptions, s *store.Store, k keeping) error {
	pins, err := s.Cache().Keeps(ctx)
	if err != nil {
		return storeError(err, k.dir)
	}
	for _, p := range pins {
		if err := printPin(env, opts, "", pinJSON{p.Reference, true, jsonTime(p.Since), false}); err != nil {
			return err
		}
	}
	return nil
}

func printPin(env Env, opts *storeOptions, verb string, p pinJSON) error {
	switch {
	case opts.json:
		return printJSON(env.Stdout, p)
	case opts.quiet:
		return nil
	case verb == "":
		_, err := fmt.Fprintln(env.Stdout, p.Reference)
		return err
	case opts.dryRun:
		verb = "would be " + verb
	}
	_, err := fmt.Fprintln(env.Stdout, verb, p.Reference)
	return err
}
