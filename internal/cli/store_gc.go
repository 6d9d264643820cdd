package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/entrepot/entrepot/store"
)

// gcOptions are the flags of store gc alone.
type gcOptions struct{ force, undo bool }

func newStoreGCCmd(env Env, opts *storeOptions) *cobra.Command {
	var gc gcOptions
	cmd := &cobra.Command{
		Use:   "gc",
		Short: "Remove what was pushed and no manifest needs any more",
		Long: `Gc removes the blobs of the pushed images that no manifest needs: of manifests that
were deleted, and of pushes that were given up. The server may go on running, and
taking pushes, beside it; it does the same on its own, see gc_interval in
[storage]. What came within the last day is left alone, for a push under way.

Nothing is removed where a listing cannot be read. Nothing is removed either
where there is no manifest at all, where more than a tenth of the manifests have
gone since the last time, or where more than a fifth of the bytes would go: that
is more often a broken disk than a wish. --force says that it is a wish.

What goes can be brought back with --undo for a day. Its room is free after that.

Exit codes: 0 done, 1 it failed or was refused, 2 the command line or the
configuration is wrong.`,
		Example: `  entrepot store gc --dry-run
  entrepot store gc --storage /var/lib/entrepot --json
  entrepot store gc --undo`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if gc.undo && (opts.dryRun || gc.force) {
				return usageError(errors.New("--undo goes with neither --dry-run nor --force"), "")
			}
			return withStore(cmd.Context(), env, opts, func(ctx context.Context, s *store.Store, k keeping) error {
				if gc.undo {
					return storeUndo(ctx, env, opts, s, k)
				}
				return storeGC(ctx, env, opts, gc, s, k)
			})
		},
	}
	cmd.Flags().BoolVar(&gc.force, "force", false, "remove although so much would go, or so little is there, that something may be wrong")
	cmd.Flags().BoolVar(&gc.undo, "undo", false, "bring back what was removed within the last day")
	return cmd
}

// The JSON of gc.
type (
	collectedJSON struct {
		Storage   string    `json:"storage"`
		DryRun    bool      `json:"dry_run"`
		Manifests int64     `json:"manifests"`
		Blobs     usageJSON `json:"blobs"`   // all that are there
		Garbage   usageJSON `json:"garbage"` // what of them nothing needs
		Removed   usageJSON `json:"removed"` // what can be brought back for a day
		Freed     usageJSON `json:"freed"`   // what cannot any more
		Spared    int64     `json:"spared"`
		Renewed   int64     `json:"renewed"`
		Links     int64     `json:"links"`
		Damaged   int64     `json:"damaged"`
		Refused   string    `json:"refused,omitempty"`
		Error     string    `json:"error,omitempty"`
	}
	restoredJSON struct {
		Storage  string    `json:"storage"`
		Restored usageJSON `json:"restored"`
	}
	usageJSON struct {
		Blobs int64 `json:"blobs"`
		Bytes int64 `json:"bytes"`
	}
)

func storeGC(ctx context.Context, env Env, opts *storeOptions, gc gcOptions, s *store.Store, k keeping) error {
	got, err := s.Vault().Collect(ctx, store.Collection{DryRun: opts.dryRun, Force: gc.force})
	if opts.json {
		out := collectedJSON{
			Storage: k.dir, DryRun: opts.dryRun, Manifests: got.Pins, Blobs: usageJSON(got.Blobs), Garbage: usageJSON(got.Garbage),
			Removed: usageJSON(got.Trashed), Freed: usageJSON(got.Purged), Spared: got.Spared, Renewed: got.Renewed,
			Links: got.Links, Damaged: got.Damaged, Refused: got.Refused,
		}
		if err != nil {
			out.Error = err.Error()
		}
		err = errors.Join(err, printJSON(env.Stdout, out))
	} else if !opts.quiet {
		_, bad := fmt.Fprint(env.Stdout, collectedText(got, opts.dryRun))
		err = errors.Join(err, bad)
	}
	if got.Damaged > 0 {
		fmt.Fprintf(env.Stderr, "entrepot: warning: the records of %d manifests are damaged; what they may need was kept. Push these images again\n", got.Damaged)
	}
	switch {
	case errors.Is(err, store.ErrRefused):
		return failure(err, "nothing was removed; see that all is there that should be, then say --force")
	case err != nil:
		return storeError(err, k.dir)
	case opts.dryRun && got.Refused != "":
		fmt.Fprintf(env.Stderr, "entrepot: warning: it would be refused without --force: %s\n", got.Refused)
	}
	return nil
}

// collectedText says for people what a collection did.
func collectedText(c store.Collected, dry bool) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d manifests need %s of %s\n", c.Pins,
		amount(store.PoolUsage{Blobs: c.Blobs.Blobs - c.Garbage.Blobs, Bytes: c.Blobs.Bytes - c.Garbage.Bytes}), amount(c.Blobs))
	switch {
	case dry:
		fmt.Fprintf(&b, "%s would go\n", amount(c.Garbage))
	case c.Trashed.Blobs > 0:
		fmt.Fprintf(&b, "removed %s; 'entrepot store gc --undo' brings them back within a day\n", amount(c.Trashed))
	default:
		b.WriteString("removed nothing\n")
	}
	if c.Purged.Blobs > 0 {
		fmt.Fprintf(&b, "freed %s that had been removed before\n", amount(c.Purged))
	}
	return b.String()
}

func amount(u store.PoolUsage) string {
	if u.Blobs == 1 {
		return "1 blob (" + size(u.Bytes) + ")"
	}
	return fmt.Sprintf("%d blobs (%s)", u.Blobs, size(u.Bytes))
}

func storeUndo(ctx context.Context, env Env, opts *storeOptions, s *store.Store, k keeping) error {
	back, err := s.Vault().Restore(ctx)
	if err != nil {
		return storeError(err, k.dir)
	}
	switch {
	case opts.json:
		return printJSON(env.Stdout, restoredJSON{k.dir, usageJSON(back)})
	case opts.quiet:
		return nil
	}
	_, err = fmt.Fprintf(env.Stdout, "brought back %s\n", amount(back))
	return err
}
