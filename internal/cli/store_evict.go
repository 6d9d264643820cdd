package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/entrepot/entrepot/store"
)

type evictOptions struct {
	*storeOptions
	maxBytes, minFree, maxAge string
	all                       bool
}

func newStoreEvictCmd(env Env, shared *storeOptions) *cobra.Command {
	opts := evictOptions{storeOptions: shared}
	cmd := &cobra.Command{
		Use:   "evict",
		Short: "Remove from the cache what was used longest ago",
		Long: `Evict removes blobs from the cache, those that were used longest ago first, until
the limits hold that the configuration has or that are given here. It does what a
server does on its own: where a limit is nine tenths full it goes on until it is
eight tenths full. What was pushed and what is pinned stays. What is removed is
fetched again when somebody asks for it.

Exit codes: 0 done, 1 it failed, 2 the command line or the configuration is wrong.`,
		Example: `  entrepot store evict --dry-run
  entrepot store evict --max-bytes 50GiB
  entrepot store evict --max-age 30d
  entrepot store evict --all`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withStore(cmd.Context(), env, shared, func(ctx context.Context, s *store.Store, k keeping) error {
				return storeEvict(ctx, env, opts, s, k)
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&opts.maxBytes, "max-bytes", "", "the cache may have this `SIZE`, as 50GiB; instead of storage.max_bytes")
	f.StringVar(&opts.minFree, "min-free", "", "so much of the disk has to stay free, a `SIZE` or a percentage; instead of storage.min_free")
	f.StringVar(&opts.maxAge, "max-age", "", "what was not used for this `TIME`, as 30d, is removed; instead of storage.max_age_since_use")
	f.BoolVar(&opts.all, "all", false, "remove everything that is not pinned")
	return cmd
}

// limits are those of the configuration, but for what flags say.
func (o evictOptions) limits(l store.Limits) (store.Limits, error) {
	var err error
	wrong := func(flag string, cause error) {
		if cause != nil {
			err = errors.Join(err, fmt.Errorf("%s: %w", flag, cause))
		}
	}
	var cause error
	if o.maxBytes != "" {
		l.MaxBytes, cause = parseSize(o.maxBytes)
		wrong("--max-bytes", cause)
	}
	if o.minFree != "" {
		var free share
		free, cause = parseShare(o.minFree)
		l.MinFree, l.MinFreePercent = free.bytes, free.percent
		wrong("--min-free", cause)
	}
	if o.maxAge != "" {
		l.MaxAge, cause = parseDuration(o.maxAge)
		wrong("--max-age", cause)
	}
	if err != nil {
		return l, usageError(err, `write sizes as "50GiB", times as "12h" or "30d"`)
	}
	return l, nil
}

// The JSON of evict: a line for each blob, then one for all.
type (
	evictedJSON struct {
		Digest   string `json:"digest"`
		Bytes    int64  `json:"bytes"`
		LastUsed string `json:"last_used"`
		DryRun   bool   `json:"dry_run,omitempty"`
	}
	evictionJSON struct {
		Evicted   usageJSON `json:"evicted"`
		Left      usageJSON `json:"left"`
		Pinned    usageJSON `json:"pinned"`
		OverLimit int64     `json:"over_limit_bytes"` // that would have to leave too, and are pinned
		Records   int64     `json:"records"`          // of what was evicted before; removed
		DryRun    bool      `json:"dry_run"`
	}
)

func storeEvict(ctx context.Context, env Env, opts evictOptions, s *store.Store, k keeping) error {
	limits, err := opts.limits(k.limits)
	if err != nil {
		return err
	}
	var printed error
	e := store.Eviction{Limits: limits, All: opts.all, DryRun: opts.dryRun}
	if opts.json {
		e.Each = func(x store.Evicted) {
			printed = errors.Join(printed, printJSON(env.Stdout, evictedJSON{string(x.Digest), x.Bytes, jsonTime(x.Used), opts.dryRun}))
		}
	}
	sum, err := s.Evict(ctx, e)
	var records store.Forgotten
	if err == nil && !opts.dryRun {
		records, err = s.Forget(ctx)
	}
	if err != nil {
		return storeError(err, k.dir)
	}
	if printed != nil || opts.quiet {
		return printed
	}
	if opts.json {
		return printJSON(env.Stdout, evictionJSON{usageJSON{sum.Blobs, sum.Bytes}, usageJSON(sum.Left), usageJSON(sum.Kept), sum.Short, records.Links + records.Manifests, opts.dryRun})
	}
	return printEviction(env, opts, sum)
}

func printEviction(env Env, opts evictOptions, sum store.Sum) error {
	verb := "removed"
	if opts.dryRun {
		verb = "would remove"
	}
	last := ""
	if sum.Blobs > 0 {
		last = ", last used before " + day(sum.Newest.Add(time.Minute))
	}
	_, err := fmt.Fprintf(env.Stdout, "%s %d blobs, %s%s; %d blobs, %s stay in the cache\n", verb, sum.Blobs, size(sum.Bytes), last, sum.Left.Blobs, size(sum.Left.Bytes))
	if sum.Short > 0 {
		fmt.Fprintf(env.Stderr, "entrepot: a limit is exceeded by %s all the same: what is left is pinned\n", size(sum.Short))
	}
	return err
}
