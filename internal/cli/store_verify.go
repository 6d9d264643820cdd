package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/entrepot/entrepot/store"
)

func newStoreVerifyCmd(env Env, opts *storeOptions) *cobra.Command {
	rate := ""
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Read all that is kept and hold it against its digests",
		Long: `Verify reads every blob and holds it against its digest. A damaged one in the cache
is removed, and fetched again when somebody asks; with --dry-run it stays. A
damaged blob of a pushed image is told and left alone, and so is one that such an
image needs and that is gone: push these images again. A server does the same on
its own, slowly (storage.scrub).

Exit codes: 0 all is well or what was damaged is out of the way, 1 it failed, 2 the
command line or the configuration is wrong, 4 a pushed blob is damaged or missing,
or with --dry-run any blob.`,
		Example: `  entrepot store verify
  entrepot store verify --rate 20MiB --json`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			perSecond := int64(0)
			if rate != "" {
				var err error
				if perSecond, err = parseSize(rate); err != nil {
					return usageError(fmt.Errorf("--rate: %w", err), `write it as "20MiB"`)
				}
			}
			return withStore(cmd.Context(), env, opts, func(ctx context.Context, s *store.Store, k keeping) error {
				return storeVerify(ctx, env, opts, perSecond, s, k)
			})
		},
	}
	cmd.Flags().StringVar(&rate, "rate", "", "read no more than this `SIZE` a second")
	return cmd
}

// The JSON of verify: a line for each blob that is not well, then one for all.
type (
	damagedJSON struct {
		Pool    string `json:"pool"`
		Digest  string `json:"digest"`
		Problem string `json:"problem"` // damaged or missing
		Error   string `json:"error"`
		Dropped bool   `json:"dropped"`
	}
	verifiedJSON struct {
		Verified usageJSON `json:"verified"`
		Dropped  int64     `json:"dropped"`
		Damaged  int64     `json:"damaged"` // and still there
		Missing  int64     `json:"missing"`
	}
)

func storeVerify(ctx context.Context, env Env, opts *storeOptions, rate int64, s *store.Store, k keeping) error {
	var printed error
	got, err := s.Verify(ctx, store.Verification{Rate: rate, DryRun: opts.dryRun, Each: func(c store.Checked) {
		if c.Problem != nil {
			printed = errors.Join(printed, printDamaged(env, opts, c))
		}
	}})
	if err = errors.Join(err, printed); err != nil {
		return storeError(err, k.dir)
	}
	switch {
	case opts.json:
		err = printJSON(env.Stdout, verifiedJSON{usageJSON{got.Blobs, got.Bytes}, got.Dropped, got.Damaged + got.DamagedCached, got.Missing})
	case !opts.quiet:
		_, err = fmt.Fprintf(env.Stdout, "%d blobs, %s are well; %d dropped from the cache, %d damaged, %d missing\n",
			got.Blobs, size(got.Bytes), got.Dropped, got.Damaged+got.DamagedCached, got.Missing)
	}
	if err != nil {
		return err
	}
	if n := got.Damaged + got.Missing; n > 0 {
		return &fault{exitLossy, fmt.Errorf("%d blobs of pushed images are damaged or missing", n), "push these images again; nothing was removed"}
	}
	if got.DamagedCached > 0 {
		return &fault{exitLossy, fmt.Errorf("%d blobs of the cache are damaged", got.DamagedCached), "without --dry-run they are removed, and fetched again when somebody asks"}
	}
	return nil
}

func printDamaged(env Env, opts *storeOptions, c store.Checked) error {
	out := damagedJSON{Pool: c.Pool, Digest: string(c.Digest), Problem: "damaged", Error: c.Problem.Error(), Dropped: c.Dropped}
	if c.Missing {
		out.Problem = "missing"
	}
	switch {
	case opts.json:
		return printJSON(env.Stdout, out)
	case opts.quiet:
		return nil
	}
	done := ""
	if c.Dropped {
		done = ", dropped"
	}
	_, err := fmt.Fprintf(env.Stdout, "%s  %s  %s%s\n", out.Problem, c.Pool, c.Digest, done)
	return err
}
